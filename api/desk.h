/* Inside of making forecasts: the buffers of one thread.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_DESK_H
#define API_DESK_H

#include "api/forecast_make.h"

#define DESK_FORECASTERS 4
#define SHIFT_VALUES     1024 /* newest ones among which a level shift is looked for */

struct forecast_desk {
    struct api_services *services;
    struct storage_reader *reader;
    struct point *points; /* the newest points of one series */
    size_t points_capacity;
    struct time_spans excluded; /* of the series that desk_excluded was asked about last */
    double *scratch;            /* for baselines */
    size_t scratch_capacity;
    float *floats; /* for vintages */
    size_t floats_capacity;
    struct {
        struct snapshot *snapshot; /* counted, as long as its workspace stands here */
        struct forecaster *forecaster;
        int64_t used_ns; /* last, by the monotonic clock */
    } slots[DESK_FORECASTERS];
};

/* The newest points of a series, at least `wanted` where it has them: in desk->points. */
enum status desk_read(struct forecast_desk *desk, uint32_t id, size_t wanted, size_t *count,
                      struct error *error) MUST_USE;

/* The spans of a series that are not to be learned from: in desk->excluded. */
void desk_excluded(struct forecast_desk *desk, const struct series_info *info);

/* Whether a series was ever negative: from stretches of its points that are spread over all of its
 * time, without what is excluded. False where these cannot be read. */
bool desk_negative(struct forecast_desk *desk, const struct series_info *info);

/* Room for `count` points in desk->points. */
enum status desk_room(struct forecast_desk *desk, size_t count, struct error *error) MUST_USE;

/* Room for `count` doubles in desk->scratch. */
enum status desk_scratch(struct forecast_desk *desk, size_t count, struct error *error) MUST_USE;

/* Room for `count` floats in desk->floats. */
enum status desk_floats(struct forecast_desk *desk, size_t count, struct error *error) MUST_USE;

/* The workspace of a snapshot. It is kept until others push it out, or nobody has asked for it for a
 * minute, or another one is made after the registry has let go of the snapshot. */
enum status desk_forecaster(struct forecast_desk *desk, struct snapshot *snapshot,
                            struct forecaster **out, struct error *error) MUST_USE;

#endif
