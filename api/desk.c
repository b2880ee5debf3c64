/* Buffers of the thread that makes forecasts, and its workspaces of models.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/desk.h"

#include "base/clock.h"
#include "base/memory.h"

#include <string.h>

#define POINTS_MAX ((size_t)1 << 20)

/* Series on the tape of a workspace at once. There is a workspace for the champion of each group on
 * each thread that forecasts, on some for the previous one: 2.7 MB each with two members of the
 * default recipe and a horizon of 48, 3.6 with all five. With sixteen at once it was 10.5 and 14.1,
 * and sixteen series took as long. */
#define WORKSPACE_ROWS 4
#define UNUSED_NS      INT64_C(60000000000)

enum status forecast_desk_new(struct api_services *services, struct storage_reader *reader,
                              struct forecast_desk **out, struct error *error)
{
    *out = mem_zeroed(1, sizeof(**out));
    if (!*out) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for forecasts");
    }
    (*out)->services = services;
    (*out)->reader = reader;
    return STATUS_OK;
}

static void clear_slot(struct forecast_desk *desk, size_t i)
{
    forecaster_free(desk->slots[i].forecaster);
    snapshot_release(desk->slots[i].snapshot);
    desk->slots[i].forecaster = NULL;
    desk->slots[i].snapshot = NULL;
    desk->slots[i].used_ns = 0;
}

void forecast_desk_free(struct forecast_desk *desk)
{
    if (!desk) {
        return;
    }
    for (size_t i = 0; i < DESK_FORECASTERS; i++) {
        clear_slot(desk, i);
    }
    mem_free(desk->points);
    mem_free(desk->scratch);
    mem_free(desk->floats);
    mem_free(desk);
}

enum status desk_room(struct forecast_desk *desk, size_t wanted, struct error *error)
{
    if (wanted > desk->points_capacity) {
        struct point *bigger = mem_resize(desk->points, wanted, sizeof(*bigger));
        if (!bigger) {
            return error_set(error, STATUS_NO_MEMORY, "no memory for points");
        }
        desk->points = bigger;
        desk->points_capacity = wanted;
    }
    return STATUS_OK;
}

enum status desk_read(struct forecast_desk *desk, uint32_t id, size_t wanted, size_t *count,
                      struct error *error)
{
    wanted = wanted > POINTS_MAX ? POINTS_MAX : wanted;
    if (desk_room(desk, wanted, error) != STATUS_OK) {
        return error->status;
    }
    return storage_read_last(desk->reader, id, desk->points, wanted, count, error);
}

void desk_excluded(struct forecast_desk *desk, const struct series_info *info)
{
    desk->excluded.count = 0;
    if (info->excluded > 0) {
        storage_series_excluded(desk->services->storage, info->id, &desk->excluded);
    }
}

enum status desk_scratch(struct forecast_desk *desk, size_t count, struct error *error)
{
    if (count > desk->scratch_capacity) {
        double *bigger = mem_resize(desk->scratch, count, sizeof(*bigger));
        if (!bigger) {
            return error_set(error, STATUS_NO_MEMORY, "no memory for a forecast");
        }
        desk->scratch = bigger;
        desk->scratch_capacity = count;
    }
    return STATUS_OK;
}

enum status desk_floats(struct forecast_desk *desk, size_t count, struct error *error)
{
    if (count > desk->floats_capacity) {
        float *bigger = mem_resize(desk->floats, count, sizeof(*bigger));
        if (!bigger) {
            return error_set(error, STATUS_NO_MEMORY, "no memory for a vintage");
        }
        desk->floats = bigger;
        desk->floats_capacity = count;
    }
    return STATUS_OK;
}

/* Workspaces have megabytes, on every thread; to make one takes less than 0.1 ms. So those go that
 * nobody asks for, as the previous champion's on a worker. */
static void clear_unused(struct forecast_desk *desk, const struct snapshot *wanted, int64_t now_ns)
{
    for (size_t i = 0; i < DESK_FORECASTERS; i++) {
        const struct snapshot *snapshot = desk->slots[i].snapshot;
        if (snapshot && snapshot != wanted && now_ns - desk->slots[i].used_ns > UNUSED_NS) {
            clear_slot(desk, i);
        }
    }
}

/* Those of models that no longer serve go before another one is made. */
static void clear_retired(struct forecast_desk *desk)
{
    for (size_t i = 0; i < DESK_FORECASTERS; i++) {
        if (desk->slots[i].snapshot &&
            !registry_serves(desk->services->registry, desk->slots[i].snapshot)) {
            clear_slot(desk, i);
        }
    }
}

enum status desk_forecaster(struct forecast_desk *desk, struct snapshot *snapshot,
                            struct forecaster **out, struct error *error)
{
    int64_t now_ns = clock_monotonic_ns();
    clear_unused(desk, snapshot, now_ns);
    for (size_t i = 0; i < DESK_FORECASTERS; i++) {
        if (desk->slots[i].snapshot == snapshot) {
            desk->slots[i].used_ns = now_ns;
            *out = desk->slots[i].forecaster;
            return STATUS_OK;
        }
    }
    clear_retired(desk);
    struct forecaster *made = NULL;
    enum status status = forecaster_new(snapshot, WORKSPACE_ROWS, &made, error);
    if (status != STATUS_OK) {
        return status;
    }
    size_t place = 0;
    for (size_t i = 0; i < DESK_FORECASTERS; i++) {
        place = desk->slots[i].used_ns < desk->slots[place].used_ns ? i : place;
    }
    clear_slot(desk, place);
    desk->slots[place].snapshot = snapshot_acquire(snapshot);
    desk->slots[place].forecaster = made;
    desk->slots[place].used_ns = now_ns;
    *out = made;
    return STATUS_OK;
}
