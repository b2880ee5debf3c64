/* The table of keys of an alert rule, and what has to hold for a whole rule.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/alert_rule.h"

#include "base/check.h"
#include "base/json_reader.h"
#include "base/series_name.h"
#include "server/fetch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const measures[] = {"quantile", "crossing", NULL};
static const char *const chances[] = {"p10", "p50", "p90", NULL};

#define FIELD(field) OPTION_FIELD(struct alert_rule, field)
#define HOURS(n)     ((n)*3600e3)

/* name, type, default, minimum, maximum, choices, field, reloadable, secret, help */
const struct option alert_rule_options[] = {
    {"series", OPTION_TEXT, "", 0, 0, NULL, FIELD(series), 0, 0,
     "The series that it is about, as a selector."},
    {"above", OPTION_TEXT, "", 0, 0, NULL, FIELD(above), 0, 0,
     "Threshold: alert where the forecast goes above it."},
    {"below", OPTION_TEXT, "", 0, 0, NULL, FIELD(below), 0, 0,
     "Threshold: alert where the forecast goes below it."},
    {"within", OPTION_DURATION, "1h", 1000, HOURS(24 * 365), NULL, FIELD(within_ms), 0, 0,
     "How far ahead it looks; at least a step of the series."},
    {"measure", OPTION_CHOICE, "quantile", 0, 0, measures, FIELD(measure), 0, 0,
     "quantile: it is beyond at some step; crossing: the time to the threshold is below within."},
    {"quantile", OPTION_DOUBLE, "0.5", 0.001, 0.999, NULL, FIELD(quantile), 0, 0,
     "Of the forecast, for measure quantile: 0.9 warns early of what may rise."},
    {"chance", OPTION_CHOICE, "p50", 0, 0, chances, FIELD(chance), 0, 0,
     "Of the first crossing, for measure crossing: p50 is the median time to the threshold."},
    {"for", OPTION_DURATION, "0s", 0, HOURS(24 * 7), NULL, FIELD(for_ms), 0, 0,
     "How long the condition has to hold before anybody is told."},
    {"repeat", OPTION_DURATION, "4h", 0, HOURS(24 * 31), NULL, FIELD(repeat_ms), 0, 0,
     "Time after which a firing alert is told again; 0 tells it once."},
    {"url", OPTION_TEXT, "", 0, 0, NULL, FIELD(url), 0, 0, "Of the webhook, http or https."},
    {"url_file", OPTION_TEXT, "", 0, 0, NULL, FIELD(url_file), 0, 0,
     "Instead, a file with the address, where that is a secret."},
    {"header_file", OPTION_TEXT, "", 0, 0, NULL, FIELD(header_file), 0, 0,
     "Header lines sent along, such as Authorization: Bearer."},
    {"ca_file", OPTION_TEXT, "", 0, 0, NULL, FIELD(ca_file), 0, 0,
     "Certificates to trust instead of the system's."},
    {"timeout", OPTION_DURATION, "10s", 100, 60e3, NULL, FIELD(timeout_ms), 0, 0,
     "Of one delivery."},
    {"retries", OPTION_INT, "6", 0, 10, NULL, FIELD(retries), 0, 0,
     "Tries after a failed one, 1, 2, 4 ... seconds later; then one a minute."},
    {"summary", OPTION_TEXT, "", 0, 0, NULL, FIELD(summary), 0, 0,
     "Annotation that people read; empty: made from the rule."},
};
const size_t alert_rule_option_count = ARRAY_COUNT(alert_rule_options);

static bool is_name(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        bool letter = (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= 'A' && text[i] <= 'Z');
        bool digit = text[i] >= '0' && text[i] <= '9';
        if (!letter && !digit && text[i] != '_' && text[i] != '-') {
            return false;
        }
    }
    return length > 0 && length < sizeof(((struct alert_rule *)NULL)->name);
}

static struct alert_rule *find_rule(struct alert_rules *rules, const char *name, size_t length)
{
    for (size_t i = 0; i < rules->count; i++) {
        if (strlen(rules->rules[i].name) == length &&
            memcmp(rules->rules[i].name, name, length) == 0) {
            return &rules->rules[i];
        }
    }
    if (rules->count == ALERT_RULES_MAX) {
        return NULL;
    }
    struct alert_rule *rule = &rules->rules[rules->count++];
    options_defaults(alert_rule_options, alert_rule_option_count, rule);
    snprintf(rule->name, sizeof(rule->name), "%.*s", (int)length, name);
    return rule;
}

enum status alert_rules_set(struct alert_rules *rules, const char *name, const char *value,
                            const char *origin, struct error *error)
{
    size_t length = strcspn(name, ".");
    if (name[length] == '\0' || !is_name(name, length)) {
        error_set(error, STATUS_INVALID, "%s: 'alerts.%.80s' is no rule with a key", origin, name);
        error_code(error, "unknown_option", "alerts");
        return error_hint(error,
                          "Write alerts.<rule>.<key>, the rule in letters, digits, - and _.");
    }
    struct alert_rule *rule = find_rule(rules, name, length);
    if (rule == NULL) {
        error_set(error, STATUS_TOO_LARGE, "%s: more than %d alert rules", origin, ALERT_RULES_MAX);
        return error_code(error, "too_many_rules", "alerts");
    }
    enum status status = options_set(alert_rule_options, alert_rule_option_count, rule,
                                     name + length + 1, value, origin, error);
    return status == STATUS_OK ? status : error_wrap(error, "alert rule '%s'", rule->name);
}

static enum status bad_rule(const struct alert_rule *rule, const char *key, const char *why,
                            struct error *error)
{
    char param[sizeof(error->param)];
    snprintf(param, sizeof(param), "alerts.%s.%s", rule->name, key);
    error_set(error, STATUS_INVALID, "alert rule '%s': '%s' %s", rule->name, key, why);
    return error_code(error, "bad_value", param);
}

static bool parse_threshold(const char *text, double *value)
{
    int64_t integer;
    int is_integer;
    return json_parse_number(text, strlen(text), value, &integer, &is_integer) == strlen(text) &&
           isfinite(*value);
}

static enum status check_rule(const struct alert_rule *rule, struct error *error)
{
    struct selector *selector = NULL;
    struct error cause = {0};
    double threshold;
    bool above = rule->above[0] != '\0';
    if (rule->series[0] == '\0') {
        return bad_rule(rule, "series", "is missing", error);
    }
    if (selector_parse(rule->series, strlen(rule->series), &selector, &cause) != STATUS_OK) {
        return bad_rule(rule, "series", cause.text, error);
    }
    selector_free(selector);
    if (above == (rule->below[0] != '\0')) {
        return bad_rule(rule, above ? "below" : "above",
                        above ? "and 'above' exclude each other" : "or 'below' is missing", error);
    }
    if (!parse_threshold(above ? rule->above : rule->below, &threshold)) {
        return bad_rule(rule, above ? "above" : "below", "is no number", error);
    }
    if ((rule->url[0] != '\0') == (rule->url_file[0] != '\0')) {
        return bad_rule(rule, "url", "or 'url_file' must be given, one of them", error);
    }
    if (rule->url[0] != '\0' && fetch_check_url("it", rule->url, &cause) != STATUS_OK) {
        return bad_rule(rule, "url", "must be http:// or https:// with a host and no password",
                        error);
    }
    return STATUS_OK;
}

enum status alert_rules_check(const struct alert_rules *rules, struct error *error)
{
    for (size_t i = 0; i < rules->count; i++) {
        enum status status = check_rule(&rules->rules[i], error);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

void alert_rule_condition(const struct alert_rule *rule, struct alert_condition *condition)
{
    static const double levels[] = {0.1, 0.5, 0.9};
    *condition = (struct alert_condition){
        .measure = (enum alert_measure)rule->measure,
        .above = rule->above[0] != '\0',
        .within_ms = rule->within_ms,
    };
    condition->level = condition->measure == ALERT_QUANTILE ? rule->quantile : levels[rule->chance];
    CHECK(parse_threshold(condition->above ? rule->above : rule->below, &condition->threshold));
}
