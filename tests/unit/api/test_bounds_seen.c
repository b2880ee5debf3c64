/* Which values an answer may have, by those that were seen: on and off, signs of long ago, whole
 * numbers at every level. SPDX-License-Identifier: Apache-2.0
 */
#include "asked.h"

#include "base/random.h"

#include <math.h>
#include <stdio.h>

#define LEVELS "&quantiles=0.01,0.025,0.03,0.1,0.25,0.5,0.75,0.9,0.95,0.975,0.99"

static const char *const levels[] = {"0.01", "0.025", "0.03", "0.1",   "0.25", "0.5",
                                     "0.75", "0.9",   "0.95", "0.975", "0.99"};

/* What is up or down, or one of two levels, is at one of them or between; what is left of a level
 * that has decayed is no number of such a series. */
static void on_and_off(void **state)
{
    (void)state;
    static const double lows[] = {0.0, -3.5}, highs[] = {1.0, 12.25};
    for (uint64_t seed = 0; seed < 10; seed++) {
        double low = lows[seed % 2], high = highs[seed % 2];
        struct random random;
        random_init(&random, seed, 0);
        bool on = false;
        for (size_t i = 0; i < COUNT; i++) {
            on = random_uniform(&random) < 0.05 ? !on : on;
            values[i] = on ? high : low;
        }
        char name[20];
        snprintf(name, sizeof(name), "switch_%d", (int)seed);
        put(name, COUNT, MINUTE);
        struct asked asked = ask_with(name, false, LEVELS);
        for (size_t h = 0; h < 24; h++) {
            bool wide = level_at(asked, "0.9", h) >= 1e-6 || low < 0.0;
            for (size_t q = 0; q < sizeof(levels) / sizeof(levels[0]); q++) {
                double value = level_at(asked, levels[q], h);
                assert_true(value >= low && value <= high);
                assert_true(!wide || value == 0.0 || fabs(value) >= 1e-6);
            }
            double mean = fixture_number(asked.forecast, "mean", h);
            assert_true(mean >= low && mean <= high);
        }
        done(asked);
    }
}

/* What moved once may go on. */
static void two_levels_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = i < 100 ? 2.0 : 5.0;
    }
    put("step", COUNT, MINUTE);
    struct asked step = ask_with("step", false, LEVELS);
    assert_true(level_at(step, "0.975", 23) > 5.0);
    done(step);
}

/* `count` values, one a minute: a cycle from zero on, and noise that keeps it there; all but the
 * newest `mild` ones are moved by `before`. */
static void put_mild(const char *series, size_t count, size_t mild, double before)
{
    struct text body;
    struct random random;
    text_init(&body, 1u << 20);
    random_init(&random, 7, 0);
    text_add_format(&body, "{\"series\":\"%s\",\"points\":[", series);
    for (size_t i = 0; i < count; i++) {
        double cycle = 5.0 + 5.0 * sin(2.0 * M_PI * (double)i / 24.0);
        double value = cycle + 0.5 * fabs(random_normal(&random)) + (i + mild < count ? before : 0);
        int64_t time_ms = NOW_MS - (int64_t)(count - 1 - i) * MINUTE;
        text_add_format(&body, "%s[%lld,%.17g]", i ? "," : "", (long long)time_ms, value);
    }
    text_add_string(&body, "]}");
    expect(&fixture, API_POST, "/api/v1/points", body.bytes, 200, NULL);
    text_release(&body);
}

/* A mild day, and more than the values that a forecast sees, in a winter; and what never was below
 * zero in any season. By a baseline and by a model, which sees a few hundred. */
static void signs_of_long_ago(void **state)
{
    (void)state;
    for (int model = 0; model < 2; model++) {
        if (model) {
            publish();
        }
        const char *winter = model ? "winter_model" : "winter";
        const char *always = model ? "always_model" : "always";
        put_mild(winter, 4000, 1500, -1.0);
        put_mild(always, 4000, 1500, 3.0);
        struct asked below = ask_with(winter, false, LEVELS);
        struct asked above = ask_with(always, false, LEVELS);
        assert_int_equal(model, strcmp(text_of(below, "served_by"), "logsparse") == 0);
        double least = 0.0;
        for (size_t h = 0; h < 24; h++) {
            least = fmin(least, level_at(below, "0.01", h));
            assert_true(level_at(above, "0.01", h) >= 0.0);
        }
        print_message("%s: down to %.3f\n", text_of(below, "served_by"), least);
        assert_true(least < 0.0);
        done(below);
        done(above);
    }
    /* What lies in an excluded span was never there. */
    put_mild("fault", 4000, 1500, -1.0);
    char target[200];
    snprintf(target, sizeof(target), "{\"exclude\":[{\"from\":%lld,\"to\":%lld}]}",
             (long long)(NOW_MS - 4000 * MINUTE), (long long)(NOW_MS - 1500 * MINUTE));
    expect(&fixture, API_PATCH, "/api/v1/series/fault", target, 200, NULL);
    struct asked fault = ask_with("fault", false, LEVELS);
    for (size_t h = 0; h < 24; h++) {
        assert_true(level_at(fault, "0.01", h) >= 0.0);
    }
    done(fault);
}

/* Levels that are not stored are interpolated, and those beyond the outer ones extrapolated. */
static void whole_at_every_level(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 3, 0);
    bool fraction = false;
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = rint(50.0 + 9.0 * random_normal(&random));
    }
    put("tickets", COUNT, MINUTE);
    expect(&fixture, API_PATCH, "/api/v1/series/tickets", "{\"integer\":true}", 200, NULL);
    struct asked asked = ask_with("tickets", true, LEVELS);
    for (size_t h = 0; h < 24; h++) {
        double before = 0.0;
        for (size_t q = 0; q < sizeof(levels) / sizeof(levels[0]); q++) {
            double value = level_at(asked, levels[q], h);
            assert_true(value == rint(value) && value >= before);
            before = value;
        }
        double mean = fixture_number(asked.forecast, "mean", h);
        fraction = fraction || mean != rint(mean);
    }
    assert_true(fraction); /* the mean of whole numbers is none */
    done(asked);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, asked_open, asked_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(on_and_off),
        TEST(two_levels_once),
        TEST(signs_of_long_ago),
        TEST(whole_at_every_level),
    };
    return cmocka_run_group_tests(tests, asked_teach, asked_forget);
}
