/* Times where other programs break: before 1970, the ends of 32 bits, leap seconds, the last one.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A time is a count of milliseconds in 64 bits; nothing on the way to the disk and back may know
 * fewer, or subtract two of them without room.
 */
#include "tests/contract/fixture.h"

#include "base/check.h"

#include <string.h>

#define LAST_MS (INT64_C(1) << 62)

/* In rising order. */
static const int64_t times[] = {
    -LAST_MS,
    -LAST_MS + 1,
    INT64_C(-377705116800000), /* the year -9999 */
    INT64_C(-62167219200000),  /* the year 0 */
    INT64_C(-2147483648001),   /* 1901, the least of 32 bits of seconds, and one less */
    INT64_C(-2147483648000),
    INT64_C(-2147483649), /* of milliseconds */
    INT64_C(-2147483648),
    -1,
    0,
    1,
    INT64_C(2147483647), /* the most of 32 bits of milliseconds, and one more */
    INT64_C(2147483648),
    INT64_C(4294967295),
    INT64_C(4294967296),
    INT64_C(1483228799999), /* around the leap second at the end of 2016 */
    INT64_C(1483228800000),
    INT64_C(2147483647000), /* 2038 */
    INT64_C(2147483647999),
    INT64_C(2147483648000),
    INT64_C(4294967295000), /* 2106 */
    INT64_C(4294967295999),
    INT64_C(4294967296000),
    INT64_C(253402300799999), /* the end of the year 9999 */
    INT64_C(253402300800000),
    LAST_MS - 1,
    LAST_MS,
};

enum { TIMES = ARRAY_COUNT(times) };

static void expect_all(struct fixture *f)
{
    struct point expected[TIMES];
    for (int i = 0; i < TIMES; i++) {
        expected[i] = (struct point){times[i], i + 0.5};
    }
    assert_points(f, "a", expected, TIMES);
    struct series_info about = info(f, "a");
    assert_int_equal(about.first_ms, times[0]);
    assert_int_equal(about.last_ms, times[TIMES - 1]);
    for (int i = 0; i < TIMES; i++) { /* each alone */
        struct point point;
        struct error error = {0};
        size_t count = 0;
        assert_int_equal(storage_read(f->reader, find(f, "a"), times[i], times[i] + 1, &point, 1,
                                      &count, &error),
                         STATUS_OK);
        assert_int_equal(count, 1);
        assert_true(point.time_ms == times[i] && point.value == i + 0.5);
    }
}

static void all_come_back(void **state)
{
    struct fixture *f = *state;
    struct write_batch *batch = batch_begin(f);
    for (int i = 0; i < TIMES; i++) {
        batch_point(batch, "a", times[i], i + 0.5);
    }
    batch_commit(f, batch);
    expect_all(f);
    fixture_reopen(f); /* from the journal */
    expect_all(f);
    compact(f);
    fixture_reopen(f); /* from chunks */
    expect_all(f);
}

/* The newest first, each behind the one before: all but one come late. */
static void backwards_too(void **state)
{
    struct fixture *f = *state;
    for (int i = TIMES; i-- > 0;) {
        put(f, "a", times[i], i + 0.5);
        if (i % 5 == 0) {
            compact(f);
        }
    }
    expect_all(f);
    compact(f);
    fixture_reopen(f);
    expect_all(f);
}

static void beyond_is_refused(void **state)
{
    static const int64_t beyond[] = {LAST_MS + 1, -LAST_MS - 1, INT64_MAX, INT64_MIN};
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_COUNT(beyond); i++) {
        struct write_batch *batch = batch_begin(f);
        struct error error = {0};
        uint32_t number;
        assert_int_equal(write_batch_series(batch, "a", 1, &number, &error), STATUS_OK);
        assert_int_equal(write_batch_point(batch, number, (struct point){beyond[i], 1}, &error),
                         STATUS_INVALID);
        assert_string_equal(error.code, "bad_time");
        assert_non_null(strstr(error.text, "within 2^62 ms of 1970"));
        assert_int_equal(write_batch_end(batch, number, beyond[i], &error), STATUS_INVALID);
        write_batch_free(batch);
    }
    assert_int_equal(storage_series_count(f->storage), 0);
}

int main(void)
{
    static const struct contract_test tests[] = {
        {"all_come_back", all_come_back},
        {"backwards_too", backwards_too},
        {"beyond_is_refused", beyond_is_refused},
    };
    return contract_run("times", tests, ARRAY_COUNT(tests));
}
