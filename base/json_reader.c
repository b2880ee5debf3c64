/* Pull reader of JSON over bytes in memory: no tree, no allocation, strict, bounded depth.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The state says what may come next, the stack of kinds what is open. A token costs one call and no
 * look back: strings without escapes are pointed at where they lie, eight bytes are looked at in
 * one step, and blanks (which machines rarely send) cost one comparison where there are none.
 */
#include "base/json_reader.h"

#include "base/utf8.h"

#include <string.h>

/* One call a token, not four: worth a tenth of the time on bodies of points. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum state {
    VALUE,              /* a value must come */
    FIRST_VALUE_OR_END, /* just behind [ */
    FIRST_KEY_OR_END,   /* just behind { */
    AFTER_VALUE,        /* a comma or the end of what is open */
    BROKEN,
};

static enum json_token broken(struct json_reader *reader, const char *where, const char *problem)
{
    reader->cursor = where;
    reader->problem = where == reader->end ? "the document ends too early" : problem;
    reader->state = BROKEN;
    return JSON_BROKEN;
}

static inline const char *skip_blanks(const char *p, const char *end)
{
    while (p < end && (unsigned char)*p <= ' ' &&
           (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) {
        p++;
    }
    return p;
}

/* The first byte that a string cannot simply contain: quote, backslash, control or beyond ASCII. */
static inline const char *find_special(const char *p, const char *end)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t tops = UINT64_C(0x8080808080808080);
    while (end - p >= 8) {
        uint64_t word;
        memcpy(&word, p, sizeof(word));
        uint64_t quote = word ^ ones * '"';
        uint64_t backslash = word ^ ones * '\\';
        /* A borrow can only mark bytes above one marked rightly, and the lowest is taken. */
        uint64_t marks = (((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) |
                          ((word - ones * 0x20) & ~word) | word) &
                         tops;
        if (marks != 0) {
            return p + (__builtin_ctzll(marks) >> 3);
        }
        p += 8;
    }
#endif
    while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' &&
           *p != '\\') {
        p++;
    }
    return p;
}

/* Four hexadecimal digits; -1 where they are not. */
static int32_t read_hex(const char *p, const char *end)
{
    int32_t value = 0;
    if (end - p < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

/* Decodes the escape at `p` (a backslash) into `out`; returns what follows it, or NULL. */
static const char *read_escape(const char *p, const char *end, char out[4], size_t *out_length)
{
    static const char names[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    *out_length = 1;
    if (end - p < 2) {
        return NULL;
    }
    if (p[1] != 'u') {
        const char *found = p[1] != '\0' ? strchr(names, p[1]) : NULL;
        if (found == NULL) {
            return NULL;
        }
        out[0] = meanings[found - names];
        return p + 2;
    }
    int32_t unit = read_hex(p + 2, end);
    p += 6;
    if (unit < 0 || (unit >= 0xDC00 && unit <= 0xDFFF)) {
        return NULL;
    }
    if (unit >= 0xD800 && unit <= 0xDBFF) {
        if (end - p < 6 || p[0] != '\\' || p[1] != 'u') {
            return NULL;
        }
        int32_t low = read_hex(p + 2, end);
        if (low < 0xDC00 || low > 0xDFFF) {
            return NULL;
        }
        unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
        p += 6;
    }
    *out_length = utf8_encode((uint32_t)unit, out);
    return p;
}

/* A string with escapes: from `from` (behind the quote) it is rebuilt in the scratch. */
static const char *read_escaped(struct json_reader *reader, const char *from)
{
    const char *end = reader->end;
    const char *p = from;
    size_t used = 0;
    for (;;) {
        const char *special = find_special(p, end);
        char decoded[4];
        const char *piece = p;
        size_t piece_length = (size_t)(special - p);
        if (piece_length == 0) {
            unsigned char c = special < end ? (unsigned char)*special : 0;
            if (special < end && c == '"') {
                reader->text = reader->scratch;
                reader->text_length = used;
                return special + 1;
            }
            if (special < end && c == '\\') {
                p = read_escape(special, end, decoded, &piece_length);
                if (p == NULL) {
                    broken(reader, special, "this escape does not exist");
                    return NULL;
                }
                piece = decoded;
            } else {
                piece_length = c >= 0x80 ? utf8_length(special, (size_t)(end - special)) : 0;
                if (piece_length == 0) {
                    broken(reader, special,
                           c >= 0x80 ? "the text is not valid UTF-8"
                                     : "a control character inside a string");
                    return NULL;
                }
                p = special + piece_length;
            }
        } else {
            p = special;
        }
        if (piece_length > sizeof(reader->scratch) - used) {
            broken(reader, special, "a string with escapes is too long");
            return NULL;
        }
        memcpy(reader->scratch + used, piece, piece_length);
        used += piece_length;
    }
}

/* The string that starts at the quote `p`; returns what follows it, or NULL and breaks. */
static inline const char *read_string(struct json_reader *reader, const char *p)
{
    const char *from = p + 1;
    const char *end = reader->end;
    p = find_special(from, end);
    while (p < end && (unsigned char)*p >= 0x80) {
        size_t width = utf8_length(p, (size_t)(end - p));
        if (width == 0) {
            broken(reader, p, "the text is not valid UTF-8");
            return NULL;
        }
        p = find_special(p + width, end);
    }
    if (p == end) {
        broken(reader, p, "");
        return NULL;
    }
    if (*p == '"') {
        reader->text = from;
        reader->text_length = (size_t)(p - from);
        return p + 1;
    }
    if (*p == '\\') {
        return read_escaped(reader, from);
    }
    broken(reader, p, "a control character inside a string");
    return NULL;
}

static enum json_token read_word(struct json_reader *reader, const char *p, const char *word,
                                 size_t length, enum json_token token)
{
    if ((size_t)(reader->end - p) < length || memcmp(p, word, length) != 0) {
        return broken(reader, p, "expected a value");
    }
    reader->cursor = p + length;
    reader->state = AFTER_VALUE;
    return token;
}

static enum json_token open_value(struct json_reader *reader, const char *p)
{
    if (reader->depth == JSON_DEPTH_MAX) {
        return broken(reader, p, "nested too deeply");
    }
    reader->depth++;
    reader->kind[reader->depth] = (unsigned char)*p;
    reader->cursor = p + 1;
    reader->state = *p == '{' ? FIRST_KEY_OR_END : FIRST_VALUE_OR_END;
    return *p == '{' ? JSON_OBJECT_BEGIN : JSON_ARRAY_BEGIN;
}

static inline enum json_token close_value(struct json_reader *reader, const char *p)
{
    reader->depth--;
    reader->cursor = p + 1;
    reader->state = AFTER_VALUE;
    return *p == '}' ? JSON_OBJECT_END : JSON_ARRAY_END;
}

/* `p` stands on the first byte of what should be a value. */
ALWAYS_INLINE enum json_token read_value(struct json_reader *reader, const char *p)
{
    if (p == reader->end) {
        return broken(reader, p, "");
    }
    switch (*p) {
    case '"':
        p = read_string(reader, p);
        if (p == NULL) {
            return JSON_BROKEN;
        }
        reader->cursor = p;
        reader->state = AFTER_VALUE;
        return JSON_STRING;
    case '{':
    case '[':
        return open_value(reader, p);
    case 't':
        return read_word(reader, p, "true", 4, JSON_TRUE);
    case 'f':
        return read_word(reader, p, "false", 5, JSON_FALSE);
    case 'n':
        return read_word(reader, p, "null", 4, JSON_NULL);
    default:
        break;
    }
    size_t used = json_parse_number(p, (size_t)(reader->end - p), &reader->number, &reader->integer,
                                    &reader->is_integer);
    if (used == 0) {
        return broken(reader, p, "expected a value");
    }
    reader->cursor = p + used;
    reader->state = AFTER_VALUE;
    return JSON_NUMBER;
}

/* `p` stands on what should be the quote of a key. */
ALWAYS_INLINE enum json_token read_key(struct json_reader *reader, const char *p)
{
    if (p == reader->end || *p != '"') {
        return broken(reader, p, "expected a key in quotes");
    }
    p = read_string(reader, p);
    if (p == NULL) {
        return JSON_BROKEN;
    }
    p = skip_blanks(p, reader->end);
    if (p == reader->end || *p != ':') {
        return broken(reader, p, "expected a colon behind the key");
    }
    reader->cursor = p + 1;
    reader->state = VALUE;
    return JSON_KEY;
}

ALWAYS_INLINE enum json_token next_token(struct json_reader *reader)
{
    const char *end = reader->end;
    const char *p = skip_blanks(reader->cursor, end);
    switch ((enum state)reader->state) {
    case AFTER_VALUE:
        if (reader->depth == 0) {
            reader->cursor = p;
            return p == end ? JSON_END : broken(reader, p, "something follows the document");
        }
        if (reader->kind[reader->depth] == '{') {
            if (p < end && *p == ',') {
                return read_key(reader, skip_blanks(p + 1, end));
            }
            if (p < end && *p == '}') {
                return close_value(reader, p);
            }
            return broken(reader, p, "expected a comma or }");
        }
        if (p < end && *p == ',') {
            return read_value(reader, skip_blanks(p + 1, end));
        }
        if (p < end && *p == ']') {
            return close_value(reader, p);
        }
        return broken(reader, p, "expected a comma or ]");
    case FIRST_KEY_OR_END:
        if (p < end && *p == '}') {
            return close_value(reader, p);
        }
        return read_key(reader, p);
    case FIRST_VALUE_OR_END:
        if (p < end && *p == ']') {
            return close_value(reader, p);
        }
        return read_value(reader, p);
    case VALUE:
        return read_value(reader, p);
    case BROKEN:
        break;
    }
    return JSON_BROKEN;
}

void json_reader_init(struct json_reader *reader, const char *bytes, size_t length)
{
    /* Field by field: clearing the scratch would cost more than reading a small document. */
    reader->cursor = bytes;
    reader->begin = bytes;
    reader->end = bytes + length;
    reader->text = NULL;
    reader->text_length = 0;
    reader->number = 0.0;
    reader->integer = 0;
    reader->is_integer = 0;
    reader->depth = 0;
    reader->kind[0] = 0;
    reader->state = VALUE;
    reader->last = JSON_END;
    reader->problem = NULL;
}

enum json_token json_next(struct json_reader *reader)
{
    enum json_token token = next_token(reader);
    reader->last = (unsigned char)token;
    return token;
}

enum json_token json_skip_value(struct json_reader *reader)
{
    enum json_token token = (enum json_token)reader->last;
    if (reader->state == VALUE) {
        token = json_next(reader);
    }
    if (token != JSON_OBJECT_BEGIN && token != JSON_ARRAY_BEGIN) {
        return token;
    }
    int outside = reader->depth - 1;
    while (reader->depth > outside && token != JSON_BROKEN) {
        token = json_next(reader);
    }
    return token;
}

enum status json_error(const struct json_reader *reader, struct error *error)
{
    size_t line = 1;
    const char *line_start = reader->begin;
    for (const char *p = reader->begin; p < reader->cursor; p++) {
        if (*p == '\n') {
            line++;
            line_start = p + 1;
        }
    }
    error_set(error, STATUS_INVALID, "cannot read JSON at byte %zu (line %zu, column %zu): %s",
              (size_t)(reader->cursor - reader->begin), line,
              (size_t)(reader->cursor - line_start) + 1,
              reader->problem != NULL ? reader->problem : "not what was expected here");
    return error_code(error, "bad_json", NULL);
}
