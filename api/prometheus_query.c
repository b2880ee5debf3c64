/* /prometheus/api/v1/query and query_range: PromQL over history and forecasts.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"
#include "api/prometheus.h"
#include "api/promql.h"
#include "base/clock.h"
#include "base/decimal.h"

#include <math.h>
#include <string.h>

#define INSTANTS_MAX   11000
#define TIMEOUT_MS     10000
#define TIMEOUT_MAX_MS 30000

/* ---------------------------------------------------------------- answers */

/* [seconds,"value"], put together in place: a week of minutes has ten thousand of them. */
static void add_pair(struct text *json, int64_t time_ms, double value)
{
    char *pair = text_room(json, 2 * DECIMAL_BYTES_MAX + 16);
    int64_t seconds = time_ms / 1000, rest = time_ms % 1000;
    size_t used = 1;
    if (!pair) {
        return;
    }
    pair[0] = '[';
    if (time_ms >= 0 || rest == 0) {
        used += decimal_write_int(pair + used, seconds);
    } else {
        used += decimal_write_double(pair + used, (double)time_ms / 1000.0);
    }
    if (rest > 0) {
        pair[used++] = '.';
        pair[used++] = (char)('0' + rest / 100);
        pair[used++] = (char)('0' + rest / 10 % 10);
        pair[used++] = (char)('0' + rest % 10);
    }
    memcpy(pair + used, ",\"", 2);
    used += 2;
    if (isfinite(value)) {
        used += decimal_write_double(pair + used, value);
    } else {
        const char *word = isnan(value) ? "NaN" : value > 0.0 ? "+Inf" : "-Inf";
        size_t length = strlen(word);
        memcpy(pair + used, word, length);
        used += length;
    }
    memcpy(pair + used, "\"]", 2);
    text_grown(json, used + 2);
}

static void add_values(struct text *json, const struct promql_evaluation *evaluation,
                       const struct promql_row *row)
{
    bool first = true;
    text_add_string(json, ",\"values\":[");
    for (size_t i = 0; i < evaluation->instants; i++) {
        if (promql_is_absent(row->values[i])) {
            continue;
        }
        if (!first) {
            text_add_char(json, ',');
        }
        first = false;
        add_pair(json, evaluation->start_ms + (int64_t)i * evaluation->step_ms, row->values[i]);
    }
    text_add_char(json, ']');
}

static void add_rows(struct text *json, const struct promql_evaluation *evaluation,
                     const struct promql_matrix *matrix, bool range)
{
    text_add_char(json, '[');
    for (size_t r = 0; r < matrix->count; r++) {
        const struct promql_row *row = &matrix->rows[r];
        text_add_string(json, r ? ",{\"metric\":" : "{\"metric\":");
        prometheus_add_labels(json, promql_row_labels(row));
        if (range) {
            add_values(json, evaluation, row);
        } else {
            text_add_string(json, ",\"value\":");
            add_pair(json, evaluation->start_ms, row->values[0]);
        }
        text_add_char(json, '}');
    }
    text_add_char(json, ']');
}

static enum status answer(struct call *call, const struct promql_evaluation *evaluation,
                          const struct promql_matrix *matrix, const char *type, struct error *error)
{
    struct text json;
    text_init(&json, ANSWER_BYTES_MAX);
    text_add_format(&json,
                    "{\"status\":\"success\",\"data\":{\"resultType\":\"%s\",\"result\":", type);
    if (type[0] == 's') {
        add_pair(&json, evaluation->start_ms, matrix->rows[0].values[0]);
    } else {
        add_rows(&json, evaluation, matrix, type[0] == 'm');
    }
    text_add_string(&json, "}}");
    enum status status = call_json(call, 200, &json, error);
    return status == STATUS_TOO_LARGE ? error_code(error, "promql_limit", NULL) : status;
}

/* ---------------------------------------------------------------- requests */

/* Parses, evaluates and answers; `type` NULL: scalar or vector, whichever it is. */
static enum status run(struct call *call, struct promql_evaluation *evaluation, const char *type,
                       struct error *error)
{
    struct promql *promql = NULL;
    struct promql_matrix matrix;
    int64_t timeout_ms = 0;
    const char *text = query_value(&call->query, "query");
    if (!text) {
        error_set(error, STATUS_INVALID, "invalid parameter \"query\": it is missing");
        return error_code(error, "missing_parameter", "query");
    }
    if (prometheus_duration(call, "timeout", TIMEOUT_MS, &timeout_ms, error) != STATUS_OK) {
        return error->status;
    }
    if (promql_parse(text, &promql, error) != STATUS_OK) {
        return error_wrap(error, "invalid parameter \"query\"");
    }
    timeout_ms = timeout_ms < TIMEOUT_MAX_MS ? timeout_ms : TIMEOUT_MAX_MS;
    evaluation->worker = call->worker;
    evaluation->now_ms = clock_wall_ms();
    evaluation->budget.deadline_ns = clock_monotonic_ns() + timeout_ms * 1000000;
    enum status status = promql_evaluate(evaluation, promql->root, &matrix, error);
    if (status == STATUS_OK) {
        const char *own = promql->root->type == PROMQL_SCALAR ? "scalar" : "vector";
        status = answer(call, evaluation, &matrix, type ? type : own, error);
    }
    promql_matrix_release(&matrix);
    promql_free(promql);
    return status;
}

enum status prometheus_query(struct call *call, struct error *error)
{
    struct promql_evaluation evaluation = {.step_ms = 1, .instants = 1};
    if (prometheus_parameters(call, error) != STATUS_OK ||
        prometheus_time(call, "time", clock_wall_ms(), &evaluation.start_ms, error) != STATUS_OK) {
        return error->status;
    }
    return run(call, &evaluation, NULL, error);
}

static enum status require(const struct call *call, const char *name, struct error *error)
{
    if (query_value(&call->query, name)) {
        return STATUS_OK;
    }
    error_set(error, STATUS_INVALID, "invalid parameter \"%s\": it is missing", name);
    return error_code(error, "missing_parameter", name);
}

enum status prometheus_query_range(struct call *call, struct error *error)
{
    struct promql_evaluation evaluation = {.instants = 1};
    int64_t end_ms = 0;
    if (prometheus_parameters(call, error) != STATUS_OK ||
        require(call, "start", error) != STATUS_OK || require(call, "end", error) != STATUS_OK ||
        require(call, "step", error) != STATUS_OK ||
        prometheus_time(call, "start", 0, &evaluation.start_ms, error) != STATUS_OK ||
        prometheus_time(call, "end", 0, &end_ms, error) != STATUS_OK ||
        prometheus_duration(call, "step", 0, &evaluation.step_ms, error) != STATUS_OK) {
        return error->status;
    }
    if (end_ms < evaluation.start_ms) {
        error_set(error, STATUS_INVALID,
                  "invalid parameter \"end\": end timestamp must not be before start time");
        return error_code(error, "bad_parameter", "end");
    }
    int64_t steps = (end_ms - evaluation.start_ms) / evaluation.step_ms;
    if (steps >= INSTANTS_MAX) {
        error_set(error, STATUS_INVALID,
                  "exceeded maximum resolution of 11,000 points per timeseries: try decreasing the "
                  "query resolution (?step=XX)");
        return error_code(error, "bad_parameter", "step");
    }
    evaluation.instants = (size_t)steps + 1;
    return run(call, &evaluation, "matrix", error);
}
