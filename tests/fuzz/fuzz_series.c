/* Fuzzes names of series and selectors: as users type them, and as the store has them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The last line is taken as a series of the store, what stands before it is what a user typed
 * (where there is one line it is both).
 *
 * Oracles: canonical text is its own canonical text, taken apart and put together it is the same; a
 * selector matches as its terms do one by one; the one series that a selector means is matched by
 * it.
 */
#include "base/regex.h"
#include "base/series_scan.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool same(struct slice a, struct slice b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.bytes, b.bytes, a.length) == 0);
}

/* ---------------------------------------------------------------- names */

/* Takes any text apart; what can be written again is written the same where it was canonical. */
static void split(struct slice text, bool canonical)
{
    char scratch[SERIES_TEXT_MAX], again[SERIES_TEXT_MAX];
    struct series_label labels[SERIES_LABELS_MAX];
    struct slice name;
    struct error error = {0};
    size_t count = 0, length = 0;
    if (series_name_split(text.bytes, text.length, scratch, &name, labels, &count, &error) !=
        STATUS_OK) {
        if (canonical || !error.code) {
            abort();
        }
        return;
    }
    enum status status = series_name_write(name, labels, count, again, &length, &error);
    if (canonical && (status != STATUS_OK || !same(text, (struct slice){again, length}))) {
        abort();
    }
    if (status != STATUS_OK && !error.code) {
        abort();
    }
}

/* What a user typed as a series; false where it is none. */
static bool parse(struct slice text, char canonical[SERIES_TEXT_MAX], size_t *length)
{
    char again[SERIES_TEXT_MAX];
    size_t again_length = 0;
    struct error error = {0};
    if (series_name_parse(text.bytes, text.length, canonical, length, &error) != STATUS_OK) {
        if (!error.code || error.text[0] == '\0') {
            abort();
        }
        return false;
    }
    split((struct slice){canonical, *length}, true);
    if (series_name_parse(canonical, *length, again, &again_length, &error) != STATUS_OK ||
        !same((struct slice){canonical, *length}, (struct slice){again, again_length})) {
        abort();
    }
    return true;
}

/* ---------------------------------------------------------------- selectors */

/* Whether POSIX, too, understands the pattern as we do. */
static bool is_posix(struct slice pattern)
{
    for (size_t i = 0; i < pattern.length; i++) {
        char c = pattern.bytes[i], before = i > 0 ? pattern.bytes[i - 1] : '(';
        if (strchr("abmnx012.|()*+?", c) == NULL || c == '\0') {
            return false;
        }
        if (strchr("*+?", c) != NULL && strchr("*+?(|", before) != NULL) {
            return false; /* lazy forms and groups without a number */
        }
    }
    return pattern.length <= REGEX_BYTES_MAX;
}

/* Compares with the C library, which knows bytes for characters. */
static void check_regex(struct slice pattern, struct slice value, bool matches)
{
    char anchored[REGEX_BYTES_MAX + 8], text[SERIES_TEXT_MAX + 1];
    regex_t posix;
    for (size_t i = 0; i < value.length; i++) {
        if ((unsigned char)value.bytes[i] >= 128 || value.bytes[i] == '\0') {
            return;
        }
    }
    if (!is_posix(pattern)) {
        return;
    }
    snprintf(anchored, sizeof(anchored), "^(%.*s)$", (int)pattern.length, pattern.bytes);
    snprintf(text, sizeof(text), "%.*s", (int)value.length, value.bytes);
    if (regcomp(&posix, anchored, REG_EXTENDED | REG_NOSUB) == 0) {
        if ((regexec(&posix, text, 0, NULL, 0) == 0) != matches) {
            abort();
        }
        regfree(&posix);
    }
}

static bool term_accepts(const struct series_term *term, struct slice value)
{
    struct regex *regex = NULL;
    struct error error = {0};
    if (term->operator== SERIES_EQUAL || term->operator== SERIES_NOT_EQUAL) {
        return same(term->value, value) == (term->operator== SERIES_EQUAL);
    }
    if (regex_compile(term->value.bytes, term->value.length, &regex, &error) != STATUS_OK) {
        abort(); /* it was good enough for the selector */
    }
    bool matches = regex_matches(regex, value.bytes, value.length);
    regex_free(regex);
    check_regex(term->value, value, matches);
    return matches == (term->operator== SERIES_REGEX);
}

/* Whether the series passes each condition of the text, looked at one by one. */
static bool plainly_matches(struct slice text, struct slice series)
{
    char scratch[SERIES_TEXT_MAX], parts[SERIES_TEXT_MAX];
    struct series_term terms[SERIES_TERMS_MAX];
    struct series_label labels[SERIES_LABELS_MAX];
    struct slice name;
    struct error error = {0};
    size_t count = 0, label_count = 0;
    if (series_scan(text.bytes, text.length, scratch, terms, &count, &error) != STATUS_OK) {
        abort();
    }
    if (series_name_split(series.bytes, series.length, parts, &name, labels, &label_count,
                          &error) != STATUS_OK) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        bool on_name = same(terms[i].key, (struct slice){"__name__", 8});
        struct slice value = on_name ? name : (struct slice){"", 0};
        for (size_t k = label_count; k > 0 && !on_name; k--) {
            value = same(labels[k - 1].key, terms[i].key) ? labels[k - 1].value : value;
        }
        if (!term_accepts(&terms[i], value)) {
            return false;
        }
    }
    return true;
}

static void check_match(const struct selector *selector, struct slice text, struct slice series)
{
    if (selector_matches(selector, series.bytes, series.length) != plainly_matches(text, series)) {
        abort();
    }
}

static void select_series(struct slice text, struct slice stored, struct slice named)
{
    static const char *const store[] = {"a", "m{a=\"1\"}", "m{a=\"2\",b=\"x\\\"\\n\"}",
                                        "{\"n m=\",a=\"1\"}"};
    char exact[SERIES_TEXT_MAX];
    size_t length = 0;
    struct selector *selector = NULL;
    struct error error = {0};
    if (selector_parse(text.bytes, text.length, &selector, &error) != STATUS_OK) {
        if (!error.code || error.text[0] == '\0') {
            abort();
        }
        return;
    }
    for (size_t i = 0; i < sizeof(store) / sizeof(store[0]); i++) {
        check_match(selector, text, (struct slice){store[i], strlen(store[i])});
    }
    check_match(selector, text, stored);
    bool one = selector_exact(selector, exact, &length);
    if (one && !selector_matches(selector, exact, length)) {
        abort();
    }
    if (named.length > 0 && (!one || !same(named, (struct slice){exact, length}))) {
        abort();
    }
    selector_free(selector);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char canonical[SERIES_TEXT_MAX];
    size_t length = 0, end = size;
    const char *bytes = (const char *)data;
    while (end > 0 && bytes[end - 1] != '\n') {
        end--;
    }
    struct slice stored = {bytes + end, size - end};
    struct slice typed = end > 0 ? (struct slice){bytes, end - 1} : stored;
    bool named = parse(typed, canonical, &length);
    split(stored, false);
    select_series(typed, stored, (struct slice){canonical, named ? length : 0});
    return 0;
}
