/* The blend: which baselines are mixed into a model's forecasts of a series, and how much of each.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Series that held-back origins spoke of have a share of their own, all others the group's. A
 * series is known by its key (struct model_series), not by its place, so that a snapshot serves
 * whatever series come.
 *
 * Part of a snapshot: made by training or loading, then read only.
 */
#ifndef MODEL_BLEND_H
#define MODEL_BLEND_H

#include "model/model.h"

#define BLEND_SERIES_MAX 65536  /* in a model file */
#define BLEND_KEY_PARTS  4      /* a key as floats: 16 bits each */
#define BLEND_PARTS      4      /* baselines in one mixture, at most */
#define BLEND_NUMBERS    3      /* of a part in a file: baseline, season, share */
#define BLEND_ALONE      0.9999 /* the shares' sum from which on no model is needed */

/* `season` is the seasonal naive's; 0 leaves a baseline the series' own seasons. */
struct blend_part {
    enum baseline baseline;
    uint32_t season;
    float share; /* 0: no part */
};

/* Parts with a share come first, the largest before the others. What their sum leaves to 1 is the
 * model's; a sum of BLEND_ALONE is baselines alone. */
struct blend_mixture {
    struct blend_part parts[BLEND_PARTS];
};

struct blend {
    struct blend_mixture group;
    uint64_t *keys; /* ascending */
    struct blend_mixture *mixtures;
    size_t count;
};

/* Sum of the parts' shares, 0 to 1. */
float blend_baselines(const struct blend_mixture *mixture);

/* Room for `count` series. STATUS_NO_MEMORY. */
enum status blend_reserve(struct blend *blend, size_t count, struct error *error) MUST_USE;
void blend_release(struct blend *blend); /* harmless on a zeroed struct */

/* Adds a series within the room; keys in any order. Key 0 is nobody's and ignored. */
void blend_add(struct blend *blend, uint64_t key, const struct blend_mixture *mixture);

/* Whether a series has one of its own. */
bool blend_has(const struct blend *blend, uint64_t key);

/* That of a series, or the group's. */
const struct blend_mixture *blend_of(const struct blend *blend, uint64_t key);

/* The longest season that any part names. */
uint32_t blend_longest_season(const struct blend *blend);

/* As tensors of a model file: a mixture is [BLEND_PARTS, BLEND_NUMBERS], those of single series
 * `keys` [count, BLEND_KEY_PARTS] and `numbers` [count, BLEND_PARTS, BLEND_NUMBERS]. The numbers of
 * the baselines are part of the format. */
void blend_write_mixture(const struct blend_mixture *mixture, float *numbers);
void blend_write(const struct blend *blend, float *keys, float *numbers);

/* And back, from mixtures of `parts` parts. False, or STATUS_CORRUPT, for anything out of bounds;
 * STATUS_NO_MEMORY. */
bool blend_read_mixture(const float *numbers, size_t parts, struct blend_mixture *mixture) MUST_USE;
struct blend_tensors {
    const float *keys, *numbers;
    size_t count, parts;
};
enum status blend_read(struct blend *blend, const struct blend_tensors *from,
                       struct error *error) MUST_USE;

#endif
