/* One member of an ensemble: its configuration, its network's layout and its weights.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/member.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TOKENS_MAX     8192 /* of the context */
#define DEFAULT_RECENT 24   /* steps of SCALE_RECENT's mean where there is no season */

static const char *const head_names[] = {"quantile", "gaussian", NULL};
static const char *const scale_names[] = {"standard", "recent", "mean_abs", "paper", NULL};

#define FIELD(name) OPTION_FIELD(struct member_config, name)

const struct option member_options[] = {
    {"context", OPTION_INT, "168", 2, 65536, NULL, FIELD(context), 0, 0,
     "Steps of history that the network sees."},
    {"patch", OPTION_INT, "12", 1, 256, NULL, FIELD(patch), 0, 0, "Steps in one token."},
    {"head", OPTION_CHOICE, "quantile", 0, 0, head_names, FIELD(head), 0, 0,
     "Direct quantiles, or the paper's autoregressive Gaussian."},
    {"scale", OPTION_CHOICE, "standard", 0, 0, scale_names, FIELD(scale), 0, 0,
     "What a window is shifted and divided by."},
    {"asinh", OPTION_BOOL, "false", 0, 0, NULL, FIELD(asinh), 0, 0,
     "Whether scaled values go through asinh."},
    {"floor", OPTION_DOUBLE, "0.005", 0, 10, NULL, FIELD(floor), 0, 0,
     "Share of the series' own spread in the scale."},
    {"lags", OPTION_BOOL, "true", 0, 0, NULL, FIELD(lags), 0, 0, "Seasonal lags as inputs."},
    {"calendar", OPTION_BOOL, "true", 0, 0, NULL, FIELD(calendar), 0, 0,
     "Phases of the seasons as inputs."},
    {"skip", OPTION_BOOL, "true", 0, 0, NULL, FIELD(skip), 0, 0,
     "Linear path from context and lags to the forecast."},
    {"balanced", OPTION_BOOL, "false", 0, 0, NULL, FIELD(balanced), 0, 0,
     "Loss in units of the series' seasonal difference."},
    {"batch", OPTION_INT, "64", 1, 4096, NULL, FIELD(batch), 0, 0, "Windows a step."},
    {"rate", OPTION_DOUBLE, "0.003", 0, 1, NULL, FIELD(rate), 0, 0, "Largest learning rate."},
    {"decay", OPTION_DOUBLE, "0.02", 0, 10, NULL, FIELD(decay), 0, 0,
     "Decoupled weight decay of matrices."},
    {"beta2", OPTION_DOUBLE, "0.99", 0, 1, NULL, FIELD(beta2), 0, 0, "Memory of AdamW's scale."},
    {"average", OPTION_DOUBLE, "0.999", 0, 1, NULL, FIELD(average), 0, 0,
     "Memory of the weights' moving average."},
    {"newest", OPTION_DOUBLE, "1", 0.1, 10, NULL, FIELD(newest), 0, 0,
     "Above 1, newer windows are drawn more often."},
    {"length_weight", OPTION_DOUBLE, "0", 0, 1, NULL, FIELD(length_weight), 0, 0,
     "Series are drawn by the number of their windows to this power."},
    {"mix", OPTION_DOUBLE, "0", 0, 1, NULL, FIELD(mix), 0, 0,
     "Probability that a training window is mixed with another."},
    {"share", OPTION_DOUBLE, "1", 0, 1000, NULL, FIELD(share), 0, 0,
     "Share of the training budget."},
};
const size_t member_option_count = ARRAY_COUNT(member_options);

static void fill_shape(struct member *member, const struct feature_plan *plan,
                       const uint32_t seasons[SEASONS_MAX])
{
    const struct member_config *config = &member->config;
    size_t patch = (size_t)config->patch;
    size_t context = (size_t)config->context;
    size_t season = seasons[0] > 0 ? seasons[0] : DEFAULT_RECENT;
    bool gaussian = config->head == HEAD_GAUSSIAN;
    member->horizon = plan->horizon;
    member->shape = (struct feature_shape){
        .context = context,
        .steps = (plan->horizon + patch - 1) / patch * patch,
        .scale = (enum scale_kind)config->scale,
        .recent = season < context ? season : context,
        .floor = config->floor,
        .asinh = config->asinh,
        .use_lags = config->lags,
        .use_periods = config->calendar,
        .delay = gaussian ? 1 : 0,
    };
    member->features = feature_count(plan, &member->shape);
    member->tokens = (context + member->shape.steps) / patch;
    member->horizon_tokens = member->shape.steps / patch;
    member->outputs = gaussian ? 2 : QUANTILE_COUNT;
    member->lag_count = config->lags ? plan->lag_count : 0;
    member->skip_count = config->lags ? plan->lag_count + plan->mean_count : 0;
}

static void declare(struct member *member)
{
    const struct member_config *config = &member->config;
    struct params *params = &member->params;
    size_t patch = (size_t)config->patch;
    size_t width = member->backbone->width;
    struct linear_spec embed = {.in = patch * member->features, .out = width, .init = PARAM_XAVIER};
    member->embed = linear_layer_declare(params, &embed, "embed");
    backbone_declare(member->backbone, params, "backbone");
    /* A head that starts at zero: training begins at the linear skip. */
    struct linear_spec head = {.in = width, .out = patch * member->outputs, .init = PARAM_ZERO};
    member->head = linear_layer_declare(params, &head, "head");
    if (config->skip && config->head == HEAD_QUANTILE) {
        struct param_spec context = {.shape = {member->horizon, member->shape.context, 0}};
        struct param_spec bias = {.shape = {member->horizon, 0}};
        member->skip_context = params_add(params, &context, "skip.context");
        member->skip_bias = params_add(params, &bias, "skip.bias");
        if (member->skip_count > 0) {
            struct param_spec lags = {.shape = {member->skip_count, member->horizon, 0}};
            member->skip_lags = params_add(params, &lags, "skip.lags");
        }
    }
}

static enum status check(const struct member_config *config, struct error *error)
{
    if (config->context % config->patch != 0) {
        error_set(error, STATUS_INVALID, "cannot cut a context of %lld steps into patches of %lld",
                  (long long)config->context, (long long)config->patch);
        return error_code(error, "bad_value", "context");
    }
    if (config->context / config->patch > TOKENS_MAX) {
        error_set(error, STATUS_INVALID, "cannot use a context of %lld tokens, %d are the most",
                  (long long)(config->context / config->patch), TOKENS_MAX);
        return error_code(error, "bad_value", "context");
    }
    if (config->head == HEAD_GAUSSIAN && config->patch != 1) {
        error_set(error, STATUS_INVALID,
                  "an autoregressive head needs patches of one step, not %lld",
                  (long long)config->patch);
        return error_code(error, "bad_value", "patch");
    }
    return STATUS_OK;
}

enum status member_new(const struct member_config *config, const struct feature_plan *plan,
                       const uint32_t seasons[SEASONS_MAX], struct member **out,
                       struct error *error)
{
    enum status status = check(config, error);
    if (status != STATUS_OK) {
        return status;
    }
    struct member *member = mem_zeroed(1, sizeof(*member));
    if (member == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not make a member of the model");
    }
    member->config = *config;
    fill_shape(member, plan, seasons);
    size_t patch = (size_t)config->patch;
    struct backbone_shape shape = {
        .length = member->tokens, .season = seasons[0] / patch, .ahead = member->horizon_tokens};
    status = backbone_create(config->backbone, config->options, &shape, &member->backbone, error);
    if (status == STATUS_OK) {
        status = params_init(&member->params, error);
    }
    if (status == STATUS_OK) {
        declare(member);
    }
    if (status != STATUS_OK) {
        member_free(member);
        return status;
    }
    *out = member;
    return STATUS_OK;
}

enum status member_make_weights(struct member *member, struct error *error)
{
    member->weights = params_slab_new(&member->params);
    if (member->weights == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not make a member's weights");
    }
    return STATUS_OK;
}

/* Output projections of the residual branches begin smaller, so that the sum of all of them has the
 * size of one (GPT-2's rule). */
void member_initialise(struct member *member, uint64_t seed)
{
    static const char suffix[] = ".out.weight";
    params_initialise(&member->params, member->weights, seed);
    real factor = (real)(1.0 / sqrt(2.0 * (double)member->backbone->layers));
    for (size_t i = 0; i < member->params.count; i++) {
        const struct param *param = &member->params.items[i];
        size_t length = strlen(param->name);
        if (length < sizeof(suffix) ||
            strcmp(param->name + length - (sizeof(suffix) - 1), suffix) != 0) {
            continue;
        }
        for (size_t j = 0; j < param->size; j++) {
            member->weights[param->offset + j] *= factor;
        }
    }
    backbone_refresh(member->backbone, &member->params, member->weights,
                     &(struct backbone_moment){.seed = seed});
}

size_t member_primes(const struct member *member)
{
    size_t context = member->tokens - member->horizon_tokens;
    return (member->backbone->memory_steps + context - 1) / context;
}

void member_free(struct member *member)
{
    if (member == NULL) {
        return;
    }
    backbone_release(member->backbone);
    params_release(&member->params);
    mem_free(member->weights);
    mem_free(member);
}

void member_config_print(const struct member_config *config, struct text *out)
{
    for (size_t i = 0; i < member_option_count; i++) {
        if (i > 0) {
            text_add_char(out, ' ');
        }
        text_add_string(out, member_options[i].name);
        text_add_char(out, '=');
        options_print(&member_options[i], config, out);
    }
}

enum status member_config_parse(const char *text, size_t length, struct member_config *config,
                                struct error *error)
{
    options_defaults(member_options, member_option_count, config);
    size_t at = 0;
    while (at < length) {
        size_t end = at;
        while (end < length && text[end] != ' ') {
            end++;
        }
        char pair[96];
        if (end > at) {
            int written = snprintf(pair, sizeof(pair), "%.*s", (int)(end - at), text + at);
            char *value = strchr(pair, '=');
            if (written >= (int)sizeof(pair) || value == NULL) {
                return error_set(error, STATUS_INVALID, "cannot read \"%.60s\" as key=value", pair);
            }
            *value = '\0';
            enum status status = options_set(member_options, member_option_count, config, pair,
                                             value + 1, "member", error);
            if (status != STATUS_OK) {
                return status;
            }
        }
        at = end + 1;
    }
    return STATUS_OK;
}
