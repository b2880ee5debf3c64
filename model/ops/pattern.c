/* Attention patterns as lists, their reach, and when they pay.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/pattern.h"

#include "base/check.h"
#include "base/memory.h"

#include <string.h>

/* More layers than this are never stacked. */

/* The dense kernel is faster while it has fewer than this many times the pairs: bench_model finds
 * the sparse one 1.3 times faster at 2.1 times the pairs (96 steps), 1.8 times at 3.5 (192 steps).
 */
#define DENSE_ADVANTAGE 1.7

struct pattern pattern_dense(size_t length)
{
    return (struct pattern){.kind = PATTERN_DENSE, .length = length};
}

struct pattern pattern_full(size_t length)
{
    return (struct pattern){.kind = PATTERN_FULL, .length = length};
}

enum status pattern_log_sparse(const struct pattern_log_sparse *shape, struct pattern *out,
                               struct error *error)
{
    CHECK(shape->length > 0 && shape->window > 0);
    *out = (struct pattern){.kind = PATTERN_OFFSETS, .length = shape->length};
    size_t length = shape->length;
    unsigned char *marked = mem_zeroed(length, 1);
    out->offsets = mem_zeroed(length, sizeof(uint32_t));
    if (marked == NULL || out->offsets == NULL) {
        mem_free(marked);
        pattern_release(out);
        return error_set(error, STATUS_NO_MEMORY, "could not reserve a pattern of %zu offsets",
                         length);
    }
    /* Offsets up to `last`: the dense window, then powers of two from its edge, again at each
     * multiple of the restart length, and the restarts far away. Offset 0 is always there. */
    size_t edge = shape->window - 1;
    size_t last = shape->last_pair || length < 2 ? length - 1 : length - 2;
    for (size_t o = 0; o <= edge && o <= last; o++) {
        marked[o] = 1;
    }
    size_t far = shape->far_restart;
    size_t reach = shape->restart > 0 ? shape->restart : length;
    size_t first = shape->first_step > 0 ? shape->first_step : 1;
    for (size_t start = edge; start <= last && (far == 0 || start <= edge + far); start += reach) {
        for (size_t step = first; step <= reach && start + step <= last; step *= 2) {
            marked[start + step] = 1;
        }
    }
    for (size_t step = first; far > 0 && edge + step <= last; step *= 2) {
        marked[edge + step] = 1;
    }
    for (size_t start = edge + far; far > 0 && start <= last; start += far) {
        marked[start] = 1;
    }
    for (size_t o = 0; o < length; o++) {
        if (marked[o] != 0) {
            out->offsets[out->offset_count++] = (uint32_t)o;
        }
    }
    mem_free(marked);
    return STATUS_OK;
}

enum status pattern_window(const struct pattern_window *shape, struct pattern *out,
                           struct error *error)
{
    CHECK(shape->length > 0 && shape->dilation > 0);
    size_t most = (shape->length - 1) / shape->dilation;
    size_t count = (shape->window < most ? shape->window : most) + 1;
    *out = (struct pattern){
        .kind = PATTERN_OFFSETS, .length = shape->length, .both_ways = shape->both_ways};
    out->offsets = mem_zeroed(count, sizeof(uint32_t));
    if (out->offsets == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not reserve a window of %zu offsets",
                         count);
    }
    for (; out->offset_count < count; out->offset_count++) {
        out->offsets[out->offset_count] = (uint32_t)(out->offset_count * shape->dilation);
    }
    return STATUS_OK;
}

enum status pattern_from_mask(const int32_t *mask, size_t length, struct pattern *out,
                              struct error *error)
{
    *out = (struct pattern){.kind = PATTERN_ROWS, .length = length};
    size_t pairs = 0;
    for (size_t i = 0; i < length * length; i++) {
        pairs += mask[i] != 0;
    }
    out->row_start = mem_zeroed(length + 1, sizeof(uint32_t));
    out->keys = mem_zeroed(pairs + 1, sizeof(uint32_t));
    if (out->row_start == NULL || out->keys == NULL) {
        pattern_release(out);
        return error_set(error, STATUS_NO_MEMORY, "could not reserve a pattern of %zu pairs",
                         pairs);
    }
    uint32_t count = 0;
    for (size_t i = 0; i < length; i++) {
        for (size_t j = 0; j < length; j++) {
            if (mask[i * length + j] != 0) {
                out->keys[count++] = (uint32_t)j;
            }
        }
        out->row_start[i + 1] = count;
    }
    return STATUS_OK;
}

void pattern_release(struct pattern *pattern)
{
    mem_free(pattern->offsets);
    mem_free(pattern->row_start);
    mem_free(pattern->keys);
    *pattern = (struct pattern){0};
}

static bool holds(const uint32_t *sorted, size_t count, size_t wanted)
{
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (sorted[middle] < wanted) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < count && sorted[low] == wanted;
}

bool pattern_allows(const struct pattern *pattern, size_t query, size_t key)
{
    switch (pattern->kind) {
    case PATTERN_DENSE:
        return key <= query;
    case PATTERN_FULL:
        return true;
    case PATTERN_OFFSETS:
        return (key <= query || pattern->both_ways) &&
               holds(pattern->offsets, pattern->offset_count,
                     key <= query ? query - key : key - query);
    case PATTERN_ROWS:
        return holds(pattern->keys + pattern->row_start[query],
                     pattern->row_start[query + 1] - pattern->row_start[query], key);
    }
    return false;
}

uint64_t pattern_pairs(const struct pattern *pattern, size_t length)
{
    uint64_t pairs = 0;
    switch (pattern->kind) {
    case PATTERN_DENSE:
        return (uint64_t)length * (length + 1) / 2;
    case PATTERN_FULL:
        return (uint64_t)length * length;
    case PATTERN_OFFSETS:
        for (size_t o = 0; o < pattern->offset_count && pattern->offsets[o] < length; o++) {
            bool twice = pattern->both_ways && pattern->offsets[o] != 0;
            pairs += (twice ? 2 : 1) * (uint64_t)(length - pattern->offsets[o]);
        }
        return pairs;
    case PATTERN_ROWS:
        return pattern->row_start[pattern->length];
    }
    return pairs;
}

double pattern_sparse_share(const struct pattern *pattern, size_t length)
{
    double all = (double)length * ((double)length + 1) / 2;
    double left_out = 1 - (double)pattern_pairs(pattern, length) / all;
    return left_out > 0 ? left_out : 0;
}

/* to |= from moved up by `shift` bits; both have `words` words. */
static void or_moved(uint64_t *restrict to, const uint64_t *restrict from, size_t words,
                     size_t shift)
{
    size_t whole = shift / 64;
    size_t bits = shift % 64;
    if (bits == 0) {
        for (size_t w = whole; w < words; w++) {
            to[w] |= from[w - whole];
        }
        return;
    }
    to[whole] |= from[0] << bits;
    for (size_t w = whole + 1; w < words; w++) {
        to[w] |= from[w - whole] << bits | from[w - whole - 1] >> (64 - bits);
    }
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

/* Offsets are the same in every row, so what a cell reaches is a set of distances (bits): after n
 * layers the sums of n offsets. The cells between are never before the start, because steps only go
 * back to it. */
static enum status offsets_to_close(const struct pattern *pattern, size_t length, size_t layers_max,
                                    size_t *layers)
{
    size_t words = length / 64 + 1;
    uint64_t *reach = mem_zeroed(2 * words, sizeof(uint64_t));
    if (reach == NULL) {
        return STATUS_NO_MEMORY;
    }
    uint64_t *before = reach + words;
    size_t tried = 0;
    for (reach[0] = 1; tried < layers_max && !all_set(reach, length); tried++) {
        memcpy(before, reach, words * sizeof(uint64_t));
        for (size_t o = 0; o < pattern->offset_count && pattern->offsets[o] < length; o++) {
            or_moved(reach, before, words, pattern->offsets[o]);
        }
    }
    *layers = all_set(reach, length) ? tried : 0;
    mem_free(reach);
    return STATUS_OK;
}

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

bool pattern_prefers_dense(const struct pattern *pattern, size_t length)
{
    if (pattern->kind != PATTERN_OFFSETS) {
        return pattern->kind != PATTERN_ROWS;
    }
    if (pattern->both_ways) {
        return false;
    }
    double dense_pairs = (double)length * ((double)length + 1) / 2;
    return dense_pairs < DENSE_ADVANTAGE * (double)pattern_pairs(pattern, length);
}
