/* The default recipe: which members an ensemble has, and how they are trained.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A few small, different networks, averaged: different scales, patches and contexts make different
 * errors, which is worth more than one large network (Makridakis et al. 2020; measured again here).
 * One member sees a long window in short patches, where the log-sparse pattern leaves out most
 * pairs.
 */
#include "model/training/recipe.h"

#include "base/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HORIZON_TOKENS 128
#define SHORT_LENGTH   600  /* series shorter than this get the short context */
#define SMALL_SECONDS  90.0 /* budgets below this train two members only */
#define REPEATS        1.2  /* passes over the windows from which on members are regularised */

struct preset {
    const char *member;  /* as member_config_parse reads it, context and patch left out */
    const char *options; /* of the backbone, as far as it knows them */
    size_t patch;        /* steps in a token */
    bool longest;        /* the longest context that fits, in patches that fit it */
    bool essential;      /* trained with small budgets too */
};

#define WIDE   "dropout=0 width=64 layers=3 heads=4 inner=256 kernel=3 pattern=dense"
#define NARROW "dropout=0 width=32 layers=3 heads=4 inner=128 kernel=3 pattern=local_log_restart"

/* In the order of their worth, so that a small budget trains the first ones. */
static const struct preset direct_presets[] = {
    {"scale=recent balanced=true share=28", NARROW, 1, false, true},
    {"scale=standard balanced=true share=13", WIDE, 12, false, true},
    {"scale=standard asinh=true balanced=true share=20", WIDE, 6, false, false},
    {"scale=recent balanced=true share=26", NARROW, 1, true, false},
    {"scale=mean_abs asinh=true share=13", WIDE, 12, false, false},
};

static const struct preset gaussian_preset = {
    "head=gaussian scale=paper lags=false skip=false share=1",
    "width=32 layers=3 heads=4 inner=128 kernel=6 pattern=local_log_restart dropout=0.1", 1, false,
    true};

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

/* Long horizons take longer patches, so that a window keeps a trainable number of tokens. */
static void coarsen(const struct recipe_data *data, struct member_config *member)
{
    static const int64_t ladder[] = {1, 2, 3, 4, 6, 12, 24, 48, 96};
    for (size_t i = 0; i < ARRAY_COUNT(ladder); i++) {
        bool longer = ladder[i] > member->patch;
        if (longer && (int64_t)data->horizon > HORIZON_TOKENS * member->patch) {
            member->patch = ladder[i];
        }
    }
    int64_t patches = member->context / member->patch;
    member->context = (patches > 1 ? patches : 1) * member->patch;
}

/* Patch and context of a member. The longest context is the first of a list that 65 % of a shorter
 * series hold; the others see a week of hours, or less where series are short. */
static void fit_window(const struct preset *preset, const struct recipe_data *data,
                       struct member_config *member)
{
    static const struct {
        size_t context, patch;
    } longest[] = {{1024, 4}, {768, 4}, {512, 2}, {384, 2}, {192, 1}, {96, 1}, {48, 1}, {24, 1}};
    static const size_t patches[] = {12, 6, 4, 3, 2, 1};
    if (preset->longest) {
        size_t i = 0;
        while (i + 1 < ARRAY_COUNT(longest) &&
               (double)longest[i].context > 0.65 * (double)data->shorter_length) {
            i++;
        }
        member->context = (int64_t)longest[i].context;
        member->patch = (int64_t)longest[i].patch;
        coarsen(data, member);
        return;
    }
    size_t patch = preset->patch;
    for (size_t i = 0; i < ARRAY_COUNT(patches) && patch > data->horizon; i++) {
        patch = patches[i];
    }
    size_t context = data->shorter_length < SHORT_LENGTH ? 96 : 168;
    member->patch = (int64_t)patch;
    member->context = (int64_t)context;
    coarsen(data, member);
}

static enum status fill_member(const struct model_config *config, const struct preset *preset,
                               const struct recipe_data *data, struct member_config *member,
                               struct error *error)
{
    char text[sizeof(config->member_options) + 160];
    int length_of_text =
        snprintf(text, sizeof(text), "%s %s", preset->member, config->member_options);
    CHECK(length_of_text < (int)sizeof(text));
    enum status status = member_config_parse(text, strlen(text), member, error);
    if (status != STATUS_OK) {
        return status;
    }
    fit_window(preset, data, member);
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

size_t recipe_held_back(const struct recipe_data *data)
{
    size_t wanted = (100 + data->series_count - 1) / data->series_count;
    size_t most = data->typical_length / (10 * data->horizon);
    wanted = wanted < 28 ? wanted : 28;
    wanted = wanted < most ? wanted : most;
    return wanted > 0 ? wanted : 1;
}

uint64_t recipe_steps_max(const struct member_config *member, size_t windows)
{
    double all = (double)windows;
    double most = fmin(10.0 * all, fmax(160000.0, 1.5 * all));
    return (uint64_t)fmax(300.0, most / (double)member->batch);
}

bool recipe_repeats(const struct member_config *member, size_t windows, uint64_t steps)
{
    return (double)steps * (double)member->batch > REPEATS * (double)windows;
}

void recipe_regularise(struct member_config *member)
{
    static const char without[] = "dropout=0 ";
    char options[sizeof(member->options)];
    member->mix = 0.5;
    /* The presets begin with it; what the user asked for comes later and wins. */
    if (strncmp(member->options, without, sizeof(without) - 1) == 0) {
        int length = snprintf(options, sizeof(options), "dropout=0.1 %s",
                              member->options + sizeof(without) - 1);
        if (length < (int)sizeof(options)) {
            memcpy(member->options, options, sizeof(options));
        }
    }
}

/* Whether "1,3" names the member of this number. */
static bool names_member(const char *members, size_t number)
{
    for (const char *at = members; *at != '\0';) {
        char *end;
        if (strtoul(at, &end, 10) == number && end != at) {
            return true;
        }
        at += strcspn(at, ",");
        at += strspn(at, ",");
    }
    return false;
}

enum status recipe_check_members(const struct model_config *config, struct error *error)
{
    bool gaussian = strcmp(config->head, "gaussian") == 0;
    size_t count = gaussian ? 1 : ARRAY_COUNT(direct_presets);
    const char *at = config->members;
    while (*at != '\0') {
        char *end;
        size_t length = strcspn(at, ",");
        unsigned long number = strtoul(at, &end, 10);
        if (end != at + length || length == 0 || number < 1 || number > count || at[0] == '-') {
            error_set(error, STATUS_INVALID, "the recipe has no member \"%.*s\"", (int)length, at);
            error_hint(error,
                       count > 1 ? "Its members are 1 to %zu, with commas between: 1,3."
                                 : "With this head its only member is %zu.",
                       count);
            return error_code(error, "bad_value", "members");
        }
        at += length;
        if (*at == ',' && *++at == '\0') {
            error_set(error, STATUS_INVALID, "the list of members ends with a comma");
            return error_code(error, "bad_value", "members");
        }
    }
    return STATUS_OK;
}

enum status recipe_choose(const struct model_config *config, const struct recipe_data *data,
                          struct recipe *recipe, struct error *error)
{
    bool gaussian = strcmp(config->head, "gaussian") == 0;
    const struct preset *presets = gaussian ? &gaussian_preset : direct_presets;
    size_t count = gaussian ? 1 : ARRAY_COUNT(direct_presets);
    bool small = data->seconds > 0.0 && data->seconds < SMALL_SECONDS;
    *recipe = (struct recipe){.member_count = 0};
    for (size_t i = 0; i < count; i++) {
        bool named = names_member(config->members, i + 1);
        if (config->members[0] != '\0' ? !named : small && !presets[i].essential) {
            continue;
        }
        enum status status =
            fill_member(config, &presets[i], data, &recipe->members[recipe->member_count], error);
        if (status != STATUS_OK) {
            return status;
        }
        recipe->member_count++;
    }
    if (recipe->member_count == 0) {
        error_set(error, STATUS_INVALID, "the recipe has no member \"%.31s\"", config->members);
        error_hint(error, "Its members are 1 to %zu.", count);
        return error_code(error, "bad_value", "members");
    }
    return STATUS_OK;
}
