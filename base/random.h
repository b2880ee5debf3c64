/* Seeded random generator (xoshiro256++): every stream has an owner and a seed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Same seed, same numbers on every machine. Not for secrets.
 */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random {
    uint64_t state[4];
};

/* `stream` separates independent users of one seed (layer, lane, shard, step ...). */
void random_init(struct random *random, uint64_t seed, uint64_t stream);
uint64_t random_next(struct random *random);
double random_uniform(struct random *random);                   /* [0, 1) */
double random_normal(struct random *random);                    /* mean 0, variance 1 */
uint64_t random_below(struct random *random, uint64_t bound);   /* 0 .. bound-1, unbiased */

/* Bytes from the operating system, for keys and secrets; aborts where there are none. */
void random_secret(void *bytes, size_t length);

#endif
