/* Forecasts as JSON, CSV and flat rows.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/forecast_render.h"

#include "base/check.h"

#include <math.h>
#include <string.h>

#define DIGITS_MIN 6
#define DIGITS_MAX 9
#define LOW_INDEX  1 /* 0.1 among quantile_levels */
#define HIGH_INDEX 9 /* 0.9 */

/* ---------------------------------------------------------------- numbers */

/* Enough digits that rounding stays below a thousandth of the mean band and a tenth of any. */
static int digits_for(const struct forecast *forecast)
{
    double spread = 0.0, scale = 0.0, narrowest = 0.0;
    size_t horizon = forecast->horizon;
    for (size_t h = 0; h < horizon; h++) {
        double band = (double)forecast->quantiles[HIGH_INDEX * horizon + h] -
                      (double)forecast->quantiles[LOW_INDEX * horizon + h];
        double size = fabs((double)forecast->mean[h]);
        spread += band;
        scale = fmax(scale, size);
        narrowest = band > 0.0 ? fmax(narrowest, size / band) : narrowest;
    }
    spread /= (double)horizon;
    if (!(spread > 0.0) || !(scale > 0.0)) {
        return DIGITS_MIN;
    }
    double digits = fmax(ceil(log10(scale / spread)) + 3.0, ceil(log10(narrowest)) + 1.0);
    return digits < DIGITS_MIN ? DIGITS_MIN : (digits > DIGITS_MAX ? DIGITS_MAX : (int)digits);
}

static void add_value(const struct forecast_made *made, double value, int digits, struct text *out)
{
    double low = made->minimum, high = made->maximum;
    value = value < low ? low : (value > high ? high : value);
    double rounding = fabs(value) * 1e-5;
    if (value - low <= rounding || high - value <= rounding) {
        text_add_double(out, value); /* rounded it might leave the bounds */
    } else {
        text_add_double_digits(out, value, digits);
    }
}

static double mean_at(const struct forecast_made *made, size_t step)
{
    return forecast_mean(&made->forecast, step, made->minimum, made->maximum);
}

static void add_level(double level, struct text *out)
{
    text_add_double_digits(out, level, 9);
}

static double or_null(double value)
{
    return isfinite(value) ? value : (double)NAN; /* written as null */
}

static void add_time_member(struct text *out, int64_t time_ms)
{
    text_add_char(out, '"');
    text_add_time(out, time_ms);
    text_add_char(out, '"');
}

/* ---------------------------------------------------------------- JSON */

static void add_model(const struct forecast_made *made, struct text *out)
{
    const struct forecast_model *record = &made->model;
    if (!record->id[0]) {
        text_add_string(out, ",\"model\":null");
        return;
    }
    text_add_string(out, ",\"model\":{\"id\":");
    text_add_json_string(out, record->id, strlen(record->id));
    text_add_string(out, ",\"trained_at\":");
    add_time_member(out, record->trained_at_ms);
    text_add_string(out, ",\"window\":[");
    add_time_member(out, record->window_start_ms);
    text_add_char(out, ',');
    add_time_member(out, record->window_end_ms);
    text_add_format(out, "],\"seed\":%llu}", (unsigned long long)record->seed);
}

static void add_quality(const struct forecast_made *made, struct text *out)
{
    const struct forecast_evidence *evidence = &made->evidence;
    if (isfinite(evidence->observed80)) {
        text_add_string(out, ",\"calibration\":{\"level\":0.8,\"observed\":");
        text_add_double_digits(out, evidence->observed80, 4);
        text_add_format(out, ",\"count\":%llu,\"source\":\"%s\"}",
                        (unsigned long long)evidence->count, evidence->live ? "live" : "held_back");
    } else {
        text_add_string(out, ",\"calibration\":null");
    }
    if (isfinite(evidence->mase)) {
        text_add_string(out, ",\"skill\":{\"mase\":");
        text_add_double_digits(out, or_null(evidence->mase), 4);
        text_add_format(out, ",\"baseline\":\"%s\",\"relative\":", evidence->baseline);
        text_add_double_digits(out, or_null(evidence->relative), 4);
        text_add_char(out, '}');
    } else {
        text_add_string(out, ",\"skill\":null");
    }
    text_add_format(out, ",\"quality\":{\"missing\":%zu,\"excluded\":%zu,\"late\":%llu",
                    made->missing, made->excluded, (unsigned long long)made->info.late);
    text_add_format(out, ",\"resets\":%zu", made->resets);
    text_add_format(out, ",\"updated\":%llu,\"off_step\":%zu}",
                    (unsigned long long)made->info.updated, made->off_step);
}

static void add_warning(struct text *out, const char *code, const char *detail, int64_t since_ms)
{
    if (out->length > 0 && out->bytes[out->length - 1] == '}') {
        text_add_char(out, ',');
    }
    text_add_format(out, "{\"code\":\"%s\",\"detail\":\"%s\"", code, detail);
    if (since_ms) {
        text_add_string(out, ",\"since\":");
        add_time_member(out, since_ms);
    }
    text_add_char(out, '}');
}

void forecast_render_warnings(const struct forecast_made *made, struct text *out)
{
    text_add_string(out, ",\"warnings\":[");
    if (made->warnings & WARNING_BEYOND_HORIZON) {
        add_warning(out, "beyond_trained_horizon",
                    "later steps are rolled on in blocks from the model's own forecasts",
                    forecast_time_ms(made, made->trained_horizon + 1));
    }
    if (made->warnings & WARNING_STALE) {
        add_warning(out, "stale", "there has been no point for many steps", made->info.last_ms);
    }
    if (made->warnings & WARNING_SHORT_HISTORY) {
        add_warning(out, "short_history", "there are fewer than ten values", 0);
    }
    if (made->warnings & WARNING_GAPS) {
        add_warning(out, "gaps", "more than a tenth of the recent values are missing", 0);
    }
    if (made->warnings & WARNING_ISSUED_SHORTER) {
        add_warning(out, "issued_shorter", "the vintage has fewer steps than were asked for", 0);
    }
    if (made->warnings & WARNING_COARSER) {
        add_warning(out, "coarser_step", "the horizon is too long for the step of the series", 0);
    }
    if (made->warnings & WARNING_RATE) {
        add_warning(out, "counter_rate", "values are the rise of the counter per second", 0);
    }
    if (made->warnings & WARNING_LEVEL_SHIFT) {
        add_warning(out, "level_shift_recent", "the forecast follows the new level",
                    made->shifted_ms);
    }
    if (made->warnings & WARNING_UNIT) {
        add_warning(out, "unit_change_suspected", "the level changed ten times or more",
                    made->shifted_ms);
    }
    if (made->warnings & WARNING_OFF_STEP) {
        add_warning(out, "irregular_step", "more than a tenth of the points lie off the step", 0);
    }
    text_add_char(out, ']');
}

static void add_arrays(const struct forecast_query *query, const struct forecast_made *made,
                       struct text *out)
{
    const struct forecast *forecast = &made->forecast;
    int digits = digits_for(forecast);
    text_add_string(out, ",\"timestamps\":[");
    for (size_t h = 0; h < forecast->horizon; h++) {
        if (h > 0) {
            text_add_char(out, ',');
        }
        text_add_int(out, forecast_time_ms(made, h + 1));
    }
    text_add_string(out, "],\"mean\":[");
    for (size_t h = 0; h < forecast->horizon; h++) {
        if (h > 0) {
            text_add_char(out, ',');
        }
        add_value(made, mean_at(made, h), digits, out);
    }
    text_add_string(out, "],\"quantiles\":{");
    for (size_t q = 0; q < query->level_count; q++) {
        text_add_string(out, q ? ",\"" : "\"");
        add_level(query->levels[q], out);
        text_add_string(out, "\":[");
        for (size_t h = 0; h < forecast->horizon; h++) {
            if (h > 0) {
                text_add_char(out, ',');
            }
            add_value(made, forecast_level(made, h, query->levels[q]), digits, out);
        }
        text_add_char(out, ']');
    }
    text_add_char(out, '}');
}

static void add_history(const struct forecast_history *history, struct text *out)
{
    text_add_string(out, ",\"history\":{\"timestamps\":[");
    for (size_t i = 0; i < history->count; i++) {
        if (i > 0) {
            text_add_char(out, ',');
        }
        text_add_int(out, history->points[i].time_ms);
    }
    text_add_string(out, "],\"values\":[");
    for (size_t i = 0; i < history->count; i++) {
        if (i > 0) {
            text_add_char(out, ',');
        }
        text_add_double(out, history->points[i].value);
    }
    text_add_string(out, "]}");
}

static size_t render_json(const struct forecast_query *query, const struct forecast_made *made,
                          const char *series, size_t series_length,
                          const struct forecast_history *history, struct text *out)
{
    char room[LIVE_AGE_WIDTH];
    text_add_string(out, "{\"series\":");
    text_add_json_string(out, series, series_length);
    text_add_format(out, ",\"step_ms\":%lld,\"origin\":", (long long)made->facts.step_ms);
    add_time_member(out, forecast_time_ms(made, 0));
    text_add_string(out, ",\"issued_at\":");
    add_time_member(out, made->issued_ms);
    text_add_string(out, ",\"data_age_ms\":");
    size_t age_at = out->length;
    live_write_age(room, made->issued_ms - made->info.last_ms);
    text_add(out, room, sizeof(room));
    text_add_format(out, ",\"state\":\"%s\",\"served_by\":\"%s\",\"fallback_reason\":",
                    series_state_name(made->state), made->served_by);
    if (made->fallback_reason[0]) {
        text_add_format(out, "\"%s\"", made->fallback_reason);
    } else {
        text_add_string(out, "null");
    }
    add_model(made, out);
    add_arrays(query, made, out);
    if (history->points) {
        add_history(history, out);
    }
    add_quality(made, out);
    forecast_render_warnings(made, out);
    text_add_char(out, '}');
    return age_at;
}

/* ---------------------------------------------------------------- rows */

void forecast_render_field(const char *bytes, size_t length, struct text *out)
{
    if (!memchr(bytes, '"', length) && !memchr(bytes, ',', length)) {
        text_add(out, bytes, length);
        return;
    }
    text_add_char(out, '"');
    for (size_t i = 0; i < length; i++) {
        text_add(out, "\"\"", bytes[i] == '"' ? 1 : 0);
        text_add_char(out, bytes[i]);
    }
    text_add_char(out, '"');
}

/* What differs between a line of CSV and a row object: in CSV the names of members are left out. */
static void add_cell_name(const struct forecast_query *query, const char *name, double level,
                          struct text *out)
{
    text_add_char(out, ',');
    if (query->format == FORMAT_TABLE) {
        text_add_format(out, "\"%s", name);
        if (level > 0.0) {
            add_level(level, out);
        }
        text_add_string(out, "\":");
    }
}

static void add_missing(const struct forecast_query *query, struct text *out)
{
    text_add_string(out, query->format == FORMAT_TABLE ? "null" : "");
}

static void begin_row(const struct forecast_query *query, const char *series, size_t length,
                      int64_t time_ms, bool first, struct text *out)
{
    if (query->format == FORMAT_TABLE) {
        text_add_string(out, first ? "{\"series\":" : ",{\"series\":");
        text_add_json_string(out, series, length);
        text_add_string(out, ",\"timestamp\":");
    } else {
        forecast_render_field(series, length, out);
        text_add_char(out, ',');
    }
    text_add_int(out, time_ms);
}

static void end_row(const struct forecast_query *query, struct text *out)
{
    text_add_char(out, query->format == FORMAT_TABLE ? '}' : '\n');
}

static void add_history_row(const struct forecast_query *query, const char *series, size_t length,
                            struct point point, bool first, struct text *out)
{
    begin_row(query, series, length, point.time_ms, first, out);
    add_cell_name(query, "mean", 0.0, out);
    add_missing(query, out);
    for (size_t q = 0; q < query->level_count; q++) {
        add_cell_name(query, "q", query->levels[q], out);
        add_missing(query, out);
    }
    add_cell_name(query, "actual", 0.0, out);
    if (isnan(point.value)) {
        add_missing(query, out);
    } else {
        text_add_double(out, point.value);
    }
    end_row(query, out);
}

static void render_rows(const struct forecast_query *query, const struct forecast_made *made,
                        const char *series, size_t length, const struct forecast_history *history,
                        bool first, struct text *out)
{
    const struct forecast *forecast = &made->forecast;
    int digits = digits_for(forecast);
    for (size_t i = 0; i < history->count; i++, first = false) {
        add_history_row(query, series, length, history->points[i], first, out);
    }
    for (size_t h = 0; h < forecast->horizon; h++, first = false) {
        int64_t time_ms = forecast_time_ms(made, h + 1);
        begin_row(query, series, length, time_ms, first, out);
        add_cell_name(query, "mean", 0.0, out);
        add_value(made, mean_at(made, h), digits, out);
        for (size_t q = 0; q < query->level_count; q++) {
            add_cell_name(query, "q", query->levels[q], out);
            add_value(made, forecast_level(made, h, query->levels[q]), digits, out);
        }
        if (query->history_ms > 0) {
            add_cell_name(query, "actual", 0.0, out);
            add_missing(query, out);
        }
        end_row(query, out);
    }
}

/* ---------------------------------------------------------------- the door */

void forecast_render_begin(const struct forecast_query *query, struct text *out)
{
    if (query->format == FORMAT_JSON) {
        text_add_string(out, "{\"forecasts\":[");
    } else if (query->format == FORMAT_TABLE) {
        text_add_char(out, '[');
    } else {
        text_add_string(out, "series,timestamp,mean");
        for (size_t q = 0; q < query->level_count; q++) {
            text_add_string(out, ",q");
            add_level(query->levels[q], out);
        }
        text_add_string(out, query->history_ms > 0 ? ",actual\n" : "\n");
    }
}

void forecast_render_end(const struct forecast_query *query, struct text *out)
{
    if (query->format != FORMAT_CSV) {
        text_add_char(out, ']');
    }
}

void forecast_render_skipped(const struct forecast_query *query, const char *series,
                             size_t series_length, bool first, struct text *out)
{
    if (query->format == FORMAT_JSON) {
        text_add_string(out, first ? ",\"skipped\":[{\"series\":" : ",{\"series\":");
        text_add_json_string(out, series, series_length);
        text_add_format(out, ",\"code\":\"%s\"}",
                        query->at_ms == INT64_MIN ? "insufficient_history" : "no_vintage");
    }
}

void forecast_render_close(const struct forecast_query *query, bool any_skipped, struct text *out)
{
    if (query->format == FORMAT_JSON) {
        text_add_string(out, any_skipped ? "]}" : "}");
    }
}

size_t forecast_render(const struct forecast_query *query, const struct forecast_made *made,
                       const char *series, size_t series_length,
                       const struct forecast_history *history, bool first, struct text *out)
{
    if (query->format != FORMAT_JSON) {
        render_rows(query, made, series, series_length, history, first, out);
        return 0;
    }
    if (!first) {
        text_add_char(out, ',');
    }
    return render_json(query, made, series, series_length, history, out);
}

const char *forecast_content_type(enum forecast_format format)
{
    return format == FORMAT_CSV ? "text/csv; charset=utf-8" : "application/json";
}
