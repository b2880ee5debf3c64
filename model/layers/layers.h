/* Compositions of ops that backbones and the network share: forward only, no gradients written
 * here. SPDX-License-Identifier: Apache-2.0
 *
 * A layer is a struct of parameter ids, filled by its _declare (which names the parameters after
 * `prefix`), and a function that runs it on a tape.
 */
#ifndef MODEL_LAYERS_LAYERS_H
#define MODEL_LAYERS_LAYERS_H

#include "model/ops/ops.h"

struct linear_layer {
    size_t weight, bias; /* [out, in], [out]; bias SIZE_MAX = none */
};

/* prefix.weight, prefix.bias. Weight by `init` (PARAM_XAVIER, PARAM_ZERO, ...) with `gain`. */
struct linear_spec {
    size_t in, out;
    enum param_init init;
    double gain;
    bool no_bias;
};
struct linear_layer linear_layer_declare(struct params *params, const struct linear_spec *spec,
                                         const char *prefix);
struct tensor *linear_layer(struct tape *tape, const struct linear_layer *layer, struct tensor *x);

struct norm_layer {
    size_t gain, shift; /* [D] each: prefix.gain, prefix.shift */
};
struct norm_layer norm_layer_declare(struct params *params, size_t width, const char *prefix);
struct tensor *norm_layer(struct tape *tape, const struct norm_layer *layer, struct tensor *x);

/* Causal convolution: prefix.weight [out, K, in], prefix.bias [out]. */
struct conv_layer {
    size_t weight, bias;
};
struct conv_layer conv_layer_declare(struct params *params, size_t in, size_t out, size_t kernel,
                                     const char *prefix);
struct tensor *conv_layer(struct tape *tape, const struct conv_layer *layer, struct tensor *x,
                          const struct tensor *tail);

enum activation { ACTIVATION_GELU, ACTIVATION_RELU, ACTIVATION_SWISH, ACTIVATION_GELU_EXACT };
struct tensor *activate(struct tape *tape, enum activation activation, struct tensor *x);

/* out = W2 dropout(f(W1 x + b1)) + b2: prefix.in, prefix.out. */
struct feed_forward_layer {
    struct linear_layer in, out;
    enum activation activation;
    double dropout;
};
struct feed_forward_layer feed_forward_declare(struct params *params, size_t width, size_t inner,
                                               enum activation activation, double dropout,
                                               const char *prefix);
struct tensor *feed_forward(struct tape *tape, const struct feed_forward_layer *layer,
                            struct tensor *x);

#endif
