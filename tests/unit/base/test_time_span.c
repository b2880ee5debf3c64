/* Tests of time_span: joining against a plain set of moments, and the walk.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/random.h"
#include "base/time_span.h"
#include "tests/unit/base/test.h"

#include <string.h>

#define MOMENTS 60
#define TRIES   2000

static void random_spans_say_the_same_as_their_moments(UNUSED void **state)
{
    struct random random;
    random_init(&random, 3, 0);
    for (int try = 0; try < TRIES; try++) {
        bool held[MOMENTS + 1] = {false};
        struct time_spans spans = {.count = random_below(&random, TIME_SPANS_MAX / 2)};
        for (size_t i = 0; i < spans.count; i++) {
            int64_t from = (int64_t)random_below(&random, MOMENTS);
            int64_t to = from + 1 + (int64_t)random_below(&random, (uint64_t)(MOMENTS - from));
            to = to > from + 6 ? from + 6 : to;
            spans.at[i] = (struct time_span){from, to};
            memset(held + from, true, (size_t)(to - from));
        }
        spans.count = time_spans_join(spans.at, spans.count);
        size_t runs = 0, next = 0, wide = 0;
        for (size_t i = 0; i < MOMENTS; i++) {
            runs += held[i] && (i == 0 || !held[i - 1]);
            assert_int_equal(time_spans_meet(&spans, (int64_t)i, (int64_t)i + 1, &next), held[i]);
            assert_int_equal(time_spans_meet(&spans, (int64_t)i, (int64_t)i + 2, &wide),
                             held[i] || held[i + 1]);
        }
        assert_int_equal(spans.count, runs);
        for (size_t i = 1; i < spans.count; i++) {
            assert_true(spans.at[i - 1].to_ms < spans.at[i].from_ms);
        }
    }
}

static void no_spans_hold_nothing(UNUSED void **state)
{
    struct time_spans none = {.count = time_spans_join(NULL, 0)};
    size_t next = 0;
    assert_int_equal(none.count, 0);
    assert_false(time_spans_meet(&none, 0, INT64_MAX, &next));
    assert_false(time_spans_meet(NULL, 0, INT64_MAX, &next));
}

static void ends_are_half_open(UNUSED void **state)
{
    struct time_spans spans = {1, {{10, 20}}};
    size_t next = 0;
    assert_false(time_spans_meet(&spans, 5, 10, &next));
    assert_true(time_spans_meet(&spans, 5, 11, &next));
    assert_true(time_spans_meet(&spans, 19, 20, &next));
    assert_false(time_spans_meet(&spans, 20, 30, &next));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_spans_say_the_same_as_their_moments),
        cmocka_unit_test(no_spans_hold_nothing),
        cmocka_unit_test(ends_are_half_open),
    };
    return cmocka_run_group_tests_name("time_span", tests, NULL, NULL);
}
