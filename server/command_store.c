/* The store and everything that answers need, opened by a command instead of the daemon.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/command.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

bool command_source(struct config_sources *sources, const char *name, const char *value)
{
    static char data[600];
    if (strcmp(name, "config") == 0) {
        sources->file = value;
        return true;
    }
    if (sources->set_count == CONFIG_SETS_MAX) {
        return false;
    }
    if (strcmp(name, "set") == 0) {
        sources->sets[sources->set_count++] = value;
        return true;
    }
    if (strcmp(name, "data") == 0) {
        snprintf(data, sizeof(data), "storage.path=%s", value);
        sources->sets[sources->set_count++] = data;
        return true;
    }
    return false;
}

int command_take_source(const struct command_line *line, struct config_sources *sources,
                        const char *name)
{
    if (strcmp(name, "set") == 0 && strchr(line->value, '=') == NULL) {
        return command_usage(line, "option '--set' is '%s', but must be section.key=value",
                             line->value);
    }
    return command_source(sources, name, line->value) ? EXIT_DONE
                                                      : command_usage(line, "too many --set");
}

static enum status open_storage(struct command_store *store, enum store_mode mode,
                                struct error *error)
{
    char url[sizeof(store->config.path) + 16];
    snprintf(url, sizeof(url), "sqlite:%s", store->config.path);
    struct storage_options options = {
        .url = mode == STORE_MEMORY ? "memory:" : url,
        .relaxed = store->config.durability == 1,
        .read_only = mode == STORE_READ,
        .series_max = (uint32_t)store->config.max_series,
        .retention_ms = store->config.retention_ms,
        .counters_later = true,
        .reserve_bytes = store->config.reserve,
    };
    enum status status = downsample_parse(store->config.downsample, &options.downsample, error);
    if (status != STATUS_OK) {
        return status;
    }
    char file[sizeof(store->config.path) + 16];
    snprintf(file, sizeof(file), "%s/forecastd.db", store->config.path);
    if ((mode == STORE_READ || mode == STORE_CHANGE) && access(file, F_OK) != 0 &&
        (errno == ENOENT || errno == ENOTDIR)) {
        error_set(error, STATUS_NOT_FOUND, "there is no store in '%s'", store->config.path);
        return error_hint(error, "Name it with --data DIR.");
    }
    status = storage_open(&options, &store->storage, error);
    if (status == STATUS_CONFLICT) {
        error_hint(error, "A daemon seems to run there; ask it with --url http://%s.",
                   store->config.listen);
    }
    return status;
}

static enum status open_services(struct command_store *store, enum store_mode mode,
                                 struct error *error)
{
    char directory[sizeof(store->config.path) + 16];
    struct writer_options writing = {0};
    enum status status = STATUS_OK;
    snprintf(directory, sizeof(directory), "%s/models", store->config.path);
    if (mode != STORE_READ) {
        status = writer_start(store->storage, &writing, &store->writer, error);
    }
    if (status == STATUS_OK) {
        status = registry_new(&store->registry, error);
    }
    if (status == STATUS_OK && mode != STORE_MEMORY) {
        status = catalogue_open(store->storage, store->writer, store->registry, directory,
                                &store->catalogue, error);
    }
    if (status == STATUS_OK) {
        status = job_table_new(&store->jobs, error);
    }
    if (status != STATUS_OK) {
        return status;
    }
    struct api_services *services = &store->services;
    services->storage = store->storage;
    services->writer = store->writer;
    services->registry = store->registry;
    services->jobs = store->jobs;
    services->started_ms = clock_wall_ms();
    config_model(&store->config, &services->model_config);
    config_limits(&store->config, &store->limits);
    atomic_store(&services->limits, &store->limits);
    status = api_services_init(services, error);
    store->services_ready = status == STATUS_OK;
    return status == STATUS_OK ? api_worker_new(services, &store->worker, error) : status;
}

enum status command_store_open(struct command_store *store, const struct config_sources *sources,
                               enum store_mode mode, struct error *error)
{
    struct config_sources all = *sources;
    memset(store, 0, sizeof(*store));
    all.environment = environ;
    enum status status = config_load(&all, &store->config, error);
    if (status == STATUS_OK) {
        log_set_level((enum log_level)store->config.log_level == LOG_INFO
                          ? LOG_WARNING
                          : (enum log_level)store->config.log_level);
        status = open_storage(store, mode, error);
    }
    if (status == STATUS_OK) {
        status = open_services(store, mode, error);
    }
    if (status != STATUS_OK) {
        command_store_close(store);
    }
    return status;
}

void command_store_close(struct command_store *store)
{
    if (store->worker != NULL) {
        api_worker_free(store->worker);
    }
    if (store->writer != NULL) {
        writer_stop(store->writer);
    }
    if (store->services_ready) {
        api_services_release(&store->services);
    }
    if (store->jobs != NULL) {
        job_table_free(store->jobs);
    }
    catalogue_close(store->catalogue);
    registry_free(store->registry);
    if (store->storage != NULL) {
        storage_close(store->storage);
    }
    memset(store, 0, sizeof(*store));
}
