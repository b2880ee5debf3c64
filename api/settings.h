/* What a user may set about a series: reading it from PATCH, writing it into answers.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_SETTINGS_H
#define API_SETTINGS_H

#include "base/text.h"
#include "storage/storage.h"

struct json_t;

/* Applies the members of `body` to *settings; null takes a setting back. unknown_field, bad_field.
 * The spans of "exclude" are read apart. */
enum status settings_read(const struct json_t *body, struct series_settings *settings,
                          struct error *error) MUST_USE;

/* The member "exclude" of `body`, sorted and joined; *given says whether it is there. bad_field. */
enum status settings_read_excluded(const struct json_t *body, bool *given, struct time_spans *spans,
                                   struct error *error) MUST_USE;

/* As a JSON object with null for what is not set. */
void settings_write(const struct series_settings *settings, const struct time_spans *excluded,
                    struct text *json);

/* As a JSON array. */
void settings_write_excluded(const struct time_spans *spans, struct text *json);

#endif
