/* Reading of series and selectors: what a user typed, and canonical text taken apart.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Typed strings are those of PromQL: double or single quotes with escapes, or backticks without.
 * Blanks may stand anywhere between the parts and a comma behind the last one.
 */
#include "base/series_scan.h"

#include "base/log.h"

#include <string.h>

struct scanner {
    const char *text;
    const char *cursor;
    const char *end;
    char *scratch; /* where the next unescaped string goes; never longer than the text in all */
    struct series_term *terms;
    size_t count;
    const char *problem;
};

static const struct slice name_key = {"__name__", 8};

static void skip_blanks(struct scanner *s)
{
    while (s->cursor < s->end &&
           (*s->cursor == ' ' || *s->cursor == '\t' || *s->cursor == '\n' || *s->cursor == '\r')) {
        s->cursor++;
    }
}

static bool take_char(struct scanner *s, char wanted)
{
    skip_blanks(s);
    if (s->cursor < s->end && *s->cursor == wanted) {
        s->cursor++;
        return true;
    }
    return false;
}

static bool fail(struct scanner *s, const char *problem)
{
    s->problem = problem;
    return false;
}

/* A string with the quote at the cursor. */
static bool scan_string(struct scanner *s, struct slice *value)
{
    static const char names[] = "\\\"'nrt";
    static const char meanings[] = "\\\"'\n\r\t";
    char quote = *s->cursor++;
    char *out = s->scratch;
    size_t used = 0;
    while (s->cursor < s->end && *s->cursor != quote) {
        char c = *s->cursor++;
        if (c == '\\' && quote != '`') {
            const char *found = NULL;
            if (s->cursor < s->end && *s->cursor != '\0') {
                found = strchr(names, *s->cursor);
            }
            if (found == NULL) {
                return fail(s, "an unknown escape; a backslash itself is written \\\\");
            }
            c = meanings[found - names];
            s->cursor++;
        }
        out[used++] = c;
    }
    if (s->cursor == s->end) {
        return fail(s, "a quote is not closed");
    }
    s->cursor++;
    *value = (struct slice){out, used};
    s->scratch += used;
    return true;
}

static bool at_quote(struct scanner *s)
{
    skip_blanks(s);
    return s->cursor < s->end && (*s->cursor == '"' || *s->cursor == '\'' || *s->cursor == '`');
}

static bool add_term(struct scanner *s, struct slice key, enum series_operator operator,
                     struct slice value)
{
    if (s->count == SERIES_TERMS_MAX) {
        return fail(s, "more than 32 labels");
    }
    s->terms[s->count++] = (struct series_term){key, value, operator};
    return true;
}

static bool scan_operator(struct scanner *s, enum series_operator *operator)
{
    skip_blanks(s);
    size_t left = (size_t)(s->end - s->cursor);
    if (left >= 2 && memcmp(s->cursor, "=~", 2) == 0) {
        *operator= SERIES_REGEX;
        s->cursor += 2;
    } else if (left >= 2 && memcmp(s->cursor, "!~", 2) == 0) {
        *operator= SERIES_NOT_REGEX;
        s->cursor += 2;
    } else if (left >= 2 && memcmp(s->cursor, "!=", 2) == 0) {
        *operator= SERIES_NOT_EQUAL;
        s->cursor += 2;
    } else if (left >= 1 && *s->cursor == '=') {
        *operator= SERIES_EQUAL;
        s->cursor++;
    } else {
        return fail(s, "expected =, !=, =~ or !~ behind a label");
    }
    return true;
}

/* "the name", or key="value" with any operator. */
static bool scan_item(struct scanner *s)
{
    struct slice key;
    if (at_quote(s)) {
        if (!scan_string(s, &key)) {
            return false;
        }
        skip_blanks(s);
        if (s->cursor < s->end && (*s->cursor == ',' || *s->cursor == '}')) {
            return add_term(s, name_key, SERIES_EQUAL, key);
        }
    } else {
        const char *from = s->cursor;
        while (s->cursor < s->end && strchr(" \t\r\n=!,{}\"'`", *s->cursor) == NULL) {
            s->cursor++;
        }
        key = (struct slice){from, (size_t)(s->cursor - from)};
        if (key.length == 0) {
            return fail(s, "expected a label");
        }
    }
    enum series_operator operator;
    struct slice value;
    if (!scan_operator(s, &operator)) {
        return false;
    }
    if (!at_quote(s)) {
        return fail(s, "the value of a label must stand in quotes");
    }
    return scan_string(s, &value) && add_term(s, key, operator, value);
}

static bool scan_all(struct scanner *s)
{
    skip_blanks(s);
    while (s->end > s->cursor && strchr(" \t\r\n", s->end[-1]) != NULL) {
        s->end--;
    }
    const char *brace = memchr(s->cursor, '{', (size_t)(s->end - s->cursor));
    const char *name_end = brace != NULL ? brace : s->end;
    while (name_end > s->cursor && strchr(" \t\r\n", name_end[-1]) != NULL) {
        name_end--;
    }
    if (name_end > s->cursor) {
        struct slice name = {s->cursor, (size_t)(name_end - s->cursor)};
        if (!add_term(s, name_key, SERIES_EQUAL, name)) {
            return false;
        }
    }
    if (brace == NULL) {
        return s->count > 0 || fail(s, "it is empty");
    }
    s->cursor = brace + 1;
    while (!take_char(s, '}')) {
        if (!scan_item(s)) {
            return false;
        }
        if (!take_char(s, ',')) {
            if (!take_char(s, '}')) {
                return fail(s, "expected a comma or }");
            }
            break;
        }
    }
    return s->cursor == s->end || fail(s, "something follows the closing brace");
}

enum status series_scan(const char *text, size_t length, char scratch[SERIES_TEXT_MAX],
                        struct series_term terms[SERIES_TERMS_MAX], size_t *count,
                        struct error *error)
{
    struct scanner s = {
        .text = text, .cursor = text, .end = text + length, .scratch = scratch, .terms = terms};
    const char *problem = NULL;
    if (length > SERIES_TEXT_MAX) {
        problem = "it is longer than 4096 bytes";
    } else if (memchr(text, '\0', length) != NULL) {
        problem = "it holds a zero byte";
    } else if (!scan_all(&s)) {
        problem = s.problem;
    }
    if (problem != NULL) {
        char quoted[128];
        error_set(error, STATUS_INVALID, "cannot read %s as a series: %s",
                  log_quote(text, length, quoted, sizeof(quoted)), problem);
        error_code(error, "bad_series_name", "series");
        return error_hint(error, "Write a series as in name{key=\"value\"}.");
    }
    *count = s.count;
    return STATUS_OK;
}

enum status series_name_parse(const char *text, size_t length, char out[SERIES_TEXT_MAX],
                              size_t *out_length, struct error *error)
{
    char scratch[SERIES_TEXT_MAX];
    struct series_term terms[SERIES_TERMS_MAX];
    size_t count = 0;
    enum status status = series_scan(text, length, scratch, terms, &count, error);
    if (status != STATUS_OK) {
        return status;
    }
    struct slice name = {"", 0};
    struct series_label labels[SERIES_TERMS_MAX];
    size_t label_count = 0;
    bool named = false;
    for (size_t i = 0; i < count; i++) {
        if (terms[i].operator!= SERIES_EQUAL) {
            error_set(
                error, STATUS_INVALID, "cannot read a selector as a series: label \"%.*s\" needs =",
                (int)(terms[i].key.length < 64 ? terms[i].key.length : 64), terms[i].key.bytes);
            return error_code(error, "bad_series_name", "series");
        }
        if (terms[i].key.length != name_key.length ||
            memcmp(terms[i].key.bytes, name_key.bytes, name_key.length) != 0) {
            labels[label_count++] = (struct series_label){terms[i].key, terms[i].value};
        } else if (!named) {
            name = terms[i].value;
            named = true;
        } else {
            error_set(error, STATUS_INVALID, "cannot read a series with two names");
            return error_code(error, "bad_series_name", "series");
        }
    }
    return series_name_write(name, labels, label_count, out, out_length, error);
}

/* The string in quotes at `p`, unescaped into the scratch where needed; moves the cursor on. */
static bool split_quoted(const char **cursor, const char *p, const char *end, char **scratch,
                         struct slice *value)
{
    const char *from = ++p;
    while (p < end && *p != '"' && *p != '\\') {
        p++;
    }
    if (p < end && *p == '"') {
        *value = (struct slice){from, (size_t)(p - from)};
        *cursor = p + 1;
        return true;
    }
    char *out = *scratch;
    memcpy(out, from, (size_t)(p - from));
    size_t used = (size_t)(p - from);
    while (p < end && *p != '"') {
        if (*p == '\\') {
            if (end - p < 2 || (p[1] != '\\' && p[1] != '"' && p[1] != 'n')) {
                return false;
            }
            p++;
            out[used++] = (char)(*p == 'n' ? '\n' : *p);
        } else {
            out[used++] = *p;
        }
        p++;
    }
    if (p == end) {
        return false;
    }
    *value = (struct slice){out, used};
    *scratch = out + used;
    *cursor = p + 1;
    return true;
}

/* One label of canonical text, key="value", at the cursor; false where it is not one. */
static bool split_label(const char **cursor, const char *end, char **scratch,
                        struct series_label *label)
{
    const char *p = *cursor;
    const char *equals = memchr(p, '=', (size_t)(end - p));
    if (equals == NULL || equals == p || end - equals < 3 || equals[1] != '"') {
        return false;
    }
    label->key = (struct slice){p, (size_t)(equals - p)};
    return split_quoted(cursor, equals + 1, end, scratch, &label->value);
}

/* Takes apart what stands in the braces; `p` is behind the opening one. */
static bool split_braces(const char *p, const char *end, char *scratch, struct slice *name,
                         struct series_label *labels, size_t *label_count)
{
    bool more = true;
    if (name->length == 0) {
        if (p == end || *p != '"' || !split_quoted(&p, p, end, &scratch, name)) {
            return false;
        }
        more = p < end && *p == ',';
        p += more;
    }
    while (more) {
        if (*label_count == SERIES_LABELS_MAX ||
            !split_label(&p, end, &scratch, &labels[*label_count])) {
            return false;
        }
        (*label_count)++;
        more = p < end && *p == ',';
        p += more;
    }
    return end - p == 1 && *p == '}';
}

enum status series_name_split(const char *text, size_t length, char scratch[SERIES_TEXT_MAX],
                              struct slice *name, struct series_label labels[SERIES_LABELS_MAX],
                              size_t *label_count, struct error *error)
{
    *label_count = 0;
    const char *brace = length <= SERIES_TEXT_MAX ? memchr(text, '{', length) : NULL;
    *name = (struct slice){text, brace != NULL ? (size_t)(brace - text) : length};
    bool whole = length > 0 && length <= SERIES_TEXT_MAX;
    if (brace != NULL) {
        whole = split_braces(brace + 1, text + length, scratch, name, labels, label_count);
    }
    if (!whole) {
        char quoted[128];
        error_set(error, STATUS_INVALID, "cannot take %s apart: it is not in canonical form",
                  log_quote(text, length, quoted, sizeof(quoted)));
        return error_code(error, "bad_series_name", "series");
    }
    return STATUS_OK;
}
