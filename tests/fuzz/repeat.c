/* The system's random bytes for harnesses: the same in each run, so that a seed has one history.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Keys of hashes decide which names collide in a cache, hence what a fuzzer counts as new. This
 * stands before the C library's getrandom, which random_secret calls.
 */
#include "base/random.h"

#include <sys/random.h>
#include <sys/types.h>

ssize_t getrandom(void *bytes, size_t length, unsigned flags)
{
    static struct random drawn;
    unsigned char *out = bytes;
    (void)flags;
    if (drawn.state[0] == 0) {
        random_init(&drawn, 1, 0);
    }
    for (size_t i = 0; i < length; i++) {
        out[i] = (unsigned char)random_next(&drawn);
    }
    return (ssize_t)length;
}
