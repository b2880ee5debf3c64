/* Pull reader of JSON over bytes in memory: no tree, no allocation, strict, bounded depth.
 * SPDX-License-Identifier: Apache-2.0
 *
 * For the two places where a document tree would cost too much or cannot be had: the body of points
 * (tens of millions of values a second) and the header of a model file. Control requests use a JSON
 * library. RFC 8259: one value, valid UTF-8, no trailing commas, no comments, no NaN.
 *
 *     json_reader_init(&r, bytes, length);
 *     while (json_next(&r) == JSON_NUMBER) ...
 */
#ifndef BASE_JSON_READER_H
#define BASE_JSON_READER_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 24 /* OpenTelemetry's metrics nest to 18 */

enum json_token {
    JSON_END,          /* the document is complete and only blanks follow */
    JSON_BROKEN,       /* syntax error: json_error() tells */
    JSON_OBJECT_BEGIN,
    JSON_OBJECT_END,
    JSON_ARRAY_BEGIN,
    JSON_ARRAY_END,
    JSON_KEY,          /* text, text_length; the value follows */
    JSON_STRING,       /* text, text_length */
    JSON_NUMBER,       /* number; and integer where is_integer */
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL,
};

struct json_reader {
    const char *cursor;
    const char *end;
    const char *begin;
    const char *text;     /* of the last key or string: points into the input, or into scratch where it had escapes */
    size_t text_length;
    double number;
    int64_t integer;
    int is_integer;       /* written without fraction or exponent and fits int64 */
    int depth;
    unsigned char kind[JSON_DEPTH_MAX + 1]; /* private: what is open, and what may come */
    unsigned char state;
    unsigned char last;   /* private: the token last returned */
    const char *problem;  /* why JSON_BROKEN */
    char scratch[1024];   /* a longer string with escapes is JSON_BROKEN */
};

void json_reader_init(struct json_reader *reader, const char *bytes, size_t length);
enum json_token json_next(struct json_reader *reader);

/* Skip the value that comes next (after a key, or at the start), or the rest of the object or array
 * whose first token was just read. Returns the last token of the value, or JSON_BROKEN; after a
 * scalar there is nothing left to skip, and its token is returned again. */
enum json_token json_skip_value(struct json_reader *reader);

/* Byte offset, line and column (from 1) of the cursor and the reason, as STATUS_INVALID with code bad_json. */
enum status json_error(const struct json_reader *reader, struct error *error);

/* The correctly rounded double of a JSON number; exposed for the CSV and line readers. Returns the
 * number of bytes used, 0 where there is no number (or one of more than 1023 bytes). Beyond the range of
 * a double the number is infinite, beyond the small end 0: whoever stores it must look. */
size_t json_parse_number(const char *bytes, size_t length, double *number, int64_t *integer,
                         int *is_integer);

#endif
