/* Groups of series for training: all series of one step, their newest values on the grid.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Where the values of all series would not fit, each series first gives up length, down to
 * VALUES_SHORT; then whole series are left out, evenly over the ids. Looking for seasons takes
 * milliseconds a series: of a large group some hundred witnesses are asked.
 */
#include "api/call.h"
#include "api/forecast_make.h"

#include "base/check.h"
#include "base/log.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define GROUPS_MAX   64
#define VALUES_SHORT 1024
#define OBSERVED_MIN 16 /* a shorter series teaches nothing */
#define PAGE_IDS     256
#define WITNESSES    256 /* series whose seasons are looked for; the others follow their vote */

struct group_memory {
    size_t count;
    double **values; /* of each series */
    char (*zones)[48];
    bool *seasons_known;
};

/* Calls `visit` for every series with its step. */
typedef enum status (*step_visit)(void *context, const struct series_info *info, int64_t step_ms,
                                  struct error *error);

/* What says nothing about the other series: it was deleted since, its time zone cannot be read now,
 * or one of its chunks is damaged (the store has told of it, and sets it aside). */
static bool concerns_one(enum status status)
{
    return status == STATUS_NOT_FOUND || status == STATUS_BUSY || status == STATUS_CORRUPT;
}

static enum status each_series(struct api_worker *worker, const struct selector *only,
                               step_visit visit, void *context, struct error *error)
{
    uint32_t ids[PAGE_IDS], after = 0;
    size_t found;
    do {
        found = storage_series_list(worker->services->storage, only, after, ids, PAGE_IDS);
        for (size_t i = 0; i < found; i++) {
            struct series_info info;
            struct series_facts facts;
            struct error gone = {0};
            after = ids[i];
            if (storage_series_info(worker->services->storage, ids[i], &info, &gone) != STATUS_OK ||
                info.points < OBSERVED_MIN) {
                continue;
            }
            enum status known = forecast_facts(worker->desk, &info, true, &facts, error);
            if (concerns_one(known)) {
                *error = (struct error){0};
                continue;
            }
            if (known != STATUS_OK) {
                return known;
            }
            if (facts.step_ms > 0 && visit(context, &info, facts.step_ms, error) != STATUS_OK) {
                return error->status;
            }
        }
    } while (found == PAGE_IDS);
    return STATUS_OK;
}

struct census {
    int64_t *steps_ms;
    size_t *counts;
    uint64_t *points; /* may be NULL */
    size_t count, maximum;
    bool more; /* than there is room for */
};

static enum status count_step(void *context, const struct series_info *info, int64_t step_ms,
                              struct error *error)
{
    struct census *census = context;
    size_t i = 0;
    (void)error;
    while (i < census->count && census->steps_ms[i] != step_ms) {
        i++;
    }
    if (i == census->maximum) {
        census->more = true;
        return STATUS_OK;
    }
    if (i == census->count) {
        census->count++;
        census->steps_ms[i] = step_ms;
        census->counts[i] = 0;
        if (census->points) {
            census->points[i] = 0;
        }
    }
    census->counts[i]++;
    if (census->points) {
        census->points[i] += info->points;
    }
    return STATUS_OK;
}

size_t api_groups_points(struct api_worker *worker, int64_t *steps_ms, size_t *series_counts,
                         uint64_t *points, size_t maximum)
{
    struct census census = {steps_ms, series_counts, points, 0, maximum, false};
    struct error error = {0};
    enum status status = each_series(worker, NULL, count_step, &census, &error);
    if (status == STATUS_OK && !census.more) { /* else some may not have been counted */
        registry_note_groups(worker->services->registry, steps_ms, census.count);
    }
    return census.count + (census.more ? 1 : 0);
}

size_t api_groups(struct api_worker *worker, int64_t *steps_ms, size_t *series_counts,
                  size_t maximum)
{
    return api_groups_points(worker, steps_ms, series_counts, NULL, maximum);
}

static size_t count_chosen(struct api_worker *worker, const struct selector *only)
{
    uint32_t ids[PAGE_IDS], after = 0;
    size_t found, total = 0;
    do {
        found = storage_series_list(worker->services->storage, only, after, ids, PAGE_IDS);
        total += found;
        after = found > 0 ? ids[found - 1] : after;
    } while (found == PAGE_IDS);
    return total;
}

int64_t api_group_step(struct api_worker *worker, const struct selector *only, size_t *others)
{
    int64_t steps_ms[GROUPS_MAX];
    size_t counts[GROUPS_MAX], most = 0;
    struct census census = {steps_ms, counts, NULL, 0, GROUPS_MAX, false};
    struct error error = {0};
    (void)each_series(worker, only, count_step, &census, &error);
    for (size_t i = 1; i < census.count; i++) {
        most = counts[i] > counts[most] ? i : most;
    }
    size_t total = count_chosen(worker, only);
    size_t of_step = census.count > 0 ? counts[most] : 0;
    *others = total > of_step ? total - of_step : 0;
    return census.count > 0 ? steps_ms[most] : 0;
}

/* ---------------------------------------------------------------- loading */

struct loading {
    struct api_worker *worker;
    struct api_group *group;
    struct group_memory *memory;
    int64_t step_ms;
    size_t capacity, values_max;
    size_t total, taken; /* series of the group; of them met until now and wanted */
    size_t seen, wanted;
    size_t bytes_max, held_back;
    const atomic_bool *cancel;
};

static enum status count_group(void *context, const struct series_info *info, int64_t step_ms,
                               struct error *error)
{
    struct loading *loading = context;
    (void)info;
    (void)error;
    loading->total += step_ms == loading->step_ms;
    return STATUS_OK;
}

static size_t count_observed(const double *values, size_t count)
{
    size_t observed = 0;
    for (size_t i = 0; i < count; i++) {
        observed += !isnan(values[i]);
    }
    return observed;
}

/* As they can be seen before the part that is held back. */
static void see_seasons(size_t held_back, struct model_series *series)
{
    size_t seen = series->count > held_back ? series->count - held_back : 0;
    season_detect(series->values, seen, series->step_ms, series->seasons);
}

/* A series whose time zone or points cannot be read now: the others learn without it. */
static void leave_unreadable(struct api_group *group, const struct series_info *info,
                             struct error *error)
{
    char quoted[2 * sizeof(error->text)];
    log_warning("train", "a series is left out", "id=%u reason=%s", info->id,
                log_quote(error->text, strlen(error->text), quoted, sizeof(quoted)));
    *error = (struct error){0};
    group->unfit++;
}

static enum status load_one(void *context, const struct series_info *info, int64_t step_ms,
                            struct error *error)
{
    struct loading *loading = context;
    struct api_group *group = loading->group;
    if (step_ms != loading->step_ms) {
        return STATUS_OK;
    }
    if (loading->cancel && atomic_load(loading->cancel)) {
        return error_set(error, STATUS_CANCELLED, "loading the group was cancelled");
    }
    /* Every series is taken where all fit, otherwise those at which the share grows by one. */
    size_t before = loading->seen * loading->wanted / loading->total;
    size_t after = ++loading->seen * loading->wanted / loading->total;
    if (after == before || group->count == loading->capacity || loading->seen > loading->total) {
        group->left_out++;
        return STATUS_OK;
    }
    double *values = NULL;
    struct model_series series;
    struct series_facts facts;
    bool witness = group->count % (loading->wanted / WITNESSES + 1) == 0;
    bool to_see = loading->held_back > 0 && !info->settings.has_season;
    struct grid_order order = {.maximum = loading->values_max, .cheap = to_see || !witness};
    enum status status =
        forecast_grid(loading->worker->desk, info, &order, &values, &series, &facts, error);
    if (concerns_one(status) && status != STATUS_NOT_FOUND) {
        leave_unreadable(group, info, error);
        return STATUS_OK;
    }
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        return status;
    }
    /* Meanwhile it may have been deleted, or been given another step. */
    bool changed = status == STATUS_NOT_FOUND || series.step_ms != step_ms;
    size_t bytes = series.count * sizeof(double);
    bool unfit = changed || count_observed(series.values, series.count) < OBSERVED_MIN;
    if (unfit || group->bytes + bytes > loading->bytes_max) {
        mem_free(values);
        group->unfit += unfit;
        group->left_out += !unfit;
        return STATUS_OK;
    }
    double *fitted = mem_resize(values, series.count, sizeof(double));
    values = fitted ? fitted : values;
    size_t at = group->count++;
    snprintf(loading->memory->zones[at], sizeof(loading->memory->zones[at]), "%s",
             info->settings.time_zone);
    series.values = values;
    series.time_zone = loading->memory->zones[at][0] ? loading->memory->zones[at] : NULL;
    loading->memory->values[at] = values;
    loading->memory->count = group->count;
    loading->memory->seasons_known[at] = to_see ? witness : facts.with_seasons;
    if (to_see && witness) {
        see_seasons(loading->held_back, &series);
    }
    group->bytes += bytes;
    group->series[at] = series;
    group->ids[at] = info->id;
    return STATUS_OK;
}

/* How many of the series whose seasons are known have this one. */
static size_t votes_for(const struct loading *loading, uint32_t season, size_t *voters)
{
    size_t votes = 0;
    *voters = 0;
    for (size_t i = 0; i < loading->group->count; i++) {
        const uint32_t *seasons = loading->group->series[i].seasons;
        if (loading->memory->seasons_known[i]) {
            votes += seasons[0] == season || seasons[1] == season || seasons[2] == season;
            *voters += 1;
        }
    }
    return votes;
}

/* Series that nobody looked at get those seasons of a witness that half of the witnesses share. */
static void share_seasons(struct loading *loading)
{
    struct api_group *group = loading->group;
    uint32_t shared[SEASONS_MAX] = {0};
    size_t most = 0;
    for (size_t i = 0; i < group->count; i++) {
        uint32_t agreed[SEASONS_MAX] = {0};
        size_t count = 0, voters = 0;
        for (size_t k = 0; k < SEASONS_MAX && loading->memory->seasons_known[i]; k++) {
            uint32_t season = group->series[i].seasons[k];
            if (season > 0 && 2 * votes_for(loading, season, &voters) >= voters) {
                agreed[count++] = season;
            }
        }
        if (count > most) {
            most = count;
            memcpy(shared, agreed, sizeof(shared));
        }
        if (most == SEASONS_MAX) {
            break;
        }
    }
    for (size_t i = 0; i < group->count; i++) {
        if (!loading->memory->seasons_known[i]) {
            memcpy(group->series[i].seasons, shared, sizeof(shared));
        }
    }
}

static enum status make_room(struct loading *loading, struct error *error)
{
    struct api_group *group = loading->group;
    size_t count = loading->capacity ? loading->capacity : 1;
    loading->memory = mem_zeroed(1, sizeof(*loading->memory));
    group->memory = loading->memory;
    group->series = mem_zeroed(count, sizeof(*group->series));
    group->ids = mem_zeroed(count, sizeof(*group->ids));
    if (loading->memory) {
        loading->memory->values = mem_zeroed(count, sizeof(*loading->memory->values));
        loading->memory->zones = mem_zeroed(count, sizeof(*loading->memory->zones));
        loading->memory->seasons_known = mem_zeroed(count, sizeof(bool));
    }
    bool made = loading->memory && group->series && group->ids && loading->memory->values &&
                loading->memory->zones && loading->memory->seasons_known;
    return made ? STATUS_OK : error_set(error, STATUS_NO_MEMORY, "no memory for a group of series");
}

enum status api_group_load(struct api_worker *worker, const struct api_group_order *order,
                           struct api_group *group, struct error *error)
{
    struct loading loading = {.worker = worker,
                              .group = group,
                              .step_ms = order->step_ms,
                              .bytes_max = order->bytes_max,
                              .held_back = order->held_back,
                              .cancel = order->cancel};
    memset(group, 0, sizeof(*group));
    if (each_series(worker, order->only, count_group, &loading, error) != STATUS_OK) {
        return error->status;
    }
    size_t cells = order->bytes_max / sizeof(double);
    size_t values_max = order->values_max;
    size_t share = loading.total ? cells / loading.total : values_max;
    size_t shortest = values_max < VALUES_SHORT ? values_max : VALUES_SHORT;
    loading.values_max = share > values_max ? values_max : (share < shortest ? shortest : share);
    loading.wanted = cells / (loading.values_max ? loading.values_max : 1);
    if (loading.wanted > loading.total) {
        loading.wanted = loading.total;
    }
    loading.capacity = loading.wanted;
    enum status status = make_room(&loading, error);
    if (status == STATUS_OK && loading.total > 0) {
        status = each_series(worker, order->only, load_one, &loading, error);
        share_seasons(&loading);
    }
    if (status != STATUS_OK) {
        api_group_free(group);
    }
    return status;
}

void api_group_free(struct api_group *group)
{
    struct group_memory *memory = group->memory;
    if (memory) {
        for (size_t i = 0; i < memory->count; i++) {
            mem_free(memory->values[i]);
        }
        mem_free(memory->values);
        mem_free(memory->zones);
        mem_free(memory->seasons_known);
        mem_free(memory);
    }
    mem_free(group->series);
    mem_free(group->ids);
    memset(group, 0, sizeof(*group));
}
