/* Delivery of alerts to webhooks: a bounded table of what is still to be told, one thread,
 * patience. SPDX-License-Identifier: Apache-2.0
 *
 * What is told about one alert (by key) replaces what was still waiting about it: a receiver that
 * was away hears the newest state, once. A delivery that fails for now (no answer, 408, 429, 5xx)
 * is tried again after 1, 2, 4 ... seconds or as Retry-After says, at most a minute; others go
 * ahead meanwhile. Redirects are not followed. Log lines name the rule, never address or headers.
 */
#ifndef SERVER_WEBHOOK_H
#define SERVER_WEBHOOK_H

#include "server/alert_rule.h"

#define WEBHOOKS_WAITING_MAX 256

struct webhooks;

/* Reads the files that the rules name (addresses and headers): an error names rule and file. Starts
 * the thread. */
enum status webhooks_start(struct api_services *services, const struct alert_rules *rules,
                           struct webhooks **out, struct error *error) MUST_USE;

/* Takes `body` (JSON). Where the table is full it is dropped, counted and false. Never waits. */
bool webhooks_tell_take(struct webhooks *webhooks, size_t rule, uint64_t key, char *body,
                        size_t length);

/* Ends within two seconds; what waits is lost. NULL is fine. */
void webhooks_stop(struct webhooks *webhooks);

#endif
