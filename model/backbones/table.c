/* The backbones by name, and the thin wrappers that the rest of the model calls.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/backbones/backbone.h"
#include "model/model.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

extern const struct backbone logsparse_backbone, longformer_backbone, adaptive_span_backbone,
    transformer_xl_backbone, reformer_backbone, performer_backbone, linformer_backbone,
    conformer_backbone, lite_transformer_backbone;

/* In the order of the papers in the README. */
const struct backbone *const backbone_table[] = {
    &logsparse_backbone,      &longformer_backbone, &adaptive_span_backbone,
    &transformer_xl_backbone, &reformer_backbone,   &performer_backbone,
    &linformer_backbone,      &conformer_backbone,  &lite_transformer_backbone,
};

const size_t backbone_table_count = ARRAY_COUNT(backbone_table);

/* Longest "key=value" of an option text. */
#define PAIR_MAX 96

/* Longest list of names in a hint. */
#define NAMES_MAX 220

const struct backbone *backbone_find(const char *name)
{
    for (size_t i = 0; i < backbone_table_count; i++) {
        if (strcmp(backbone_table[i]->name, name) == 0) {
            return backbone_table[i];
        }
    }
    return NULL;
}

enum status backbone_check(const char *name, struct error *error)
{
    if (backbone_find(name) != NULL) {
        return STATUS_OK;
    }
    char known[NAMES_MAX] = "";
    for (size_t i = 0; i < backbone_table_count; i++) {
        size_t used = strlen(known);
        (void)snprintf(known + used, sizeof(known) - used, "%s%s", i > 0 ? ", " : "",
                       backbone_table[i]->name);
    }
    (void)error_set(error, STATUS_INVALID, "there is no backbone \"%.32s\"", name);
    (void)error_hint(error, "Known backbones: %s.", known);
    return error_code(error, "unknown_backbone", "backbone");
}

enum status backbone_check_option(const char *name, const char *option, struct error *error)
{
    const struct backbone *backbone = backbone_find(name);
    CHECK(backbone != NULL);
    if (options_find(backbone->options, backbone->option_count, option) != NULL) {
        return STATUS_OK;
    }
    char known[NAMES_MAX] = "";
    for (size_t i = 0; i < backbone->option_count; i++) {
        size_t used = strlen(known);
        (void)snprintf(known + used, sizeof(known) - used, "%s%s", i > 0 ? ", " : "",
                       backbone->options[i].name);
    }
    (void)error_set(error, STATUS_INVALID, "backbone \"%s\" has no option \"%.40s\"", name, option);
    (void)error_hint(error, "It has: %s.", known);
    return error_code(error, "unknown_option", option);
}

/* Reads "key=value key=value" into the struct of the option table. */
static enum status read_options(const struct backbone *backbone, const char *text, void *target,
                                struct error *error)
{
    const char *at = text != NULL ? text : "";
    for (at += strspn(at, " ,\t"); *at != '\0'; at += strspn(at, " ,\t")) {
        size_t length = strcspn(at, " ,\t");
        char pair[PAIR_MAX];
        (void)snprintf(pair, sizeof(pair), "%.*s", (int)(length < PAIR_MAX ? length : PAIR_MAX),
                       at);
        char *equals = strchr(pair, '=');
        if (equals == NULL || length >= PAIR_MAX) {
            (void)error_set(error, STATUS_INVALID, "cannot read the backbone option \"%.64s\"",
                            pair);
            (void)error_hint(error, "Write key=value, with blanks between.");
            return error_code(error, "bad_value", "options");
        }
        *equals = '\0';
        enum status status = backbone_check_option(backbone->name, pair, error);
        if (status == STATUS_OK) {
            status = options_set(backbone->options, backbone->option_count, target, pair,
                                 equals + 1, "backbone options", error);
        }
        if (status != STATUS_OK) {
            return status;
        }
        at += length;
    }
    return STATUS_OK;
}

enum status backbone_create(const char *name, const char *options,
                            const struct backbone_shape *shape, struct backbone_model **model,
                            struct error *error)
{
    *model = NULL;
    enum status status = backbone_check(name, error);
    if (status != STATUS_OK) {
        return status;
    }
    const struct backbone *backbone = backbone_find(name);
    void *values = mem_zeroed(1, backbone->options_bytes);
    if (values == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not reserve the options of a backbone");
    }
    options_defaults(backbone->options, backbone->option_count, values);
    status = read_options(backbone, options, values, error);
    if (status == STATUS_OK) {
        status = backbone->create(values, shape, model, error);
    }
    mem_free(values);
    CHECK((status == STATUS_OK) == (*model != NULL));
    return status;
}

void backbone_release(struct backbone_model *model)
{
    if (model != NULL) {
        model->backbone->release(model);
    }
}

struct tensor *backbone_penalty(const struct backbone_model *model, struct tape *tape)
{
    return model->backbone->penalty != NULL ? model->backbone->penalty(model, tape) : NULL;
}

void backbone_settle(const struct backbone_model *model, const struct params *params, real *values)
{
    if (model->backbone->settle != NULL) {
        model->backbone->settle(model, params, values);
    }
}

void backbone_refresh(const struct backbone_model *model, const struct params *params, real *values,
                      const struct backbone_moment *moment)
{
    if (model->backbone->refresh != NULL) {
        model->backbone->refresh(model, params, values, moment);
    }
}

void backbone_describe(const struct backbone_model *model, const struct params *params,
                       const real *values, struct text *json)
{
    if (model->backbone->describe != NULL) {
        model->backbone->describe(model, params, values, json);
    }
}

void backbone_options_print(const struct backbone_model *model, struct text *out)
{
    for (size_t i = 0; i < model->backbone->option_count; i++) {
        const struct option *option = &model->backbone->options[i];
        text_add_format(out, "%s%s=", i > 0 ? " " : "", option->name);
        options_print(option, model->options, out);
    }
}

void backbone_declare(struct backbone_model *model, struct params *params, const char *prefix)
{
    model->backbone->declare(model, params, prefix);
}

struct tensor *backbone_forward(const struct backbone_model *model, struct tape *tape,
                                struct tensor *x, void *state)
{
    CHECK(x->axes == 3);
    CHECK(x->shape[2] == model->width);
    CHECK(state != NULL || x->shape[1] <= model->shape.length);
    CHECK(state == NULL || (model->streaming && tape->mode == TAPE_INFER));
    struct backbone_state *moving = tape_computes(tape) ? state : NULL;
    CHECK(moving == NULL || moving->batch == x->shape[0]);
    CHECK(moving == NULL || moving->steps + x->shape[1] <= model->state_steps_max);
    struct tensor *y = model->backbone->forward(model, tape, x, state);
    CHECK(tensor_same_shape(x, y));
    if (moving != NULL) {
        moving->steps += x->shape[1];
    }
    return y;
}

size_t backbone_first(const struct tape *tape, const struct backbone_state *state)
{
    return state != NULL && tape_computes(tape) ? state->steps : 0;
}

struct tensor *backbone_recur(const struct backbone_model *model, struct tape *tape,
                              struct tensor *x, void *memory)
{
    CHECK(model->recurrent);
    CHECK(x->axes == 3);
    CHECK(x->shape[1] <= model->shape.length && x->shape[2] == model->width);
    CHECK(memory != NULL || tape->measuring);
    struct tensor *y = model->backbone->recur(model, tape, x, memory);
    CHECK(tensor_same_shape(x, y));
    return y;
}

size_t backbone_memory_bytes(const struct backbone_model *model)
{
    CHECK(model->recurrent);
    return model->backbone->memory_bytes(model);
}

const real *backbone_memory_layer(const struct backbone_model *model, const void *memory, size_t i,
                                  size_t *cells)
{
    CHECK(model->recurrent && i < model->layers);
    return model->backbone->memory_layer(model, memory, i, cells);
}

size_t backbone_state_bytes(const struct backbone_model *model, size_t batch)
{
    CHECK(model->streaming);
    return model->backbone->state_bytes(model, batch);
}

void backbone_state_reset(const struct backbone_model *model, void *state, size_t batch)
{
    CHECK(model->streaming);
    memset(state, 0, backbone_state_bytes(model, batch));
    *(struct backbone_state *)state = (struct backbone_state){.batch = batch};
    if (model->backbone->state_begin != NULL) {
        model->backbone->state_begin(model, state);
    }
}
