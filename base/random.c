/* Seeded random generator: xoshiro256++ (Blackman and Vigna 2021), seeded through splitmix64.
 * SPDX-License-Identifier: Apache-2.0
 *
 * "Same numbers on every machine" is why the normal deviates use a logarithm of our own: libm picks
 * its kernel by CPU, and kernels with fused multiply-add differ in the last bit. Only + - * / and
 * sqrt occur here, which IEEE 754 defines to the bit, and contraction is switched off.
 */
#include "base/random.h"

#include "base/check.h"

#include <errno.h>
#include <math.h>
#include <sys/random.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static uint64_t rotate_left(uint64_t value, int bits)
{
    return (value << bits) | (value >> (64 - bits));
}

/* Natural logarithm of x in (0, 1], good to about one unit in the last place:
 * x = m 2^e with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m-1)/(m+1)) by its series. */
static double portable_log(double x)
{
    int exponent;
    double m = frexp(x, &exponent);
    if (m < 0.70710678118654752440) {
        m *= 2.0;
        exponent--;
    }
    double s = (m - 1.0) / (m + 1.0);
    double square = s * s;
    double sum = 0.0;
    for (int n = 21; n >= 3; n -= 2) {
        sum = (sum + 1.0 / n) * square;
    }
    return (double)exponent * 0.69314718055994530942 + 2.0 * (s + s * sum);
}

void random_init(struct random *random, uint64_t seed, uint64_t stream)
{
    /* Two rounds, so that neither (1, 2) and (2, 1) nor neighbouring streams are related. */
    uint64_t mix = seed;
    uint64_t state = splitmix(&mix) + stream;
    state = splitmix(&state) ^ seed;
    for (int i = 0; i < 4; i++) {
        random->state[i] = splitmix(&state);
    }
}

uint64_t random_next(struct random *random)
{
    uint64_t *s = random->state;
    uint64_t result = rotate_left(s[0] + s[3], 23) + s[0];
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double random_uniform(struct random *random)
{
    return (double)(random_next(random) >> 11) * 0x1p-53;
}

double random_normal(struct random *random)
{
    /* Marsaglia's polar method. The second deviate is dropped: keeping it would be state. */
    double x, square;
    do {
        x = 2.0 * random_uniform(random) - 1.0;
        double y = 2.0 * random_uniform(random) - 1.0;
        square = x * x + y * y;
    } while (square >= 1.0 || square == 0.0);
    return x * sqrt(-2.0 * portable_log(square) / square);
}

uint64_t random_below(struct random *random, uint64_t bound)
{
    /* Lemire 2019: multiply and keep the high half; reject the few low halves that would be biased.
     */
    CHECK(bound > 0);
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)random_next(random) * bound;
    if ((uint64_t)product < bound) {
        uint64_t threshold = (0 - bound) % bound;
        while ((uint64_t)product < threshold) {
            product = (wide)random_next(random) * bound;
        }
    }
    return (uint64_t)(product >> 64);
}

void random_secret(void *bytes, size_t length)
{
    unsigned char *cursor = bytes;
    while (length > 0) {
        ssize_t got = getrandom(cursor, length, 0);
        CHECK(got > 0 || (got < 0 && errno == EINTR));
        if (got > 0) {
            cursor += got;
            length -= (size_t)got;
        }
    }
}
