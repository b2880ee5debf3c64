/* gzip, unpacked in pieces under an absolute bound and a bound on the ratio.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_INFLATE_H
#define API_INFLATE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

#define INFLATED_BYTES_MAX (64u << 20)

bool inflate_is_gzip(const char *bytes, size_t length);

/* One or more gzip members; *out is zero-terminated beyond *out_length and freed with mem_free.
 * STATUS_INVALID: bad_gzip. STATUS_TOO_LARGE (body_too_large): more than `maximum` bytes, or above
 * 1 MiB more than 100 times the packed size. */
enum status inflate_gzip(const char *bytes, size_t length, size_t maximum, char **out,
                         size_t *out_length, struct error *error) MUST_USE;

#endif
