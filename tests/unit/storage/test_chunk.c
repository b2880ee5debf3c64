/* Chunks: round trips over many shapes, and hostile bytes.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "storage/chunk.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/random.h"
#include "storage/bits.h"
#include "tests/watched.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct point points[CHUNK_POINTS_MAX], decoded[CHUNK_POINTS_MAX + 1];
static unsigned char blob[CHUNK_BYTES_MAX];

static void assert_same(const struct point *a, const struct point *b, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(a[i].time_ms, b[i].time_ms);
        if (isnan(a[i].value)) {
            assert_true(isnan(b[i].value));
        } else {
            assert_memory_equal(&a[i].value, &b[i].value, sizeof a[i].value);
        }
    }
}

/* Bytes of the chunk; asserts that it comes back. */
static size_t round_trip(size_t count)
{
    size_t back;
    struct error error = {0};
    size_t bytes = chunk_encode(points, count, blob, sizeof blob);
    assert_true(bytes > 0);
    assert_int_equal(chunk_count(blob, bytes), count);
    /* A copy of the exact size, so that a sanitizer sees any read beyond it. */
    unsigned char *exact = malloc(bytes);
    assert_non_null(exact);
    memcpy(exact, blob, bytes);
    assert_int_equal(chunk_decode(exact, bytes, decoded, count, &back, &error), STATUS_OK);
    assert_int_equal(back, count);
    assert_same(points, decoded, count);
    if (count > 1) {
        assert_int_equal(chunk_decode(exact, bytes, decoded, count - 1, &back, &error),
                         STATUS_CORRUPT);
    }
    free(exact);
    /* One byte less of room must be refused, not overrun. */
    assert_int_equal(chunk_encode(points, count, blob, bytes - 1), 0);
    return bytes;
}

static void regular_decimals_are_small(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 1, 0);
    for (size_t i = 0; i < 1000; i++) {
        double value = 50 + 20 * sin((double)i / 1375) + random_uniform(&random) - 0.5;
        points[i] = (struct point){1795354740000 + (int64_t)i * 10000, round(value * 100) / 100};
    }
    assert_true(round_trip(1000) < 1150);
    for (size_t i = 0; i < 1000; i++) {
        points[i].value = 21.5;
    }
    assert_true(round_trip(1000) < 64);
}

static int64_t next_time(struct random *random, int64_t time, unsigned shape)
{
    switch (shape) {
    case 0:
        return time + 60000;
    case 1:
        return time + 1000 + (int64_t)random_below(random, 20);
    case 2:
        return time + 1 + (int64_t)(random_next(random) >> (20 + random_below(random, 40)));
    default:
        return time + (random_below(random, 20) == 0 ? 3600000 : 1000);
    }
}

static double next_value(struct random *random, double value, unsigned shape)
{
    uint64_t bits;
    double any;
    switch (shape) {
    case 0:
        return round((value + random_normal(random)) * 100) / 100;
    case 1:
        return random_normal(random);
    case 2:
        return (double)((int64_t)random_next(random) >> random_below(random, 64));
    case 3:
        return random_below(random, 30) == 0 ? (double)random_below(random, 100) : value;
    case 4:
        return random_below(random, 3) == 0 ? (double)NAN : (double)random_below(random, 10) / 8;
    case 5: /* any bits at all */
        bits = random_next(random);
        memcpy(&any, &bits, sizeof any);
        return isfinite(any) ? any : -0.0;
    case 6:
        return (double)NAN;
    default:
        return round(random_uniform(random) * 1e9) / 1e9 - (double)random_below(random, 2);
    }
}

static void random_round_trips(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 2, 0);
    for (int round = 0; round < WATCHED_OR(800, 4000); round++) {
        size_t count = 1 + random_below(&random, round % 50 == 0 ? CHUNK_POINTS_MAX : 200);
        unsigned times = (unsigned)random_below(&random, 4);
        unsigned values = (unsigned)random_below(&random, 8);
        int64_t time = (int64_t)(random_next(&random) >> (2 + random_below(&random, 40)));
        time = random_below(&random, 2) == 0 ? time : -time;
        double value = 0;
        for (size_t i = 0; i < count; i++) {
            value = next_value(&random, value, values);
            points[i] = (struct point){time, value};
            value = isnan(value) ? 1 : value;
            time = next_time(&random, time, times);
        }
        round_trip(count);
    }
}

static void extremes_of_time(void **state)
{
    (void)state;
    points[0] = (struct point){INT64_MIN, 1};
    points[1] = (struct point){0, 2};
    points[2] = (struct point){INT64_MAX, 3};
    round_trip(3);
    points[1] = (struct point){INT64_MAX, -0.0};
    round_trip(2);
    round_trip(1);
}

static void fitting(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 3, 0);
    for (unsigned shape = 0; shape < 8; shape++) {
        double value = 0;
        for (size_t i = 0; i < CHUNK_POINTS_MAX; i++) {
            value = next_value(&random, value, shape);
            points[i] = (struct point){(int64_t)i * 1000, value};
            value = isnan(value) ? 1 : value;
        }
        size_t bytes, back;
        struct error error = {0};
        size_t fits = chunk_fit(points, CHUNK_POINTS_MAX, blob, 990, &bytes);
        assert_true(fits >= 1 && bytes <= 990);
        assert_true(fits == CHUNK_POINTS_MAX || bytes > 900);
        assert_int_equal(chunk_decode(blob, bytes, decoded, CHUNK_POINTS_MAX, &back, &error),
                         STATUS_OK);
        assert_int_equal(back, fits);
        assert_same(points, decoded, fits);
    }
}

static void checksum_again(unsigned char *bytes, size_t length)
{
    u32_put(bytes, hash_crc32c(0, bytes + 4, length - 4));
}

static void hostile_bytes(void **state)
{
    (void)state;
    struct random random;
    struct error error = {0};
    size_t count;
    random_init(&random, 4, 0);
    for (int round = 0; round < WATCHED_OR(6000, 60000); round++) {
        size_t length = 5 + random_below(&random, 120);
        if (round % 3 != 0) { /* a true chunk with a few bytes changed, else noise */
            size_t points_count = 1 + random_below(&random, 60);
            unsigned shape = (unsigned)random_below(&random, 8);
            for (size_t i = 0; i < points_count; i++) {
                points[i] = (struct point){(int64_t)(i * i) * 1000, next_value(&random, 1, shape)};
            }
            length = chunk_encode(points, points_count, blob, sizeof blob);
            for (uint64_t n = random_below(&random, 4); n > 0; n--) {
                blob[4 + random_below(&random, length - 4)] = (unsigned char)random_next(&random);
            }
            length -= random_below(&random, 3) == 0 ? random_below(&random, length - 4) : 0;
        } else {
            for (size_t i = 0; i < length; i++) {
                blob[i] = (unsigned char)(random_next(&random) >> random_below(&random, 8));
            }
        }
        unsigned char *exact = malloc(length);
        assert_non_null(exact);
        memcpy(exact, blob, length);
        if (round % 7 != 0) {
            checksum_again(exact, length);
        }
        enum status status = chunk_decode(exact, length, decoded, CHUNK_POINTS_MAX, &count, &error);
        assert_true(status == STATUS_CORRUPT || (status == STATUS_OK && count >= 1));
        for (size_t i = 1; i < count; i++) {
            assert_true(decoded[i - 1].time_ms < decoded[i].time_ms);
        }
        free(exact);
    }
    assert_int_equal(chunk_decode(blob, 0, decoded, 1, &count, &error), STATUS_CORRUPT);
    assert_int_equal(chunk_decode(blob, 3, decoded, 1, &count, &error), STATUS_CORRUPT);
}

static void every_flipped_bit_is_noticed(void **state)
{
    (void)state;
    size_t count;
    struct error error = {0};
    for (size_t i = 0; i < 50; i++) {
        points[i] = (struct point){(int64_t)i * 1000, (double)(i % 7) / 10};
    }
    size_t bytes = chunk_encode(points, 50, blob, sizeof blob);
    for (size_t bit = 0; bit < bytes * 8; bit++) {
        blob[bit / 8] ^= (unsigned char)(1 << bit % 8);
        assert_int_equal(chunk_decode(blob, bytes, decoded, 50, &count, &error), STATUS_CORRUPT);
        blob[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regular_decimals_are_small),
        cmocka_unit_test(random_round_trips),
        cmocka_unit_test(extremes_of_time),
        cmocka_unit_test(fitting),
        cmocka_unit_test(hostile_bytes),
        cmocka_unit_test(every_flipped_bit_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
