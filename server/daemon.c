/* Building and taking down the daemon, signals, reload, and what GET /api/v1/status adds.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/daemon.h"

#include "base/background.h"
#include "base/clock.h"
#include "base/memory.h"
#include "server/alerts.h"
#include "server/fetch.h"
#include "server/guard.h"
#include "server/http.h"
#include "server/mqtt.h"
#include "server/mqtt_options.h"
#include "server/quoted.h"
#include "server/refresher.h"
#include "server/scheduler.h"

#include <errno.h>
#include <malloc.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define LIMITS_COUNT         16 /* reloads before a struct of limits is used again */
#define GRACE_MS             4000
#define TRAINING_MS          4000 /* from when it is to stop: then it goes on without a training, */
#define TIDY_MS              5500 /* leaves in the journal what is there, */
#define LEAVE_MS             7000 /* takes nothing down: what was acknowledged is on disk, */
#define STOP_SECONDS         9    /* and ends all the same, as a failure: something hangs */
#define MILLISECOND_NS       INT64_C(1000000)
#define DESCRIPTORS_RESERVED 128
#define FIRST_DELAY_MS       60000
#define PROBE_CONNECTIONS    64
#define MAPPED_BYTES         (1 << 20) /* blocks from this size on are no part of the heap */
#define TRIM_BYTES           (8 << 20) /* free at the end of the heap that is kept */

struct daemon {
    struct config config;
    struct api_limits limits[LIMITS_COUNT];
    size_t limits_used;
    struct storage *storage;
    struct writer *writer;
    struct registry *registry;
    struct catalogue *catalogue;
    struct job_table *jobs;
    struct api_services services;
    bool services_ready;
    struct refresher *refresher;
    struct scheduler *scheduler;
    struct mqtt *mqtt; /* NULL: no broker is configured */
    struct guard *guard;
    struct http *probes;                         /* server.health_listen; NULL: none */
    struct alerts *alerts;                       /* NULL without rules */
    atomic_int_fast64_t free_bytes, reloaded_ms; /* of struct api_measures, as the next */
    atomic_bool reload_failed;
    _Atomic(struct http *) http; /* the network thread asks for it while the rest still starts */
};

/* ---------------------------------------------------------------- upward calls of the api */

static enum status promote(void *context, const char *id, struct error *error)
{
    struct daemon *daemon = context;
    enum status status = catalogue_promote(daemon->catalogue, id, error);
    if (status == STATUS_OK) {
        refresher_all(daemon->refresher);
    }
    return status;
}

static enum status rollback(void *context, int64_t step_ms, struct error *error)
{
    struct daemon *daemon = context;
    enum status status = catalogue_rollback(daemon->catalogue, step_ms, error);
    if (status == STATUS_OK) {
        refresher_all(daemon->refresher);
    }
    return status;
}

static void model_published(void *context)
{
    struct daemon *daemon = context;
    refresher_all(daemon->refresher);
}

/* Resident bytes, from /proc; 0 where it cannot be read. */
static int64_t resident_bytes(void)
{
    long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        if (fscanf(file, "%ld %ld", &total, &resident) != 2) {
            resident = 0;
        }
        fclose(file);
    }
    return (int64_t)resident * sysconf(_SC_PAGESIZE);
}

/* 0 is no instant. */
static void add_instant(struct text *json, int64_t at_ms)
{
    if (at_ms == 0) {
        text_add_string(json, "null");
        return;
    }
    text_add_char(json, '"');
    text_add_time(json, at_ms);
    text_add_char(json, '"');
}

/* Members of GET /api/v1/status: short locks and one read of /proc, so it may run on the network
 * thread. */
static void describe(void *context, struct text *json)
{
    struct daemon *daemon = context;
    struct scheduler_stats training = {0};
    struct refresher_stats live = {0};
    struct http_stats port = {0};
    size_t models = 0, champions = 0;
    struct http *http = atomic_load(&daemon->http);
    if (http == NULL) { /* still starting */
        return;
    }
    scheduler_stats(daemon->scheduler, &training);
    refresher_stats(daemon->refresher, &live);
    http_stats(http, &port);
    catalogue_counts(daemon->catalogue, &models, &champions);
    text_add_format(json, "\"trainer\":{\"running\":%s,\"stuck\":%s,\"group_step_ms\":%lld,",
                    training.training ? "true" : "false", training.stuck ? "true" : "false",
                    (long long)training.group_step_ms);
    text_add_format(json, "\"trained\":%llu,", (unsigned long long)training.trained);
    text_add_format(json, "\"promoted\":%llu,\"kept_back\":%llu,\"rolled_back\":%llu,",
                    (unsigned long long)training.promoted, (unsigned long long)training.kept_back,
                    (unsigned long long)training.rolled_back);
    text_add_format(json, "\"failed\":%llu,\"last_ended\":", (unsigned long long)training.failed);
    add_instant(json, training.last_ended_ms);
    text_add_string(json, ",\"next_due\":");
    add_instant(json, training.next_due_ms);
    text_add_format(json, ",\"last_seconds\":%.3f,\"last_sampled\":%s,\"last_series\":%zu,",
                    training.last_seconds, training.last_sampled ? "true" : "false",
                    training.last_series);
    text_add_format(json, "\"last_series_total\":%zu,\"last_windows\":%llu,",
                    training.last_series_total, (unsigned long long)training.last_windows);
    text_add_format(json,
                    "\"last_windows_total\":%llu},\"models\":{\"kept\":%zu,\"champions\":%zu},",
                    (unsigned long long)training.last_windows_total, models, champions);
    text_add_format(
        json, "\"refresher\":{\"refreshed\":%llu,\"rounds\":%llu,\"busy_seconds\":%.3f},",
        (unsigned long long)live.refreshed, (unsigned long long)live.rounds, live.busy_seconds);
    text_add_format(json, "\"background\":{\"rested_seconds\":%.3f},", background_rested_seconds());
    text_add_format(json, "\"http\":{\"connections\":%zu,\"active\":%zu,\"in_hand\":%zu,",
                    port.connections, port.active, foreground_waiting());
    text_add_format(json, "\"waiting\":%zu,", port.waiting);
    text_add_format(json, "\"cut\":%llu,\"refused_busy\":%llu},", (unsigned long long)port.cut,
                    (unsigned long long)port.refused_busy);
    if (daemon->mqtt != NULL) {
        struct mqtt_stats broker;
        mqtt_stats(daemon->mqtt, &broker);
        text_add_format(json, "\"mqtt\":{\"connected\":%s,\"connections\":%llu,",
                        broker.connected ? "true" : "false",
                        (unsigned long long)broker.connections);
        text_add_format(json, "\"messages\":%llu,\"refused_messages\":%llu},",
                        (unsigned long long)broker.messages,
                        (unsigned long long)broker.refused_messages);
    }
    text_add_format(json, "\"resident_bytes\":%lld", (long long)resident_bytes());
}

/* ---------------------------------------------------------------- start */

static void training_of(const struct config *config, struct training_settings *settings)
{
    *settings = (struct training_settings){
        .every_ms = config->every_ms,
        .seconds = (double)config->seconds_ms / 1e3,
        .lanes = (unsigned)config->lanes,
        .memory_max = (size_t)config->memory,
        .seed = (uint64_t)config->seed,
        .first_delay_ms = FIRST_DELAY_MS < config->every_ms ? FIRST_DELAY_MS : config->every_ms,
    };
}

static void apply_log(const struct config *config)
{
    log_set_level((enum log_level)config->log_level);
    log_set_json(config->log_format == 1);
}

/* Connections that the descriptor limit allows, the limit raised as far as it goes. */
static size_t raise_descriptors(size_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return wanted;
    }
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= wanted + DESCRIPTORS_RESERVED) {
        return wanted;
    }
    size_t possible = (size_t)limit.rlim_cur > 2 * DESCRIPTORS_RESERVED
                          ? (size_t)limit.rlim_cur - DESCRIPTORS_RESERVED
                          : (size_t)limit.rlim_cur / 2;
    log_warning("daemon", "fewer connections than configured", "wanted=%zu possible=%zu", wanted,
                possible);
    return possible;
}

static uint64_t models_damaged(void *context)
{
    struct daemon *daemon = context;
    return catalogue_damaged(daemon->catalogue);
}

/* Once a second, and not whenever somebody asks: a disk may take its time. */
static void look_at_disk(struct daemon *daemon)
{
    struct statvfs disk;
    bool fine = statvfs(daemon->config.path, &disk) == 0;
    atomic_store(&daemon->free_bytes, fine ? (int64_t)disk.f_bavail * (int64_t)disk.f_frsize : -1);
}

static void note_reload(struct daemon *daemon, bool fine)
{
    atomic_store(&daemon->reload_failed, !fine);
    if (fine) {
        atomic_store(&daemon->reloaded_ms, clock_wall_ms());
    }
}

static void measure(void *context, struct api_measures *measures)
{
    struct daemon *daemon = context;
    struct scheduler_stats training = {0};
    struct mqtt_stats broker = {0};
    if (atomic_load(&daemon->http) != NULL) { /* else it still starts */
        scheduler_stats(daemon->scheduler, &training);
        measures->has_broker = daemon->mqtt != NULL;
    }
    if (measures->has_broker) {
        mqtt_stats(daemon->mqtt, &broker);
    }
    measures->broker_connected = broker.connected;
    measures->promoted = training.promoted;
    measures->kept_back = training.kept_back;
    measures->failed = training.failed;
    measures->free_bytes = atomic_load(&daemon->free_bytes);
    measures->reloaded = !atomic_load(&daemon->reload_failed);
    measures->reloaded_ms = atomic_load(&daemon->reloaded_ms);
}

static enum status start_store(struct daemon *daemon, const char *url, struct error *error)
{
    char path[sizeof(daemon->config.path) + 16];
    snprintf(path, sizeof(path), "sqlite:%s", daemon->config.path);
    struct storage_options options = {
        .url = url != NULL ? url : path,
        .relaxed = daemon->config.durability == 1,
        .series_max = (uint32_t)daemon->config.max_series,
        .retention_ms = daemon->config.retention_ms,
        .counters_later = true,
        .reserve_bytes = daemon->config.reserve,
    };
    struct writer_options writing = {0};
    enum status status = downsample_parse(daemon->config.downsample, &options.downsample, error);
    if (status != STATUS_OK) {
        return status;
    }
    status = storage_open(&options, &daemon->storage, error);
    if (status == STATUS_OK) {
        status = writer_start(daemon->storage, &writing, &daemon->writer, error);
    }
    return status;
}

static enum status start_models(struct daemon *daemon, struct error *error)
{
    char directory[sizeof(daemon->config.path) + 16];
    snprintf(directory, sizeof(directory), "%s/models", daemon->config.path);
    if (mkdir(daemon->config.path, 0700) != 0 && errno != EEXIST) {
        return error_set(error, STATUS_IO, "could not make folder '%s': %s", daemon->config.path,
                         strerror(errno));
    }
    enum status status = registry_new(&daemon->registry, error);
    if (status == STATUS_OK) {
        status = catalogue_open(daemon->storage, daemon->writer, daemon->registry, directory,
                                &daemon->catalogue, error);
    }
    if (status == STATUS_OK) {
        status = job_table_new(&daemon->jobs, error);
    }
    return status;
}

static enum status start_services(struct daemon *daemon, struct error *error)
{
    struct api_services *services = &daemon->services;
    services->storage = daemon->storage;
    services->writer = daemon->writer;
    services->registry = daemon->registry;
    services->jobs = daemon->jobs;
    services->started_ms = clock_wall_ms();
    services->describe = describe;
    services->promote = promote;
    services->rollback = rollback;
    services->models_damaged = models_damaged;
    services->measure = measure;
    note_reload(daemon, true);
    look_at_disk(daemon);
    atomic_store(&services->train_every_ms, daemon->config.every_ms);
    services->context = daemon;
    config_model(&daemon->config, &services->model_config);
    config_limits(&daemon->config, &daemon->limits[0]);
    atomic_store(&services->limits, &daemon->limits[0]);
    enum status status = api_services_init(services, error);
    daemon->services_ready = status == STATUS_OK;
    if (status == STATUS_OK) {
        status = refresher_start(services, &daemon->refresher, error);
    }
    if (status == STATUS_OK) {
        struct scheduler_options options = {.services = services,
                                            .catalogue = daemon->catalogue,
                                            .published = model_published,
                                            .context = daemon};
        training_of(&daemon->config, &options.settings);
        status = scheduler_start(&options, &daemon->scheduler, error);
    }
    if (status == STATUS_OK) {
        status = alerts_start(services, &daemon->config.alerts, daemon->config.alerts_every_ms,
                              &daemon->alerts, error);
    }
    return status;
}

static enum status start_probes(struct daemon *daemon, struct error *error)
{
    struct http_options options = {
        .listen = daemon->config.health_listen,
        .hosts = daemon->config.hosts,
        .probes = true,
        .connections = PROBE_CONNECTIONS,
        .connections_per_address = PROBE_CONNECTIONS / 2,
        .services = &daemon->services,
    };
    if (daemon->config.health_listen[0] == '\0') {
        return STATUS_OK;
    }
    enum status status = http_start(&options, &daemon->probes, error);
    if (status == STATUS_INVALID && error->param[0] != '\0') {
        error_code(error, error->code, "server.health_listen");
    }
    return status;
}

static enum status start_http(struct daemon *daemon, bool insecure, struct error *error)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t workers = (size_t)daemon->config.workers;
    if (workers == 0) {
        workers = cores > 2 ? (size_t)cores : 2;
    }
    struct http_options options = {
        .listen = daemon->config.listen,
        .hosts = daemon->config.hosts,
        .insecure = insecure,
        .tls = daemon->config.tls_cert[0] != '\0',
        .audit = guard_audit(daemon->guard),
        .connections = raise_descriptors((size_t)daemon->config.connections),
        .connections_per_address = (size_t)daemon->config.connections_per_address,
        .services = &daemon->services,
        .worker_count = workers,
    };
    struct http *http = NULL;
    enum status status = http_start(&options, &http, error);
    atomic_store(&daemon->http, http);
    return status == STATUS_OK ? start_probes(daemon, error) : status;
}

static enum status start_mqtt(struct daemon *daemon, struct error *error)
{
    struct mqtt_options options;
    if (daemon->config.mqtt_broker[0] == '\0') {
        return STATUS_OK;
    }
    enum status status = mqtt_options_of(&daemon->config, &options, error);
    if (status == STATUS_OK) {
        status = mqtt_start(&daemon->services, &options, &daemon->mqtt, error);
    }
    explicit_bzero(options.password, sizeof(options.password));
    return status;
}

enum status daemon_start(const struct daemon_options *options, struct daemon **out,
                         struct error *error)
{
    struct daemon *daemon = mem_zeroed(1, sizeof(*daemon));
    if (daemon == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not start: out of memory");
    }
    daemon->config = *options->config;
    foreground_prefer(); /* all threads but those that step back */
    background_hurry(false);
    enum status status = guard_open(&daemon->config, &daemon->guard, error);
    if (status == STATUS_OK) {
        status = start_store(daemon, options->storage_url, error);
    }
    if (status == STATUS_OK) {
        status = start_models(daemon, error);
    }
    if (status == STATUS_OK) {
        status = start_services(daemon, error);
    }
    if (status == STATUS_OK) {
        status = start_mqtt(daemon, error);
    }
    if (status == STATUS_OK) {
        daemon->services.access = guard_access(daemon->guard);
        status = start_http(daemon, options->insecure, error);
    }
    if (status != STATUS_OK) {
        (void)daemon_stop(daemon, 0); /* nothing trains yet */
        return status;
    }
    *out = daemon;
    return STATUS_OK;
}

/* ---------------------------------------------------------------- running and stopping */

int daemon_port(struct daemon *daemon)
{
    return http_port(atomic_load(&daemon->http));
}

void daemon_tick(struct daemon *daemon)
{
    int64_t now_ns = clock_monotonic_ns();
    http_sweep(atomic_load(&daemon->http), now_ns);
    if (daemon->probes != NULL) {
        http_sweep(daemon->probes, now_ns);
    }
    guard_tick(daemon->guard);
    look_at_disk(daemon);
}

void daemon_reload(struct daemon *daemon, const struct config *next)
{
    struct training_settings settings;
    size_t changed = config_reload(&daemon->config, next);
    apply_log(&daemon->config);
    /* Requests under way may still look at the old limits, so the next slot is filled. */
    struct api_limits *limits = &daemon->limits[++daemon->limits_used % LIMITS_COUNT];
    config_limits(&daemon->config, limits);
    atomic_store(&daemon->services.limits, limits);
    training_of(&daemon->config, &settings);
    scheduler_configure(daemon->scheduler, &settings);
    atomic_store(&daemon->services.train_every_ms, settings.every_ms);
    log_info("daemon", "configuration read again", "changed=%zu", changed);
    note_reload(daemon, guard_reload(daemon->guard));
}

/* A clean end leaves only chunks: the smallest file, and nothing to replay at the next start. What
 * there is no time for waits in the journal. */
static void tidy_store(struct writer *writer, int64_t until_ns)
{
    struct error error = {0};
    if (writer_compact_until(writer, until_ns, &error) != STATUS_OK) {
        log_warning("daemon", "tidying left for the next start", "reason=\"%s\"", error.text);
    }
}

static void release(struct daemon *daemon)
{
    if (daemon->writer != NULL) {
        writer_stop(daemon->writer);
    }
    if (daemon->services_ready) {
        api_services_release(&daemon->services);
    }
    if (daemon->jobs != NULL) {
        job_table_free(daemon->jobs);
    }
    catalogue_close(daemon->catalogue);
    registry_free(daemon->registry);
    if (daemon->storage != NULL) {
        storage_close(daemon->storage);
    }
    guard_close(daemon->guard);
    mem_free(daemon);
}

bool daemon_stop(struct daemon *daemon, int64_t grace_ms)
{
    int64_t begin_ns = clock_monotonic_ns();
    atomic_store(&daemon->services.draining, true);
    background_hurry(true);
    if (daemon->jobs != NULL) {
        job_close(daemon->jobs); /* training ends meanwhile */
    }
    struct http *http = atomic_load(&daemon->http);
    if (http != NULL) {
        http_stop(http, grace_ms);
    }
    if (daemon->probes != NULL) { /* its metrics ask for the broker, too */
        http_stop(daemon->probes, 0);
    }
    mqtt_stop(daemon->mqtt);
    alerts_stop(daemon->alerts);
    bool is_over = scheduler_ends_by(daemon->scheduler, begin_ns + TRAINING_MS * MILLISECOND_NS);
    if (is_over) { /* else it may still tell the refresher of its model, and the writer */
        scheduler_stop(daemon->scheduler);
        refresher_stop(daemon->refresher);
    }
    if (daemon->writer != NULL) {
        tidy_store(daemon->writer, begin_ns + TIDY_MS * MILLISECOND_NS);
    }
    bool in_time = clock_monotonic_ns() < begin_ns + LEAVE_MS * MILLISECOND_NS;
    if (is_over && in_time) {
        release(daemon);
    }
    return is_over && in_time;
}

static void reload_from(struct daemon *daemon, const struct config_sources *sources)
{
    struct config next;
    struct error error = {0};
    if (config_load(sources, &next, &error) != STATUS_OK) {
        log_error("daemon", "configuration not reloaded", "reason=%s", QUOTED(error.text));
        note_reload(daemon, false);
        return;
    }
    daemon_reload(daemon, &next);
}

static void gave_up(int signal_number)
{
    static const char line[] = "forecastd: stopping took too long, leaving\n";
    (void)signal_number;
    if (write(STDERR_FILENO, line, sizeof(line) - 1) < 0) {
        _exit(1);
    }
    _exit(1);
}

/* Signals come by handler and semaphore, not by sigwait: a thread that a library starts before main
 * can block anything would take a signal's default action and end the process. */
static sem_t signal_arrived;
static volatile sig_atomic_t asked_to_stop, asked_to_reload;

static void note_signal(int signal_number)
{
    if (signal_number == SIGHUP) {
        asked_to_reload = 1;
    } else {
        asked_to_stop = signal_number;
    }
    sem_post(&signal_arrived);
}

static void catch_signals(void)
{
    sem_init(&signal_arrived, 0, 0);
    struct sigaction action = {.sa_handler = note_signal, .sa_flags = SA_RESTART};
    sigfillset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* Waits for a signal, a second at most. */
static void wait_for_signal(void)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 1;
    while (sem_clockwait(&signal_arrived, CLOCK_MONOTONIC, &until) != 0 && errno == EINTR &&
           !asked_to_stop && !asked_to_reload) {
    }
}

/* Large blocks (a training's, of large requests) come and go, and thousands of small ones that a
 * crowd of clients holds must not keep their memory resident. So they are mapped by themselves:
 * left alone the allocator takes them from the heap as soon as it has seen the first one freed. */
static void limit_heap(void)
{
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES);
    mallopt(M_TRIM_THRESHOLD, TRIM_BYTES);
}

int daemon_run(const struct daemon_options *options, const struct config_sources *sources)
{
    struct daemon *daemon = NULL;
    struct error error = {0};
    int64_t begin_ns = clock_monotonic_ns();
    catch_signals();
    limit_heap();
    apply_log(options->config);
    /* Libraries cannot be read from the sandbox. */
    enum status status = model_prepare(&error);
    if (status == STATUS_OK && options->config->alerts.count > 0) {
        status = fetch_prepare(&error);
    }
    bool files_limited = guard_limit_files(options->config, config_file(sources));
    if (status == STATUS_OK) {
        status = daemon_start(options, &daemon, &error);
    }
    if (status != STATUS_OK) {
        fprintf(stderr, "forecastd: %s\n%s%s", error.text, error.hint, error.hint[0] ? "\n" : "");
        return 1;
    }
    log_info("daemon", "listening", "address=%s port=%d data=%s version=%s start_ms=%.1f",
             options->config->listen, daemon_port(daemon), options->config->path, FORECASTD_VERSION,
             (double)(clock_monotonic_ns() - begin_ns) / 1e6);
    guard_warn(options->config, options->insecure, http_is_loopback(atomic_load(&daemon->http)));
    guard_limit_calls(options->config, files_limited);
    for (;;) {
        wait_for_signal();
        if (asked_to_stop) {
            log_info("daemon", "stopping", "signal=%d", (int)asked_to_stop);
            break;
        }
        if (asked_to_reload) {
            asked_to_reload = 0;
            reload_from(daemon, sources);
        }
        daemon_tick(daemon);
    }
    signal(SIGALRM, gave_up);
    alarm(STOP_SECONDS);
    bool is_whole = daemon_stop(daemon, GRACE_MS);
    alarm(0);
    log_info("daemon", "stopped", "uptime_s=%.0f", (double)(clock_monotonic_ns() - begin_ns) / 1e9);
    if (!is_whole) {
        log_warning("daemon", "not taken down, for want of time", "stored=everything");
        _exit(0); /* a training may be anywhere: nothing under it is released */
    }
    return 0;
}
