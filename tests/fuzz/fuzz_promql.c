/* Fuzzes PromQL, from the text of a query to its answer, against a memory store of a few series.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses an instant or a range, then follows the query. Each answer must be one of
 * success or a refusal that names the fault; a refusal by parsing must leave nothing behind, which
 * the leak check sees.
 */
#include "api/api.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW_S     INT64_C(1795354740)
#define QUERY_MAX 2000

static struct api_services services;
static struct api_worker *worker;
static struct api_limits limits = {
    .body_max = (size_t)1 << 20,
    .max_future_ms = 600000,
    .series_max = 1000,
    .points_per_request = 1000,
    .forecast_series_max = 50,
    .horizon_default = 12,
    .horizon_max = 64,
    .live_bytes_max = (size_t)1 << 20,
};

static bool fill(struct error *error)
{
    static const char *const names[] = {"a", "m{a=\"1\"}", "m{a=\"2\",b=\"x\"}", "n{a=\"1\"}"};
    struct write_batch *batch = NULL;
    struct write_result result;
    bool fine = write_batch_new(services.storage, 1000, &batch, error) == STATUS_OK;
    for (size_t s = 0; fine && s < sizeof(names) / sizeof(names[0]); s++) {
        uint32_t series = 0;
        fine = write_batch_series(batch, names[s], strlen(names[s]), &series, error) == STATUS_OK;
        for (int64_t i = 0; fine && i < 40; i++) {
            struct point point = {(NOW_S - 60 * (40 - i)) * 1000, (double)(i % 9)};
            fine = write_batch_point(batch, series, point, error) == STATUS_OK;
        }
    }
    return fine && writer_write_take(services.writer, batch, &result, error) == STATUS_OK;
}

static void start(void)
{
    struct error error = {0};
    struct storage_options storage = {.url = "memory:"};
    struct writer_options writer = {0};
    log_set_level(LOG_ERROR);
    atomic_store(&services.limits, &limits);
    if (storage_open(&storage, &services.storage, &error) != STATUS_OK ||
        writer_start(services.storage, &writer, &services.writer, &error) != STATUS_OK ||
        registry_new(&services.registry, &error) != STATUS_OK ||
        job_table_new(&services.jobs, &error) != STATUS_OK ||
        api_services_init(&services, &error) != STATUS_OK ||
        api_worker_new(&services, &worker, &error) != STATUS_OK || !fill(&error)) {
        abort();
    }
}

/* The form of a query, percent-encoded as a whole. */
static size_t write_form(const uint8_t *data, size_t size, bool range, char *out, size_t room)
{
    int head =
        range ? snprintf(out, room, "start=%lld&end=%lld&step=97.5&query=", (long long)NOW_S - 1800,
                         (long long)NOW_S + 1800)
              : snprintf(out, room, "time=%lld&query=", (long long)NOW_S);
    size_t used = (size_t)head;
    for (size_t i = 0; i < size; i++) {
        used += (size_t)snprintf(out + used, room - used, "%%%02x", data[i]);
    }
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char form[3 * QUERY_MAX + 200];
    if (!worker) {
        start();
    }
    if (size < 2 || size > QUERY_MAX) {
        return 0;
    }
    bool range = data[0] % 2 == 1;
    size_t length = write_form(data + 1, size - 1, range, form, sizeof(form));
    struct api_response response = {0};
    struct api_request request = {
        .method = API_POST,
        .path = range ? "/prometheus/api/v1/query_range" : "/prometheus/api/v1/query",
        .query = "",
        .content_type = "application/x-www-form-urlencoded",
        .body = form,
        .body_length = length,
        .request_id = "fuzz",
        .response = &response,
    };
    if (api_handle(worker, &request, &response) != API_DONE || !response.body ||
        (response.status != 200 && response.status != 400 && response.status != 422)) {
        abort();
    }
    bool success = strncmp(response.body, "{\"status\":\"success\"", 19) == 0;
    if (success != (response.status == 200)) {
        abort();
    }
    api_response_release(&response);
    return 0;
}
