/* Parts that the routes under /prometheus share: their parameters and their envelope.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Parameters come from the query string and from a form in the body; where both have one, the
 * body's counts. Unknown ones are ignored, as Prometheus does. Answers are
 * {"status":"success","data":...}; errors get their envelope in problem.c.
 */
#ifndef API_PROMETHEUS_H
#define API_PROMETHEUS_H

#include "api/call.h"
#include "api/promql_selector.h"

/* Into call->query. bad_query, missing memory. */
enum status prometheus_parameters(struct call *call, struct error *error) MUST_USE;

/* Seconds since the epoch with fraction, or RFC 3339. */
enum status prometheus_time(const struct call *call, const char *name, int64_t preset,
                            int64_t *time_ms, struct error *error) MUST_USE;

/* Seconds with fraction, or a duration; above zero. */
enum status prometheus_duration(const struct call *call, const char *name, int64_t preset,
                                int64_t *duration_ms, struct error *error) MUST_USE;

/* The selectors of match[]; to be released whatever comes back. */
#define PROMETHEUS_MATCH_MAX 64
struct prometheus_match {
    struct promql_selector *selectors[PROMETHEUS_MATCH_MAX];
    size_t count;
};
enum status prometheus_match(const struct call *call, struct prometheus_match *match,
                             struct error *error) MUST_USE;
void prometheus_match_release(struct prometheus_match *match);

/* {"__name__":"m",...} */
void prometheus_add_labels(struct text *json, struct slice labels);

#endif
