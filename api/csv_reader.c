/* CSV by RFC 4180: one record after the other, fields unquoted in place.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/csv_reader.h"

#include <string.h>

void csv_reader_init(struct csv_reader *reader, char *bytes, size_t length)
{
    reader->at = bytes;
    reader->end = bytes + length;
    reader->line = 0;
    reader->next_line = 1;
    reader->problem = NULL;
    if (length >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0) {
        reader->at += 3;
    }
}

/* A quoted field whose opening quote is at `at`; doubled quotes become one. Returns what follows.
 */
static char *quoted_field(struct csv_reader *reader, char *at, struct slice *field)
{
    char *out = at + 1;
    field->bytes = out;
    for (at++; at < reader->end; at++) {
        if (*at == '"') {
            if (at + 1 == reader->end || at[1] != '"') {
                field->length = (size_t)(out - field->bytes);
                at++;
                if (at < reader->end && *at != ',' && *at != '\n' && *at != '\r') {
                    reader->problem = "something follows the closing quote of a field";
                }
                while (at < reader->end && *at != ',' && *at != '\n') {
                    at++;
                }
                return at;
            }
            at++;
        }
        reader->next_line += *at == '\n';
        *out++ = *at;
    }
    reader->problem = "the closing quote of a field is missing";
    field->length = (size_t)(out - field->bytes);
    return at;
}

static char *plain_field(const struct csv_reader *reader, char *at, struct slice *field)
{
    char *start = at;
    while (at < reader->end && *at != ',' && *at != '\n') {
        at++;
    }
    field->bytes = start;
    field->length = (size_t)(at - start);
    if (field->length > 0 && (at == reader->end || *at == '\n') && at[-1] == '\r') {
        field->length--;
    }
    return at;
}

bool csv_reader_next(struct csv_reader *reader, struct slice *fields, size_t maximum, size_t *count)
{
    while (reader->at < reader->end && (*reader->at == '\n' || *reader->at == '\r')) {
        reader->next_line += *reader->at == '\n';
        reader->at++;
    }
    if (reader->at == reader->end) {
        return false;
    }
    reader->line = reader->next_line;
    reader->problem = NULL;
    *count = 0;
    for (;;) {
        struct slice field;
        bool quoted = reader->at < reader->end && *reader->at == '"';
        reader->at = quoted ? quoted_field(reader, reader->at, &field)
                            : plain_field(reader, reader->at, &field);
        if (*count < maximum) {
            fields[*count] = field;
        }
        (*count)++;
        if (reader->at == reader->end) {
            return true;
        }
        if (*reader->at++ == '\n') {
            reader->next_line++;
            return true;
        }
    }
}
