/* Attention patterns: which keys a query sees, as offsets shared by all rows or as a list a row.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A pattern is data, made once when a backbone is created, read only afterwards.
 */
#ifndef MODEL_OPS_PATTERN_H
#define MODEL_OPS_PATTERN_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pattern_kind {
    PATTERN_DENSE,   /* every j <= i */
    PATTERN_FULL,    /* every j, the future too (encoders) */
    PATTERN_OFFSETS, /* j = i - offset where that is >= 0; ascending */
    PATTERN_ROWS,    /* keys[row_start[i] .. row_start[i + 1]), ascending, any of them */
};

struct pattern {
    enum pattern_kind kind;
    size_t length; /* T of the rows; for offsets the longest sequence they were made for */
    uint32_t *offsets;
    size_t offset_count;
    bool both_ways;      /* offsets: j = i + offset too, as far as there are keys; the first is 0 */
    uint32_t *row_start; /* [length + 1] */
    uint32_t *keys;
};

/* Dense or full: nothing to free. */
struct pattern pattern_dense(size_t length);
struct pattern pattern_full(size_t length);

/* Log-sparse in offset form: a dense window {0 .. window-1} and the log steps window-1 + 2^p beyond
 * it. window 1 is the pure log pattern {0, 1, 2, 4, 8 ...}. restart R > 0 repeats the log steps (up
 * to R) from each multiple of R. All below length (the golden files' form leaves out length-1 too,
 * which has only one pair: `last_pair` 0 does that). first_step S > 1 begins the log steps at S
 * instead of 1 (S, 2 S, 4 S ...), because a window reaches what lies between. far_restart F > R is
 * a second level: multiples of R are restarts up to F, beyond it multiples of F are, of one key
 * each, and the log steps from the window run over the whole length. Three layers then write a
 * distance in three digits: window, multiples of R, multiples of F. STATUS_NO_MEMORY. */
struct pattern_log_sparse {
    size_t length, window, restart;
    bool last_pair;
    size_t first_step; /* 0 = 1 */
    size_t far_restart;
};
enum status pattern_log_sparse(const struct pattern_log_sparse *shape, struct pattern *out,
                               struct error *error) MUST_USE;

/* A window in offset form: {0, r, 2 r, ... window r}, those below length; r is its dilation.
 * STATUS_NO_MEMORY. */
struct pattern_window {
    size_t length, window, dilation;
    bool both_ways;
};
enum status pattern_window(const struct pattern_window *shape, struct pattern *out,
                           struct error *error) MUST_USE;

/* Index lists from a mask [length, length] (row = query; not 0 = allowed): any pattern at all. */
enum status pattern_from_mask(const int32_t *mask, size_t length, struct pattern *out,
                              struct error *error) MUST_USE;

void pattern_release(struct pattern *pattern); /* harmless on a zeroed struct */

bool pattern_allows(const struct pattern *pattern, size_t query, size_t key);

/* Allowed pairs in a sequence of `length` (for rows: pattern->length), and the share of the
 * length (length + 1) / 2 causal pairs that the pattern leaves out. */
uint64_t pattern_pairs(const struct pattern *pattern, size_t length);
double pattern_sparse_share(const struct pattern *pattern, size_t length);

#define PATTERN_LAYERS_MAX 64

/* Smallest number of stacked layers after which every cell reaches every earlier cell (exact
 * boolean closure); 0 where none up to `layers_max` (at most PATTERN_LAYERS_MAX) does. Both ways:
 * by the offsets back alone. STATUS_NO_MEMORY, which must not be taken for a pattern that does not
 * close. */
enum status pattern_layers_to_close(const struct pattern *pattern, size_t length, size_t layers_max,
                                    size_t *layers, struct error *error) MUST_USE;

/* Whether attention over `length` steps is faster dense (measured crossover; tests/bench). */
bool pattern_prefers_dense(const struct pattern *pattern, size_t length);

#endif
