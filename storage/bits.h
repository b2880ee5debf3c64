/* Little-endian loads, varints and zigzag for the store's own formats; every read is bounded.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A reader that runs past its end sets `bad` and yields zeros from then on, so that decoders may
 * check once at the end of a step instead of after each number.
 */
#ifndef STORAGE_BITS_H
#define STORAGE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VARINT_MAX 10 /* bytes of the longest varint */

__extension__ typedef unsigned __int128 wide_bits; /* a bit buffer that holds 64 bits and a rest */

static inline uint64_t zigzag(int64_t value)
{
    return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
}

static inline int64_t unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

/* The caller guarantees VARINT_MAX bytes of room; returns the end. */
static inline unsigned char *varint_put(unsigned char *out, uint64_t value)
{
    while (value >= 0x80) {
        *out++ = (unsigned char)(value | 0x80);
        value >>= 7;
    }
    *out++ = (unsigned char)value;
    return out;
}

static inline unsigned char *u32_put(unsigned char *out, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        out[i] = (unsigned char)(value >> (8 * i));
    }
    return out + 4;
}

static inline uint32_t u32_load(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static inline unsigned char *double_put(unsigned char *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    bits = __builtin_bswap64(bits);
#endif
    memcpy(out, &bits, sizeof bits);
    return out + sizeof bits;
}

struct byte_reader {
    const unsigned char *cursor;
    const unsigned char *end;
    bool bad;
};

static inline uint64_t varint_next(struct byte_reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (reader->cursor == reader->end) {
            break;
        }
        unsigned char byte = *reader->cursor++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    reader->bad = true;
    return 0;
}

static inline unsigned char byte_next(struct byte_reader *reader)
{
    if (reader->cursor == reader->end) {
        reader->bad = true;
        return 0;
    }
    return *reader->cursor++;
}

static inline double double_next(struct byte_reader *reader)
{
    uint64_t bits = 0;
    double value;
    if ((size_t)(reader->end - reader->cursor) < sizeof bits) {
        reader->bad = true;
        reader->cursor = reader->end;
    } else {
        memcpy(&bits, reader->cursor, sizeof bits);
        reader->cursor += sizeof bits;
    }
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    bits = __builtin_bswap64(bits);
#endif
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
