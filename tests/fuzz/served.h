/* Services with a memory store, for harnesses that ask the API from request to answer.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A store that is filled by the harness; nothing is forecast by a network, and nobody listens. All
 * of it runs on the caller's thread, the writer by steps, and its clocks stand at SERVED_MS, so
 * that inputs have the same effect in each run.
 */
#ifndef TESTS_FUZZ_SERVED_H
#define TESTS_FUZZ_SERVED_H

#include "api/api.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>

#define SERVED_MS INT64_C(1795354740000)

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

static inline int64_t served_wall(void)
{
    return SERVED_MS;
}

/* Goes on a little with each look, so that nobody waits for ever. */
static inline int64_t served_monotonic(void)
{
    static int64_t now_ns;
    return now_ns += 1000;
}

/* Starts them and has the store filled with series and points. */
static inline void serve(enum status (*fill)(struct write_batch *batch, struct error *error))
{
    struct error error = {0};
    struct storage_options storage = {.url = "memory:"};
    struct writer_options writer = {.stepped = true};
    struct write_batch *batch = NULL;
    struct write_result result;
    clock_wall_replace(served_wall);
    clock_monotonic_replace(served_monotonic);
    log_set_level(LOG_ERROR);
    atomic_store(&services.limits, &limits);
    if (storage_open(&storage, &services.storage, &error) != STATUS_OK ||
        writer_start(services.storage, &writer, &services.writer, &error) != STATUS_OK ||
        registry_new(&services.registry, &error) != STATUS_OK ||
        job_table_new(&services.jobs, &error) != STATUS_OK ||
        api_services_init(&services, &error) != STATUS_OK ||
        api_worker_new(&services, &worker, &error) != STATUS_OK ||
        write_batch_new(services.storage, 1000, &batch, &error) != STATUS_OK ||
        fill(batch, &error) != STATUS_OK ||
        writer_write_take(services.writer, batch, &result, &error) != STATUS_OK) {
        abort();
    }
}

#endif
