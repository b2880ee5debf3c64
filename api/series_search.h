/* Series found by words, as a person types them.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_SERIES_SEARCH_H
#define API_SERIES_SEARCH_H

#include "api/view.h"

#define SEARCH_BYTES_MAX 255
#define SEARCH_WORDS_MAX 16

struct series_search {
    const struct view *view;
    const struct selector *selector; /* NULL: every series */
    char text[SEARCH_BYTES_MAX + 1]; /* lower case, words end with zero bytes */
    const char *words[SEARCH_WORDS_MAX];
    size_t word_count;
};

/* Each word (parted by blanks) has to stand somewhere in the canonical text of a series, where
 * quotes count as nothing: `zone=ae` finds zone="AEP". Upper and lower case of a to z are the same.
 * `text` NULL: every series that the selector takes. STATUS_INVALID (bad_parameter "search"): too
 * long, too many words. */
enum status series_search_init(struct series_search *search, const struct view *view,
                               const struct selector *selector, const char *text,
                               struct error *error) MUST_USE;

/* Ids above `after` in rising order; returns how many were written. `total` (may be NULL): how many
 * there are above `after` in all, which looks at every series. Microseconds per ten series. */
size_t series_search_run(const struct series_search *search, uint32_t after, uint32_t *ids,
                         size_t maximum, size_t *total);

#endif
