/* Bounded string builder: no growing buffer without a maximum.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/text.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/decimal.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FIRST_CAPACITY 256

/* What a builder without memory points at: its bytes are always a zero-terminated string. Never
 * written to, since its capacity counts as 0. */
static char nothing[1];

/* Room for `extra` more bytes and the zero byte; where there is none, `failed` is set. */
static bool grow(struct text *text, size_t extra)
{
    if (text->failed != STATUS_OK) {
        return false;
    }
    if (extra > text->maximum - text->length) {
        text->failed = STATUS_TOO_LARGE;
        return false;
    }
    size_t needed = text->length + extra + 1;
    size_t wanted = text->capacity != 0 ? text->capacity : FIRST_CAPACITY;
    while (wanted < needed) {
        if (size_mul(wanted, 2, &wanted)) {
            wanted = needed;
        }
    }
    /* The maximum bounds memory too; maximum + 1 overflows only for "no maximum". */
    if (text->maximum < SIZE_MAX && wanted > text->maximum + 1) {
        wanted = text->maximum + 1;
    }
    char *bytes = mem_resize(text->capacity != 0 ? text->bytes : NULL, wanted, 1);
    if (bytes == NULL) {
        text->failed = STATUS_NO_MEMORY;
        return false;
    }
    text->bytes = bytes;
    text->capacity = wanted;
    return true;
}

static inline bool reserve(struct text *text, size_t extra)
{
    if (__builtin_expect(text->failed == STATUS_OK && text->capacity > text->length &&
                             extra < text->capacity - text->length,
                         1)) {
        return true;
    }
    return grow(text, extra);
}

void text_init(struct text *text, size_t maximum)
{
    *text = (struct text){.bytes = nothing, .maximum = maximum};
}

void text_release(struct text *text)
{
    if (text->capacity != 0) {
        mem_free(text->bytes);
    }
    text_init(text, text->maximum);
}

void text_clear(struct text *text)
{
    text->length = 0;
    text->failed = STATUS_OK;
    if (text->capacity != 0) {
        text->bytes[0] = '\0';
    }
}

void text_add(struct text *text, const char *bytes, size_t length)
{
    if (length == 0 || !reserve(text, length)) {
        return;
    }
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

char *text_room(struct text *text, size_t most)
{
    return reserve(text, most) ? text->bytes + text->length : NULL;
}

void text_grown(struct text *text, size_t length)
{
    CHECK(length < text->capacity - text->length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

void text_add_string(struct text *text, const char *string)
{
    text_add(text, string, strlen(string));
}

void text_add_char(struct text *text, char c)
{
    if (reserve(text, 1)) {
        text->bytes[text->length++] = c;
        text->bytes[text->length] = '\0';
    }
}

void text_add_format(struct text *text, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    CHECK(length >= 0);
    if ((size_t)length < sizeof(line)) {
        text_add(text, line, (size_t)length);
        return;
    }
    if (!reserve(text, (size_t)length)) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(text->bytes + text->length, (size_t)length + 1, format, arguments);
    va_end(arguments);
    text->length += (size_t)length;
}

void text_add_int(struct text *text, int64_t value)
{
    char digits[DECIMAL_BYTES_MAX];
    text_add(text, digits, decimal_write_int(digits, value));
}

void text_add_double(struct text *text, double value)
{
    if (!isfinite(value)) {
        text_add(text, "null", 4);
        return;
    }
    char digits[DECIMAL_BYTES_MAX];
    text_add(text, digits, decimal_write_double(digits, value));
}

void text_add_double_digits(struct text *text, double value, int digits)
{
    if (!isfinite(value)) {
        text_add(text, "null", 4);
        return;
    }
    char written[DECIMAL_BYTES_MAX];
    text_add(text, written, decimal_write_double_digits(written, value, digits));
}

/* The escape of a byte below 0x20, quote or backslash; NULL for all others. */
static const char *short_escape(unsigned char c)
{
    switch (c) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\b':
        return "\\b";
    case '\f':
        return "\\f";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    default:
        return NULL;
    }
}

void text_add_json_string(struct text *text, const char *bytes, size_t length)
{
    text_add_char(text, '"');
    size_t done = 0; /* everything before is written */
    size_t at = 0;
    while (at < length) {
        unsigned char c = (unsigned char)bytes[at];
        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
            at++;
            continue;
        }
        size_t width = c >= 0x80 ? utf8_length(bytes + at, length - at) : 0;
        if (width > 0) {
            at += width;
            continue;
        }
        text_add(text, bytes + done, at - done);
        const char *escape = short_escape(c);
        if (c >= 0x80) {
            text_add(text, "\xEF\xBF\xBD", 3);
        } else if (escape != NULL) {
            text_add(text, escape, 2);
        } else {
            text_add_format(text, "\\u%04x", (unsigned)c);
        }
        at++;
        done = at;
    }
    text_add(text, bytes + done, at - done);
    text_add_char(text, '"');
}

void text_add_time(struct text *text, int64_t time_ms)
{
    char buffer[32];
    text_add(text, buffer, clock_format(time_ms, buffer));
}

enum status text_status(const struct text *text, const char *what, struct error *error)
{
    if (text->failed == STATUS_OK) {
        return STATUS_OK;
    }
    if (text->failed == STATUS_TOO_LARGE) {
        return error_set(error, STATUS_TOO_LARGE, "%s would be larger than %zu bytes", what,
                         text->maximum);
    }
    return error_set(error, text->failed, "could not reserve memory for %s", what);
}

char *text_take(struct text *text, size_t *length)
{
    if (length != NULL) {
        *length = text->length;
    }
    char *bytes = text->capacity != 0 ? text->bytes : mem_copy_text("", 0);
    text_init(text, text->maximum);
    return bytes;
}
