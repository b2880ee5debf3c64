/* What a forecast request asks for, from a query string or a JSON body.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_FORECAST_QUERY_H
#define API_FORECAST_QUERY_H

#include "api/api.h"
#include "api/query.h"
#include "api/view.h"

/* Of the query string of GET. */
#define FORECAST_PARAMETERS "series horizon steps quantiles level history at format"

/* Of the query string of GET /api/v1/timeleft, which is a way to read a forecast. */
#define TIMELEFT_PARAMETERS "series above below horizon steps format"

#define FORECAST_SERIES_MAX 500
#define FORECAST_LEVELS_MAX 32

enum forecast_format { FORMAT_JSON, FORMAT_CSV, FORMAT_TABLE };

struct forecast_query {
    uint32_t ids[FORECAST_SERIES_MAX];
    size_t count, maximum; /* of series; the limit of the daemon */
    bool open;             /* a selector: further series may match later */
    int64_t horizon_ms;    /* 0: in steps */
    size_t steps, steps_max;
    double levels[FORECAST_LEVELS_MAX]; /* rising, in (0,1) */
    size_t level_count;
    char preset[128];   /* levels where none are asked for */
    int64_t history_ms; /* 0: none */
    enum forecast_format format;
    int64_t at_ms; /* as it was issued then; INT64_MIN: now */
    /* The first crossing of a threshold is asked for, not the forecast. */
    bool crossing, above;
    double threshold;
};

/* One series that was named, not selected: its answer to GET /api/v1/timeleft is an object. */
bool forecast_query_is_single(const struct forecast_query *query);

/* From the query of GET. unknown_series, bad_parameter, missing_parameter, too_many_series,
 * no_vintage. */
enum status forecast_query_read(const struct view *view, const struct query *query,
                                struct forecast_query *out, struct error *error) MUST_USE;

/* The same from the query of GET /api/v1/timeleft. */
enum status forecast_query_read_timeleft(const struct view *view, const struct query *query,
                                         struct forecast_query *out, struct error *error) MUST_USE;

/* From the body of POST: the same fields; "series" is a string or an array of strings, "quantiles"
 * and "level" are arrays of numbers or strings as above. */
enum status forecast_query_read_json(const struct view *view, const char *body, size_t length,
                                     struct forecast_query *out, struct error *error) MUST_USE;

/* Parts, shared by both. */
void forecast_query_init(struct api_services *services, struct forecast_query *out);
enum status forecast_query_series(const struct view *view, const char *text, size_t length,
                                  struct forecast_query *out, struct error *error) MUST_USE;
/* "0.1,0.5" as levels, or "80,95" as bands in per cent. */
enum status forecast_query_quantiles(struct forecast_query *out, const char *text,
                                     struct error *error) MUST_USE;
enum status forecast_query_bands(struct forecast_query *out, const char *text,
                                 struct error *error) MUST_USE;
enum status forecast_query_add_level(struct forecast_query *out, const char *name, double level,
                                     struct error *error) MUST_USE;
/* Both edges of a band in per cent; shares such as 0.8 are refused. */
enum status forecast_query_add_band(struct forecast_query *out, double percent,
                                    struct error *error) MUST_USE;
enum status forecast_query_format(struct forecast_query *out, const char *text,
                                  struct error *error) MUST_USE;
enum status forecast_query_at(struct forecast_query *out, const char *text,
                              struct error *error) MUST_USE;
/* What must hold for all fields together; sorts the levels and fills in what was not asked for. */
enum status forecast_query_finish(struct forecast_query *out, struct error *error) MUST_USE;

#endif
