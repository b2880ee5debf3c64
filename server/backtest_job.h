/* A backtest on stored points, as a job: it trains, forecasts and scores, and publishes nothing.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SERVER_BACKTEST_JOB_H
#define SERVER_BACKTEST_JOB_H

#include "api/api.h"

/* The chosen series of the step that most of them have; series of another step are counted as left
 * out. `train` has everything but series and horizon. `result` receives the object of `forecastd
 * backtest --json` with by_series, worst series first, 100 at most. STATUS_INVALID (too little
 * data: says what is needed), CANCELLED, NO_MEMORY. Blocks; on the caller's thread. */
enum status backtest_job_run(struct api_services *services, struct api_worker *worker,
                             const struct job *job, const struct train_request *train,
                             struct text *result, struct error *error) MUST_USE;

#endif
