/* Points that a request could not store: how many, and the first of them in detail.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/refusals.h"

#include "api/problem.h"

#include <stdio.h>
#include <string.h>

void refusals_add(struct refusals *refusals, struct api_metrics *metrics, uint64_t position,
                  const struct error *error)
{
    if (refusals->count < REFUSALS_KEPT) {
        refusals->first[refusals->count].position = position;
        refusals->first[refusals->count].error = *error;
    }
    refusals->count++;
    if (metrics) {
        metrics_refused(metrics, problem_code_of(error));
    }
}

static void write_refusal(const struct refusals *refusals, const struct refusal *refusal,
                          struct text *text)
{
    const struct error *error = &refusal->error;
    const struct problem_code *row = problem_code_find(problem_code_of(error));
    const char *hint = error->hint[0] ? error->hint : (row ? row->hint : NULL);
    text_add_char(text, '{');
    if (!refusals->by_line || refusal->position > 0) {
        text_add_format(text, "\"%s\":%llu,", refusals->by_line ? "line" : "index",
                        (unsigned long long)refusal->position);
    }
    text_add_format(text, "\"code\":\"%s\",\"message\":", problem_code_of(error));
    text_add_json_string(text, error->text, strlen(error->text));
    if (hint) {
        text_add_string(text, ",\"hint\":");
        text_add_json_string(text, hint, strlen(hint));
    }
    text_add_char(text, '}');
}

void refusals_write_tail(const struct refusals *refusals, const char *request_id, struct text *text)
{
    uint64_t rejected = refusals ? refusals->count : 0;
    text_add_format(text, ",\"rejected\":%llu", (unsigned long long)rejected);
    if (rejected > 0) {
        text_add_format(
            text,
            ",\"type\":\"urn:forecastd:error:points_refused\",\"title\":\"Some points were "
            "refused\",\"status\":422,\"detail\":\"%llu of the points were refused, all others "
            "are stored\",\"code\":\"points_refused\",\"param\":null,\"hint\":\"Each of "
            "the errors says what is wrong; sending the rest again is harmless.\","
            "\"request_id\":\"%s\",\"errors\":[",
            (unsigned long long)rejected, request_id);
        for (uint64_t i = 0; i < rejected && i < REFUSALS_KEPT; i++) {
            if (i > 0) {
                text_add_char(text, ',');
            }
            write_refusal(refusals, &refusals->first[i], text);
        }
        text_add_char(text, ']');
    }
    text_add_char(text, '}');
}

int refusals_format_head(char head[REFUSALS_HEAD_MAX], uint64_t accepted, uint64_t updated)
{
    return snprintf(head, REFUSALS_HEAD_MAX, "{\"accepted\":%llu,\"updated\":%llu",
                    (unsigned long long)accepted, (unsigned long long)updated);
}
