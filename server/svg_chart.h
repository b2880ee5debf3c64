/* Forecasts against what came, as a picture: panels of a self-contained SVG file.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A panel shows the readings as a dark line and each forecast as a fan behind it: 95 % band, 80 %
 * band, median. The scale follows readings and 80 % bands; a 95 % band that goes far beyond is cut
 * at the frame. Times are UTC. Pure functions on the caller's text.
 */
#ifndef SERVER_SVG_CHART_H
#define SERVER_SVG_CHART_H

#include "model/model.h"

struct chart_fan {
    size_t first; /* index of its first step among the panel's readings */
    size_t horizon;
    const float *quantiles; /* [Q][H] */
};

struct chart_panel {
    const char *kind, *title, *note; /* "Worst", the series, figures; any bytes, they are escaped */
    const double *actual;            /* NaN = missing */
    size_t count;
    int64_t start_ms, step_ms;
    const struct chart_fan *fans; /* in order of time */
    size_t fan_count;
};

/* The page for so many panels, with heading and legend. */
void chart_begin(struct text *svg, const char *title, const char *subtitle, size_t panel_count);

/* The panel at place `index`, from 0. */
void chart_panel(struct text *svg, const struct chart_panel *panel, size_t index);

void chart_end(struct text *svg);

#endif
