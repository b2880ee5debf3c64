/* Hashes: SipHash-2-4 for keys that strangers choose, SHA-256 for files, CRC-32C for rows.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/hash.h"

#include "base/random.h"

#include <pthread.h>
#include <string.h>

static uint64_t process_key[2];
static pthread_once_t process_key_once = PTHREAD_ONCE_INIT;

static void draw_process_key(void)
{
    random_secret(process_key, sizeof(process_key));
}

static inline uint64_t rotate_left_64(uint64_t value, int bits)
{
    return (value << bits) | (value >> (64 - bits));
}

static inline uint32_t rotate_right_32(uint32_t value, int bits)
{
    return (value >> bits) | (value << (32 - bits));
}

static inline uint64_t load_little_64(const unsigned char *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof(value));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

static inline uint32_t load_big_32(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate_left_64(v[1], 13) ^ v[0];
    v[0] = rotate_left_64(v[0], 32);
    v[2] += v[3];
    v[3] = rotate_left_64(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate_left_64(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate_left_64(v[1], 17) ^ v[2];
    v[2] = rotate_left_64(v[2], 32);
}

uint64_t hash_siphash(const uint64_t key[2], const void *bytes, size_t length)
{
    const unsigned char *cursor = bytes;
    uint64_t v[4] = {key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
                     key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
    size_t left = length;
    for (; left >= 8; left -= 8, cursor += 8) {
        uint64_t word = load_little_64(cursor);
        v[3] ^= word;
        sip_round(v);
        sip_round(v);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)length << 56;
    for (size_t i = 0; i < left; i++) {
        last |= (uint64_t)cursor[i] << (8 * i);
    }
    v[3] ^= last;
    sip_round(v);
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xFF;
    for (int i = 0; i < 4; i++) {
        sip_round(v);
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t hash_bytes(const void *bytes, size_t length)
{
    pthread_once(&process_key_once, draw_process_key);
    return hash_siphash(process_key, bytes, length);
}

/* FIPS 180-4, section 4.2.2. */
static const uint32_t sha256_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static void sha256_block(uint32_t state[8], const unsigned char block[64])
{
    uint32_t w[64];
    for (int t = 0; t < 16; t++) {
        w[t] = load_big_32(block + (size_t)t * 4);
    }
    for (int t = 16; t < 64; t++) {
        uint32_t s0 =
            rotate_right_32(w[t - 15], 7) ^ rotate_right_32(w[t - 15], 18) ^ (w[t - 15] >> 3);
        uint32_t s1 =
            rotate_right_32(w[t - 2], 17) ^ rotate_right_32(w[t - 2], 19) ^ (w[t - 2] >> 10);
        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int t = 0; t < 64; t++) {
        uint32_t sum1 = rotate_right_32(e, 6) ^ rotate_right_32(e, 11) ^ rotate_right_32(e, 25);
        uint32_t temp1 = h + sum1 + ((e & f) ^ (~e & g)) + sha256_constants[t] + w[t];
        uint32_t sum0 = rotate_right_32(a, 2) ^ rotate_right_32(a, 13) ^ rotate_right_32(a, 22);
        uint32_t temp2 = sum0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + temp1;
        d = c;
        c = b;
        b = a;
        a = temp1 + temp2;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

void sha256_init(struct sha256 *hash)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(hash->state, start, sizeof(start));
    hash->length = 0;
}

void sha256_add(struct sha256 *hash, const void *bytes, size_t length)
{
    const unsigned char *cursor = bytes;
    size_t filled = (size_t)(hash->length % 64);
    hash->length += length;
    while (length > 0) {
        if (filled == 0 && length >= 64) {
            sha256_block(hash->state, cursor);
            cursor += 64;
            length -= 64;
            continue;
        }
        size_t taken = 64 - filled < length ? 64 - filled : length;
        memcpy(hash->block + filled, cursor, taken);
        cursor += taken;
        length -= taken;
        filled += taken;
        if (filled == 64) {
            sha256_block(hash->state, hash->block);
            filled = 0;
        }
    }
}

void sha256_hex(struct sha256 *hash, char hex[65])
{
    uint64_t bits = hash->length * 8;
    static const unsigned char padding[64] = {0x80};
    size_t filled = (size_t)(hash->length % 64);
    sha256_add(hash, padding, filled < 56 ? 56 - filled : 120 - filled);
    unsigned char size[8];
    for (int i = 0; i < 8; i++) {
        size[i] = (unsigned char)(bits >> (56 - 8 * i));
    }
    sha256_add(hash, size, sizeof(size));
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 64; i++) {
        hex[i] = digits[hash->state[i / 8] >> (28 - 4 * (i % 8)) & 15];
    }
    hex[64] = '\0';
}

bool hash_equal(const void *left, const void *right, size_t length)
{
    const volatile unsigned char *a = left, *b = right;
    unsigned char differs = 0;
    for (size_t i = 0; i < length; i++) {
        differs |= a[i] ^ b[i];
    }
    return differs == 0;
}
