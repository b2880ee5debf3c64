/* Fuzzes vintages, the forecasts as they were issued: damaged bytes, and any forecast.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses: bytes behind the version; bytes as they are; or a forecast, of a power
 * of two and whole multiples of it.
 *
 * Oracles: what is decoded is finite and monotone and encodes to a vintage of the same facts and,
 * within what the quantum allows, the same forecasts; so does any forecast.
 */
#include "model/forecast.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HORIZON_MAX 64
#define VALUE_MAX   1e38f /* beyond it a value less another is not finite */
#define STEP_BYTES  (2 * (QUANTILE_COUNT + 1))

static float level_at(const struct forecast *forecast, size_t q, size_t h)
{
    return forecast->quantiles[q * forecast->horizon + h];
}

/* Whether it is small enough to be encoded; it has to be finite and monotone in any case. */
static bool check_forecast(const struct forecast *forecast)
{
    float largest = 0.0f;
    for (size_t h = 0; h < forecast->horizon; h++) {
        if (!isfinite(forecast->mean[h])) {
            abort();
        }
        largest = fmaxf(largest, fabsf(forecast->mean[h]));
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            float value = level_at(forecast, q, h);
            if (!isfinite(value) || (q > 0 && value < level_at(forecast, q - 1, h))) {
                abort();
            }
            largest = fmaxf(largest, fabsf(value));
        }
    }
    return largest <= VALUE_MAX;
}

/* Each number goes to a multiple of the quantum beside it: so two quanta are enough, though the
 * quantum is rounded up by an eighth at most, and the rounding of each sum to a float. The quantum
 * is a 64th of the mean 80 % band, or what 20 bits need for the range, or an eighth of whole
 * levels. */
static double tolerance_of(const struct forecast *forecast)
{
    double low = HUGE_VAL, high = -HUGE_VAL, band = 0.0;
    bool whole = true;
    for (size_t h = 0; h < forecast->horizon; h++) {
        double mean = (double)forecast->mean[h];
        low = fmin(low, fmin(mean, (double)level_at(forecast, 0, h)));
        high = fmax(high, fmax(mean, (double)level_at(forecast, QUANTILE_COUNT - 1, h)));
        band += (double)level_at(forecast, QUANTILE_LAST_DECILE, h) -
                (double)level_at(forecast, QUANTILE_FIRST_DECILE, h);
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            whole = whole && fmodf(level_at(forecast, q, h), 1.0f) == 0.0f;
        }
    }
    double quantum = fmax(band / (double)forecast->horizon / 64.0, (high - low) / 1048576.0);
    quantum = whole ? fmax(quantum, 0.125) : quantum;
    double largest = fmax(fabs(low), fabs(high));
    return 2.0 * quantum * (1.0 + (double)FLT_EPSILON) + 4.0 * (double)FLT_EPSILON * largest +
           4e-30;
}

/* Levels that are not kept lie between their neighbours wherever those are. */
static void compare(const struct forecast *forecast, const struct forecast *again, bool all)
{
    if (again->horizon != forecast->horizon) {
        abort();
    }
    double tolerance = forecast->horizon > 0 ? tolerance_of(forecast) : 0.0;
    for (size_t h = 0; h < forecast->horizon; h++) {
        if (fabs((double)again->mean[h] - (double)forecast->mean[h]) > tolerance) {
            abort();
        }
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            bool kept = all || !(q == 2 || q == 4 || q == 6 || q == 8);
            if (kept && fabs((double)level_at(again, q, h) - (double)level_at(forecast, q, h)) >
                            tolerance) {
                abort();
            }
        }
    }
}

static bool same_calibration(const struct conformal *one, const struct conformal *other)
{
    return one->horizon == other->horizon &&
           memcmp(one->lessons, other->lessons, sizeof(one->lessons)) == 0 &&
           memcmp(one->shift, other->shift, sizeof(one->shift)) == 0 &&
           one->count == other->count && one->inside80 == other->inside80 &&
           one->inside95 == other->inside95 && one->settled_ms == other->settled_ms &&
           one->ignore_before_ms == other->ignore_before_ms && one->run == other->run;
}

static bool same_facts(const struct vintage *one, const struct vintage *other)
{
    return one->issued_ms == other->issued_ms && one->origin_ms == other->origin_ms &&
           one->step_ms == other->step_ms && one->data_age_ms == other->data_age_ms &&
           one->state == other->state && strcmp(one->served_by, other->served_by) == 0 &&
           strcmp(one->fallback_reason, other->fallback_reason) == 0 &&
           strcmp(one->model, other->model) == 0 && one->trained_at_ms == other->trained_at_ms &&
           one->window_start_ms == other->window_start_ms &&
           one->window_end_ms == other->window_end_ms && one->seed == other->seed &&
           strcmp(one->baseline_name, other->baseline_name) == 0 &&
           strcmp(one->rival_model, other->rival_model) == 0 &&
           same_calibration(&one->calibration, &other->calibration);
}

/* `all`: the levels between are those of a vintage, too. */
static void encode_again(const struct vintage *vintage, bool all)
{
    static unsigned char bytes[VINTAGE_BYTES_MAX(HORIZON_MAX)];
    static float room[VINTAGE_FLOATS(HORIZON_MAX)];
    struct vintage again;
    struct error error = {0};
    size_t length = vintage_encode(vintage, bytes);
    if (vintage_decode(bytes, length, room, VINTAGE_FLOATS(HORIZON_MAX), &again, &error) !=
            STATUS_OK ||
        !same_facts(vintage, &again)) {
        abort();
    }
    compare(&vintage->served, &again.served, all);
    compare(&vintage->baseline, &again.baseline, all);
    compare(&vintage->rival, &again.rival, all);
    if (vintage_decode(bytes, length - 1, room, VINTAGE_FLOATS(HORIZON_MAX), &again, &error) !=
        STATUS_CORRUPT) {
        abort();
    }
}

static void decode(const unsigned char *bytes, size_t length)
{
    static float room[VINTAGE_FLOATS(HORIZON_MAX)];
    struct vintage vintage;
    struct error error = {0};
    if (vintage_decode(bytes, length, room, VINTAGE_FLOATS(HORIZON_MAX), &vintage, &error) !=
        STATUS_OK) {
        if (error.status != STATUS_CORRUPT) {
            abort();
        }
        return;
    }
    bool small = check_forecast(&vintage.served);
    small = check_forecast(&vintage.baseline) && small;
    small = check_forecast(&vintage.rival) && small;
    size_t longest = vintage.served.horizon > vintage.baseline.horizon ? vintage.served.horizon
                                                                       : vintage.baseline.horizon;
    longest = longest > vintage.rival.horizon ? longest : vintage.rival.horizon;
    if (small && longest <= HORIZON_MAX) {
        encode_again(&vintage, true);
    }
}

static int ascending(const void *one, const void *other)
{
    const float *a = one, *b = other;
    return (*a > *b) - (*a < *b);
}

static void encode(const unsigned char *bytes, size_t length)
{
    static float mean[HORIZON_MAX], quantiles[HORIZON_MAX * QUANTILE_COUNT];
    float unit = length > 0 ? ldexpf(1.0f, (int)bytes[0] - 128) : 0.0f;
    size_t horizon = length > 0 ? (length - 1) / STEP_BYTES : 0;
    horizon = horizon > HORIZON_MAX ? HORIZON_MAX : horizon;
    for (size_t h = 0; h < horizon; h++) {
        float values[QUANTILE_COUNT + 1];
        for (size_t i = 0; i <= QUANTILE_COUNT; i++) {
            int16_t number;
            memcpy(&number, bytes + 1 + h * STEP_BYTES + 2 * i, sizeof(number));
            values[i] = fminf(fmaxf((float)number * unit, -VALUE_MAX), VALUE_MAX);
        }
        mean[h] = values[QUANTILE_COUNT];
        qsort(values, QUANTILE_COUNT, sizeof(float), ascending);
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            quantiles[q * horizon + h] = values[q];
        }
    }
    struct vintage vintage = {.issued_ms = INT64_C(1795354740000),
                              .step_ms = 1,
                              .model = "1h-7",
                              .served = {horizon, mean, quantiles},
                              .rival = {horizon, mean, quantiles}};
    conformal_init(&vintage.calibration, horizon);
    if (horizon > 0) {
        encode_again(&vintage, false);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > VINTAGE_BYTES_MAX(HORIZON_MAX)) {
        return 0;
    }
    unsigned char *bytes = malloc(size); /* exactly as many as there are */
    if (bytes == NULL) {
        abort();
    }
    memcpy(bytes, data, size);
    switch (data[0] % 3) {
    case 0:
        bytes[0] = 1; /* the version */
        decode(bytes, size);
        break;
    case 1:
        decode(bytes + 1, size - 1);
        break;
    default:
        encode(bytes + 1, size - 1);
    }
    free(bytes);
    return 0;
}
