/* The first crossing of a threshold, out of a forecast, as JSON, CSV and flat rows.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/timeleft.h"

#include "api/forecast_render.h"

#include <math.h>

#define DIGITS 6

/* A number or what stands for "not within the horizon". */
static void add_number(double value, const char *missing, struct text *out)
{
    if (isnan(value)) {
        text_add_string(out, missing);
    } else {
        text_add_double_digits(out, value, DIGITS);
    }
}

static void add_time(struct text *out, const char *name, int64_t time_ms)
{
    text_add_format(out, ",\"%s\":\"", name);
    text_add_time(out, time_ms);
    text_add_char(out, '"');
}

static void add_figures(const struct crossing *crossing, struct text *out)
{
    text_add_format(out, ",\"crossed\":%s,\"p_within\":", crossing->crossed ? "true" : "false");
    add_number(crossing->p_within, "null", out);
    text_add_string(out, ",\"p10_s\":");
    add_number(crossing->p10_s, "null", out);
    text_add_string(out, ",\"p50_s\":");
    add_number(crossing->p50_s, "null", out);
    text_add_string(out, ",\"p90_s\":");
    add_number(crossing->p90_s, "null", out);
}

static double horizon_s(const struct forecast_made *made)
{
    return (double)made->forecast.horizon * (double)made->facts.step_ms / 1000.0;
}

static size_t render_json(const struct forecast_query *query, const struct forecast_made *made,
                          const struct crossing *crossing, struct text *out)
{
    char room[LIVE_AGE_WIDTH];
    text_add_format(out, ",\"step_ms\":%lld", (long long)made->facts.step_ms);
    add_time(out, "origin", forecast_time_ms(made, 0));
    add_time(out, "issued_at", made->issued_ms);
    text_add_string(out, ",\"data_age_ms\":");
    size_t age_at = out->length;
    live_write_age(room, made->issued_ms - made->info.last_ms);
    text_add(out, room, sizeof(room));
    text_add_format(
        out, ",\"state\":\"%s\",\"served_by\":\"%s\",\"%s\":", series_state_name(made->state),
        made->served_by, query->above ? "above" : "below");
    text_add_double(out, query->threshold);
    text_add_string(out, ",\"horizon_s\":");
    text_add_double(out, horizon_s(made));
    add_figures(crossing, out);
    forecast_render_warnings(made, out);
    return age_at;
}

static void render_csv(const struct forecast_query *query, const struct forecast_made *made,
                       const struct crossing *crossing, struct text *out)
{
    text_add_format(out, ",%lld,%s,", (long long)forecast_time_ms(made, 0),
                    query->above ? "above" : "below");
    text_add_double(out, query->threshold);
    text_add_char(out, ',');
    text_add_double(out, horizon_s(made));
    text_add_format(out, ",%d,", crossing->crossed ? 1 : 0);
    add_number(crossing->p_within, "", out);
    text_add_char(out, ',');
    add_number(crossing->p10_s, "", out);
    text_add_char(out, ',');
    add_number(crossing->p50_s, "", out);
    text_add_char(out, ',');
    add_number(crossing->p90_s, "", out);
    text_add_char(out, '\n');
}

/* ---------------------------------------------------------------- the door */

void timeleft_render_begin(const struct forecast_query *query, struct text *out)
{
    if (query->format == FORMAT_CSV) {
        text_add_string(out, "series,timestamp,direction,threshold,horizon_s,crossed,p_within,"
                             "p10_s,p50_s,p90_s\n");
    } else if (query->format == FORMAT_TABLE) {
        text_add_char(out, '[');
    } else if (!forecast_query_is_single(query)) {
        text_add_string(out, "{\"timeleft\":[");
    }
}

void timeleft_render_end(const struct forecast_query *query, struct text *out)
{
    if (query->format == FORMAT_TABLE ||
        (query->format == FORMAT_JSON && !forecast_query_is_single(query))) {
        text_add_char(out, ']');
    }
}

size_t timeleft_render(const struct forecast_query *query, const struct forecast_made *made,
                       const char *series, size_t series_length, bool first, struct text *out)
{
    struct crossing crossing;
    size_t age_at = 0;
    forecast_crossing(made, query->threshold, query->above, &crossing);
    if (query->format == FORMAT_CSV) {
        forecast_render_field(series, series_length, out);
        render_csv(query, made, &crossing, out);
        return 0;
    }
    text_add_string(out, first ? "{\"series\":" : ",{\"series\":");
    text_add_json_string(out, series, series_length);
    if (query->format == FORMAT_JSON) {
        age_at = render_json(query, made, &crossing, out);
    } else {
        text_add_format(out, ",\"timestamp\":%lld,\"direction\":\"%s\",\"threshold\":",
                        (long long)forecast_time_ms(made, 0), query->above ? "above" : "below");
        text_add_double(out, query->threshold);
        text_add_string(out, ",\"horizon_s\":");
        text_add_double(out, horizon_s(made));
        add_figures(&crossing, out);
    }
    text_add_char(out, '}');
    return age_at;
}
