/* The watch over alert rules: one thread that looks at the forecasts of their series in the
 * background. SPDX-License-Identifier: Apache-2.0
 *
 * A rule is about at most ALERT_SERIES_MAX series. A series is looked at when it has new points,
 * when a model was published, and otherwise once a minute, because time passes. The thread has the
 * lowest priority and a worker's state of its own, so neither ingest nor serving waits for it; it
 * hands what is to be told to webhook.h. What that has no room for has not been told: it stays as
 * it was, and the next round tells it, also where the series is gone meanwhile. `for` and `repeat`
 * are of the monotonic clock, startsAt and endsAt of the wall clock. What fires is known to the
 * process only: after a restart it fires again, with a new startsAt.
 */
#ifndef SERVER_ALERTS_H
#define SERVER_ALERTS_H

#include "server/alert_rule.h"

#define ALERT_SERIES_MAX 500

struct alerts;

/* Copies the rules. With none of them nothing is started and *out is NULL. */
enum status alerts_start(struct api_services *services, const struct alert_rules *rules,
                         int64_t every_ms, struct alerts **out, struct error *error) MUST_USE;
void alerts_stop(struct alerts *alerts); /* NULL is fine */

#endif
