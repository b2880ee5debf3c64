/* Live regret: when a champion must go, when it may stay, and that noise does not decide.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "api/regret.h"
#include "base/random.h"

#include <math.h>

#define STEP_MS INT64_C(3600000)

static struct fixture f;
static struct random noise;

static int open_all(void **state)
{
    (void)state;
    fixture_open(&f);
    random_init(&noise, 5, 0);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    fixture_close(&f);
    return 0;
}

/* Windows of `values` values; the champion loses `against_*` times what the others lose. */
static void windows(const char *champion, const char *rival, int first, int count,
                    double against_baseline, double against_rival)
{
    for (int w = first; w < first + count; w++) {
        for (int series = 0; series < 5; series++) {
            double weather = 1.0 + 0.3 * random_uniform(&noise);
            double shaken = 1.0 + 0.1 * random_normal(&noise);
            struct regret_losses losses = {
                .window = w,
                .count = 10,
                .champion = 10.0 * weather * shaken,
                .baseline = 10.0 * weather / against_baseline,
            };
            if (against_rival > 0.0) {
                losses.rival_count = 10;
                losses.champion_again = losses.champion;
                losses.rival = 10.0 * weather / against_rival;
            }
            regret_add(f.services.regret, STEP_MS, champion, rival, &losses);
        }
    }
}

static void a_good_champion_stays(void **state)
{
    struct regret_verdict verdict;
    (void)state;
    assert_false(api_regret(&f.services, STEP_MS, &verdict)); /* nothing is known */
    windows("1h-2", "1h-1", 100, 24, 0.7, 0.95);
    assert_false(api_regret(&f.services, STEP_MS, &verdict));
}

static void a_little_worse_is_not_regret(void **state)
{
    struct regret_verdict verdict;
    (void)state;
    windows("1h-2", "1h-1", 100, 24, 0.9, 1.05);
    assert_false(api_regret(&f.services, STEP_MS, &verdict));
}

static void worse_than_the_previous_goes_back_to_it(void **state)
{
    struct regret_verdict verdict;
    (void)state;
    windows("1h-2", "1h-1", 100, 6, 0.9, 1.5);
    assert_false(api_regret(&f.services, STEP_MS, &verdict)); /* five whole windows */
    windows("1h-2", "1h-1", 106, 1, 0.9, 1.5);
    assert_true(api_regret(&f.services, STEP_MS, &verdict));
    assert_true(verdict.to_previous);
    assert_string_equal(verdict.champion, "1h-2");
    assert_non_null(strstr(verdict.reason, "previous champion 1h-1"));
    api_regret_forget(&f.services, STEP_MS);
    assert_false(api_regret(&f.services, STEP_MS, &verdict));
}

static void worse_than_the_baseline_gives_way_to_it(void **state)
{
    struct regret_verdict verdict;
    (void)state;
    windows("1h-1", "", 100, 10, 1.6, 0.0);
    assert_true(api_regret(&f.services, STEP_MS, &verdict));
    assert_false(verdict.to_previous);
    assert_non_null(strstr(verdict.reason, "the baseline"));
}

static void of_two_the_better_one_is_chosen(void **state)
{
    struct regret_verdict verdict;
    (void)state;
    windows("1h-2", "1h-1", 100, 10, 2.0, 1.4);
    assert_true(api_regret(&f.services, STEP_MS, &verdict));
    assert_false(verdict.to_previous);
    windows("1h-3", "1h-2", 100, 10, 1.4, 2.0);
    assert_true(api_regret(&f.services, STEP_MS, &verdict));
    assert_true(verdict.to_previous);
}

static void another_champion_begins_anew(void **state)
{
    struct regret_verdict verdict;
    (void)state;
    windows("1h-2", "1h-1", 100, 10, 2.0, 2.0);
    windows("1h-3", "1h-2", 110, 2, 0.8, 0.8);
    assert_false(api_regret(&f.services, STEP_MS, &verdict));
}

/* Equals under strong noise: over many lives of 24 windows hardly any is thrown out. */
static void noise_alone_throws_nobody_out(void **state)
{
    int thrown = 0;
    (void)state;
    for (int life = 0; life < 300; life++) {
        char champion[48];
        bool out = false;
        struct regret_verdict verdict;
        snprintf(champion, sizeof(champion), "1h-%d", life + 10);
        for (int w = 0; w < 24; w++) {
            double champion_loss = exp(0.4 * random_normal(&noise));
            double rival_loss = exp(0.4 * random_normal(&noise));
            struct regret_losses losses = {.window = w,
                                           .count = 50,
                                           .champion = 50.0 * champion_loss,
                                           .baseline = 50.0 * rival_loss};
            regret_add(f.services.regret, STEP_MS, champion, "", &losses);
            out = out || api_regret(&f.services, STEP_MS, &verdict);
        }
        thrown += out;
    }
    assert_in_range(thrown, 0, 2);
}

static void rivals_are_asked_for_within_bounds_and_not_for_ever(void **state)
{
    unsigned asked = 0;
    (void)state;
    for (int i = 0; i < 500; i++) {
        asked += regret_wants_rival(f.services.regret, STEP_MS, "1h-2", "1h-1", 7);
    }
    assert_int_equal(asked, REGRET_RIVALS_A_WINDOW);
    windows("1h-2", "1h-1", 8, REGRET_WINDOWS, 0.9, 0.9);
    assert_false(regret_wants_rival(f.services.regret, STEP_MS, "1h-2", "1h-1", 99));
    assert_true(regret_wants_rival(f.services.regret, STEP_MS, "1h-3", "1h-2", 99));
}

static void old_windows_make_room(void **state)
{
    struct regret_verdict verdict;
    (void)state;
    windows("1h-2", "", 0, 30, 2.0, 0.0);
    windows("1h-2", "", 30, 24, 0.8, 0.0); /* it has come to itself */
    assert_false(api_regret(&f.services, STEP_MS, &verdict));
    struct regret_losses late = {.window = 3, .count = 10, .champion = 1e9, .baseline = 1.0};
    regret_add(f.services.regret, STEP_MS, "1h-2", "", &late); /* forgotten already */
    assert_false(api_regret(&f.services, STEP_MS, &verdict));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
    const struct CMUnitTest tests[] = {
        TEST(a_good_champion_stays),
        TEST(a_little_worse_is_not_regret),
        TEST(worse_than_the_previous_goes_back_to_it),
        TEST(worse_than_the_baseline_gives_way_to_it),
        TEST(of_two_the_better_one_is_chosen),
        TEST(another_champion_begins_anew),
        TEST(noise_alone_throws_nobody_out),
        TEST(rivals_are_asked_for_within_bounds_and_not_for_ever),
        TEST(old_windows_make_room),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
