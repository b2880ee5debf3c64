/* snappy's block format, unpacked under a bound that is checked before anything is allocated.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_SNAPPY_BLOCK_H
#define API_SNAPPY_BLOCK_H

#include "base/status.h"

#include <stddef.h>

/* *out is freed with mem_free, on failure it is NULL. STATUS_INVALID: bad_snappy, also where the
 * length that the block states is more than its bytes could hold. STATUS_TOO_LARGE
 * (body_too_large): it states more than `maximum`. */
enum status snappy_block_unpack(const char *bytes, size_t length, size_t maximum, char **out,
                                size_t *out_length, struct error *error) MUST_USE;

#endif
