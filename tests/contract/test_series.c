/* What any store does with series: ids, lists, settings, excluded spans, deleting, leaving,
 * handles, the limit. SPDX-License-Identifier: Apache-2.0
 */
#include "tests/contract/fixture.h"

#include "base/check.h"
#include "base/clock.h"
#include "storage/store.h"

#include <stdio.h>
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

/* The second of two who change what they have read does not undo the first, in one commit or two.
 */
static void settings_that_have_changed_meanwhile(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    put(f, "a", 1, 1);
    uint32_t id = find(f, "a");
    for (int64_t round = 1; round <= 50; round++) {
        const struct series_settings before = info(f, "a").settings;
        struct series_settings season = before, retention = before;
        season.has_season = retention.has_retention = true;
        season.season_steps = retention.retention_ms = round * 60000;
        struct write_batch *first = batch_begin(f), *second = batch_begin(f);
        struct write_result result;
        assert_int_equal(write_batch_settings_again(first, id, &before, &season, &error),
                         STATUS_OK);
        assert_int_equal(write_batch_settings_again(second, id, &before, &retention, &error),
                         STATUS_OK);
        batch_point(second, "new", 1, 1);
        if (round % 2 == 0) {
            batch_commit(f, first);
        } else {
            assert_int_equal(writer_submit_take(f->writer, first, NULL, NULL, &error), STATUS_OK);
        }
        assert_int_equal(writer_write_take(f->writer, second, &result, &error), STATUS_CONFLICT);
        assert_int_equal(info(f, "a").settings.season_steps, round * 60000);
        assert_false(info(f, "a").settings.has_retention);
        assert_int_equal(find(f, "new"), 0); /* all or nothing */
    }
    const struct series_settings before = info(f, "a").settings;
    struct series_settings none = {0};
    struct write_batch *batch = batch_begin(f);
    assert_int_equal(write_batch_settings_again(batch, id, &before, &none, &error), STATUS_OK);
    batch_commit(f, batch);
    assert_false(info(f, "a").settings.has_season);
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

/* In one batch: points, delete, points. */
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

/* A round of retention at a moment, and of the series that it has emptied; the test is the writer
 * meanwhile. */
static void age(struct fixture *f, int64_t now_ms)
{
    struct error error = {0};
    struct writer_options options = {0};
    bool more = true;
    writer_stop(f->writer);
    while (more) {
        assert_int_equal(store_retain(f->storage, now_ms, &more, &error), STATUS_OK);
    }
    more = true;
    while (more) {
        assert_int_equal(store_expire(f->storage, now_ms, &more, &error), STATUS_OK);
    }
    assert_int_equal(writer_start(f->storage, &options, &f->writer, &error), STATUS_OK);
}

static void emptied_series_leave(void **state)
{
    struct fixture *f = *state;
    const int64_t day = 86400000;
    int64_t now = clock_wall_ms();
    struct error error = {0};
    struct series_settings set = {.has_season = true, .season_steps = 7};
    uint32_t ids[10];
    fixture_stop(f);
    f->options.retention_ms = 30 * day;
    fixture_start(f);
    put(f, "pod", now - 2 * day, 1);
    put(f, "set", now - 2 * day, 1);
    put(f, "alive", now - 2 * day, 1);
    put(f, "alive", now + 5 * day, 1);
    uint32_t id = find(f, "pod");
    struct write_batch *batch = batch_begin(f);
    assert_int_equal(write_batch_settings(batch, find(f, "set"), &set, &error), STATUS_OK);
    batch_commit(f, batch);
    uint64_t changes = storage_series_changes(f->storage);
    age(f, now + 29 * day); /* empty, and made too lately */
    assert_int_equal(info(f, "pod").points, 0);
    assert_int_equal(storage_series_changes(f->storage), changes);
    age(f, now + 31 * day);
    assert_int_equal(find(f, "pod"), 0);
    assert_int_not_equal(storage_series_changes(f->storage), changes);
    assert_int_equal(storage_series_list(f->storage, NULL, 0, ids, 10), 2);
    assert_int_equal(storage_series_next(f->storage, 0), find(f, "set"));
    assert_int_equal(storage_series_next(f->storage, find(f, "set")), find(f, "alive"));
    assert_int_equal(storage_series_next(f->storage, find(f, "alive")), 0);
    struct storage_stats stats;
    storage_stats(f->storage, &stats);
    assert_int_equal(stats.series, 2);
    assert_int_equal(stats.points, 1);
    assert_int_equal(stats.expired, 1);
    fixture_reopen(f);
    assert_int_equal(find(f, "pod"), 0);
    assert_int_not_equal(find(f, "set"), 0);
    put(f, "pod", now, 3); /* anew */
    assert_true(find(f, "pod") > id);
    assert_int_equal(info(f, "pod").points, 1);
    assert_int_equal(storage_check(f->storage, NULL, NULL, &error), STATUS_OK);
    f->options.retention_ms = 0;
}

int main(void)
{
    static const struct contract_test tests[] = {
        {"ids_and_texts", ids_and_texts},
        {"listing", listing},
        {"settings", settings},
        {"settings_that_have_changed_meanwhile", settings_that_have_changed_meanwhile},
        {"excluded_spans", excluded_spans},
        {"excluded_spans_go_with_their_series", excluded_spans_go_with_their_series},
        {"delete_and_create_again", delete_and_create_again},
        {"delete_within_a_batch", delete_within_a_batch},
        {"delete_in_between", delete_in_between},
        {"handles", handles},
        {"handles_of_deleted_series", handles_of_deleted_series},
        {"change_of_a_deleted_series", change_of_a_deleted_series},
        {"series_limit", series_limit},
        {"emptied_series_leave", emptied_series_leave},
    };
    return contract_run("series", tests, ARRAY_COUNT(tests));
}
