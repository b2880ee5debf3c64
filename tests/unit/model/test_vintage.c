/* Vintages: what is read back, how many bytes it takes, and what damaged bytes do.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model_test.h"

#include "base/random.h"
#include "model/forecast.h"
#include "model/order.h"

#include <stdlib.h>
#include <string.h>

#define H         48
#define ISSUED_MS INT64_C(1795354740000)
#define STEP_MS   INT64_C(300000)

struct arrays {
    float mean[H], quantiles[QUANTILE_COUNT * H];
};

static struct forecast wave(struct arrays *arrays, double level, double amplitude, double spread)
{
    for (size_t h = 0; h < H; h++) {
        double median = level + amplitude * sin((double)h * 0.26);
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            double wide = spread * sqrt(1.0 + 0.2 * (double)h);
            arrays->quantiles[q * H + h] =
                (float)(median + wide * order_probit(quantile_levels[q]));
        }
        arrays->mean[h] = (float)(median + 0.05 * spread);
    }
    return (struct forecast){H, arrays->mean, arrays->quantiles};
}

static struct vintage usual(struct arrays room[3], double level, double amplitude, double spread)
{
    struct vintage vintage = {
        .issued_ms = ISSUED_MS,
        .origin_ms = ISSUED_MS - 4000,
        .step_ms = STEP_MS,
        .data_age_ms = 4000,
        .state = 2,
        .served_by = "logsparse",
        .model = "5m-142",
        .trained_at_ms = ISSUED_MS - 3600000,
        .window_start_ms = ISSUED_MS - INT64_C(30) * 86400000,
        .window_end_ms = ISSUED_MS - INT64_C(2) * 86400000,
        .seed = 7,
        .baseline_name = "seasonal_naive",
        .rival_model = "5m-141",
    };
    conformal_init(&vintage.calibration, H);
    for (size_t pair = 0; pair < CONFORMAL_PAIRS; pair++) {
        for (size_t part = 0; part < CONFORMAL_PARTS; part++) {
            vintage.calibration.shift[pair][part] = 0.1f * (float)pair - 0.07f * (float)part;
        }
    }
    vintage.calibration.count = 1440;
    vintage.calibration.inside80 = 1150;
    vintage.calibration.inside95 = 1360;
    vintage.calibration.lessons[1] = 77;
    vintage.calibration.run = -3;
    vintage.calibration.settled_ms = ISSUED_MS - 4000;
    vintage.served = wave(&room[0], level, amplitude, spread);
    vintage.baseline = wave(&room[1], level, 1.1 * amplitude, 1.3 * spread);
    vintage.rival = wave(&room[2], level, 0.9 * amplitude, 1.1 * spread);
    return vintage;
}

static void expect_near(const struct forecast *got, const struct forecast *want, double tolerance)
{
    assert_int_equal(got->horizon, want->horizon);
    for (size_t h = 0; h < want->horizon; h++) {
        assert_close((double)got->mean[h], (double)want->mean[h], tolerance);
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            assert_close((double)got->quantiles[q * H + h], (double)want->quantiles[q * H + h],
                         tolerance);
            assert_true(q == 0 || got->quantiles[q * H + h] >= got->quantiles[(q - 1) * H + h]);
        }
    }
}

static void everything_comes_back(void **state)
{
    static struct arrays room[3];
    static unsigned char bytes[VINTAGE_BYTES_MAX(H)];
    static float back[VINTAGE_FLOATS(H)];
    struct error error = {0};
    struct vintage read;
    (void)state;
    struct vintage vintage = usual(room, 100.0, 30.0, 4.0);
    size_t length = vintage_encode(&vintage, bytes);
    assert_ok(vintage_decode(bytes, length, back, VINTAGE_FLOATS(H), &read, &error));
    assert_int_equal(read.issued_ms, vintage.issued_ms);
    assert_int_equal(read.origin_ms, vintage.origin_ms);
    assert_int_equal(read.step_ms, vintage.step_ms);
    assert_int_equal(read.data_age_ms, 4000);
    assert_int_equal(read.state, 2);
    assert_string_equal(read.served_by, "logsparse");
    assert_string_equal(read.fallback_reason, "");
    assert_string_equal(read.model, "5m-142");
    assert_int_equal(read.trained_at_ms, vintage.trained_at_ms);
    assert_int_equal(read.window_start_ms, vintage.window_start_ms);
    assert_int_equal(read.window_end_ms, vintage.window_end_ms);
    assert_int_equal(read.seed, 7);
    assert_string_equal(read.baseline_name, "seasonal_naive");
    assert_string_equal(read.rival_model, "5m-141");
    assert_int_equal(read.calibration.horizon, H);
    assert_int_equal(read.calibration.count, 1440);
    assert_int_equal(read.calibration.inside80, 1150);
    assert_int_equal(read.calibration.inside95, 1360);
    assert_int_equal(read.calibration.lessons[1], 77);
    assert_int_equal(read.calibration.run, -3);
    assert_int_equal(read.calibration.settled_ms, vintage.calibration.settled_ms);
    assert_true(read.calibration.ignore_before_ms == INT64_MIN);
    for (size_t pair = 0; pair < CONFORMAL_PAIRS; pair++) {
        assert_close((double)read.calibration.shift[pair][2],
                     (double)vintage.calibration.shift[pair][2], 1e-4);
    }
    /* Each distance is rounded to half a quantum and up to three add up; the mean 80 % band of the
     * served one is 4 * 2.56 * mean sqrt(1 + h / 5). */
    double quantum = 4.0 * 2.563 * 2.35 / 64.0;
    expect_near(&read.served, &vintage.served, 2.0 * quantum);
    expect_near(&read.baseline, &vintage.baseline, 2.0 * 1.3 * quantum);
    expect_near(&read.rival, &vintage.rival, 2.0 * 1.1 * quantum);
}

static void whole_levels_stay_exact(void **state)
{
    static struct arrays room[3];
    static unsigned char bytes[VINTAGE_BYTES_MAX(H)];
    static float back[VINTAGE_FLOATS(H)];
    struct error error = {0};
    struct vintage read;
    (void)state;
    struct vintage vintage = usual(room, 20.0, 12.0, 3.0);
    for (size_t i = 0; i < QUANTILE_COUNT * H; i++) {
        room[0].quantiles[i] = rintf(room[0].quantiles[i]);
    }
    size_t length = vintage_encode(&vintage, bytes);
    assert_ok(vintage_decode(bytes, length, back, VINTAGE_FLOATS(H), &read, &error));
    static const size_t kept[] = {0, 1, 3, 5, 7, 9, 10};
    for (size_t h = 0; h < H; h++) {
        for (size_t i = 0; i < 7; i++) {
            assert_close((double)read.served.quantiles[kept[i] * H + h],
                         (double)room[0].quantiles[kept[i] * H + h], 1e-4);
        }
    }
}

/* The figure that the manual states: 48 steps with the baseline beside them. */
static void a_vintage_takes_a_few_hundred_bytes(void **state)
{
    static struct arrays room[3];
    static unsigned char bytes[VINTAGE_BYTES_MAX(H)];
    (void)state;
    struct vintage vintage = usual(room, 100.0, 30.0, 4.0);
    size_t with_rival = vintage_encode(&vintage, bytes);
    vintage.rival.horizon = 0;
    size_t usual_length = vintage_encode(&vintage, bytes);
    vintage.baseline.horizon = 0;
    size_t alone = vintage_encode(&vintage, bytes);
    print_message("  served %zu, with baseline %zu, with rival %zu bytes\n", alone, usual_length,
                  with_rival);
    assert_in_range(alone, 100, 330);
    assert_in_range(usual_length, 200, 520);
    assert_in_range(with_rival, 300, 720);
}

/* Whatever the numbers: the promised bound holds (vintage_encode itself asserts it too). */
static void extreme_values_stay_within_the_bound(void **state)
{
    static struct arrays room[3];
    static unsigned char bytes[VINTAGE_BYTES_MAX(H)];
    static float back[VINTAGE_FLOATS(H)];
    struct error error = {0};
    struct vintage read;
    struct random random;
    (void)state;
    random_init(&random, 5, 0);
    const double scales[] = {1e-12, 1e-3, 1.0, 1e6, 1e12, 1e37};
    for (size_t s = 0; s < 6; s++) {
        struct vintage vintage = usual(room, scales[s], scales[s], scales[s] * 1e-6);
        for (size_t h = 0; h < H; h++) {
            float jump = (float)(scales[s] * random_normal(&random));
            for (size_t q = 0; q < QUANTILE_COUNT; q++) {
                room[0].quantiles[q * H + h] += jump;
            }
            room[0].mean[h] += jump;
        }
        size_t length = vintage_encode(&vintage, bytes);
        assert_in_range(length, 1, VINTAGE_BYTES_MAX(H));
        assert_ok(vintage_decode(bytes, length, back, VINTAGE_FLOATS(H), &read, &error));
        expect_near(&read.served, &vintage.served, 1e-5 * 10.0 * scales[s]);
    }
    struct vintage flat = usual(room, 5.0, 0.0, 0.0);
    size_t length = vintage_encode(&flat, bytes);
    assert_ok(vintage_decode(bytes, length, back, VINTAGE_FLOATS(H), &read, &error));
    expect_near(&read.served, &flat.served, 1e-5);
}

static void damaged_bytes_are_refused_or_stay_in_bounds(void **state)
{
    static struct arrays room[3];
    static unsigned char bytes[VINTAGE_BYTES_MAX(H)];
    static float back[VINTAGE_FLOATS(H)];
    struct error error = {0};
    struct vintage read;
    struct random random;
    (void)state;
    random_init(&random, 6, 0);
    struct vintage vintage = usual(room, 100.0, 30.0, 4.0);
    size_t length = vintage_encode(&vintage, bytes);
    for (size_t cut = 0; cut < length; cut++) {
        /* An exact copy on the heap, so that a sanitizer sees any step beyond it. */
        unsigned char *copy = malloc(cut + 1);
        memcpy(copy, bytes, cut);
        assert_int_equal(vintage_decode(copy, cut, back, VINTAGE_FLOATS(H), &read, &error),
                         STATUS_CORRUPT);
        free(copy);
    }
    for (int i = 0; i < 20000; i++) {
        unsigned char *copy = malloc(length);
        memcpy(copy, bytes, length);
        for (uint64_t k = 0; k <= random_below(&random, 3); k++) {
            copy[random_below(&random, (uint32_t)length)] =
                (unsigned char)random_below(&random, 256);
        }
        if (vintage_decode(copy, length, back, VINTAGE_FLOATS(H), &read, &error) == STATUS_OK) {
            for (size_t v = 0; v < read.served.horizon * QUANTILE_COUNT; v++) {
                assert_true(isfinite(read.served.quantiles[v]));
            }
        }
        free(copy);
    }
    /* A room that is too small is an error, not a write beyond it. */
    assert_int_equal(vintage_decode(bytes, length, back, 100, &read, &error), STATUS_CORRUPT);
}

/* Moments as far apart as they can be come back. */
static void moments_come_back_from_any_distance(void **state)
{
    static struct arrays room[3];
    static unsigned char bytes[VINTAGE_BYTES_MAX(H)];
    static float back[VINTAGE_FLOATS(H)];
    struct error error = {0};
    struct vintage read;
    (void)state;
    struct vintage vintage = usual(room, 100.0, 30.0, 4.0);
    vintage.origin_ms = INT64_MAX;
    vintage.issued_ms = INT64_MIN;
    vintage.trained_at_ms = INT64_MAX;
    vintage.calibration.settled_ms = INT64_MIN + 1;
    size_t length = vintage_encode(&vintage, bytes);
    assert_ok(vintage_decode(bytes, length, back, VINTAGE_FLOATS(H), &read, &error));
    assert_true(read.origin_ms == INT64_MAX && read.issued_ms == INT64_MIN);
    assert_true(read.trained_at_ms == INT64_MAX);
    assert_true(read.calibration.settled_ms == INT64_MIN + 1);
    assert_true(read.calibration.ignore_before_ms == INT64_MIN);
}

/* What vintage_encode never writes: bytes behind the end, a quantum that is not positive. */
static void nothing_else_is_read(void **state)
{
    static struct arrays room[3];
    static unsigned char bytes[VINTAGE_BYTES_MAX(H)];
    static float back[VINTAGE_FLOATS(H)];
    struct error error = {0};
    struct vintage read;
    (void)state;
    struct vintage vintage = usual(room, 100.0, 30.0, 4.0);
    size_t length = vintage_encode(&vintage, bytes);
    bytes[length] = 0;
    assert_int_equal(vintage_decode(bytes, length + 1, back, VINTAGE_FLOATS(H), &read, &error),
                     STATUS_CORRUPT);
    float first = room[0].quantiles[QUANTILE_MEDIAN * H];
    unsigned char *quantum = memmem(bytes, length, &first, sizeof(first));
    assert_non_null(quantum);
    quantum[2 * sizeof(float) - 1] |= 0x80; /* its sign */
    assert_int_equal(vintage_decode(bytes, length, back, VINTAGE_FLOATS(H), &read, &error),
                     STATUS_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_comes_back),
        cmocka_unit_test(whole_levels_stay_exact),
        cmocka_unit_test(a_vintage_takes_a_few_hundred_bytes),
        cmocka_unit_test(extreme_values_stay_within_the_bound),
        cmocka_unit_test(damaged_bytes_are_refused_or_stay_in_bounds),
        cmocka_unit_test(moments_come_back_from_any_distance),
        cmocka_unit_test(nothing_else_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
