/* kill -9 of a writing process at random moments: nothing acknowledged is lost, no batch is there
 * in part. SPDX-License-Identifier: Apache-2.0
 *
 * A child writes numbered batches, out of order in time, several in flight, compacting now and
 * then, and tells each acknowledged number over a pipe. It is killed after a few milliseconds, the
 * store is opened and every batch looked for; then the next child goes on where this one fell.
 * KILLS=N for more than 40; every so often on an empty store, so that looking stays short.
 */
#include "tests/contract/fixture.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/random.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    KILLS = 40,
    WIDTH = 20,       /* points of a batch, each of another series */
    NUMBERS = 100003, /* prime: n -> n * 7919 % NUMBERS visits every time once */
    IN_FLIGHT = 8,
    COMPACT_EVERY = 37,
    FRESH_EVERY = 8000, /* batches in one store */
    START_MS_MAX = 2000,
    COMPACTING = -2, /* said instead of a number when a compaction with its checkpoint begins, */
    COMPACTED = -3,  /* and when it has ended */
};

static int64_t time_of(int64_t number)
{
    return number * 7919 % NUMBERS * 1000;
}

static double value_of(int64_t number, int k)
{
    return (double)(number * 10 + k % 10) / 100;
}

static void name_of(int k, char name[32])
{
    snprintf(name, 32, "kill{k=\"%d\"}", k);
}

/* ---------------------------------------------------------------- the child */

struct told {
    int64_t number;
    int pipe;
};

static void tell(void *context, const struct write_result *result)
{
    struct told *told = context;
    if (result->error.status != STATUS_OK ||
        write(told->pipe, &told->number, sizeof told->number) != sizeof told->number) {
        _exit(3);
    }
}

static void say(int pipe, int64_t what)
{
    if (write(pipe, &what, sizeof what) != sizeof what) {
        _exit(3);
    }
}

static void must(enum status status)
{
    if (status != STATUS_OK) {
        _exit(2);
    }
}

/* Writes for ever; leaves by being killed. */
static _Noreturn void child(const struct storage_options *options, int64_t number, int out)
{
    static struct told told[IN_FLIGHT];
    struct storage *storage;
    struct writer *writer;
    struct writer_options writer_options = {0};
    struct error error = {0};
    char name[32];
    must(storage_open(options, &storage, &error));
    must(writer_start(storage, &writer_options, &writer, &error));
    for (;; number++) {
        struct write_batch *batch;
        uint32_t series;
        must(write_batch_new(storage, WIDTH + 1, &batch, &error));
        for (int k = 0; k < WIDTH; k++) {
            name_of(k, name);
            must(write_batch_series(batch, name, strlen(name), &series, &error));
            must(write_batch_point(batch, series,
                                   (struct point){time_of(number), value_of(number, k)}, &error));
        }
        must(write_batch_series(batch, "newest", 6, &series, &error));
        must(write_batch_point(batch, series, (struct point){0, (double)number}, &error));
        while (writer_queue_length(writer) >= IN_FLIGHT / 2) {
            usleep(20);
        }
        told[number % IN_FLIGHT] = (struct told){number, out};
        must(writer_submit_take(writer, batch, tell, &told[number % IN_FLIGHT], &error));
        if (number % (IN_FLIGHT / 2) == 0 || number % COMPACT_EVERY == 0) {
            /* An empty batch that waits: so at most IN_FLIGHT numbers are in the air. */
            must(write_batch_new(storage, 1, &batch, &error));
            must(writer_write_take(writer, batch, NULL, &error));
        }
        if (number % COMPACT_EVERY == 0) {
            say(out, COMPACTING);
            must(writer_compact(writer, &error));
            say(out, COMPACTED);
        }
    }
}

/* ---------------------------------------------------------------- the parent */

static struct point points[NUMBERS];
static unsigned char seen[NUMBERS];

/* Nanoseconds that this thread was ready to run while others had the processors: no part of a
 * start, which is judged on machines that do other things, too. 0 where the kernel does not say. */
static int64_t waited_ns(void)
{
    unsigned long long ran = 0, waited = 0;
    FILE *file = fopen("/proc/thread-self/schedstat", "r");
    if (file == NULL || fscanf(file, "%llu %llu", &ran, &waited) != 2) {
        waited = 0;
    }
    if (file != NULL) {
        fclose(file);
    }
    return (int64_t)waited;
}

/* All batches up to `acknowledged` are there, whole; later ones whole or not at all. Returns the
 * next number that is free. */
static int64_t verify(const struct storage_options *options, int64_t acknowledged,
                      int64_t *longest_ns)
{
    struct storage *storage;
    struct storage_reader *reader;
    struct error error = {0};
    char name[32];
    size_t count, first_count = 0;
    int64_t begin_ns = clock_monotonic_ns() - waited_ns();
    if (storage_open(options, &storage, &error) != STATUS_OK) {
        fail_msg("after a kill: %s", error.text);
    }
    int64_t took_ns = clock_monotonic_ns() - waited_ns() - begin_ns;
    *longest_ns = took_ns > *longest_ns ? took_ns : *longest_ns;
    assert_int_equal(storage_check(storage, NULL, NULL, &error), STATUS_OK);
    assert_int_equal(storage_reader_open(storage, &reader, &error), STATUS_OK);
    memset(seen, 0, sizeof seen);
    static int64_t number_at[NUMBERS];
    for (int64_t n = 0; n < NUMBERS; n++) {
        number_at[time_of(n) / 1000] = n;
    }
    int64_t highest = -1;
    for (int k = 0; k < WIDTH; k++) {
        name_of(k, name);
        uint32_t id = storage_series_find(storage, name, strlen(name));
        if (id == 0) {
            assert_int_equal(acknowledged, -1);
            break;
        }
        assert_int_equal(
            storage_read(reader, id, INT64_MIN, INT64_MAX, points, NUMBERS, &count, &error),
            STATUS_OK);
        first_count = k == 0 ? count : first_count;
        assert_int_equal(count, first_count);
        for (size_t i = 0; i < count; i++) {
            int64_t number = number_at[points[i].time_ms / 1000];
            assert_true(same_value(points[i].value, value_of(number, k)));
            assert_int_equal(seen[number], k);
            seen[number]++;
            highest = number > highest ? number : highest;
        }
    }
    for (int64_t n = 0; n <= acknowledged; n++) {
        if (seen[n] != WIDTH) {
            fail_msg("acknowledged batch %lld is lost", (long long)n);
        }
    }
    if (highest >= 0) {
        uint32_t id = storage_series_find(storage, "newest", 6);
        assert_int_equal(storage_read_last(reader, id, points, 2, &count, &error), STATUS_OK);
        assert_int_equal(count, 1);
        assert_true(points[0].value == (double)highest);
    }
    storage_reader_close(reader);
    storage_close(storage);
    return highest + 1;
}

/* What a child said before it was killed. */
struct heard {
    int64_t acknowledged; /* the highest number, ever */
    int compacting;       /* killed between beginning and end of a compaction */
};

static void listen_to(int pipe, struct heard *heard)
{
    int64_t what;
    bool compacting = false;
    while (read(pipe, &what, sizeof what) == sizeof what) {
        compacting = what == COMPACTING || (compacting && what != COMPACTED);
        heard->acknowledged = what > heard->acknowledged ? what : heard->acknowledged;
    }
    heard->compacting += compacting;
}

/* Within 120 ms and two starts, which take longer where the program is watched. */
static void kill_one(const struct storage_options *options, int64_t next, int64_t start_ns,
                     struct random *random, struct heard *heard)
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        child(options, next, ends[1]);
    }
    close(ends[1]);
    usleep((useconds_t)(2000 + random_below(random, (uint64_t)(120000 + 2 * start_ns / 1000))));
    assert_int_equal(kill(pid, SIGKILL), 0);
    listen_to(ends[0], heard);
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void kills(void **state)
{
    (void)state;
    char directory[128] = "/tmp/forecastd-kill-XXXXXX";
    char url[160];
    assert_non_null(mkdtemp(directory));
    snprintf(url, sizeof url, "sqlite:%s", directory);
    struct storage_options options = {.url = url, .tail_points = 100, .tail_bytes_max = 100000};
    const char *wanted = getenv("KILLS");
    int rounds = wanted != NULL ? atoi(wanted) : KILLS;
    struct random random;
    random_init(&random, (uint64_t)getpid(), 0);
    struct heard heard = {.acknowledged = -1};
    int64_t next = 0, acknowledged = 0, stored = 0, longest_ns = 0;
    for (int round = 0; round < rounds; round++) {
        kill_one(&options, next, longest_ns, &random, &heard);
        next = verify(&options, heard.acknowledged, &longest_ns);
        if (next >= FRESH_EVERY || round == rounds - 1) {
            acknowledged += heard.acknowledged + 1;
            stored += next;
            folder_remove(directory);
            heard.acknowledged = -1;
            next = 0;
        }
    }
    printf("  %d kills, %d of them during a compaction with its checkpoint; %lld batches of %d "
           "points acknowledged, %lld stored; longest start %lld ms "
           "without waiting for a processor\n",
           rounds, heard.compacting, (long long)acknowledged, WIDTH + 1, (long long)stored,
           (long long)(longest_ns / 1000000));
    assert_true(acknowledged > 0);
    assert_true(longest_ns < START_MS_MAX * INT64_C(1000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(kills)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
