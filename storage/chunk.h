/* A chunk: the points of one series in a span of time, compressed into one small blob.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Pure functions over memory, for the driver, the check and the fuzzer. Lossless for every double,
 * bit by bit, except that any NaN comes back as the one quiet NaN (NaN means "missing").
 *
 * Layout (all integers little-endian or LEB128 varints, "z" = zigzag):
 *     crc32c of everything that follows   4 bytes
 *     count, z first time, last - first   varints
 *     time column    mode byte 0: runs of equal gaps, (gap, length) pairs of varints
 *                    mode byte 1: smallest gap, then packed blocks of (gap - smallest)
 *     value column   mode byte 0..15: that many decimals; values are integers / 10^decimals:
 *                    z first, then packed blocks of z differences. +0x40: lengths of alternating
 *                    finite and missing stretches come first, and only finite values follow.
 *                    mode byte 0x80: XOR of neighbouring doubles (Gorilla, Pelkonen et al. 2015)
 *     packed block   up to 32 integers: one byte of width, then that many bits each
 *
 * Why packed blocks and not varints: the noise of a sensor fills a fixed number of bits, seldom a
 * whole number of sevens; blocks cost 5 to 10 % less and decode without a branch per point.
 */
#ifndef STORAGE_CHUNK_H
#define STORAGE_CHUNK_H

#include "base/point.h"
#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* No chunk holds more points: bounds the memory that decoding can ask for. */
#define CHUNK_POINTS_MAX 4096

/* Enough for CHUNK_POINTS_MAX points of the worst kind. */
#define CHUNK_BYTES_MAX (64 + CHUNK_POINTS_MAX * 20)

/* Encodes all `count` points (1 to CHUNK_POINTS_MAX, times strictly rising) into at most `capacity`
 * bytes; returns the bytes used, 0 where they do not fit. */
size_t chunk_encode(const struct point *points, size_t count, unsigned char *out, size_t capacity);

/* Encodes as many of the first points as fit well into `capacity` bytes; returns how many (at least
 * 1) and their bytes. For cutting a full chunk off a longer run. */
size_t chunk_fit(const struct point *points, size_t count, unsigned char *out, size_t capacity,
                 size_t *bytes);

/* Points in `bytes` as its header claims, 0 where the header is not credible. */
size_t chunk_count(const unsigned char *bytes, size_t length);

/* Decodes into `out`, room for `maximum`. STATUS_CORRUPT where anything does not fit, whatever the
 * bytes are; nothing beyond bytes[length] and out[maximum] is touched. */
enum status chunk_decode(const unsigned char *bytes, size_t length, struct point *out,
                         size_t maximum, size_t *count, struct error *error) MUST_USE;

#endif
