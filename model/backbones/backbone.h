/* What a backbone is: X [B, T, D] -> Y [B, T, D], with options, parameters and a state for
 * decoding. SPDX-License-Identifier: Apache-2.0
 *
 * `struct backbone` is the description of one paper's architecture (static, one file each); `struct
 * backbone_model` is one of them with options and patterns fixed for a length. A model is made
 * once, read only afterwards, may be shared by threads, and holds no weights: those are in slabs.
 *
 * Checks everything:
 *     backbone_create("logsparse", "window=16 kernel=3", &shape, &model, &error)
 * Once; keeps the ids:
 *     backbone_declare(model, &params, "backbone")
 * Training, or whole windows:
 *     y = backbone_forward(model, tape, x, NULL)
 * Step by step: backbone_state_bytes, backbone_state_reset, then backbone_forward(..., state) with
 * the first T steps, then with one step (or a few) at a time, in infer mode.
 */
#ifndef MODEL_BACKBONES_BACKBONE_H
#define MODEL_BACKBONES_BACKBONE_H

#include "base/options.h"
#include "base/status.h"
#include "model/ops/ops.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>

/* What the network fixes for the backbone. Fields of 0 leave the choice to the options' presets. */
struct backbone_shape {
    size_t length; /* T at most, tokens in a window: context and horizon */
    size_t season; /* in tokens, 0 = none: lower bound of the automatic restart length */
    size_t ahead;  /* tokens at the end of a window that stand for the horizon, not for values */
};

struct backbone_model;

/* What every state begins with; the backbone's own part follows. backbone_forward keeps it. */
struct backbone_state {
    alignas(64) size_t steps; /* taken so far */
    size_t batch;
};

/* Where training stands. */
struct backbone_moment {
    uint64_t seed, step;
    double progress;
};

struct backbone {
    const char *name;  /* "logsparse" */
    const char *paper; /* "Li et al. 2019, arXiv:1907.00235" */
    const char *help;  /* one sentence */
    const struct option *options;
    size_t option_count;
    size_t options_bytes; /* of the struct that the option table fills */
    bool causal;          /* with its presets; a model says what holds for its options */
    bool streaming;       /* likewise */

    /* Cross-field rules and patterns; *model is freed with release. The options are copied. */
    enum status (*create)(const void *options, const struct backbone_shape *shape,
                          struct backbone_model **model, struct error *error);
    void (*release)(struct backbone_model *model);
    void (*declare)(struct backbone_model *model, struct params *params, const char *prefix);
    struct tensor *(*forward)(const struct backbone_model *model, struct tape *tape,
                              struct tensor *x, struct backbone_state *state);
    /* NULL where no options make it stream. */
    size_t (*state_bytes)(const struct backbone_model *model, size_t batch);

    /* Recurrent backbones: see backbone_recur. NULL elsewhere. */
    size_t (*memory_bytes)(const struct backbone_model *model);
    const real *(*memory_layer)(const struct backbone_model *model, const void *memory, size_t i,
                                size_t *cells);
    struct tensor *(*recur)(const struct backbone_model *model, struct tape *tape, struct tensor *x,
                            void *memory);

    /* Optional, NULL where not needed. */

    /* What of a new state is not zero. */
    void (*state_begin)(const struct backbone_model *model, struct backbone_state *state);

    /* An extra loss term [1], after forward on the same tape; training only. */
    struct tensor *(*penalty)(const struct backbone_model *model, struct tape *tape);
    /* Brings weights back into their bounds after an optimiser step. */
    void (*settle)(const struct backbone_model *model, const struct params *params, real *values);
    /* Draws the fixed parameters (param_spec.fixed) anew where it is time to: always at step 0,
     * before training; then before each step, with the progress of training in [0, 1]. */
    void (*refresh)(const struct backbone_model *model, const struct params *params, real *values,
                    const struct backbone_moment *moment);
    /* What training has made of the model, as members of a JSON object: ,"spans":[...] */
    void (*describe)(const struct backbone_model *model, const struct params *params,
                     const real *values, struct text *json);
};

/* Every backbone's model begins with this. */
struct backbone_model {
    const struct backbone *backbone;
    const void *options; /* as the option table fills them */
    struct backbone_shape shape;
    size_t width; /* D of input and output */
    size_t layers;
    bool causal;         /* outputs before t do not depend on inputs from t on; false: an encoder */
    bool streaming;      /* has a state: one more step without computing all of them again */
    bool recurrent;      /* carries a memory from window to window: trains on contiguous streams */
    size_t memory_steps; /* tokens that the memory holds; 0 = not recurrent */
    size_t state_steps_max; /* steps that a state takes in all: shape.length with learned positions,
                               SIZE_MAX without; 0 = no state */
    size_t window;          /* of the pattern, 0 where it has none: for the model's record */
    char pattern[32];       /* "local_log_restart", for the record */
    double sparse_share;    /* share of causal pairs that the pattern leaves out at shape.length */
};

extern const struct backbone *const backbone_table[];
extern const size_t backbone_table_count;

/* NULL where there is none of that name. */
const struct backbone *backbone_find(const char *name);

/* `options`: "key=value key=value" (blanks or commas between), the rest stays at its preset.
 * STATUS_INVALID: unknown backbone, unknown option, out of bounds, a rule between fields broken
 * (heads that do not divide the width), a pattern that does not reach everything in the given
 * number of layers (the text says how many would). STATUS_NO_MEMORY. */
enum status backbone_create(const char *name, const char *options,
                            const struct backbone_shape *shape, struct backbone_model **model,
                            struct error *error) MUST_USE;
void backbone_release(struct backbone_model *model); /* NULL is fine */

/* The optional parts, which do nothing where the backbone has none; penalty gives NULL then. */
struct tensor *backbone_penalty(const struct backbone_model *model, struct tape *tape);
void backbone_settle(const struct backbone_model *model, const struct params *params, real *values);
void backbone_refresh(const struct backbone_model *model, const struct params *params, real *values,
                      const struct backbone_moment *moment);
void backbone_describe(const struct backbone_model *model, const struct params *params,
                       const real *values, struct text *json);

/* The effective options as "key=value key=value", for the snapshot's record; create reads it back.
 */
void backbone_options_print(const struct backbone_model *model, struct text *out);

/* Adds the parameters as prefix.layer0.attention.qk.weight and so on. Once a model. */
void backbone_declare(struct backbone_model *model, struct params *params, const char *prefix);

/* x [B, T, D] with T <= shape.length -> [B, T, D]. With a state (infer mode, streaming backbones):
 * x are the next T steps of each series, T >= 1, and the state moves on; equals the whole forward
 * up to 1e-5. */
struct tensor *backbone_forward(const struct backbone_model *model, struct tape *tape,
                                struct tensor *x, void *state);

/* The same where the model is recurrent and x is the next window of a stream: what x's tokens see
 * goes on before the window's start, in the memory. `memory` is one of backbone_memory_bytes for
 * each series, one behind the other, 64-byte aligned, the caller's; all zeros = nothing before.
 * Each moves on by x's tokens without the last shape.ahead ones (the horizon is no past). No
 * gradient flows into it. In any mode; while measuring memory may be NULL and counts as full. */
struct tensor *backbone_recur(const struct backbone_model *model, struct tape *tape,
                              struct tensor *x, void *memory);
size_t backbone_memory_bytes(const struct backbone_model *model); /* of one series */

/* For tests: what layer i remembers in the memory of one series, [*cells, D], oldest first. */
const real *backbone_memory_layer(const struct backbone_model *model, const void *memory, size_t i,
                                  size_t *cells);

/* The position of x's first step: what the state has taken so far; 0 without one. For backbones. */
size_t backbone_first(const struct tape *tape, const struct backbone_state *state);

/* A state of this many bytes, 64-byte aligned, is the caller's; reset before its first use. */
size_t backbone_state_bytes(const struct backbone_model *model, size_t batch);
void backbone_state_reset(const struct backbone_model *model, void *state, size_t batch);

#endif
