/* What any store does with series, settings, records, batches in order, limits and failing drivers.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/contract/fixture.h"

#include "base/check.h"
#include "base/clock.h"
#include "storage/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void ids_and_texts(void **state)
{
    struct fixture *f = *state;
    char text[SERIES_TEXT_MAX];
    put(f, "a", 1, 1);
    put(f, "b{x=\"1\"}", 1, 1);
    assert_int_equal(find(f, "a"), 1);
    assert_int_equal(find(f, "b{x=\"1\"}"), 2);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(storage_series_text(f->storage, 2, text), 8);
        assert_memory_equal(text, "b{x=\"1\"}", 8);
        assert_int_equal(storage_series_text(f->storage, 3, text), 0);
        assert_int_equal(find(f, "A"), 0);
        fixture_reopen(f);
    }
}

static void listing(void **state)
{
    struct fixture *f = *state;
    struct write_batch *batch = batch_begin(f);
    char name[64];
    uint32_t ids[1000];
    for (int i = 0; i < 600; i++) {
        snprintf(name, sizeof name, "m{k=\"%d\",site=\"%s\"}", i, i % 3 == 0 ? "x" : "y");
        batch_point(batch, name, 1, i);
    }
    batch_commit(f, batch);
    assert_int_equal(storage_series_list(f->storage, NULL, 0, ids, 1000), 600);
    for (uint32_t i = 0; i < 600; i++) {
        assert_int_equal(ids[i], i + 1);
    }
    assert_int_equal(storage_series_list(f->storage, NULL, 590, ids, 1000), 10);
    assert_int_equal(storage_series_list(f->storage, NULL, 600, ids, 1000), 0);
    assert_int_equal(storage_series_list(f->storage, NULL, 10, ids, 5), 5);
    assert_int_equal(ids[4], 15);
    struct selector *selector;
    struct error error = {0};
    const char *text = "m{site=\"x\"}";
    assert_int_equal(selector_parse(text, strlen(text), &selector, &error), STATUS_OK);
    assert_int_equal(storage_series_list(f->storage, selector, 0, ids, 1000), 200);
    assert_int_equal(ids[1], 4);
    selector_free(selector);
}

static void settings(void **state)
{
    struct fixture *f = *state;
    put(f, "a", 1, 1);
    uint64_t generation = info(f, "a").generation;
    struct series_settings set = {.has_step = true,
                                  .step_ms = 60000,
                                  .has_minimum = true,
                                  .minimum = -1.5,
                                  .has_integer = true,
                                  .integer = true,
                                  .has_kind = true,
                                  .kind = SERIES_COUNTER,
                                  .time_zone = "Europe/Berlin"};
    struct error error = {0};
    struct write_batch *batch = batch_begin(f);
    assert_int_equal(write_batch_settings(batch, find(f, "a"), &set, &error), STATUS_OK);
    batch_commit(f, batch);
    for (int round = 0; round < 3; round++) {
        struct series_settings got = info(f, "a").settings;
        assert_true(got.has_step && got.has_minimum && got.has_integer && got.has_kind);
        assert_false(got.has_season || got.has_maximum || got.has_retention);
        assert_int_equal(got.step_ms, 60000);
        assert_true(same_value(got.minimum, -1.5));
        assert_true(got.integer);
        assert_int_equal(got.kind, SERIES_COUNTER);
        assert_string_equal(got.time_zone, "Europe/Berlin");
        assert_int_equal(info(f, "a").generation, generation + 1);
        round == 0 ? fixture_reopen(f) : compact(f);
    }
    batch = batch_begin(f);
    assert_int_equal(write_batch_settings(batch, 99, &set, &error), STATUS_NOT_FOUND);
    write_batch_free(batch);
}

static void exclude(struct fixture *f, const char *series, const struct time_spans *spans)
{
    struct error error = {0};
    struct write_batch *batch = batch_begin(f);
    assert_int_equal(write_batch_excluded(batch, find(f, series), spans, &error), STATUS_OK);
    batch_commit(f, batch);
}

static void assert_excluded(struct fixture *f, const char *series, const struct time_spans *spans)
{
    struct time_spans got;
    storage_series_excluded(f->storage, find(f, series), &got);
    assert_int_equal(got.count, spans->count);
    assert_int_equal(info(f, series).excluded, spans->count);
    for (size_t i = 0; i < spans->count; i++) {
        assert_int_equal(got.at[i].from_ms, spans->at[i].from_ms);
        assert_int_equal(got.at[i].to_ms, spans->at[i].to_ms);
    }
}

/* The list is replaced as a whole; settings, points and other series stay as they are. */
static void excluded_spans(void **state)
{
    struct fixture *f = *state;
    struct time_spans most = {.count = TIME_SPANS_MAX}, none = {0};
    struct time_spans two = {2, {{INT64_C(-62135596800000), 0}, {1, INT64_C(253402300799999)}}};
    const struct point expected[] = {{1, 1}};
    struct series_settings set = {.has_season = true, .season_steps = 7};
    struct error error = {0};
    put(f, "a", 1, 1);
    put(f, "b", 1, 1);
    for (size_t i = 0; i < TIME_SPANS_MAX; i++) {
        most.at[i] = (struct time_span){(int64_t)i * 100, (int64_t)i * 100 + 50};
    }
    assert_excluded(f, "a", &none);
    struct write_batch *batch = batch_begin(f);
    assert_int_equal(write_batch_settings(batch, find(f, "a"), &set, &error), STATUS_OK);
    assert_int_equal(write_batch_excluded(batch, find(f, "a"), &most, &error), STATUS_OK);
    batch_commit(f, batch);
    exclude(f, "b", &two);
    for (int round = 0; round < 3; round++) {
        assert_excluded(f, "a", &most);
        assert_excluded(f, "b", &two);
        assert_points(f, "a", expected, 1);
        assert_int_equal(info(f, "a").settings.season_steps, 7);
        round == 0 ? fixture_reopen(f) : compact(f);
    }
    uint64_t generation = info(f, "a").generation;
    exclude(f, "a", &two);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(info(f, "a").generation, generation + 1);
        assert_excluded(f, "a", &two);
        fixture_reopen(f);
    }
    exclude(f, "a", &none);
    for (int round = 0; round < 2; round++) {
        assert_excluded(f, "a", &none);
        assert_excluded(f, "b", &two);
        assert_int_equal(info(f, "a").settings.season_steps, 7);
        fixture_reopen(f);
    }
    batch = batch_begin(f);
    assert_int_equal(write_batch_excluded(batch, 99, &two, &error), STATUS_NOT_FOUND);
    write_batch_free(batch);
    struct time_spans got = {.count = 1};
    storage_series_excluded(f->storage, 99, &got);
    assert_int_equal(got.count, 0);
}

static void delete_series(struct fixture *f, const char *series)
{
    struct error error = {0};
    struct write_batch *batch = batch_begin(f);
    assert_int_equal(write_batch_delete(batch, find(f, series), &error), STATUS_OK);
    batch_commit(f, batch);
}

static void delete_and_create_again(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3000; i++) {
        put(f, "a", i, i);
        if (i == 2000) {
            compact(f);
        }
    }
    put(f, "other", 1, 1);
    uint32_t id = find(f, "a");
    delete_series(f, "a");
    assert_int_equal(find(f, "a"), 0);
    assert_int_equal(storage_series_count(f->storage), 1);
    fixture_reopen(f);
    assert_int_equal(find(f, "a"), 0);
    put(f, "a", 5, 50);
    assert_true(find(f, "a") > id);
    const struct point expected[] = {{5, 50}};
    assert_points(f, "a", expected, 1);
    compact(f);
    fixture_reopen(f);
    assert_points(f, "a", expected, 1);
    struct storage_stats stats;
    storage_stats(f->storage, &stats);
    assert_int_equal(stats.points, 2);
    struct error error = {0};
    assert_int_equal(storage_check(f->storage, NULL, NULL, &error), STATUS_OK);
}

/* In one batch: points, delete, points. */
/* A batch that is thrown away, and one behind which the series is gone, give back what they hold.
 */
static void excluded_spans_go_with_their_series(void **state)
{
    struct fixture *f = *state;
    struct time_spans one = {1, {{0, 10}}}, none = {0};
    struct error error = {0};
    put(f, "a", 1, 1);
    exclude(f, "a", &one);
    struct write_batch *thrown = batch_begin(f), *late = batch_begin(f);
    assert_int_equal(write_batch_excluded(thrown, find(f, "a"), &one, &error), STATUS_OK);
    assert_int_equal(write_batch_excluded(late, find(f, "a"), &one, &error), STATUS_OK);
    write_batch_free(thrown);
    delete_series(f, "a");
    assert_int_equal(writer_write_take(f->writer, late, NULL, &error), STATUS_NOT_FOUND);
    put(f, "a", 1, 1);
    for (int round = 0; round < 2; round++) {
        assert_excluded(f, "a", &none);
        fixture_reopen(f);
    }
}

static void delete_within_a_batch(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    put(f, "a", 1, 1);
    uint32_t id = find(f, "a");
    struct write_batch *batch = batch_begin(f);
    batch_point(batch, "a", 2, 2);
    assert_int_equal(write_batch_delete(batch, id, &error), STATUS_OK);
    assert_int_equal(write_batch_delete(batch, id, &error), STATUS_NOT_FOUND);
    batch_point(batch, "a", 3, 3);
    batch_point(batch, "b", 3, 3);
    batch_point(batch, "a", 4, 4);
    batch_commit(f, batch);
    const struct point expected[] = {{3, 3}, {4, 4}};
    assert_int_not_equal(find(f, "a"), id);
    assert_points(f, "a", expected, 2);
    fixture_reopen(f);
    assert_points(f, "a", expected, 2);
    assert_points(f, "b", expected, 1);
}

/* A batch that names a series, which is deleted before the batch is submitted. */
static void delete_in_between(void **state)
{
    struct fixture *f = *state;
    put(f, "a", 1, 1);
    struct write_batch *batch = batch_begin(f);
    batch_point(batch, "a", 2, 2);
    delete_series(f, "a");
    batch_commit(f, batch);
    const struct point expected[] = {{2, 2}};
    assert_points(f, "a", expected, 1);
    fixture_reopen(f);
    assert_points(f, "a", expected, 1);
}

/* Names the series of a handle and gives it a point. */
static void batch_again(struct write_batch *batch, const char *series, uint64_t *handle,
                        int64_t time_ms)
{
    struct error error = {0};
    struct slice text = {series, strlen(series)};
    struct point point = {time_ms, (double)time_ms};
    uint32_t number;
    assert_int_equal(write_batch_series_again(batch, text, handle, &number, &error), STATUS_OK);
    assert_int_equal(write_batch_point(batch, number, point, &error), STATUS_OK);
}

static void handles(void **state)
{
    struct fixture *f = *state;
    uint64_t a = 0, b = 0;
    put(f, "b", 0, 0);
    for (int i = 1; i <= 3; i++) { /* a is created by the first of them, and known to the second */
        struct write_batch *batch = batch_begin(f);
        batch_again(batch, "a", &a, i);
        batch_again(batch, "b", &b, i);
        batch_point(batch, "b", 10 + i, 10 + i); /* both ways in one batch */
        batch_again(batch, "b", &b, 20 + i);
        assert_int_equal(a != 0, i > 1);
        assert_int_not_equal(b, 0);
        batch_commit(f, batch);
    }
    const struct point of_a[] = {{1, 1}, {2, 2}, {3, 3}};
    const struct point of_b[] = {{0, 0},   {1, 1},   {2, 2},   {3, 3},   {11, 11},
                                 {12, 12}, {13, 13}, {21, 21}, {22, 22}, {23, 23}};
    assert_points(f, "a", of_a, 3);
    assert_points(f, "b", of_b, 10);
    assert_int_equal(storage_series_count(f->storage), 2);
    fixture_reopen(f);
    assert_points(f, "a", of_a, 3);
    assert_points(f, "b", of_b, 10);
}

/* The handle of a series that is deleted, before the batch is begun and after it was named. */
static void handles_of_deleted_series(void **state)
{
    struct fixture *f = *state;
    uint64_t a = 0, other = 0;
    uint32_t number;
    struct error error = {0};
    fixture_stop(f);
    f->options.series_max = 2;
    fixture_start(f);
    put(f, "a", 1, 1);
    put(f, "other", 1, 1);
    struct write_batch *batch = batch_begin(f);
    batch_again(batch, "a", &a, 2);
    batch_again(batch, "other", &other, 2);
    delete_series(f, "a");
    batch_commit(f, batch);
    const struct point expected[] = {{2, 2}, {3, 3}};
    assert_points(f, "a", expected, 1);
    batch = batch_begin(f);
    batch_again(batch, "a", &a, 3);
    batch_again(batch, "other", &other, 3);
    batch_commit(f, batch);
    assert_points(f, "a", expected, 2);
    assert_int_equal(storage_series_count(f->storage), 2);
    delete_series(f, "a");
    put(f, "third", 1, 1);
    batch = batch_begin(f); /* an old handle does not get past the limit */
    assert_int_equal(write_batch_series_again(batch, (struct slice){"a", 1}, &a, &number, &error),
                     STATUS_TOO_LARGE);
    write_batch_free(batch);
    f->options.series_max = 0;
}

static void change_of_a_deleted_series(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    struct series_settings set = {.has_step = true, .step_ms = 1000};
    put(f, "a", 1, 1);
    struct write_batch *batch = batch_begin(f);
    assert_int_equal(write_batch_settings(batch, find(f, "a"), &set, &error), STATUS_OK);
    batch_point(batch, "new", 2, 2);
    delete_series(f, "a");
    struct write_result result;
    assert_int_equal(writer_write_take(f->writer, batch, &result, &error), STATUS_NOT_FOUND);
    assert_int_equal(find(f, "new"), 0); /* all or nothing */
}

static void series_limit(void **state)
{
    struct fixture *f = *state;
    fixture_stop(f);
    f->options.series_max = 3;
    fixture_start(f);
    struct error error = {0};
    uint32_t number;
    put(f, "a", 1, 1);
    struct write_batch *batch = batch_begin(f);
    batch_point(batch, "b", 1, 1);
    batch_point(batch, "c", 1, 1);
    assert_int_equal(write_batch_series(batch, "d", 1, &number, &error), STATUS_TOO_LARGE);
    assert_string_equal(error.code, "series_limit");
    batch_point(batch, "a", 2, 1);
    struct write_batch *other = batch_begin(f); /* may mean the same series: not refused for good */
    assert_int_equal(write_batch_series(other, "b", 1, &number, &error), STATUS_BUSY);
    batch_commit(f, batch);
    assert_int_equal(write_batch_series(other, "b", 1, &number, &error), STATUS_OK);
    assert_int_equal(write_batch_series(other, "d", 1, &number, &error), STATUS_TOO_LARGE);
    write_batch_free(other);
    assert_int_equal(storage_series_count(f->storage), 3);
    put(f, "c", 2, 2);
    delete_series(f, "c");
    put(f, "d", 1, 1);
    f->options.series_max = 0;
}

/* ---------------------------------------------------------------- records */

struct seen {
    char text[256];
    size_t stop_after, count;
};

static bool record_seen(void *context, const char *key, const char *json, size_t length)
{
    struct seen *seen = context;
    size_t used = strlen(seen->text);
    snprintf(seen->text + used, sizeof seen->text - used, "%s=%.*s;", key, (int)length, json);
    return ++seen->count != seen->stop_after;
}

static void assert_records(struct fixture *f, const char *kind, size_t stop_after,
                           const char *expected)
{
    struct seen seen = {.stop_after = stop_after};
    struct error error = {0};
    assert_int_equal(storage_records(f->reader, kind, record_seen, &seen, &error), STATUS_OK);
    assert_string_equal(seen.text, expected);
}

static void record(struct fixture *f, const char *kind, const char *key, const char *json)
{
    struct error error = {0};
    struct write_batch *batch = batch_begin(f);
    assert_int_equal(
        write_batch_record(batch, kind, key, json, json == NULL ? 0 : strlen(json), &error),
        STATUS_OK);
    batch_commit(f, batch);
}

static void records(void **state)
{
    struct fixture *f = *state;
    record(f, "model", "b", "{\"n\":2}");
    record(f, "model", "a", "{\"n\":1}");
    record(f, "job", "a", "[]");
    record(f, "model", "c", "3");
    record(f, "model", "b", "22");
    for (int round = 0; round < 2; round++) {
        assert_records(f, "model", 0, "a={\"n\":1};b=22;c=3;");
        assert_records(f, "model", 2, "a={\"n\":1};b=22;");
        assert_records(f, "job", 0, "a=[];");
        assert_records(f, "none", 0, "");
        fixture_reopen(f);
    }
    record(f, "model", "a", NULL);
    record(f, "model", "absent", NULL);
    assert_records(f, "model", 0, "b=22;c=3;");
}

/* ---------------------------------------------------------------- writer */

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
    assert_true(fixture_is_durable(f) ? busy > 0 : busy >= 0);
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
        {"ids_and_texts", ids_and_texts},
        {"listing", listing},
        {"settings", settings},
        {"excluded_spans", excluded_spans},
        {"excluded_spans_go_with_their_series", excluded_spans_go_with_their_series},
        {"delete_and_create_again", delete_and_create_again},
        {"delete_within_a_batch", delete_within_a_batch},
        {"delete_in_between", delete_in_between},
        {"handles", handles},
        {"handles_of_deleted_series", handles_of_deleted_series},
        {"change_of_a_deleted_series", change_of_a_deleted_series},
        {"series_limit", series_limit},
        {"records", records},
        {"observer", observer},
        {"observer_is_over_when_it_is_replaced", observer_is_over_when_it_is_replaced},
        {"many_submitters", many_submitters},
        {"failing_driver", failing_driver},
        {"busy_queue", busy_queue},
        {"a_queue_that_takes_much_is_behind", a_queue_that_takes_much_is_behind},
        {"records_take_room_in_the_queue", records_take_room_in_the_queue},
    };
    return contract_run("series", tests, ARRAY_COUNT(tests));
}
