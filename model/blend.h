/* The blend: which baseline is mixed into a model's forecasts of a series, and how much of it.
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

#define BLEND_SERIES_MAX 65536 /* in a model file */
#define BLEND_KEY_PARTS  4     /* a key as floats: 16 bits each */
#define BLEND_NUMBERS    3     /* baseline, season, share */

/* `season` is the seasonal naive's; 0 leaves a baseline the series' own seasons. */
struct blend_share {
    enum baseline baseline;
    uint32_t season;
    float share; /* of the baseline; 0 = the model alone, 1 = the baseline alone */
};

struct blend {
    struct blend_share group;
    uint64_t *keys; /* ascending */
    struct blend_share *shares;
    size_t count;
};

/* Room for `count` series. STATUS_NO_MEMORY. */
enum status blend_reserve(struct blend *blend, size_t count, struct error *error) MUST_USE;
void blend_release(struct blend *blend); /* harmless on a zeroed struct */

/* Adds a series within the room; keys in any order. Key 0 is nobody's and ignored. */
void blend_add(struct blend *blend, uint64_t key, struct blend_share share);

/* That of a series, or the group's. */
const struct blend_share *blend_of(const struct blend *blend, uint64_t key);

/* The longest season that any share names. */
uint32_t blend_longest_season(const struct blend *blend);

/* As tensors of a model file: `keys` [count, BLEND_KEY_PARTS], `numbers` [count, BLEND_NUMBERS].
 * The numbers of the baselines are part of the format. */
void blend_write(const struct blend *blend, float *keys, float *numbers);

/* And back. STATUS_CORRUPT for anything out of bounds, STATUS_NO_MEMORY. */
enum status blend_read(struct blend *blend, size_t count, const float *keys, const float *numbers,
                       struct error *error) MUST_USE;

#endif
