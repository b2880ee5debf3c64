/* Tests of season: canonical and odd seasons, several at once, never off by one, none in noise.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/random.h"
#include "tests/unit/model/model_test.h"

#include <stdlib.h>

#define HOUR       INT64_C(3600000)
#define LENGTH_MAX 8400

static double values[LENGTH_MAX];

/* A sum of up to two cycles, noise, a walk and a trend. */
struct mixture {
    size_t length, first, second;
    double noise, walk, trend;
    uint64_t seed;
    bool spikes; /* one high step a cycle instead of a sine */
};

static void make(const struct mixture *mixture)
{
    struct random random;
    random_init(&random, mixture->seed, 0);
    double level = 0.0;
    for (size_t t = 0; t < mixture->length; t++) {
        level += mixture->walk * random_normal(&random);
        double value = level + mixture->trend * (double)t + mixture->noise * random_normal(&random);
        if (mixture->first > 0 && mixture->spikes) {
            value += t % mixture->first == 3 ? 4.0 : 0.0;
        } else if (mixture->first > 0) {
            value += sin(2.0 * M_PI * (double)t / (double)mixture->first);
        }
        if (mixture->second > 0) {
            value += 1.2 * sin(2.0 * M_PI * (double)t / (double)mixture->second);
        }
        values[t] = value;
    }
}

static void expect(const struct mixture *mixture, int64_t step_ms, uint32_t first, uint32_t second)
{
    uint32_t seasons[SEASONS_MAX];
    make(mixture);
    size_t found = season_detect(values, mixture->length, step_ms, seasons);
    size_t wanted = (first > 0 ? 1u : 0u) + (second > 0 ? 1u : 0u);
    if (found != wanted || seasons[0] != first || seasons[1] != second) {
        fail_msg("length %zu cycles %zu %zu: found %zu: %u %u %u", mixture->length, mixture->first,
                 mixture->second, found, seasons[0], seasons[1], seasons[2]);
    }
}

static void finds_a_day_in_hours(UNUSED void **state)
{
    expect(&(struct mixture){.length = 700, .first = 24, .noise = 0.5, .seed = 1}, HOUR, 24, 0);
    expect(&(struct mixture){.length = 700, .first = 24, .noise = 0.5, .walk = 0.3, .seed = 2},
           HOUR, 24, 0);
    expect(&(struct mixture){.length = 400, .first = 24, .noise = 0.3, .trend = 0.05, .seed = 3},
           HOUR, 24, 0);
    expect(&(struct mixture){.length = 900, .first = 24, .noise = 0.5, .seed = 4, .spikes = true},
           HOUR, 24, 0);
}

static void finds_day_and_week(UNUSED void **state)
{
    expect(&(struct mixture){.length = 1400, .first = 24, .second = 168, .noise = 0.5, .seed = 5},
           HOUR, 24, 168);
    expect(&(struct mixture){.length = 7000, .first = 288, .second = 2016, .noise = 0.5, .seed = 6},
           HOUR / 12, 288, 2016);
}

static void is_never_off_by_one(UNUSED void **state)
{
    for (uint32_t season = 20; season <= 30; season++) {
        struct mixture mixture = {.length = 1200, .first = season, .noise = 0.4, .seed = season};
        expect(&mixture, HOUR, season, 0);
    }
    for (uint32_t season = 5; season <= 9; season++) {
        struct mixture mixture = {.length = 600, .first = season, .noise = 0.4, .seed = season};
        expect(&mixture, 24 * HOUR, season, 0);
    }
}

static void finds_none_where_there_is_none(UNUSED void **state)
{
    for (uint64_t seed = 10; seed < 30; seed++) {
        expect(&(struct mixture){.length = 900, .noise = 1.0, .seed = seed}, HOUR, 0, 0);
        expect(&(struct mixture){.length = 900, .walk = 1.0, .seed = seed}, HOUR, 0, 0);
    }
    expect(&(struct mixture){.length = 900}, HOUR, 0, 0);
    expect(&(struct mixture){.length = 3, .noise = 1.0}, HOUR, 0, 0);
}

static void finds_a_year_of_months(UNUSED void **state)
{
    for (uint64_t seed = 70; seed < 75; seed++) {
        expect(&(struct mixture){.length = 72, .first = 12, .noise = 0.2, .seed = seed},
               GRID_MONTH_MS, 12, 0);
    }
}

static void lives_with_gaps(UNUSED void **state)
{
    struct mixture mixture = {.length = 900, .first = 24, .noise = 0.4, .seed = 9};
    make(&mixture);
    for (size_t t = 0; t < 900; t++) {
        if (t % 11 == 0 || (t > 300 && t < 350)) {
            values[t] = (double)NAN;
        }
    }
    uint32_t seasons[SEASONS_MAX];
    assert_int_equal(season_detect(values, 900, HOUR, seasons), 1);
    assert_int_equal(seasons[0], 24);
}

/* The older half has a value at every `stride`th cell alone, as before a step became shorter. */
static size_t behind_strides(const struct mixture *mixture, size_t stride, int64_t step_ms,
                             uint32_t *seasons)
{
    make(mixture);
    for (size_t t = 0; t < mixture->length * 3 / 5; t++) {
        values[t] = t % stride == 0 ? values[t] : (double)NAN;
    }
    return season_detect(values, mixture->length, step_ms, seasons);
}

/* Slow movement looks like a season of the stride, if what is missing counts as zero. */
static void strides_are_no_season(UNUSED void **state)
{
    static const size_t strides[] = {2, 3, 4, 5, 12};
    for (size_t i = 0; i < sizeof(strides) / sizeof(strides[0]); i++) {
        for (uint64_t seed = 40; seed < 44; seed++) {
            uint32_t found[SEASONS_MAX];
            size_t stride = strides[i];
            struct mixture slow = {.length = 2000, .first = 1500, .noise = 0.02, .seed = seed};
            struct mixture walk = {.length = 2000, .walk = 1.0, .seed = seed};
            struct mixture noise = {.length = 2000, .noise = 1.0, .trend = 0.01, .seed = seed};
            assert_int_equal(behind_strides(&slow, stride, HOUR / 60, found), 0);
            assert_true(behind_strides(&walk, stride, HOUR / 60, found) == 0 ||
                        found[0] % stride > 0);
            assert_int_equal(behind_strides(&noise, stride, HOUR / 60, found), 0);
            struct mixture exact = {.length = 4480, .first = 1256, .seed = seed};
            assert_int_equal(behind_strides(&exact, stride, HOUR / 240, found), 0);
            struct mixture cycle = {.length = 2400, .first = 200, .noise = 0.1, .seed = seed};
            assert_int_equal(behind_strides(&cycle, stride, HOUR / 60, found), 1);
            assert_int_equal(found[0], 200);
        }
    }
}

/* ---------------------------------------------------------------- the sweep */

enum shape { SHAPE_SINE, SHAPE_RAGGED, SHAPE_PULSE, SHAPE_WALK, SHAPE_TREND, SHAPE_GAPS, SHAPES };

/* `cycles` cycles of a season in one of the shapes, beginning anywhere in the cycle. */
static size_t make_shape(size_t season, enum shape shape, size_t cycles, uint64_t seed)
{
    double profile[512];
    struct random random;
    random_init(&random, seed, 0);
    size_t offset = (size_t)(random_uniform(&random) * (double)season);
    size_t count = season * cycles + seed % 7;
    count = count < 200 ? 200 : count;
    double level = 0.0;
    for (size_t i = 0; i < season; i++) {
        profile[i] = 1.4 * random_normal(&random);
    }
    for (size_t t = 0; t < count; t++) {
        size_t phase = (t + offset) % season;
        double value = 1.4 * sin(2.0 * M_PI * (double)phase / (double)season);
        if (shape == SHAPE_RAGGED) {
            value = profile[phase];
        } else if (shape == SHAPE_PULSE) {
            value = phase < (season + 3) / 4 ? 2.5 : 0.0;
        } else if (shape == SHAPE_WALK) {
            level += 0.03 * random_normal(&random);
        } else if (shape == SHAPE_TREND) {
            level += 0.01;
        }
        bool lost = shape == SHAPE_GAPS && (random_uniform(&random) < 0.2 || t / 40 == 3);
        values[t] = lost ? (double)NAN : value + level + 0.4 * random_normal(&random);
    }
    return count;
}

/* Every season from 5 to 200 steps, primes among them, at steps from a second to a day: the season
 * itself is found, and nothing else but its own divisors. 20 cycles, so that the values can tell it
 * from its neighbours (Cramer-Rao). Field rule "step inference": never off by one. */
static void finds_each_season_of_a_sweep(UNUSED void **state)
{
    static const int64_t steps_ms[] = {1000, 60000, 300000, HOUR, 24 * HOUR};
    for (size_t season = 5; season <= 200; season += season < 60 ? 1 : 7) {
        for (enum shape shape = SHAPE_SINE; shape < SHAPES; shape++) {
            uint32_t found[SEASONS_MAX];
            uint64_t seed = season * 16 + shape;
            size_t count = make_shape(season, shape, 20, seed);
            size_t seasons = season_detect(values, count, steps_ms[seed % 5], found);
            bool there = false;
            for (size_t i = 0; i < seasons; i++) {
                there = there || found[i] == season;
                if (season % found[i] != 0) {
                    fail_msg("season %zu shape %d: found %u as well", season, (int)shape, found[i]);
                }
            }
            if (!there) {
                fail_msg("season %zu shape %d of %zu: found %zu: %u %u %u", season, (int)shape,
                         count, seasons, found[0], found[1], found[2]);
            }
        }
    }
}

static void finds_two_odd_seasons_at_once(UNUSED void **state)
{
    static const uint32_t pairs[][2] = {{7, 30}, {13, 101}, {11, 145}, {23, 97}, {24, 100}};
    for (size_t i = 0; i < 5; i++) {
        struct mixture mixture = {.length = 3000,
                                  .first = pairs[i][0],
                                  .second = pairs[i][1],
                                  .noise = 0.4,
                                  .seed = 40 + i};
        expect(&mixture, HOUR, pairs[i][0], pairs[i][1]);
    }
}

/* Day and week and, in between, one that nobody would guess: as many as a series may have. */
static void finds_three_seasons_at_once(UNUSED void **state)
{
    make(&(struct mixture){.length = 3400, .first = 24, .second = 168, .noise = 0.4, .seed = 50});
    for (size_t t = 0; t < 3400; t++) {
        values[t] += sin(2.0 * M_PI * (double)t / 61.0);
    }
    uint32_t seasons[SEASONS_MAX];
    assert_int_equal(season_detect(values, 3400, HOUR, seasons), SEASONS_MAX);
    assert_int_equal(seasons[0], 24);
    assert_int_equal(seasons[1], 61);
    assert_int_equal(seasons[2], 168);
}

/* Less than four days tell 24 hours from neither 23 nor 25: it is the usual one that is taken. */
static void takes_the_usual_season_where_cycles_are_few(UNUSED void **state)
{
    for (uint64_t seed = 60; seed < 70; seed++) {
        expect(&(struct mixture){.length = 90, .first = 24, .noise = 0.4, .seed = seed}, HOUR, 24,
               0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_a_day_in_hours),
        cmocka_unit_test(finds_day_and_week),
        cmocka_unit_test(is_never_off_by_one),
        cmocka_unit_test(lives_with_gaps),
        cmocka_unit_test(strides_are_no_season),
        cmocka_unit_test(finds_a_year_of_months),
        cmocka_unit_test(finds_each_season_of_a_sweep),
        cmocka_unit_test(finds_two_odd_seasons_at_once),
        cmocka_unit_test(finds_three_seasons_at_once),
        cmocka_unit_test(takes_the_usual_season_where_cycles_are_few),
        cmocka_unit_test(finds_none_where_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
