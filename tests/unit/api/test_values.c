/* Values as they really are: shifts, other units, constants, counts, any size; and the answer then.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every test names the failure that it is about; docs/data.md has a paragraph for each.
 */
#include "asked.h"

#include "base/memory.h"
#include "base/random.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

/* Row "Level shift": within 16 steps it is seen and the forecast is at the new level, by a model
 * and by the baselines; the marker says since when. */
static void level_shift(void **state)
{
    (void)state;
    for (int model = 0; model < 2; model++) {
        const char *name = model ? "shift_model" : "shift";
        if (model) {
            publish();
        }
        make_cycle(20.0, 2.0, 0.3);
        put(name, COUNT, MINUTE);
        struct asked before = ask(name, false);
        assert_false(warns(before, "level_shift_recent"));
        for (size_t i = COUNT - 16; i < COUNT; i++) {
            values[i] += 30.0;
        }
        put(name, COUNT, MINUTE);
        struct asked after = ask(name, false);
        assert_true(warns(after, "level_shift_recent"));
        assert_false(warns(after, "unit_change_suspected"));
        for (size_t h = 0; h < 24; h++) {
            assert_true(fabs(level_at(after, "0.5", h) - 50.0) < 5.0);
        }
        assert_true(band(after) > 1.05 * band(before));
        done(before);
        done(after);
    }
}

/* Row "unit swap": a jump of ten times or more says so, and the forecast has the new unit. */
static void unit_swap(void **state)
{
    (void)state;
    make_cycle(20.0, 2.0, 0.3);
    for (size_t i = COUNT - 20; i < COUNT; i++) {
        values[i] *= 1000.0;
    }
    put("unit", COUNT, MINUTE);
    struct asked asked = ask("unit", false);
    assert_true(warns(asked, "level_shift_recent"));
    assert_true(warns(asked, "unit_change_suspected"));
    for (size_t h = 0; h < 24; h++) {
        assert_true(fabs(level_at(asked, "0.5", h) - 20000.0) < 4000.0);
    }
    done(asked);
}

/* Row "Constant / nearly constant": the constant with a small honest band. */
static void constant_and_nearly(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = 42.5;
    }
    put("constant", COUNT, MINUTE);
    struct asked asked = ask("constant", false);
    for (size_t h = 0; h < 24; h++) {
        assert_true(fabs(level_at(asked, "0.5", h) - 42.5) < 1e-3);
    }
    assert_true(band(asked) < 0.01);
    done(asked);
    values[100] = 42.6;
    put("nearly", COUNT, MINUTE);
    for (int model = 0; model < 2; model++) {
        static double kept[COUNT];
        memcpy(kept, values, sizeof(kept));
        if (model) {
            publish();
            memcpy(values, kept, sizeof(values));
            put("nearly", COUNT, MINUTE);
        }
        asked = ask("nearly", false);
        assert_int_equal(model, strcmp(text_of(asked, "served_by"), "logsparse") == 0);
        assert_true(fabs(level_at(asked, "0.5", 23) - 42.5) < 0.01);
        assert_true(band(asked) < 0.1);
        done(asked);
    }
}

/* Row "Intermittent counts": never negative, whole numbers where declared, not far too high. */
static void intermittent_counts(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 9, 0);
    double sum = 0.0;
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = random_uniform(&random) < 0.1 ? ceil(4.0 * random_uniform(&random)) : 0.0;
        sum += values[i];
    }
    for (int model = 0; model < 2; model++) {
        const char *name = model ? "crashes_model" : "crashes";
        if (model) {
            publish();
        }
        put(name, COUNT, MINUTE);
        char target[60];
        snprintf(target, sizeof(target), "/api/v1/series/%s", name);
        expect(&fixture, API_PATCH, target, "{\"integer\":true,\"min\":0}", 200, NULL);
        struct asked asked = ask(name, true);
        double mean = 0.0;
        for (size_t h = 0; h < 24; h++) {
            double middle = level_at(asked, "0.5", h);
            assert_true(level_at(asked, "0.1", h) >= 0.0 && middle == rint(middle));
            assert_true(middle <= 1.0);
            mean += json_number_value(json_array_get(json_object_get(asked.forecast, "mean"), h));
        }
        mean /= 24.0;
        assert_true(mean > 0.3 * sum / COUNT && mean < 3.0 * sum / COUNT);
        done(asked);
    }
    assert_true(sum / COUNT < 0.4);
}

/* Nothing is declared: what never was negative is not forecast negative, in no tail, by a model and
 * by the baselines, also where gaps or a new level have widened the bands. */
static void never_negative_by_itself(void **state)
{
    (void)state;
    static const char *const names[] = {"counts", "counts_model"};
    struct random random;
    random_init(&random, 11, 0);
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = i % 8 == 3 ? (double)NAN : floor(5.0 * random_uniform(&random));
    }
    static double kept[COUNT];
    memcpy(kept, values, sizeof(kept));
    for (int model = 0; model < 2; model++) {
        if (model) {
            publish();
            memcpy(values, kept, sizeof(values));
        }
        put(names[model], COUNT, MINUTE);
        struct asked asked = ask_with(names[model], false, "&quantiles=0.01,0.1,0.5,0.9");
        assert_int_equal(model, strcmp(text_of(asked, "served_by"), "logsparse") == 0);
        for (size_t h = 0; h < 24; h++) {
            assert_true(level_at(asked, "0.01", h) >= 0.0);
            assert_true(level_at(asked, "0.9", h) > 1.0);
        }
        done(asked);
    }
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = i < COUNT - 20 ? 90.0 + (double)(i * 7 % 11) : (double)(i * 7 % 11);
    }
    put("fallen", COUNT, MINUTE);
    struct asked asked = ask_with("fallen", false, "&quantiles=0.01,0.1,0.5,0.9");
    assert_true(warns(asked, "level_shift_recent"));
    for (size_t h = 0; h < 24; h++) {
        assert_true(level_at(asked, "0.01", h) >= 0.0);
    }
    done(asked);
    /* What was negative once may be so again. */
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = kept[i] - 2.0;
    }
    put("below", COUNT, MINUTE);
    asked = ask_with("below", false, "&quantiles=0.01,0.1,0.5,0.9");
    double least = 0.0;
    for (size_t h = 0; h < 24; h++) {
        least = fmin(least, level_at(asked, "0.01", h));
    }
    assert_true(least < -0.5);
    done(asked);
}

/* Values from 1e-12 to 1e12: the same forecast in another unit. */
static void any_size_of_values(void **state)
{
    (void)state;
    publish();
    double reference = 0.0;
    for (int power = -12; power <= 12; power += 3) {
        char name[40];
        make_cycle(20.0, 5.0, 0.5);
        for (size_t i = 0; i < COUNT; i++) {
            values[i] *= pow(10.0, power);
        }
        snprintf(name, sizeof(name), "size_%s%d", power < 0 ? "m" : "p", abs(power));
        put(name, COUNT, MINUTE);
        struct asked asked = ask(name, false);
        double middle = level_at(asked, "0.5", 7) / pow(10.0, power);
        reference = power == -12 ? middle : reference;
        assert_true(fabs(middle - reference) < 1e-3 * reference);
        assert_true(fabs(middle - 20.0) < 10.0);
        done(asked);
    }
}

/* Row "NaN / Inf anywhere": infinities are refused, missing values are just missing. */
static void no_nan_anywhere(void **state)
{
    (void)state;
    make_cycle(20.0, 5.0, 0.5);
    put("poisoned", COUNT, MINUTE);
    expect(&fixture, API_POST, "/api/v1/points",
           "{\"series\":\"poisoned\",\"timestamp\":1795354700000,\"value\":1e999}", 422,
           "bad_value");
    char body[200];
    snprintf(body, sizeof(body),
             "{\"series\":\"poisoned\",\"points\":[[%lld,null],[%lld,1.7e308],[%lld,-1.7e308]]}",
             (long long)(NOW_MS - 5 * MINUTE), (long long)(NOW_MS - 4 * MINUTE),
             (long long)(NOW_MS - 3 * MINUTE));
    expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
    struct asked asked = ask("poisoned", false);
    assert_int_equal(quality(asked, "missing"), 3);
    assert_true(fabs(level_at(asked, "0.5", 0) - 20.0) < 12.0);
    done(asked);
}

/* Row "Interval collapse or explosion": beyond what the model was trained for bands go on. */
static void bands_beyond_the_horizon(void **state)
{
    (void)state;
    publish();
    make_cycle(20.0, 5.0, 0.5);
    put("far", COUNT, MINUTE);
    struct answer answer = get(&fixture, "/api/v1/forecast?series=far&steps=240");
    json_error_t cause;
    json_t *document = json_loadb(answer.body, answer.length, 0, &cause);
    fixture_answer_release(&answer);
    struct asked asked = {document, json_array_get(json_object_get(document, "forecasts"), 0)};
    assert_true(warns(asked, "beyond_trained_horizon"));
    double first = band(asked), before = 0.0;
    for (size_t block = 0; block < 240; block += 24) {
        double width = 0.0;
        for (size_t h = block; h < block + 24; h++) {
            width += (level_at(asked, "0.9", h) - level_at(asked, "0.1", h)) / 24.0;
        }
        assert_true(width < 8.0 * first && width > 0.9 * before);
        before = width;
    }
    assert_true(before > 1.2 * first);
    done(asked);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, asked_open, asked_close)
    const struct CMUnitTest tests[] = {
        TEST(level_shift),
        TEST(unit_swap),
        TEST(constant_and_nearly),
        TEST(intermittent_counts),
        TEST(never_negative_by_itself),
        TEST(any_size_of_values),
        TEST(no_nan_anywhere),
        TEST(bands_beyond_the_horizon),
    };
    return cmocka_run_group_tests(tests, asked_teach, asked_forget);
}
