/* The value column of a chunk whose values are no short decimals: XOR of neighbouring doubles.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Gorilla (Pelkonen et al. 2015, section 4.1.2): a value that equals the one before is one bit;
 * else only the bits that differ are written, in the window of the last one where that is no
 * dearer.
 */
#ifndef STORAGE_CHUNK_XOR_H
#define STORAGE_CHUNK_XOR_H

#include "base/point.h"
#include "storage/bits.h"

/* Returns the end, NULL where the room is too small. */
unsigned char *xor_put(const struct point *points, size_t count, unsigned char *out,
                       const unsigned char *end);

/* False where the bits make no sense or end too early. */
bool xor_next(struct byte_reader *reader, struct point *out, size_t count);

#endif
