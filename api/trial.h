/* Trials by the newest past of a series: of a model that was not weighed on it, and of baselines.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A model serves every series of its step, also one that came later or whose held-back origins
 * there was no time to look at, and nothing says that it is any good there: its gate, blend and
 * calibration spoke of others. So before it serves such a series, both it and the method that would
 * serve instead forecast the newest three stretches of it, each as long as the model was trained to
 * look ahead and a sixth of the series at most, from what lies before. The model serves where its
 * quantile loss is not clearly the larger one. A series of fewer than TRIAL_VALUES values is
 * trusted to the model, which has seen more of such series than there is to see here.
 *
 * Which baseline serves where no model does is found in the same way: the damped trend, but where
 * its loss on these stretches is clearly the larger one, of those that are better the one with the
 * least: seasonal naive and seasonal drift, where there is a season, drift, last value. What has
 * twice its loss on one stretch is out. Stretches are 24 steps, or 48, 96 ..., the first of these
 * that is not shorter than the horizon: what is best an hour ahead need not be a week ahead.
 *
 * Verdicts are kept by series and model, or length, until the series has gone a stretch further or
 * has another past (a span was excluded, a season set); not of series without an id (0), which come
 * with a request.
 *
 * Threads: any; one lock for the table, nothing is called under it.
 */
#ifndef API_TRIAL_H
#define API_TRIAL_H

#include "api/api.h"
#include "api/desk.h"

#define TRIAL_VALUES 48

struct trials; /* at most 10 MB */
enum status trials_new(struct trials **out, struct error *error) MUST_USE;
void trials_free(struct trials *trials);

/* The baseline to serve the series, by so many steps ahead; the damped trend where there is too
 * little to tell or no memory. Uses the desk's scratch. */
enum baseline trial_baseline(struct forecast_desk *desk, uint32_t id,
                             const struct model_series *series, size_t horizon);

/* Forecasts by `first`, else by damped trend, seasonal naive, drift, last value, the first that
 * can; false where none can. `scratch` as for baseline_forecast. */
struct trial_served {
    enum baseline by;
    unsigned unable; /* a bit each: those that were asked and could not, and the seasonal naive
                      * where there is no season */
};
bool trial_forecast(enum baseline first, const struct model_series *series, double *scratch,
                    struct forecast *out, struct trial_served *served) MUST_USE;

/* Whether `snapshot` may serve series `id`, whose values are at hand. True where it was weighed on
 * the series, where there is too little to tell, and where memory or the model fails, which is
 * somebody else's to say. Uses the desk's scratch and its forecaster of that model. */
bool trial_passed(struct forecast_desk *desk, struct snapshot *snapshot, uint32_t id,
                  const struct model_series *series);

#endif
