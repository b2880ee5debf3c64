/* A trial of a model on a series that it was not weighed on, by the newest past of that series.
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
 * Verdicts are kept by series and model until the series has gone a stretch further; not of series
 * without an id (0), which come with a request.
 * Threads: any; one lock for the table, nothing is called under it.
 */
#ifndef API_TRIAL_H
#define API_TRIAL_H

#include "api/api.h"
#include "api/desk.h"

#define TRIAL_VALUES 48

struct trials;
enum status trials_new(struct trials **out, struct error *error) MUST_USE;
void trials_free(struct trials *trials);

/* Whether `snapshot` may serve series `id`, whose values are at hand. True where it was weighed on
 * the series, where there is too little to tell, and where memory or the model fails, which is
 * somebody else's to say. Uses the desk's scratch and its forecaster of that model. */
bool trial_passed(struct forecast_desk *desk, struct snapshot *snapshot, uint32_t id,
                  const struct model_series *series);

#endif
