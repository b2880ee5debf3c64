/* Encoding and decoding of chunks: two columns of small integers, or XORed doubles.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The encoder proves its own work: a value becomes an integer only where dividing it back gives the
 * same bits (so -0.0, full-precision noise and huge numbers fall through to XOR). The decoder
 * trusts nothing: counts are bounded first, every read is checked, times must rise, every byte must
 * be used.
 */
#include "storage/chunk.h"

#include "base/check.h"
#include "base/hash.h"
#include "storage/bits.h"
#include "storage/chunk_xor.h"

#include <math.h>

enum {
    CRC_BYTES = 4,
    BLOCK = 32,
    DECIMALS_MAX = 15,
    MODE_HAS_MISSING = 0x40,
    MODE_XOR = 0x80,
    TIMES_RUNS = 0,
    TIMES_PACKED = 1,
};

static const double powers_of_ten[DECIMALS_MAX + 1] = {
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
};

/* ---------------------------------------------------------------- packed blocks */

/* Returns the end of the block. `spare` bytes behind it may be overwritten. */
static unsigned char *block_pack(const uint64_t *values, size_t length, unsigned width,
                                 unsigned char *out, size_t spare)
{
    if (width <= 56 && spare >= 8) { /* whole words, the part behind `filled` is written again */
        uint64_t pending = 0;
        unsigned filled = 0;
        for (size_t i = 0; i < length; i++) {
            pending |= values[i] << filled;
            filled += width;
            uint64_t word = pending;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
            word = __builtin_bswap64(word);
#endif
            memcpy(out, &word, sizeof word);
            out += filled / 8;
            pending >>= filled & ~7u;
            filled &= 7;
        }
        return out + (filled > 0);
    }
    wide_bits pending = 0;
    unsigned filled = 0;
    for (size_t i = 0; i < length; i++) {
        pending |= (wide_bits)values[i] << filled;
        for (filled += width; filled >= 8; filled -= 8) {
            *out++ = (unsigned char)pending;
            pending >>= 8;
        }
    }
    if (filled > 0) {
        *out++ = (unsigned char)pending;
    }
    return out;
}

/* Returns the end, NULL where the room is too small. */
static unsigned char *blocks_put(const uint64_t *values, size_t count, unsigned char *out,
                                 const unsigned char *end)
{
    for (size_t at = 0; at < count; at += BLOCK) {
        size_t length = count - at < BLOCK ? count - at : BLOCK;
        uint64_t all = 0;
        for (size_t i = 0; i < length; i++) {
            all |= values[at + i];
        }
        unsigned width = all == 0 ? 0 : 64 - (unsigned)__builtin_clzll(all);
        size_t bytes = (length * width + 7) / 8;
        if ((size_t)(end - out) < 1 + bytes) {
            return NULL;
        }
        *out++ = (unsigned char)width;
        out = block_pack(values + at, length, width, out, (size_t)(end - out) - bytes);
    }
    return out;
}

static void block_unpack(const unsigned char *packed, unsigned width, uint64_t *values,
                         size_t length)
{
    uint64_t mask = width == 64 ? ~UINT64_C(0) : (UINT64_C(1) << width) - 1;
    size_t bit = 0;
    for (size_t i = 0; i < length; i++, bit += width) {
        uint64_t word;
        memcpy(&word, packed + bit / 8, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
#endif
        unsigned shift = bit % 8;
        word >>= shift;
        if (shift + width > 64) {
            word |= (uint64_t)packed[bit / 8 + 8] << (64 - shift);
        }
        values[i] = word & mask;
    }
}

/* One block from the reader; sets reader->bad where it is cut off. */
static void block_next(struct byte_reader *reader, uint64_t *values, size_t length)
{
    /* Loads of 8 bytes (and one more) may look past the block: a copy keeps them inside. */
    unsigned char copy[BLOCK * 8 + 16];
    unsigned width = byte_next(reader);
    size_t bytes = (length * width + 7) / 8;
    size_t left = (size_t)(reader->end - reader->cursor);
    if (width > 64 || bytes > left) {
        reader->bad = true;
        memset(values, 0, length * sizeof *values);
        return;
    }
    if (left >= bytes + 9) {
        block_unpack(reader->cursor, width, values, length);
    } else {
        memcpy(copy, reader->cursor, bytes);
        memset(copy + bytes, 0, 16);
        block_unpack(copy, width, values, length);
    }
    reader->cursor += bytes;
}

/* ---------------------------------------------------------------- times */

static unsigned char *times_put(const struct point *points, size_t count, uint64_t *scratch,
                                unsigned char *out, const unsigned char *end)
{
    size_t gaps = count - 1;
    size_t runs = 0;
    uint64_t smallest = UINT64_MAX;
    for (size_t i = 0; i < gaps; i++) {
        scratch[i] = (uint64_t)points[i + 1].time_ms - (uint64_t)points[i].time_ms;
        runs += i == 0 || scratch[i] != scratch[i - 1];
        smallest = scratch[i] < smallest ? scratch[i] : smallest;
    }
    if (end - out < 1 + VARINT_MAX) {
        return NULL;
    }
    if (runs * 4 <= gaps + 4) {
        *out++ = TIMES_RUNS;
        for (size_t i = 0; i < gaps;) {
            size_t length = 1;
            while (i + length < gaps && scratch[i + length] == scratch[i]) {
                length++;
            }
            if (end - out < 2 * VARINT_MAX) {
                return NULL;
            }
            out = varint_put(out, scratch[i]);
            out = varint_put(out, length);
            i += length;
        }
        return out;
    }
    *out++ = TIMES_PACKED;
    out = varint_put(out, smallest);
    for (size_t i = 0; i < gaps; i++) {
        scratch[i] -= smallest;
    }
    return blocks_put(scratch, gaps, out, end);
}

/* Adds `gap` to *time; false where it is zero or leaves the 64 bits. */
static bool time_step(int64_t *time, uint64_t gap)
{
    uint64_t room = (uint64_t)INT64_MAX - (uint64_t)*time;
    if (gap == 0 || gap > room) {
        return false;
    }
    *time = (int64_t)((uint64_t)*time + gap);
    return true;
}

static bool times_next(struct byte_reader *reader, int64_t first, struct point *out, size_t count)
{
    int64_t time = first;
    out[0].time_ms = first;
    unsigned mode = byte_next(reader);
    if (mode == TIMES_RUNS) {
        for (size_t i = 1; i < count;) {
            uint64_t gap = varint_next(reader);
            uint64_t length = varint_next(reader);
            if (reader->bad || length == 0 || length > count - i) {
                return false;
            }
            for (uint64_t k = 0; k < length; k++) {
                if (!time_step(&time, gap)) {
                    return false;
                }
                out[i++].time_ms = time;
            }
        }
        return !reader->bad;
    }
    if (mode != TIMES_PACKED) {
        return false;
    }
    uint64_t smallest = varint_next(reader);
    for (size_t i = 1; i < count;) {
        uint64_t gaps[BLOCK];
        size_t length = count - i < BLOCK ? count - i : BLOCK;
        block_next(reader, gaps, length);
        for (size_t k = 0; k < length; k++) {
            uint64_t gap = smallest + gaps[k];
            if (gap < smallest || !time_step(&time, gap)) {
                return false;
            }
            out[i++].time_ms = time;
        }
    }
    return !reader->bad;
}

/* ---------------------------------------------------------------- values as decimals */

/* The integer of a value under a scale, if dividing it back gives the same bits. */
static inline bool decimal_of(double value, double scale, int64_t *integer)
{
    double scaled = value * scale;
    if (!(fabs(scaled) < 9007199254740992.0)) { /* 2^53 */
        return false;
    }
    *integer = llrint(scaled);
    double back = (double)*integer / scale;
    uint64_t bits, bits_back;
    memcpy(&bits, &value, sizeof bits);
    memcpy(&bits_back, &back, sizeof bits_back);
    return bits == bits_back;
}

/* Fewest decimals that hold every finite value; -1 where there are none such. Fills the integers of
 * the finite values and counts them. */
static int decimals_find(const struct point *points, size_t count, int64_t *integers,
                         size_t *finite)
{
    int decimals = 0;
again:
    *finite = 0;
    for (size_t i = 0; i < count; i++) {
        double value = points[i].value;
        if (isnan(value)) {
            continue;
        }
        if (decimal_of(value, powers_of_ten[decimals], &integers[*finite])) {
            ++*finite;
            continue;
        }
        do {
            if (++decimals > DECIMALS_MAX) {
                return -1;
            }
        } while (!decimal_of(value, powers_of_ten[decimals], &integers[*finite]));
        if (*finite > 0) {
            goto again; /* the earlier ones need the new scale; at most DECIMALS_MAX times */
        }
        ++*finite;
    }
    return decimals;
}

/* Lengths of alternating stretches, finite first. */
static unsigned char *missing_put(const struct point *points, size_t count, unsigned char *out,
                                  const unsigned char *end)
{
    bool missing = false;
    for (size_t i = 0; i < count; missing = !missing) {
        size_t length = 0;
        while (i + length < count && (bool)isnan(points[i + length].value) == missing) {
            length++;
        }
        if (end - out < VARINT_MAX) {
            return NULL;
        }
        out = varint_put(out, length);
        i += length;
    }
    return out;
}

static unsigned char *values_put(const struct point *points, size_t count, uint64_t *scratch,
                                 unsigned char *out, const unsigned char *end)
{
    int64_t integers[CHUNK_POINTS_MAX];
    size_t finite;
    int decimals = decimals_find(points, count, integers, &finite);
    if (end - out < 1 + VARINT_MAX) {
        return NULL;
    }
    if (decimals < 0) {
        *out++ = MODE_XOR;
        return xor_put(points, count, out, end);
    }
    *out++ = (unsigned char)(decimals | (finite < count ? MODE_HAS_MISSING : 0));
    if (finite < count) {
        out = missing_put(points, count, out, end);
    }
    if (out == NULL || finite == 0) {
        return out;
    }
    if (end - out < VARINT_MAX) {
        return NULL;
    }
    out = varint_put(out, zigzag(integers[0]));
    for (size_t i = 1; i < finite; i++) {
        scratch[i - 1] = zigzag(integers[i] - integers[i - 1]); /* below 2^54: no overflow */
    }
    return blocks_put(scratch, finite - 1, out, end);
}

/* Puts NaN where values are missing and 0 elsewhere; returns how many are finite, or SIZE_MAX. */
static size_t missing_next(struct byte_reader *reader, struct point *out, size_t count)
{
    bool missing = false;
    size_t finite = 0;
    for (size_t i = 0; i < count; missing = !missing) {
        uint64_t length = varint_next(reader);
        if (reader->bad || length > count - i || (length == 0 && i > 0)) {
            return SIZE_MAX;
        }
        finite += missing ? 0 : (size_t)length;
        for (uint64_t k = 0; k < length; k++) {
            out[i++].value = missing ? (double)NAN : 0.0;
        }
    }
    return finite;
}

static bool decimals_next(struct byte_reader *reader, unsigned mode, struct point *out,
                          size_t count)
{
    bool has_missing = (mode & MODE_HAS_MISSING) != 0;
    unsigned decimals = mode & ~(unsigned)MODE_HAS_MISSING;
    if (decimals > DECIMALS_MAX) {
        return false;
    }
    size_t finite = has_missing ? missing_next(reader, out, count) : count;
    if (finite == SIZE_MAX) {
        return false;
    }
    double scale = powers_of_ten[decimals];
    size_t to = 0;
    uint64_t integer = 0;
    for (size_t i = 0; i < finite;) {
        uint64_t steps[BLOCK];
        size_t length = 1;
        if (i == 0) {
            steps[0] = varint_next(reader);
        } else {
            length = finite - i < BLOCK ? finite - i : BLOCK;
            block_next(reader, steps, length);
        }
        i += length;
        for (size_t k = 0; k < length; k++, to++) {
            while (has_missing && isnan(out[to].value)) {
                to++;
            }
            integer += (uint64_t)unzigzag(steps[k]); /* unsigned: hostile sums wrap, no more */
            out[to].value = (double)(int64_t)integer / scale;
        }
    }
    return !reader->bad;
}

/* ---------------------------------------------------------------- whole chunks */

size_t chunk_encode(const struct point *points, size_t count, unsigned char *out, size_t capacity)
{
    CHECK(count >= 1 && count <= CHUNK_POINTS_MAX);
    uint64_t scratch[CHUNK_POINTS_MAX];
    if (capacity < CRC_BYTES + 3 * VARINT_MAX) {
        return 0;
    }
    const unsigned char *end = out + capacity;
    unsigned char *at = out + CRC_BYTES;
    at = varint_put(at, count);
    at = varint_put(at, zigzag(points[0].time_ms));
    at = varint_put(at, (uint64_t)points[count - 1].time_ms - (uint64_t)points[0].time_ms);
    at = times_put(points, count, scratch, at, end);
    if (at != NULL) {
        at = values_put(points, count, scratch, at, end);
    }
    if (at == NULL) {
        return 0;
    }
    u32_put(out, hash_crc32c(0, out + CRC_BYTES, (size_t)(at - out) - CRC_BYTES));
    return (size_t)(at - out);
}

/* How many of the points a chunk of `capacity` bytes will about hold: block by block for decimals.
 */
static size_t fit_estimate(const struct point *points, size_t count, size_t capacity)
{
    enum { HEAD = 40 }; /* header and a regular time column */
    int64_t integers[CHUNK_POINTS_MAX];
    size_t finite, used = HEAD;
    if (decimals_find(points, count, integers, &finite) < 0) {
        return count < capacity / 8 ? count : capacity / 8;
    }
    if (finite < count) {
        return count < capacity ? count : capacity;
    }
    for (size_t at = 0; at + 1 < count; at += BLOCK) {
        uint64_t all = 0;
        size_t length = count - 1 - at < BLOCK ? count - 1 - at : BLOCK;
        for (size_t i = 0; i < length; i++) {
            all |= zigzag(integers[at + i + 1] - integers[at + i]);
        }
        unsigned width = all == 0 ? 0 : 64 - (unsigned)__builtin_clzll(all);
        size_t bytes = 1 + (length * width + 7) / 8;
        if (used + bytes > capacity) { /* part of this block, where it pays */
            size_t part = capacity > used + 1 ? (capacity - used - 1) * 8 / width : 0;
            return at + 1 + (part < length ? part : length);
        }
        used += bytes;
    }
    return count;
}

size_t chunk_fit(const struct point *points, size_t count, unsigned char *out, size_t capacity,
                 size_t *bytes)
{
    /* The estimate is nearly always right at once for regular decimals. Otherwise bisect between
     * what fits and what does not, by the rate seen so far, until the chunk is 96 % full. */
    count = count < CHUNK_POINTS_MAX ? count : CHUNK_POINTS_MAX;
    size_t fits = 0, fails = count + 1, encoded = 0;
    size_t attempt = fit_estimate(points, count, capacity);
    attempt = attempt < 1 ? 1 : attempt;
    while (fails - fits > 1) {
        size_t used = chunk_encode(points, attempt, out, capacity);
        encoded = attempt;
        if (used > 0) {
            fits = attempt;
            *bytes = used;
            if (used * 100 >= capacity * 96 || fails - fits <= 1 + fits / 64) {
                break;
            }
            attempt = fits * (capacity - 24) / used; /* aim at full */
        } else {
            fails = attempt;
            attempt = fits + (fails - fits) * 15 / 16;
        }
        attempt = attempt >= fails ? fails - 1 : attempt;
        attempt = attempt <= fits ? fits + 1 : attempt;
    }
    if (encoded != fits) {
        CHECK(fits > 0);
        *bytes = chunk_encode(points, fits, out, capacity);
    }
    return fits;
}

size_t chunk_count(const unsigned char *bytes, size_t length)
{
    if (length < CRC_BYTES) {
        return 0;
    }
    struct byte_reader reader = {.cursor = bytes + CRC_BYTES, .end = bytes + length};
    uint64_t count = varint_next(&reader);
    return reader.bad || count > CHUNK_POINTS_MAX ? 0 : (size_t)count;
}

enum status chunk_decode(const unsigned char *bytes, size_t length, struct point *out,
                         size_t maximum, size_t *count, struct error *error)
{
    *count = 0;
    if (length < CRC_BYTES ||
        u32_load(bytes) != hash_crc32c(0, bytes + CRC_BYTES, length - CRC_BYTES)) {
        return error_set(error, STATUS_CORRUPT, "checksum of a chunk is wrong");
    }
    struct byte_reader reader = {.cursor = bytes + CRC_BYTES, .end = bytes + length};
    uint64_t claimed = varint_next(&reader);
    int64_t first = unzigzag(varint_next(&reader));
    uint64_t span = varint_next(&reader);
    if (reader.bad || claimed == 0 || claimed > CHUNK_POINTS_MAX || claimed > maximum) {
        return error_set(error, STATUS_CORRUPT, "header of a chunk is wrong");
    }
    size_t points = (size_t)claimed;
    bool good = times_next(&reader, first, out, points) &&
                (uint64_t)out[points - 1].time_ms - (uint64_t)first == span;
    if (good) {
        unsigned mode = byte_next(&reader);
        good = mode == MODE_XOR ? xor_next(&reader, out, points)
                                : decimals_next(&reader, mode, out, points);
    }
    if (!good || reader.bad || reader.cursor != reader.end) {
        return error_set(error, STATUS_CORRUPT, "columns of a chunk are wrong");
    }
    *count = points;
    return STATUS_OK;
}
