/* What a caller can see of the store: all series, or those whose name begins with a prefix.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Handlers find series here and nowhere else (`make lint` sees to it), so that a new route cannot
 * show what a token may not see. A series outside of the view does not exist for its caller.
 */
#ifndef API_VIEW_H
#define API_VIEW_H

#include "api/api.h"

struct view {
    struct api_services *services;
    const char *prefix; /* NULL: everything; lives as long as the request */
};

bool view_allows(const struct view *view, const char *canonical, size_t length);

/* As storage_series_find and storage_series_list. */
uint32_t view_find(const struct view *view, const char *canonical, size_t length);
size_t view_list(const struct view *view, const struct selector *selector, uint32_t after,
                 uint32_t *ids, size_t maximum);

/* Whether the series of an id is there and in view. */
bool view_has(const struct view *view, uint32_t id);

/* STATUS_INVALID, code outside_prefix, where the caller may not write to this series. */
enum status view_check(const struct view *view, const char *canonical, size_t length,
                       struct error *error) MUST_USE;

#endif
