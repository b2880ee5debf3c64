/* The daemon's own counters: one table of counters, histograms of requests by route.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Any thread may count. Rendered by GET /metrics in Prometheus text 0.0.4 or OpenMetrics 1.0.
 * Labels are bounded: route templates and our own words, never what a client sent.
 */
#ifndef API_METRICS_H
#define API_METRICS_H

#include "api/api.h"

/* Counters: identifier, family (without forecastd_ and _total), labels, help. A family's rows stand
 * together. */
#define METRIC_LIST(X)                                                                             \
    X(POINTS_STORED, "ingest_points", "result=\"stored\"", "Points of ingest requests by result.") \
    X(POINTS_UPDATED, "ingest_points", "result=\"updated\"", "")                                   \
    X(POINTS_REFUSED, "ingest_points", "result=\"refused\"", "")                                   \
    X(POINTS_LOST, "ingest_points", "result=\"not_written\"", "")                                  \
    X(REFUSED_TIMESTAMP, "ingest_refused_points", "code=\"bad_timestamp\"",                        \
      "Refused points by code.")                                                                   \
    X(REFUSED_UNIT, "ingest_refused_points", "code=\"timestamp_unit\"", "")                        \
    X(REFUSED_FUTURE, "ingest_refused_points", "code=\"too_far_future\"", "")                      \
    X(REFUSED_OLD, "ingest_refused_points", "code=\"too_old\"", "")                                \
    X(REFUSED_VALUE, "ingest_refused_points", "code=\"bad_value\"", "")                            \
    X(REFUSED_LIMIT, "ingest_refused_points", "code=\"series_limit\"", "")                         \
    X(REFUSED_OTHER, "ingest_refused_points", "code=\"other\"", "")                                \
    X(SKIPPED_HISTOGRAMS, "remote_write_skipped", "kind=\"histogram\"",                            \
      "What remote write brought and forecastd does not keep.")                                    \
    X(SKIPPED_EXEMPLARS, "remote_write_skipped", "kind=\"exemplar\"", "")                          \
    X(SKIPPED_EXPONENTIAL, "otlp_skipped", "kind=\"exponential_histogram\"",                       \
      "What OTLP brought and forecastd does not keep, by data points.")                            \
    X(SKIPPED_BUCKETS, "otlp_skipped", "kind=\"buckets\"", "")                                     \
    X(SKIPPED_STRINGS, "ingest_skipped_fields", "type=\"string\"",                                 \
      "Fields of line protocol that are no numbers.")                                              \
    X(SKIPPED_BOOLEANS, "ingest_skipped_fields", "type=\"boolean\"", "")                           \
    X(SKIPPED_MQTT, "mqtt_skipped_members", "kind=\"no_number\"",                                  \
      "Members of MQTT messages that are no readings.")                                            \
    X(ANSWERS_MEMORY, "forecast_answers", "source=\"memory\"",                                     \
      "Forecast answers by where they came from.")                                                 \
    X(ANSWERS_COMPUTED, "forecast_answers", "source=\"computed\"", "")                             \
    X(ANSWERS_REFRESHED, "forecast_answers", "source=\"refreshed\"", "")                           \
    X(BY_CHAMPION, "forecasts", "served_by=\"champion\"", "Forecasts computed, by method.")        \
    X(BY_PREVIOUS, "forecasts", "served_by=\"previous_champion\"", "")                             \
    X(BY_SEASONAL_NAIVE, "forecasts", "served_by=\"seasonal_naive\"", "")                          \
    X(BY_SEASONAL_DRIFT, "forecasts", "served_by=\"seasonal_drift\"", "")                          \
    X(BY_DAMPED_TREND, "forecasts", "served_by=\"damped_trend\"", "")                              \
    X(BY_DRIFT, "forecasts", "served_by=\"drift\"", "")                                            \
    X(BY_LAST_VALUE, "forecasts", "served_by=\"last_value\"", "")                                  \
    X(FALLBACK_NO_MODEL, "forecast_fallbacks", "reason=\"no_model\"",                              \
      "Forecasts that the champion did not make, by reason.")                                      \
    X(FALLBACK_OUTAGE, "forecast_fallbacks", "reason=\"outage\"", "")                              \
    X(FALLBACK_FAILED, "forecast_fallbacks", "reason=\"model_failed\"", "")                        \
    X(FALLBACK_NOT_FINITE, "forecast_fallbacks", "reason=\"not_finite\"", "")                      \
    X(FALLBACK_NO_SKILL, "forecast_fallbacks", "reason=\"no_skill\"", "")                          \
    X(GAUGES_OMITTED, "forecast_metrics_omitted_series", "reason=\"metrics_max\"",                 \
      "Series that answers of GET /forecast/metrics had no room for.")                             \
    X(VINTAGES_ISSUED, "vintages", "result=\"issued\"",                                            \
      "Forecasts issued, by what became of them.")                                                 \
    X(VINTAGES_LOST, "vintages", "result=\"not_written\"", "")                                     \
    X(WEBHOOKS_SENT, "webhooks", "result=\"sent\"", "Alerts for webhooks by what became of them.") \
    X(WEBHOOKS_FAILED, "webhooks", "result=\"failed\"", "")                                        \
    X(WEBHOOKS_DROPPED, "webhooks", "result=\"dropped\"", "")

enum metric {
#define METRIC_ENUM(name, family, labels, help) METRIC_##name,
    METRIC_LIST(METRIC_ENUM)
#undef METRIC_ENUM
        METRIC_COUNT
};

enum status metrics_new(struct api_metrics **out, struct error *error) MUST_USE;
void metrics_free(struct api_metrics *metrics);

void api_count(struct api_metrics *metrics, enum metric metric, uint64_t amount);

/* Counts a refused point under its code. */
void metrics_refused(struct api_metrics *metrics, const char *code);

/* One finished request of a route (an index of the route table; beyond it: no such route). */
void metrics_observe(struct api_metrics *metrics, size_t route, int status, int64_t duration_ns);

/* Counters and histograms as text; `openmetrics` chooses the dialect. No end mark. */
void metrics_write(struct api_metrics *metrics, bool openmetrics, struct text *text);

/* One gauge or counter with help, for values that live elsewhere. `family` without _total. */
void metrics_gauge(struct text *text, const char *family, const char *help, double value);
/* Only the head of a gauge whose labelled rows follow. */
void metrics_gauge_head(struct text *text, const char *family, const char *help);
void metrics_counter_head(struct text *text, bool openmetrics, const char *family,
                          const char *help);
void metrics_counter(struct text *text, bool openmetrics, const char *family, const char *help,
                     double value);

#endif
