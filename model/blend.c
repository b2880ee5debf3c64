/* The blend: which baseline is mixed into a model's forecasts of a series, and how much of it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/blend.h"

#include "base/hash.h"
#include "base/memory.h"
#include "model/features.h"

#include <math.h>
#include <string.h>

#define PART_BITS 16
#define PART_MASK 0xffffu

uint64_t series_key(const char *name, size_t length)
{
    static const uint64_t key[2] = {UINT64_C(0x666f7265636173), UINT64_C(0x74642d6b657931)};
    uint64_t hash = hash_siphash(key, name, length);
    return hash != 0 ? hash : 1;
}

enum status blend_reserve(struct blend *blend, size_t count, struct error *error)
{
    blend->keys = mem_zeroed(count + 1, sizeof(blend->keys[0]));
    blend->shares = mem_zeroed(count + 1, sizeof(blend->shares[0]));
    blend->count = 0;
    if (blend->keys == NULL || blend->shares == NULL) {
        blend_release(blend);
        return error_set(error, STATUS_NO_MEMORY, "could not keep the blend of %zu series", count);
    }
    return STATUS_OK;
}

void blend_release(struct blend *blend)
{
    mem_free(blend->keys);
    mem_free(blend->shares);
    blend->keys = NULL;
    blend->shares = NULL;
    blend->count = 0;
}

/* Place of the first key that is not smaller. */
static size_t place_of(const struct blend *blend, uint64_t key)
{
    size_t low = 0;
    size_t high = blend->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (blend->keys[middle] < key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void blend_add(struct blend *blend, uint64_t key, struct blend_share share)
{
    size_t at = place_of(blend, key);
    if (key == 0 || (at < blend->count && blend->keys[at] == key)) {
        return;
    }
    size_t behind = blend->count - at;
    memmove(blend->keys + at + 1, blend->keys + at, behind * sizeof(blend->keys[0]));
    memmove(blend->shares + at + 1, blend->shares + at, behind * sizeof(blend->shares[0]));
    blend->keys[at] = key;
    blend->shares[at] = share;
    blend->count++;
}

const struct blend_share *blend_of(const struct blend *blend, uint64_t key)
{
    size_t at = place_of(blend, key);
    bool own = key != 0 && at < blend->count && blend->keys[at] == key;
    return own ? &blend->shares[at] : &blend->group;
}

uint32_t blend_longest_season(const struct blend *blend)
{
    uint32_t longest = blend->group.season;
    for (size_t i = 0; i < blend->count; i++) {
        longest = blend->shares[i].season > longest ? blend->shares[i].season : longest;
    }
    return longest;
}

/* ---------------------------------------------------------------- in files */

void blend_write(const struct blend *blend, float *keys, float *numbers)
{
    for (size_t i = 0; i < blend->count; i++) {
        for (size_t part = 0; part < BLEND_KEY_PARTS; part++) {
            uint64_t bits = blend->keys[i] >> (PART_BITS * part) & PART_MASK;
            keys[i * BLEND_KEY_PARTS + part] = (float)bits;
        }
        numbers[i * BLEND_NUMBERS] = (float)blend->shares[i].baseline;
        numbers[i * BLEND_NUMBERS + 1] = (float)blend->shares[i].season;
        numbers[i * BLEND_NUMBERS + 2] = blend->shares[i].share;
    }
}

/* A whole number from 0 to `largest`. */
static bool whole(float value, float largest)
{
    return value >= 0.0f && value <= largest && rintf(value) == value;
}

enum status blend_read(struct blend *blend, size_t count, const float *keys, const float *numbers,
                       struct error *error)
{
    enum status status = blend_reserve(blend, count, error);
    if (status != STATUS_OK) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        const float *number = numbers + i * BLEND_NUMBERS;
        uint64_t key = 0;
        bool good = whole(number[0], (float)(BASELINE_COUNT - 1)) &&
                    whole(number[1], (float)PERIOD_LENGTH_MAX) && number[2] >= 0.0f &&
                    number[2] <= 1.0f;
        for (size_t part = 0; part < BLEND_KEY_PARTS && good; part++) {
            float bits = keys[i * BLEND_KEY_PARTS + part];
            good = whole(bits, (float)PART_MASK);
            key |= good ? (uint64_t)bits << (PART_BITS * part) : 0;
        }
        if (!good) {
            blend_release(blend);
            return error_set(error, STATUS_CORRUPT,
                             "cannot use the model file: the blend of a series is out of bounds");
        }
        blend_add(blend, key,
                  (struct blend_share){(enum baseline)number[0], (uint32_t)number[1], number[2]});
    }
    return STATUS_OK;
}
