/* Window and late list against a plain sorted array: any order, updates, chunks in between.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "storage/tail.h"

#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TIMES = 20000, WRITES = 30000 };

static void write_one(struct tail *tail, struct point point)
{
    struct error error = {0};
    bool late = point.time_ms <= tail->chunk_last_ms;
    assert_int_equal(tail_reserve(tail, 1, late, TIMES, &error), STATUS_OK);
    tail_write(tail, point);
}

static void assert_sorted(const struct point *points, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        assert_true(points[i - 1].time_ms < points[i].time_ms);
    }
}

/* Everything since the last flush is either fresh or late, with its newest value. */
static void assert_holds(const struct tail *tail, const double *values, size_t waiting)
{
    const struct point *fresh = tail_points(tail) + tail->count - tail->fresh;
    assert_sorted(tail_points(tail), tail->count);
    assert_sorted(tail->late, tail->late_count);
    assert_int_equal(tail->fresh + tail->late_count, waiting);
    for (size_t i = 0; i < tail->fresh; i++) {
        assert_true(fresh[i].time_ms > tail->chunk_last_ms);
        assert_true(values[fresh[i].time_ms] == fresh[i].value);
    }
    for (size_t i = 0; i < tail->late_count; i++) {
        assert_true(tail->late[i].time_ms <= tail->chunk_last_ms);
        assert_true(values[tail->late[i].time_ms] == tail->late[i].value);
    }
    for (size_t i = 0; i < tail->count; i++) {
        assert_true(values[tail_points(tail)[i].time_ms] == tail_points(tail)[i].value);
    }
}

static void any_order(void **state)
{
    (void)state;
    static double values[TIMES]; /* 0: never written */
    static bool waits[TIMES];
    for (uint64_t seed = 0; seed < 8; seed++) {
        struct random random;
        struct tail tail;
        size_t waiting = 0;
        random_init(&random, seed, 0);
        tail_init(&tail);
        memset(values, 0, sizeof values);
        memset(waits, 0, sizeof waits);
        for (int i = 0; i < WRITES; i++) {
            size_t time = seed == 0   ? (size_t)(TIMES - 1 - i % TIMES) /* newest first */
                          : seed == 1 ? (size_t)(i % TIMES)
                                      : (size_t)random_below(&random, TIMES);
            waiting += !waits[time];
            waits[time] = true;
            values[time] = i + 1;
            write_one(&tail, (struct point){(int64_t)time, i + 1});
            if (random_below(&random, 3000) == 0) {
                tail_settle(&tail);
                assert_holds(&tail, values, waiting);
            }
            if (random_below(&random, 10000) == 0) {
                tail_settle(&tail);
                int64_t newest = tail.count > 0 ? tail_points(&tail)[tail.count - 1].time_ms : 0;
                tail_flushed(&tail, newest > tail.chunk_last_ms ? newest : tail.chunk_last_ms);
                memset(waits, 0, sizeof waits);
                waiting = 0;
                if (seed % 2 == 0) {
                    tail_shrink(&tail, 100);
                }
            }
        }
        tail_settle(&tail);
        assert_holds(&tail, values, waiting);
        tail_release(&tail);
    }
}

static void dropping_old_points_keeps_the_room(void **state)
{
    (void)state;
    struct error error = {0};
    struct tail tail;
    tail_init(&tail);
    for (int i = 0; i < 10; i++) {
        write_one(&tail, (struct point){i, i});
    }
    tail_flushed(&tail, 9);
    assert_int_equal(tail_reserve(&tail, 50, 50, 100, &error), STATUS_OK);
    tail_drop_old(&tail);
    assert_int_equal(tail.count, 0);
    assert_int_equal(tail.from_ms, 10);
    for (int i = 50; i > 0; i--) {
        tail_write(&tail, (struct point){i, i});
    }
    tail_settle(&tail);
    assert_int_equal(tail.fresh, 41);
    assert_int_equal(tail.late_count, 9);
    tail_release(&tail);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order),
        cmocka_unit_test(dropping_old_points_keeps_the_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
