/* Linear, norm, convolution and feed-forward layers over the ops.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/layers/layers.h"

#include "base/check.h"

struct linear_layer linear_layer_declare(struct params *params, const struct linear_spec *spec,
                                         const char *prefix)
{
    struct linear_layer layer = {.bias = SIZE_MAX};
    layer.weight = params_add(
        params,
        &(struct param_spec){
            .shape = {spec->out, spec->in}, .init = spec->init, .gain = spec->gain, .decay = true},
        "%s.weight", prefix);
    if (!spec->no_bias) {
        layer.bias =
            params_add(params, &(struct param_spec){.shape = {spec->out}}, "%s.bias", prefix);
    }
    return layer;
}

struct tensor *linear_layer(struct tape *tape, const struct linear_layer *layer, struct tensor *x)
{
    struct tensor *bias = layer->bias != SIZE_MAX ? tape_param(tape, layer->bias) : NULL;
    return op_linear(tape, x, tape_param(tape, layer->weight), bias);
}

struct norm_layer norm_layer_declare(struct params *params, size_t width, const char *prefix)
{
    struct norm_layer layer;
    layer.gain = params_add(params, &(struct param_spec){.shape = {width}, .init = PARAM_ONE},
                            "%s.gain", prefix);
    layer.shift = params_add(params, &(struct param_spec){.shape = {width}}, "%s.shift", prefix);
    return layer;
}

struct tensor *norm_layer(struct tape *tape, const struct norm_layer *layer, struct tensor *x)
{
    return op_layer_norm(tape, x, tape_param(tape, layer->gain), tape_param(tape, layer->shift));
}

struct conv_layer conv_layer_declare(struct params *params, size_t in, size_t out, size_t kernel,
                                     const char *prefix)
{
    struct conv_layer layer;
    layer.weight = params_add(
        params,
        &(struct param_spec){.shape = {out, kernel, in}, .init = PARAM_XAVIER, .decay = true},
        "%s.weight", prefix);
    layer.bias = params_add(params, &(struct param_spec){.shape = {out}}, "%s.bias", prefix);
    return layer;
}

struct tensor *conv_layer(struct tape *tape, const struct conv_layer *layer, struct tensor *x,
                          const struct tensor *tail)
{
    return op_causal_conv(tape, x, tape_param(tape, layer->weight), tape_param(tape, layer->bias),
                          tail);
}

struct tensor *activate(struct tape *tape, enum activation activation, struct tensor *x)
{
    switch (activation) {
    case ACTIVATION_GELU:
        return op_gelu(tape, x);
    case ACTIVATION_RELU:
        return op_relu(tape, x);
    case ACTIVATION_SWISH:
        return op_swish(tape, x);
    case ACTIVATION_GELU_EXACT:
        return op_gelu_exact(tape, x);
    }
    CHECK(false);
    return x;
}

struct feed_forward_layer feed_forward_declare(struct params *params, size_t width, size_t inner,
                                               enum activation activation, double dropout,
                                               const char *prefix)
{
    char name[PARAM_NAME_MAX];
    struct feed_forward_layer layer = {.activation = activation, .dropout = dropout};
    layer.in = linear_layer_declare(
        params, &(struct linear_spec){.in = width, .out = inner, .init = PARAM_XAVIER},
        param_name(name, prefix, "in"));
    layer.out = linear_layer_declare(
        params, &(struct linear_spec){.in = inner, .out = width, .init = PARAM_XAVIER},
        param_name(name, prefix, "out"));
    return layer;
}

struct tensor *feed_forward(struct tape *tape, const struct feed_forward_layer *layer,
                            struct tensor *x)
{
    struct tensor *inner = activate(tape, layer->activation, linear_layer(tape, &layer->in, x));
    return linear_layer(tape, &layer->out, op_dropout(tape, inner, layer->dropout));
}
