/* Inside of issuing: one series on its way, and what it learns before it is forecast.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_ISSUE_H
#define API_ISSUE_H

#include "api/desk.h"
#include "api/regret.h"

#define HELD_BACK 4 /* origins of a new model that a series is asked about */

/* One series on its way. */
struct issue {
    struct forecast_desk *desk;
    uint32_t id;
    struct series_info info;
    struct series_facts facts;
    struct model_series series;
    double *values;
    struct track track;
    size_t horizon;
    int64_t origin_ms;
    double scale;              /* of MASE; NaN where there is none */
    struct snapshot *champion; /* counted; NULL: a baseline serves */
    bool lost_trial;           /* there is a champion, and this series is not for it */
    struct snapshot *previous; /* counted; NULL: none */
};

/* The id of a model, empty for none. */
static inline const char *issue_model(const struct snapshot *snapshot)
{
    return snapshot ? snapshot_record(snapshot)->id : "";
}

/* The values that came since the last time, against the vintages that foresaw them: a lesson for
 * issue->track.calibration, and losses for the regret of the group. Without memory or a readable
 * store nothing is learned this time. */
void issue_settle(struct issue *issue);

/* Where a champion is to serve that nothing was learned of yet: the calibration begins anew from
 * half of what it was, a new series where its group is, and learns from what the model would have
 * said at origins that its training held back. Where another one serves in the end (an outage,
 * say), the track turns to that again and keeps this. */
void issue_begin_model(struct issue *issue);

#endif
