/* Named parameters: layout of a slab, and initial values.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/tape/params.h"

#include "base/check.h"
#include "base/memory.h"
#include "base/random.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Parameters start at multiples of this many reals: 64 bytes, in the double flavour more. */
#define PARAM_ALIGNMENT ((size_t)16)

/* FNV-1a: spreads names over random streams. The same on every machine, unlike the keyed hashes. */
static uint64_t name_stream(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const char *c = name; *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    }
    return hash;
}

enum status params_init(struct params *params, struct error *error)
{
    *params = (struct params){.capacity = PARAMS_MAX};
    params->items = mem_zeroed(PARAMS_MAX, sizeof(struct param));
    if (params->items == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not reserve a list of %d parameters",
                         PARAMS_MAX);
    }
    return STATUS_OK;
}

void params_release(struct params *params)
{
    mem_free(params->items);
    *params = (struct params){0};
}

size_t params_add(struct params *params, const struct param_spec *spec, const char *name, ...)
{
    CHECK(params->count < params->capacity);
    struct param *param = &params->items[params->count];
    *param = (struct param){
        .shape = {1, 1, 1, 1},
        .offset = params->size,
        .size = 1,
        .init = spec->init,
        .gain = spec->gain,
        .decay = spec->decay,
        .fixed = spec->fixed,
        .statistic = spec->statistic,
        .rate = spec->rate != 0 ? spec->rate : 1,
    };
    va_list arguments;
    va_start(arguments, name);
    int length = vsnprintf(param->name, sizeof(param->name), name, arguments);
    va_end(arguments);
    CHECK(length > 0);
    CHECK((size_t)length < sizeof(param->name));
    CHECK(params_find(params, param->name) == SIZE_MAX);

    while (param->axes < TENSOR_AXES_MAX && spec->shape[param->axes] != 0) {
        param->shape[param->axes] = spec->shape[param->axes];
        param->size *= spec->shape[param->axes];
        param->axes++;
    }
    CHECK(param->axes > 0);
    params->trained += param->fixed || param->statistic ? 0 : param->size;
    params->size += (param->size + PARAM_ALIGNMENT - 1) / PARAM_ALIGNMENT * PARAM_ALIGNMENT;
    return params->count++;
}

const char *param_name(char out[PARAM_NAME_MAX], const char *prefix, const char *part)
{
    int length = snprintf(out, PARAM_NAME_MAX, "%s.%s", prefix, part);
    CHECK(length > 0 && length < PARAM_NAME_MAX);
    return out;
}

size_t params_find(const struct params *params, const char *name)
{
    for (size_t i = 0; i < params->count; i++) {
        if (strcmp(params->items[i].name, name) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

real *params_slab_new(const struct params *params)
{
    size_t bytes = (params->size != 0 ? params->size : 1) * sizeof(real);
    real *slab = mem_alloc_aligned(bytes);
    if (slab != NULL) {
        memset(slab, 0, bytes);
    }
    return slab;
}

void params_initialise(const struct params *params, real *slab, uint64_t seed)
{
    for (size_t i = 0; i < params->count; i++) {
        const struct param *param = &params->items[i];
        real *values = slab + param->offset;
        struct random random;
        random_init(&random, seed, name_stream(param->name));

        double fan_out = (double)param->shape[0];
        double fan_in = (double)(param->size / param->shape[0]);
        double gain = param->init == PARAM_XAVIER && param->gain == 0 ? 1.0 : param->gain;
        double bound = gain * sqrt(6.0 / (fan_in + fan_out));
        for (size_t k = 0; k < param->size; k++) {
            switch (param->init) {
            case PARAM_ZERO:
                values[k] = 0;
                break;
            case PARAM_ONE:
                values[k] = 1;
                break;
            case PARAM_CONSTANT:
                values[k] = (real)gain;
                break;
            case PARAM_NORMAL:
                values[k] = (real)(gain * random_normal(&random));
                break;
            case PARAM_XAVIER:
                values[k] = (real)(bound * (2 * random_uniform(&random) - 1));
                break;
            case PARAM_MOMENTS:
                values[k] = k >= param->size / 2 && k + 1 < param->size;
                break;
            }
        }
    }
}
