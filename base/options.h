/* Option tables: one row an option drives parsing, bounds, help, example file and effective values.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A table describes fields of a struct. The daemon's configuration and every backbone's
 * hyperparameters use the same form. Unknown keys and values out of bounds are STATUS_INVALID with
 * the key, the value and the bounds in the text (codes unknown_option, bad_value, out_of_bounds).
 */
#ifndef BASE_OPTIONS_H
#define BASE_OPTIONS_H

#include "base/status.h"
#include "base/text.h"

#include <stddef.h>
#include <stdint.h>

enum option_type {
    OPTION_INT,      /* int64_t field */
    OPTION_DOUBLE,   /* double field */
    OPTION_BOOL,     /* bool field */
    OPTION_TEXT,     /* char[] field of `size` bytes */
    OPTION_DURATION, /* int64_t field, milliseconds; written 30s, 10m, 7d */
    OPTION_BYTES,    /* int64_t field; written 16MiB, 64kB, 1024 */
    OPTION_CHOICE,   /* int64_t field: index into `choices` */
};

struct option {
    const char *name; /* "storage.path", or "kernel" in a backbone's table */
    enum option_type type;
    const char *preset; /* the default, as text */
    double minimum, maximum; /* inclusive, in the field's unit; ignored for text, bool and choice */
    const char *const *choices; /* NULL-terminated, for OPTION_CHOICE */
    size_t offset, size;
    int reloadable; /* may change while running (SIGHUP) */
    int secret;     /* masked when printed */
    const char *help; /* one sentence */
};

/* Names the two fields itself, so that it works in rows with and without designators. */
#define OPTION_FIELD(type, field)                                                                  \
    .offset = offsetof(type, field), .size = sizeof(((type *)0)->field)

/* All fields to their presets. Asserts that every preset is valid. */
void options_defaults(const struct option *table, size_t count, void *target);

/* One option by name. `origin` ("--set", "FORECASTD_SERVER_LISTEN", "file:12") goes into the error. */
enum status options_set(const struct option *table, size_t count, void *target, const char *name,
                        const char *value, const char *origin, struct error *error) MUST_USE;

/* NULL where there is none. */
const struct option *options_find(const struct option *table, size_t count, const char *name);

/* The value of one field as text, in the form that options_set reads; secrets masked. */
void options_print(const struct option *option, const void *target, struct text *out);

#endif
