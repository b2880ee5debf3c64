/* Forecasts as gauges of now, for alert rules: which ones are asked for, and their lines.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     forecastd_forecast{series_name="disk.used",host="a",horizon="1h",quantile="0.9"} 81.5
 *
 * is the value of the step that ends an hour after the newest closed one, or, where readings are
 * late, after the newest one that is over. The lines of a series are kept as a live answer of its
 * own, so that a scrape of a thousand series is a thousand copies, and a new point of one series
 * makes the lines of that series anew. A series that has gone stale has no lines. Labels of a
 * series that are named like one of ours get exported_ in front, as Prometheus does; characters
 * that label names cannot have become underscores.
 */
#ifndef API_GAUGES_H
#define API_GAUGES_H

#include "api/forecast_make.h"
#include "api/query.h"

#define GAUGE_HORIZONS_MAX 8
#define GAUGE_LEVELS_MAX   8
#define GAUGE_KEY_MAX      512
#define GAUGE_KEY_PREFIX   "/forecast/metrics?" /* no query of a forecast begins so */

struct gauge_order {
    int64_t horizons_ms[GAUGE_HORIZONS_MAX]; /* 0: the configured number of steps */
    size_t horizon_count;
    double levels[GAUGE_LEVELS_MAX];
    size_t level_count;
};

/* From the parameters "horizon" (may repeat; an hour and the configured steps where there is none)
 * and "quantiles". bad_parameter. */
enum status gauge_order_read(const struct query *query, const char *quantiles_preset,
                             struct gauge_order *out, struct error *error) MUST_USE;

/* What to compute for the order. */
struct forecast_order gauge_forecast_order(const struct api_limits *limits,
                                           const struct gauge_order *order);

/* The key of a series' lines, and back again; false for a text that is no such key. */
void gauge_key_write(uint32_t id, const struct gauge_order *order, char key[GAUGE_KEY_MAX]);
bool gauge_key_read(const char *key, uint32_t *id, struct gauge_order *order);

/* The lines of one series; `series` is its canonical text. */
void gauge_render(const struct gauge_order *order, const struct forecast_made *made,
                  const char *series, size_t length, struct text *out);

/* Makes the lines of up to DESK_SERIES_MAX series, keeps them, and adds them to `out` (may be
 * NULL).
 */
enum status gauge_make(struct forecast_desk *desk, const struct gauge_order *order,
                       const uint32_t *ids, size_t count, struct text *out,
                       struct error *error) MUST_USE;

#endif
