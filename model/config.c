/* The model's configuration: which backbones there are, and whether a configuration can work.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/backbones/backbone.h"
#include "model/member.h"
#include "model/model.h"
#include "model/training/recipe.h"

#include "base/check.h"

#include <string.h>

size_t backbone_count(void)
{
    return backbone_table_count;
}

struct backbone_info backbone_info(size_t index)
{
    CHECK(index < backbone_table_count);
    const struct backbone *backbone = backbone_table[index];
    return (struct backbone_info){
        .name = backbone->name,
        .paper = backbone->paper,
        .help = backbone->help,
        .options = backbone->options,
        .option_count = backbone->option_count,
        .causal = backbone->causal,
        .streaming = backbone->streaming,
    };
}

enum status model_config_check(const struct model_config *config, struct error *error)
{
    bool gaussian = strcmp(config->head, "gaussian") == 0;
    if (!gaussian && strcmp(config->head, "quantile") != 0) {
        error_set(error, STATUS_INVALID, "there is no head \"%.15s\"", config->head);
        error_hint(error, "Known heads: quantile, gaussian.");
        return error_code(error, "bad_value", "head");
    }
    if (config->horizon < 1 || config->horizon > MEMBER_HORIZON_MAX) {
        error_set(error, STATUS_INVALID, "cannot forecast %zu steps ahead", config->horizon);
        error_hint(error, "The horizon is 1 to %d steps; longer ones roll on from it.",
                   MEMBER_HORIZON_MAX);
        return error_code(error, "out_of_bounds", "horizon");
    }
    struct member_config member;
    if (member_config_parse(config->member_options, strlen(config->member_options), &member,
                            error) != STATUS_OK) {
        error_wrap(error, "member_options");
        return error_code(error, "bad_value", "member_options");
    }
    if (recipe_check_members(config, error) != STATUS_OK) {
        return error->status;
    }
    /* Made for one length as an example; whether a pattern closes at the recipe's lengths is only
     * known when a model is trained, which says so too. */
    struct backbone_shape shape = {.length = 64, .season = 0};
    struct backbone_model *model = NULL;
    enum status status = backbone_create(config->backbone, config->options, &shape, &model, error);
    if (status != STATUS_OK) {
        return status;
    }
    if (gaussian && !(model->streaming && model->causal)) {
        error_set(error, STATUS_INVALID, "backbone \"%s\" cannot decode step by step%s",
                  config->backbone, model->causal ? "" : " as an encoder");
        error_hint(error, "Use the quantile head with it.");
        status = error_code(error, "bad_value", "head");
    }
    backbone_release(model);
    return status;
}
