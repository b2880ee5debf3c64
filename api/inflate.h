/* gzip and zstd, unpacked in pieces under an absolute bound and a bound on the ratio.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Both give *out, zero-terminated beyond *out_length and freed with mem_free, or on failure NULL.
 * STATUS_INVALID: bad_gzip, bad_zstd. STATUS_TOO_LARGE (body_too_large): more than `maximum` bytes,
 * or above 1 MiB more than 100 times the packed size.
 */
#ifndef API_INFLATE_H
#define API_INFLATE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

bool inflate_is_gzip(const char *bytes, size_t length);

/* One or more gzip members. */
enum status inflate_gzip(const char *bytes, size_t length, size_t maximum, char **out,
                         size_t *out_length, struct error *error) MUST_USE;

/* One or more zstd frames, their windows up to 8 MiB: what a decoder has to support, and what
 * `zstd -19` makes. A larger one is bad_zstd, because it is memory that a header asks for. */
enum status inflate_zstd(const char *bytes, size_t length, size_t maximum, char **out,
                         size_t *out_length, struct error *error) MUST_USE;

#endif
