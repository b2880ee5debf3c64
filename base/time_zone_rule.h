/* The rule of a time zone for years that its file does not list: a POSIX TZ string.
 * SPDX-License-Identifier: Apache-2.0
 *
 * "CET-1CEST,M3.5.0,M10.5.0/3": standard time, summer time, when it begins and ends. Pure
 * functions; any thread.
 */
#ifndef BASE_TIME_ZONE_RULE_H
#define BASE_TIME_ZONE_RULE_H

#include <stdbool.h>
#include <stdint.h>

enum rule_day { RULE_MONTH, RULE_JULIAN, RULE_ZERO }; /* Mm.w.d, Jn (no leap day), n */

struct rule_change {
    enum rule_day kind;
    int month, week, day;
    int32_t time_s; /* of local time, from -167 to 167 hours */
};

struct time_zone_rule {
    int32_t standard_s, summer_s; /* local time less UTC */
    bool has_summer;
    struct rule_change begin, end; /* of summer time */
};

/* False for what is no such rule. */
bool time_zone_rule_parse(const char *text, struct time_zone_rule *rule);

/* Local time less UTC, in seconds. */
int32_t time_zone_rule_offset_s(const struct time_zone_rule *rule, int64_t time_ms);

/* The first change after a moment; INT64_MAX without summer time. */
int64_t time_zone_rule_next_ms(const struct time_zone_rule *rule, int64_t time_ms);

#endif
