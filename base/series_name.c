/* Names of series: canonical text name{key="value",...}, and its checks and writing.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Writing is on the path of every point, so it looks at each byte once through a table of classes
 * and copies in one piece whatever needs no escape, which is nearly everything.
 */
#include "base/series_name.h"

#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

#define NAME_BYTES_MAX  512
#define KEY_BYTES_MAX   64
#define VALUE_BYTES_MAX 256

/* What a byte means within a name or value; or-ed over all bytes. */
enum byte_class {
    BYTE_PLAIN = 0,
    BYTE_QUOTES_NAME = 1, /* { } , = : the name must be written in quotes */
    BYTE_ESCAPED = 2,     /* " \ */
    BYTE_NEWLINE = 4,     /* a control character that a value may hold */
    BYTE_CONTROL = 8,
    BYTE_BEYOND_ASCII = 16,
};

#define C   BYTE_CONTROL
#define N   BYTE_NEWLINE
#define Q   BYTE_QUOTES_NAME
#define E   BYTE_ESCAPED
#define U   BYTE_BEYOND_ASCII
#define U16 U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U
static const unsigned char classes[256] = {
    C,   C,   C,   C,   C,   C,   C,   C,   C, C, N, C, C, C, C, C, /* 00 */
    C,   C,   C,   C,   C,   C,   C,   C,   C, C, C, C, C, C, C, C, /* 10 */
    0,   0,   E,   0,   0,   0,   0,   0,   0, 0, 0, 0, Q, 0, 0, 0, /* blank " , */
    0,   0,   0,   0,   0,   0,   0,   0,   0, 0, 0, 0, 0, Q, 0, 0, /* = */
    0,   0,   0,   0,   0,   0,   0,   0,   0, 0, 0, 0, 0, 0, 0, 0, /* 40 */
    0,   0,   0,   0,   0,   0,   0,   0,   0, 0, 0, 0, E, 0, 0, 0, /* backslash */
    0,   0,   0,   0,   0,   0,   0,   0,   0, 0, 0, 0, 0, 0, 0, 0, /* 60 */
    0,   0,   0,   0,   0,   0,   0,   0,   0, 0, 0, Q, 0, Q, 0, C, /* { } delete */
    U16, U16, U16, U16, U16, U16, U16, U16,
};
#undef C
#undef N
#undef Q
#undef E
#undef U
#undef U16

static inline unsigned classify(const char *bytes, size_t length)
{
    unsigned found = BYTE_PLAIN;
    for (size_t i = 0; i < length; i++) {
        found |= classes[(unsigned char)bytes[i]];
    }
    return found;
}

/* Well-formed UTF-8 without the control characters U+0080 ... U+009F. */
static bool is_clean_utf8(const char *bytes, size_t length)
{
    for (size_t at = 0; at < length;) {
        size_t width = utf8_length(bytes + at, length - at);
        if (width == 0 || (width == 2 && (unsigned char)bytes[at] == 0xC2 &&
                           (unsigned char)bytes[at + 1] < 0xA0)) {
            return false;
        }
        at += width;
    }
    return true;
}

/* At most 80 bytes that can be shown: whole characters, nothing that controls a terminal. */
static int shown(struct slice text)
{
    size_t length = text.length < 80 ? text.length : 80;
    while (length > 0 && (!is_clean_utf8(text.bytes, length) ||
                          (classify(text.bytes, length) & (BYTE_CONTROL | BYTE_NEWLINE)))) {
        length--;
    }
    return (int)length;
}

static enum status bad_name(struct slice name, const char *problem, struct error *error)
{
    error_set(error, STATUS_INVALID, "cannot use \"%.*s\" as a series name: %s", shown(name),
              name.bytes, problem);
    return error_code(error, "bad_series_name", "series");
}

static enum status bad_label(struct slice key, const char *problem, struct error *error)
{
    error_set(error, STATUS_INVALID, "cannot use label \"%.*s\": %s", shown(key), key.bytes,
              problem);
    return error_code(error, "bad_label", "labels");
}

static inline bool is_key_start(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static inline bool is_key_byte(unsigned char c)
{
    return is_key_start(c) || (c >= '0' && c <= '9') || c == '.' || c == '-';
}

static inline int compare_slices(struct slice a, struct slice b)
{
    size_t common = a.length < b.length ? a.length : b.length;
    int order = memcmp(a.bytes, b.bytes, common);
    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

/* NULL, or what is wrong with the key. */
static const char *key_problem(struct slice key)
{
    if (key.length == 0 || key.length > KEY_BYTES_MAX) {
        return "a key has 1 to 64 bytes";
    }
    if (!is_key_start((unsigned char)key.bytes[0])) {
        return "a key starts with a letter or underscore";
    }
    for (size_t i = 1; i < key.length; i++) {
        if (!is_key_byte((unsigned char)key.bytes[i])) {
            return "a key consists of letters, digits, underscore, point and minus";
        }
    }
    if (key.length == 8 && memcmp(key.bytes, "__name__", 8) == 0) {
        return "this key stands for the name itself";
    }
    return NULL;
}

static size_t count_escaped(struct slice text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.length; i++) {
        count += (classes[(unsigned char)text.bytes[i]] & (BYTE_ESCAPED | BYTE_NEWLINE)) != 0;
    }
    return count;
}

/* Appends with \ " and newline escaped; at most twice the bytes. */
static size_t write_escaped(char *out, const char *bytes, size_t length)
{
    if (!(classify(bytes, length) & (BYTE_ESCAPED | BYTE_NEWLINE))) {
        memcpy(out, bytes, length);
        return length;
    }
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        char c = bytes[i];
        if (c == '\\' || c == '"' || c == '\n') {
            out[used++] = '\\';
        }
        out[used++] = (char)(c == '\n' ? 'n' : c);
    }
    return used;
}

/* Checks the labels, drops empty ones and sorts the rest; few labels, mostly sorted already. */
static enum status prepare_labels(struct series_label *labels, size_t *count, struct error *error)
{
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) {
        struct series_label label = labels[i];
        const char *problem = key_problem(label.key);
        if (problem != NULL) {
            return bad_label(label.key, problem, error);
        }
        if (label.value.length > VALUE_BYTES_MAX) {
            return bad_label(label.key, "a value has at most 256 bytes", error);
        }
        unsigned found = classify(label.value.bytes, label.value.length);
        if (found & BYTE_CONTROL) {
            return bad_label(label.key, "its value holds a control character", error);
        }
        if ((found & BYTE_BEYOND_ASCII) && !is_clean_utf8(label.value.bytes, label.value.length)) {
            return bad_label(label.key, "its value is not valid UTF-8 or holds a control character",
                             error);
        }
        size_t place = kept++;
        int order = 1;
        while (place > 0 && (order = compare_slices(labels[place - 1].key, label.key)) > 0) {
            labels[place] = labels[place - 1];
            place--;
        }
        if (place > 0 && order == 0) {
            bad_label(label.key, "it is given twice", error);
            return error_code(error, "duplicate_label", "labels");
        }
        labels[place] = label;
    }
    *count = kept;
    return STATUS_OK;
}

static enum status check_name(struct slice name, bool *quoted, struct error *error)
{
    if (name.length == 0) {
        return bad_name(name, "it is empty", error);
    }
    if (name.length > NAME_BYTES_MAX) {
        return bad_name(name, "a name has at most 512 bytes", error);
    }
    unsigned found = classify(name.bytes, name.length);
    *quoted = (found & (BYTE_QUOTES_NAME | BYTE_ESCAPED)) || name.bytes[0] == ' ' ||
              name.bytes[name.length - 1] == ' ';
    if (found & (BYTE_CONTROL | BYTE_NEWLINE)) {
        return bad_name(name, "it holds a control character", error);
    }
    if ((found & BYTE_BEYOND_ASCII) && !is_clean_utf8(name.bytes, name.length)) {
        return bad_name(name, "it is not valid UTF-8 or holds a control character", error);
    }
    return STATUS_OK;
}

enum status series_name_write(struct slice name, struct series_label *labels, size_t label_count,
                              char out[SERIES_TEXT_MAX], size_t *length, struct error *error)
{
    bool quoted = false;
    enum status status = check_name(name, &quoted, error);
    if (status != STATUS_OK) {
        return status;
    }
    if (label_count == 0 && !quoted) {
        memcpy(out, name.bytes, name.length);
        *length = name.length;
        return STATUS_OK;
    }
    if (label_count > SERIES_LABELS_MAX) {
        error_set(error, STATUS_INVALID, "cannot use %zu labels: a series has at most %d",
                  label_count, SERIES_LABELS_MAX);
        return error_code(error, "too_many_labels", "labels");
    }
    status = prepare_labels(labels, &label_count, error);
    if (status != STATUS_OK) {
        return status;
    }
    size_t used = 0;
    if (quoted) {
        out[used++] = '{';
        out[used++] = '"';
        used += write_escaped(out + used, name.bytes, name.length);
        out[used++] = '"';
    } else {
        memcpy(out, name.bytes, name.length);
        used = name.length;
    }
    bool first = !quoted;
    for (size_t i = 0; i < label_count; i++) {
        struct slice key = labels[i].key;
        struct slice value = labels[i].value;
        if (value.length == 0) {
            continue; /* the same as no label */
        }
        /* Comma, equals sign, quotes and the last brace; escapes are counted where it matters. */
        size_t plain_end = used + key.length + value.length + 5;
        if (plain_end + value.length > SERIES_TEXT_MAX &&
            plain_end + count_escaped(value) > SERIES_TEXT_MAX) {
            return bad_name(name, "the text with all labels is longer than 4096 bytes", error);
        }
        out[used++] = first ? '{' : ',';
        first = false;
        memcpy(out + used, key.bytes, key.length);
        used += key.length;
        out[used++] = '=';
        out[used++] = '"';
        used += write_escaped(out + used, value.bytes, value.length);
        out[used++] = '"';
    }
    if (!first || quoted) {
        out[used++] = '}';
    }
    *length = used;
    return STATUS_OK;
}
