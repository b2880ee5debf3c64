/* What bands learn from vintages is what they would learn from the forecasts as they were made.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Ninety days of hourly values, a forecast of two days every four hours that knows their
 * distribution, and learning as in service: once from the forecasts themselves, once from what is
 * read back. Values whose bands are narrow for a part of the day, or no bands at all, are where the
 * quantum could make a difference.
 */
#include "model_test.h"

#include "base/random.h"
#include "model/forecast.h"
#include "model/order.h"

#include <string.h>

#define H       48
#define DAYS    90
#define STRIDE  4
#define STEP_MS INT64_C(3600000)
#define KEPT    (H / STRIDE + 1)
#define FIRST   200 /* hour of the first forecast */

/* ---------------------------------------------------------------- kinds of series */

struct kind {
    const char *name;
    double low, high;                               /* bounds */
    void (*law)(long hour, double *at, double *by); /* centre and spread of an hour */
    double whole;                                   /* values are multiples of it; 0: of nothing */
};

static double sun(long hour)
{
    double away = (double)(hour % 24) - 12.0;
    return fabs(away) < 6.0 ? 107.4 * cos(away * M_PI / 12.0) : 0.0;
}

static void solar(long hour, double *at, double *by)
{
    *at = sun(hour);
    *by = 0.2 * *at;
}

/* Clouds take all of it now and then: the lowest levels are zero where the median is not. */
static void cloudy(long hour, double *at, double *by)
{
    *at = sun(hour);
    *by = 0.7 * *at;
}

/* Closed at night, but for what never moves. */
static void closed(long hour, double *at, double *by)
{
    bool open = hour % 24 >= 8 && hour % 24 < 20;
    *at = open ? 61.3 : (double)3.7f;
    *by = open ? 15.0 : 0.0;
}

/* Calm at night: a twentieth of the quantum, and about two of it. */
static void calm(long hour, double *at, double *by)
{
    bool open = hour % 24 >= 8 && hour % 24 < 20;
    *at = open ? 61.3 : 3.7;
    *by = open ? 15.0 : (hour % 24 < 4 ? 0.015 : 0.6);
}

/* A battery that is full half of the day. */
static void full(long hour, double *at, double *by)
{
    double away = fabs((double)(hour % 24) - 12.0);
    *at = away < 6.0 ? 100.0 : 100.0 - 6.1 * (away - 5.0);
    *by = away < 6.0 ? 0.0 : 6.0;
}

static const struct kind kinds[] = {
    {"solar", 0.0, INFINITY, solar, 0.0},   {"cloudy", 0.0, INFINITY, cloudy, 0.0},
    {"closed", 0.0, INFINITY, closed, 0.0}, {"calm", -INFINITY, INFINITY, calm, 0.0},
    {"full", 0.0, 100.0, full, 0.0},        {"counts", 0.0, INFINITY, cloudy, 1.0},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static double bounded(const struct kind *kind, double value)
{
    double inside = fmin(kind->high, fmax(kind->low, value));
    return kind->whole > 0.0 ? rint(inside / kind->whole) * kind->whole : inside;
}

static double draw(const struct kind *kind, struct random *random, long hour)
{
    double at, by;
    kind->law(hour, &at, &by);
    return bounded(kind, at + by * random_normal(random));
}

static void foresee(const struct kind *kind, long origin, struct forecast *forecast)
{
    for (size_t h = 0; h < H; h++) {
        double at, by;
        kind->law(origin + 1 + (long)h, &at, &by);
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            double level = bounded(kind, at + by * order_probit(quantile_levels[q]));
            forecast->quantiles[q * H + h] = (float)level;
        }
        forecast->mean[h] = forecast->quantiles[QUANTILE_MEDIAN * H + h];
    }
}

/* ---------------------------------------------------------------- learning */

struct service {
    const struct kind *kind;
    bool read_back;
    struct conformal state;
    struct vintage kept[KEPT]; /* a ring */
    float rooms[KEPT][VINTAGE_FLOATS(H)];
    double values[DAYS * 24 + H];
    long settled;
    unsigned shifts; /* of the level, that were seen */
};

static void issue(struct service *service, long origin)
{
    static unsigned char bytes[VINTAGE_BYTES_MAX(H)];
    static float arrays[(1 + QUANTILE_COUNT) * H];
    struct model_series bounds = {.minimum = service->kind->low, .maximum = service->kind->high};
    size_t at = (size_t)(origin / STRIDE) % KEPT;
    struct vintage made = {.issued_ms = origin * STEP_MS,
                           .origin_ms = origin * STEP_MS,
                           .step_ms = STEP_MS,
                           .served_by = "truth",
                           .calibration = service->state,
                           .served = {H, arrays, arrays + H}};
    struct error error = {0};
    foresee(service->kind, origin, &made.served);
    conformal_apply(&service->state, &bounds, &made.served);
    if (service->read_back) {
        size_t length = vintage_encode(&made, bytes);
        assert_ok(vintage_decode(bytes, length, service->rooms[at], VINTAGE_FLOATS(H),
                                 &service->kept[at], &error));
    } else {
        memcpy(service->rooms[at], arrays, sizeof(arrays));
        service->kept[at] = made;
        service->kept[at].served = (struct forecast){H, service->rooms[at], service->rooms[at] + H};
    }
}

static void settle(struct service *service, long origin)
{
    struct conformal_lesson lesson = {0};
    for (size_t k = 0; k < KEPT; k++) {
        const struct vintage *vintage = &service->kept[k];
        for (long hour = service->settled + 1; hour <= origin && vintage->step_ms > 0; hour++) {
            long h = hour - (long)(vintage->origin_ms / STEP_MS) - 1;
            if (h >= 0 && h < H) {
                conformal_see(&service->state, &vintage->served, &vintage->calibration, (size_t)h,
                              service->values[hour], &lesson);
            }
        }
    }
    conformal_learn(&service->state, &lesson);
    const struct vintage *newest = &service->kept[(size_t)(service->settled / STRIDE) % KEPT];
    for (long hour = service->settled + 1; hour <= origin && newest->step_ms > 0; hour++) {
        size_t h = (size_t)(hour - service->settled - 1);
        int side = conformal_side(&newest->served, h, service->values[hour]);
        service->shifts += conformal_watch(&service->state, side, origin * STEP_MS, STEP_MS);
    }
    service->settled = origin;
}

static void serve(struct service *service, const struct kind *kind, bool read_back)
{
    struct random random;
    random_init(&random, 1, 1);
    memset(service, 0, sizeof(*service));
    service->kind = kind;
    service->read_back = read_back;
    conformal_init(&service->state, H);
    for (long hour = 0; hour < DAYS * 24; hour++) {
        service->values[hour] = draw(kind, &random, hour);
    }
    service->settled = FIRST - STRIDE;
    for (long origin = FIRST; origin < DAYS * 24; origin += STRIDE) {
        settle(service, origin);
        issue(service, origin);
    }
}

static double share(uint32_t part, uint32_t whole)
{
    return (double)part / (double)whole;
}

static void tell(const char *name, const struct service *service)
{
    const struct conformal *state = &service->state;
    print_message("  %-6s %-9s coverage %.3f %.3f, log width of the 80 %% band %5.2f %5.2f %5.2f, "
                  "of the 95 %% band %5.2f %5.2f %5.2f, level shifts %u\n",
                  name, service->read_back ? "read back" : "as made",
                  share(state->inside80, state->count), share(state->inside95, state->count),
                  (double)state->shift[3][0], (double)state->shift[3][1],
                  (double)state->shift[3][2], (double)state->shift[4][0],
                  (double)state->shift[4][1], (double)state->shift[4][2], service->shifts);
}

/* ---------------------------------------------------------------- tests */

static void bands_learn_the_same_from_what_is_read_back(void **state)
{
    static struct service made, read;
    (void)state;
    unsigned failed = 0;
    for (size_t k = 0; k < KINDS; k++) {
        serve(&made, &kinds[k], false);
        serve(&read, &kinds[k], true);
        tell(kinds[k].name, &made);
        tell(kinds[k].name, &read);
        const struct conformal *a = &made.state, *b = &read.state;
        bool same = read.shifts == made.shifts;
        same = same && fabs(share(a->inside80, a->count) - share(b->inside80, b->count)) < 0.04;
        same = same && fabs(share(a->inside95, a->count) - share(b->inside95, b->count)) < 0.02;
        for (size_t part = 0; part < CONFORMAL_PARTS; part++) {
            same = same && fabsf(a->shift[3][part] - b->shift[3][part]) < 0.2f;
            same = same && fabsf(a->shift[4][part] - b->shift[4][part]) < 0.3f;
        }
        failed += same ? 0 : 1;
    }
    assert_int_equal(failed, 0);
}

/* Read back, a night of zeros is zero to the last bit, and so are bounds that levels stand at. */
static void zero_stays_zero(void **state)
{
    static unsigned char bytes[VINTAGE_BYTES_MAX(H)];
    static float arrays[(1 + QUANTILE_COUNT) * H], room[VINTAGE_FLOATS(H)];
    static const size_t kept[] = {0, 1, 3, 5, 7, 9, 10};
    struct error error = {0};
    struct vintage read;
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        for (long origin = FIRST; origin < FIRST + 24; origin++) {
            struct vintage vintage = {.issued_ms = origin * STEP_MS,
                                      .origin_ms = origin * STEP_MS,
                                      .step_ms = STEP_MS,
                                      .served = {H, arrays, arrays + H}};
            struct model_series bounds = {.minimum = kinds[k].low, .maximum = kinds[k].high};
            foresee(&kinds[k], origin, &vintage.served);
            forecast_finish(&bounds, 0.0, &vintage.served); /* levels are no longer equal */
            size_t length = vintage_encode(&vintage, bytes);
            assert_ok(vintage_decode(bytes, length, room, VINTAGE_FLOATS(H), &read, &error));
            for (size_t h = 0; h < H; h++) {
                for (size_t i = 0; i < 7; i++) {
                    float level = arrays[H + kept[i] * H + h];
                    assert_true(level > 1e-15f || read.served.quantiles[kept[i] * H + h] == 0.0f);
                }
                bool night = arrays[H + (QUANTILE_COUNT - 1) * H + h] < 1e-15f;
                assert_true(!night || read.served.mean[h] == 0.0f);
                assert_true(!night || conformal_side(&read.served, h, 0.0) == 0);
            }
        }
    }
}

/* What never moves, in a forecast whose other hours do, stays within a band. */
static void a_point_stays_inside_of_its_band(void **state)
{
    static unsigned char bytes[VINTAGE_BYTES_MAX(H)];
    static float arrays[(1 + QUANTILE_COUNT) * H], room[VINTAGE_FLOATS(H)];
    struct error error = {0};
    struct vintage read;
    struct random random;
    (void)state;
    random_init(&random, 4, 0);
    for (int trial = 0; trial < 200; trial++) {
        struct vintage vintage = {.step_ms = STEP_MS, .served = {H, arrays, arrays + H}};
        double offset = 1e3 * random_normal(&random), spread = exp(2.0 * random_normal(&random));
        for (size_t h = 0; h < H; h++) {
            double at = offset + 10.0 * spread * random_normal(&random);
            double by = h % 2 == 0 ? 0.0 : spread;
            for (size_t q = 0; q < QUANTILE_COUNT; q++) {
                arrays[H + q * H + h] = (float)(at + by * order_probit(quantile_levels[q]));
            }
            arrays[h] = (float)at;
        }
        size_t length = vintage_encode(&vintage, bytes);
        assert_ok(vintage_decode(bytes, length, room, VINTAGE_FLOATS(H), &read, &error));
        for (size_t h = 0; h < H; h += 2) {
            double value = (double)arrays[h];
            const float *levels = read.served.quantiles + h;
            assert_true((double)levels[1 * H] <= value && value <= (double)levels[9 * H]);
            assert_true((double)(levels[10 * H] - levels[0]) < 0.1 * spread);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bands_learn_the_same_from_what_is_read_back),
        cmocka_unit_test(zero_stays_zero),
        cmocka_unit_test(a_point_stays_inside_of_its_band),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
