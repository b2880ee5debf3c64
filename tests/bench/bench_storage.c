/* The store alone, in process: ingest, acknowledgements, bytes a point, memory, reads, start.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: bench_storage [FOLDER]
 * Everything is synchronous=FULL. One line a figure; run it twice on a shared machine. The data:
 * 1,000 series x 10,000 ticks of 10 s, two decimals, a daily wave and a random walk with noise.
 */
#include "base/clock.h"
#include "base/random.h"
#include "storage/writer.h"

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SERIES = 1000, TICKS = 10000, SINGLE = 64, SINGLES = 200000, READS = 2000, LAST = 1000 };

#define START_MS INT64_C(1795354740000)

static void must(enum status status, const struct error *error)
{
    if (status != STATUS_OK) {
        fprintf(stderr, "bench_storage: %s\n", error->text);
        exit(1);
    }
}

static void folder_empty(const char *folder)
{
    char path[512];
    DIR *directory = opendir(folder);
    if (directory == NULL) {
        return;
    }
    for (struct dirent *item = readdir(directory); item != NULL; item = readdir(directory)) {
        snprintf(path, sizeof path, "%s/%.200s", folder, item->d_name);
        unlink(path);
    }
    closedir(directory);
}

static struct storage *open_store(const char *folder)
{
    char url[300];
    struct storage *storage;
    struct error error = {0};
    snprintf(url, sizeof url, "sqlite:%s", folder);
    struct storage_options options = {.url = url};
    must(storage_open(&options, &storage, &error), &error);
    return storage;
}

static double seconds_since(int64_t start_ns)
{
    return (double)(clock_monotonic_ns() - start_ns) / 1e9;
}

static double cpu_seconds(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* "VmHWM" and "VmRSS" in MB. */
static double memory_mb(const char *name)
{
    char line[256];
    double kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            kib = strtod(line + strlen(name) + 1, NULL);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return kib / 1024;
}

/* ---------------------------------------------------------------- readings */

static struct random noise;
static double walk[SERIES];
static char names[SERIES][40];

static double reading(size_t series, size_t tick)
{
    walk[series] += 0.02 * (random_uniform(&noise) - 0.5);
    double wave = 10 * sin(6.283185307 * ((double)tick / 8640 + (double)series / SERIES));
    double value = 20 + wave + walk[series] + (random_uniform(&noise) - 0.5);
    return round(value * 100) / 100;
}

static void readings_begin(void)
{
    random_init(&noise, 1, 0);
    for (size_t s = 0; s < SERIES; s++) {
        snprintf(names[s], sizeof names[s], "plant.sensor{id=\"%zu\"}", s);
        walk[s] = 0;
    }
}

/* ---------------------------------------------------------------- ingest */

static void ingest(struct storage *storage, struct writer *writer)
{
    /* Values are made tick by tick outside the clock, so that they need no memory. */
    static double values[SERIES];
    int64_t spent = 0, worst = 0;
    double cpu = -cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (size_t t = 0; t < TICKS; t++) {
        cpu += cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
        for (size_t s = 0; s < SERIES; s++) {
            values[s] = reading(s, t);
        }
        cpu -= cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
        int64_t start = clock_monotonic_ns();
        struct write_batch *batch;
        struct error error = {0};
        must(write_batch_new(storage, SERIES, &batch, &error), &error);
        for (size_t s = 0; s < SERIES; s++) {
            uint32_t number;
            must(write_batch_series(batch, names[s], strlen(names[s]), &number, &error), &error);
            must(write_batch_point(batch, number,
                                   (struct point){START_MS + (int64_t)t * 10000, values[s]},
                                   &error),
                 &error);
        }
        must(writer_write_take(writer, batch, NULL, &error), &error);
        int64_t took = clock_monotonic_ns() - start;
        spent += took;
        worst = took > worst ? took : worst;
    }
    cpu += cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
    printf("ingest, processor time: %.2f s per million points\n", cpu / (SERIES * TICKS / 1e6));
    printf("ingest, 1000 points a batch, 1 submitter: %.2f M points/s, worst batch %.1f ms\n",
           (double)SERIES * TICKS / ((double)spent / 1e9) / 1e6, (double)worst / 1e6);
}

/* ---------------------------------------------------------------- single points, 64 in flight */

struct flight {
    struct storage *storage;
    struct writer *writer;
    pthread_mutex_t lock;
    pthread_cond_t landed;
    size_t in_the_air, done;
};

static void landed(void *context, const struct write_result *result)
{
    struct flight *flight = context;
    must(result->error.status, &result->error);
    pthread_mutex_lock(&flight->lock);
    flight->in_the_air--;
    flight->done++;
    if (flight->in_the_air == SINGLE / 2) {
        pthread_cond_signal(&flight->landed);
    }
    pthread_mutex_unlock(&flight->lock);
}

static void singles(struct storage *storage, struct writer *writer)
{
    struct flight flight = {.storage = storage, .writer = writer};
    pthread_mutex_init(&flight.lock, NULL);
    pthread_cond_init(&flight.landed, NULL);
    struct storage_stats before, after;
    storage_stats(storage, &before);
    int64_t start = clock_monotonic_ns();
    for (size_t i = 0; i < SINGLES; i++) {
        pthread_mutex_lock(&flight.lock);
        while (flight.in_the_air == SINGLE) {
            pthread_cond_wait(&flight.landed, &flight.lock);
        }
        flight.in_the_air++;
        pthread_mutex_unlock(&flight.lock);
        struct write_batch *batch;
        struct error error = {0};
        uint32_t number;
        const char *name = names[i % SERIES];
        must(write_batch_new(storage, 1, &batch, &error), &error);
        must(write_batch_series(batch, name, strlen(name), &number, &error), &error);
        must(write_batch_point(batch, number,
                               (struct point){START_MS + (int64_t)(TICKS + i / SERIES) * 10000,
                                              reading(i % SERIES, i / SERIES)},
                               &error),
             &error);
        must(writer_submit_take(writer, batch, landed, &flight, &error), &error);
    }
    pthread_mutex_lock(&flight.lock);
    while (flight.done < SINGLES) {
        pthread_mutex_unlock(&flight.lock);
        usleep(100);
        pthread_mutex_lock(&flight.lock);
    }
    pthread_mutex_unlock(&flight.lock);
    double seconds = seconds_since(start);
    storage_stats(storage, &after);
    printf("single points, %d in flight: %.0f acknowledged/s, %.1f a sync\n", SINGLE,
           SINGLES / seconds, (double)SINGLES / (double)(after.commits - before.commits));
}

/* ---------------------------------------------------------------- reads and start */

static void reads(struct storage *storage, const char *what)
{
    struct storage_reader *reader;
    struct error error = {0};
    static struct point points[LAST];
    struct random pick;
    int64_t spent = 0;
    random_init(&pick, 2, 0);
    must(storage_reader_open(storage, &reader, &error), &error);
    for (int i = -SERIES; i < READS; i++) { /* once over all of them first: caches are warm */
        uint32_t id =
            i < 0 ? (uint32_t)(i + SERIES + 1) : (uint32_t)random_below(&pick, SERIES) + 1;
        size_t count;
        int64_t start = clock_monotonic_ns();
        must(storage_read_last(reader, id, points, LAST, &count, &error), &error);
        spent += i < 0 ? 0 : clock_monotonic_ns() - start;
        if (count != LAST) {
            fprintf(stderr, "bench_storage: read %zu points\n", count);
            exit(1);
        }
    }
    printf("last %d points of a series, %s: %.1f us\n", LAST, what, (double)spent / READS / 1e3);
    storage_reader_close(reader);
}

static void reads_from_disk(const char *folder)
{
    char url[300];
    struct storage *storage;
    struct error error = {0};
    snprintf(url, sizeof url, "sqlite:%s", folder);
    struct storage_options options = {.url = url, .tail_points = 1, .tail_bytes_max = 1 << 20};
    must(storage_open(&options, &storage, &error), &error);
    reads(storage, "from disk");
    storage_close(storage);
}

int main(int count, char **arguments)
{
    char folder[256] = "/tmp/forecastd-bench-XXXXXX";
    if (count > 1) {
        snprintf(folder, sizeof folder, "%s", arguments[1]);
    } else if (mkdtemp(folder) == NULL) {
        return 1;
    }
    struct error error = {0};
    struct writer_options options = {0};
    struct storage_stats stats;
    struct writer *writer;
    readings_begin();
    struct storage *storage = open_store(folder);
    must(writer_start(storage, &options, &writer, &error), &error);
    printf("resident with an empty store: %.1f MB\n", memory_mb("VmRSS"));
    ingest(storage, writer);
    storage_stats(storage, &stats);
    printf("memory: peak %.1f MB, now %.1f MB; tails %.1f MB, index %.2f MB; file %.1f MB, log "
           "%.1f MB\n",
           memory_mb("VmHWM"), memory_mb("VmRSS"), (double)stats.tail_bytes / 1e6,
           (double)stats.index_bytes / 1e6, (double)stats.bytes_on_disk / 1e6,
           (double)stats.wal_bytes / 1e6);
    int64_t start = clock_monotonic_ns();
    writer_stop(writer);
    storage_close(storage);
    printf("stop: %.1f ms\n", seconds_since(start) * 1e3);
    start = clock_monotonic_ns();
    storage = open_store(folder);
    storage_stats(storage, &stats);
    printf("start with %.1f M points, %.2f M of them in the journal: %.1f ms\n",
           (double)stats.points / 1e6, (double)stats.journal_points / 1e6,
           seconds_since(start) * 1e3);
    must(writer_start(storage, &options, &writer, &error), &error);
    start = clock_monotonic_ns();
    must(writer_compact(writer, &error), &error);
    storage_stats(storage, &stats);
    printf("disk after compaction (%.0f ms): %.3f bytes a point, %.0f points a chunk\n",
           seconds_since(start) * 1e3, (double)stats.bytes_on_disk / (double)stats.points,
           (double)stats.points / (double)stats.chunks);
    reads(storage, "from memory");
    writer_stop(writer);
    storage_close(storage);
    start = clock_monotonic_ns();
    storage = open_store(folder);
    printf("start with %.1f M points, compacted: %.1f ms\n", (double)stats.points / 1e6,
           seconds_since(start) * 1e3);
    storage_close(storage);
    reads_from_disk(folder);
    storage = open_store(folder);
    must(writer_start(storage, &options, &writer, &error), &error);
    singles(storage, writer);
    writer_stop(writer);
    storage_close(storage);
    printf("peak memory of everything: %.1f MB\n", memory_mb("VmHWM"));
    if (count < 2) {
        folder_empty(folder);
        rmdir(folder);
    }
    return 0;
}
