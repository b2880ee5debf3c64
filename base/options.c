/* Option tables: one row an option drives parsing, bounds, help, example file and effective values.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A value is read into a local first and stored only when all is well, so a refused value leaves
 * the field as it was.
 */
#include "base/options.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MASK "***"

struct bytes_unit {
    const char *name;
    int64_t bytes;
};

/* Powers of two first and large before small: that is the order in which a size is printed. */
static const struct bytes_unit bytes_units[] = {
    {"TiB", INT64_C(1) << 40},
    {"GiB", INT64_C(1) << 30},
    {"MiB", INT64_C(1) << 20},
    {"KiB", INT64_C(1) << 10},
    {"TB", INT64_C(1000000000000)},
    {"GB", 1000000000},
    {"MB", 1000000},
    {"kB", 1000},
    {"B", 1},
};
#define PRINTED_BYTES_UNITS 4

struct duration_unit {
    const char *name;
    int64_t ms;
};

static const struct duration_unit duration_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};

/* Digits with an optional sign; NULL where there are none or too many, else what follows. */
static const char *read_int(const char *value, int64_t *result)
{
    const char *digits = value + (*value == '-' || *value == '+');
    if (*digits < '0' || *digits > '9') {
        return NULL;
    }
    char *end;
    errno = 0;
    *result = strtoll(value, &end, 10);
    return errno == 0 ? end : NULL;
}

static const char *parse_int(const char *value, int64_t *result)
{
    const char *end = read_int(value, result);
    return end != NULL && *end == '\0' ? NULL : "a whole number is needed";
}

static const char *parse_double(const char *value, double *result)
{
    static const char problem[] = "a number is needed";
    /* strtod also reads hexadecimal, blanks and words, which no file should hold. */
    if (value[0] == '\0' || strspn(value, "0123456789+-.eE") != strlen(value)) {
        return problem;
    }
    char *end;
    *result = strtod(value, &end);
    return *end == '\0' && isfinite(*result) ? NULL : problem;
}

static const char *parse_bool(const char *value, bool *result)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < ARRAY_COUNT(yes); i++) {
        /* YAML 1.1 has True and TRUE, too. */
        *result = strcasecmp(value, yes[i]) == 0;
        if (*result || strcasecmp(value, no[i]) == 0) {
            return NULL;
        }
    }
    return "true or false is needed";
}

static const char *parse_duration(const char *value, int64_t *result)
{
    struct error ignored;
    enum status status = clock_parse_duration(value, strlen(value), result, &ignored);
    return status == STATUS_OK ? NULL : "a duration such as 30s, 10m or 7d is needed";
}

static const char *parse_bytes(const char *value, int64_t *result)
{
    static const char problem[] = "a size such as 16MiB, 64kB or 1024 is needed";
    const char *end = read_int(value, result);
    if (end == NULL) {
        return problem;
    }
    if (*end == '\0') {
        return NULL;
    }
    while (*end == ' ') {
        end++;
    }
    for (size_t i = 0; i < ARRAY_COUNT(bytes_units); i++) {
        if (strcmp(end, bytes_units[i].name) == 0) {
            return __builtin_mul_overflow(*result, bytes_units[i].bytes, result) ? problem : NULL;
        }
    }
    return problem;
}

static enum status bad_value(const struct option *option, const char *value, const char *origin,
                             struct error *error)
{
    char quoted[96];
    const char *shown =
        option->secret ? MASK : log_quote(value, strlen(value), quoted, sizeof(quoted));
    error_set(error, STATUS_INVALID, "cannot set %s to %s (%s)", option->name, shown, origin);
    return error_code(error, "bad_value", option->name);
}

/* Appends to the error text set by bad_value. */
static enum status because(struct error *error, const char *code, const char *param,
                           const char *reason)
{
    struct error before = *error;
    error_set(error, before.status, "%s: %s", before.text, reason);
    return error_code(error, code, param);
}

static void print_number(const struct option *option, double value, struct text *out);

static enum status out_of_bounds(const struct option *option, const char *value, const char *origin,
                                 struct error *error)
{
    struct text reason;
    text_init(&reason, 160);
    text_add_string(&reason, "it must lie between ");
    print_number(option, option->minimum, &reason);
    text_add_string(&reason, " and ");
    print_number(option, option->maximum, &reason);
    bad_value(option, value, origin, error);
    enum status status = because(error, "out_of_bounds", option->name, reason.bytes);
    text_release(&reason);
    return status;
}

static const char *parse_choice(const struct option *option, const char *value, int64_t *result)
{
    for (int64_t i = 0; option->choices[i] != NULL; i++) {
        if (strcmp(value, option->choices[i]) == 0) {
            *result = i;
            return NULL;
        }
    }
    return "no such choice";
}

static enum status bad_choice(const struct option *option, const char *value, const char *origin,
                              struct error *error)
{
    struct text reason;
    text_init(&reason, 240);
    text_add_string(&reason, "it must be one of ");
    for (size_t i = 0; option->choices[i] != NULL; i++) {
        text_add_string(&reason, i > 0 ? ", " : "");
        text_add_string(&reason, option->choices[i]);
    }
    bad_value(option, value, origin, error);
    enum status status = because(error, "bad_value", option->name, reason.bytes);
    text_release(&reason);
    return status;
}

static enum status set_text(const struct option *option, char *field, const char *value,
                            const char *origin, struct error *error)
{
    size_t length = strlen(value);
    if (length >= option->size) {
        bad_value(option, value, origin, error);
        return because(error, "bad_value", option->name, "it is too long");
    }
    memcpy(field, value, length + 1);
    return STATUS_OK;
}

static enum status set_double(const struct option *option, double *field, const char *value,
                              const char *origin, struct error *error)
{
    double number = 0.0;
    const char *problem = parse_double(value, &number);
    if (problem != NULL) {
        bad_value(option, value, origin, error);
        return because(error, "bad_value", option->name, problem);
    }
    if (number < option->minimum || number > option->maximum) {
        return out_of_bounds(option, value, origin, error);
    }
    *field = number;
    return STATUS_OK;
}

/* The four kinds whose field is an int64_t. */
static enum status set_int(const struct option *option, int64_t *field, const char *value,
                           const char *origin, struct error *error)
{
    int64_t number = 0;
    const char *problem = option->type == OPTION_INT        ? parse_int(value, &number)
                          : option->type == OPTION_DURATION ? parse_duration(value, &number)
                          : option->type == OPTION_BYTES    ? parse_bytes(value, &number)
                                                            : parse_choice(option, value, &number);
    if (problem != NULL && option->type == OPTION_CHOICE) {
        return bad_choice(option, value, origin, error);
    }
    if (problem != NULL) {
        bad_value(option, value, origin, error);
        return because(error, "bad_value", option->name, problem);
    }
    if (option->type != OPTION_CHOICE &&
        ((double)number < option->minimum || (double)number > option->maximum)) {
        return out_of_bounds(option, value, origin, error);
    }
    *field = number;
    return STATUS_OK;
}

static enum status set_field(const struct option *option, void *target, const char *value,
                             const char *origin, struct error *error)
{
    void *field = (char *)target + option->offset;
    switch (option->type) {
    case OPTION_TEXT:
        return set_text(option, field, value, origin, error);
    case OPTION_DOUBLE:
        CHECK(option->size == sizeof(double));
        return set_double(option, field, value, origin, error);
    case OPTION_BOOL: {
        CHECK(option->size == sizeof(bool));
        bool parsed;
        const char *problem = parse_bool(value, &parsed);
        if (problem != NULL) {
            bad_value(option, value, origin, error);
            return because(error, "bad_value", option->name, problem);
        }
        *(bool *)field = parsed;
        return STATUS_OK;
    }
    case OPTION_INT:
    case OPTION_DURATION:
    case OPTION_BYTES:
    case OPTION_CHOICE:
        CHECK(option->size == sizeof(int64_t));
        return set_int(option, field, value, origin, error);
    }
    return error_set(error, STATUS_INTERNAL, "option %s has no known type", option->name);
}

static void print_duration(int64_t ms, struct text *out)
{
    const struct duration_unit *unit = duration_units;
    if (ms == 0) {
        text_add_string(out, "0s");
        return;
    }
    while (ms % unit->ms != 0) {
        unit++;
    }
    text_add_int(out, ms / unit->ms);
    text_add_string(out, unit->name);
}

static void print_bytes(int64_t bytes, struct text *out)
{
    for (size_t i = 0; i < PRINTED_BYTES_UNITS && bytes != 0; i++) {
        if (bytes % bytes_units[i].bytes == 0) {
            text_add_int(out, bytes / bytes_units[i].bytes);
            text_add_string(out, bytes_units[i].name);
            return;
        }
    }
    text_add_int(out, bytes);
}

/* A bound, in the way the value itself is written. */
static void print_number(const struct option *option, double value, struct text *out)
{
    bool is_whole = fabs(value) <= 4e18;
    if (option->type == OPTION_DURATION && is_whole) {
        print_duration((int64_t)value, out);
    } else if (option->type == OPTION_BYTES && is_whole) {
        print_bytes((int64_t)value, out);
    } else {
        text_add_double(out, value);
    }
}

const struct option *options_find(const struct option *table, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(table[i].name, name) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

enum status options_set(const struct option *table, size_t count, void *target, const char *name,
                        const char *value, const char *origin, struct error *error)
{
    const struct option *option = options_find(table, count, name);
    if (option == NULL) {
        char quoted[96];
        error_set(error, STATUS_INVALID, "there is no option %s (%s)",
                  log_quote(name, strlen(name), quoted, sizeof(quoted)), origin);
        return error_code(error, "unknown_option", name);
    }
    return set_field(option, target, value, origin, error);
}

void options_defaults(const struct option *table, size_t count, void *target)
{
    for (size_t i = 0; i < count; i++) {
        struct error error = {0};
        enum status status = set_field(&table[i], target, table[i].preset, "default", &error);
        if (status != STATUS_OK) {
            check_failed(error.text, __FILE__, __LINE__);
        }
    }
}

void options_print(const struct option *option, const void *target, struct text *out)
{
    const void *field = (const char *)target + option->offset;
    int64_t number = 0;
    if (option->size == sizeof(number) && option->type != OPTION_TEXT) {
        memcpy(&number, field, sizeof(number));
    }
    switch (option->type) {
    case OPTION_TEXT:
        text_add_string(out, option->secret && *(const char *)field != '\0' ? MASK : field);
        break;
    case OPTION_DOUBLE:
        text_add_double(out, *(const double *)field);
        break;
    case OPTION_BOOL:
        text_add_string(out, *(const bool *)field ? "true" : "false");
        break;
    case OPTION_INT:
        text_add_int(out, number);
        break;
    case OPTION_DURATION:
        print_duration(number, out);
        break;
    case OPTION_BYTES:
        print_bytes(number, out);
        break;
    case OPTION_CHOICE:
        text_add_string(out, option->choices[number]);
        break;
    }
}
