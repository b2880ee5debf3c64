/* The picture of a backtest: some series with their forecasts against what came.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Forecasts are not kept during a backtest; those of the few series shown are made again with its
 * model, which gives the same numbers.
 */
#include "server/backtest_plot.h"

#include "base/memory.h"
#include "server/svg_chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PANELS_MAX    3
#define STEPS_MAX     336 /* of windows that a panel shows; the newest ones */
#define HISTORY_LEAST 24
#define HISTORY_MOST  168

struct choice {
    const struct backtest_row *row;
    const char *kind;
};

static double error_of(const struct backtest_row *row)
{
    return isfinite(row->champion.mase) ? row->champion.mase : -1.0;
}

static int compare_errors(const void *a, const void *b)
{
    const struct backtest_row *left = *(const struct backtest_row *const *)a;
    const struct backtest_row *right = *(const struct backtest_row *const *)b;
    double x = error_of(left);
    double y = error_of(right);
    return x != y ? (x < y) - (x > y) : (left->index > right->index) - (left->index < right->index);
}

/* Worst, median and best of the series that have a MASE; all, in order, where there are few. */
static enum status choose_by_error(const struct backtest_result *result,
                                   struct choice choices[PANELS_MAX], size_t *count,
                                   struct error *error)
{
    static const char *const kinds[PANELS_MAX] = {"worst by MASE", "median by MASE",
                                                  "best by MASE"};
    const struct backtest_row **rows = mem_zeroed(result->row_count + 1, sizeof(*rows));
    if (rows == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the picture");
    }
    for (size_t i = 0; i < result->row_count; i++) {
        rows[i] = &result->rows[i];
    }
    qsort(rows, result->row_count, sizeof(*rows), compare_errors);
    size_t scaled = 0;
    while (scaled < result->row_count && isfinite(rows[scaled]->champion.mase)) {
        scaled++;
    }
    size_t from = scaled > 0 ? scaled : result->row_count; /* without any scale: by order */
    size_t places[PANELS_MAX] = {0, (from - 1) / 2, from - 1};
    *count = 0;
    for (size_t i = 0; i < PANELS_MAX; i++) {
        if (i > 0 && places[i] == places[i - 1]) {
            continue;
        }
        bool only = from == 1;
        choices[(*count)++] = (struct choice){rows[places[i]], only || scaled == 0 ? "" : kinds[i]};
    }
    if (from == 2) { /* the median would be the worst: say so of the worst only */
        choices[1].kind = scaled > 0 ? kinds[2] : "";
    }
    mem_free(rows);
    return STATUS_OK;
}

static enum status choose(const struct plot_request *request, struct choice choices[PANELS_MAX],
                          size_t *count, struct error *error)
{
    const struct backtest_result *result = request->report->result;
    if (request->chosen == NULL) {
        return choose_by_error(result, choices, count, error);
    }
    for (size_t i = 0; i < result->row_count; i++) {
        if (strcmp(result->rows[i].id, request->chosen) == 0) {
            choices[0] = (struct choice){&result->rows[i], ""};
            *count = 1;
            return STATUS_OK;
        }
    }
    return error_set(error, STATUS_NOT_FOUND, "cannot draw series '%.100s': it was not tested",
                     request->chosen);
}

struct painter {
    const struct plot_request *request;
    struct forecaster *forecaster;
    float *room;  /* of the forecasts of one panel, [windows][1 + Q][H] */
    size_t shown; /* windows in a panel */
    struct text *svg;
};

/* The newest windows of one series, forecast again from `origin` on; `fans` are placed behind
 * `history` values. Returns how many there are. */
static enum status forecast_again(struct painter *painter, const struct model_series *whole,
                                  size_t history, struct chart_fan *fans, size_t *count,
                                  struct error *error)
{
    size_t horizon = painter->request->report->horizon;
    size_t origin = whole->count - painter->shown * horizon;
    float *room = painter->room;
    *count = 0;
    for (size_t i = 0; i < painter->shown; i++) {
        struct model_series series = *whole;
        struct forecast out = {.horizon = horizon, .mean = room, .quantiles = room + horizon};
        series.count = origin + i * horizon;
        enum status status = forecaster_run(painter->forecaster, &series, 1, &out, error);
        if (status == STATUS_INVALID) { /* too little seen by then: no fan */
            continue;
        }
        if (status != STATUS_OK) {
            return status;
        }
        fans[(*count)++] = (struct chart_fan){history + i * horizon, horizon, out.quantiles};
        room += (1 + QUANTILE_COUNT) * horizon;
    }
    return STATUS_OK;
}

/* "seasonal naive" */
static void add_words(const char *name, char *out, size_t capacity)
{
    snprintf(out, capacity, "%s", name);
    for (char *c = out; *c != '\0'; c++) {
        *c = *c == '_' ? ' ' : *c;
    }
}

static void write_note(const struct backtest_row *row, char *note, size_t capacity)
{
    const struct metrics *own = &row->champion;
    bool scaled = isfinite(own->mase);
    char best[24];
    add_words(baseline_name(row->best), best, sizeof(best));
    snprintf(note, capacity, "%s %.3f (%s %.3f), %.0f %% of values inside the 80 %% band",
             scaled ? "MASE" : "sMAPE", scaled ? own->mase : own->smape, best,
             scaled ? row->baseline.mase : row->baseline.smape, 100.0 * own->cover80);
}

static enum status draw(struct painter *painter, const struct choice *choice, size_t index,
                        struct error *error)
{
    const struct model_series *whole = &painter->request->series[choice->row->index].series;
    size_t horizon = painter->request->report->horizon;
    size_t origin = whole->count - painter->shown * horizon;
    size_t history = 2 * horizon < HISTORY_LEAST ? HISTORY_LEAST : 2 * horizon;
    history = history < HISTORY_MOST ? history : HISTORY_MOST;
    history = history < origin ? history : origin;
    struct chart_fan fans[STEPS_MAX];
    size_t count = 0;
    enum status status = forecast_again(painter, whole, history, fans, &count, error);
    if (status != STATUS_OK) {
        return error_wrap(error, "series \"%s\"", choice->row->id);
    }
    char note[160];
    write_note(choice->row, note, sizeof(note));
    struct chart_panel panel = {
        .kind = choice->kind,
        .title = choice->row->id,
        .note = note,
        .actual = whole->values + origin - history,
        .count = history + painter->shown * horizon,
        .start_ms = whole->start_ms + (int64_t)(origin - history) * whole->step_ms,
        .step_ms = whole->step_ms,
        .fans = fans,
        .fan_count = count,
    };
    chart_panel(painter->svg, &panel, index);
    return STATUS_OK;
}

static void write_heading(const struct plot_request *request, size_t panels, struct text *svg)
{
    const struct backtest_report *report = request->report;
    char title[200], subtitle[200];
    snprintf(title, sizeof(title), "Forecasts against what came: %.120s", request->name);
    snprintf(
        subtitle, sizeof(subtitle),
        "%s, %zu steps ahead from %s dotted line; trained on what lies before the last %zu steps "
        "of each series",
        report->backbone, report->horizon, report->windows > 1 ? "each" : "the",
        report->windows * report->horizon);
    chart_begin(svg, title, subtitle, panels);
}

enum status backtest_plot(const struct plot_request *request, struct text *svg, struct error *error)
{
    const struct backtest_report *report = request->report;
    struct choice choices[PANELS_MAX];
    size_t count = 0;
    enum status status = choose(request, choices, &count, error);
    if (status != STATUS_OK) {
        return status;
    }
    struct painter painter = {.request = request, .svg = svg, .shown = STEPS_MAX / report->horizon};
    painter.shown = painter.shown < 1 ? 1 : painter.shown;
    painter.shown = painter.shown < report->windows ? painter.shown : report->windows;
    painter.room =
        mem_zeroed(painter.shown * report->horizon, (1 + QUANTILE_COUNT) * sizeof(float));
    if (painter.room == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the picture");
    }
    status = forecaster_new(report->result->snapshot, 1, &painter.forecaster, error);
    write_heading(request, count, svg);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        status = draw(&painter, &choices[i], i, error);
    }
    chart_end(svg);
    forecaster_free(painter.forecaster);
    mem_free(painter.room);
    return status == STATUS_OK ? text_status(svg, "the picture", error) : status;
}
