/* CRC-32C (Castagnoli): by the processor's own instruction where there is one, else by tables.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/hash.h"

#include <pthread.h>
#include <string.h>

#define POLYNOMIAL 0x82F63B78u /* reflected */

/* tables[k][b]: what byte b does to the sum when k more bytes follow it ("slicing by 8"). */
static uint32_t tables[8][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void fill_tables(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        }
        tables[0][b] = crc;
    }
    for (uint32_t b = 0; b < 256; b++) {
        for (int k = 1; k < 8; k++) {
            tables[k][b] = tables[k - 1][b] >> 8 ^ tables[0][tables[k - 1][b] & 0xFF];
        }
    }
}

uint32_t hash_crc32c_portable(uint32_t crc, const void *bytes, size_t length)
{
    pthread_once(&tables_once, fill_tables);
    const unsigned char *cursor = bytes;
    crc = ~crc;
    for (; length >= 8; length -= 8, cursor += 8) {
        /* Byte by byte, hence the same on either byte order. */
        crc = tables[7][(crc ^ cursor[0]) & 0xFF] ^ tables[6][(crc >> 8 ^ cursor[1]) & 0xFF] ^
              tables[5][(crc >> 16 ^ cursor[2]) & 0xFF] ^
              tables[4][(crc >> 24 ^ cursor[3]) & 0xFF] ^ tables[3][cursor[4]] ^
              tables[2][cursor[5]] ^ tables[1][cursor[6]] ^ tables[0][cursor[7]];
    }
    for (; length > 0; length--, cursor++) {
        crc = crc >> 8 ^ tables[0][(crc ^ *cursor) & 0xFF];
    }
    return ~crc;
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t crc32c_hardware(uint32_t crc, const void *bytes,
                                                                  size_t length)
{
    const unsigned char *cursor = bytes;
    uint64_t sum = (uint32_t)~crc;
    for (; length >= 8; length -= 8, cursor += 8) {
        uint64_t word;
        memcpy(&word, cursor, sizeof(word));
        sum = __builtin_ia32_crc32di(sum, word);
    }
    uint32_t rest = (uint32_t)sum;
    for (; length > 0; length--, cursor++) {
        rest = __builtin_ia32_crc32qi(rest, *cursor);
    }
    return ~rest;
}

static int has_hardware(void)
{
    return __builtin_cpu_supports("sse4.2");
}

#elif defined(__aarch64__)

#include <sys/auxv.h>

#define HWCAP_CRC32_BIT (1u << 7) /* asm/hwcap.h */

/* Spelled out, since the intrinsics exist only where the whole file is compiled for them. */
static uint32_t crc32c_hardware(uint32_t crc, const void *bytes, size_t length)
{
    const unsigned char *cursor = bytes;
    crc = ~crc;
    for (; length >= 8; length -= 8, cursor += 8) {
        uint64_t word;
        memcpy(&word, cursor, sizeof(word));
        __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
    }
    for (; length > 0; length--, cursor++) {
        __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1"
                : "+r"(crc)
                : "r"((uint32_t)*cursor));
    }
    return ~crc;
}

static int has_hardware(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32_BIT) != 0;
}

#else

#define crc32c_hardware hash_crc32c_portable

static int has_hardware(void)
{
    return 0;
}

#endif

uint32_t hash_crc32c(uint32_t crc, const void *bytes, size_t length)
{
    return has_hardware() ? crc32c_hardware(crc, bytes, length)
                          : hash_crc32c_portable(crc, bytes, length);
}
