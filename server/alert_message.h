/* What a webhook is told: JSON in the form of Alertmanager's, version 4, one alert a message.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SERVER_ALERT_MESSAGE_H
#define SERVER_ALERT_MESSAGE_H

#include "server/alert_rule.h"

#define ALERT_MESSAGE_BYTES_MAX ((size_t)64 << 10)

struct alert_message {
    const struct alert_rule *rule;
    struct slice series; /* canonical text */
    bool firing;         /* else resolved */
    int64_t starts_ms, ends_ms;
    const struct alert_finding *finding;
};

/* Stable over restarts: of the rule's name and the series. */
uint64_t alert_fingerprint(const char *rule, struct slice series);

/* Labels are alertname, series and the series' own; annotations are summary, threshold, value and
 * crosses_at (where it is known). */
void alert_message_write(const struct alert_message *message, struct text *out);

#endif
