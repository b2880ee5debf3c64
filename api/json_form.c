/* First look at a control body: well formed, UTF-8, not too deep.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Apart from json.c, because jansson and base/json_reader use the same names.
 */
#include "api/json.h"

#include "base/json_reader.h"

/* jansson allows a nesting of 2,048 and recurses: the reader's bound comes first. */
enum status json_check_form(const char *bytes, size_t length, struct error *error)
{
    struct json_reader reader;
    json_reader_init(&reader, bytes, length);
    for (;;) {
        enum json_token token = json_next(&reader);
        if (token == JSON_END) {
            return STATUS_OK;
        }
        if (token == JSON_BROKEN) {
            return json_error(&reader, error);
        }
    }
}
