/* POST /v2/forecast and what Nixtla's client asks before it: forecasts of values that are sent.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Nothing is stored and nothing is learned. A series is forecast by the champion of its step where
 * there is one, else by the baselines, with the rules that stored series have; seasons are found in
 * the values, or are those of the calendar where the frequency is months or quarters.
 */
#include "api/desk.h"
#include "api/handlers.h"
#include "api/nixtla_reader.h"
#include "base/clock.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

#define VALUES_MAX  4096    /* newest ones of a series that are looked at */
#define OUTPUTS_MAX 2000000 /* numbers of an answer */
#define SECONDS_MAX 25      /* the client gives up after 60 */
#define INPUT_SIZE  1024    /* values of a series that the client is told to send */
#define DIGITS      7       /* a forecast is made of floats */

/* All series' values of one row of the answer: the mean, or one edge of one level. */
struct answer {
    float *numbers; /* [rows][series * horizon] */
    size_t rows, row_length, used;
};

static double edge_of(const struct nixtla_body *body, size_t row)
{
    double share = body->levels[(row - 1) / 2].share;
    return row % 2 ? 0.5 - share / 2.0 : 0.5 + share / 2.0;
}

static void note(const struct nixtla_body *body, const struct forecast_made *made,
                 struct answer *answer)
{
    const struct forecast *forecast = &made->forecast;
    for (size_t row = 0; row < answer->rows; row++) {
        float *out = answer->numbers + row * answer->row_length + answer->used;
        for (size_t h = 0; h < forecast->horizon; h++) {
            out[h] = (float)(row == 0 ? forecast_mean(forecast, h, made->minimum, made->maximum)
                                      : forecast_level(made, h, edge_of(body, row)));
        }
    }
    answer->used += forecast->horizon;
}

/* One series of the body; `at` is where its values begin. */
static struct model_series series_of(const struct nixtla_body *body, size_t index, size_t at)
{
    size_t count = body->sizes[index], cut = 0;
    int64_t step_ms = body->frequency.step_ms;
    if (count > VALUES_MAX) {
        cut = count - VALUES_MAX;
    }
    int64_t now_ms = clock_wall_ms();
    int64_t start_ms = body->starts_ms ? body->starts_ms[index]
                                       : now_ms - now_ms % step_ms - (int64_t)count * step_ms;
    struct model_series series = {
        .values = body->y + at + cut,
        .count = count - cut,
        .start_ms = start_ms + (int64_t)cut * step_ms,
        .step_ms = step_ms,
        .minimum = -(double)INFINITY,
        .maximum = (double)INFINITY,
    };
    if (body->frequency.season > 1) {
        series.seasons[0] = 2 * body->frequency.season <= series.count ? body->frequency.season : 0;
    } else {
        season_detect(series.values, series.count, step_ms, series.seasons);
    }
    return series;
}

static enum status make_all(struct call *call, const struct nixtla_body *body,
                            struct answer *answer, struct error *error)
{
    struct model_series series[DESK_SERIES_MAX];
    struct forecast_made made[DESK_SERIES_MAX];
    int64_t until_ns = clock_monotonic_ns() + SECONDS_MAX * INT64_C(1000000000);
    size_t at = 0;
    for (size_t first = 0; first < body->series; first += DESK_SERIES_MAX) {
        size_t left = body->series - first;
        size_t count = left < DESK_SERIES_MAX ? left : DESK_SERIES_MAX;
        if (clock_monotonic_ns() > until_ns) {
            error_set(error, STATUS_INVALID, "%zu of %zu series took %d seconds", first,
                      body->series, SECONDS_MAX);
            return error_code(error, "forecast_timeout", "series");
        }
        for (size_t i = 0; i < count; i++) {
            series[i] = series_of(body, first + i, at);
            at += body->sizes[first + i];
        }
        if (forecast_make_values(call->worker->desk, series, count, body->horizon, made, error) !=
            STATUS_OK) {
            return error_wrap(error, "series %zu to %zu", first, first + count - 1);
        }
        for (size_t i = 0; i < count; i++) {
            note(body, &made[i], answer);
            forecast_made_release(&made[i]);
        }
    }
    return STATUS_OK;
}

/* ---------------------------------------------------------------- writing */

static void add_row(const struct answer *answer, size_t row, struct text *out)
{
    text_add_char(out, '[');
    for (size_t i = 0; i < answer->row_length; i++) {
        if (i > 0) {
            text_add_char(out, ',');
        }
        text_add_double_digits(out, (double)answer->numbers[row * answer->row_length + i], DIGITS);
    }
    text_add_char(out, ']');
}

static void render(const struct nixtla_body *body, const struct answer *answer, struct text *out)
{
    text_add_format(out, "{\"input_tokens\":%zu,\"output_tokens\":%zu,\"finetune_tokens\":0,",
                    body->points, answer->row_length);
    text_add_string(out, "\"mean\":");
    add_row(answer, 0, out);
    text_add_string(out, ",\"intervals\":");
    for (size_t row = 1; row < answer->rows; row++) {
        text_add_format(out, "%s\"%s-%s\":", row == 1 ? "{" : ",", row % 2 ? "lo" : "hi",
                        body->levels[(row - 1) / 2].name);
        add_row(answer, row, out);
    }
    text_add_string(out, answer->rows > 1 ? "}" : "null");
    text_add_string(out, ",\"weights_x\":null,\"feature_contributions\":null}");
}

static enum status answer_body(struct call *call, const struct nixtla_body *body,
                               struct error *error)
{
    struct answer answer = {.rows = 1 + 2 * body->level_count,
                            .row_length = body->series * body->horizon};
    struct text out;
    if (answer.row_length > OUTPUTS_MAX / answer.rows) {
        error_set(error, STATUS_INVALID, "the answer would have more than %d numbers", OUTPUTS_MAX);
        return error_code(error, "answer_too_large", "h");
    }
    answer.numbers = mem_array(answer.rows * answer.row_length, sizeof(float));
    if (!answer.numbers) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the answer");
    }
    text_init(&out, ANSWER_BYTES_MAX);
    enum status status = make_all(call, body, &answer, error);
    if (status == STATUS_OK) {
        render(body, &answer, &out);
        status = call_json(call, 200, &out, error);
    } else {
        text_release(&out);
    }
    mem_free(answer.numbers);
    return status;
}

/* ---------------------------------------------------------------- the routes */

enum status nixtla_forecast(struct call *call, struct error *error)
{
    struct nixtla_body body = {.y = NULL};
    const char *bytes = NULL;
    char *owned = NULL;
    size_t length = 0;
    enum status status = call_body(call, &bytes, &length, &owned, error);
    if (status == STATUS_OK) {
        status = nixtla_read(bytes, length, call->limits->horizon_max, &body, error);
    }
    mem_free(owned);
    if (status == STATUS_OK) {
        status = answer_body(call, &body, error);
    }
    nixtla_release(&body);
    return status;
}

/* What the client asks to learn how many values are worth sending. */
enum status nixtla_model_params(struct call *call, struct error *error)
{
    const char *freq = query_value(&call->query, "freq");
    struct nixtla_frequency frequency;
    struct text out;
    if (freq && !nixtla_frequency(freq, strlen(freq), &frequency)) {
        error_set(error, STATUS_INVALID, "\"freq\" cannot be \"%.40s\"", freq);
        error_code(error, "bad_parameter", "freq");
        return error_hint(error,
                          "Give an alias of pandas up to a year: s, 15min, h, D, W, MS, QS.");
    }
    text_init(&out, 256);
    text_add_format(&out, "{\"detail\":{\"input_size\":%d,\"horizon\":%zu}}", INPUT_SIZE,
                    call->limits->horizon_default);
    return call_json(call, 200, &out, error);
}

/* Whoever comes here has been let in. */
enum status nixtla_validate(struct call *call, struct error *error)
{
    struct text out;
    text_init(&out, 256);
    text_add_string(&out, "{\"message\":\"success\",\"detail\":\"forecastd answers\","
                          "\"support\":\"docs/nixtla.md\"}");
    return call_json(call, 200, &out, error);
}
