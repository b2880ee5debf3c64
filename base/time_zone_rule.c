/* The rule of a time zone for years that its file does not list: a POSIX TZ string.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/time_zone_rule.h"

#include <string.h>

#define DAY_S 86400

/* ---------------------------------------------------------------- reading */

static bool read_digits(const char **text, int maximum, int *value)
{
    *value = 0;
    if (**text < '0' || **text > '9') {
        return false;
    }
    while (**text >= '0' && **text <= '9') {
        *value = *value * 10 + (**text - '0');
        if (*value > maximum) {
            return false;
        }
        (*text)++;
    }
    return true;
}

/* "<+0330>" or letters. */
static bool skip_name(const char **text)
{
    const char *begin = *text;
    if (**text == '<') {
        const char *end = strchr(*text, '>');
        if (end == NULL) {
            return false;
        }
        *text = end + 1;
        return true;
    }
    while ((**text >= 'a' && **text <= 'z') || (**text >= 'A' && **text <= 'Z')) {
        (*text)++;
    }
    return *text - begin >= 3;
}

/* [+-]hh[:mm[:ss]] */
static bool read_time(const char **text, int32_t *seconds)
{
    int sign = **text == '-' ? -1 : 1;
    int hours, minutes = 0, rest = 0;
    *text += **text == '-' || **text == '+' ? 1 : 0;
    if (!read_digits(text, 167, &hours)) {
        return false;
    }
    if (**text == ':') {
        (*text)++;
        if (!read_digits(text, 59, &minutes)) {
            return false;
        }
    }
    if (**text == ':') {
        (*text)++;
        if (!read_digits(text, 59, &rest)) {
            return false;
        }
    }
    *seconds = sign * (hours * 3600 + minutes * 60 + rest);
    return true;
}

static bool read_change(const char **text, struct rule_change *change)
{
    if (**text != ',') {
        return false;
    }
    (*text)++;
    bool good;
    if (**text == 'M') {
        (*text)++;
        change->kind = RULE_MONTH;
        good = read_digits(text, 12, &change->month) && *(*text)++ == '.' &&
               read_digits(text, 5, &change->week) && *(*text)++ == '.' &&
               read_digits(text, 6, &change->day) && change->month >= 1 && change->week >= 1;
    } else if (**text == 'J') {
        (*text)++;
        change->kind = RULE_JULIAN;
        good = read_digits(text, 365, &change->day) && change->day >= 1;
    } else {
        change->kind = RULE_ZERO;
        good = read_digits(text, 365, &change->day);
    }
    change->time_s = 2 * 3600;
    if (good && **text == '/') {
        (*text)++;
        good = read_time(text, &change->time_s);
    }
    return good;
}

bool time_zone_rule_parse(const char *text, struct time_zone_rule *rule)
{
    int32_t west = 0;
    *rule = (struct time_zone_rule){0};
    if (!skip_name(&text) || !read_time(&text, &west)) {
        return false;
    }
    rule->standard_s = -west;
    if (*text == '\0') {
        return true;
    }
    if (!skip_name(&text)) {
        return false;
    }
    rule->has_summer = true;
    rule->summer_s = rule->standard_s + 3600;
    if (*text != ',') {
        if (!read_time(&text, &west)) {
            return false;
        }
        rule->summer_s = -west;
    }
    return read_change(&text, &rule->begin) && read_change(&text, &rule->end) && *text == '\0';
}

/* ---------------------------------------------------------------- days */

static bool is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Days from 1970-01-01 to the first of a month (Hinnant's algorithm, proleptic Gregorian). */
static int64_t days_to(int64_t year, int month)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int64_t year_of(int64_t seconds)
{
    int64_t year = 1970 + seconds / DAY_S * 400 / 146097; /* as many days as 400 years have */
    while (days_to(year + 1, 1) * DAY_S <= seconds) {
        year++;
    }
    while (days_to(year, 1) * DAY_S > seconds) {
        year--;
    }
    return year;
}

/* Day of a change in a year, from 1970-01-01. */
static int64_t day_of(const struct rule_change *change, int64_t year)
{
    int64_t first = days_to(year, 1);
    if (change->kind == RULE_ZERO) {
        return first + change->day;
    }
    if (change->kind == RULE_JULIAN) { /* day 60 is always the first of March */
        return first + change->day - 1 + (is_leap(year) && change->day >= 60 ? 1 : 0);
    }
    int64_t month = days_to(year, change->month);
    int64_t next = change->month < 12 ? days_to(year, change->month + 1) : days_to(year + 1, 1);
    int64_t weekday = ((month + 4) % 7 + 7) % 7; /* 1970-01-01 was a Thursday */
    int64_t day = month + (change->day - weekday + 7) % 7 + 7 * (change->week - 1);
    while (day >= next) { /* week 5 is the last one */
        day -= 7;
    }
    return day;
}

/* Moments, in seconds of UTC, at which summer time of a year begins and ends. Each may be a week
 * inside of a year beside it. */
static int64_t begin_of(const struct time_zone_rule *rule, int64_t year)
{
    return day_of(&rule->begin, year) * DAY_S + rule->begin.time_s - rule->standard_s;
}

static int64_t end_of(const struct time_zone_rule *rule, int64_t year)
{
    return day_of(&rule->end, year) * DAY_S + rule->end.time_s - rule->summer_s;
}

static int64_t floor_seconds(int64_t time_ms)
{
    return time_ms / 1000 - (time_ms % 1000 < 0 ? 1 : 0);
}

int32_t time_zone_rule_offset_s(const struct time_zone_rule *rule, int64_t time_ms)
{
    if (!rule->has_summer) {
        return rule->standard_s;
    }
    int64_t seconds = floor_seconds(time_ms);
    int64_t year = year_of(seconds);
    int64_t begins = year + 1, ends = year + 1; /* years of the last changes up to the moment */
    while (begin_of(rule, begins) > seconds) {
        begins--;
    }
    while (end_of(rule, ends) > seconds) {
        ends--;
    }
    /* Where one summer ends as the next one begins there is nothing between. */
    return begin_of(rule, begins) >= end_of(rule, ends) ? rule->summer_s : rule->standard_s;
}

int64_t time_zone_rule_next_ms(const struct time_zone_rule *rule, int64_t time_ms)
{
    if (!rule->has_summer) {
        return INT64_MAX;
    }
    int64_t seconds = floor_seconds(time_ms);
    int64_t year = year_of(seconds);
    int64_t begins = year - 1, ends = year - 1;
    while (begin_of(rule, begins) <= seconds) {
        begins++;
    }
    while (end_of(rule, ends) <= seconds) {
        ends++;
    }
    int64_t begin = begin_of(rule, begins), end = end_of(rule, ends);
    int64_t next = begin < end ? begin : end;
    return next < INT64_MAX / 1000 ? next * 1000 : INT64_MAX;
}
