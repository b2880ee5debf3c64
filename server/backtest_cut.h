/* Series of a file cut for a backtest: on their grid, trimmed and dropped by fixed rules.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The rules are those of the reference script that scores backtests, so that both see the same
 * series: rows at or after `end` go first; then leading gaps; a series is left out where what
 * remains before the held-back part is shorter than three seasons, or where half of the held-back
 * part is missing. What is a counter by name and shape becomes its rise per second, as it is
 * forecast in service; the script leaves that to whoever makes the file.
 */
#ifndef SERVER_BACKTEST_CUT_H
#define SERVER_BACKTEST_CUT_H

#include "api/api.h"
#include "model/backtest.h"

struct cut_options {
    size_t horizon, windows;
    uint32_t season; /* 0 = unknown */
    bool has_end;
    int64_t end_ms;
};

struct cut_data {
    struct backtest_series *series; /* ids belong to the csv_data they came from */
    size_t count;
    size_t left_out;
    size_t counters; /* as rises per second */
    int64_t step_ms; /* of all that are kept: the most frequent one */
};

/* STATUS_INVALID where no series is left. */
enum status cut_series(const struct csv_data *csv, const struct cut_options *options,
                       struct cut_data *out, struct error *error) MUST_USE;
void cut_free(struct cut_data *data);

#endif
