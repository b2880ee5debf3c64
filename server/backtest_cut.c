/* From the points of a CSV file to the series of a backtest.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/backtest_cut.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CELLS_MAX      ((size_t)50000000)
#define COUNTER_POINTS 2048 /* newest ones that tell a counter, as in service (api/series_grid.c)  \
                             */

static int compare_gap(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* The median gap between points, in whole seconds where it is that long; 0 where it cannot be told.
 */
static int64_t median_gap(const struct csv_series *series)
{
    if (series->count < 2) {
        return 0;
    }
    int64_t *gaps = mem_zeroed(series->count - 1, sizeof(*gaps));
    size_t count = 0;
    int64_t gap = 0;
    for (size_t i = 1; gaps != NULL && i < series->count; i++) {
        int64_t between = series->points[i].time_ms - series->points[i - 1].time_ms;
        if (between > 0) {
            gaps[count++] = between;
        }
    }
    if (count > 0) {
        qsort(gaps, count, sizeof(*gaps), compare_gap);
        gap = gaps[count / 2];
        gap = gap >= 1000 ? (gap + 500) / 1000 * 1000 : gap;
    }
    mem_free(gaps);
    return gap;
}

/* Values on the grid. Where the file states the step (rows, wide) each row is one cell; else a
 * point goes into the cell nearest to its time. */
static double *grid_values(const struct csv_series *series, int64_t step_ms, size_t *count)
{
    bool by_row = series->step_ms > 0;
    int64_t start_ms = series->points[0].time_ms;
    int64_t span_ms = series->points[series->count - 1].time_ms - start_ms;
    size_t cells = by_row ? series->count : (size_t)((span_ms + step_ms / 2) / step_ms) + 1;
    double *values = cells <= CELLS_MAX ? mem_zeroed(cells, sizeof(*values)) : NULL;
    if (values == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < cells; i++) {
        values[i] = by_row ? series->points[i].value : (double)NAN;
    }
    for (size_t i = 0; i < series->count && !by_row; i++) {
        int64_t offset_ms = series->points[i].time_ms - start_ms;
        values[(size_t)((offset_ms + step_ms / 2) / step_ms)] = series->points[i].value;
    }
    *count = cells;
    return values;
}

/* A counter's rise per second, as the daemon forecasts it. */
static double *grid_rates(const struct csv_series *series, int64_t step_ms, size_t *count,
                          int64_t *start_ms)
{
    int64_t span_ms = series->points[series->count - 1].time_ms - series->points[0].time_ms;
    size_t cells = (size_t)(span_ms / step_ms) + 2;
    double *values = cells <= CELLS_MAX ? mem_zeroed(cells, sizeof(*values)) : NULL;
    if (values != NULL) {
        struct grid_cells cells_of = grid_cells(series->points, series->count, step_ms, NULL);
        struct grid_rule rule = {.step_ms = step_ms,
                                 .phase_ms = cells_of.phase_ms,
                                 .lead_ms = cells_of.lead_ms,
                                 .counter = true,
                                 .now_ms = INT64_MAX};
        *count = grid_fill(series->points, series->count, &rule, values, cells, start_ms);
    }
    return values;
}

/* False where the series is left out. On success the values begin with an observed one. */
static bool cut_one(double *values, size_t *count, int64_t *start_ms, int64_t step_ms,
                    const struct cut_options *options)
{
    size_t held_back = options->horizon * options->windows, seen = 0, lead = 0;
    if (options->has_end) {
        int64_t before_ms = options->end_ms - *start_ms;
        size_t most = before_ms > 0 ? (size_t)(before_ms / step_ms) : 0;
        *count = *count < most ? *count : most;
    }
    if (*count < held_back) {
        return false;
    }
    size_t cut = *count - held_back;
    while (lead < cut && isnan(values[lead])) {
        lead++;
    }
    for (size_t i = cut; i < *count; i++) {
        seen += !isnan(values[i]);
    }
    uint32_t season = options->season > 1 ? options->season : 1;
    if (cut - lead < (size_t)3 * season || 2 * seen < held_back) {
        return false;
    }
    *count -= lead;
    *start_ms += (int64_t)lead * step_ms;
    memmove(values, values + lead, *count * sizeof(*values));
    return true;
}

/* Seasons as they can be seen before the held-back part, and the one that was named. */
static void fill_seasons(struct model_series *series, const struct cut_options *options)
{
    size_t seen = series->count - options->horizon * options->windows;
    size_t count = season_detect(series->values, seen, series->step_ms, series->seasons);
    for (size_t i = count; i < SEASONS_MAX; i++) {
        series->seasons[i] = 0;
    }
    if (options->season < 2) {
        return;
    }
    size_t place = 0;
    while (place < count && series->seasons[place] < options->season) {
        place++;
    }
    if (place < count && series->seasons[place] == options->season) {
        return;
    }
    if (count == SEASONS_MAX) {
        series->seasons[place < SEASONS_MAX ? place : SEASONS_MAX - 1] = options->season;
        return;
    }
    memmove(&series->seasons[place + 1], &series->seasons[place],
            (count - place) * sizeof(series->seasons[0]));
    series->seasons[place] = options->season;
}

static enum status add_series(struct cut_data *out, const struct csv_series *csv,
                              const struct cut_options *options, struct error *error)
{
    size_t count = 0;
    int64_t step_ms = csv->step_ms > 0 ? csv->step_ms : median_gap(csv);
    if (csv->count == 0 || step_ms <= 0) {
        out->left_out++;
        return STATUS_OK;
    }
    int64_t start_ms = csv->points[0].time_ms;
    size_t judged = csv->count < COUNTER_POINTS ? csv->count : COUNTER_POINTS;
    bool counter = counter_name(csv->id, strlen(csv->id)) &&
                   counter_shape(csv->points + csv->count - judged, judged, NULL);
    double *values =
        counter ? grid_rates(csv, step_ms, &count, &start_ms) : grid_values(csv, step_ms, &count);
    if (values == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not put series '%.100s' on a grid",
                         csv->id);
    }
    if (!cut_one(values, &count, &start_ms, step_ms, options)) {
        mem_free(values);
        out->left_out++;
        return STATUS_OK;
    }
    out->counters += counter;
    struct backtest_series *series = &out->series[out->count++];
    *series = (struct backtest_series){
        .id = csv->id,
        .series = {.values = values,
                   .count = count,
                   .start_ms = start_ms,
                   .step_ms = step_ms,
                   .minimum = counter ? 0.0 : (double)-INFINITY,
                   .maximum = (double)INFINITY,
                   .key = series_key(csv->id, strlen(csv->id))},
    };
    fill_seasons(&series->series, options);
    return STATUS_OK;
}

static void free_values(const double *values)
{
    union {
        const double *shared;
        double *own;
    } block = {.shared = values};
    mem_free(block.own);
}

/* One model has one step: series of another step than the most frequent one are left out. */
static void keep_one_step(struct cut_data *data)
{
    size_t most = 0, kept = 0;
    for (size_t i = 0; i < data->count; i++) {
        size_t same = 0;
        for (size_t k = 0; k < data->count; k++) {
            same += data->series[k].series.step_ms == data->series[i].series.step_ms;
        }
        if (same > most) {
            most = same;
            data->step_ms = data->series[i].series.step_ms;
        }
        if (same == data->count) {
            return;
        }
    }
    for (size_t i = 0; i < data->count; i++) {
        if (data->series[i].series.step_ms == data->step_ms) {
            data->series[kept++] = data->series[i];
        } else {
            free_values(data->series[i].series.values);
            data->left_out++;
        }
    }
    data->count = kept;
}

enum status cut_series(const struct csv_data *csv, const struct cut_options *options,
                       struct cut_data *out, struct error *error)
{
    memset(out, 0, sizeof(*out));
    out->series = mem_zeroed(csv->count + 1, sizeof(*out->series));
    if (out->series == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not cut the series: out of memory");
    }
    for (size_t i = 0; i < csv->count; i++) {
        enum status status = add_series(out, &csv->series[i], options, error);
        if (status != STATUS_OK) {
            cut_free(out);
            return status;
        }
    }
    keep_one_step(out);
    if (out->count == 0) {
        cut_free(out);
        error_set(error, STATUS_INVALID, "no series is long enough: all %zu were left out",
                  csv->count);
        return error_hint(error,
                          "Before the held-back windows a series needs three seasons, and half "
                          "of the held-back values must be there.");
    }
    return STATUS_OK;
}

void cut_free(struct cut_data *data)
{
    for (size_t i = 0; i < data->count; i++) {
        free_values(data->series[i].series.values);
    }
    mem_free(data->series);
    memset(data, 0, sizeof(*data));
}
