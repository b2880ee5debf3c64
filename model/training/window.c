/* The training set: which windows there are, drawing them, and filling them into a batch.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/training/window.h"

#include "base/check.h"
#include "base/memory.h"
#include "model/snapshot.h"
#include "model/training/metrics.h"

#include <math.h>

#define BALANCE_MINIMUM 0.2
#define BALANCE_MAXIMUM 5.0

/* First and last origin of a series whose training part ends at `last`; false where there is none.
 * Early origins see a mostly empty context: a third of the series is enough, so that short series
 * still teach. */
static bool origins(size_t last, size_t horizon, size_t context, size_t *low, size_t *high)
{
    if (last < horizon + 2) {
        return false;
    }
    *high = last - horizon;
    size_t third = last / 3 < context ? last / 3 : context;
    *low = third > 2 ? third : 2;
    if (*low > *high) {
        *low = *high;
    }
    return true;
}

static size_t observed(const double *values, size_t count)
{
    size_t seen = 0;
    for (size_t i = 0; i < count; i++) {
        seen += isnan(values[i]) ? 0 : 1;
    }
    return seen;
}

enum status training_set_init(struct training_set *set, const struct feature_plan *plan,
                              const struct model_series *series, size_t count, size_t held_back,
                              size_t season, struct error *error)
{
    *set = (struct training_set){.plan = plan};
    set->items = mem_zeroed(count, sizeof(set->items[0]));
    if (set->items == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not make the training set");
    }
    size_t lag = season > 0 ? season : 1;
    for (size_t i = 0; i < count; i++) {
        size_t low, high;
        bool enough = series[i].count >= LEARNED_MIN(plan->horizon) + held_back;
        size_t last = enough ? series[i].count - held_back : series[i].count;
        if (observed(series[i].values, last) < 3 ||
            !origins(last, plan->horizon, plan->horizon, &low, &high)) {
            continue;
        }
        struct training_series *item = &set->items[set->count];
        item->zone = time_zone_or_utc(series[i].time_zone);
        set->count++;
        item->series = &series[i];
        item->last = last;
        item->statistics = series_statistics(series[i].values, last);
        double difference = metrics_scale(series[i].values, last, lag);
        double floor = 0.05 * item->statistics.deviation;
        item->seasonal_difference = difference > floor ? difference : floor;
        set->windows += high - low + 1;
    }
    if (set->windows == 0) {
        training_set_release(set);
        error_set(error, STATUS_INVALID,
                  "cannot train: no series has the %zu values that a horizon of %zu steps needs",
                  plan->horizon + 3, plan->horizon);
        return error_hint(error, "Wait for more data or choose a shorter horizon.");
    }
    return STATUS_OK;
}

void training_set_release(struct training_set *set)
{
    mem_free(set->items);
    *set = (struct training_set){0};
}

enum status window_sampler_init(struct window_sampler *sampler, const struct training_set *set,
                                const struct member *member, struct error *error)
{
    *sampler = (struct window_sampler){.set = set, .member = member};
    sampler->cumulative = mem_zeroed(set->count, sizeof(double));
    sampler->eligible = mem_zeroed(set->count, sizeof(uint32_t));
    if (sampler->cumulative == NULL || sampler->eligible == NULL) {
        window_sampler_release(sampler);
        return error_set(error, STATUS_NO_MEMORY, "could not make the window sampler");
    }
    double total = 0.0;
    for (size_t i = 0; i < set->count; i++) {
        size_t low, high;
        if (origins(set->items[i].last, member->horizon, member->shape.context, &low, &high)) {
            total += pow((double)(high - low + 1), member->config.length_weight);
            sampler->cumulative[sampler->eligible_count] = total;
            sampler->eligible[sampler->eligible_count] = (uint32_t)i;
            sampler->eligible_count++;
        }
    }
    CHECK(sampler->eligible_count > 0);
    for (size_t i = 0; i < sampler->eligible_count; i++) {
        sampler->cumulative[i] /= total;
    }
    return STATUS_OK;
}

void window_sampler_release(struct window_sampler *sampler)
{
    mem_free(sampler->cumulative);
    mem_free(sampler->eligible);
    *sampler = (struct window_sampler){0};
}

void window_origins(const struct window_sampler *sampler, size_t series, size_t *first,
                    size_t *last)
{
    const struct member *member = sampler->member;
    bool any = origins(sampler->set->items[series].last, member->horizon, member->shape.context,
                       first, last);
    CHECK(any);
}

struct window_place window_draw(const struct window_sampler *sampler, struct random *random)
{
    double u = random_uniform(random);
    size_t low = 0;
    size_t high = sampler->eligible_count - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (sampler->cumulative[middle] <= u) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    struct window_place place = {.series = sampler->eligible[low]};
    const struct member *member = sampler->member;
    size_t first, last;
    window_origins(sampler, place.series, &first, &last);
    /* Distance from the newest origin: u^newest crowds it towards zero. */
    double back = pow(random_uniform(random), member->config.newest) * (double)(last - first + 1);
    size_t steps = (size_t)back < last - first ? (size_t)back : last - first;
    place.origin = last - steps;
    return place;
}

/* Scaled targets of `count` steps from index `from` (may be negative), and their weights. */
static void load_targets(const struct training_series *item, const struct window_scale *scale,
                         int64_t from, size_t count, real weight, real *target, real *weights)
{
    for (size_t i = 0; i < count; i++) {
        int64_t at = from + (int64_t)i;
        bool inside = at >= 0 && at < (int64_t)item->last;
        double value = inside ? item->series->values[at] : (double)NAN;
        bool seen = !isnan(value);
        target[i] = seen ? window_scaled(scale, value) : 0;
        weights[i] = seen ? weight : 0;
    }
}

static struct window_source source_at(const struct window_sampler *sampler,
                                      const struct window_place *place)
{
    const struct member *member = sampler->member;
    const struct training_series *item = &sampler->set->items[place->series];
    const struct model_series *series = item->series;
    bool gaussian = member->config.head == HEAD_GAUSSIAN;
    return (struct window_source){
        .values = series->values,
        .origin = place->origin,
        .known = place->origin + (gaussian ? member->horizon : 0),
        .origin_step = series->start_ms / series->step_ms + (int64_t)place->origin,
        .phase_ms = grid_phase(series),
        .zone = item->zone,
        .statistics = item->statistics,
    };
}

struct window_scale window_scale_at(const struct window_sampler *sampler,
                                    const struct window_place *place)
{
    struct window_source source = source_at(sampler, place);
    return window_scale(&sampler->member->shape, &source);
}

void window_load(const struct window_sampler *sampler, struct window_place place,
                 const struct network_batch *batch, size_t row)
{
    const struct member *member = sampler->member;
    const struct training_series *item = &sampler->set->items[place.series];
    bool gaussian = member->config.head == HEAD_GAUSSIAN;
    struct window_source source = source_at(sampler, &place);
    struct window_scale scale =
        place.scale != NULL ? *place.scale : window_scale(&member->shape, &source);
    struct window_inputs inputs = network_row(member, batch, row);
    window_fill(sampler->set->plan, &member->shape, &source, &scale, &inputs);
    double weight = 1.0;
    if (member->config.balanced) {
        weight = scale.scale / item->seasonal_difference;
        weight = fmax(BALANCE_MINIMUM, fmin(BALANCE_MAXIMUM, weight));
    }
    size_t steps = gaussian ? member->tokens : member->horizon;
    int64_t from = (int64_t)place.origin - (gaussian ? (int64_t)member->shape.context : 0);
    load_targets(item, &scale, from, steps, (real)weight, batch->target->data + row * steps,
                 batch->weight->data + row * steps);
}

/* a = lam a + (1 - lam) b over a row of plain values. */
static void mix_values(real *a, const real *b, size_t count, real lam)
{
    for (size_t i = 0; i < count; i++) {
        a[i] = lam * a[i] + (1 - lam) * b[i];
    }
}

/* The value and mask pairs of all steps: a value without both masks is 0. */
static void mix_steps(const struct member *member, real *a, const real *b, real lam)
{
    size_t pairs = 1 + (member->shape.use_lags ? member->lag_count : 0);
    size_t steps = member->shape.context + member->shape.steps;
    for (size_t t = 0; t < steps; t++) {
        real *to = a + t * member->features;
        const real *from = b + t * member->features;
        for (size_t i = 0; i < pairs; i++) {
            real mask = to[2 * i + 1] * from[2 * i + 1];
            to[2 * i] = mask * (lam * to[2 * i] + (1 - lam) * from[2 * i]);
            to[2 * i + 1] = mask;
        }
    }
}

void windows_mix(const struct window_sampler *sampler, const struct network_batch *batch,
                 struct random *random)
{
    const struct member *member = sampler->member;
    size_t targets = tensor_size(batch->target) / batch->count;
    if (!(member->config.mix > 0.0)) {
        return;
    }
    /* In order, so that the partner is still unmixed; the last one has none. */
    for (size_t row = 0; row + 1 < batch->count; row++) {
        bool mixed = random_uniform(random) < member->config.mix;
        real lam = (real)(0.5 + 0.5 * random_uniform(random));
        if (!mixed) {
            continue;
        }
        struct window_inputs a = network_row(member, batch, row);
        struct window_inputs b = network_row(member, batch, row + 1);
        mix_steps(member, a.steps, b.steps, lam);
        if (a.context != NULL) {
            mix_values(a.context, b.context, member->shape.context, lam);
        }
        if (a.lags != NULL) {
            mix_values(a.lags, b.lags, member->skip_count * member->horizon, lam);
        }
        real *weight = batch->weight->data + row * targets;
        for (size_t i = 0; i < targets; i++) {
            weight[i] = weight[i + targets] > 0 ? weight[i] : 0;
        }
        real *target = batch->target->data + row * targets;
        mix_values(target, target + targets, targets, lam);
    }
}
