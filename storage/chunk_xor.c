/* XOR coding of doubles, bit by bit.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Bits are filled from the low end of each byte. Per value:
 *     0                                  the same as before
 *     1 0 bits                           the differing bits, in the last window
 *     1 1 leading:6 significant-1:6 bits a new window
 */
#include "storage/chunk_xor.h"

#include <math.h>

struct bit_writer {
    unsigned char *out;
    const unsigned char *end;
    wide_bits pending;
    unsigned filled;
    bool full;
};

static void bits_put(struct bit_writer *writer, uint64_t value, unsigned width)
{
    writer->pending |= (wide_bits)value << writer->filled;
    writer->filled += width;
    while (writer->filled >= 8) {
        if (writer->out == writer->end) {
            writer->full = true;
            writer->filled = 0;
            return;
        }
        *writer->out++ = (unsigned char)writer->pending;
        writer->pending >>= 8;
        writer->filled -= 8;
    }
}

struct bit_reader {
    struct byte_reader *bytes;
    wide_bits pending;
    unsigned filled;
};

static uint64_t bits_next(struct bit_reader *reader, unsigned width)
{
    while (reader->filled < width) {
        reader->pending |= (wide_bits)byte_next(reader->bytes) << reader->filled;
        reader->filled += 8;
    }
    uint64_t mask = width == 64 ? ~UINT64_C(0) : (UINT64_C(1) << width) - 1;
    uint64_t value = (uint64_t)reader->pending & mask;
    reader->pending >>= width;
    reader->filled -= width;
    return value;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    if (isnan(value)) {
        value = (double)NAN; /* one NaN for all: "missing" has no shades */
    }
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

unsigned char *xor_put(const struct point *points, size_t count, unsigned char *out,
                       const unsigned char *end)
{
    struct bit_writer writer = {.out = out, .end = end};
    uint64_t before = 0;
    unsigned leading = 64, trailing = 0; /* no window yet: nothing fits into one of 0 bits */
    for (size_t i = 0; i < count && !writer.full; i++) {
        uint64_t bits = bits_of(points[i].value);
        uint64_t differing = bits ^ before;
        before = bits;
        if (differing == 0) {
            bits_put(&writer, 0, 1);
            continue;
        }
        unsigned lead = (unsigned)__builtin_clzll(differing);
        unsigned trail = (unsigned)__builtin_ctzll(differing);
        unsigned significant = 64 - lead - trail;
        if (lead >= leading && trail >= trailing && 64 - leading - trailing < significant + 12) {
            bits_put(&writer, 1, 2);
            bits_put(&writer, differing >> trailing, 64 - leading - trailing);
            continue;
        }
        leading = lead;
        trailing = trail;
        bits_put(&writer, 3, 2);
        bits_put(&writer, leading, 6);
        bits_put(&writer, significant - 1, 6);
        bits_put(&writer, differing >> trailing, significant);
    }
    if (writer.filled > 0 && !writer.full) {
        bits_put(&writer, 0, 8 - writer.filled);
    }
    return writer.full ? NULL : writer.out;
}

bool xor_next(struct byte_reader *bytes, struct point *out, size_t count)
{
    struct bit_reader reader = {.bytes = bytes};
    uint64_t before = 0;
    unsigned trailing = 0, significant = 0;
    for (size_t i = 0; i < count && !bytes->bad; i++) {
        if (bits_next(&reader, 1) != 0) {
            if (bits_next(&reader, 1) != 0) {
                unsigned leading = (unsigned)bits_next(&reader, 6);
                significant = (unsigned)bits_next(&reader, 6) + 1;
                if (leading + significant > 64) {
                    return false;
                }
                trailing = 64 - leading - significant;
            }
            if (significant == 0) {
                return false;
            }
            before ^= bits_next(&reader, significant) << trailing;
        }
        memcpy(&out[i].value, &before, sizeof before);
    }
    return !bytes->bad;
}
