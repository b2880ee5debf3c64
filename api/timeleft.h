/* The first crossing of a threshold, out of a forecast: GET /api/v1/timeleft as JSON, CSV, rows.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The calls follow those of forecast_render.h. JSON for one series that was named is an object; for
 * a selector or several series it is {"timeleft":[...]}.
 */
#ifndef API_TIMELEFT_H
#define API_TIMELEFT_H

#include "api/forecast_make.h"
#include "api/forecast_query.h"

void timeleft_render_begin(const struct forecast_query *query, struct text *out);
void timeleft_render_end(const struct forecast_query *query, struct text *out);
size_t timeleft_render(const struct forecast_query *query, const struct forecast_made *made,
                       const char *series, size_t series_length, bool first, struct text *out);

#endif
