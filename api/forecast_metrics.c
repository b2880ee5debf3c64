/* GET /forecast/metrics: forecasts as gauges of now, for alert rules and autoscalers.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Switched on by forecast.metrics_max, the number of series that an answer may hold. What is beyond
 * it is left out and counted: in a header, in a gauge beside the forecasts and in the daemon's own
 * metrics.
 */
#include "api/desk.h"
#include "api/gauges.h"
#include "api/handlers.h"
#include "api/metrics.h"
#include "base/clock.h"
#include "base/series_name.h"

#include <string.h>

#define SELECTORS_MAX 16
#define LISTED_MAX    256

struct scrape {
    struct call *call;
    struct gauge_order order;
    struct selector *selectors[SELECTORS_MAX];
    size_t selector_count;
    size_t answered, omitted;
    struct text out;
};

static enum status read_selectors(struct scrape *scrape, struct error *error)
{
    const struct query *query = &scrape->call->query;
    for (size_t i = 0; i < query->count; i++) {
        const struct query_parameter *one = &query->parameters[i];
        if (strcmp(one->name, "match") != 0 || one->length == 0) {
            continue;
        }
        if (scrape->selector_count == SELECTORS_MAX) {
            error_set(error, STATUS_INVALID, "more than %d selectors", SELECTORS_MAX);
            return error_code(error, "bad_parameter", "match");
        }
        struct selector **place = &scrape->selectors[scrape->selector_count];
        if (selector_parse(one->value, one->length, place, error) != STATUS_OK) {
            return error->status == STATUS_INVALID ? error_code(error, "bad_selector", "match")
                                                   : error->status;
        }
        scrape->selector_count++;
    }
    return STATUS_OK;
}

static bool is_wanted(const struct scrape *scrape, uint32_t id)
{
    char name[SERIES_TEXT_MAX];
    if (scrape->selector_count <= 1) {
        return true; /* the store has chosen */
    }
    size_t length = storage_series_text(scrape->call->services->storage, id, name);
    for (size_t i = 0; i < scrape->selector_count; i++) {
        if (selector_matches(scrape->selectors[i], name, length)) {
            return true;
        }
    }
    return false;
}

/* The lines of some series: from memory, or made now. */
static enum status add_series(struct scrape *scrape, const uint32_t *ids, size_t count,
                              struct error *error)
{
    struct call *call = scrape->call;
    uint32_t missing[DESK_SERIES_MAX];
    size_t missing_count = 0;
    int64_t now_ms = clock_wall_ms();
    for (size_t i = 0; i < count; i++) {
        char key[GAUGE_KEY_MAX];
        gauge_key_write(ids[i], &scrape->order, key);
        if (!live_add(call->services, key, now_ms, &scrape->out)) {
            missing[missing_count++] = ids[i];
        }
    }
    if (missing_count == 0) {
        return STATUS_OK;
    }
    return gauge_make(call->worker->desk, &scrape->order, missing, missing_count, &scrape->out,
                      error);
}

static enum status add_all(struct scrape *scrape, struct error *error)
{
    const struct selector *only = scrape->selector_count == 1 ? scrape->selectors[0] : NULL;
    uint32_t ids[LISTED_MAX], after = 0, batch[DESK_SERIES_MAX];
    size_t found = 0, used = 0, maximum = scrape->call->limits->metrics_series_max;
    do {
        found = view_list(scrape->call->view, only, after, ids, LISTED_MAX);
        for (size_t i = 0; i < found; i++) {
            after = ids[i];
            if (!is_wanted(scrape, ids[i])) {
                continue;
            }
            if (scrape->answered == maximum) {
                scrape->omitted++;
                continue;
            }
            scrape->answered++;
            batch[used++] = ids[i];
            if (used == DESK_SERIES_MAX) {
                used = 0;
                if (add_series(scrape, batch, DESK_SERIES_MAX, error) != STATUS_OK) {
                    return error->status;
                }
            }
        }
    } while (found == LISTED_MAX);
    return used ? add_series(scrape, batch, used, error) : STATUS_OK;
}

static enum status finish(struct scrape *scrape, struct error *error)
{
    struct call *call = scrape->call;
    bool openmetrics = call->request->accept_openmetrics;
    text_add_format(&scrape->out,
                    "# HELP forecastd_forecast_series Series that the selectors match, by whether "
                    "forecast.metrics_max left room for them.\n"
                    "# TYPE forecastd_forecast_series gauge\n"
                    "forecastd_forecast_series{result=\"answered\"} %zu\n"
                    "forecastd_forecast_series{result=\"omitted\"} %zu\n%s",
                    scrape->answered, scrape->omitted, openmetrics ? "# EOF\n" : "");
    const char *type = openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                   : "text/plain; version=0.0.4; charset=utf-8";
    if (response_take_text(call->response, 200, type, &scrape->out, error) != STATUS_OK) {
        return error->status == STATUS_TOO_LARGE ? error_code(error, "answer_too_large", NULL)
                                                 : error->status;
    }
    response_common_headers(call->response);
    if (scrape->omitted > 0) {
        response_header(call->response, "X-Forecast-Series-Omitted", "%zu", scrape->omitted);
        api_count(call->services->metrics, METRIC_GAUGES_OMITTED, scrape->omitted);
    }
    return STATUS_OK;
}

enum status forecast_metrics_get(struct call *call, struct error *error)
{
    struct scrape scrape = {.call = call};
    if (call->limits->metrics_series_max == 0) {
        error_set(error, STATUS_NOT_FOUND, "forecasts as gauges are switched off");
        return error_code(error, "not_enabled", "forecast.metrics_max");
    }
    text_init(&scrape.out, ANSWER_BYTES_MAX);
    text_add_string(&scrape.out,
                    "# HELP forecastd_forecast Forecast of now, by how far ahead and quantile.\n"
                    "# TYPE forecastd_forecast gauge\n");
    enum status status =
        gauge_order_read(&call->query, call->limits->quantiles, &scrape.order, error);
    if (status == STATUS_OK) {
        status = read_selectors(&scrape, error);
    }
    if (status == STATUS_OK) {
        status = add_all(&scrape, error);
    }
    if (status == STATUS_OK) {
        status = finish(&scrape, error);
    }
    for (size_t i = 0; i < scrape.selector_count; i++) {
        selector_free(scrape.selectors[i]);
    }
    text_release(&scrape.out);
    return status;
}
