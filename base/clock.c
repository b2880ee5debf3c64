/* Wall clock and monotonic clock behind one replaceable source; reading and writing of times.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The calendar is Howard Hinnant's "days from civil": years start in March, so the leap day is the
 * last one of a year and no table of months is needed.
 */
#include "base/clock.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#define DAY_MS INT64_C(86400000)

typedef int64_t (*clock_source)(void);
static _Atomic(clock_source) replaced_wall, replaced_monotonic;

int64_t clock_wall_ms(void)
{
    clock_source source = atomic_load_explicit(&replaced_wall, memory_order_acquire);
    if (source != NULL) {
        return source();
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t clock_monotonic_ns(void)
{
    clock_source source = atomic_load_explicit(&replaced_monotonic, memory_order_acquire);
    if (source != NULL) {
        return source();
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_processor_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
}

void clock_wall_replace(int64_t (*source)(void))
{
    atomic_store_explicit(&replaced_wall, source, memory_order_release);
}

void clock_monotonic_replace(int64_t (*source)(void))
{
    atomic_store_explicit(&replaced_monotonic, source, memory_order_release);
}

void clock_sleep_ms(int64_t duration_ms)
{
    if (duration_ms <= 0) {
        return;
    }
    struct timespec left = {.tv_sec = (time_t)(duration_ms / 1000),
                            .tv_nsec = (long)(duration_ms % 1000) * 1000000L};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
    }
}

static int64_t days_from_civil(int year, int month, int day)
{
    int64_t y = (int64_t)year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

void clock_civil(int64_t time_ms, struct civil *civil)
{
    int64_t days = time_ms / DAY_MS;
    int64_t rest = time_ms % DAY_MS;
    if (rest < 0) {
        rest += DAY_MS;
        days--;
    }
    int64_t weekday = (days + 3) % 7; /* 1970-01-01 was a Thursday */
    civil->weekday = (int)(weekday < 0 ? weekday + 7 : weekday);
    civil->millisecond = (int)(rest % 1000);
    civil->second = (int)(rest / 1000 % 60);
    civil->minute = (int)(rest / 60000 % 60);
    civil->hour = (int)(rest / 3600000);

    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    civil->day = (int)(day_of_year - (153 * month_from_march + 2) / 5 + 1);
    civil->month = (int)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    civil->year = (int)(year_of_era + era * 400 + (civil->month <= 2));
}

/* Exactly `count` digits at the cursor, or -1. */
static int read_digits(const char **cursor, const char *end, int count)
{
    int value = 0;
    if (end - *cursor < count) {
        return -1;
    }
    for (int i = 0; i < count; i++) {
        char c = (*cursor)[i];
        if (c < '0' || c > '9') {
            return -1;
        }
        value = value * 10 + (c - '0');
    }
    *cursor += count;
    return value;
}

static int read_char(const char **cursor, const char *end, char wanted)
{
    if (*cursor < end && **cursor == wanted) {
        (*cursor)++;
        return 1;
    }
    return 0;
}

/* A fraction behind the point; digits beyond milliseconds are cut off. -1 without any digit. */
static int read_fraction(const char **cursor, const char *end)
{
    int millisecond = 0;
    int count = 0;
    while (*cursor < end && **cursor >= '0' && **cursor <= '9') {
        if (count < 3) {
            millisecond = millisecond * 10 + (**cursor - '0');
        }
        count++;
        (*cursor)++;
    }
    if (count == 0) {
        return -1;
    }
    for (; count < 3; count++) {
        millisecond *= 10;
    }
    return millisecond;
}

/* Z or +hh:mm as minutes. Returns 1 where one was read, 0 where the text ends, -1 for nonsense.
 * Without strictness +hh and +hhmm are accepted, as databases print them. */
static int read_offset(const char **cursor, const char *end, int strict, int *minutes)
{
    *minutes = 0;
    if (*cursor == end) {
        return 0;
    }
    char sign = *(*cursor)++;
    if (sign == 'Z' || sign == 'z') {
        return 1;
    }
    if (sign != '+' && sign != '-') {
        return -1;
    }
    int hour = read_digits(cursor, end, 2);
    int minute = 0;
    if (strict || *cursor < end) {
        int colon = read_char(cursor, end, ':');
        if (strict && !colon) {
            return -1;
        }
        minute = read_digits(cursor, end, 2);
    }
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59) {
        return -1;
    }
    *minutes = (sign == '-' ? -1 : 1) * (hour * 60 + minute);
    return 1;
}

static int days_of_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* NULL, or what is wrong. */
static const char *parse_time(const char *cursor, const char *end, int strict, int64_t *time_ms)
{
    int year = read_digits(&cursor, end, 4);
    int dash = year >= 0 && read_char(&cursor, end, '-');
    int month = dash ? read_digits(&cursor, end, 2) : -1;
    dash = month >= 0 && read_char(&cursor, end, '-');
    int day = dash ? read_digits(&cursor, end, 2) : -1;
    if (day < 0) {
        return "it does not start with a date as in 2026-11-22";
    }
    if (month < 1 || month > 12 || day < 1 || day > days_of_month(year, month)) {
        return "there is no such day";
    }
    int64_t days = days_from_civil(year, month, day);
    if (cursor == end) {
        *time_ms = days * DAY_MS;
        return strict ? "the time of day is missing" : NULL;
    }
    if (*cursor != 'T' && *cursor != 't' && *cursor != ' ') {
        return "T must stand between date and time";
    }
    cursor++;
    int hour = read_digits(&cursor, end, 2);
    int minute = hour >= 0 && read_char(&cursor, end, ':') ? read_digits(&cursor, end, 2) : -1;
    int second = 0;
    int millisecond = 0;
    int has_second = minute >= 0 && read_char(&cursor, end, ':');
    if (has_second) {
        second = read_digits(&cursor, end, 2);
        if (second >= 0 && read_char(&cursor, end, '.')) {
            millisecond = read_fraction(&cursor, end);
        }
    }
    if (minute < 0 || second < 0 || millisecond < 0 || (strict && !has_second)) {
        return "the time of day is not written as in 13:40:00";
    }
    if (hour > 23 || minute > 59 || second > 59) {
        return "there is no such time of day";
    }
    int offset_minutes;
    int offset = read_offset(&cursor, end, strict, &offset_minutes);
    if (offset < 0 || cursor != end) {
        return "it does not end in Z or an offset as in +02:00";
    }
    if (offset == 0 && strict) {
        return "the offset is missing";
    }
    int64_t minutes = days * 1440 + (int64_t)hour * 60 + minute - offset_minutes;
    *time_ms = (minutes * 60 + second) * 1000 + millisecond;
    return NULL;
}

enum status clock_parse(const char *text, size_t length, int offset_required, int64_t *time_ms,
                        struct error *error)
{
    int64_t parsed = 0;
    text = length > 0 ? text : ""; /* what is empty may stand nowhere */
    const char *problem = parse_time(text, text + length, offset_required, &parsed);
    if (problem != NULL) {
        error_set(error, STATUS_INVALID, "cannot read \"%.*s\" as a time: %s",
                  (int)(length < 40 ? length : 40), text, problem);
        error_code(error, "bad_time", NULL);
        return error_hint(error, "Write times as in 2026-11-22T13:40:00Z.");
    }
    *time_ms = parsed;
    return STATUS_OK;
}

struct duration_unit {
    const char *name;
    int64_t ms;
};

/* From long to short; each may stand once, in this order. */
static const struct duration_unit duration_units[] = {
    {"y", 365 * DAY_MS}, {"w", 7 * DAY_MS}, {"d", DAY_MS}, {"h", 3600000},
    {"m", 60000},        {"s", 1000},       {"ms", 1},
};

static int parse_duration(const char *cursor, const char *end, int64_t *total_ms)
{
    size_t next_unit = 0;
    *total_ms = 0;
    if (end - cursor == 1 && *cursor == '0') {
        return 1; /* nothing needs no unit */
    }
    if (cursor == end) {
        return 0;
    }
    while (cursor < end) {
        int64_t number = 0;
        const char *digits = cursor;
        while (cursor < end && *cursor >= '0' && *cursor <= '9') {
            if (__builtin_mul_overflow(number, 10, &number) ||
                __builtin_add_overflow(number, *cursor - '0', &number)) {
                return 0;
            }
            cursor++;
        }
        const char *unit = cursor;
        while (cursor < end && *cursor >= 'a' && *cursor <= 'z') {
            cursor++;
        }
        size_t count = sizeof(duration_units) / sizeof(duration_units[0]);
        size_t found = next_unit;
        for (; found < count; found++) {
            const char *name = duration_units[found].name;
            size_t name_length = name[1] == '\0' ? 1 : 2;
            if ((size_t)(cursor - unit) == name_length && unit[0] == name[0] &&
                (name_length == 1 || unit[1] == name[1])) {
                break;
            }
        }
        if (digits == unit || found == count ||
            __builtin_mul_overflow(number, duration_units[found].ms, &number) ||
            __builtin_add_overflow(*total_ms, number, total_ms)) {
            return 0;
        }
        next_unit = found + 1;
    }
    return 1;
}

enum status clock_parse_duration(const char *text, size_t length, int64_t *duration_ms,
                                 struct error *error)
{
    int64_t parsed;
    if (!parse_duration(text, text + length, &parsed)) {
        error_set(error, STATUS_INVALID, "cannot read \"%.*s\" as a duration",
                  (int)(length < 40 ? length : 40), text);
        error_code(error, "bad_duration", NULL);
        return error_hint(error, "Write durations as in 500ms, 30s, 10m, 1h30m or 7d.");
    }
    *duration_ms = parsed;
    return STATUS_OK;
}

size_t clock_format(int64_t time_ms, char buffer[32])
{
    struct civil c;
    clock_civil(time_ms, &c);
    int length = snprintf(buffer, 32, "%04d-%02d-%02dT%02d:%02d:%02d", c.year, c.month, c.day,
                          c.hour, c.minute, c.second);
    if (c.millisecond != 0) {
        length += snprintf(buffer + length, 32 - (size_t)length, ".%03d", c.millisecond);
    }
    buffer[length++] = 'Z';
    buffer[length] = '\0';
    return (size_t)length;
}
