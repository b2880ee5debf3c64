/* Reading of what a user typed for a series or a selector: name{key="value",key=~"regex"}.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The one grammar behind series_name_parse and selector_parse, which are what callers use.
 */
#ifndef BASE_SERIES_SCAN_H
#define BASE_SERIES_SCAN_H

#include "base/series_name.h"

enum series_operator { SERIES_EQUAL, SERIES_NOT_EQUAL, SERIES_REGEX, SERIES_NOT_REGEX };

/* One condition; the name is a condition on the key __name__. */
struct series_term {
    struct slice key;
    struct slice value;
    enum series_operator operator;
};

#define SERIES_TERMS_MAX (SERIES_LABELS_MAX + 1)

/* Terms in the order typed. Slices point into `text`, or into `scratch` where there were escapes.
 */
enum status series_scan(const char *text, size_t length, char scratch[SERIES_TEXT_MAX],
                        struct series_term terms[SERIES_TERMS_MAX], size_t *count,
                        struct error *error) MUST_USE;

#endif
