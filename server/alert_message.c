/* Writing of messages for webhooks.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/alert_message.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define DIGITS 6

uint64_t alert_fingerprint(const char *rule, struct slice series)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325); /* FNV-1a */
    for (; *rule != '\0'; rule++) {
        hash = (hash ^ (unsigned char)*rule) * UINT64_C(0x100000001B3);
    }
    hash *= UINT64_C(0x100000001B3); /* a zero byte between the two */
    for (size_t i = 0; i < series.length; i++) {
        hash = (hash ^ (unsigned char)series.bytes[i]) * UINT64_C(0x100000001B3);
    }
    return hash;
}

static void add_member(struct text *out, const char *name, const char *bytes, size_t length)
{
    text_add_format(out, ",\"%s\":", name);
    text_add_json_string(out, bytes, length);
}

static void add_labels(const struct alert_message *message, struct text *out)
{
    char scratch[SERIES_TEXT_MAX];
    struct series_label labels[SERIES_LABELS_MAX];
    struct slice name = {0};
    size_t count = 0;
    struct error ignored = {0};
    text_add_string(out, "{\"alertname\":");
    text_add_json_string(out, message->rule->name, strlen(message->rule->name));
    add_member(out, "series", message->series.bytes, message->series.length);
    if (series_name_split(message->series.bytes, message->series.length, scratch, &name, labels,
                          &count, &ignored) == STATUS_OK) {
        for (size_t i = 0; i < count; i++) {
            const struct slice *key = &labels[i].key;
            bool taken = (key->length == 9 && memcmp(key->bytes, "alertname", 9) == 0) ||
                         (key->length == 6 && memcmp(key->bytes, "series", 6) == 0);
            if (!taken) {
                text_add_char(out, ',');
                text_add_json_string(out, key->bytes, key->length);
                text_add_char(out, ':');
                text_add_json_string(out, labels[i].value.bytes, labels[i].value.length);
            }
        }
    }
    text_add_char(out, '}');
}

/* "the 0.9 quantile of the forecast of cpu is above 80 within 1h" */
static void add_summary(const struct alert_message *message, struct text *out)
{
    char rule[160];
    const struct alert_rule *what = message->rule;
    static const char *const chances[] = {"10 %", "50 %", "90 %"};
    const char *side = what->above[0] != '\0' ? "above" : "below";
    const char *threshold = what->above[0] != '\0' ? what->above : what->below;
    long long seconds = (long long)(what->within_ms / 1000);
    struct text text;
    text_init(&text, SERIES_TEXT_MAX + sizeof(rule));
    if (what->summary[0] != '\0') {
        text_add_string(&text, what->summary);
    } else {
        text_add(&text, message->series.bytes, message->series.length);
        if (what->measure == ALERT_QUANTILE) {
            snprintf(rule, sizeof(rule),
                     ": the %g quantile of its forecast goes %s %s within %lld s", what->quantile,
                     side, threshold, seconds);
        } else {
            snprintf(rule, sizeof(rule), ": it goes %s %s within %lld s with a chance of %s", side,
                     threshold, seconds, chances[what->chance]);
        }
        text_add_string(&text, rule);
    }
    text_add_json_string(out, text.bytes != NULL ? text.bytes : "", text.length);
    text_release(&text);
}

static void add_annotations(const struct alert_message *message, struct text *out)
{
    const struct alert_rule *rule = message->rule;
    const struct alert_finding *finding = message->finding;
    const char *threshold = rule->above[0] != '\0' ? rule->above : rule->below;
    text_add_string(out, "{\"summary\":");
    add_summary(message, out);
    add_member(out, "threshold", threshold, strlen(threshold));
    if (finding->usable && !finding->stale && !isnan(finding->figure)) {
        text_add_string(out, ",\"value\":\"");
        text_add_double_digits(out, finding->figure, DIGITS);
        text_add_char(out, '"');
    }
    if (finding->when_ms != INT64_MIN) {
        text_add_string(out, ",\"crosses_at\":\"");
        text_add_time(out, finding->when_ms);
        text_add_char(out, '"');
    }
    text_add_char(out, '}');
}

void alert_message_write(const struct alert_message *message, struct text *out)
{
    const char *status = message->firing ? "firing" : "resolved";
    struct text labels, annotations;
    text_init(&labels, ALERT_MESSAGE_BYTES_MAX / 6);
    text_init(&annotations, ALERT_MESSAGE_BYTES_MAX / 6);
    add_labels(message, &labels);
    add_annotations(message, &annotations);
    const char *label_text = labels.bytes != NULL ? labels.bytes : "{}";
    const char *annotation_text = annotations.bytes != NULL ? annotations.bytes : "{}";
    uint64_t fingerprint = alert_fingerprint(message->rule->name, message->series);
    /* A group is one series of a rule: receivers take an incident for over once its group is. */
    text_add_format(out, "{\"version\":\"4\",\"groupKey\":\"%s:%016llx\",\"truncatedAlerts\":0,",
                    message->rule->name, (unsigned long long)fingerprint);
    text_add_format(out, "\"status\":\"%s\",\"receiver\":\"%s\",", status, message->rule->name);
    text_add_string(out, "\"groupLabels\":");
    text_add_string(out, label_text);
    text_add_string(out, ",\"commonLabels\":");
    text_add_string(out, label_text);
    text_add_string(out, ",\"commonAnnotations\":");
    text_add_string(out, annotation_text);
    text_add_format(out,
                    ",\"externalURL\":\"\",\"alerts\":[{\"status\":\"%s\",\"labels\":", status);
    text_add_string(out, label_text);
    text_add_string(out, ",\"annotations\":");
    text_add_string(out, annotation_text);
    text_add_string(out, ",\"startsAt\":\"");
    text_add_time(out, message->starts_ms);
    text_add_string(out, "\",\"endsAt\":\"");
    if (message->firing) {
        text_add_string(out, "0001-01-01T00:00:00Z"); /* Alertmanager's "not yet" */
    } else {
        text_add_time(out, message->ends_ms);
    }
    text_add_format(out, "\",\"generatorURL\":\"\",\"fingerprint\":\"%016llx\"}]}",
                    (unsigned long long)fingerprint);
    text_release(&labels);
    text_release(&annotations);
}
