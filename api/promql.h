/* Evaluation of a PromQL expression at a number of instants.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Semantics are those of Prometheus 3: the instants are start + k step; a selector's value is the
 * newest one in (t - lookback, t], a range is (t - range, t]; names are dropped where the quantity
 * changes. What differs, on purpose:
 *   - The lookback is five minutes, but at least two steps of the series, for here series of a step
 *     of a day are ordinary, and two cells where points are old enough for downsampling. Behind now
 *     it is five minutes for all, and a series that a stale marker has ended has no value a step
 *     later: what is not known is not drawn on.
 *   - A point known to be missing is none.
 *   - The forecast (promql_selector.h) is made for as many steps as the last instant wants, at most
 *     limits.horizon_max; that of a counter is its rise per second. It begins behind the last
 * closed step of its series: it has a future only.
 *
 * Bounds: promql_matrix.h, PROMQL_SERIES_MAX series a selector, limits.forecast_series_max
 * forecasts a selector; beyond them promql_limit. Time: the deadline.
 */
#ifndef API_PROMQL_H
#define API_PROMQL_H

#include "api/call.h"
#include "api/promql_matrix.h"
#include "api/promql_parser.h"

#define PROMQL_LOOKBACK_MS 300000

struct promql_evaluation {
    struct api_worker *worker;
    int64_t start_ms, step_ms; /* step at least 1 */
    size_t instants;           /* at least 1 */
    int64_t now_ms;
    struct promql_budget budget;
};

/* To *out, which is to be released by the caller whatever comes back. Rows without any value are
 * left out; rows are in order of labels. promql_limit, promql_timeout, promql_conflict. */
enum status promql_evaluate(struct promql_evaluation *evaluation, const struct promql_node *node,
                            struct promql_matrix *out, struct error *error) MUST_USE;

/* ---------------------------------------------------------------- parts of it */

/* A selector, under the function that stands around it (PROMQL_LAST_OVER_TIME where none does). */
enum status promql_evaluate_selector(struct promql_evaluation *evaluation,
                                     const struct promql_node *selector,
                                     enum promql_function function, struct promql_matrix *out,
                                     struct error *error) MUST_USE;

/* An operator over its two evaluated sides, which it may change. */
enum status promql_evaluate_binary(const struct promql_node *node, struct promql_matrix *left,
                                   struct promql_matrix *right, struct promql_matrix *out,
                                   struct error *error) MUST_USE;

enum status promql_evaluate_aggregate(const struct promql_node *node, struct promql_matrix *in,
                                      struct promql_matrix *out, struct error *error) MUST_USE;

#endif
