/* What a backtest says: one JSON object, a table for people, a CSV row a series.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The command and the job speak alike through this. Keys of figures are those of the scoring tool,
 * with cover80_thirds and cover95_thirds beside them, coverage in each third of the horizon, and
 * sum_absolute, by which figures of several backtests are pooled.
 */
#ifndef SERVER_BACKTEST_REPORT_H
#define SERVER_BACKTEST_REPORT_H

#include "model/backtest.h"

#include <stdio.h>

struct backtest_report {
    const char *backbone;
    size_t horizon, windows;
    uint64_t left_out; /* before backtest_run saw the series */
    uint64_t seed;     /* the first */
    bool m4;
    const struct backtest_result *result; /* of the first seed */
    /* One training a seed; the figures of the champion are means where there are several. */
    size_t seed_count;
    struct metrics champions[BACKTEST_SEEDS_MAX];
    double train_seconds[BACKTEST_SEEDS_MAX];
};

/* Notes the result of the next seed; the first one is kept as `result`. */
void backtest_report_add(struct backtest_report *report, const struct backtest_result *result);

/* The object, without a newline. rows_max > 0: with by_series, at most so many of them, first those
 * that do worst beside their best baseline, and by_series_total. */
void backtest_report_json(const struct backtest_report *report, size_t rows_max, struct text *json);

void backtest_report_table(const struct backtest_report *report, FILE *out);

/* The CSV of --by-series with its header, in order of series. */
void backtest_report_rows(const struct backtest_report *report, struct text *csv);

/* An id of the file as a CSV cell; window > 0 appends "#window". */
void backtest_csv_id(struct text *csv, const char *id, size_t window);

#endif
