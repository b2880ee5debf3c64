/* JSON of control requests: strict reading into typed fields, with errors that name the field.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Bodies are checked by base/json_reader first (UTF-8, depth 16, nothing behind the value), then
 * read by jansson with duplicates refused. Fields are borrowed from the document.
 */
#ifndef API_JSON_H
#define API_JSON_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_t; /* jansson's */

/* jansson takes its memory from base/memory from now on. */
void json_use_own_memory(void);

/* Reads one object; an empty body is an empty object. Free with json_free. STATUS_INVALID:
 * bad_json, bad_body where it is no object. */
enum status json_read_object(const char *bytes, size_t length, struct json_t **out,
                             struct error *error) MUST_USE;
/* One complete value with nothing behind it: bad_json otherwise. */
enum status json_check_form(const char *bytes, size_t length, struct error *error) MUST_USE;
void json_free(struct json_t *document);

/* Refuses members that are not among the names of `known` (separated by blanks). */
enum status json_check_members(const struct json_t *object, const char *known,
                               struct error *error) MUST_USE;

/* NULL where the member is absent. `null` counts as absent for the typed readers below;
 * json_is_null tells the two apart. */
const struct json_t *json_member(const struct json_t *object, const char *name);
bool json_is_null_member(const struct json_t *object, const char *name);

/* Each leaves *value alone where the member is absent; *present (may be NULL) says whether it was.
 */
enum status json_read_text(const struct json_t *object, const char *name, const char **value,
                           struct error *error) MUST_USE;
enum status json_read_number(const struct json_t *object, const char *name, double minimum,
                             double maximum, double *value, bool *present,
                             struct error *error) MUST_USE;
enum status json_read_integer(const struct json_t *object, const char *name, int64_t minimum,
                              int64_t maximum, int64_t *value, bool *present,
                              struct error *error) MUST_USE;
enum status json_read_boolean(const struct json_t *object, const char *name, bool *value,
                              bool *present, struct error *error) MUST_USE;

#endif
