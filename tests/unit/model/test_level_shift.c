/* Tests of level_shift and counter: found within 16 values, silent where nothing shifted.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/random.h"
#include "tests/unit/model/model_test.h"
#include "tests/watched.h"

#include <string.h>

#define LENGTH 600

static double values[LENGTH], scratch[3 * LENGTH];

enum kind { SEASON, NOISE, TREND, WALK, BURSTS, COUNTS, CONSTANT, PULSES, RETURNING, HEAVY, KINDS };

/* Of Student's t with three degrees of freedom, scaled to a deviation of 1. */
static double heavy_noise(struct random *random, double noise)
{
    double square = 0.0;
    for (size_t i = 0; i < 3; i++) {
        double one = random_normal(random);
        square += one * one;
    }
    return noise / sqrt(square);
}

static void make(enum kind kind, uint64_t seed)
{
    struct random random;
    random_init(&random, seed, 1);
    double level = 50.0, returning = 0.0;
    for (size_t t = 0; t < LENGTH; t++) {
        double noise = random_normal(&random);
        returning = 0.7 * returning + sqrt(0.51) * noise; /* of deviation 1, too */
        level += kind == WALK ? noise : (kind == TREND ? 0.05 : 0.0);
        double shapes[KINDS] = {
            level + 10.0 * sin(2.0 * M_PI * (double)t / 24.0) + noise,
            level + noise,
            level + noise,
            level,
            level + noise + (t % 97 < 20 ? 40.0 : 0.0), /* twenty steps up, now and then */
            random_uniform(&random) < 0.1 ? 3.0 : 0.0,
            level,
            level + (t % 24 < 8 ? 30.0 : 0.0) + noise, /* a working day */
            level + returning,
            level + (kind == HEAVY ? heavy_noise(&random, noise) : 0.0),
        };
        values[t] = shapes[kind];
    }
}

static bool find(enum kind kind, size_t count, struct level_shift *shift)
{
    uint32_t seasons[SEASONS_MAX] = {kind == SEASON || kind == PULSES ? 24 : 0};
    return level_shift_find(values, count, seasons, scratch, shift);
}

/* Row "Level shift": at the latest 16 values after it, at its place, whatever the season's phase.
 */
static void finds_a_shift_within_sixteen_values(UNUSED void **state)
{
    static const enum kind kinds[] = {SEASON, NOISE, TREND, CONSTANT, PULSES};
    for (size_t k = 0; k < 5; k++) {
        for (uint64_t seed = 1; seed <= 24; seed++) {
            struct level_shift shift;
            double jump = kinds[k] == TREND ? 90.0 : (seed % 2 == 0 ? 25.0 : -25.0);
            size_t at = LENGTH - 16 - seed;
            make(kinds[k], seed);
            for (size_t t = at; t < LENGTH; t++) {
                values[t] += jump;
            }
            if (!find(kinds[k], at + 16, &shift)) {
                fail_msg("kind %d seed %llu: not found", (int)kinds[k], (unsigned long long)seed);
            }
            assert_in_range(shift.at, at - 1, at + 1);
            assert_close(shift.after - shift.before, jump, 0.35 * fabs(jump));
            /* It is still known when it has lasted a while. */
            assert_true(find(kinds[k], LENGTH, &shift));
            level_shift_apply(&shift, values, LENGTH);
            struct level_shift again;
            assert_false(find(kinds[k], LENGTH, &again));
        }
    }
}

/* One that is older than the values in which shifts are looked for is dated from its begin, and
 * what came since is not moved twice. */
static void an_older_shift_is_dated_from_its_begin(UNUSED void **state)
{
    static const enum kind kinds[] = {SEASON, NOISE, PULSES, CONSTANT};
    size_t found = 0;
    for (size_t k = 0; k < 4; k++) {
        for (size_t age = 56; age <= 200; age++) {
            struct level_shift shift;
            size_t at = LENGTH - age;
            make(kinds[k], age);
            for (size_t t = at; t < LENGTH; t++) {
                values[t] += 40.0;
            }
            if (find(kinds[k], LENGTH, &shift)) {
                found += age > 64;
                assert_in_range(shift.at, at - 1, at + 1);
                assert_close(shift.after - shift.before, 40.0, 8.0);
            }
        }
    }
    assert_true(found >= 120); /* 128 of 544: later it is no shift any more */
}

static double share_found(enum kind kind, double jump, uint64_t seeds)
{
    double found = 0.0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct level_shift shift;
        size_t at = LENGTH - 50 - seed % 24;
        make(kind, seed);
        for (size_t t = at; t < LENGTH; t++) {
            values[t] += seed % 2 == 0 ? jump : -jump;
        }
        bool known = find(kind, at + 16, &shift) && shift.at + 1 >= at && shift.at <= at + 1;
        found += known ? 1.0 : 0.0;
    }
    return found / (double)seeds;
}

/* The table of docs/data.md: what share of shifts is known after sixteen values, and their place,
 * by their size in deviations of the noise. Of fewer seeds the shares are coarser. */
static void small_shifts_are_found_as_often_as_documented(void **state UNUSED)
{
    enum { SEEDS = WATCHED_OR(40, 1000) };
    static const double jumps[] = {3.0, 4.0, 5.0, 6.0, 10.0};
    static const struct {
        enum kind kind;
        double shares[5];
    } rows[] = {{NOISE, {0.002, 0.483, 0.997, 0.999, 1.0}},
                {SEASON, {0.0, 0.254, 0.96, 1.0, 1.0}},
                {PULSES, {0.0, 0.254, 0.96, 1.0, 1.0}},
                {RETURNING, {0.05, 0.503, 0.944, 0.998, 1.0}},
                {HEAVY, {0.814, 0.953, 0.98, 0.986, 0.999}}};
    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        for (size_t j = 0; j < 5; j++) {
            double share = share_found(rows[r].kind, jumps[j], SEEDS);
            /* Three standard errors, and the rounding of the table. */
            double expected = rows[r].shares[j];
            double error = sqrt(expected * (1.0 - expected) / SEEDS);
            if (fabs(share - expected) > 3.0 * error + 0.005) {
                fail_msg("kind %d: %g deviations, %.1f %% found", (int)rows[r].kind, jumps[j],
                         100.0 * share);
            }
        }
    }
}

static void is_silent_where_nothing_shifted(UNUSED void **state)
{
    for (enum kind kind = SEASON; kind < KINDS; kind++) {
        size_t alarms = 0;
        for (uint64_t seed = 1; seed <= 100; seed++) {
            struct level_shift shift;
            make(kind, seed);
            alarms += find(kind, LENGTH - seed % 50, &shift) ? 1 : 0;
        }
        /* A walk may go away for good; everything else never shifts. */
        size_t allowed = kind == WALK ? 3 : 0;
        if (alarms > allowed) {
            fail_msg("kind %d: %zu alarms of 100", (int)kind, alarms);
        }
    }
    for (size_t count = 0; count < 40; count++) {
        struct level_shift shift;
        make(NOISE, count + 1);
        assert_false(find(NOISE, count, &shift));
    }
}

static void moves_the_past(UNUSED void **state)
{
    struct level_shift add = {.at = 2, .before = 10.0, .after = 4.0, .unit = false};
    double plain[] = {10.0, 3.0, 4.0, (double)NAN};
    level_shift_apply(&add, plain, 4);
    assert_close(plain[0], 4.0, 0);
    assert_close(plain[1], 0.0, 0); /* what never was negative stays so */
    assert_close(plain[2], 4.0, 0);
    struct level_shift unit = {.at = 2, .before = 10.0, .after = 10000.0, .unit = true};
    double scaled[] = {10.0, 5.0, 10000.0};
    level_shift_apply(&unit, scaled, 3);
    assert_close(scaled[1], 5000.0, 1e-9);
    assert_true(level_shift_widening(&unit, 10) > level_shift_widening(&unit, 100));
}

static bool counts(const double *list, size_t count)
{
    struct point points[64];
    for (size_t i = 0; i < count; i++) {
        points[i] = (struct point){(int64_t)i * 1000, list[i]};
    }
    return counter_shape(points, count, NULL);
}

/* Row "Counter reset, rollover": by name and shape. */
static void knows_counters(UNUSED void **state)
{
    static const struct {
        const char *name;
        bool counter;
    } names[] = {{"http_requests_total", true},
                 {"http_requests_total{code=\"200\"}", true},
                 {"rpc_duration_seconds_count", true},
                 {"rpc_duration_seconds_sum", true},
                 {"rpc_duration_seconds_bucket{le=\"1\"}", true},
                 {"temperature", false},
                 {"_total", false},
                 {"total_bytes", false},
                 {"queue_counted", false},
                 {"load{kind=\"x_total\"}", false}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(counter_name(names[i].name, strlen(names[i].name)), names[i].counter);
    }
    double list[64];
    for (size_t i = 0; i < 64; i++) {
        list[i] = i < 40 ? 100.0 * (double)i : (double)(i - 40);
    }
    assert_true(counts(list, 64)); /* a reset */
    /* Nearly all excluded: what is left could not say. */
    struct time_spans spans = {.count = 1, .at = {{0, 60000}}};
    struct point rising[64];
    for (size_t i = 0; i < 64; i++) {
        rising[i] = (struct point){(int64_t)i * 1000, 3.0 * (double)i};
    }
    assert_true(counter_shape(rising, 64, &spans));
    rising[30].value = 80.0; /* a small fall, excluded or not */
    assert_false(counter_shape(rising, 64, &spans));
    spans.at[0].from_ms = 20000;
    assert_true(counter_shape(rising, 64, &spans));
    assert_false(counts(list, 9)); /* too few to say */
    struct point few[3] = {{0, 100.0}, {1, 3.0}, {2, 4.0}};
    assert_true(counter_possible(few, 3, NULL));
    few[1].value = 51.0;
    assert_false(counter_possible(few, 3, NULL));
    few[1].value = -1.0;
    assert_false(counter_possible(few, 3, NULL));
    list[20] = (double)NAN;
    assert_true(counts(list, 64));
    list[20] = 1850.0; /* a small fall: a gauge */
    assert_false(counts(list, 64));
    list[20] = -1.0;
    assert_false(counts(list, 64));
    for (size_t i = 0; i < 64; i++) {
        list[i] = 7.0;
    }
    assert_false(counts(list, 64));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_a_shift_within_sixteen_values),
        cmocka_unit_test(an_older_shift_is_dated_from_its_begin),
        cmocka_unit_test(small_shifts_are_found_as_often_as_documented),
        cmocka_unit_test(is_silent_where_nothing_shifted),
        cmocka_unit_test(moves_the_past),
        cmocka_unit_test(knows_counters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
