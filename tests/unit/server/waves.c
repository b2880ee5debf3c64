/* A small store on disk with two hourly series of waves, its catalogue, and models of few steps.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/server/waves.h"

#include "api/jobs.h"
#include "base/clock.h"
#include "base/random.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/forecastd-scheduler-XXXXXX";
char models[64];
struct api_services services;
static struct api_limits limits = {.body_max = 1 << 20,
                                   .max_future_ms = 600000,
                                   .series_max = 100,
                                   .points_per_request = 100000,
                                   .forecast_series_max = 500,
                                   .horizon_default = 12,
                                   .horizon_max = 1024,
                                   .live_bytes_max = 1 << 20};
struct catalogue *catalogue;

void waves_open(void)
{
    struct error error = {0};
    char url[80];
    snprintf(url, sizeof(url), "sqlite:%s", directory);
    struct storage_options storage = {.url = url};
    struct writer_options writer = {0};
    memset(&services, 0, sizeof(services));
    assert_int_equal(storage_open(&storage, &services.storage, &error), STATUS_OK);
    assert_int_equal(writer_start(services.storage, &writer, &services.writer, &error), STATUS_OK);
    assert_int_equal(registry_new(&services.registry, &error), STATUS_OK);
    assert_int_equal(catalogue_open(services.storage, services.writer, services.registry, models,
                                    &catalogue, &error),
                     STATUS_OK);
    assert_int_equal(job_table_new(&services.jobs, &error), STATUS_OK);
    atomic_store(&services.limits, &limits);
    snprintf(services.model_config.backbone, sizeof(services.model_config.backbone), "logsparse");
    snprintf(services.model_config.head, sizeof(services.model_config.head), "quantile");
    services.model_config.horizon = 12;
    snprintf(services.model_config.members, sizeof(services.model_config.members), "1");
    assert_int_equal(api_services_init(&services, &error), STATUS_OK);
}

void waves_close(void)
{
    writer_stop(services.writer);
    api_services_release(&services);
    job_table_free(services.jobs);
    catalogue_close(catalogue);
    registry_free(services.registry);
    storage_close(services.storage);
}

static void store_waves(void)
{
    static const char *const names[] = {"boiler.a", "boiler.b"};
    struct error error = {0};
    struct write_batch *batch = NULL;
    struct write_result result;
    struct random random;
    random_init(&random, 7, 0);
    int64_t end_ms = clock_wall_ms() / HOUR_MS * HOUR_MS;
    assert_int_equal(write_batch_new(services.storage, 2 * POINTS, &batch, &error), STATUS_OK);
    for (size_t s = 0; s < 2; s++) {
        uint32_t number;
        assert_int_equal(write_batch_series(batch, names[s], strlen(names[s]), &number, &error),
                         STATUS_OK);
        for (int i = 0; i < POINTS; i++) {
            struct point point = {.time_ms = end_ms - (int64_t)(POINTS - i) * HOUR_MS,
                                  .value = 20 + 5 * sin(6.2831853 * i / 24 + (double)s) +
                                           0.3 * random_normal(&random)};
            assert_int_equal(write_batch_point(batch, number, point, &error), STATUS_OK);
        }
    }
    assert_int_equal(writer_write_take(services.writer, batch, &result, &error), STATUS_OK);
}

int waves_prepare(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL) {
        return 1;
    }
    snprintf(models, sizeof(models), "%s/models", directory);
    waves_open();
    store_waves();
    return 0;
}

void remove_folder(const char *path)
{
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        char name[600];
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        unlink(name);
    }
    if (folder != NULL) {
        closedir(folder);
    }
    rmdir(path);
}

int waves_clean_up(void **state)
{
    (void)state;
    waves_close();
    remove_folder(models);
    remove_folder(directory);
    return 0;
}

size_t count_files(const char *suffix)
{
    size_t count = 0;
    DIR *folder = opendir(models);
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        size_t length = strlen(entry->d_name);
        count +=
            length > strlen(suffix) && strcmp(entry->d_name + length - strlen(suffix), suffix) == 0;
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return count;
}

const char *champion_id(char id[48])
{
    struct snapshot *champion = registry_acquire(services.registry, HOUR_MS);
    id[0] = '\0';
    if (champion != NULL) {
        snprintf(id, 48, "%s", snapshot_record(champion)->id);
    }
    snapshot_release(champion);
    return id;
}

struct snapshot *train_small(uint64_t seed)
{
    struct api_worker *worker = NULL;
    struct api_group group = {0};
    struct snapshot *snapshot = NULL;
    struct error error = {0};
    assert_int_equal(api_worker_new(&services, &worker, &error), STATUS_OK);
    struct api_group_order order = {.step_ms = HOUR_MS, .values_max = POINTS, .bytes_max = 1 << 24};
    assert_int_equal(api_group_load(worker, &order, &group, &error), STATUS_OK);
    assert_int_equal(group.count, 2);
    struct train_request request = {.series = group.series,
                                    .series_count = group.count,
                                    .config = services.model_config,
                                    .steps = 2,
                                    .seed = seed};
    assert_int_equal(model_train(&request, &snapshot, &error), STATUS_OK);
    api_group_free(&group);
    api_worker_free(worker);
    return snapshot;
}

void admit(uint64_t seed, bool promote, char id[48])
{
    struct error error = {0};
    struct gate_result gate = {.promote = promote};
    struct snapshot *snapshot = train_small(seed);
    snprintf(gate.reason, sizeof(gate.reason), "decided by the test \"%llu\"",
             (unsigned long long)seed);
    assert_int_equal(catalogue_admit(catalogue, snapshot, &gate, id, &error), STATUS_OK);
    snapshot_release(snapshot);
}

struct lookup {
    const char *key;
    struct waves_record *record;
};

static bool keep_record(void *context, const char *key, const char *json, size_t length)
{
    struct lookup *lookup = context;
    if (strcmp(key, lookup->key) == 0 && length < sizeof(lookup->record->json)) {
        memcpy(lookup->record->json, json, length);
        lookup->record->json[length] = '\0';
    }
    return true;
}

void find_record(const char *id, struct waves_record *record)
{
    struct lookup lookup = {.key = id, .record = record};
    struct storage_reader *reader = NULL;
    struct error error = {0};
    record->json[0] = '\0';
    assert_int_equal(storage_reader_open(services.storage, &reader, &error), STATUS_OK);
    assert_int_equal(storage_records(reader, "model", keep_record, &lookup, &error), STATUS_OK);
    storage_reader_close(reader);
}

void expect_record(const char *id, const char *part)
{
    struct waves_record record;
    find_record(id, &record);
    if (strstr(record.json, part) == NULL) {
        fail_msg("%s lacks %s: %s", id, part, record.json);
    }
}
