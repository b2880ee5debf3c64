/* Forecasts as they were made: whoever asks next, in whatever form, gets a copy.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A forecast costs a thousand times what rendering it costs, and one series is asked for in many
 * forms: other quantiles, a panel's range in PromQL, a gauge, the time left. A place belongs to one
 * series and horizon; the newest takes it. What is kept holds no model: those that are no longer
 * in the registry must be able to go.
 */
#include "api/families.h"
#include "api/forecast_make.h"
#include "api/live_internal.h"

#include "base/hash.h"
#include "base/memory.h"

#include <string.h>

#define VALUES_BYTES_MAX 16384u /* of one forecast; 48 steps have 2,304 */

struct made_entry {
    struct live_made_key key;
    struct forecast_made made; /* without snapshot, block and served_by */
    bool by_model;
    const char *baseline; /* static; where no model served */
    float values[];
};

/* ---------------------------------------------------------------- keys */

void live_made_key(struct api_services *services, const struct forecast_order *order,
                   const struct track *track, struct live_made_key *key)
{
    key->as_many = order->as_many;
    key->coarser = order->coarser;
    key->from_now = order->from_now;
    key->late = order->late;
    key->crossings = order->crossings;
    key->steps = order->steps;
    key->steps_max = order->steps_max;
    key->horizon_ms = order->horizon_ms;
    key->registry_generation = registry_generation(services->registry);
    key->families = families_version(services->families);
    key->limits = atomic_load(&services->limits);
    key->maker = track->maker;
    key->issued_ms = track->origin_ms;
    key->settled_ms = track->calibration.settled_ms;
}

static struct made_entry **place_of(struct live *live, const struct live_made_key *key)
{
    uint64_t wanted[] = {key->id, key->steps, (uint64_t)key->horizon_ms};
    return &live->made[hash_bytes((const char *)wanted, sizeof(wanted)) % LIVE_MADE_PLACES];
}

/* Whether what was made under a key is what another one asks for. */
static bool serves_key(const struct live_made_key *a, const struct live_made_key *b)
{
    return (a->crossings || !b->crossings) && a->id == b->id && a->as_many == b->as_many &&
           a->coarser == b->coarser && a->from_now == b->from_now && a->late == b->late &&
           a->steps == b->steps && a->steps_max == b->steps_max && a->horizon_ms == b->horizon_ms &&
           a->registry_generation == b->registry_generation && a->families == b->families &&
           a->limits == b->limits && a->maker == b->maker && a->issued_ms == b->issued_ms &&
           a->settled_ms == b->settled_ms;
}

/* ---------------------------------------------------------------- finding */

/* The model that made it, which the registry still has while its generation is the same. */
static struct snapshot *maker_of(struct api_services *services, const struct forecast_made *made)
{
    struct snapshot *snapshot = registry_acquire(services->registry, made->facts.step_ms);
    if (snapshot && strcmp(snapshot_record(snapshot)->id, made->model.id) != 0) {
        snapshot_release(snapshot);
        snapshot = registry_acquire_previous(services->registry, made->facts.step_ms);
    }
    if (snapshot && strcmp(snapshot_record(snapshot)->id, made->model.id) != 0) {
        snapshot_release(snapshot);
        snapshot = NULL;
    }
    return snapshot;
}

/* Under the lock: a copy with a block of its own. */
static bool copy_entry(const struct made_entry *entry, const struct series_info *info,
                       int64_t now_ms, struct forecast_made *made)
{
    const struct series_info *then = &entry->made.info;
    struct grid_cells cells = live_cells(&entry->made.facts);
    size_t horizon = entry->made.forecast.horizon;
    if (info->generation != then->generation || now_ms >= entry->made.good_until_ms ||
        !live_same_cell(&cells, then->last_ms, info->last_ms)) {
        return false;
    }
    float *block = mem_array(horizon * FORECAST_ROWS, sizeof(float));
    if (!block) {
        return false;
    }
    memcpy(block, entry->values, horizon * FORECAST_ROWS * sizeof(float));
    *made = entry->made;
    made->info = *info;
    made->served_by = entry->baseline;
    forecast_lay_out(made, block, horizon);
    return true;
}

bool live_made_find(struct api_services *services, const struct live_made_key *key, int64_t now_ms,
                    struct forecast_made *made)
{
    struct live *live = services->live;
    struct series_info info;
    struct error ignored;
    bool by_model = false;
    if (storage_series_info(services->storage, key->id, &info, &ignored) != STATUS_OK) {
        return false;
    }
    lock_acquire(&live->made_lock);
    const struct made_entry *entry = *place_of(live, key);
    bool found = entry && serves_key(&entry->key, key) && copy_entry(entry, &info, now_ms, made);
    by_model = found && entry->by_model;
    lock_release(&live->made_lock);
    if (by_model) {
        made->snapshot = maker_of(services, made);
        if (!made->snapshot) {
            forecast_made_release(made);
            *made = (struct forecast_made){.id = key->id};
            return false;
        }
        made->served_by = snapshot_record(made->snapshot)->backbone;
    }
    return found;
}

/* ---------------------------------------------------------------- keeping */

void live_made_put(struct live *live, const struct live_made_key *key,
                   const struct forecast_made *made)
{
    size_t count = made->forecast.horizon * FORECAST_ROWS;
    struct made_entry *entry = NULL, *before;
    if (count * sizeof(float) <= VALUES_BYTES_MAX) {
        size_t bytes = count * sizeof(float); /* no more than the maximum */
        entry = mem_alloc(sizeof(*entry) + bytes);
    }
    if (!entry) {
        return;
    }
    entry->key = *key;
    entry->made = *made;
    entry->made.snapshot = NULL;
    entry->made.block = NULL;
    entry->made.served_by = NULL;
    entry->by_model = made->snapshot != NULL;
    entry->baseline = entry->by_model ? NULL : made->served_by;
    memcpy(entry->values, made->block, count * sizeof(float));
    lock_acquire(&live->made_lock);
    struct made_entry **place = place_of(live, key);
    before = *place;
    *place = entry;
    lock_release(&live->made_lock);
    mem_free(before);
}

void live_made_free(struct live *live)
{
    for (size_t i = 0; i < LIVE_MADE_PLACES; i++) {
        mem_free(live->made[i]);
    }
}
