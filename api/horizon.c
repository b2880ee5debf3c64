/* How far a forecast goes, and on which grid.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/horizon.h"

#define DAY_MS INT64_C(86400000) /* the coarsest of the canonical steps */

static int64_t least_coarser(const struct forecast_order *order)
{
    return (order->horizon_ms + COARSER_STEPS - 1) / COARSER_STEPS;
}

int64_t horizon_step_ms(const struct forecast_order *order, int64_t step_ms)
{
    if (!order->coarser || step_ms == 0 ||
        order->horizon_ms <= (int64_t)order->steps_max * step_ms) {
        return step_ms;
    }
    int64_t coarser_ms = grid_coarser(step_ms, least_coarser(order));
    return coarser_ms ? coarser_ms : step_ms; /* none: horizon_choose refuses */
}

static enum status refuse(const struct forecast_order *order, int64_t step_ms, int64_t steps,
                          struct error *error)
{
    error_set(error, STATUS_INVALID, "the horizon is %lld steps of %lld ms, the limit is %zu",
              (long long)steps, (long long)step_ms, order->steps_max);
    error_code(error, "bad_parameter", "horizon");
    if (order->coarser && least_coarser(order) > DAY_MS && step_ms <= DAY_MS) {
        /* a longer step of the series would change nothing */
        return error_hint(error, "Ask for a shorter horizon: at most %d days.", COARSER_STEPS);
    }
    int64_t least_ms = order->horizon_ms / (int64_t)order->steps_max + 1;
    return error_hint(error,
                      "Ask for a shorter horizon, or set a longer step of the series: PATCH "
                      "/api/v1/series/{id} with {\"step\":\"%llds\"} or more.",
                      (long long)(least_ms / 1000 + 1));
}

/* The steps of a horizon that counts from now: those that begin within it, and the first that is
 * not over, for which months that are longer or shorter than their mean may need more; of
 * crossings, which come between two steps, the next one too. They are as many until some time
 * passes. */
static size_t steps_from_now(const struct forecast_order *order, int64_t step_ms,
                             struct forecast_made *made)
{
    int64_t least_ms = made->facts.lead_ms + (made->facts.months ? 3 * DAY_MS : 0);
    int64_t ahead_ms = order->horizon_ms > least_ms ? order->horizon_ms : least_ms;
    ahead_ms += made->issued_ms - made->origin_ms + (order->crossings ? step_ms - 1 : 0);
    int64_t steps = ahead_ms > step_ms ? ahead_ms / step_ms : 1;
    if (steps >= (int64_t)order->steps_max) {
        return order->steps_max;
    }
    made->good_until_ms = made->issued_ms + (steps + 1) * step_ms - ahead_ms;
    return (size_t)steps;
}

/* The horizon behind the steps that are over: as many until one more is. */
static size_t steps_behind(const struct forecast_order *order, size_t steps,
                           struct forecast_made *made)
{
    size_t over = forecast_over(made);
    made->good_until_ms = forecast_end_ms(made, over + 1);
    size_t most = steps > order->steps_max ? steps : order->steps_max;
    return steps + over < most ? steps + over : most;
}

enum status horizon_choose(const struct forecast_order *order, int64_t step_ms,
                           struct forecast_made *made, size_t *horizon, struct error *error)
{
    bool stale = made->issued_ms - made->origin_ms > stale_after_ms(step_ms) + 2 * step_ms;
    int64_t steps = (int64_t)order->steps;
    if (order->horizon_ms > 0) {
        steps = (order->horizon_ms + step_ms - 1) / step_ms;
    }
    if (order->horizon_ms > 0 && order->as_many) {
        steps = steps > (int64_t)order->steps ? steps : (int64_t)order->steps;
        steps = steps < (int64_t)order->steps_max ? steps : (int64_t)order->steps_max;
    }
    if (order->horizon_ms > 0 && steps > (int64_t)order->steps_max) {
        return refuse(order, step_ms, steps, error);
    }
    *horizon = (size_t)steps;
    if (order->from_now && order->horizon_ms > 0 && !stale) {
        *horizon = steps_from_now(order, step_ms, made);
    } else if (order->late && !stale) {
        *horizon = steps_behind(order, *horizon, made);
    }
    return STATUS_OK;
}
