/* A trial of a model on a series that its training did not weigh, by the newest past of that
 * series. SPDX-License-Identifier: Apache-2.0
 *
 * A model serves every series of its step, also one that came later or that there was no time to
 * look at, and nothing says that it is any good there: its gate, blend and calibration spoke of
 * others. So before it serves such a series, both it and the method that would serve instead
 * forecast the newest three stretches of it, each from what lies before, and the model serves where
 * its quantile loss is not clearly the larger one. A series of fewer than TRIAL_VALUES values is
 * trusted to the model, which has seen more of such series than there is to see here.
 *
 * Verdicts are kept by series and model until the series has gone a stretch further.
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

/* Whether `snapshot` may serve series `id`, whose values are at hand. True where its training has
 * weighed the series, where there is too little to tell, and where memory or the model fails, which
 * is somebody else's to say. `horizon` is that of the answer. Uses the desk's scratch. */
bool trial_passed(struct forecast_desk *desk, struct snapshot *snapshot, uint32_t id,
                  const struct model_series *series, size_t horizon);

#endif
