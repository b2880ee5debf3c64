/* Tests of season: canonical and odd seasons, several at once, never off by one, none in noise.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/random.h"
#include "tests/unit/model/model_test.h"

#include <stdlib.h>

#define HOUR       INT64_C(3600000)
#define LENGTH_MAX 8192

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_a_day_in_hours),
        cmocka_unit_test(finds_day_and_week),
        cmocka_unit_test(is_never_off_by_one),
        cmocka_unit_test(lives_with_gaps),
        cmocka_unit_test(finds_none_where_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
