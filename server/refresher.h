/* Keeps live forecasts fresh: one thread that recomputes what new points or closed steps made old.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The writer marks series dirty after each commit (a bit each, under a short lock). The thread
 * gathers for a moment, forecasts in batches with its own worker, issues those that are due
 * (api_issue: watched series before their answers, the others when there is time), and rests in
 * proportion to what it used, so that a flood of points cannot make it take more than a share of
 * one core.
 */
#ifndef SERVER_REFRESHER_H
#define SERVER_REFRESHER_H

#include "api/api.h"

struct refresher;

/* Observes services->writer from now on. */
enum status refresher_start(struct api_services *services, struct refresher **out,
                            struct error *error) MUST_USE;

/* Every series is old: a new model serves. Any thread. */
void refresher_all(struct refresher *refresher);

struct refresher_stats {
    uint64_t refreshed, rounds;
    double busy_seconds;
};
void refresher_stats(struct refresher *refresher, struct refresher_stats *stats);

void refresher_stop(struct refresher *refresher); /* NULL is fine */

#endif
