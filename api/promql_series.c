/* Selectors of PromQL over the store and over forecasts.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/forecast_make.h"
#include "api/promql.h"
#include "api/promql_points.h"
#include "api/track.h"
#include "base/clock.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

struct found {
    uint32_t id;
    enum promql_variant variant;
    char *labels;
    size_t labels_length;
};

/* One selector on its way. */
struct selection {
    struct promql_evaluation *evaluation;
    const struct promql_node *node;
    enum promql_function function;
    struct found *found;
    size_t count, capacity, forecasts;
    struct promql_points points;
    struct promql_matrix *out;
};

/* How long a value lasts, by the instant. */
struct lookback {
    int64_t ms, future_ms; /* up to now, and behind it */
    int64_t ended_ms;      /* no value from here on; INT64_MAX: not ended */
    bool stored;           /* old ones may have been downsampled */
};

static enum status too_many(const char *what, size_t maximum, struct error *error)
{
    error_set(error, STATUS_TOO_LARGE, "a selector of the query means more than %zu %s", maximum,
              what);
    return error_code(error, "promql_limit", NULL);
}

static enum status note_found(void *context, uint32_t id, enum promql_variant variant,
                              struct slice labels, struct error *error)
{
    struct selection *selection = context;
    size_t forecast_max =
        atomic_load(&selection->evaluation->worker->services->limits)->forecast_series_max;
    bool another = variant != PROMQL_ACTUAL &&
                   (selection->count == 0 || selection->found[selection->count - 1].id != id ||
                    selection->found[selection->count - 1].variant == PROMQL_ACTUAL);
    selection->forecasts += another;
    if (selection->count == PROMQL_SERIES_MAX) {
        return too_many("series", PROMQL_SERIES_MAX, error);
    }
    if (selection->forecasts > forecast_max) {
        return too_many("forecasts", forecast_max, error);
    }
    if (selection->count == selection->capacity) {
        size_t capacity = selection->capacity ? 2 * selection->capacity : 16;
        struct found *bigger = mem_resize(selection->found, capacity, sizeof(*bigger));
        if (!bigger) {
            return error_set(error, STATUS_NO_MEMORY, "no memory for a query");
        }
        selection->found = bigger;
        selection->capacity = capacity;
    }
    char *copy = mem_copy_text(labels.bytes, labels.length);
    if (!copy) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for a query");
    }
    selection->found[selection->count++] = (struct found){id, variant, copy, labels.length};
    return STATUS_OK;
}

/* The instant of the selector's last value, offset and all. */
static int64_t instant_ms(const struct selection *selection, size_t index)
{
    const struct promql_evaluation *evaluation = selection->evaluation;
    return evaluation->start_ms + (int64_t)index * evaluation->step_ms - selection->node->offset_ms;
}

static int64_t width_at(const struct selection *selection, const struct lookback *lookback,
                        int64_t time_ms)
{
    if (selection->node->range_ms > 0) {
        return selection->node->range_ms;
    }
    const struct promql_evaluation *evaluation = selection->evaluation;
    if (time_ms > evaluation->now_ms) {
        return lookback->future_ms;
    }
    int64_t thinned_ms =
        lookback->stored
            ? storage_thinned_ms(evaluation->worker->services->storage, evaluation->now_ms, time_ms)
            : 0;
    return 2 * thinned_ms > lookback->ms ? 2 * thinned_ms : lookback->ms;
}

/* One row from selection->points, left out where it has no value. */
static enum status fill_row(struct selection *selection, const struct found *found,
                            const struct lookback *lookback, struct error *error)
{
    struct promql_row *row = NULL;
    const struct promql_evaluation *evaluation = selection->evaluation;
    struct slice labels = {found->labels, found->labels_length};
    bool any = false;
    if (promql_matrix_add(selection->out, labels, &row, error) != STATUS_OK) {
        return error->status;
    }
    for (size_t i = 0; i < evaluation->instants; i++) {
        int64_t time_ms = instant_ms(selection, i);
        if (selection->node->range_ms == 0 && time_ms >= lookback->ended_ms) {
            break;
        }
        struct promql_window window = {.start_ms = time_ms - width_at(selection, lookback, time_ms),
                                       .end_ms = time_ms};
        if (promql_points_slide(&selection->points, evaluation->step_ms, &window, error) !=
                STATUS_OK ||
            promql_work(selection->points.budget, window.count, error) != STATUS_OK) {
            return error->status;
        }
        row->values[i] = promql_apply(selection->function, &window);
        any = any || !promql_is_absent(row->values[i]);
    }
    if (!any) {
        promql_matrix_pop(selection->out);
        return STATUS_OK;
    }
    return promql_keeps_name(selection->function)
               ? STATUS_OK
               : promql_row_pick(row, &promql_name_key, 1, false, error);
}

static struct lookback lookback_of(int64_t step_ms)
{
    int64_t two_steps = 2 * step_ms;
    return (struct lookback){two_steps > PROMQL_LOOKBACK_MS ? two_steps : PROMQL_LOOKBACK_MS,
                             PROMQL_LOOKBACK_MS, INT64_MAX, false};
}

/* A series deleted meanwhile is left out. */
static enum status read_actual(struct selection *selection, const struct found *found,
                               struct error *error)
{
    struct api_worker *worker = selection->evaluation->worker;
    struct series_info info;
    struct series_facts facts;
    struct error ignored = {0};
    if (storage_series_info(worker->services->storage, found->id, &info, &ignored) != STATUS_OK) {
        return STATUS_OK;
    }
    if (forecast_facts(worker->desk, &info, true, &facts, error) != STATUS_OK) {
        return error->status;
    }
    struct lookback lookback = lookback_of(facts.step_ms);
    lookback.stored = true;
    if (info.ended) {
        lookback.ended_ms = info.last_ms + (facts.step_ms > 0 ? facts.step_ms : PROMQL_LOOKBACK_MS);
    }
    promql_points_open(&selection->points, worker->reader, found->id,
                       instant_ms(selection, selection->evaluation->instants - 1));
    return fill_row(selection, found, &lookback, error);
}

/* ---------------------------------------------------------------- forecasts */

/* Steps that the last instant wants; 0 where that lies before the first of them. */
static enum status steps_wanted(struct selection *selection, uint32_t id, size_t *steps,
                                struct error *error)
{
    struct api_worker *worker = selection->evaluation->worker;
    size_t maximum = atomic_load(&worker->services->limits)->horizon_max;
    struct series_info info;
    struct series_facts facts;
    struct error ignored = {0};
    *steps = 0;
    if (storage_series_info(worker->services->storage, id, &info, &ignored) != STATUS_OK ||
        info.points < 2) {
        return STATUS_OK;
    }
    if (forecast_facts(worker->desk, &info, true, &facts, error) != STATUS_OK) {
        return error->status;
    }
    if (facts.step_ms <= 0) {
        return STATUS_OK;
    }
    /* Not one more than that: beyond its horizon a model has to run again. */
    int64_t origin_ms = forecast_origin_ms(&info, &facts, clock_wall_ms());
    int64_t ahead_ms = instant_ms(selection, selection->evaluation->instants - 1) - origin_ms;
    if (ahead_ms > 0) {
        int64_t wanted = (ahead_ms + facts.step_ms - 1) / facts.step_ms;
        *steps = wanted < (int64_t)maximum ? (size_t)wanted : maximum;
    }
    return STATUS_OK;
}

static double value_at(const struct forecast_made *made, size_t step, enum promql_variant variant)
{
    switch (variant) {
    case PROMQL_LOWER:
        return forecast_level(made, step, 0.1);
    case PROMQL_UPPER:
        return forecast_level(made, step, 0.9);
    case PROMQL_ACTUAL:
    case PROMQL_YHAT:
    case PROMQL_VARIANTS:
        break;
    }
    return forecast_mean(&made->forecast, step, made->minimum, made->maximum);
}

static enum status fill_forecast(struct selection *selection, const struct found *found,
                                 const struct forecast_made *made, struct error *error)
{
    size_t horizon = made->forecast.horizon;
    struct lookback lookback = lookback_of(made->facts.step_ms);
    if (promql_points_room(&selection->points, horizon, error) != STATUS_OK) {
        return error->status;
    }
    for (size_t h = 0; h < horizon; h++) {
        selection->points.buffer[h] = (struct point){
            forecast_time_ms(made, h + 1),
            value_at(made, h, found->variant),
        };
    }
    promql_points_fixed(&selection->points, horizon);
    /* between two forecasts its value lasts, behind the last one it does not */
    lookback.future_ms = lookback.ms;
    lookback.ended_ms = forecast_time_ms(made, horizon + 1);
    return fill_row(selection, found, &lookback, error);
}

/* Rows of one made forecast: the variants of its series that were found, from *at on. */
static enum status fill_variants(struct selection *selection, size_t *at,
                                 const struct forecast_made *made, struct error *error)
{
    struct tracks *tracks = selection->evaluation->worker->services->tracks;
    for (; *at < selection->count; ++*at) {
        const struct found *found = &selection->found[*at];
        if (found->id != made->id) {
            break;
        }
        if (found->variant != PROMQL_ACTUAL && !made->skipped &&
            fill_forecast(selection, found, made, error) != STATUS_OK) {
            return error->status;
        }
    }
    if (!made->skipped) {
        track_asked(tracks, made->id, made->issued_ms);
    }
    return STATUS_OK;
}

struct batch {
    uint32_t ids[DESK_SERIES_MAX];
    size_t at[DESK_SERIES_MAX]; /* where the series begins among those found */
    size_t count, steps;
};

static enum status run_batch(struct selection *selection, struct batch *batch, struct error *error)
{
    struct forecast_made made[DESK_SERIES_MAX];
    struct forecast_order order = {
        .ids = batch->ids,
        .count = batch->count,
        .steps = batch->steps,
        .steps_max = batch->steps,
        .skip_short = true,
    };
    enum status status = STATUS_OK;
    if (batch->count > 0) {
        status = forecast_make(selection->evaluation->worker->desk, &order, made, error);
    }
    bool is_made = status == STATUS_OK;
    for (size_t i = 0; i < batch->count && is_made; i++) {
        if (status == STATUS_OK) {
            status = fill_variants(selection, &batch->at[i], &made[i], error);
        }
        forecast_made_release(&made[i]);
    }
    size_t work = ((size_t)1 << 16) * batch->count;
    batch->count = batch->steps = 0;
    return status == STATUS_OK ? promql_work(&selection->evaluation->budget, work, error) : status;
}

static enum status read_forecasts(struct selection *selection, struct error *error)
{
    struct batch batch = {.count = 0};
    uint32_t last = 0;
    for (size_t i = 0; i < selection->count; i++) {
        const struct found *found = &selection->found[i];
        size_t steps = 0;
        if (found->variant == PROMQL_ACTUAL || found->id == last) {
            continue;
        }
        last = found->id;
        if (steps_wanted(selection, found->id, &steps, error) != STATUS_OK) {
            return error->status;
        }
        if (steps == 0) {
            continue;
        }
        batch.ids[batch.count] = found->id;
        batch.at[batch.count++] = i;
        batch.steps = steps > batch.steps ? steps : batch.steps;
        if (batch.count == DESK_SERIES_MAX && run_batch(selection, &batch, error) != STATUS_OK) {
            return error->status;
        }
    }
    return run_batch(selection, &batch, error);
}

/* ---------------------------------------------------------------- */

static enum status read_all(struct selection *selection, struct error *error)
{
    struct promql_selection wanted = {&selection->node->selector,     1,          true,
                                      &selection->evaluation->budget, note_found, selection};
    if (promql_select(&selection->evaluation->worker->view, &wanted, error) != STATUS_OK) {
        return error->status;
    }
    for (size_t i = 0; i < selection->count; i++) {
        if (selection->found[i].variant == PROMQL_ACTUAL &&
            read_actual(selection, &selection->found[i], error) != STATUS_OK) {
            return error->status;
        }
    }
    if (read_forecasts(selection, error) != STATUS_OK) {
        return error->status;
    }
    return promql_matrix_join(selection->out, error);
}

enum status promql_evaluate_selector(struct promql_evaluation *evaluation,
                                     const struct promql_node *selector,
                                     enum promql_function function, struct promql_matrix *out,
                                     struct error *error)
{
    struct selection selection = {
        .evaluation = evaluation,
        .node = selector,
        .function = function,
        .points = {.budget = &evaluation->budget},
        .out = out,
    };
    enum status status = read_all(&selection, error);
    for (size_t i = 0; i < selection.count; i++) {
        mem_free(selection.found[i].labels);
    }
    mem_free(selection.found);
    promql_points_release(&selection.points);
    return status;
}
