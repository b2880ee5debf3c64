/* Every op: its constructor with shapes and formula. One row of op_table each.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Constructors take the tape first, compute at once and return a new tensor in the tape's arena.
 * Shapes are assertions: hyperparameters were checked before. `...` stands for any leading axes.
 * While the tape measures, only shapes are looked at. Arguments that are plain arrays (levels, ids)
 * must live until backward is done. Recipe for a new op: constructor and backward side by side in
 * the family's file, a row in table.c, an example in tests/gradient, a plain loop in
 * tests/reference.
 */
#ifndef MODEL_OPS_OPS_H
#define MODEL_OPS_OPS_H

#include "model/ops/pattern.h"
#include "model/tape/tape.h"

#include <stdint.h>

extern const struct op *const op_table[];
extern const size_t op_count;

/* ---------------------------------------------------------------- arithmetic.c */

/* y = a + b, same shape. */
struct tensor *op_add(struct tape *tape, struct tensor *a, struct tensor *b);

/* y = factor * x. */
struct tensor *op_scale(struct tape *tape, struct tensor *x, real factor);

/* y[..., Q] = x[...] for each of `count` places of a new last axis (x has at most 3 axes): the
 * linear skip is the same for all quantiles. */
struct tensor *op_expand(struct tape *tape, struct tensor *x, size_t count);

/* y[1] = sum_i x_i c_i with a constant of x's shape: a scalar to start backward from anywhere. */
struct tensor *op_inner(struct tape *tape, struct tensor *x, const struct tensor *constant);

/* y[B, H] = sum_n x[B, n, H] w[n, H]: at each place h a mix of N values with weights of its own. */
struct tensor *op_mix(struct tape *tape, struct tensor *x, struct tensor *w);

/* ---------------------------------------------------------------- linear.c */

/* y[..., out] = x[..., in] W^T + b with W [out, in], b [out] or NULL. One product over all rows. */
struct tensor *op_linear(struct tape *tape, struct tensor *x, struct tensor *w, struct tensor *b);

/* y[B, T, out]: y_t = b + sum_j W_j x_(t-(K-1)+j), W [out, K, in], tap K-1 is the current step,
 * zeros before the start. b [out] or NULL. `tail` [B, K-1, in] holds the inputs before x_0 instead
 * of the zeros, or NULL (infer mode only). */
struct tensor *op_causal_conv(struct tape *tape, struct tensor *x, struct tensor *w,
                              struct tensor *b, const struct tensor *tail);

/* ---------------------------------------------------------------- depthwise.c */

/* What both convolutions a channel share. */
struct convolution_place {
    size_t before; /* zeros before the first step: K - 1 is causal, (K - 1) / 2 centred */
    const struct tensor *tail; /* [B, before, C]: inputs before x_0 instead of the zeros, or NULL
                                  (infer mode only) */
};

/* y[B, T, C]: y_(t,c) = b_c + sum_j w_(g(c),j) x_(t-before+j,c), w [G, K] shared by groups of C / G
 * neighbouring channels (G = C: each has its own), zeros outside. b [C] or NULL. */
struct tensor *op_depthwise_conv(struct tape *tape, struct tensor *x, struct tensor *w,
                                 struct tensor *b, struct convolution_place place);

/* The same with weights of its own at every step: w [B, T, G K]. */
struct tensor *op_dynamic_conv(struct tape *tape, struct tensor *x, struct tensor *w, size_t groups,
                               struct convolution_place place);

/* ---------------------------------------------------------------- batch_norm.c */

/* y = (x - mean_c) / sqrt(variance_c + 1e-5) * gain + shift over all rows of x [..., C]. In train
 * mode mean and (biased) variance are those of x itself, gradients flow through both, and the way
 * back adds means, unbiased variances and 1 to the gradient of `statistics` [2 C + 1], a parameter
 * that is a `statistic` (params.h); `frozen` uses what `statistics` holds, as infer mode does. */
struct tensor *op_batch_norm(struct tape *tape, struct tensor *x, struct tensor *gain,
                             struct tensor *shift, struct tensor *statistics, bool frozen);

/* ---------------------------------------------------------------- normalize.c, activation.c */

/* y = (x - mean) / sqrt(var + 1e-5) * gain + shift over the last axis, biased variance. */
struct tensor *op_layer_norm(struct tape *tape, struct tensor *x, struct tensor *gain,
                             struct tensor *shift);

/* Softmax over the last axis. */
struct tensor *op_softmax(struct tape *tape, struct tensor *x);

struct tensor *op_gelu(struct tape *tape, struct tensor *x);       /* the tanh form */
struct tensor *op_gelu_exact(struct tape *tape, struct tensor *x); /* x Phi(x) */
struct tensor *op_relu(struct tape *tape, struct tensor *x);
struct tensor *op_swish(struct tape *tape, struct tensor *x); /* x sigmoid(x) */
struct tensor *op_tanh(struct tape *tape, struct tensor *x);
struct tensor *op_softplus(struct tape *tape, struct tensor *x,
                           real floor); /* log(1 + e^x) + floor */

/* y[..., D] = a sigmoid(b) for x[..., 2 D] = [a, b]. */
struct tensor *op_glu(struct tape *tape, struct tensor *x);

/* Zero with probability `rate`, else x / (1 - rate). x itself where rate is 0 or the mode is infer.
 */
struct tensor *op_dropout(struct tape *tape, struct tensor *x, double rate);

/* ---------------------------------------------------------------- shape.c, embed.c */

/* Same memory, another shape (list of axes ends with 0). No copy, no node. */
struct tensor *op_reshape(struct tape *tape, struct tensor *x, const size_t *shape);

/* y[..., n + m] = [a, b] for a[..., n], b[..., m] with the same leading axes. */
struct tensor *op_concat(struct tape *tape, struct tensor *a, struct tensor *b);

/* y[..., count] = x[..., from .. from + count). */
struct tensor *op_slice(struct tape *tape, struct tensor *x, size_t from, size_t count);

/* y[B, count, D] = x[B, from .. from + count, D). */
struct tensor *op_slice_time(struct tape *tape, struct tensor *x, size_t from, size_t count);

/* y[B, n + m, D] = a[B, n, D], then b[B, m, D]. */
struct tensor *op_concat_time(struct tape *tape, struct tensor *a, struct tensor *b);

/* y[B, T, D] = x[B, T, D] + table[from .. from + T, D] (table [N, D], N >= from + T): positions. */
struct tensor *op_add_table(struct tape *tape, struct tensor *x, struct tensor *table, size_t from);

/* Rows of a sequence that are chosen for each series: row n of series b is positions[b N + n],
 * where valid[b N + n] is not 0 (no position twice in a series). Both arrays live until backward is
 * done. */
struct row_choice {
    const uint32_t *positions;
    const uint8_t *valid;
    size_t count; /* N */
};

/* y[B, N, D] = the chosen rows of x[B, T, D]; zeros where there is none. */
struct tensor *op_take_rows(struct tape *tape, struct tensor *x, const struct row_choice *choice);

/* y[B, T, D] = x[B, T, D] with `rows` [B, N, D] in the chosen places. */
struct tensor *op_put_rows(struct tape *tape, struct tensor *x, struct tensor *rows,
                           const struct row_choice *choice);

/* y[count, D] = table[ids[i], D] (table [N, D]). ids live until backward is done. */
struct tensor *op_embed(struct tape *tape, struct tensor *table, const uint32_t *ids, size_t count);

/* ---------------------------------------------------------------- attention.c, attention_sparse.c
 */

/* Keys and values beside the sequence's own, which queries see too. */
struct attention_beside {
    struct tensor *k, *v;          /* [B, N, H h] each, or [1, N, H h]: the same for every series */
    const struct pattern *pattern; /* PATTERN_OFFSETS, N = T: seen at these distances by all heads;
                                      NULL: every query sees all N */
    const uint8_t *valid;          /* [B, N], 0: this key is seen by nobody; NULL: all are valid */
};

#define ATTENTION_BESIDE_MAX 2

/* What all attention ops share. Head i owns channels i*h .. i*h+h-1. */
struct attention {
    size_t heads;
    real scale;                          /* of the scores; 0 means 1 / sqrt(h) */
    const struct pattern *pattern;       /* who sees whom; lives until backward is done */
    const struct pattern *head_patterns; /* [H] instead of `pattern`: each head its own, all of them
                                            PATTERN_OFFSETS; NULL: all heads share `pattern` */
    struct tensor *bias;      /* [H, offsets] added to the score at the pattern's offset i
                                 (PATTERN_OFFSETS shared by the heads, not both ways), or NULL */
    const uint8_t *key_valid; /* [B, T], 0: this key is seen by nobody; NULL: all are valid. A query
                                 without any key gets zeros. Lives until backward is done. */
    const struct attention_beside *beside; /* [beside_count], copied; one softmax over everything.
                                              Not with PATTERN_ROWS. */
    size_t beside_count;                   /* at most ATTENTION_BESIDE_MAX */
};

/* y[B, T, H h] = softmax(scale q k^T + bias) v per head, over the keys that the pattern allows.
 * qk [B, T, 2 H h]: the queries of all heads, then the keys; v [B, T, H h]. Keeps one log-sum a row
 * and recomputes probabilities on the way back; never a T x T matrix. PATTERN_OFFSETS and
 * PATTERN_ROWS run the sparse kernels; short or nearly full offset patterns take the dense path
 * (pattern_prefers_dense), with the same result up to rounding. */
struct tensor *op_attention(struct tape *tape, struct tensor *qk, struct tensor *v,
                            const struct attention *attention);

/* y[B, N, H h] = softmax(scale q k^T) v per head: queries q[B, N, H h] see all of k, v[B, T, H h].
 * Only heads, scale and key_valid [B, T] are looked at. */
struct tensor *op_attention_across(struct tape *tape, struct tensor *q, struct tensor *k,
                                   struct tensor *v, const struct attention *attention);

/* Keys and values of the steps so far, one ring a series: for decoding step by step. */
struct attention_cache {
    real *keys, *values; /* [B, capacity, H h] */
    size_t batch, capacity;
    size_t length; /* steps seen before this call; may exceed the capacity; the caller counts */
    real *beside_keys, *beside_values; /* [B, beside_capacity, H h]: rings for the one `beside`
                                          with a pattern; not looked at without */
    size_t beside_capacity;
};

/* Infer mode: appends the T new steps of qk, v (and of a `beside` with a pattern) to the cache and
 * attends from them to the cache (as far as the capacity reaches). Equals op_attention on the whole
 * sequence. Not an op: no way back. PATTERN_DENSE (causal) and PATTERN_OFFSETS; the pattern's
 * length does not bound the steps. */
struct tensor *attention_append(struct tape *tape, struct tensor *qk, struct tensor *v,
                                const struct attention *attention, struct attention_cache *cache);

/* ---------------------------------------------------------------- project_time.c,
 * attention_block.c
 */

#define TIME_LEVELS_MAX 20

/* How op_project_time cuts time. Level 0: node n is made of steps n*block .. n*block + block - 1.
 * Level j + 1: node n is made of the summaries of nodes n*group .. n*group + group - 1 of level j.
 */
struct time_summaries {
    size_t counts[TIME_LEVELS_MAX]; /* nodes of each level; none behind the first 0 */
    size_t block, group;
    size_t column;         /* level 0 uses w's columns column .. column + block - 1 */
    size_t channel, width; /* of x: which channels are summarised */
};

size_t time_summaries_nodes(const struct time_summaries *shape); /* of all levels */

/* y[B, nodes*k, width]: each node's k mixes over time of what it is made of, level 0 first. Level
 * 0: y = w x with w [k, N], the levels above: y = up y' with up [k, group*k] (NULL where there are
 * none). Weights with a first axis H more are a head's own: head i has channels i*h .. i*h+h-1. */
struct tensor *op_project_time(struct tape *tape, struct tensor *x, struct tensor *w,
                               struct tensor *up, const struct time_summaries *shape);

/* Who sees whom in op_attention_block. Block b is steps b*block .. b*block + block - 1. A query
 * sees its own block up to itself, with `previous` the whole block before too, and summaries of the
 * blocks before these: with group 0 all of level 0; else the last `group` to 2*group - 1 nodes of a
 * level, and before them the nodes of the next level, so that near history is seen finely, and all
 * of it with a number of summaries that grows as the logarithm of the length. */
struct block_attention {
    size_t heads, width; /* H, H h */
    size_t block;        /* 0: there are no blocks, every query sees all summaries and no step */
    size_t group;
    bool previous;
};

/* Nodes of each level that queries 0 .. length - 1 see, for op_project_time: counts, block and
 * group are filled in. counts[0] is 0 where no block is seen as summary. */
void block_attention_levels(const struct block_attention *attention, size_t length,
                            struct time_summaries *shape);

/* Biases a head: slots of [H, slots]; one a node of level 0 with group 0, else 2*group a level. */
size_t block_attention_slots(const struct block_attention *attention, size_t length);

/* y[B, T, H h]. qk [B, T, H h or 2 H h]: the queries, then (with blocks) the keys; v [B, T, H h],
 * only with blocks. summary_keys, summary_values [B, M, H h] as op_project_time makes them of the
 * counts above (NULL where these are 0), or [B, M, h] for all heads. bias [H, slots] is added to
 * the scores of a node's summaries: slot i of a level is the node i before the last one seen; or
 * NULL. Keeps one log-sum a row and head, and recomputes probabilities on the way back. */
struct block_inputs {
    struct tensor *qk, *v, *summary_keys, *summary_values, *bias;
};
struct tensor *op_attention_block(struct tape *tape, const struct block_inputs *in,
                                  const struct block_attention *attention);

/* The state of decoding: keys and values of the current block and, if seen, the one before, and
 * the summaries of all levels (room for `shape`'s counts) times k. */
struct block_cache {
    real *keys, *values;                 /* [B, block or 2*block, H h] */
    real *summary_keys, *summary_values; /* [B, nodes*k, H h] */
    size_t batch, length;                /* length: steps before this call; the caller counts */
    struct time_summaries shape;
    const struct tensor *w[2], *up[2]; /* that summarise keys, values */
};

/* Infer mode: attends from the T new steps and takes them into the cache; a block that is complete
 * is summarised once. Equals op_attention_block on the whole sequence. */
struct tensor *attention_block_append(struct tape *tape, const struct block_inputs *in,
                                      const struct block_attention *attention,
                                      struct block_cache *cache);

/* ---------------------------------------------------------------- attention_span.c */

/* Attention whose heads see as far as they have learned to (Sukhbaatar et al. 2019). */
struct attention_span {
    size_t heads;
    size_t span;              /* S: keys that a query sees at most */
    real ramp;                /* R > 0: keys over which the soft mask falls from 1 to 0 */
    bool excludes_self;       /* the nearest key is the step before, as in the paper's code; the
                                 first step then sees nothing and gets zeros */
    bool untrimmed;           /* computes keys of weight 0 too, with the same result: to compare */
    struct tensor *spans;     /* z in [0, 1]: [H], or [B, T, H] for a span of each query's own */
    struct tensor *positions; /* [S, h], added to the keys by distance, for all heads; or NULL */
};

/* y[B, T, H h] = sum over e of m(e) exp(s) v / sum of m(e) exp(s) for qk [B, T, 2 H h], v [B, T, H
 * h] as in op_attention; e = 0 .. S-1 counts from the nearest key, m(e) = clamp((R + z S - e) / R,
 * 0, 1), s = q . (k + positions_e) / sqrt(h). Time grows with T (z S + R) of each head: keys beyond
 * are not touched, on neither way. z gets the gradient of the ramp, 0 < m < 1; where no key lies on
 * it that is 0. */
struct tensor *op_attention_span(struct tape *tape, struct tensor *qk, struct tensor *v,
                                 const struct attention_span *attention);

/* Infer mode: as attention_append. The cache holds S keys, one more where self is excluded; each
 * head reads only those within its span. */
struct tensor *attention_span_append(struct tape *tape, struct tensor *qk, struct tensor *v,
                                     const struct attention_span *attention,
                                     struct attention_cache *cache);

/* The spans that the n-th attention_span on the tape was given, for a penalty on them; NULL behind
 * the last. Train mode. */
struct tensor *attention_span_spans(const struct tape *tape, size_t n);

/* ---------------------------------------------------------------- attention_linear.c, head_norm.c
 */

enum feature_map { FEATURES_SOFTMAX, FEATURES_RELU };

/* Attention with a kernel of positive features, phi(q) . phi(k) in place of e^(q . k / sqrt(h)):
 *     softmax: phi(x) = e^(W c x - |c x|^2 / 2) + floor,     relu: phi(x) = max(W c x, 0) + floor
 * (the paper's factor m^-1/2 cancels). Time and memory grow with T, not with its square. */
struct linear_attention {
    size_t heads;
    enum feature_map map;
    const struct tensor *projection; /* W [m, h], a constant for the gradient, shared by the heads;
                                        NULL: no W, m = h (relu only) */
    real scale;                      /* c; 0 means h^(-1/4) */
    bool encoder;                    /* every query sees all keys, the future too */
    /* Added to each feature. With the softmax map a floor other than 0, of either kind, brings the
     * published stabiliser: one maximum over all keys of the window, so nothing is strictly causal
     * any more. Only for comparison with published code. */
    real feature_floor;
    real denominator_floor; /* added to each component of the running sum of keys; with the softmax
                               map in units of m^(-1/2) phi; not for encoders */
};

/* y[B, T, H h]: y_t = sum_s phi(q_t) . phi(k_s) v_s / sum_s phi(q_t) . phi(k_s) per head, over s <=
 * t. qk [B, T, 2 H h]: the queries of all heads, then the keys; v [B, T, H h]. Queries are kept in
 * range by their own maximum, keys by a running one with which the sums are rescaled; gradients
 * stop at both. The sums at the borders of chunks of 64 steps are kept for the way back. */
struct tensor *op_linear_attention(struct tape *tape, struct tensor *qk, struct tensor *v,
                                   const struct linear_attention *attention);

/* Infer mode: the next T steps of each series; `sums` (of this many reals a series, at first set by
 * the reset) moves on. Equals op_linear_attention on the whole sequence; steps have no bound. Not
 * an op: no way back. Causal, and without floors if the map is softmax. */
size_t linear_attention_state_size(const struct linear_attention *attention, size_t width);
void linear_attention_state_reset(const struct linear_attention *attention, size_t width,
                                  size_t batch, real *sums);
struct tensor *linear_attention_append(struct tape *tape, struct tensor *qk, struct tensor *v,
                                       const struct linear_attention *attention, real *sums);

/* y = gain_(g mod G) x / sqrt(mean of x^2 + 1e-6) over each group g of `width` neighbouring values
 * of the last axis; gain [G], the groups of a row are a multiple of G: queries and keys by head. */
struct tensor *op_head_norm(struct tape *tape, struct tensor *x, struct tensor *gain, size_t width);
/* ---------------------------------------------------------------- attention_relative.c */

/* Attention by content and by distance. The T queries are the last of the K = M + T keys (M = K - T
 * cells of memory before them), so query i and key j are D = M + i - j apart. */
struct attention_relative {
    struct tensor *q; /* [B, T, H h] */
    struct tensor *k; /* [B, K, H h], K >= T */
    struct tensor *v; /* [B, K, H h] */
    struct tensor *r; /* [R, H h]: the projected embedding of distance D is row row_zero + D; a
                         distance before the first or behind the last row takes that row, so a
                         short table clamps distances */
    struct tensor *u; /* [H, h] added to queries that meet content */
    struct tensor *w; /* [H, h] added to queries that meet distances */
    size_t heads;
    size_t row_zero;
    real scale;    /* of the scores; 0 means 1 / sqrt(h) */
    bool causal;   /* only D >= 0 */
    size_t window; /* only |D| <= window - 1: every query sees the same number of keys, itself
                      among them; 0 = no bound */
    const uint8_t *key_valid; /* [B, K], 1, or 0: seen by nobody; NULL: all are valid. A query
                                 without any key gets zeros. Lives until backward is done. */
};

/* y[B, T, H h] = softmax(scale ((q_i + u) . k_j + (q_i + w) . r_D)) v per head. Time grows with T
 * min(K, window); keeps one log-sum a row, and no T x K buffer exists. */
struct tensor *op_attention_relative(struct tape *tape, const struct attention_relative *attention);

/* ---------------------------------------------------------------- lsh.c, lsh_cache.c */

/* Hashed attention (Kitaev et al. 2020): queries are their own keys, keys are normalised, and a
 * query sees keys that a random rotation puts into the same bucket. A query never sees itself,
 * unless nothing else is seen; then the output is its value. */
struct lsh {
    size_t heads;
    real scale;     /* of the scores; 0 means 1 / sqrt(h) */
    size_t rounds;  /* of hashing; a key that several rounds find counts several times */
    size_t buckets; /* 1: no hash, all keys are in one bucket; otherwise even */
    /* [h, R, buckets / 2] for all heads or [H, h, R, buckets / 2], R >= rounds; a constant. NULL
     * for one bucket. bucket = arg max of [q rot, -q rot]. */
    const struct tensor *rotations;
    bool rms; /* keys are q / sqrt(mean q^2 + 1e-6); false: q / |q| */

    /* op_lsh_causal: keys are the latest `window` earlier ones of the bucket in each round, and in
     * each round too the latest `local` ones whatever their bucket, none twice in a round. */
    size_t window, local;

    /* op_lsh_chunked: the entries (round, t) sorted by (round, bucket, t), cut into chunks; an
     * entry sees its chunk and the one before, circularly. */
    size_t chunk;
    bool masked; /* no keys later than the query */
    bool within; /* keys of the query's own round and bucket only */
    bool unique; /* scores are less by log(how often the query has the key in all rounds) */
};

/* y[B, T, H h] = softmax(scale q k^T) v over those keys, for qk, v [B, T, H h]. Keeps buckets
 * and one log-sum a row; memory O(T). No gradient through the hash.
 * Causal: the keys of t depend on the tokens up to t only; with one bucket and window >= T it is
 * exact attention with shared queries and keys. */
struct tensor *op_lsh_causal(struct tape *tape, struct tensor *qk, struct tensor *v,
                             const struct lsh *lsh);

/* Keys, values and buckets of the steps so far: for decoding step by step. */
struct lsh_cache {
    size_t batch, capacity;
    size_t length;       /* steps seen before this call; the caller counts */
    real *keys, *values; /* [B, capacity, H h] */
    uint32_t *newest;    /* [B, H, rounds, buckets]: the bucket's newest step + 1; 0 = none */
    uint32_t *earlier;   /* [B, H, rounds, capacity]: the step before in the same bucket + 1 */
};

/* Infer mode: appends the T new steps to the cache (length + T <= capacity) and attends from them.
 * Equals op_lsh_causal on the whole sequence up to rounding. Not an op: no way back. */
struct tensor *lsh_append(struct tape *tape, struct tensor *qk, struct tensor *v,
                          const struct lsh *lsh, const struct lsh_cache *cache);

/* The published form: which keys a query meets depends on the tokens behind it too, even where
 * masked. */
struct tensor *op_lsh_chunked(struct tape *tape, struct tensor *qk, struct tensor *v,
                              const struct lsh *lsh);

/* ---------------------------------------------------------------- loss.c: all give y[1] */

/* factor * sum_i w_i sum_q max(p_q e, (p_q - 1) e), e = target_i - forecast_iq.
 * forecast [n, Q]; target, weight [n] (constants; where the weight is 0 target may be NaN). */
struct tensor *op_pinball(struct tape *tape, struct tensor *forecast, const struct tensor *target,
                          const struct tensor *weight, const real *levels, real factor);

/* factor * sum_i w_i nll_i. output [n, 2] = mu, raw sigma; sigma = softplus(raw) + 0.001. */
struct tensor *op_gaussian_nll(struct tape *tape, struct tensor *output,
                               const struct tensor *target, const struct tensor *weight,
                               real factor);

/* output [n, 3] = mu, raw sigma, raw nu; nu = 2 + softplus(raw). */
struct tensor *op_student_nll(struct tape *tape, struct tensor *output, const struct tensor *target,
                              const struct tensor *weight, real factor);

#endif
