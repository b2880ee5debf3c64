/* Points that a request could not store: how many, and the first of them in detail.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_REFUSALS_H
#define API_REFUSALS_H

#include "api/metrics.h"
#include "base/text.h"

#define REFUSALS_KEPT 20

struct refusals {
    uint64_t count;
    bool by_line; /* positions are lines of a file (0: not known) instead of indices of points */
    struct refusal {
        uint64_t position;
        struct error error;
    } first[REFUSALS_KEPT];
};

/* Counts one more, in the metrics too (may be NULL). */
void refusals_add(struct refusals *refusals, struct api_metrics *metrics, uint64_t position,
                  const struct error *error);

/* The answer is {"accepted","updated","rejected"} and, where points were refused, the members of a
 * problem and "errors":[{"index"|"line","code","message","hint"}]. Head and tail are apart, because
 * the counts are known only after the commit, when nothing may fail any more. */
#define REFUSALS_HEAD_MAX 80
int refusals_format_head(char head[REFUSALS_HEAD_MAX], uint64_t accepted, uint64_t updated);

/* `refusals` NULL: none. */
void refusals_write_tail(const struct refusals *refusals, const char *request_id,
                         struct text *text);

#endif
