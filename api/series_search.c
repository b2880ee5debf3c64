/* Series found by words: every name is looked at, in batches of ids.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Ten thousand names are read in a few milliseconds, so there is no index to keep in step.
 */
#include "api/series_search.h"

#include "base/series_name.h"

#include <string.h>

#define BATCH 512

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* Lower case, without quotes. */
static void fold(const char *text, size_t length, char *out)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] != '"') {
            *out++ = lower(text[i]);
        }
    }
    *out = '\0';
}

enum status series_search_init(struct series_search *search, const struct view *view,
                               const struct selector *selector, const char *text,
                               struct error *error)
{
    size_t length = text ? strlen(text) : 0;
    search->view = view;
    search->selector = selector;
    search->word_count = 0;
    if (length > SEARCH_BYTES_MAX) {
        error_set(error, STATUS_INVALID, "\"search\" is longer than %d bytes", SEARCH_BYTES_MAX);
        return error_code(error, "bad_parameter", "search");
    }
    fold(text ? text : "", length, search->text);
    char *rest = search->text;
    for (char *word; (word = strsep(&rest, " ")) != NULL;) {
        if (*word == '\0') {
            continue;
        }
        if (search->word_count == SEARCH_WORDS_MAX) {
            error_set(error, STATUS_INVALID, "\"search\" has more than %d words", SEARCH_WORDS_MAX);
            return error_code(error, "bad_parameter", "search");
        }
        search->words[search->word_count++] = word;
    }
    return STATUS_OK;
}

static bool fits(const struct series_search *search, uint32_t id)
{
    char text[SERIES_TEXT_MAX], folded[SERIES_TEXT_MAX + 1];
    if (search->word_count == 0) {
        return true;
    }
    size_t length = storage_series_text(search->view->services->storage, id, text);
    fold(text, length, folded);
    for (size_t i = 0; i < search->word_count; i++) {
        if (strstr(folded, search->words[i]) == NULL) {
            return false;
        }
    }
    return length > 0;
}

size_t series_search_run(const struct series_search *search, uint32_t after, uint32_t *ids,
                         size_t maximum, size_t *total)
{
    uint32_t batch[BATCH];
    size_t written = 0, found = 0, count;
    do {
        count = view_list(search->view, search->selector, after, batch, BATCH);
        for (size_t i = 0; i < count; i++) {
            if (!fits(search, batch[i])) {
                continue;
            }
            if (written < maximum) {
                ids[written++] = batch[i];
            } else if (!total) {
                return written;
            }
            found++;
        }
        after = count > 0 ? batch[count - 1] : after;
    } while (count == BATCH && (total || written < maximum));
    if (total) {
        *total = found;
    }
    return written;
}
