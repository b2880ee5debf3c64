/* Bounded string builder: no growing buffer without a maximum.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Errors are sticky: once the maximum is exceeded or memory runs out nothing more is added and
 * `failed` stays set; check it once at the end (text_status). The bytes always end in a zero byte
 * that is not counted.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/status.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    char *bytes;
    size_t length;
    size_t capacity;
    size_t maximum;
    enum status failed; /* STATUS_OK, STATUS_TOO_LARGE or STATUS_NO_MEMORY */
};

/* No allocation yet. `maximum` bounds length, the zero byte not counted. */
void text_init(struct text *text, size_t maximum);
void text_release(struct text *text);
void text_clear(struct text *text); /* length 0, failure forgotten, memory kept */

void text_add(struct text *text, const char *bytes, size_t length);
void text_add_string(struct text *text, const char *string);
void text_add_char(struct text *text, char c);
void text_add_format(struct text *text, const char *format, ...) PRINTF_LIKE(2, 3);

/* For who writes the bytes himself: room for so many, NULL where there is none (`failed` says why),
 * and how many of them it became. Nothing else may happen to the text in between. */
char *text_room(struct text *text, size_t most);
void text_grown(struct text *text, size_t length);

/* Decimal integer, and the shortest decimal that reads back as the same double (JSON form; a
 * non-finite value is written as null). Both are fast: made for answers of many numbers. */
void text_add_int(struct text *text, int64_t value);
void text_add_double(struct text *text, double value);

/* As text_add_double, rounded to at most `digits` significant digits (1 to 17). */
void text_add_double_digits(struct text *text, double value, int digits);

/* A JSON string with quotes: control characters, quote and backslash escaped, invalid UTF-8 replaced
 * by U+FFFD. */
void text_add_json_string(struct text *text, const char *bytes, size_t length);

/* RFC 3339 in UTC, "2026-11-22T13:40:00Z"; milliseconds only where there are any. */
void text_add_time(struct text *text, int64_t time_ms);

/* STATUS_OK, or the error with a text that names `what` ("the answer"). */
enum status text_status(const struct text *text, const char *what, struct error *error) MUST_USE;

/* Hand the bytes to the caller (free with mem_free); the builder is empty afterwards. */
char *text_take(struct text *text, size_t *length);

#endif
