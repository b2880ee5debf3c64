/* Golden vectors: one safetensors file of inputs, parameters, outputs and gradients, and its check.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Names: in.X inputs, p.X parameters, aux.X constants, out.X results, cot.X cotangent of out.X, g.X
 * gradient of the loss with respect to in.X or p.X. Stored values are float64 results rounded to
 * float32; the metadata's f32diff.X is what float32 arithmetic alone costs.
 */
#ifndef TESTS_GOLDEN_VECTORS_H
#define TESTS_GOLDEN_VECTORS_H

#include "base/status.h"
#include "model/ops/ops.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VECTOR_NAME_MAX 64
#define VECTORS_MAX     256

struct vector {
    char name[VECTOR_NAME_MAX];
    size_t shape[TENSOR_AXES_MAX + 1]; /* ends with 0 */
    size_t size;
    const float *values;   /* or NULL */
    const int32_t *wholes; /* or NULL */
    bool compared;
};

struct note {
    char name[VECTOR_NAME_MAX], text[256];
};

struct vectors {
    unsigned char *bytes;
    struct vector vectors[VECTORS_MAX];
    size_t count;
    struct note notes[VECTORS_MAX];
    size_t note_count;
    /* result */
    size_t compared, off;
    double worst;      /* largest difference as a share of what is allowed */
    char problem[256]; /* the first one, for people */
};

enum status vectors_read(const char *path, struct vectors *out, struct error *error) MUST_USE;
void vectors_release(struct vectors *vectors);

/* NULL, or the preset, where there is none. */
struct vector *vectors_find(struct vectors *vectors, const char *name);
const char *vectors_text(const struct vectors *vectors, const char *name, const char *preset);
double vectors_number(const struct vectors *vectors, const char *name, double preset);

/* Notes a problem (the first one stays) and returns false. */
bool vectors_fail(struct vectors *vectors, const char *format, ...) PRINTF_LIKE(2, 3);

/* Compares with a tensor of the file, which must be there and have `count` values. A stride other
 * than 1 picks every so-many-th of `values`. */
void vectors_compare(struct vectors *vectors, const char *name, const real *values, size_t count,
                     size_t stride);

/* True where everything that the file holds of out.* and g.* was compared and is right. */
bool vectors_complete(struct vectors *vectors);

/* An input of the tape with the tensor's values; wants a gradient where its name begins with in. or
 * p. */
struct tensor *vectors_input(struct vectors *vectors, struct tape *tape, const char *name);

/* A tape that is large enough for the file's mechanism. */
enum status vectors_tape(const struct vectors *vectors, struct tape *tape,
                         struct error *error) MUST_USE;

/* The mechanisms: false (with a problem noted) where the unit or an option is unknown. */
bool golden_logsparse(struct vectors *vectors, struct tape *tape);
bool golden_linformer(struct vectors *vectors, struct tape *tape);
bool golden_adaptive_span(struct vectors *vectors, struct tape *tape);
bool golden_longformer(struct vectors *vectors, struct tape *tape);
bool golden_reformer(struct vectors *vectors, struct tape *tape);
bool golden_transformer_xl(struct vectors *vectors, struct tape *tape);
bool golden_conformer(struct vectors *vectors, struct tape *tape);
bool golden_lite_transformer(struct vectors *vectors, struct tape *tape);
bool golden_common(struct vectors *vectors, struct tape *tape);
bool golden_performer(struct vectors *vectors, struct tape *tape);

#endif
