/* A backtest on stored points, as a job: it trains, forecasts and scores, and publishes nothing.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SERVER_BACKTEST_JOB_H
#define SERVER_BACKTEST_JOB_H

#include "api/api.h"

/* The chosen series of the step that most of them have; series of another step are counted as left
 * out. `train` has everything but series and horizon; its seconds or steps are for each of the
 * job's seeds, its seed is the first of them, and its report tells of all as of one. `result`
 * receives the object of `forecastd backtest --json` with by_series, worst series first, 100 at
 * most. STATUS_INVALID (too little data: says what is needed; or more seeds than a day has time
 * for), CANCELLED, NO_MEMORY. Blocks; on the caller's thread. */
enum status backtest_job_run(struct api_services *services, struct api_worker *worker,
                             const struct job *job, const struct train_request *train,
                             struct text *result, struct error *error) MUST_USE;

#endif
