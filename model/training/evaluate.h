/* Forecasts at held-back origins, side by side with what came and with the best baseline.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MODEL_TRAINING_EVALUATE_H
#define MODEL_TRAINING_EVALUATE_H

#include "model/snapshot.h"

#include <stdatomic.h>

#define EVALUATED_MAX 1024 /* origins of one evaluation; more are thinned out evenly */

struct evaluation_place {
    const struct model_series *series;
    size_t origin; /* the series is cut here for the forecast */
};

/* All the origins of one evaluation with their forecasts. */
struct evaluation {
    struct evaluation_place *places;
    size_t count;
    size_t horizon;
    int64_t newest_ms; /* time of the newest place, without its phase */
    float *means;      /* [count][H] */
    float *quantiles;  /* [count][Q][H] */
    const atomic_bool *cancel;
};

/* The newest `origins` origins of each series, one horizon apart, whose whole history before them
 * is at least `history` values and which a snapshot did not learn from. The last one may have fewer
 * than H values after it where `partial`. */
struct evaluation_wanted {
    const struct model_series *series;
    size_t series_count;
    size_t origins, history;
    const struct snapshot *unseen_by; /* NULL: any */
    size_t longer_than; /* a series with no more values than this has no origin; 0: any */
    bool partial;
    size_t places_max;         /* of all series, thinned out evenly; 0 = EVALUATED_MAX */
    const atomic_bool *cancel; /* looked at between places by all that goes through them; or NULL */
};
enum status evaluation_init(struct evaluation *evaluation, const struct evaluation_wanted *wanted,
                            size_t horizon, struct error *error) MUST_USE;
void evaluation_release(struct evaluation *evaluation);

/* How many horizons a place lies behind the newest one of all, rounded: the origins of one number
 * share their weather, also where series end at different minutes or some a little earlier. */
int64_t evaluation_back(const struct evaluation *evaluation, size_t index);

/* STATUS_CANCELLED where somebody has cancelled. */
enum status evaluation_go_on(const struct evaluation *evaluation, struct error *error) MUST_USE;

/* Fills means and quantiles. */
enum status evaluation_forecast(struct evaluation *evaluation, const struct snapshot *snapshot,
                                struct error *error) MUST_USE;

/* The forecast of one place, and the actual values behind its origin: `actual` has H doubles, NaN
 * where there is none. */
struct forecast evaluation_get(const struct evaluation *evaluation, size_t index);
void evaluation_actual(const struct evaluation *evaluation, size_t index, double *actual);

/* Figures of the forecasts that are in `evaluation`, and of the best baseline at the same places.
 */
struct evaluation_figures {
    double mase, wql, coverage80, baseline_mase, baseline_wql;
    uint64_t points;
    enum baseline baseline; /* the best one; meaningless without points */
};
enum status evaluation_figures(const struct evaluation *evaluation,
                               struct evaluation_figures *figures, struct error *error) MUST_USE;

#endif
