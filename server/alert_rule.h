/* Alert rules of the configuration: alerts.<rule>.<key>, one table of keys for all of them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A rule names series, a condition on their forecast, and a webhook that is told when the condition
 * begins to hold and when it has ceased to.
 */
#ifndef SERVER_ALERT_RULE_H
#define SERVER_ALERT_RULE_H

#include "api/api.h"

#define ALERT_RULES_MAX 32

struct alert_rule {
    char name[48];
    char series[512];          /* a selector */
    char above[32], below[32]; /* a number; one of the two */
    int64_t within_ms;
    int64_t measure; /* enum alert_measure */
    double quantile;
    int64_t chance;            /* 0, 1, 2: p10, p50, p90 */
    int64_t for_ms, repeat_ms; /* repeat 0: told once */
    char url[512], url_file[256];
    char header_file[256], ca_file[256];
    int64_t timeout_ms, retries;
    char summary[256];
};

struct alert_rules {
    struct alert_rule rules[ALERT_RULES_MAX]; /* in the order in which they were first named */
    size_t count;
};

extern const struct option alert_rule_options[];
extern const size_t alert_rule_option_count;

/* `name` is "<rule>.<key>"; the rule is made where it is new. Errors name the whole key. */
enum status alert_rules_set(struct alert_rules *rules, const char *name, const char *value,
                            const char *origin, struct error *error) MUST_USE;

/* Every rule is complete and makes sense: the error names the rule and the key at fault. Files are
 * not looked at. */
enum status alert_rules_check(const struct alert_rules *rules, struct error *error) MUST_USE;

/* Of a checked rule. */
void alert_rule_condition(const struct alert_rule *rule, struct alert_condition *condition);

#endif
