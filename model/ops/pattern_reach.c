/* How many layers of a pattern reach everything: exact closure over bit sets.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Offsets are the same in every row, so what a cell reaches is a set of distances: after n layers
 * the sums of n offsets. A layer is the union of the set moved by each offset. A dense window or
 * restarts are thousands of offsets at one distance from each other, and such a progression of
 * n offsets is moved in log2(n) steps, each of which doubles how many are done. So a layer costs
 * about as much as the window is long, and not that times the number of offsets: a model file says
 * in a few words for which window patterns are searched.
 */
#include "model/ops/pattern.h"

#include "base/memory.h"

#include <string.h>

/* ---------------------------------------------------------------- offsets */

/* Offsets first, first + stride ... */
struct progression {
    uint32_t first, stride, count;
};

#define STRIDES_TRIED   16 /* of a progression from one offset: restarts have at most that many */
#define PROGRESSION_MIN 4  /* shorter ones save nothing */

static bool is_set(const uint64_t *set, size_t bit)
{
    return (set[bit / 64] >> (bit % 64) & 1) != 0;
}

static void clear(uint64_t *set, size_t bit)
{
    set[bit / 64] &= ~((uint64_t)1 << (bit % 64));
}

/* The longest progression from offsets[at] among those in `left`; with a stride to one of the next
 * offsets. */
static struct progression longest_from(const uint32_t *offsets, size_t at, size_t count,
                                       const uint64_t *left)
{
    size_t last = offsets[count - 1];
    struct progression best = {.first = offsets[at], .count = 1};
    for (size_t i = at + 1; i < count && i <= at + STRIDES_TRIED; i++) {
        struct progression tried = {offsets[at], offsets[i] - offsets[at], 1};
        for (size_t next = offsets[i]; next <= last && is_set(left, next); next += tried.stride) {
            tried.count++;
        }
        best = tried.count > best.count ? tried : best;
    }
    return best.count >= PROGRESSION_MIN ? best : (struct progression){offsets[at], 0, 1};
}

/* Cuts offsets into progressions, at most as many; `left` is an empty set for them. */
static size_t cut_offsets(const uint32_t *offsets, size_t count, uint64_t *left,
                          struct progression *out)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        left[offsets[i] / 64] |= (uint64_t)1 << (offsets[i] % 64);
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_set(left, offsets[i])) {
            continue;
        }
        struct progression part = longest_from(offsets, i, count, left);
        for (size_t n = 0; n < part.count; n++) {
            clear(left, part.first + n * part.stride);
        }
        out[found++] = part;
    }
    return found;
}

/* to |= from moved up by `shift` bits; both have `words` words, and may be the same. */
static void or_moved(uint64_t *to, const uint64_t *from, size_t words, size_t shift)
{
    size_t whole = shift / 64;
    size_t bits = shift % 64;
    for (size_t w = words; w > whole; w--) {
        uint64_t moved = from[w - 1 - whole] << bits;
        if (bits > 0 && w - 1 > whole) {
            moved |= from[w - 2 - whole] >> (64 - bits);
        }
        to[w - 1] |= moved;
    }
}

/* to |= from moved by each offset of a progression; `moved` is room for a set. */
static void or_progression(uint64_t *to, const uint64_t *from, size_t words,
                           const struct progression *part, uint64_t *moved)
{
    memcpy(moved, from, words * sizeof(uint64_t));
    for (size_t done = 1; done < part->count;) {
        size_t more = done < part->count - done ? done : part->count - done;
        or_moved(moved, moved, words, more * part->stride);
        done += more;
    }
    or_moved(to, moved, words, part->first);
}

/* The first `length` bits are set. */
static bool all_set(const uint64_t *set, size_t length)
{
    size_t w = 0;
    for (; w < length / 64; w++) {
        if (set[w] != UINT64_MAX) {
            return false;
        }
    }
    uint64_t rest = ((uint64_t)1 << (length % 64)) - 1;
    return length % 64 == 0 || (set[w] & rest) == rest;
}

/* The cells between are never before the start, because steps only go back to it. */
static enum status offsets_to_close(const struct pattern *pattern, size_t length, size_t layers_max,
                                    size_t *layers)
{
    size_t words = length / 64 + 1;
    size_t count = 0;
    while (count < pattern->offset_count && pattern->offsets[count] < length) {
        count++;
    }
    uint64_t *reach = mem_zeroed(3 * words, sizeof(uint64_t));
    struct progression *parts = mem_zeroed(count + 1, sizeof(*parts));
    if (reach == NULL || parts == NULL) {
        mem_free(reach);
        mem_free(parts);
        return STATUS_NO_MEMORY;
    }
    uint64_t *before = reach + words;
    uint64_t *moved = before + words;
    size_t part_count = cut_offsets(pattern->offsets, count, moved, parts);
    size_t tried = 0;
    for (reach[0] = 1; tried < layers_max && !all_set(reach, length); tried++) {
        memcpy(before, reach, words * sizeof(uint64_t));
        for (size_t i = 0; i < part_count; i++) {
            or_progression(reach, before, words, &parts[i], moved);
        }
    }
    *layers = all_set(reach, length) ? tried : 0;
    mem_free(reach);
    mem_free(parts);
    return STATUS_OK;
}

/* ---------------------------------------------------------------- rows */

/* reach[i] |= reach[j] for every earlier key j of i, rows (bit sets of `words` words) from the last
 * to the first, so that each pass adds exactly one layer. */
static void add_layer(const struct pattern *pattern, size_t length, size_t words, uint64_t *reach)
{
    for (size_t i = length; i > 0; i--) {
        uint64_t *row = reach + (i - 1) * words;
        for (size_t n = pattern->row_start[i - 1]; n < pattern->row_start[i]; n++) {
            for (size_t w = 0; pattern->keys[n] < i - 1 && w < words; w++) {
                row[w] |= reach[pattern->keys[n] * words + w];
            }
        }
    }
}

/* Bits 0 .. i of every row i are set. */
static bool reaches_all(size_t length, size_t words, const uint64_t *reach)
{
    for (size_t i = 0; i < length; i++) {
        for (size_t j = 0; j <= i; j++) {
            if ((reach[i * words + j / 64] >> (j % 64) & 1) == 0) {
                return false;
            }
        }
    }
    return true;
}

static enum status rows_to_close(const struct pattern *pattern, size_t length, size_t layers_max,
                                 size_t *layers)
{
    size_t words = (length + 63) / 64;
    uint64_t *reach = mem_zeroed(length * words, sizeof(uint64_t));
    if (reach == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (size_t i = 0; i < length; i++) {
        reach[i * words + i / 64] |= (uint64_t)1 << (i % 64);
    }
    size_t tried = 0;
    while (tried < layers_max && !reaches_all(length, words, reach)) {
        add_layer(pattern, length, words, reach);
        tried++;
    }
    *layers = reaches_all(length, words, reach) ? tried : 0;
    mem_free(reach);
    return STATUS_OK;
}

enum status pattern_layers_to_close(const struct pattern *pattern, size_t length, size_t layers_max,
                                    size_t *layers, struct error *error)
{
    *layers = 1;
    if (pattern->kind == PATTERN_DENSE || pattern->kind == PATTERN_FULL || length == 1) {
        return STATUS_OK;
    }
    size_t most = layers_max < PATTERN_LAYERS_MAX ? layers_max : PATTERN_LAYERS_MAX;
    enum status status = pattern->kind == PATTERN_ROWS
                             ? rows_to_close(pattern, length, most, layers)
                             : offsets_to_close(pattern, length, most, layers);
    return status == STATUS_OK ? status
                               : error_set(error, status, "could not follow a pattern's layers");
}
