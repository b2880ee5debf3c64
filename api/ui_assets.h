/* The files of the page, and the description of the routes, as bytes of the program.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_UI_ASSETS_H
#define API_UI_ASSETS_H

#include <stddef.h>

struct ui_asset {
    const char *path; /* as in the URL */
    const char *content_type;
    const char *packed, *packed_end; /* a gzip file */
};

const struct ui_asset *ui_assets(size_t *count);

#endif
