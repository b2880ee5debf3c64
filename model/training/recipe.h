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
    size_t held_back; /* origins at the end of each series that training leaves out */
};

/* What the recipe looks at. */
struct recipe_data {
    size_t series_count;
    size_t typical_length; /* median number of grid values */
    size_t horizon;
    uint32_t seasons[SEASONS_MAX];
};

/* Members with contexts that fit the data; the configuration's backbone options override theirs. */
enum status recipe_choose(const struct model_config *config, const struct recipe_data *data,
                          struct recipe *recipe, struct error *error) MUST_USE;

#endif
