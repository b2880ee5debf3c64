/* Forecasts as JSON, CSV and flat rows.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Numbers have six significant digits, up to nine where the band is narrow against the level;
 * nothing is ever outside of declared bounds, and quantiles stay in order.
 */
#ifndef API_FORECAST_RENDER_H
#define API_FORECAST_RENDER_H

#include "api/forecast_make.h"
#include "api/forecast_query.h"

struct forecast_history {
    const struct point *points; /* recent actuals in time order; NULL where none were asked for */
    size_t count;
};

/* Before the first and after the last forecast. */
void forecast_render_begin(const struct forecast_query *query, struct text *out);
void forecast_render_end(const struct forecast_query *query, struct text *out);

/* After that: a series that has no forecast, which only JSON can say, and the end of the answer. */
void forecast_render_skipped(const struct forecast_query *query, const char *series,
                             size_t series_length, bool first, struct text *out);
void forecast_render_close(const struct forecast_query *query, bool any_skipped, struct text *out);

/* One forecast; `first`: none stands before it. Returns where the room for data_age_ms begins, 0
 * where the format has none. */
size_t forecast_render(const struct forecast_query *query, const struct forecast_made *made,
                       const char *series, size_t series_length,
                       const struct forecast_history *history, bool first, struct text *out);

/* ,"warnings":[...] of a forecast. */
void forecast_render_warnings(const struct forecast_made *made, struct text *out);

/* A CSV field: quoted where it has to be. */
void forecast_render_field(const char *bytes, size_t length, struct text *out);

const char *forecast_content_type(enum forecast_format format);

#endif
