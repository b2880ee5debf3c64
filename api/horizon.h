/* How far a forecast goes, and on which grid: inside of making forecasts.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_HORIZON_H
#define API_HORIZON_H

#include "api/forecast_make.h"

/* The step to forecast on: the series' own, or a coarser one, see struct forecast_order. */
int64_t horizon_step_ms(const struct forecast_order *order, int64_t step_ms);

/* How many steps of `step_ms`. Facts, origin and time of issue of `made` are known; what counts
 * from now may end its good_until_ms. STATUS_INVALID with bad_parameter where there are too many.
 */
enum status horizon_choose(const struct forecast_order *order, int64_t step_ms,
                           struct forecast_made *made, size_t *horizon,
                           struct error *error) MUST_USE;

#endif
