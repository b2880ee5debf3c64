/* Fuzzes whole requests against the memory store: target and control body; no input may do harm.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses the method and the limits; then the target up to a newline, then the body.
 */
#include "tests/fuzz/served.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TARGET_MAX 4096
#define MANY       70 /* series: more than a forecast may have, or than one look finds */

static bool answered;
static struct api_limits tight = {
    .body_max = 100,
    .max_future_ms = 600000,
    .series_max = 1000,
    .points_per_request = 10,
    .horizon_default = 1,
    .horizon_max = 2,
    .live_bytes_max = 1,
    .quantiles = "0.05,0.5",
};

/* One series of a few points and many of one. */
static enum status fill(struct write_batch *batch, struct error *error)
{
    uint32_t series = 0;
    enum status status = write_batch_series(batch, "s", 1, &series, error);
    for (int i = 0; i < 40 && status == STATUS_OK; i++) {
        struct point point = {SERVED_MS - (40 - i) * 60000, (double)(i % 6)};
        status = write_batch_point(batch, series, point, error);
    }
    for (int i = 0; i < MANY && status == STATUS_OK; i++) {
        char name[64];
        int length = snprintf(name, sizeof(name), i ? "many{i=\"%d\"}" : "many{i=\"a\\\"b\"}", i);
        struct point point = {SERVED_MS, (double)i};
        status = write_batch_series(batch, name, (size_t)length, &series, error);
        if (status == STATUS_OK) {
            status = write_batch_point(batch, series, point, error);
        }
    }
    return status;
}

/* What was written has its answer. */
static void resume(struct api_request *request)
{
    (void)request;
    answered = true;
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
        serve(fill);
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
    atomic_store(&services.limits, data[0] / 5 % 2 ? &tight : &limits);
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
    answered = false;
    enum api_outcome outcome = api_begin(&services, &request, request.body_length, &response);
    if (outcome == API_DECLINED) {
        outcome = api_fast(&services, &request, &response);
    }
    if (outcome == API_DECLINED) {
        outcome = api_handle(worker, &request, &response);
    }
    while (outcome == API_PENDING && !answered) {
        (void)writer_step(services.writer);
    }
    check(&response);
    return 0;
}
