/* Hashes: SipHash-2-4 for keys that strangers choose, SHA-256 for files, CRC-32C for rows.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* SipHash-2-4 (Aumasson and Bernstein 2012) under a key drawn at process start. */
uint64_t hash_bytes(const void *bytes, size_t length);

/* The same with a given key, for tests against the published vectors. */
uint64_t hash_siphash(const uint64_t key[2], const void *bytes, size_t length);

struct sha256 {
    uint32_t state[8];
    uint64_t length;
    unsigned char block[64];
};
void sha256_init(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const void *bytes, size_t length);
void sha256_hex(struct sha256 *hash, char hex[65]); /* finishes; the struct is then spent */

/* Whether `length` bytes are the same, in a time that does not depend on where they differ. */
bool hash_equal(const void *left, const void *right, size_t length);

/* CRC-32C (Castagnoli), of chunks and journal rows. Start with 0. */
uint32_t hash_crc32c(uint32_t crc, const void *bytes, size_t length);

/* The same without the processor's instruction, for machines that lack it and for tests. */
uint32_t hash_crc32c_portable(uint32_t crc, const void *bytes, size_t length);

#endif
