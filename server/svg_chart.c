/* Forecasts against what came, as a picture: panels of a self-contained SVG file.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/svg_chart.h"

#include "base/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define WIDTH        1040
#define LEFT         84.0
#define RIGHT        1012.0
#define HEAD         96.0
#define PANEL_HEIGHT 210.0
#define PANEL_SPACE  86.0 /* title above and times below */
#define TITLE_SPACE  22.0
#define TITLE_BYTES  72
#define VALUE_TICKS  5
#define TIME_TICKS   9
#define ORIGINS_MAX  32 /* more fans than that have no line at their origin */
#define DAY_MS       INT64_C(86400000)
#define HOUR_MS      INT64_C(3600000)

#define INK   "#1d2733" /* readings and headings */
#define QUIET "#5d6b7a" /* labels */
#define BLUE  "#2f6fd0" /* forecasts */

struct frame {
    double top, bottom, low, high; /* pixels; values at bottom and top */
    size_t count;
};

static double x_of(const struct frame *frame, double index)
{
    double last = frame->count > 1 ? (double)(frame->count - 1) : 1.0;
    return LEFT + (RIGHT - LEFT) * index / last;
}

static double y_of(const struct frame *frame, double value)
{
    double share = (value - frame->low) / (frame->high - frame->low);
    share = fmin(fmax(share, -1.0), 2.0); /* the rest lies outside the frame anyway */
    return frame->bottom - (frame->bottom - frame->top) * share;
}

/* Text content: escaped, without control characters, cut at a character after `maximum` bytes. */
static void add_escaped(struct text *svg, const char *bytes, size_t maximum)
{
    size_t length = strlen(bytes);
    size_t end = length < maximum ? length : maximum;
    while (end > 0 && end < length && ((unsigned char)bytes[end] & 0xC0) == 0x80) {
        end--;
    }
    for (size_t i = 0; i < end; i++) {
        switch (bytes[i]) {
        case '&':
            text_add_string(svg, "&amp;");
            break;
        case '<':
            text_add_string(svg, "&lt;");
            break;
        case '>':
            text_add_string(svg, "&gt;");
            break;
        default:
            text_add_char(svg, (unsigned char)bytes[i] < ' ' ? ' ' : bytes[i]);
        }
    }
    text_add_string(svg, end < length ? "\u2026" : "");
}

/* ---------------------------------------------------------------- lines */

static void add_position(struct text *svg, char command, double x, double y)
{
    text_add_format(svg, "%c%.1f %.1f", command, x, y);
}

/* Missing values interrupt the line; one alone is a dot, by the round ends of an empty stroke. */
static void add_actual(struct text *svg, const struct frame *frame, const double *actual)
{
    bool drawing = false;
    text_add_string(svg, "<path class=\"actual\" d=\"");
    for (size_t i = 0; i < frame->count; i++) {
        bool there = !isnan(actual[i]);
        if (there) {
            add_position(svg, drawing ? 'L' : 'M', x_of(frame, (double)i), y_of(frame, actual[i]));
            text_add_string(svg, drawing ? "" : "h0");
        }
        drawing = there;
    }
    text_add_string(svg, "\"/>\n");
}

/* Where a fan opens: at the reading before it, or at its own first step. */
static bool fan_start(const struct chart_panel *panel, const struct chart_fan *fan, double *value)
{
    bool there = fan->first > 0 && !isnan(panel->actual[fan->first - 1]);
    *value = there ? panel->actual[fan->first - 1] : 0.0;
    return there;
}

static void add_band(struct text *svg, const struct frame *frame, const struct chart_panel *panel,
                     const struct chart_fan *fan, size_t level)
{
    const float *low = fan->quantiles + level * fan->horizon;
    const float *high = fan->quantiles + (QUANTILE_COUNT - 1 - level) * fan->horizon;
    double start;
    bool opens = fan_start(panel, fan, &start);
    text_add_format(svg, "<path class=\"%s\" d=\"", level == 0 ? "wide" : "narrow");
    if (opens) {
        add_position(svg, 'M', x_of(frame, (double)fan->first - 1.0), y_of(frame, start));
    }
    for (size_t step = 0; step < fan->horizon; step++) {
        add_position(svg, step == 0 && !opens ? 'M' : 'L', x_of(frame, (double)(fan->first + step)),
                     y_of(frame, (double)high[step]));
    }
    for (size_t step = fan->horizon; step-- > 0;) {
        add_position(svg, 'L', x_of(frame, (double)(fan->first + step)),
                     y_of(frame, (double)low[step]));
    }
    text_add_string(svg, "Z\"/>\n");
}

static void add_median(struct text *svg, const struct frame *frame, const struct chart_panel *panel,
                       const struct chart_fan *fan)
{
    const float *median = fan->quantiles + (QUANTILE_COUNT / 2) * fan->horizon;
    double start;
    bool opens = fan_start(panel, fan, &start);
    text_add_string(svg, "<path class=\"median\" d=\"");
    if (opens) {
        add_position(svg, 'M', x_of(frame, (double)fan->first - 1.0), y_of(frame, start));
    }
    for (size_t step = 0; step < fan->horizon; step++) {
        add_position(svg, step == 0 && !opens ? 'M' : 'L', x_of(frame, (double)(fan->first + step)),
                     y_of(frame, (double)median[step]));
    }
    text_add_string(svg, "\"/>\n");
}

/* ---------------------------------------------------------------- scales */

static void widen(double value, double range[2])
{
    if (isfinite(value)) {
        range[0] = fmin(range[0], value);
        range[1] = fmax(range[1], value);
    }
}

static void choose_range(const struct chart_panel *panel, struct frame *frame)
{
    double seen[2] = {HUGE_VAL, -HUGE_VAL};
    for (size_t i = 0; i < panel->count; i++) {
        widen(panel->actual[i], seen);
    }
    for (size_t i = 0; i < panel->fan_count; i++) {
        const struct chart_fan *fan = &panel->fans[i];
        for (size_t step = 0; step < fan->horizon; step++) {
            widen((double)fan->quantiles[1 * fan->horizon + step], seen);
            widen((double)fan->quantiles[(QUANTILE_COUNT - 2) * fan->horizon + step], seen);
        }
    }
    double span = seen[1] - seen[0];
    double all[2] = {seen[0], seen[1]};
    for (size_t i = 0; i < panel->fan_count; i++) {
        const struct chart_fan *fan = &panel->fans[i];
        for (size_t step = 0; step < fan->horizon; step++) {
            widen((double)fan->quantiles[step], all);
            widen((double)fan->quantiles[(QUANTILE_COUNT - 1) * fan->horizon + step], all);
        }
    }
    if (!(seen[0] <= seen[1])) { /* nothing at all */
        all[0] = seen[0] = -1.0;
        all[1] = seen[1] = 1.0;
        span = 2.0;
    }
    double margin = span > 0.0 ? 0.06 * span : fmax(fabs(seen[0]) * 0.1, 1e-12);
    frame->low = fmax(all[0], seen[0] - 0.3 * span) - margin;
    frame->high = fmin(all[1], seen[1] + 0.3 * span) + margin;
    if (seen[0] >= 0.0 && frame->low < 0.0) { /* room below zero suggests negative values */
        frame->low = fmin(0.0, all[0]) < 0.0 ? frame->low : -0.02 * (frame->high - frame->low);
    }
}

/* 1, 2 or 5 times a power of ten, so that at most `ticks` fit. */
static double nice_step(double span, int ticks)
{
    double rough = span / ticks;
    double power = pow(10.0, floor(log10(rough)));
    static const double factors[] = {1.0, 2.0, 5.0, 10.0};
    for (size_t i = 0; i < ARRAY_COUNT(factors); i++) {
        if (factors[i] * power >= rough) {
            return factors[i] * power;
        }
    }
    return 10.0 * power;
}

/* With thousands apart on an axis of large whole numbers. */
static void add_value(struct text *svg, double value, double step, double largest)
{
    char digits[48], out[64];
    value = fabs(value) < step / 1e6 ? 0.0 : value;
    if (largest < 1e4 || largest >= 1e12 || step < 1.0) {
        text_add_double_digits(svg, value, 7);
        return;
    }
    int length = snprintf(digits, sizeof(digits), "%.0f", fabs(value));
    size_t used = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            out[used++] = ',';
        }
        out[used++] = digits[i];
    }
    out[used] = '\0';
    text_add_format(svg, "%s%s", value < 0.0 ? "-" : "", out);
}

static void add_value_axis(struct text *svg, const struct frame *frame)
{
    double step = nice_step(frame->high - frame->low, VALUE_TICKS);
    double first = ceil(frame->low / step);
    double largest = fmax(fabs(frame->low), fabs(frame->high));
    for (int i = 0; i <= 2 * VALUE_TICKS && (first + i) * step <= frame->high; i++) {
        double value = (first + i) * step;
        double y = y_of(frame, value);
        text_add_format(svg, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>", LEFT, y, RIGHT);
        text_add_format(svg, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">",
                        LEFT - 10.0, y + 4.0);
        add_value(svg, value, step, largest);
        text_add_string(svg, "</text>\n");
    }
}

/* The distance of the times on the axis: the first of a list of which few enough fit. */
static int64_t time_distance(int64_t span_ms)
{
    static const int64_t minutes[] = {1,       2,       5,       10,      15,     30,     60,
                                      120,     180,     360,     720,     1440,   2880,   7200,
                                      10080,   20160,   43200,   86400,   131040, 262080, 525600,
                                      1051200, 2628000, 5256000, 13140000};
    for (size_t i = 0; i < ARRAY_COUNT(minutes); i++) {
        if (span_ms / (minutes[i] * 60000) < TIME_TICKS) {
            return minutes[i] * 60000;
        }
    }
    return span_ms;
}

static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

/* "25 Jul 2018 00:00" */
static void add_date(struct text *svg, int64_t time_ms)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    text_add_format(svg, "%d %s %d %02d:%02d", parts.tm_mday, months[parts.tm_mon],
                    parts.tm_year + 1900, parts.tm_hour, parts.tm_min);
}

static void time_label(int64_t time_ms, int64_t distance_ms, char label[32])
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    if (distance_ms >= 28 * DAY_MS) {
        snprintf(label, 32, "%s %d", months[parts.tm_mon], parts.tm_year + 1900);
    } else if (parts.tm_hour == 0 && parts.tm_min == 0 && time_ms % 60000 == 0) {
        snprintf(label, 32, "%d %s", parts.tm_mday, months[parts.tm_mon]);
    } else if (distance_ms >= HOUR_MS || time_ms % 60000 == 0) {
        snprintf(label, 32, "%02d:%02d", parts.tm_hour, parts.tm_min);
    } else {
        snprintf(label, 32, "%02d:%02d:%02d", parts.tm_hour, parts.tm_min, parts.tm_sec);
    }
}

static void add_time_axis(struct text *svg, const struct frame *frame,
                          const struct chart_panel *panel)
{
    int64_t end_ms = panel->start_ms + (int64_t)(panel->count - 1) * panel->step_ms;
    int64_t distance_ms = time_distance(end_ms - panel->start_ms);
    int64_t offset_ms = distance_ms % (7 * DAY_MS) == 0 ? 4 * DAY_MS : 0; /* weeks from Monday */
    int64_t first = panel->start_ms - offset_ms;
    first = (first / distance_ms + (first % distance_ms > 0 ? 1 : 0)) * distance_ms + offset_ms;
    for (int64_t at_ms = first; at_ms <= end_ms && distance_ms > 0; at_ms += distance_ms) {
        char label[32];
        double x = x_of(frame, (double)(at_ms - panel->start_ms) / (double)panel->step_ms);
        time_label(at_ms, distance_ms, label);
        text_add_format(svg, "<path class=\"tick\" d=\"M%.1f %.1fv5\"/>", x, frame->bottom);
        text_add_format(svg,
                        "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" "
                        "text-anchor=\"middle\">%s</text>\n",
                        x, frame->bottom + 19.0, label);
    }
    text_add_format(svg, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">", RIGHT,
                    frame->bottom + 37.0);
    add_date(svg, panel->start_ms);
    text_add_string(svg, " to ");
    add_date(svg, end_ms);
    text_add_string(svg, " UTC</text>\n");
}

/* ---------------------------------------------------------------- page */

static void add_swatch(struct text *svg, double *x, const char *kind, const char *label)
{
    bool line = strcmp(kind, "actual") == 0 || strcmp(kind, "median") == 0;
    if (line) {
        text_add_format(svg, "<path class=\"%s\" d=\"M%.1f 72h24\"/>", kind, *x);
    } else {
        text_add_format(svg, "<path class=\"%s\" d=\"M%.1f 66h24v12h-24Z\"/>", kind, *x);
    }
    text_add_format(svg, "<text class=\"label\" x=\"%.1f\" y=\"76\">%s</text>\n", *x + 31.0, label);
    *x += 58.0 + 6.4 * (double)strlen(label);
}

void chart_begin(struct text *svg, const char *title, const char *subtitle, size_t panel_count)
{
    double height = HEAD + (double)panel_count * (PANEL_HEIGHT + PANEL_SPACE) + 4.0;
    text_add_format(svg,
                    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%.0f\" "
                    "viewBox=\"0 0 %d %.0f\" role=\"img\">\n<title>",
                    WIDTH, height, WIDTH, height);
    add_escaped(svg, title, 200);
    text_add_string(
        svg, "</title>\n<style>\n"
             "text{font-family:system-ui,'Segoe UI',Roboto,'Helvetica Neue',Arial,'DejaVu Sans',"
             "sans-serif}\n"
             ".head{font-size:20px;font-weight:600;fill:" INK "}\n"
             ".panel{font-size:14px;font-weight:600;fill:" INK "}\n"
             ".kind{font-weight:400;fill:" QUIET "}\n"
             ".label{font-size:12px;fill:" QUIET "}\n"
             ".grid{stroke:#e6eaef;stroke-width:1}\n"
             ".tick{stroke:#98a4b1;stroke-width:1}\n"
             ".origin{stroke:#98a4b1;stroke-width:1;stroke-dasharray:2 4}\n"
             ".wide{fill:" BLUE ";fill-opacity:.14}\n"
             ".narrow{fill:" BLUE ";fill-opacity:.26}\n"
             ".median{fill:none;stroke:" BLUE ";stroke-width:1.8;stroke-linejoin:round}\n"
             ".actual{fill:none;stroke:" INK ";stroke-width:1.5;stroke-linejoin:round;"
             "stroke-linecap:round}\n"
             "</style>\n");
    text_add_format(svg, "<rect width=\"%d\" height=\"%.0f\" fill=\"#fff\"/>\n", WIDTH, height);
    text_add_format(svg, "<text class=\"head\" x=\"%.0f\" y=\"34\">", LEFT);
    add_escaped(svg, title, 80);
    text_add_format(svg, "</text>\n<text class=\"label\" x=\"%.0f\" y=\"54\">", LEFT);
    add_escaped(svg, subtitle, 160);
    text_add_string(svg, "</text>\n");
    double x = LEFT;
    add_swatch(svg, &x, "actual", "what came");
    add_swatch(svg, &x, "median", "forecast (median)");
    add_swatch(svg, &x, "narrow", "80 % band");
    add_swatch(svg, &x, "wide", "95 % band");
}

/* The series above; below, left of the dates, what is to be said of it: names may be long. */
static void add_titles(struct text *svg, const struct chart_panel *panel, const struct frame *frame)
{
    text_add_format(svg, "<text class=\"panel\" x=\"%.0f\" y=\"%.1f\">", LEFT, frame->top - 9.0);
    add_escaped(svg, panel->title, TITLE_BYTES);
    if (panel->kind[0] != '\0') {
        text_add_string(svg, "<tspan class=\"kind\" dx=\"8\">");
        add_escaped(svg, panel->kind, TITLE_BYTES);
        text_add_string(svg, "</tspan>");
    }
    text_add_format(svg, "</text>\n<text class=\"label\" x=\"%.0f\" y=\"%.1f\">", LEFT,
                    frame->bottom + 37.0);
    add_escaped(svg, panel->note, 120);
    text_add_string(svg, "</text>\n");
}

void chart_panel(struct text *svg, const struct chart_panel *panel, size_t index)
{
    CHECK(panel->count > 0);
    struct frame frame = {.count = panel->count};
    frame.top = HEAD + TITLE_SPACE + (double)index * (PANEL_HEIGHT + PANEL_SPACE);
    frame.bottom = frame.top + PANEL_HEIGHT;
    choose_range(panel, &frame);
    add_titles(svg, panel, &frame);
    add_value_axis(svg, &frame);
    add_time_axis(svg, &frame, panel);
    text_add_format(svg,
                    "<clipPath id=\"frame%zu\"><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                    "height=\"%.1f\"/></clipPath>\n<g clip-path=\"url(#frame%zu)\">\n",
                    index, LEFT - 2.0, frame.top, RIGHT - LEFT + 4.0, PANEL_HEIGHT, index);
    for (size_t i = 0; i < panel->fan_count; i++) {
        const struct chart_fan *fan = &panel->fans[i];
        add_band(svg, &frame, panel, fan, 0);
        add_band(svg, &frame, panel, fan, 1);
        add_median(svg, &frame, panel, fan);
        if (panel->fan_count <= ORIGINS_MAX) {
            double x = x_of(&frame, fan->first > 0 ? (double)fan->first - 1.0 : 0.0);
            text_add_format(svg, "<path class=\"origin\" d=\"M%.1f %.1fV%.1f\"/>\n", x, frame.top,
                            frame.bottom);
        }
    }
    add_actual(svg, &frame, panel->actual);
    text_add_format(svg, "</g>\n<path class=\"tick\" d=\"M%.1f %.1fH%.1f\"/>\n", LEFT, frame.bottom,
                    RIGHT);
}

void chart_end(struct text *svg)
{
    text_add_string(svg, "</svg>\n");
}
