/* Choosing the blend from held-back origins: the group's share first, then that of each series.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A choice is a baseline and a share of it. The losses of all choices at all places are computed
 * once. The group's are judged twice: relative to the sum of all values (wQL: large series count
 * more) and relative to each series' own seasonal difference (every series counts the same); their
 * geometric mean decides, and a share must earn its penalty.
 *
 * A series' own choice is shrunk towards the group's: what a choice gains at the series' few
 * origins is averaged with what it gains in the whole group, as if the group were PRIOR origins
 * more. So one lucky origin moves nothing, and a random walk among sines gets its last value.
 */
#include "model/training/blend_choose.h"

#include "base/memory.h"
#include "model/order.h"
#include "model/training/metrics.h"

#include <math.h>
#include <string.h>

#define METHODS_MAX   (3 + SEASONS_MAX)
#define SHARES        10                         /* 0.1 ... 1 */
#define CHOICES_MAX   (METHODS_MAX * SHARES + 1) /* the first one: the model alone */
#define GROUP_SHARES  7                          /* the group's share is at most 0.7 */
#define SCALED_CUT    20.0                       /* of the median: no single place decides */
#define SCALE_FLOOR   0.02                       /* of the series' deviation, for the scaled loss */
#define GROUP_PENALTY 0.02                       /* a share must earn this much of itself, */
#define OWN_PENALTY   0.02                       /* and a series' own choice this much at least */
#define PRIOR         6.0                        /* origins that the group's opinion is worth */

struct method {
    enum baseline baseline;
    uint32_t season;
};

struct chooser {
    const struct evaluation *evaluation;
    struct method methods[METHODS_MAX];
    size_t method_count, choice_count;
    double *losses; /* [places][choices] */
    double *absolute,
        *scale;       /* [places] of the actual values; of the scaled loss, 0 = not judged */
    uint64_t *points; /* [places] */
    double *sorted;   /* [places] scratch */
    double values[CHOICES_MAX]; /* of the whole group, the model alone has 1 */
};

/* ---------------------------------------------------------------- losses */

static void list_methods(struct chooser *chooser, const uint32_t seasons[SEASONS_MAX])
{
    struct method *methods = chooser->methods;
    methods[0] = (struct method){BASELINE_LAST_VALUE, 0};
    methods[1] = (struct method){BASELINE_DRIFT, 0};
    methods[2] = (struct method){BASELINE_DAMPED_TREND, 0};
    chooser->method_count = 3;
    for (size_t i = 0; i < SEASONS_MAX && seasons[i] > 0; i++) {
        methods[chooser->method_count] = (struct method){BASELINE_SEASONAL_NAIVE, seasons[i]};
        chooser->method_count++;
    }
    chooser->choice_count = 1 + chooser->method_count * SHARES;
}

static struct blend_share share_of(const struct chooser *chooser, size_t choice)
{
    if (choice == 0) {
        return (struct blend_share){BASELINE_LAST_VALUE, 0, 0.0f};
    }
    struct method method = chooser->methods[(choice - 1) / SHARES];
    float share = 0.1f * (float)((choice - 1) % SHARES + 1);
    return (struct blend_share){method.baseline, method.season, fminf(share, 1.0f)};
}

/* Memory for one place's forecasts. */
struct room {
    double *scratch, *actual;
    float *means, *baseline, *mixed;
};

static void measure_place(struct chooser *chooser, size_t index, const struct room *room)
{
    const struct evaluation *evaluation = chooser->evaluation;
    size_t horizon = evaluation->horizon;
    size_t values = horizon * QUANTILE_COUNT;
    struct forecast own = evaluation_get(evaluation, index);
    double *losses = chooser->losses + index * chooser->choice_count;
    evaluation_actual(evaluation, index, room->actual);
    losses[0] = metrics_quantile_loss(room->actual, &own, &chooser->absolute[index],
                                      &chooser->points[index]);
    struct model_series series = *evaluation->places[index].series;
    series.count = evaluation->places[index].origin;
    for (size_t m = 0; m < chooser->method_count; m++) {
        struct forecast out = {horizon, room->means, room->baseline};
        struct model_series seen = series;
        if (chooser->methods[m].season > 0) {
            memset(seen.seasons, 0, sizeof(seen.seasons));
            seen.seasons[0] = chooser->methods[m].season;
        }
        /* Where a baseline cannot, the model stands alone, as in service. */
        bool made = baseline_forecast(chooser->methods[m].baseline, &seen, room->scratch, &out);
        for (size_t s = 0; s < SHARES; s++) {
            float share = 0.1f * (float)(s + 1);
            struct forecast mixed = {horizon, room->means, room->mixed};
            for (size_t i = 0; i < values; i++) {
                float other = made ? room->baseline[i] : own.quantiles[i];
                room->mixed[i] = own.quantiles[i] + share * (other - own.quantiles[i]);
            }
            double absolute = 0.0;
            uint64_t points = 0;
            losses[1 + m * SHARES + s] =
                metrics_quantile_loss(room->actual, &mixed, &absolute, &points);
        }
    }
}

static enum status measure(struct chooser *chooser, struct error *error)
{
    const struct evaluation *evaluation = chooser->evaluation;
    size_t horizon = evaluation->horizon;
    size_t longest = 0;
    for (size_t i = 0; i < evaluation->count; i++) {
        size_t origin = evaluation->places[i].origin;
        longest = origin > longest ? origin : longest;
    }
    double *doubles = mem_array(4 * longest + horizon + 1, sizeof(double));
    float *floats = mem_array(horizon * (2 * QUANTILE_COUNT + 1), sizeof(float));
    enum status status = STATUS_OK;
    if (doubles == NULL || floats == NULL) {
        status = error_set(error, STATUS_NO_MEMORY, "could not blend baselines");
    }
    for (size_t i = 0; i < evaluation->count && status == STATUS_OK; i++) {
        struct room room = {.scratch = doubles,
                            .actual = doubles + 4 * longest,
                            .means = floats,
                            .baseline = floats + horizon,
                            .mixed = floats + horizon * (QUANTILE_COUNT + 1)};
        measure_place(chooser, i, &room);
    }
    mem_free(doubles);
    mem_free(floats);
    return status;
}

static void measure_scales(struct chooser *chooser, size_t season)
{
    const struct evaluation *evaluation = chooser->evaluation;
    for (size_t i = 0; i < evaluation->count; i++) {
        const struct evaluation_place *place = &evaluation->places[i];
        struct series_statistics statistics =
            series_statistics(place->series->values, place->origin);
        double scale = metrics_scale(place->series->values, place->origin, season);
        double floor = SCALE_FLOOR * statistics.deviation;
        chooser->scale[i] = scale > floor ? scale : floor;
    }
}

/* ---------------------------------------------------------------- the group */

/* Pooled and scaled loss of a choice. */
static void group_losses(const struct chooser *chooser, size_t choice, double *pooled,
                         double *scaled)
{
    double loss = 0.0;
    double absolute = 0.0;
    size_t places = 0;
    for (size_t i = 0; i < chooser->evaluation->count; i++) {
        double here = chooser->losses[i * chooser->choice_count + choice];
        loss += here;
        absolute += chooser->absolute[i];
        if (chooser->points[i] > 0 && chooser->scale[i] > 0.0) {
            chooser->sorted[places] = here / (double)chooser->points[i] / chooser->scale[i];
            places++;
        }
    }
    order_sort(chooser->sorted, places);
    double cut = SCALED_CUT * order_quantile(chooser->sorted, places, 0.5) + 1e-9;
    double sum = 0.0;
    for (size_t i = 0; i < places; i++) {
        sum += fmin(chooser->sorted[i], cut) / (double)places;
    }
    *pooled = loss / fmax(absolute, 1e-300);
    *scaled = sum;
}

static size_t choose_group(struct chooser *chooser)
{
    double pooled_alone = 0.0, scaled_alone = 0.0;
    group_losses(chooser, 0, &pooled_alone, &scaled_alone);
    chooser->values[0] = 1.0;
    size_t best = 0;
    double least = 1.0;
    for (size_t c = 1; c < chooser->choice_count; c++) {
        double pooled = 0.0, scaled = 0.0;
        group_losses(chooser, c, &pooled, &scaled);
        pooled = pooled_alone > 0.0 ? pooled / pooled_alone : 1.0;
        scaled = scaled_alone > 0.0 ? scaled / scaled_alone : 1.0;
        chooser->values[c] = sqrt(pooled * scaled);
        size_t share = (c - 1) % SHARES + 1;
        double value = chooser->values[c] + GROUP_PENALTY * 0.1 * (double)share;
        if (share <= GROUP_SHARES && value < least - 1e-9) {
            least = value;
            best = c;
        }
    }
    return best;
}

/* ---------------------------------------------------------------- series */

/* The choice of the series whose places are first .. last - 1. */
static size_t choose_own(const struct chooser *chooser, size_t first, size_t last, size_t group)
{
    double reference = 0.0;
    size_t origins = 0;
    for (size_t i = first; i < last; i++) {
        reference += chooser->losses[i * chooser->choice_count + group];
        origins += chooser->points[i] > 0 ? 1 : 0;
    }
    if (!(reference > 0.0) || origins == 0) {
        return group;
    }
    double weight = (double)origins / ((double)origins + PRIOR);
    double least = 1.0 - OWN_PENALTY;
    size_t best = group;
    for (size_t c = 0; c < chooser->choice_count; c++) {
        double loss = 0.0;
        for (size_t i = first; i < last; i++) {
            loss += chooser->losses[i * chooser->choice_count + c];
        }
        double value = weight * loss / reference +
                       (1.0 - weight) * chooser->values[c] / fmax(chooser->values[group], 1e-9);
        if (value < least) {
            least = value;
            best = c;
        }
    }
    return best;
}

static void choose_series(const struct chooser *chooser, size_t group, struct blend *blend)
{
    const struct evaluation_place *places = chooser->evaluation->places;
    size_t count = chooser->evaluation->count;
    for (size_t first = 0, last = 0; first < count; first = last) {
        while (last < count && places[last].series == places[first].series) {
            last++;
        }
        size_t own = choose_own(chooser, first, last, group);
        if (own != group) {
            blend_add(blend, places[first].series->key, share_of(chooser, own));
        }
    }
}

/* ---------------------------------------------------------------- the door */

static enum status chooser_init(struct chooser *chooser, const struct evaluation *evaluation,
                                const uint32_t seasons[SEASONS_MAX], struct error *error)
{
    size_t places = evaluation->count + 1;
    *chooser = (struct chooser){.evaluation = evaluation};
    list_methods(chooser, seasons);
    chooser->losses = mem_zeroed(places, chooser->choice_count * sizeof(double));
    chooser->absolute = mem_zeroed(places, sizeof(double));
    chooser->scale = mem_zeroed(places, sizeof(double));
    chooser->sorted = mem_zeroed(places, sizeof(double));
    chooser->points = mem_zeroed(places, sizeof(uint64_t));
    if (chooser->losses == NULL || chooser->absolute == NULL || chooser->scale == NULL ||
        chooser->sorted == NULL || chooser->points == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not blend baselines");
    }
    return STATUS_OK;
}

static void chooser_release(struct chooser *chooser)
{
    mem_free(chooser->losses);
    mem_free(chooser->absolute);
    mem_free(chooser->scale);
    mem_free(chooser->sorted);
    mem_free(chooser->points);
}

enum status blend_choose(const struct evaluation *evaluation, const uint32_t seasons[SEASONS_MAX],
                         struct blend *blend, struct error *error)
{
    struct chooser chooser;
    enum status status = chooser_init(&chooser, evaluation, seasons, error);
    if (status == STATUS_OK) {
        status = measure(&chooser, error);
    }
    if (status == STATUS_OK) {
        status = blend_reserve(blend, evaluation->count, error);
    }
    if (status == STATUS_OK) {
        measure_scales(&chooser, seasons[0] > 0 ? seasons[0] : 1);
        size_t group = choose_group(&chooser);
        blend->group = share_of(&chooser, group);
        choose_series(&chooser, group, blend);
    }
    chooser_release(&chooser);
    return status;
}
