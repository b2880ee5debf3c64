/* The picture of a backtest: some series with their forecasts against what came.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SERVER_BACKTEST_PLOT_H
#define SERVER_BACKTEST_PLOT_H

#include "server/backtest_report.h"

struct plot_request {
    const struct backtest_series *series; /* those of the backtest_request */
    const struct backtest_report *report;
    const char *name; /* what was tested, for the heading */
    const char
        *chosen; /* id of the one to draw; NULL: the worst, the median and the best by MASE */
};

/* Writes one SVG document. STATUS_NOT_FOUND where `chosen` was not tested; NO_MEMORY. */
enum status backtest_plot(const struct plot_request *request, struct text *svg,
                          struct error *error) MUST_USE;

#endif
