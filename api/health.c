/* GET /healthz, /readyz, /api/v1/status and /metrics: from memory, on the network thread.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"
#include "api/jobs.h"
#include "api/live.h"
#include "api/metrics.h"
#include "api/process.h"
#include "base/clock.h"
#include "base/memory.h"

#include <string.h>

#define HEALTH_BYTES_MAX (4u << 20)
#define QUEUE_FULL       4096 /* batches: the writer's own bound */

enum status healthz_fast(struct call *call, struct error *error)
{
    struct text json;
    text_init(&json, HEALTH_BYTES_MAX);
    text_add_string(&json, "{\"status\":\"ok\"}");
    return call_json(call, 200, &json, error);
}

static void add_reason(struct text *json, bool *ready, const char *reason)
{
    text_add_format(json, "%s\"%s\"", *ready ? "" : ",", reason);
    *ready = false;
}

enum status readyz_fast(struct call *call, struct error *error)
{
    struct storage_stats stats;
    struct text reasons, json;
    bool ready = true;
    storage_stats(call->services->storage, &stats);
    text_init(&reasons, HEALTH_BYTES_MAX);
    text_init(&json, HEALTH_BYTES_MAX);
    if (atomic_load(&call->services->draining)) {
        add_reason(&reasons, &ready, "shutting_down");
    }
    if (!stats.writable) {
        add_reason(&reasons, &ready, "storage_not_writable");
    }
    if (writer_queue_length(call->services->writer) >= QUEUE_FULL) {
        add_reason(&reasons, &ready, "writer_queue_full");
    }
    text_add_format(&json, "{\"status\":\"%s\",\"reasons\":[%s],\"models\":%s}",
                    ready ? "ready" : "not_ready", ready || reasons.failed ? "" : reasons.bytes,
                    registry_generation(call->services->registry) > 0 ? "true" : "false");
    text_release(&reasons);
    return call_json(call, ready ? 200 : 503, &json, error);
}

/* ---------------------------------------------------------------- status */

static void add_training(const struct api_services *services, struct text *json)
{
    struct job_view jobs[JOBS_MAX];
    size_t count = job_list(services->jobs, jobs, JOBS_MAX);
    const struct job_view *running = NULL;
    size_t queued = 0;
    for (size_t i = 0; i < count; i++) {
        if (jobs[i].state == JOB_RUNNING) {
            running = &jobs[i];
        }
        queued += jobs[i].state == JOB_QUEUED;
    }
    text_add_format(json, ",\"training\":{\"state\":\"%s\",\"queued\":%zu,\"job\":",
                    running ? "running" : (queued ? "queued" : "idle"), queued);
    if (running) {
        job_write(running, json);
    } else {
        text_add_string(json, "null");
    }
    text_add_char(json, '}');
}

static void add_limits(const struct api_limits *limits, struct text *json)
{
    text_add_format(json,
                    ",\"limits\":{\"body_bytes\":%zu,\"max_future_ms\":%lld,\"series\":%u,"
                    "\"retention_ms\":%lld,\"points_per_request\":%zu,\"forecast_series\":%zu,"
                    "\"horizon_default\":%zu,\"horizon_max\":%zu}",
                    limits->body_max, (long long)limits->max_future_ms, limits->series_max,
                    (long long)limits->retention_ms, limits->points_per_request,
                    limits->forecast_series_max, limits->horizon_default, limits->horizon_max);
}

enum status status_fast(struct call *call, struct error *error)
{
    struct api_services *services = call->services;
    struct storage_stats stats;
    struct live_stats live;
    struct text json;
    storage_stats(services->storage, &stats);
    live_stats(services->live, &live);
    text_init(&json, HEALTH_BYTES_MAX);
    text_add_format(&json, "{\"version\":\"%s\",\"started_at\":\"", FORECASTD_VERSION);
    text_add_time(&json, services->started_ms);
    text_add_format(&json,
                    "\",\"uptime_seconds\":%lld,\"series\":%u,\"points\":%llu,\"bytes\":%llu,"
                    "\"wal_bytes\":%llu,\"journal_points\":%llu,\"writable\":%s,\"memory\":{"
                    "\"allocated\":%zu,\"peak\":%zu,"
                    "\"tail\":%llu,\"live\":%zu},\"live_answers\":%zu",
                    (long long)((clock_wall_ms() - services->started_ms) / 1000), stats.series,
                    (unsigned long long)stats.points, (unsigned long long)stats.bytes_on_disk,
                    (unsigned long long)stats.wal_bytes, (unsigned long long)stats.journal_points,
                    stats.writable ? "true" : "false", mem_bytes_in_use(), mem_bytes_peak(),
                    (unsigned long long)stats.tail_bytes, live.bytes, live.answers);
    text_add_format(&json,
                    ",\"commits\":{\"count\":%llu,\"points\":%llu,\"failures\":%llu,"
                    "\"last_seconds\":%.6f}",
                    (unsigned long long)stats.commits, (unsigned long long)stats.commit_points,
                    (unsigned long long)stats.commit_failures, (double)stats.last_commit_ns / 1e9);
    add_training(services, &json);
    add_limits(call->limits, &json);
    if (services->describe) {
        struct text more;
        text_init(&more, HEALTH_BYTES_MAX);
        services->describe(services->context, &more);
        if (!more.failed && more.length > 0) {
            text_add_string(&json, more.bytes[0] == ',' ? "" : ",");
            text_add(&json, more.bytes, more.length);
        }
        text_release(&more);
    }
    text_add_char(&json, '}');
    return call_json(call, 200, &json, error);
}

/* ---------------------------------------------------------------- metrics */

static void add_storage(struct api_services *services, bool openmetrics, struct text *text)
{
    struct storage_stats stats;
    storage_stats(services->storage, &stats);
    metrics_gauge(text, "storage_series", "Series in the store.", (double)stats.series);
    metrics_counter(text, openmetrics, "storage_series_expired",
                    "Series that left with their last points, for storage.retention.",
                    (double)stats.expired);
    metrics_gauge(text, "storage_points", "Points in the store.", (double)stats.points);
    metrics_gauge(text, "storage_bytes", "Database and write-ahead log on disk.",
                  (double)stats.bytes_on_disk);
    metrics_gauge(text, "storage_wal_bytes", "Write-ahead log on disk.", (double)stats.wal_bytes);
    metrics_gauge(text, "storage_journal_points", "Points on disk that are not yet in chunks.",
                  (double)stats.journal_points);
    metrics_gauge(text, "storage_chunks", "Compressed chunks.", (double)stats.chunks);
    metrics_gauge(text, "storage_tail_bytes", "Newest points held in memory.",
                  (double)stats.tail_bytes);
    metrics_gauge(text, "storage_index_bytes", "Index of series held in memory.",
                  (double)stats.index_bytes);
    metrics_gauge(text, "storage_writable", "1 while the store takes points.",
                  stats.writable ? 1.0 : 0.0);
    metrics_gauge(text, "storage_full", "1 while the disk is full and only deleting works.",
                  stats.full ? 1.0 : 0.0);
    metrics_counter(text, openmetrics, "storage_damaged",
                    "Chunks and journal rows that failed their check and were set aside.",
                    (double)stats.damaged);
    metrics_gauge(
        text, "storage_stuck_series",
        "Series whose points stay in the journal because a page of the database is damaged.",
        (double)stats.stuck);
    metrics_gauge(text, "storage_last_commit_seconds", "Duration of the newest commit.",
                  (double)stats.last_commit_ns / 1e9);
    metrics_counter(text, openmetrics, "storage_commits", "Transactions on disk.",
                    (double)stats.commits);
    metrics_counter(text, openmetrics, "storage_commit_points", "Points of these transactions.",
                    (double)stats.commit_points);
    metrics_counter(text, openmetrics, "storage_commit_failures", "Transactions that failed.",
                    (double)stats.commit_failures);
    metrics_gauge(text, "writer_queue_batches", "Batches that wait for the writer.",
                  (double)writer_queue_length(services->writer));
}

static void add_instants(const struct champion_age *ages, size_t count, bool trained,
                         struct text *text)
{
    const char *family =
        trained ? "model_trained_timestamp_seconds" : "model_data_timestamp_seconds";
    metrics_gauge_head(text, family,
                       trained ? "When the champion of a step was trained."
                               : "The newest step that the champion of a step was trained on.");
    for (size_t i = 0; i < count; i++) {
        if (ages[i].is_deserted) { /* it would grow old for ever, and there is nothing to mend */
            continue;
        }
        int64_t at_ms = trained ? ages[i].trained_at_ms : ages[i].newest_ms;
        text_add_format(text, "forecastd_%s{step=\"%s\"} ", family, ages[i].step);
        text_add_double(text, (double)at_ms / 1e3);
        text_add_char(text, '\n');
    }
}

/* How old the models are: a champion that no training replaces any more shows here only. */
static void add_models(struct api_services *services, struct text *text)
{
    size_t room = registry_ages(services->registry, NULL, 0);
    struct champion_age *ages = mem_array(room + 1, sizeof(*ages));
    size_t count = ages != NULL ? registry_ages(services->registry, ages, room) : 0;
    count = count < room ? count : room;
    add_instants(ages, count, true, text);
    add_instants(ages, count, false, text);
    mem_free(ages);
    int64_t every_ms = atomic_load(&services->train_every_ms);
    if (every_ms > 0) {
        metrics_gauge(text, "training_interval_seconds",
                      "Between two trainings of a step: train.every.", (double)every_ms / 1e3);
    }
}

static void add_serving(struct api_services *services, bool openmetrics, struct text *text)
{
    struct live_stats live;
    struct job_view jobs[JOBS_MAX];
    size_t count = job_list(services->jobs, jobs, JOBS_MAX), queued = 0, running = 0, stuck = 0;
    double progress = 0.0;
    for (size_t i = 0; i < count; i++) {
        queued += jobs[i].state == JOB_QUEUED;
        stuck += jobs[i].given_up;
        if (jobs[i].state == JOB_RUNNING) {
            running++;
            progress = jobs[i].progress;
        }
    }
    live_stats(services->live, &live);
    metrics_gauge(text, "live_answers", "Forecast answers held in memory.", (double)live.answers);
    metrics_gauge(text, "live_series", "Series of these answers.", (double)live.series);
    metrics_gauge(text, "live_bytes", "Bytes of these answers.", (double)live.bytes);
    metrics_gauge(text, "jobs_queued", "Jobs that wait.", (double)queued);
    metrics_gauge(text, "jobs_running", "Jobs that run.", (double)running);
    metrics_gauge(text, "jobs_stuck", "Jobs that did not stop when told to and hold up the others.",
                  (double)stuck);
    metrics_gauge(text, "training_progress_ratio", "Progress of the running job.", progress);
    metrics_counter(text, openmetrics, "model_publications",
                    "Publications and rollbacks of models since the start.",
                    (double)registry_generation(services->registry));
    if (services->models_damaged != NULL) {
        metrics_counter(text, openmetrics, "models_damaged",
                        "Model files that failed their check and were set aside.",
                        (double)services->models_damaged(services->context));
    }
    metrics_gauge(text, "memory_allocated_bytes", "Bytes handed out by the allocator.",
                  (double)mem_bytes_in_use());
    metrics_gauge(text, "uptime_seconds", "Seconds since the start.",
                  (double)(clock_wall_ms() - services->started_ms) / 1e3);
}

static void add_process(struct api_services *services, bool openmetrics, struct text *text)
{
    struct api_measures measures = {.free_bytes = -1, .reloaded = true};
    if (services->measure == NULL) {
        return;
    }
    services->measure(services->context, &measures);
    metrics_counter_head(text, openmetrics, "trainings",
                         "Trainings of a step since the start, by how they ended.");
    text_add_format(text,
                    "forecastd_trainings_total{result=\"promoted\"} %llu\n"
                    "forecastd_trainings_total{result=\"kept_back\"} %llu\n"
                    "forecastd_trainings_total{result=\"failed\"} %llu\n",
                    (unsigned long long)measures.promoted, (unsigned long long)measures.kept_back,
                    (unsigned long long)measures.failed);
    metrics_gauge_head(text, "mqtt_connected", "1 while the MQTT broker is connected.");
    if (measures.has_broker) {
        text_add_format(text, "forecastd_mqtt_connected %d\n", measures.broker_connected);
    }
    metrics_gauge_head(text, "storage_free_bytes", "Free on the disk of the store.");
    if (measures.free_bytes >= 0) {
        text_add_string(text, "forecastd_storage_free_bytes ");
        text_add_double(text, (double)measures.free_bytes);
        text_add_char(text, '\n');
    }
    metrics_gauge(text, "config_last_reload_successful",
                  "1 where configuration, tokens, certificate and audit log were all read again.",
                  measures.reloaded ? 1.0 : 0.0);
    metrics_gauge(text, "config_last_reload_success_timestamp_seconds",
                  "When that was last so; the start counts.", (double)measures.reloaded_ms / 1e3);
}

enum status metrics_fast(struct call *call, struct error *error)
{
    bool openmetrics = call->request->accept_openmetrics;
    struct text text;
    text_init(&text, HEALTH_BYTES_MAX);
    text_add_format(&text,
                    "# HELP forecastd_build%s Version of this program.\n"
                    "# TYPE forecastd_build%s %s\nforecastd_build_info{version=\"%s\"} 1\n",
                    openmetrics ? "" : "_info", openmetrics ? "" : "_info",
                    openmetrics ? "info" : "gauge", FORECASTD_VERSION);
    metrics_write(call->services->metrics, openmetrics, &text);
    add_storage(call->services, openmetrics, &text);
    add_serving(call->services, openmetrics, &text);
    add_models(call->services, &text);
    add_process(call->services, openmetrics, &text);
    process_write(openmetrics, &text);
    if (openmetrics) {
        text_add_string(&text, "# EOF\n");
    }
    const char *type = openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                   : "text/plain; version=0.0.4; charset=utf-8";
    enum status status = response_take_text(call->response, 200, type, &text, error);
    if (status == STATUS_OK) {
        response_common_headers(call->response);
    }
    return status;
}
