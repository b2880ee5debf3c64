/* The daemon's own counters: one table of counters, histograms of requests by route.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/metrics.h"

#include "api/router.h"
#include "base/check.h"
#include "base/memory.h"

#include <string.h>

#define ROUTES_MAX  128
#define CODES_MAX   16
#define BUCKETS_MAX 15

static const struct metric_row {
    const char *family, *labels, *help;
} rows[METRIC_COUNT] = {
#define METRIC_ROW(name, family, labels, help) {family, labels, help},
    METRIC_LIST(METRIC_ROW)
#undef METRIC_ROW
};

static const int64_t bucket_ns[BUCKETS_MAX] = {
    100000,   250000,    500000,    1000000,   2500000,    5000000,    10000000,   25000000,
    50000000, 100000000, 250000000, 500000000, 1000000000, 2500000000, 10000000000};
static const char *const bucket_labels[BUCKETS_MAX] = {
    "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025",
    "0.05",   "0.1",     "0.25",   "0.5",   "1.0",    "2.5",   "10.0"};

/* Other codes are counted under 500; the last row of routes is "no such route". */
static const int known_codes[CODES_MAX] = {200, 202, 204, 304, 400, 401, 403, 404,
                                           405, 409, 413, 415, 422, 500, 503, 0};

struct route_metrics {
    atomic_uint_fast64_t codes[CODES_MAX];
    atomic_uint_fast64_t buckets[BUCKETS_MAX + 1]; /* the last one: slower than all */
    atomic_uint_fast64_t sum_ns;
};

struct api_metrics {
    atomic_uint_fast64_t counters[METRIC_COUNT];
    struct route_metrics routes[ROUTES_MAX];
};

enum status metrics_new(struct api_metrics **out, struct error *error)
{
    size_t count = 0;
    router_routes(&count);
    CHECK(count < ROUTES_MAX);
    *out = mem_zeroed(1, sizeof(**out));
    return *out ? STATUS_OK : error_set(error, STATUS_NO_MEMORY, "no memory for the metrics");
}

void metrics_free(struct api_metrics *metrics)
{
    mem_free(metrics);
}

static inline void count_up(atomic_uint_fast64_t *counter, uint64_t amount)
{
    atomic_fetch_add_explicit(counter, amount, memory_order_relaxed);
}

static inline uint64_t count_of(atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void api_count(struct api_metrics *metrics, enum metric metric, uint64_t amount)
{
    if (amount > 0) {
        count_up(&metrics->counters[metric], amount);
    }
}

void metrics_refused(struct api_metrics *metrics, const char *code)
{
    static const struct {
        const char *code;
        enum metric metric;
    } known[] = {
        {"bad_timestamp", METRIC_REFUSED_TIMESTAMP}, {"timestamp_unit", METRIC_REFUSED_UNIT},
        {"too_far_future", METRIC_REFUSED_FUTURE},   {"too_old", METRIC_REFUSED_OLD},
        {"bad_value", METRIC_REFUSED_VALUE},         {"series_limit", METRIC_REFUSED_LIMIT},
    };
    enum metric metric = METRIC_REFUSED_OTHER;
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        if (strcmp(known[i].code, code) == 0) {
            metric = known[i].metric;
        }
    }
    api_count(metrics, metric, 1);
}

void metrics_observe(struct api_metrics *metrics, size_t route, int status, int64_t duration_ns)
{
    size_t code = 0;
    while (code < CODES_MAX - 1 && known_codes[code] != status) {
        code++;
    }
    size_t bucket = 0;
    while (bucket < BUCKETS_MAX && duration_ns > bucket_ns[bucket]) {
        bucket++;
    }
    struct route_metrics *target = &metrics->routes[route < ROUTES_MAX ? route : ROUTES_MAX - 1];
    count_up(&target->codes[code], 1);
    count_up(&target->buckets[bucket], 1);
    count_up(&target->sum_ns, duration_ns > 0 ? (uint64_t)duration_ns : 0);
}

/* # HELP and # TYPE; OpenMetrics names a counter without _total there. */
static void write_head(struct text *text, const char *family, const char *suffix, const char *type,
                       const char *help)
{
    text_add_format(text, "# HELP %s%s%s %s\n# TYPE %s%s%s %s\n", "forecastd_", family, suffix,
                    help, "forecastd_", family, suffix, type);
}

void metrics_gauge_head(struct text *text, const char *family, const char *help)
{
    write_head(text, family, "", "gauge", help);
}

void metrics_gauge(struct text *text, const char *family, const char *help, double value)
{
    metrics_gauge_head(text, family, help);
    text_add_format(text, "forecastd_%s ", family);
    text_add_double(text, value);
    text_add_char(text, '\n');
}

void metrics_counter_head(struct text *text, bool openmetrics, const char *family, const char *help)
{
    write_head(text, family, openmetrics ? "" : "_total", "counter", help);
}

void metrics_counter(struct text *text, bool openmetrics, const char *family, const char *help,
                     double value)
{
    metrics_counter_head(text, openmetrics, family, help);
    text_add_format(text, "forecastd_%s_total ", family);
    text_add_double(text, value);
    text_add_char(text, '\n');
}

static const char *route_name(const struct route *routes, size_t count, size_t index)
{
    return index < count ? routes[index].template : "none";
}

static const char *route_method(const struct route *routes, size_t count, size_t index)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PATCH", "DELETE", "other"};
    return index < count ? names[routes[index].method] : "any";
}

static void write_requests(struct api_metrics *metrics, bool openmetrics, struct text *text)
{
    size_t count = 0;
    const struct route *routes = router_routes(&count);
    write_head(text, "http_requests", openmetrics ? "" : "_total", "counter",
               "Requests by route template, method and code.");
    for (size_t r = 0; r < ROUTES_MAX; r++) {
        for (size_t c = 0; c < CODES_MAX; c++) {
            uint64_t value = count_of(&metrics->routes[r].codes[c]);
            if (value > 0) {
                text_add_format(text, "forecastd_http_requests_total{route=\"%s\",method=\"%s\",",
                                route_name(routes, count, r), route_method(routes, count, r));
                if (known_codes[c]) {
                    text_add_format(text, "code=\"%d\"} ", known_codes[c]);
                } else {
                    text_add_string(text, "code=\"other\"} ");
                }
                text_add_format(text, "%llu\n", (unsigned long long)value);
            }
        }
    }
}

static void write_histogram(struct route_metrics *route, const char *labels, struct text *text)
{
    const char *name = "forecastd_http_request_duration_seconds";
    uint64_t total = 0;
    for (size_t b = 0; b <= BUCKETS_MAX; b++) {
        total += count_of(&route->buckets[b]);
        text_add_format(text, "%s_bucket{%s,le=\"%s\"} %llu\n", name, labels,
                        b < BUCKETS_MAX ? bucket_labels[b] : "+Inf", (unsigned long long)total);
    }
    text_add_format(text, "%s_sum{%s} ", name, labels);
    text_add_double(text, (double)count_of(&route->sum_ns) / 1e9);
    text_add_format(text, "\n%s_count{%s} %llu\n", name, labels, (unsigned long long)total);
}

static void write_durations(struct api_metrics *metrics, struct text *text)
{
    size_t count = 0;
    const struct route *routes = router_routes(&count);
    write_head(text, "http_request_duration_seconds", "", "histogram",
               "Time from the head of a request to the end of its answer.");
    for (size_t r = 0; r < ROUTES_MAX; r++) {
        if (count_of(&metrics->routes[r].sum_ns) > 0) {
            struct text labels;
            text_init(&labels, 256);
            text_add_format(&labels, "route=\"%s\",method=\"%s\"", route_name(routes, count, r),
                            route_method(routes, count, r));
            if (!labels.failed) {
                write_histogram(&metrics->routes[r], labels.bytes, text);
            }
            text_release(&labels);
        }
    }
}

void metrics_write(struct api_metrics *metrics, bool openmetrics, struct text *text)
{
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        if (i == 0 || strcmp(rows[i].family, rows[i - 1].family) != 0) {
            write_head(text, rows[i].family, openmetrics ? "" : "_total", "counter", rows[i].help);
        }
        text_add_format(text, "forecastd_%s_total{%s} %llu\n", rows[i].family, rows[i].labels,
                        (unsigned long long)count_of(&metrics->counters[i]));
    }
    write_requests(metrics, openmetrics, text);
    write_durations(metrics, text);
}
