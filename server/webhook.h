/* Delivery of alerts to webhooks: a bounded table of what is still to be told, one thread,
 * patience. SPDX-License-Identifier: Apache-2.0
 *
 * What is told about one alert (by key) replaces what was still waiting about it: a receiver that
 * was away hears the newest state, once. A delivery that fails for now (no answer, 408, 429, 5xx)
 * is tried again after 1, 2, 4 ... seconds or as Retry-After says, at most a minute apart; after
 * the rule's `retries` it has failed, which is counted and logged, and goes on once a minute, since
 * nobody else would tell what it has to say. A receiver that does not answer is tried once a wait
 * for its whole rule, and rules take turns (webhook_table.h): nobody waits behind another rule for
 * longer than its one call in flight. Redirects are not followed. Log lines name the rule, never
 * address or headers.
 */
#ifndef SERVER_WEBHOOK_H
#define SERVER_WEBHOOK_H

#include "server/alert_rule.h"

#define WEBHOOKS_WAITING_MAX 256
#define WEBHOOKS_WAIT_MS_MAX 60000

struct webhooks;

/* Reads the files that the rules name (addresses and headers): an error names rule and file. Starts
 * the thread. */
enum status webhooks_start(struct api_services *services, const struct alert_rules *rules,
                           struct webhooks **out, struct error *error) MUST_USE;

/* Takes `body` (JSON). False where the rule has no place left: it is dropped and counted, nobody
 * hears of it, and the caller tells it later. Never waits. */
bool webhooks_tell_take(struct webhooks *webhooks, size_t rule, uint64_t key, char *body,
                        size_t length);

/* Ends within two seconds; what waits is lost. NULL is fine. */
void webhooks_stop(struct webhooks *webhooks);

#endif
