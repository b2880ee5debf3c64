/* Live regret: what a champion loses against those it replaced, on the same arrived values.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One row a step group. Losses are pinball over the series' MASE scale, summed in windows of target
 * time a quarter of the horizon long, because errors of neighbouring values share their weather.
 * Another champion or another rival begins anew; so does a restart. A verdict needs
 * REGRET_WINDOWS_MIN whole windows, a loss above REGRET_MARGIN times the rival's, and a difference
 * of REGRET_ERRORS standard errors, twice that at first.
 *
 * Threads: any; one lock, nothing is called under it.
 */
#ifndef API_REGRET_H
#define API_REGRET_H

#include "api/api.h"

#define REGRET_WINDOWS         24 /* remembered */
#define REGRET_WINDOWS_MIN     6
#define REGRET_COUNT_MIN       100 /* values */
#define REGRET_MARGIN          1.10
#define REGRET_ERRORS          3.0 /* neighbouring windows are not quite independent */
#define REGRET_RIVALS_A_WINDOW 64  /* forecasts of the previous champion for comparison */

struct regret;
enum status regret_new(struct regret **out, struct error *error) MUST_USE;
void regret_free(struct regret *regret);

/* Losses of one series on values that arrived in one window. */
struct regret_losses {
    int64_t window; /* target time / window length */
    uint64_t count, rival_count;
    double champion, baseline;    /* over `count` values */
    double champion_again, rival; /* over `rival_count` of them */
};

/* Of a group, to its champion (by id) and the previous one (empty: none). */
void regret_add(struct regret *regret, int64_t step_ms, const char *champion, const char *rival,
                const struct regret_losses *losses);

/* Whether another forecast of the previous champion is worth making: few a window, and only until
 * the champion has proved itself over REGRET_WINDOWS. Counts it. */
bool regret_wants_rival(struct regret *regret, int64_t step_ms, const char *champion,
                        const char *rival, int64_t window);

int64_t regret_window_of(int64_t time_ms, int64_t step_ms, size_t horizon);

#endif
