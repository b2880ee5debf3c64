/* Attention patterns as lists, and when they pay.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/pattern.h"

#include "base/check.h"
#include "base/memory.h"

#include <string.h>

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

static void mark(uint64_t *set, size_t bit)
{
    set[bit / 64] |= (uint64_t)1 << (bit % 64);
}

/* Offsets up to `last`: the dense window, then powers of two from its edge, again at each multiple
 * of the restart length, and the restarts far away. Offset 0 is always there. */
static void mark_offsets(const struct pattern_log_sparse *shape, uint64_t *marked)
{
    size_t length = shape->length;
    size_t edge = shape->window - 1;
    size_t last = shape->last_pair || length < 2 ? length - 1 : length - 2;
    for (size_t o = 0; o <= edge && o <= last; o++) {
        mark(marked, o);
    }
    size_t far = shape->far_restart;
    size_t reach = shape->restart > 0 ? shape->restart : length;
    size_t first = shape->first_step > 0 ? shape->first_step : 1;
    for (size_t start = edge; start <= last && (far == 0 || start <= edge + far); start += reach) {
        for (size_t step = first; step <= reach && start + step <= last; step *= 2) {
            mark(marked, start + step);
        }
    }
    for (size_t step = first; far > 0 && edge + step <= last; step *= 2) {
        mark(marked, edge + step);
    }
    for (size_t start = edge + far; far > 0 && start <= last; start += far) {
        mark(marked, start);
    }
}

/* Hundreds of patterns are tried when a backbone is made, of a few offsets in a long window: so
 * nothing here is done for each step of the window. */
enum status pattern_log_sparse(const struct pattern_log_sparse *shape, struct pattern *out,
                               struct error *error)
{
    CHECK(shape->length > 0 && shape->window > 0);
    *out = (struct pattern){.kind = PATTERN_OFFSETS, .length = shape->length};
    size_t words = shape->length / 64 + 1;
    size_t count = 0;
    uint64_t *marked = mem_zeroed(words, sizeof(uint64_t));
    if (marked != NULL) {
        mark_offsets(shape, marked);
        for (size_t w = 0; w < words; w++) {
            count += (size_t)__builtin_popcountll(marked[w]);
        }
        out->offsets = mem_zeroed(count, sizeof(uint32_t));
    }
    if (out->offsets == NULL) {
        mem_free(marked);
        return error_set(error, STATUS_NO_MEMORY, "could not reserve a pattern of %zu steps",
                         shape->length);
    }
    for (size_t w = 0; w < words; w++) {
        for (uint64_t left = marked[w]; left != 0; left &= left - 1) {
            out->offsets[out->offset_count++] = (uint32_t)(64 * w + (size_t)__builtin_ctzll(left));
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
