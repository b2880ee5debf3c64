/* The blend: which baselines are mixed into a model's forecasts of a series, and how much of each.
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
#define SUM_SLACK 1e-5 /* shares are floats */

uint64_t series_key(const char *name, size_t length)
{
    static const uint64_t key[2] = {UINT64_C(0x666f7265636173), UINT64_C(0x74642d6b657931)};
    uint64_t hash = hash_siphash(key, name, length);
    return hash != 0 ? hash : 1;
}

enum status blend_reserve(struct blend *blend, size_t count, struct error *error)
{
    blend->keys = mem_zeroed(count + 1, sizeof(blend->keys[0]));
    blend->mixtures = mem_zeroed(count + 1, sizeof(blend->mixtures[0]));
    blend->count = 0;
    if (blend->keys == NULL || blend->mixtures == NULL) {
        blend_release(blend);
        return error_set(error, STATUS_NO_MEMORY, "could not keep the blend of %zu series", count);
    }
    return STATUS_OK;
}

void blend_release(struct blend *blend)
{
    mem_free(blend->keys);
    mem_free(blend->mixtures);
    blend->keys = NULL;
    blend->mixtures = NULL;
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

void blend_add(struct blend *blend, uint64_t key, const struct blend_mixture *mixture)
{
    size_t at = place_of(blend, key);
    if (key == 0 || (at < blend->count && blend->keys[at] == key)) {
        return;
    }
    size_t behind = blend->count - at;
    memmove(blend->keys + at + 1, blend->keys + at, behind * sizeof(blend->keys[0]));
    memmove(blend->mixtures + at + 1, blend->mixtures + at, behind * sizeof(blend->mixtures[0]));
    blend->keys[at] = key;
    blend->mixtures[at] = *mixture;
    blend->count++;
}

bool blend_has(const struct blend *blend, uint64_t key)
{
    size_t at = place_of(blend, key);
    return key != 0 && at < blend->count && blend->keys[at] == key;
}

const struct blend_mixture *blend_of(const struct blend *blend, uint64_t key)
{
    return blend_has(blend, key) ? &blend->mixtures[place_of(blend, key)] : &blend->group;
}

float blend_baselines(const struct blend_mixture *mixture)
{
    float sum = 0.0f;
    for (size_t i = 0; i < BLEND_PARTS; i++) {
        sum += mixture->parts[i].share;
    }
    return fminf(sum, 1.0f);
}

static uint32_t longest_of(const struct blend_mixture *mixture)
{
    uint32_t longest = 0;
    for (size_t i = 0; i < BLEND_PARTS; i++) {
        longest = mixture->parts[i].season > longest ? mixture->parts[i].season : longest;
    }
    return longest;
}

uint32_t blend_longest_season(const struct blend *blend)
{
    uint32_t longest = longest_of(&blend->group);
    for (size_t i = 0; i < blend->count; i++) {
        uint32_t season = longest_of(&blend->mixtures[i]);
        longest = season > longest ? season : longest;
    }
    return longest;
}

/* ---------------------------------------------------------------- in files */

void blend_write_mixture(const struct blend_mixture *mixture, float *numbers)
{
    for (size_t i = 0; i < BLEND_PARTS; i++) {
        numbers[i * BLEND_NUMBERS] = (float)mixture->parts[i].baseline;
        numbers[i * BLEND_NUMBERS + 1] = (float)mixture->parts[i].season;
        numbers[i * BLEND_NUMBERS + 2] = mixture->parts[i].share;
    }
}

void blend_write(const struct blend *blend, float *keys, float *numbers)
{
    for (size_t i = 0; i < blend->count; i++) {
        for (size_t part = 0; part < BLEND_KEY_PARTS; part++) {
            uint64_t bits = blend->keys[i] >> (PART_BITS * part) & PART_MASK;
            keys[i * BLEND_KEY_PARTS + part] = (float)bits;
        }
        blend_write_mixture(&blend->mixtures[i], numbers + i * BLEND_PARTS * BLEND_NUMBERS);
    }
}

/* A whole number from 0 to `largest`. */
static bool whole(float value, float largest)
{
    return value >= 0.0f && value <= largest && rintf(value) == value;
}

bool blend_read_mixture(const float *numbers, size_t parts, struct blend_mixture *mixture)
{
    double sum = 0.0;
    *mixture = (struct blend_mixture){0};
    for (size_t i = 0; i < parts; i++) {
        const float *number = numbers + i * BLEND_NUMBERS;
        if (!whole(number[0], (float)(BASELINE_COUNT - 1)) ||
            !whole(number[1], (float)PERIOD_LENGTH_MAX) || !(number[2] >= 0.0f)) {
            return false;
        }
        mixture->parts[i] =
            (struct blend_part){(enum baseline)number[0], (uint32_t)number[1], number[2]};
        sum += (double)number[2];
    }
    return sum <= 1.0 + SUM_SLACK;
}

static bool read_key(const float *keys, uint64_t *key)
{
    *key = 0;
    for (size_t part = 0; part < BLEND_KEY_PARTS; part++) {
        if (!whole(keys[part], (float)PART_MASK)) {
            return false;
        }
        *key |= (uint64_t)keys[part] << (PART_BITS * part);
    }
    return true;
}

enum status blend_read(struct blend *blend, const struct blend_tensors *from, struct error *error)
{
    enum status status = blend_reserve(blend, from->count, error);
    if (status != STATUS_OK) {
        return status;
    }
    size_t stride = from->parts * BLEND_NUMBERS;
    bool good = true;
    for (size_t i = 0; i < from->count && good; i++) {
        struct blend_mixture mixture;
        uint64_t key;
        good = blend_read_mixture(from->numbers + i * stride, from->parts, &mixture) &&
               read_key(from->keys + i * BLEND_KEY_PARTS, &key);
        if (good) {
            blend_add(blend, key, &mixture);
        }
    }
    if (!good) {
        blend_release(blend);
        return error_set(error, STATUS_CORRUPT,
                         "cannot use the model file: the blend of a series is out of bounds");
    }
    return STATUS_OK;
}
