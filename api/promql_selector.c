/* Which series a PromQL selector means.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/promql_selector.h"

#include "base/memory.h"
#include "base/regex.h"
#include "base/series_scan.h"

#include <string.h>

#define PAGE            256
#define WORK_PER_SERIES 1024 /* a regular expression may be slow */

static const char *const variant_words[PROMQL_VARIANTS] = {"", "yhat", "yhat_lower", "yhat_upper"};
static const size_t predicted_length = sizeof(PROMQL_PREDICTED) - 1;
const struct slice promql_name_key = {"__name__", 8};

struct promql_selector {
    size_t count;
    struct series_term terms[SERIES_TERMS_MAX];
    struct regex *regexes[SERIES_TERMS_MAX];
    char scratch[SERIES_TEXT_MAX]; /* of what had escapes */
};

/* A series taken apart, with its name as both variants have it. */
struct candidate {
    char text[SERIES_TEXT_MAX], scratch[SERIES_TEXT_MAX];
    char predicted[SERIES_TEXT_MAX + sizeof(PROMQL_PREDICTED)];
    struct slice name;
    struct series_label labels[SERIES_LABELS_MAX];
    size_t label_count;
};

static bool equal(struct slice a, struct slice b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.bytes, b.bytes, a.length) == 0);
}

static struct slice slice_of(const char *word)
{
    return (struct slice){word, strlen(word)};
}

int promql_labels_compare(struct slice a, struct slice b)
{
    size_t shorter = a.length < b.length ? a.length : b.length;
    int order = shorter ? memcmp(a.bytes, b.bytes, shorter) : 0;
    return order ? order : (a.length > b.length) - (a.length < b.length);
}

/* ---------------------------------------------------------------- selectors */

static bool term_accepts(const struct promql_selector *selector, size_t index, struct slice value)
{
    const struct series_term *term = &selector->terms[index];
    switch (term->operator) {
    case SERIES_EQUAL:
        return equal(term->value, value);
    case SERIES_NOT_EQUAL:
        return !equal(term->value, value);
    case SERIES_REGEX:
        return regex_matches(selector->regexes[index], value.bytes, value.length);
    case SERIES_NOT_REGEX:
        return !regex_matches(selector->regexes[index], value.bytes, value.length);
    }
    return false;
}

static enum status compile(struct promql_selector *selector, struct error *error)
{
    bool narrows = false;
    for (size_t i = 0; i < selector->count; i++) {
        const struct series_term *term = &selector->terms[i];
        if ((term->operator== SERIES_REGEX || term->operator== SERIES_NOT_REGEX) &&
            regex_compile(term->value.bytes, term->value.length, &selector->regexes[i], error) !=
                STATUS_OK) {
            return error->status;
        }
        narrows = narrows || !term_accepts(selector, i, (struct slice){"", 0});
    }
    return narrows ? STATUS_OK
                   : error_set(error, STATUS_INVALID,
                               "a selector must contain at least one non-empty matcher");
}

enum status promql_selector_new(const char *text, size_t length, struct promql_selector **out,
                                struct error *error)
{
    struct promql_selector *selector = mem_zeroed(1, sizeof(*selector));
    if (!selector) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for a selector");
    }
    enum status status =
        series_scan(text, length, selector->scratch, selector->terms, &selector->count, error);
    if (status == STATUS_OK) {
        status = compile(selector, error);
    }
    if (status != STATUS_OK) {
        promql_selector_free(selector);
        return status == STATUS_INVALID ? error_code(error, "bad_promql", "query") : status;
    }
    *out = selector;
    return STATUS_OK;
}

void promql_selector_free(struct promql_selector *selector)
{
    if (selector) {
        for (size_t i = 0; i < selector->count; i++) {
            regex_free(selector->regexes[i]);
        }
        mem_free(selector);
    }
}

/* ---------------------------------------------------------------- matching */

static struct slice name_of(const struct candidate *candidate, enum promql_variant variant)
{
    return variant == PROMQL_ACTUAL
               ? candidate->name
               : (struct slice){candidate->predicted, candidate->name.length + predicted_length};
}

static struct slice value_of(const struct candidate *candidate, enum promql_variant variant,
                             struct slice key)
{
    if (equal(key, promql_name_key)) {
        return name_of(candidate, variant);
    }
    if (variant != PROMQL_ACTUAL && equal(key, slice_of(PROMQL_FORECAST))) {
        return slice_of(variant_words[variant]);
    }
    for (size_t i = 0; i < candidate->label_count; i++) {
        if (equal(candidate->labels[i].key, key)) {
            return candidate->labels[i].value;
        }
    }
    return (struct slice){"", 0};
}

static bool accepts(const struct promql_selector *selector, const struct candidate *candidate,
                    enum promql_variant variant)
{
    for (size_t i = 0; i < selector->count; i++) {
        if (!term_accepts(selector, i, value_of(candidate, variant, selector->terms[i].key))) {
            return false;
        }
    }
    return true;
}

/* Whether the selector can mean forecasts where they must be named. */
static bool names_forecasts(const struct promql_selector *selector)
{
    for (size_t i = 0; i < selector->count; i++) {
        struct slice key = selector->terms[i].key;
        if (equal(key, promql_name_key) || equal(key, slice_of(PROMQL_FORECAST))) {
            return true;
        }
    }
    return false;
}

static bool accepts_any(const struct promql_selection *selection, const struct candidate *candidate,
                        enum promql_variant variant)
{
    for (size_t i = 0; i < selection->count; i++) {
        const struct promql_selector *selector = selection->selectors[i];
        bool named =
            variant == PROMQL_ACTUAL || !selection->named_only || names_forecasts(selector);
        if (named && accepts(selector, candidate, variant)) {
            return true;
        }
    }
    return selection->count == 0;
}

/* Whether a selector can mean a series of this canonical text, by its name alone: most series are
 * told apart here, without being taken apart. */
static bool name_may_match(const struct promql_selector *selector, struct slice text)
{
    const char *brace = memchr(text.bytes, '{', text.length);
    struct slice name = {text.bytes, brace ? (size_t)(brace - text.bytes) : text.length};
    for (size_t i = 0; i < selector->count; i++) {
        const struct series_term *term = &selector->terms[i];
        if (term->operator!= SERIES_EQUAL || !equal(term->key, promql_name_key)) {
            continue;
        }
        bool begins = term->value.length >= name.length &&
                      memcmp(term->value.bytes, name.bytes, name.length) == 0;
        size_t more = term->value.length - name.length;
        return name.length == 0 || (begins && (more == 0 || more == predicted_length));
    }
    return true;
}

static bool any_may_match(const struct promql_selection *selection, struct slice text)
{
    for (size_t i = 0; i < selection->count; i++) {
        if (name_may_match(selection->selectors[i], text)) {
            return true;
        }
    }
    return selection->count == 0;
}

/* False where the series is gone or cannot be meant. */
static bool take_apart(struct storage *storage, uint32_t id,
                       const struct promql_selection *selection, struct candidate *candidate)
{
    struct error ignored = {0};
    size_t length = storage_series_text(storage, id, candidate->text);
    struct slice text = {candidate->text, length};
    if (length == 0 || !any_may_match(selection, text) ||
        series_name_split(candidate->text, length, candidate->scratch, &candidate->name,
                          candidate->labels, &candidate->label_count, &ignored) != STATUS_OK) {
        return false;
    }
    memcpy(candidate->predicted, candidate->name.bytes, candidate->name.length);
    memcpy(candidate->predicted + candidate->name.length, PROMQL_PREDICTED, predicted_length);
    return true;
}

static void add_label(struct text *out, struct slice key, struct slice value)
{
    text_add(out, key.bytes, key.length);
    text_add_char(out, '\0');
    text_add(out, value.bytes, value.length);
    text_add_char(out, '\0');
}

/* The label set of a variant: keys of a series are in order, two more are merged in. */
static void write_labels(const struct candidate *candidate, enum promql_variant variant,
                         struct text *out)
{
    struct slice more[2] = {promql_name_key, slice_of(PROMQL_FORECAST)};
    size_t more_count = variant == PROMQL_ACTUAL ? 1 : 2, next = 0;
    text_clear(out);
    for (size_t i = 0; i < candidate->label_count; i++) {
        struct slice key = candidate->labels[i].key;
        while (next < more_count && promql_labels_compare(more[next], key) < 0) {
            add_label(out, more[next], value_of(candidate, variant, more[next]));
            next++;
        }
        if (next == more_count || !equal(more[next], key)) {
            add_label(out, key, candidate->labels[i].value);
        }
    }
    for (; next < more_count; next++) {
        add_label(out, more[next], value_of(candidate, variant, more[next]));
    }
}

static enum status visit_one(const struct promql_selection *selection,
                             const struct candidate *candidate, uint32_t id, struct text *labels,
                             struct error *error)
{
    for (int v = 0; v < PROMQL_VARIANTS; v++) {
        enum promql_variant variant = (enum promql_variant)v;
        if (!accepts_any(selection, candidate, variant)) {
            continue;
        }
        write_labels(candidate, variant, labels);
        struct slice bytes = {labels->bytes, labels->length};
        if (text_status(labels, "a label set", error) != STATUS_OK ||
            selection->visit(selection->context, id, variant, bytes, error) != STATUS_OK) {
            return error->status;
        }
    }
    return STATUS_OK;
}

enum status promql_select(const struct view *view, const struct promql_selection *selection,
                          struct error *error)
{
    uint32_t ids[PAGE], after = 0;
    size_t found = 0;
    enum status status = STATUS_OK;
    struct text labels;
    struct candidate *candidate = mem_alloc(sizeof(*candidate));
    if (!candidate) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for a query");
    }
    text_init(&labels, (size_t)4 * SERIES_TEXT_MAX);
    do {
        found = view_list(view, NULL, after, ids, PAGE);
        for (size_t i = 0; i < found && status == STATUS_OK; i++) {
            after = ids[i];
            if (take_apart(view->services->storage, after, selection, candidate)) {
                status = visit_one(selection, candidate, after, &labels, error);
            }
        }
        if (status == STATUS_OK && selection->budget) {
            status = promql_work(selection->budget, found * WORK_PER_SERIES, error);
        }
    } while (found == PAGE && status == STATUS_OK);
    text_release(&labels);
    mem_free(candidate);
    return status;
}

/* ---------------------------------------------------------------- label sets */

bool promql_label_next(struct slice labels, size_t *at, struct slice *key, struct slice *value)
{
    if (*at >= labels.length) {
        return false;
    }
    *key = slice_of(labels.bytes + *at);
    *value = slice_of(key->bytes + key->length + 1);
    *at += key->length + value->length + 2;
    return true;
}

void promql_labels_pick(struct slice labels, const struct slice *keys, size_t count, bool keep,
                        struct text *out)
{
    struct slice key, value;
    for (size_t at = 0; promql_label_next(labels, &at, &key, &value);) {
        bool among = false;
        for (size_t i = 0; i < count && !among; i++) {
            among = equal(keys[i], key);
        }
        if (among == keep) {
            add_label(out, key, value);
        }
    }
}
