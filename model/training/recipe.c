/* The default recipe: which members an ensemble has, and how they are trained.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A few small, different networks, averaged: different scales, patches and contexts make different
 * errors, which is worth more than one large network (Makridakis et al. 2020; measured again here).
 * One member sees a long window in short patches, where the log-sparse pattern leaves out most pairs.
 */
#include "model/training/recipe.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

struct preset {
    const char *member;  /* as member_config_parse reads it, context left out */
    const char *options; /* of the backbone, as far as it knows them */
    size_t context;      /* steps wanted */
    size_t patch;
};

static const struct preset direct_presets[] = {
    {"patch=12 scale=standard rate=0.002 newest=2 share=3",
     "width=64 layers=3 heads=4 inner=256 kernel=3 pattern=dense", 168, 12},
    {"patch=12 scale=mean_abs asinh=true rate=0.002 newest=2 share=3",
     "width=64 layers=3 heads=4 inner=256 kernel=3 pattern=dense", 168, 12},
    {"patch=12 scale=recent rate=0.002 newest=2 share=2",
     "width=64 layers=3 heads=4 inner=256 kernel=1 pattern=dense", 168, 12},
    {"patch=2 scale=standard rate=0.002 newest=2 share=2 batch=32",
     "width=32 layers=3 heads=4 inner=128 kernel=3 pattern=local_log_restart window=16", 512, 2},
};

static const struct preset gaussian_preset = {
    "patch=1 head=gaussian scale=paper lags=false skip=false share=1",
    "width=32 layers=3 heads=4 inner=128 kernel=6 pattern=local_log_restart", 168, 1};

/* Appends those of "key=value key=value" that the backbone has. */
static void add_known_options(const struct backbone *backbone, const char *options, char *out,
                              size_t capacity)
{
    size_t length = strlen(out);
    while (*options != '\0') {
        size_t pair = strcspn(options, " ");
        size_t key = strcspn(options, "=");
        char name[48];
        snprintf(name, sizeof(name), "%.*s", (int)key, options);
        if (options_find(backbone->options, backbone->option_count, name) != NULL) {
            length += (size_t)snprintf(out + length, capacity - length, "%s%.*s",
                                       length > 0 ? " " : "", (int)pair, options);
            CHECK(length < capacity);
        }
        options += pair;
        options += strspn(options, " ");
    }
}

/* The wanted context, less where the series are short: at most a third of them, whole patches, one at
 * least. */
static size_t fitting_context(const struct preset *preset, const struct recipe_data *data)
{
    size_t most = data->typical_length / 3;
    size_t context = preset->context < most ? preset->context : most;
    context = context / preset->patch * preset->patch;
    return context > preset->patch ? context : preset->patch;
}

static enum status fill_member(const struct model_config *config, const struct preset *preset,
                               const struct recipe_data *data, struct member_config *member,
                               struct error *error)
{
    enum status status =
        member_config_parse(preset->member, strlen(preset->member), member, error);
    if (status != STATUS_OK) {
        return status;
    }
    member->context = (int64_t)fitting_context(preset, data);
    snprintf(member->backbone, sizeof(member->backbone), "%s", config->backbone);
    const struct backbone *backbone = backbone_find(config->backbone);
    CHECK(backbone != NULL);
    member->options[0] = '\0';
    add_known_options(backbone, preset->options, member->options, sizeof(member->options));
    size_t length = strlen(member->options);
    int written = snprintf(member->options + length, sizeof(member->options) - length, "%s%s",
                           length > 0 && config->options[0] != '\0' ? " " : "", config->options);
    if (written < 0 || length + (size_t)written >= sizeof(member->options)) {
        error_set(error, STATUS_INVALID, "the backbone's options are too long");
        return error_code(error, "bad_value", "options");
    }
    return STATUS_OK;
}

/* Origins held back: about a hundred forecasts over all series, at most a tenth of the history. */
static size_t held_back_origins(const struct recipe_data *data)
{
    size_t wanted = (100 + data->series_count - 1) / data->series_count;
    size_t most = data->typical_length / (10 * data->horizon);
    wanted = wanted < 28 ? wanted : 28;
    wanted = wanted < most ? wanted : most;
    return wanted > 0 ? wanted : 1;
}

enum status recipe_choose(const struct model_config *config, const struct recipe_data *data,
                          struct recipe *recipe, struct error *error)
{
    bool gaussian = strcmp(config->head, "gaussian") == 0;
    const struct preset *presets = gaussian ? &gaussian_preset : direct_presets;
    size_t count = gaussian ? 1 : ARRAY_COUNT(direct_presets);
    *recipe = (struct recipe){.held_back = held_back_origins(data)};
    for (size_t i = 0; i < count; i++) {
        enum status status =
            fill_member(config, &presets[i], data, &recipe->members[i], error);
        if (status != STATUS_OK) {
            return status;
        }
        recipe->member_count++;
    }
    return STATUS_OK;
}
