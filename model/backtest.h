/* Backtests: rolling origins, the champion beside all baselines, with the scoring tool's figures.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Threads: as model_train. backtest_run returns when it is done; what it calls back runs on the
 * caller's thread.
 */
#ifndef MODEL_BACKTEST_H
#define MODEL_BACKTEST_H

#include "model/model.h"

#define METRICS_PARTS 3 /* thirds of the horizon */

/* The keys of tools' `score --json`, with their definitions (tests compare the two exactly), and
 * coverage by third of the horizon. NaN where nothing is there to tell from. */
struct metrics {
    uint64_t series, points, missing_actuals, series_without_scale;
    double smape, nd, mase, owa; /* owa NaN unless asked for */
    double rho[9], wql;          /* 0.1 ... 0.9 */
    double rho_low, rho_high;    /* 0.025, 0.975 */
    double cover80, width80, cover95, msis95, quantile_crossings;
    double naive2_smape, naive2_mase;
    double absolute; /* sum |y|: by it rho, wQL and ND of several evaluations are pooled */
    double cover80_part[METRICS_PARTS], cover95_part[METRICS_PARTS];
};

struct backtest_series {
    const char *id;
    struct model_series series; /* the whole history, test part included */
};

struct backtest_request {
    const struct backtest_series *series;
    size_t series_count;
    size_t horizon,
        windows;     /* windows 0: train on everything, forecast beyond the end, no metrics */
    uint32_t season; /* for MASE; 0 = detected */
    bool m4;         /* OWA too */
    struct train_request train; /* its series fields are ignored; cancel and report are for all */
    /* Called for each forecast in order of series, then window (from 1); may be NULL. */
    void (*visit)(void *context, const char *id, size_t window, const struct forecast *forecast);
    void *visit_context;
};

/* One series over all its windows, the champion beside the baseline that did best on it (smallest
 * quantile loss, chosen afterwards). */
struct backtest_row {
    const char *id; /* the request's */
    size_t index;   /* of the request's series */
    struct metrics champion, baseline;
    enum baseline best;
};

/* Last value and seasonal naive are those of the scoring tool (training/yardstick.h), drift and
 * damped trend those that serve. Where one of these cannot forecast a series, the last value stands
 * in, so that all are measured on the same points. */
struct backtest_result {
    uint64_t series_used, series_left_out;
    uint32_t season;
    double train_seconds, forecast_seconds;
    size_t peak_bytes;
    uint64_t parameters;
    struct metrics champion, baselines[BASELINE_COUNT];
    struct backtest_row *rows; /* in order of series; none without windows */
    size_t row_count;
    struct snapshot *snapshot;
};

/* Figures are those of forecasts with so many significant digits: who writes forecasts down writes
 * them with these, and can compute the same figures from the file. Any two floats differ in them.
 */
#define BACKTEST_DIGITS 9

#define BACKTEST_SEEDS_MAX 32 /* trainings whose figures are told together */

/* Rolling-origin evaluation. On success backtest_release frees what the result holds. As
 * model_train, and STATUS_CANCELLED while it forecasts too. */
enum status backtest_run(const struct backtest_request *request, struct backtest_result *result,
                         struct error *error) MUST_USE;
void backtest_release(struct backtest_result *result);

#endif
