/* The default recipe: which members an ensemble has, and how they are trained.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MODEL_TRAINING_RECIPE_H
#define MODEL_TRAINING_RECIPE_H

#include "model/member.h"
#include "model/snapshot.h"

struct recipe {
    struct member_config members[MEMBERS_MAX];
    size_t member_count;
};

/* What the recipe looks at. */
struct recipe_data {
    size_t series_count;
    size_t typical_length; /* median number of grid values */
    size_t shorter_length; /* 25th percentile */
    size_t horizon;
    size_t windows; /* training origins in all series */
    double seconds; /* of the budget; 0 where training is by steps */
    uint32_t seasons[SEASONS_MAX];
};

/* Origins at the end of each series that training leaves out: about a hundred forecasts over all
 * series, at most 28 of one series and a tenth of its history. */
size_t recipe_held_back(const struct recipe_data *data);

/* Whether config->members names members that the recipe of its head has. */
enum status recipe_check_members(const struct model_config *config, struct error *error) MUST_USE;

/* Members with contexts that fit the data; the configuration's backbone options override theirs. */
enum status recipe_choose(const struct model_config *config, const struct recipe_data *data,
                          struct recipe *recipe, struct error *error) MUST_USE;

/* More steps than this only memorise: 1.5 passes over all windows, or 160,000 windows where there
 * are fewer, but never more than ten passes. At least 300. */
uint64_t recipe_steps_max(const struct member_config *member, size_t windows);

/* Turns on dropout and window mixing for a member that will see its windows more often than once.
 */
void recipe_regularise(struct member_config *member);
bool recipe_repeats(const struct member_config *member, size_t windows, uint64_t steps);

#endif
