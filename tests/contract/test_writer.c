/* What any store's writer does: observers, many who submit at once, failing drivers, full queues.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/contract/fixture.h"

#include "base/check.h"
#include "base/clock.h"
#include "storage/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct observed {
    uint32_t ids[64];
    size_t count, calls;
};

static void observe(void *context, const uint32_t *ids, size_t count)
{
    struct observed *observed = context;
    observed->calls++;
    for (size_t i = 0; i < count && observed->count < 64; i++) {
        observed->ids[observed->count++] = ids[i];
    }
}

static void observer(void **state)
{
    struct fixture *f = *state;
    struct observed observed = {0};
    put(f, "a", 1, 1);
    compact(f); /* comes after the observer of the commit before */
    writer_observe(f->writer, observe, &observed);
    struct write_batch *batch = batch_begin(f);
    batch_point(batch, "b", 1, 1);
    batch_point(batch, "a", 2, 1);
    batch_point(batch, "b", 2, 1);
    batch_commit(f, batch);
    compact(f);
    writer_observe(f->writer, NULL, NULL);
    assert_int_equal(observed.calls, 1);
    assert_int_equal(observed.count, 2);
    assert_int_equal(observed.ids[0], find(f, "b"));
    assert_int_equal(observed.ids[1], find(f, "a"));
}

struct slow {
    atomic_bool begun, ended;
};

static void observe_slowly(void *context, const uint32_t *ids, size_t count)
{
    struct slow *slow = context;
    (void)ids, (void)count;
    atomic_store(&slow->begun, true);
    clock_sleep_ms(50);
    atomic_store(&slow->ended, true);
}

/* Whoever takes the observer away may free what it looks at. */
static void observer_is_over_when_it_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct slow slow = {false, false};
    writer_observe(f->writer, observe_slowly, &slow);
    put(f, "a", 1, 1);
    while (!atomic_load(&slow.begun)) {
        clock_sleep_ms(1);
    }
    writer_observe(f->writer, NULL, NULL);
    assert_true(atomic_load(&slow.ended));
}

enum { SUBMITTERS = 4, SUBMITS = 300 };

struct submitter {
    struct fixture *fixture;
    int number;
    atomic_int *acknowledged;
};

static void acknowledged(void *context, const struct write_result *result)
{
    if (result->error.status == STATUS_OK && result->accepted == 2) {
        atomic_fetch_add((atomic_int *)context, 1);
    }
}

static void *submit_many(void *context)
{
    struct submitter *self = context;
    char own[40];
    for (int i = 0; i < SUBMITS; i++) {
        struct write_batch *batch;
        snprintf(own, sizeof own, "own{n=\"%d\",k=\"%d\"}", self->number, i / 10);
        struct error error = {0};
        uint32_t a, b;
        if (write_batch_new(self->fixture->storage, 2, &batch, &error) != STATUS_OK ||
            write_batch_series(batch, own, strlen(own), &a, &error) != STATUS_OK ||
            write_batch_point(batch, a, (struct point){i, i}, &error) != STATUS_OK ||
            write_batch_series(batch, "shared", 6, &b, &error) != STATUS_OK ||
            write_batch_point(batch, b, (struct point){i * SUBMITTERS + self->number, i}, &error) !=
                STATUS_OK ||
            writer_submit_take(self->fixture->writer, batch, acknowledged, self->acknowledged,
                               &error) != STATUS_OK) {
            return context;
        }
    }
    return NULL;
}

static void *read_meanwhile(void *context)
{
    struct fixture *f = context;
    static struct point points[SUBMITTERS * SUBMITS];
    struct storage_reader *reader;
    struct error error = {0};
    if (storage_reader_open(f->storage, &reader, &error) != STATUS_OK) {
        return context;
    }
    void *failed = NULL;
    for (int i = 0; i < 400; i++) {
        uint32_t id = storage_series_find(f->storage, "shared", 6), ids[SUBMITS];
        size_t count = storage_series_list(f->storage, NULL, 0, ids, SUBMITS);
        bool complete;
        for (size_t k = 0; k < count; k++) { /* listed means there */
            struct series_info about;
            failed = storage_series_info(f->storage, ids[k], &about, &error) == STATUS_OK ? failed
                                                                                          : context;
        }
        if (id == 0) {
            continue;
        }
        if (storage_read(reader, id, 0, INT64_MAX, points, SUBMITTERS * SUBMITS, &count, &error) !=
                STATUS_OK ||
            storage_read_last(reader, id, points, 100, &count, &error) != STATUS_OK) {
            failed = context;
        }
        storage_tail(f->storage, id, points, 10, &complete);
    }
    storage_reader_close(reader);
    return failed;
}

static void many_submitters(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[SUBMITTERS], reading;
    struct submitter submitters[SUBMITTERS];
    atomic_int count = 0;
    void *failed;
    assert_int_equal(pthread_create(&reading, NULL, read_meanwhile, f), 0);
    for (int i = 0; i < SUBMITTERS; i++) {
        submitters[i] = (struct submitter){f, i, &count};
        assert_int_equal(pthread_create(&threads[i], NULL, submit_many, &submitters[i]), 0);
    }
    for (int i = 0; i < 5; i++) {
        compact(f);
    }
    for (int i = 0; i < SUBMITTERS; i++) {
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    pthread_join(reading, &failed);
    assert_null(failed);
    compact(f);
    assert_int_equal(atomic_load(&count), SUBMITTERS * SUBMITS);
    assert_int_equal(writer_queue_length(f->writer), 0);
    static struct point expected[SUBMITTERS * SUBMITS];
    for (int i = 0; i < SUBMITTERS * SUBMITS; i++) {
        expected[i] = (struct point){i, i / SUBMITTERS};
    }
    assert_points(f, "shared", expected, SUBMITTERS * SUBMITS);
    fixture_reopen(f);
    assert_points(f, "shared", expected, SUBMITTERS * SUBMITS);
}

static void failing_driver(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    struct write_result result;
    struct storage_stats stats;
    put(f, "a", 1, 1);
    writer_stop(f->writer);
    struct writer_options options = {0};
    static const enum status statuses[] = {STATUS_IO, STATUS_NO_SPACE, STATUS_NO_MEMORY};
    for (size_t i = 0; i < ARRAY_COUNT(statuses); i++) {
        storage_fault_set(f->storage, 1, statuses[i]);
        assert_int_equal(writer_start(f->storage, &options, &f->writer, &error), STATUS_OK);
        struct write_batch *batch = batch_begin(f);
        batch_point(batch, "a", 1, 5);
        batch_point(batch, "new", 2, 5);
        assert_int_equal(writer_write_take(f->writer, batch, &result, &error), statuses[i]);
        writer_stop(f->writer);
        storage_stats(f->storage, &stats);
        assert_int_equal(stats.writable, statuses[i] == STATUS_NO_MEMORY);
        assert_int_equal(find(f, "new"), 0);
        assert_int_equal(info(f, "a").updated, i);
        storage_fault_set(f->storage, 0, STATUS_OK);
        assert_int_equal(writer_start(f->storage, &options, &f->writer, &error), STATUS_OK);
        put(f, "a", 1, 6); /* recovers by itself */
        storage_stats(f->storage, &stats);
        assert_true(stats.writable);
        writer_stop(f->writer);
    }
    assert_int_equal(writer_start(f->storage, &options, &f->writer, &error), STATUS_OK);
    const struct point expected[] = {{1, 6}};
    assert_points(f, "a", expected, 1);
    fixture_reopen(f);
    assert_points(f, "a", expected, 1);
}

static void busy_queue(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    writer_stop(f->writer);
    struct writer_options options = {.queue_bytes_max = 1};
    assert_int_equal(writer_start(f->storage, &options, &f->writer, &error), STATUS_OK);
    int busy = 0;
    for (int i = 0; i < 2000; i++) {
        struct write_batch *batch = batch_begin(f);
        for (int k = 0; k < 3; k++) {
            batch_point(batch, "a", i * 3 + k, 1);
        }
        enum status status = writer_submit_take(f->writer, batch, NULL, NULL, &error);
        assert_true(status == STATUS_OK || status == STATUS_BUSY);
        busy += status == STATUS_BUSY;
    }
    assert_true(busy > 0 || !fixture_is_durable(f)); /* memory may be quick enough for all */
    compact(f);
    assert_int_equal(info(f, "a").points, (2000 - busy) * 3);
}

static struct write_batch *batch_of(struct fixture *f, int64_t first_ms, int count)
{
    struct write_batch *batch = batch_begin(f);
    for (int i = 0; i < count; i++) {
        batch_point(batch, "a", first_ms + i, 1);
    }
    return batch;
}

/* More than a group of points waits, and takes more than half of the room: whoever comes is told,
 * and whoever waits in any case is taken. */
static void a_queue_that_takes_much_is_behind(void **state)
{
    enum { COUNT = 40000, ROOM = 4 << 20 }; /* 1.5 MiB a batch */
    struct fixture *f = *state;
    struct error error = {0};
    writer_stop(f->writer);
    struct writer_options options = {.queue_bytes_max = ROOM, .stepped = true};
    assert_int_equal(writer_start(f->storage, &options, &f->writer, &error), STATUS_OK);
    for (int i = 0; i < 2; i++) {
        assert_false(writer_is_behind(f->writer));
        assert_int_equal(
            writer_submit_take(f->writer, batch_of(f, i * COUNT, COUNT), NULL, NULL, &error),
            STATUS_OK);
    }
    assert_true(writer_is_behind(f->writer));
    assert_int_equal(writer_submit_take(f->writer, batch_of(f, -1, 1), NULL, NULL, &error),
                     STATUS_BUSY);
    struct write_result result;
    assert_int_equal(writer_write_take(f->writer, batch_of(f, -2, 1), &result, &error), STATUS_OK);
    assert_int_equal(result.accepted, 1);
    assert_false(writer_is_behind(f->writer));
    assert_int_equal(info(f, "a").points, 2 * COUNT + 1);
}

/* What records hold counts as well as points do. */
static void records_take_room_in_the_queue(void **state)
{
    static char json[100000];
    struct fixture *f = *state;
    struct error error = {0};
    memset(json, ' ', sizeof json);
    writer_stop(f->writer);
    struct writer_options options = {.queue_bytes_max = sizeof json, .stepped = true};
    assert_int_equal(writer_start(f->storage, &options, &f->writer, &error), STATUS_OK);
    for (int i = 0; i < 2; i++) {
        struct write_batch *batch = batch_begin(f);
        assert_int_equal(write_batch_record(batch, "model", "a", json, sizeof json, &error),
                         STATUS_OK);
        assert_int_equal(writer_submit_take(f->writer, batch, NULL, NULL, &error),
                         i == 0 ? STATUS_OK : STATUS_BUSY);
    }
}

int main(void)
{
    static const struct contract_test tests[] = {
        {"observer", observer},
        {"observer_is_over_when_it_is_replaced", observer_is_over_when_it_is_replaced},
        {"many_submitters", many_submitters},
        {"failing_driver", failing_driver},
        {"busy_queue", busy_queue},
        {"a_queue_that_takes_much_is_behind", a_queue_that_takes_much_is_behind},
        {"records_take_room_in_the_queue", records_take_room_in_the_queue},
    };
    return contract_run("writer", tests, ARRAY_COUNT(tests));
}
