/* The eager tape: arenas, tensors, nodes, and the measuring of all of them (way back: backward.c).
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/tape/backward.h"

#include "base/background.h"
#include "base/check.h"
#include "base/memory.h"
#include "base/size.h"

#include <string.h>

/* A measuring tape has this many nodes and bytes of shapes; more is an assertion. */
#define MEASURE_NODES ((size_t)8192)
#define MEASURE_BYTES ((size_t)8 << 20)

static void count(struct tape *tape, size_t bytes)
{
    tape->counted += tape_rounded(bytes);
    if (tape->counted > tape->counted_peak) {
        tape->counted_peak = tape->counted;
    }
}

/* ---------------------------------------------------------------- life */

static enum status begin_life(struct tape *tape, size_t values, size_t nodes, struct error *error)
{
    *tape = (struct tape){0};
    if (arena_init(&tape->values, values, error) != STATUS_OK) {
        return error_wrap(error, "making a tape");
    }
    tape->nodes = mem_zeroed(nodes, sizeof(struct node));
    tape->node_capacity = nodes;
    if (tape->nodes == NULL) {
        tape_release(tape);
        return error_set(error, STATUS_NO_MEMORY, "could not reserve %zu nodes of a tape", nodes);
    }
    return STATUS_OK;
}

enum status tape_measure(struct tape *tape, enum tape_mode mode, const struct params *params,
                         struct error *error)
{
    enum status status = begin_life(tape, MEASURE_BYTES, MEASURE_NODES, error);
    tape->measuring = true;
    tape->mode = mode;
    tape->params = params;
    return status;
}

struct tape_size tape_size(const struct tape *tape)
{
    return (struct tape_size){
        .value_bytes = tape->measuring ? tape->counted_peak : tape->values.peak,
        .gradient_bytes = tape->gradient_peak,
        .nodes = tape->node_peak,
    };
}

struct tape_size tape_size_max(struct tape_size a, struct tape_size b)
{
    return (struct tape_size){
        .value_bytes = larger(a.value_bytes, b.value_bytes),
        .gradient_bytes = larger(a.gradient_bytes, b.gradient_bytes),
        .nodes = larger(a.nodes, b.nodes),
    };
}

size_t tape_size_bytes(const struct tape_size *size)
{
    return size->value_bytes + size->gradient_bytes + size->nodes * sizeof(struct node);
}

enum status tape_init(struct tape *tape, const struct tape_size *size, struct error *error)
{
    enum status status = begin_life(tape, size->value_bytes, size->nodes, error);
    if (status != STATUS_OK) {
        return status;
    }
    tape->gradient_base = mem_alloc_aligned(tape_rounded(size->gradient_bytes));
    tape->gradient_capacity = tape_rounded(size->gradient_bytes);
    if (tape->gradient_base == NULL) {
        tape_release(tape);
        return error_set(error, STATUS_NO_MEMORY, "could not reserve %zu bytes for gradients",
                         size->gradient_bytes);
    }
    return STATUS_OK;
}

void tape_release(struct tape *tape)
{
    arena_release(&tape->values);
    mem_free(tape->gradient_base);
    mem_free(tape->nodes);
    *tape = (struct tape){0};
}

void tape_begin(struct tape *tape, enum tape_mode mode, const struct params *params,
                const real *values, real *gradients, uint64_t seed, uint64_t stream)
{
    CHECK(!tape->measuring);
    tape->mode = mode;
    tape->params = params;
    tape->param_values = values;
    tape->param_gradients = gradients;
    random_init(&tape->random, seed, stream);
    arena_rewind(&tape->values, 0);
    tape->gradient_used = 0;
    tape->free_count = 0;
    tape->free_first = 0;
    tape->inside = 0;
    tape->node_count = 0;
}

/* ---------------------------------------------------------------- values */

void *tape_struct(struct tape *tape, size_t bytes)
{
    void *block = arena_zeroed(&tape->values, 1, bytes);
    CHECK(block != NULL);
    count(tape, bytes);
    return block;
}

void *tape_bytes(struct tape *tape, size_t bytes)
{
    count(tape, bytes);
    if (tape->measuring) {
        return NULL;
    }
    void *block = arena_alloc(&tape->values, bytes);
    CHECK(block != NULL);
    return block;
}

/* A tensor without memory. */
static struct tensor *shaped(struct tape *tape, const size_t *shape)
{
    struct tensor *tensor = tape_struct(tape, sizeof(*tensor));
    *tensor = (struct tensor){.shape = {1, 1, 1, 1}, .grad_place = SIZE_MAX};
    while (tensor->axes < TENSOR_AXES_MAX && shape[tensor->axes] != 0) {
        tensor->shape[tensor->axes] = shape[tensor->axes];
        tensor->axes++;
    }
    CHECK(tensor->axes > 0);
    return tensor;
}

struct tensor *tape_tensor(struct tape *tape, const size_t *shape)
{
    struct tensor *tensor = shaped(tape, shape);
    tensor->data = tape_bytes(tape, tensor_size(tensor) * sizeof(real));
    return tensor;
}

struct tensor *tape_tensor_like(struct tape *tape, const struct tensor *model)
{
    struct tensor *tensor = tape_struct(tape, sizeof(*tensor));
    *tensor = (struct tensor){.axes = model->axes, .grad_place = SIZE_MAX};
    memcpy(tensor->shape, model->shape, sizeof(tensor->shape));
    tensor->data = tape_bytes(tape, tensor_size(tensor) * sizeof(real));
    return tensor;
}

struct tensor *tape_input(struct tape *tape, const size_t *shape)
{
    return tape_tensor(tape, shape);
}

struct tensor *tape_param(struct tape *tape, size_t id)
{
    CHECK(id < tape->params->count);
    const struct param *param = &tape->params->items[id];
    struct tensor *tensor = tape_struct(tape, sizeof(*tensor));
    *tensor = (struct tensor){.axes = param->axes, .grad_place = SIZE_MAX, .grad_begun = true};
    memcpy(tensor->shape, param->shape, sizeof(tensor->shape));
    if (tape->measuring) {
        tensor->wants_grad = tape->mode == TAPE_TRAIN && !param->fixed;
        return tensor;
    }
    /* Ops only read data; the slab of values belongs to whoever began the tape. */
    memcpy(&tensor->data, &(const real *){tape->param_values + param->offset}, sizeof(real *));
    if (tape->mode == TAPE_TRAIN && tape->param_gradients != NULL && !param->fixed) {
        tensor->wants_grad = true;
        tensor->grad = tape->param_gradients + param->offset;
    }
    return tensor;
}

size_t tape_mark(const struct tape *tape)
{
    return tape->measuring ? tape->counted : arena_mark(&tape->values);
}

void tape_rewind(struct tape *tape, size_t mark)
{
    if (tape->mode == TAPE_INFER) {
        tape_scratch_end(tape, mark);
    }
}

size_t tape_scratch_begin(const struct tape *tape)
{
    return tape_mark(tape);
}

void tape_scratch_end(struct tape *tape, size_t mark)
{
    if (tape->measuring) {
        tape->counted = mark; /* the small structs stay: what was made may still be looked at */
    } else {
        arena_rewind(&tape->values, mark);
    }
}

struct tensor *tape_keep(struct tape *tape, size_t mark, struct tensor *tensor)
{
    if (tape->mode == TAPE_TRAIN) {
        return tensor;
    }
    size_t bytes = tensor_size(tensor) * sizeof(real);
    if (tape->measuring) {
        tape->counted = mark;
        count(tape, sizeof(*tensor));
        count(tape, bytes);
        return tensor;
    }
    struct tensor kept = *tensor;
    kept.base = NULL;
    unsigned char *first = tape->values.base + mark;
    const unsigned char *from = (const unsigned char *)tensor->data;
    bool moves = from >= first && from < tape->values.base + tape->values.capacity;
    arena_rewind(&tape->values, mark);
    if (moves) {
        /* Its struct was made before it, so there is room in front; one block over both places is
         * ours to write and to read (the sanitizer would object otherwise). */
        unsigned char *place = first + tape_rounded(sizeof(kept));
        CHECK(from >= place);
        CHECK(arena_alloc(&tape->values, (size_t)(from - first) + bytes) == first);
        memmove(place, from, bytes);
        arena_rewind(&tape->values, mark);
    }
    struct tensor *result = tape_struct(tape, sizeof(kept));
    *result = kept;
    if (moves) {
        result->data = tape_bytes(tape, bytes);
    }
    return result;
}

/* ---------------------------------------------------------------- nodes */

void tape_record(struct tape *tape, const struct op *op, struct tensor *out,
                 struct tensor *const *inputs, size_t input_count, void *context,
                 size_t backward_scratch)
{
    CHECK(input_count <= NODE_INPUTS_MAX);
    background_give_way();
    if (tape->mode != TAPE_TRAIN) {
        return;
    }
    struct node node = {.op = op, .out = out, .context = context, .scratch = backward_scratch};
    for (size_t i = 0; i < input_count; i++) {
        node.in[i] = inputs[i];
        out->wants_grad = out->wants_grad || (inputs[i] != NULL && inputs[i]->wants_grad);
    }
    if (!out->wants_grad) {
        return;
    }
    CHECK(tape->node_count < tape->node_capacity);
    tape->nodes[tape->node_count] = node;
    tape->node_count++;
    tape->node_peak = larger(tape->node_peak, tape->node_count);
}
