/* What a caller can see of the store: all series, or those whose name begins with a prefix.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/view.h"

#include "base/token.h"

#define PAGE 64

bool view_allows(const struct view *view, const char *canonical, size_t length)
{
    return !view->prefix || token_prefix_allows(view->prefix, canonical, length);
}

uint32_t view_find(const struct view *view, const char *canonical, size_t length)
{
    return view_allows(view, canonical, length)
               ? storage_series_find(view->services->storage, canonical, length)
               : 0;
}

bool view_has(const struct view *view, uint32_t id)
{
    char text[SERIES_TEXT_MAX];
    size_t length = storage_series_text(view->services->storage, id, text);
    return length > 0 && view_allows(view, text, length);
}

size_t view_list(const struct view *view, const struct selector *selector, uint32_t after,
                 uint32_t *ids, size_t maximum)
{
    uint32_t page[PAGE];
    size_t count = 0, found = PAGE;
    if (!view->prefix) {
        return storage_series_list(view->services->storage, selector, after, ids, maximum);
    }
    while (found == PAGE && count < maximum) {
        found = storage_series_list(view->services->storage, selector, after, page, PAGE);
        for (size_t i = 0; i < found && count < maximum; i++) {
            after = page[i];
            if (view_has(view, after)) {
                ids[count++] = after;
            }
        }
    }
    return count;
}

enum status view_check(const struct view *view, const char *canonical, size_t length,
                       struct error *error)
{
    if (view_allows(view, canonical, length)) {
        return STATUS_OK;
    }
    error_set(error, STATUS_INVALID, "the token may only write to series that begin with '%s'",
              view->prefix);
    return error_code(error, "outside_prefix", "series");
}
