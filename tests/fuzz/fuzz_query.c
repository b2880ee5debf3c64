/* Fuzzes whole requests against the memory store: target and control body; no input may do harm.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses the method and the limits; then the target up to a newline, then the body.
 */
#include "api/api.h"

#include "base/log.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TARGET_MAX 4096
#define MANY       70 /* series: more than a forecast may have, or than one look finds */

static struct api_services services;
static struct api_worker *worker;
static sem_t answered;
static struct api_limits limits[2] = {
    {
        .body_max = (size_t)1 << 20,
        .max_future_ms = 600000,
        .series_max = 1000,
        .points_per_request = 1000,
        .forecast_series_max = 50,
        .horizon_default = 12,
        .horizon_max = 64,
        .live_bytes_max = (size_t)1 << 20,
    },
    {
        .body_max = 100,
        .max_future_ms = 600000,
        .series_max = 1000,
        .points_per_request = 10,
        .horizon_default = 1,
        .horizon_max = 2,
        .live_bytes_max = 1,
        .quantiles = "0.05,0.5",
    },
};

/* A store with one series of a few points and many of one. */
static void start(void)
{
    struct error error = {0};
    struct storage_options storage = {.url = "memory:"};
    struct writer_options writer = {0};
    struct write_batch *batch = NULL;
    struct write_result result;
    uint32_t series = 0;
    log_set_level(LOG_ERROR);
    sem_init(&answered, 0, 0);
    bool fine = storage_open(&storage, &services.storage, &error) == STATUS_OK &&
                writer_start(services.storage, &writer, &services.writer, &error) == STATUS_OK &&
                registry_new(&services.registry, &error) == STATUS_OK &&
                job_table_new(&services.jobs, &error) == STATUS_OK;
    atomic_store(&services.limits, &limits[0]);
    fine = fine && api_services_init(&services, &error) == STATUS_OK &&
           api_worker_new(&services, &worker, &error) == STATUS_OK &&
           write_batch_new(services.storage, 200, &batch, &error) == STATUS_OK &&
           write_batch_series(batch, "s", 1, &series, &error) == STATUS_OK;
    for (int i = 0; fine && i < 40; i++) {
        struct point point = {INT64_C(1795354740000) + i * 60000, (double)(i % 6)};
        fine = write_batch_point(batch, series, point, &error) == STATUS_OK;
    }
    for (int i = 0; fine && i < MANY; i++) {
        char name[64];
        int length = snprintf(name, sizeof(name), i ? "many{i=\"%d\"}" : "many{i=\"a\\\"b\"}", i);
        struct point point = {INT64_C(1795354740000), (double)i};
        fine = write_batch_series(batch, name, (size_t)length, &series, &error) == STATUS_OK &&
               write_batch_point(batch, series, point, &error) == STATUS_OK;
    }
    if (!fine || writer_write_take(services.writer, batch, &result, &error) != STATUS_OK) {
        abort();
    }
}

/* On the writer's thread: what was written has its answer. */
static void resume(struct api_request *request)
{
    (void)request;
    sem_post(&answered);
}

static void check(struct api_response *response)
{
    if (response->status < 200 || response->status > 599 ||
        (response->status != 204 && (!response->body || !response->content_type))) {
        abort();
    }
    api_response_release(response);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum api_method methods[] = {API_GET, API_HEAD, API_POST, API_PATCH, API_OTHER};
    char target[TARGET_MAX];
    if (!worker) {
        start();
    }
    if (size < 2) {
        return 0;
    }
    const uint8_t *newline = memchr(data + 1, '\n', size - 1);
    size_t length = newline ? (size_t)(newline - data - 1) : size - 1;
    if (length >= sizeof(target) || memchr(data + 1, 0, length)) {
        return 0;
    }
    memcpy(target, data + 1, length);
    target[length] = '\0';
    char *mark = strchr(target, '?');
    if (mark) {
        *mark = '\0';
    }
    atomic_store(&services.limits, &limits[data[0] / 5 % 2]);
    struct api_response response = {0};
    struct api_request request = {
        .method = methods[data[0] % 5],
        .path = target,
        .query = mark ? mark + 1 : "",
        .content_type = "application/json",
        .body = newline ? (const char *)newline + 1 : "",
        .body_length = newline ? size - length - 2 : 0,
        .request_id = "fuzz",
        .response = &response,
        .resume = resume,
    };
    enum api_outcome outcome = api_begin(&services, &request, request.body_length, &response);
    if (outcome == API_DECLINED) {
        outcome = api_fast(&services, &request, &response);
    }
    if (outcome == API_DECLINED) {
        outcome = api_handle(worker, &request, &response);
    }
    while (outcome == API_PENDING && sem_wait(&answered) != 0) {
    }
    check(&response);
    return 0;
}
