/* Selectors: conditions on the name and labels of a series, in Prometheus's syntax.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A label that a series does not have counts as empty, as in Prometheus. A selector whose every
 * condition accepts the empty text would mean the whole store and is refused, also as there.
 */
#include "base/memory.h"
#include "base/regex.h"
#include "base/series_scan.h"

#include <string.h>

struct matcher {
    struct slice key;
    struct slice value;
    enum series_operator operator;
    struct regex *regex; /* of the two regex operators */
    bool on_name;
};

struct selector {
    size_t count;
    struct matcher matchers[SERIES_TERMS_MAX];
    char text[]; /* what the slices point into */
};

static bool slices_equal(struct slice a, struct slice b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.bytes, b.bytes, a.length) == 0);
}

static bool matcher_accepts(const struct matcher *matcher, struct slice value)
{
    switch (matcher->operator) {
    case SERIES_EQUAL:
        return slices_equal(matcher->value, value);
    case SERIES_NOT_EQUAL:
        return !slices_equal(matcher->value, value);
    case SERIES_REGEX:
        return regex_matches(matcher->regex, value.bytes, value.length);
    case SERIES_NOT_REGEX:
        return !regex_matches(matcher->regex, value.bytes, value.length);
    }
    return false;
}

static struct slice copy_slice(char **cursor, struct slice slice)
{
    struct slice copy = {*cursor, slice.length};
    if (slice.length != 0) {
        memcpy(*cursor, slice.bytes, slice.length);
    }
    *cursor += slice.length;
    return copy;
}

static enum status compile_matcher(struct matcher *matcher, struct error *error)
{
    if (matcher->operator!= SERIES_REGEX && matcher->operator!= SERIES_NOT_REGEX) {
        return STATUS_OK;
    }
    enum status status =
        regex_compile(matcher->value.bytes, matcher->value.length, &matcher->regex, error);
    if (status == STATUS_INVALID) {
        error_wrap(error, "label \"%.*s\"",
                   (int)(matcher->key.length < 64 ? matcher->key.length : 64), matcher->key.bytes);
        return error_code(error, "bad_selector", "match");
    }
    return status;
}

static enum status finish(struct selector *selector, struct error *error)
{
    bool narrows = false;
    for (size_t i = 0; i < selector->count; i++) {
        struct matcher *matcher = &selector->matchers[i];
        enum status status = compile_matcher(matcher, error);
        if (status != STATUS_OK) {
            return status;
        }
        narrows = narrows || !matcher_accepts(matcher, (struct slice){"", 0});
    }
    if (!narrows) {
        error_set(error, STATUS_INVALID, "cannot use a selector that matches everything");
        error_code(error, "bad_selector", "match");
        return error_hint(error, "Give a name, or a label that must not be empty.");
    }
    return STATUS_OK;
}

enum status selector_parse(const char *text, size_t length, struct selector **out,
                           struct error *error)
{
    char scratch[SERIES_TEXT_MAX];
    struct series_term terms[SERIES_TERMS_MAX];
    size_t count = 0;
    enum status status = series_scan(text, length, scratch, terms, &count, error);
    if (status != STATUS_OK) {
        return status == STATUS_INVALID ? error_code(error, "bad_selector", "match") : status;
    }
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += terms[i].key.length + terms[i].value.length;
    }
    struct selector *selector = mem_zeroed(1, sizeof(*selector) + bytes);
    if (selector == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not reserve memory for a selector");
    }
    char *cursor = selector->text;
    for (size_t i = 0; i < count; i++) {
        struct matcher *matcher = &selector->matchers[i];
        matcher->key = copy_slice(&cursor, terms[i].key);
        matcher->value = copy_slice(&cursor, terms[i].value);
        matcher->operator= terms[i].operator;
        matcher->on_name = slices_equal(matcher->key, (struct slice){"__name__", 8});
    }
    selector->count = count;
    status = finish(selector, error);
    if (status != STATUS_OK) {
        selector_free(selector);
        return status;
    }
    *out = selector;
    return STATUS_OK;
}

void selector_free(struct selector *selector)
{
    if (selector == NULL) {
        return;
    }
    for (size_t i = 0; i < selector->count; i++) {
        regex_free(selector->matchers[i].regex);
    }
    mem_free(selector);
}

bool selector_matches(const struct selector *selector, const char *canonical, size_t length)
{
    char scratch[SERIES_TEXT_MAX];
    struct slice name;
    struct series_label labels[SERIES_LABELS_MAX];
    size_t label_count = 0;
    struct error error;
    if (series_name_split(canonical, length, scratch, &name, labels, &label_count, &error) !=
        STATUS_OK) {
        return false;
    }
    for (size_t i = 0; i < selector->count; i++) {
        const struct matcher *matcher = &selector->matchers[i];
        struct slice value = {"", 0};
        if (matcher->on_name) {
            value = name;
        } else {
            for (size_t k = 0; k < label_count; k++) {
                if (slices_equal(labels[k].key, matcher->key)) {
                    value = labels[k].value;
                    break;
                }
            }
        }
        if (!matcher_accepts(matcher, value)) {
            return false;
        }
    }
    return true;
}

bool selector_exact(const struct selector *selector, char out[SERIES_TEXT_MAX], size_t *length)
{
    struct slice name = {"", 0};
    struct series_label labels[SERIES_TERMS_MAX];
    size_t label_count = 0;
    bool named = false;
    for (size_t i = 0; i < selector->count; i++) {
        const struct matcher *matcher = &selector->matchers[i];
        if (matcher->operator!= SERIES_EQUAL ||(matcher->on_name && named)) {
            return false;
        }
        if (matcher->on_name) {
            name = matcher->value;
            named = true;
        } else {
            labels[label_count++] = (struct series_label){matcher->key, matcher->value};
        }
    }
    struct error error;
    return series_name_write(name, labels, label_count, out, length, &error) == STATUS_OK;
}
