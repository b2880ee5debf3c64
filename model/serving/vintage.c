/* Vintages: an issued forecast and its rivals in a few hundred bytes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Layout: version, then the facts as variable-length numbers and short texts, then up to three
 * forecasts. A forecast is where it begins and the quantum q (floats), then eight columns of whole
 * multiples of q: the median, the mean's distance from it, and the distances from level to level
 * outward (0.3, 0.1, 0.025; 0.7, 0.9, 0.975), which are not negative, so that what is read back is
 * monotone. A column holds differences along the horizon, zigzag, in blocks of 16 with the block's
 * width in bits before it: a band that widens evenly costs next to nothing.
 *
 * Bands are learned from as they are read back, so what came must lie inside of them as often as
 * inside of those that were issued. Each level goes to the nearest multiple, not its distance, so
 * that nothing adds up; the beginning is a multiple of q, so that zero stays zero (nights, closed
 * hours); and what lies less than a quantum beside the median, or at the end of the whole range
 * (where bounds cut), goes to the next multiple outward: a band narrower than the quantum would
 * otherwise come back as a point beside what it held.
 *
 * Rejected: entropy coding (saves a fifth, costs a table), all eleven levels (the four left out are
 * interpolated within a fraction of the quantum for any smooth distribution).
 */
#include "model/forecast.h"
#include "model/order.h"

#include "base/check.h"

#include <math.h>
#include <string.h>

#define VERSION        1
#define BLOCK          16
#define WIDTH_BITS     5
#define UNITS_PER_BAND 64.0
#define UNITS_MAX      1048576.0 /* of the range: a number fits 22 bits with sign and difference */
#define GAPS           6
#define ON_IT          1e-9 /* quanta beside a multiple: levels of zero are kept a little apart */

/* Levels from the median outward, by index: those of the columns. */
static const size_t below_levels[3] = {3, 1, 0};
static const size_t above_levels[3] = {7, 9, 10};

/* ---------------------------------------------------------------- bytes and bits */

struct writer {
    unsigned char *bytes;
    size_t length;
    uint64_t held; /* bits not yet written, lowest first */
    unsigned held_count;
};

struct reader {
    const unsigned char *bytes;
    size_t length, at;
    uint64_t held;
    unsigned held_count;
    bool bad;
};

static void put_byte(struct writer *writer, unsigned byte)
{
    writer->bytes[writer->length++] = (unsigned char)byte;
}

static unsigned take_byte(struct reader *reader)
{
    if (reader->at >= reader->length) {
        reader->bad = true;
        return 0;
    }
    return reader->bytes[reader->at++];
}

static void put_number(struct writer *writer, uint64_t number)
{
    for (; number >= 0x80; number >>= 7) {
        put_byte(writer, (unsigned)(number & 0x7f) | 0x80u);
    }
    put_byte(writer, (unsigned)number);
}

static uint64_t take_number(struct reader *reader)
{
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        unsigned byte = take_byte(reader);
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return number;
        }
    }
    reader->bad = true;
    return 0;
}

static uint64_t zigzag(int64_t value)
{
    return ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0);
}

static int64_t unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

static void put_signed(struct writer *writer, int64_t value)
{
    put_number(writer, zigzag(value));
}

static int64_t take_signed(struct reader *reader)
{
    return unzigzag(take_number(reader));
}

/* A moment as its distance from a later one; no overflow whatever the two are. */
static void put_before(struct writer *writer, int64_t time_ms, int64_t earlier_ms)
{
    put_signed(writer, (int64_t)((uint64_t)time_ms - (uint64_t)earlier_ms));
}

static int64_t take_before(struct reader *reader, int64_t time_ms)
{
    return (int64_t)((uint64_t)time_ms - (uint64_t)take_signed(reader));
}

static void put_text(struct writer *writer, const char *text, size_t capacity)
{
    size_t length = strnlen(text, capacity - 1);
    put_byte(writer, (unsigned)length);
    memcpy(writer->bytes + writer->length, text, length);
    writer->length += length;
}

static void take_text(struct reader *reader, char *text, size_t capacity)
{
    size_t length = take_byte(reader);
    if (length >= capacity || length > reader->length - reader->at) {
        reader->bad = true;
        text[0] = '\0';
        return;
    }
    memcpy(text, reader->bytes + reader->at, length);
    text[length] = '\0';
    reader->at += length;
}

static void put_float(struct writer *writer, float value)
{
    memcpy(writer->bytes + writer->length, &value, sizeof(value));
    writer->length += sizeof(value);
}

static float take_float(struct reader *reader)
{
    float value = 0.0f;
    if (reader->length - reader->at < sizeof(value)) {
        reader->bad = true;
        return value;
    }
    memcpy(&value, reader->bytes + reader->at, sizeof(value));
    reader->at += sizeof(value);
    reader->bad = reader->bad || !isfinite(value);
    return value;
}

static void put_bits(struct writer *writer, uint64_t value, unsigned width)
{
    writer->held |= value << writer->held_count;
    writer->held_count += width;
    while (writer->held_count >= 8) {
        put_byte(writer, (unsigned)(writer->held & 0xff));
        writer->held >>= 8;
        writer->held_count -= 8;
    }
}

static void end_bits(struct writer *writer)
{
    if (writer->held_count > 0) {
        put_byte(writer, (unsigned)(writer->held & 0xff));
    }
    writer->held = 0;
    writer->held_count = 0;
}

static uint64_t take_bits(struct reader *reader, unsigned width)
{
    while (reader->held_count < width) {
        reader->held |= (uint64_t)take_byte(reader) << reader->held_count;
        reader->held_count += 8;
    }
    uint64_t value = reader->held & ((UINT64_C(1) << width) - 1);
    reader->held >>= width;
    reader->held_count -= width;
    return value;
}

static void end_reading_bits(struct reader *reader)
{
    reader->held = 0;
    reader->held_count = 0;
}

/* ---------------------------------------------------------------- columns */

static float level_at(const struct forecast *forecast, size_t level, size_t h)
{
    return forecast->quantiles[level * forecast->horizon + h];
}

/* What the multiples of a forecast are counted from, and the ends of the range of its levels. */
struct lattice {
    double first, quantum;
    float low, high;
};

/* The multiple that a level comes to, `side` -1 below the median and 1 above. */
static int64_t place_of(const struct lattice *lattice, float level, float median, int side)
{
    double place = ((double)level - lattice->first) / lattice->quantum;
    bool near = fabs((double)level - (double)median) < lattice->quantum;
    if (near || level <= lattice->low || level >= lattice->high) {
        return llrint(side < 0 ? floor(place + ON_IT) : ceil(place - ON_IT));
    }
    return llround(place);
}

/* The whole multiple of the quantum in a column at a step. */
static int64_t unit_of(const struct forecast *forecast, size_t column, size_t h,
                       const struct lattice *lattice)
{
    float median = level_at(forecast, QUANTILE_MEDIAN, h);
    int64_t place = llround(((double)median - lattice->first) / lattice->quantum);
    if (column == 0) {
        return place;
    }
    if (column == 1) {
        return llround(((double)forecast->mean[h] - lattice->first) / lattice->quantum) - place;
    }
    const size_t *levels = column < 5 ? below_levels : above_levels;
    int side = column < 5 ? -1 : 1;
    int64_t gap = 0;
    for (size_t at = 0; at <= (column - 2) % 3; at++) {
        int64_t outer = place_of(lattice, level_at(forecast, levels[at], h), median, side);
        gap = side * (outer - place);
        gap = gap > 0 ? gap : 0;
        place += side * gap;
    }
    return gap;
}

static unsigned bits_of(uint64_t value)
{
    return value == 0 ? 0 : 64u - (unsigned)__builtin_clzll(value);
}

static void put_column(struct writer *writer, const struct forecast *forecast, size_t column,
                       const struct lattice *lattice)
{
    int64_t last = 0;
    for (size_t from = 0; from < forecast->horizon; from += BLOCK) {
        uint64_t block[BLOCK], all = 0;
        size_t count = forecast->horizon - from < BLOCK ? forecast->horizon - from : BLOCK;
        for (size_t i = 0; i < count; i++) {
            int64_t unit = unit_of(forecast, column, from + i, lattice);
            block[i] = zigzag(unit - last);
            all |= block[i];
            last = unit;
        }
        unsigned width = bits_of(all);
        CHECK(width < 1u << WIDTH_BITS);
        put_bits(writer, width, WIDTH_BITS);
        for (size_t i = 0; i < count; i++) {
            put_bits(writer, block[i], width);
        }
    }
}

/* Rounded up to four binary digits: all multiples within a range of UNITS_MAX are floats then, so
 * that the reader's sums are exact. */
static double round_up(double quantum)
{
    int exponent = 0;
    double digits = frexp(quantum, &exponent);
    return ldexp(ceil(digits * 16.0), exponent - 4);
}

/* A 64th of the mean 80 % band, but so that the whole range fits, and what is whole stays whole. */
static struct lattice choose_lattice(const struct forecast *forecast)
{
    double band = 0.0, low = HUGE_VAL, high = -HUGE_VAL;
    struct lattice lattice = {.low = INFINITY, .high = -INFINITY};
    bool whole = true;
    for (size_t h = 0; h < forecast->horizon; h++) {
        band += (double)level_at(forecast, QUANTILE_LAST_DECILE, h) -
                (double)level_at(forecast, QUANTILE_FIRST_DECILE, h);
        lattice.low = fminf(lattice.low, level_at(forecast, 0, h));
        lattice.high = fmaxf(lattice.high, level_at(forecast, QUANTILE_COUNT - 1, h));
        low = fmin(low, fmin((double)lattice.low, (double)forecast->mean[h]));
        high = fmax(high, fmax((double)lattice.high, (double)forecast->mean[h]));
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            float value = level_at(forecast, q, h);
            whole = whole && value == rintf(value);
        }
    }
    double least = (high - low) / UNITS_MAX;
    double quantum = fmax(band / (double)forecast->horizon / UNITS_PER_BAND, least);
    if (whole && least < 0.125) {
        quantum = 0.125; /* levels are exact, the mean nearly */
    }
    lattice.quantum = round_up(quantum > 1e-30 ? quantum : 1e-30);
    double first = (double)level_at(forecast, QUANTILE_MEDIAN, 0);
    lattice.first = (double)(float)(rint(first / lattice.quantum) * lattice.quantum);
    return lattice;
}

static void put_forecast(struct writer *writer, const struct forecast *forecast)
{
    put_number(writer, forecast->horizon);
    if (forecast->horizon == 0) {
        return;
    }
    struct lattice lattice = choose_lattice(forecast);
    put_float(writer, (float)lattice.first);
    put_float(writer, (float)lattice.quantum);
    for (size_t column = 0; column < 2 + GAPS; column++) {
        put_column(writer, forecast, column, &lattice);
    }
    end_bits(writer);
}

/* Levels that were left out lie between their neighbours as normal scores do. */
static void interpolate(struct forecast *forecast, size_t h)
{
    static const size_t missing[] = {2, 4, 6, 8};
    for (size_t i = 0; i < ARRAY_COUNT(missing); i++) {
        size_t q = missing[i];
        double low = order_probit(quantile_levels[q - 1]);
        double high = order_probit(quantile_levels[q + 1]);
        double share = (order_probit(quantile_levels[q]) - low) / (high - low);
        double from = (double)level_at(forecast, q - 1, h);
        double to = (double)level_at(forecast, q + 1, h);
        forecast->quantiles[q * forecast->horizon + h] = (float)(from + share * (to - from));
    }
}

static void take_column(struct reader *reader, struct forecast *forecast, size_t column,
                        double first, double quantum)
{
    int64_t unit = 0;
    unsigned width = 0;
    size_t horizon = forecast->horizon;
    for (size_t h = 0; h < horizon && !reader->bad; h++) {
        if (h % BLOCK == 0) {
            width = (unsigned)take_bits(reader, WIDTH_BITS);
        }
        unit += unzigzag(take_bits(reader, width));
        double value = (double)unit * quantum;
        float *quantiles = forecast->quantiles + h;
        if (column == 0) {
            quantiles[QUANTILE_MEDIAN * horizon] = (float)(first + value);
            continue;
        }
        double median = (double)quantiles[QUANTILE_MEDIAN * horizon];
        if (column == 1) {
            forecast->mean[h] = (float)(median + value);
            continue;
        }
        reader->bad = reader->bad || unit < 0;
        const size_t *levels = column < 5 ? below_levels : above_levels;
        size_t at = (column - 2) % 3;
        double inner = at == 0 ? median : (double)quantiles[levels[at - 1] * horizon];
        quantiles[levels[at] * horizon] = (float)(column < 5 ? inner - value : inner + value);
    }
}

static void take_forecast(struct reader *reader, float **room, size_t *room_floats,
                          struct forecast *forecast)
{
    size_t horizon = (size_t)take_number(reader);
    size_t floats = (QUANTILE_COUNT + 1) * horizon;
    *forecast = (struct forecast){0};
    if (reader->bad || horizon == 0) {
        return;
    }
    if (horizon > *room_floats || floats > *room_floats) {
        reader->bad = true;
        return;
    }
    *forecast = (struct forecast){horizon, *room, *room + horizon};
    *room += floats;
    *room_floats -= floats;
    double first = (double)take_float(reader);
    double quantum = (double)take_float(reader);
    reader->bad = reader->bad || quantum <= 0.0; /* or levels would cross */
    for (size_t column = 0; column < 2 + GAPS; column++) {
        take_column(reader, forecast, column, first, quantum);
    }
    end_reading_bits(reader);
    for (size_t h = 0; h < horizon && !reader->bad; h++) {
        interpolate(forecast, h);
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            reader->bad = reader->bad || !isfinite(level_at(forecast, q, h));
        }
        reader->bad = reader->bad || !isfinite(forecast->mean[h]);
    }
}

/* ---------------------------------------------------------------- facts */

#define SHIFT_UNITS 8192.0f

/* A moment before the origin; INT64_MIN where there is none. */
static void put_past(struct writer *writer, int64_t time_ms, int64_t origin_ms)
{
    bool has = time_ms != INT64_MIN;
    put_byte(writer, has);
    put_before(writer, origin_ms, has ? time_ms : origin_ms);
}

static void put_calibration(struct writer *writer, const struct conformal *state, int64_t origin_ms)
{
    put_number(writer, state->horizon);
    if (state->horizon == 0) {
        return;
    }
    for (size_t pair = 0; pair < CONFORMAL_PAIRS; pair++) {
        for (size_t part = 0; part < CONFORMAL_PARTS; part++) {
            put_signed(writer, lrintf(state->shift[pair][part] * SHIFT_UNITS));
        }
    }
    for (size_t part = 0; part < CONFORMAL_PARTS; part++) {
        put_number(writer, state->lessons[part]);
    }
    put_number(writer, state->count);
    put_number(writer, state->inside80);
    put_number(writer, state->inside95);
    put_signed(writer, state->run);
    put_past(writer, state->settled_ms, origin_ms);
    put_past(writer, state->ignore_before_ms, origin_ms);
}

static int64_t take_past(struct reader *reader, int64_t origin_ms)
{
    bool has = take_byte(reader) != 0;
    int64_t time_ms = take_before(reader, origin_ms);
    return has ? time_ms : INT64_MIN;
}

static void take_calibration(struct reader *reader, struct conformal *state, int64_t origin_ms)
{
    size_t horizon = (size_t)take_number(reader);
    if (horizon > UINT16_MAX) {
        reader->bad = true;
        return;
    }
    conformal_init(state, horizon);
    if (horizon == 0) {
        return;
    }
    for (size_t pair = 0; pair < CONFORMAL_PAIRS; pair++) {
        for (size_t part = 0; part < CONFORMAL_PARTS; part++) {
            int64_t units = take_signed(reader);
            reader->bad = reader->bad || units < -65536 || units > 65536;
            state->shift[pair][part] = reader->bad ? 0.0f : (float)units / SHIFT_UNITS;
        }
    }
    for (size_t part = 0; part < CONFORMAL_PARTS; part++) {
        state->lessons[part] = (uint16_t)take_number(reader);
    }
    state->count = (uint32_t)take_number(reader);
    state->inside80 = (uint32_t)take_number(reader);
    state->inside95 = (uint32_t)take_number(reader);
    state->run = (int16_t)take_signed(reader);
    state->settled_ms = take_past(reader, origin_ms);
    state->ignore_before_ms = take_past(reader, origin_ms);
    reader->bad = reader->bad || state->inside80 > state->count || state->inside95 > state->count;
}

static void put_times(struct writer *writer, const struct vintage *vintage)
{
    put_signed(writer, vintage->issued_ms);
    put_before(writer, vintage->issued_ms, vintage->origin_ms);
    put_number(writer, (uint64_t)vintage->step_ms);
    put_signed(writer, vintage->data_age_ms);
    put_byte(writer, vintage->state);
}

static void put_model(struct writer *writer, const struct vintage *vintage)
{
    put_text(writer, vintage->model, sizeof(vintage->model));
    if (vintage->model[0] != '\0') {
        put_before(writer, vintage->issued_ms, vintage->trained_at_ms);
        put_before(writer, vintage->issued_ms, vintage->window_start_ms);
        put_before(writer, vintage->issued_ms, vintage->window_end_ms);
        put_number(writer, vintage->seed);
    }
}

/* ---------------------------------------------------------------- the door */

size_t vintage_encode(const struct vintage *vintage, unsigned char *bytes)
{
    struct writer writer = {.bytes = bytes};
    size_t longest = vintage->served.horizon;
    longest = vintage->baseline.horizon > longest ? vintage->baseline.horizon : longest;
    longest = vintage->rival.horizon > longest ? vintage->rival.horizon : longest;
    put_byte(&writer, VERSION);
    put_times(&writer, vintage);
    put_text(&writer, vintage->served_by, sizeof(vintage->served_by));
    put_text(&writer, vintage->fallback_reason, sizeof(vintage->fallback_reason));
    put_model(&writer, vintage);
    put_text(&writer, vintage->baseline_name, sizeof(vintage->baseline_name));
    put_text(&writer, vintage->rival_model, sizeof(vintage->rival_model));
    put_calibration(&writer, &vintage->calibration, vintage->origin_ms);
    put_forecast(&writer, &vintage->served);
    put_forecast(&writer, &vintage->baseline);
    put_forecast(&writer, &vintage->rival);
    CHECK(writer.length <= VINTAGE_BYTES_MAX(longest));
    return writer.length;
}

enum status vintage_decode(const unsigned char *bytes, size_t length, float *room,
                           size_t room_floats, struct vintage *vintage, struct error *error)
{
    struct reader reader = {.bytes = bytes, .length = length};
    memset(vintage, 0, sizeof(*vintage));
    reader.bad = take_byte(&reader) != VERSION;
    vintage->issued_ms = take_signed(&reader);
    vintage->origin_ms = take_before(&reader, vintage->issued_ms);
    vintage->step_ms = (int64_t)take_number(&reader);
    vintage->data_age_ms = take_signed(&reader);
    vintage->state = take_byte(&reader);
    take_text(&reader, vintage->served_by, sizeof(vintage->served_by));
    take_text(&reader, vintage->fallback_reason, sizeof(vintage->fallback_reason));
    take_text(&reader, vintage->model, sizeof(vintage->model));
    if (vintage->model[0] != '\0') {
        vintage->trained_at_ms = take_before(&reader, vintage->issued_ms);
        vintage->window_start_ms = take_before(&reader, vintage->issued_ms);
        vintage->window_end_ms = take_before(&reader, vintage->issued_ms);
        vintage->seed = take_number(&reader);
    }
    take_text(&reader, vintage->baseline_name, sizeof(vintage->baseline_name));
    take_text(&reader, vintage->rival_model, sizeof(vintage->rival_model));
    take_calibration(&reader, &vintage->calibration, vintage->origin_ms);
    struct forecast *const forecasts[VINTAGE_FORECASTS] = {&vintage->served, &vintage->baseline,
                                                           &vintage->rival};
    for (size_t i = 0; i < VINTAGE_FORECASTS && !reader.bad; i++) {
        take_forecast(&reader, &room, &room_floats, forecasts[i]);
    }
    if (reader.bad || reader.at != length || vintage->step_ms <= 0 ||
        vintage->served.horizon == 0) {
        return error_set(error, STATUS_CORRUPT, "cannot read a vintage: its bytes are damaged");
    }
    return STATUS_OK;
}
