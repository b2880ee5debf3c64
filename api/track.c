/* What service has taught about each series, in blocks by id; when to issue and how long to keep.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/track.h"

#include "api/live.h"
#include "base/hash.h"
#include "base/memory.h"

#include <string.h>

#define BLOCK       16u
#define TIDIED      64 /* blocks looked at in one call */
#define POOLS_MAX   64
#define ALIGNED     12     /* of a step: what a phase is rounded to */
#define POOL_MEMORY 256.0f /* issues that the running mean reaches back */

struct pool {
    int64_t step_ms;
    uint64_t maker;
    float count;
    float shift[CONFORMAL_PAIRS][CONFORMAL_PARTS];
};

struct tracks {
    struct lock lock;
    struct track **blocks; /* guarded by lock, as the next two */
    size_t block_count;
    size_t hand;                  /* the next block to be tidied */
    struct pool pools[POOLS_MAX]; /* guarded by lock; one a step, of its newest maker */
    size_t pool_count;
};

enum status tracks_new(struct tracks **out, struct error *error)
{
    struct tracks *tracks = mem_zeroed(1, sizeof(*tracks));
    if (!tracks) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for calibration");
    }
    lock_init(&tracks->lock);
    *out = tracks;
    return STATUS_OK;
}

void tracks_free(struct tracks *tracks)
{
    if (!tracks) {
        return;
    }
    for (size_t b = 0; b < tracks->block_count; b++) {
        mem_free(tracks->blocks[b]);
    }
    mem_free(tracks->blocks);
    lock_release_memory(&tracks->lock);
    mem_free(tracks);
}

/* Under the lock; NULL where there is none, or no memory for it. */
static struct track *slot_of(struct tracks *tracks, uint32_t id, bool make)
{
    size_t block = id / BLOCK;
    if (block >= tracks->block_count && make) {
        size_t count = block + block / 2 + 16;
        struct track **blocks = mem_resize(tracks->blocks, count, sizeof(*blocks));
        if (!blocks) {
            return NULL;
        }
        memset(blocks + tracks->block_count, 0, (count - tracks->block_count) * sizeof(*blocks));
        tracks->blocks = blocks;
        tracks->block_count = count;
    }
    if (block >= tracks->block_count) {
        return NULL;
    }
    if (!tracks->blocks[block] && make) {
        tracks->blocks[block] = mem_zeroed(BLOCK, sizeof(struct track));
    }
    return tracks->blocks[block] ? &tracks->blocks[block][id % BLOCK] : NULL;
}

bool track_find(struct tracks *tracks, uint32_t id, struct track *track)
{
    lock_acquire(&tracks->lock);
    const struct track *slot = slot_of(tracks, id, false);
    bool found = slot && slot->loaded;
    if (found) {
        *track = *slot;
    }
    lock_release(&tracks->lock);
    return found;
}

void track_put(struct tracks *tracks, uint32_t id, const struct track *track)
{
    lock_acquire(&tracks->lock);
    struct track *slot = slot_of(tracks, id, true);
    if (slot) {
        int64_t asked_ms = slot->asked_ms;
        *slot = *track;
        slot->asked_ms = asked_ms;
        slot->loaded = true;
    }
    lock_release(&tracks->lock);
}

void track_asked(struct tracks *tracks, uint32_t id, int64_t now_ms)
{
    lock_acquire(&tracks->lock);
    struct track *slot = slot_of(tracks, id, true);
    if (slot) {
        slot->asked_ms = now_ms;
    }
    lock_release(&tracks->lock);
}

int64_t track_asked_ms(struct tracks *tracks, uint32_t id)
{
    lock_acquire(&tracks->lock);
    const struct track *slot = slot_of(tracks, id, false);
    int64_t asked_ms = slot ? slot->asked_ms : 0;
    lock_release(&tracks->lock);
    return asked_ms;
}

/* Takes the next block from the hand on; false at the end, and the hand is back. */
static bool take_next(struct tracks *tracks, size_t *block)
{
    bool found = false;
    lock_acquire(&tracks->lock);
    while (!found && tracks->hand < tracks->block_count) {
        *block = tracks->hand++;
        found = tracks->blocks[*block] != NULL;
    }
    tracks->hand = found ? tracks->hand : 0;
    lock_release(&tracks->lock);
    return found;
}

void tracks_tidy(struct tracks *tracks, struct storage *storage)
{
    size_t block = 0;
    for (int looked = 0; looked < TIDIED && take_next(tracks, &block); looked++) {
        if (live_ids_gone(storage, block * BLOCK, BLOCK)) {
            lock_acquire(&tracks->lock);
            mem_free(tracks->blocks[block]);
            tracks->blocks[block] = NULL;
            lock_release(&tracks->lock);
        }
    }
}

/* Under the lock. */
static struct pool *pool_of(struct tracks *tracks, int64_t step_ms)
{
    for (size_t i = 0; i < tracks->pool_count; i++) {
        if (tracks->pools[i].step_ms == step_ms) {
            return &tracks->pools[i];
        }
    }
    return NULL;
}

void track_pool_add(struct tracks *tracks, int64_t step_ms, uint64_t maker,
                    const struct conformal *calibration)
{
    lock_acquire(&tracks->lock);
    struct pool *pool = pool_of(tracks, step_ms);
    if (!pool && tracks->pool_count < POOLS_MAX) {
        pool = &tracks->pools[tracks->pool_count++];
        *pool = (struct pool){.step_ms = step_ms};
    }
    if (pool && pool->maker != maker) {
        *pool = (struct pool){.step_ms = step_ms, .maker = maker};
    }
    if (pool) {
        pool->count += pool->count < POOL_MEMORY ? 1.0f : 0.0f;
        for (size_t pair = 0; pair < CONFORMAL_PAIRS; pair++) {
            for (size_t part = 0; part < CONFORMAL_PARTS; part++) {
                float *mean = &pool->shift[pair][part];
                *mean += (calibration->shift[pair][part] - *mean) / pool->count;
            }
        }
    }
    lock_release(&tracks->lock);
}

bool track_pool(struct tracks *tracks, int64_t step_ms, uint64_t maker,
                float shift[CONFORMAL_PAIRS][CONFORMAL_PARTS])
{
    bool found = false;
    memset(shift, 0, CONFORMAL_PAIRS * sizeof(*shift));
    lock_acquire(&tracks->lock);
    const struct pool *pool = pool_of(tracks, step_ms);
    if (pool && pool->maker == maker && pool->count >= (float)TRACK_POOL_MIN) {
        memcpy(shift, pool->shift, sizeof(pool->shift));
        found = true;
    }
    lock_release(&tracks->lock);
    return found;
}

uint64_t track_maker(const char *model, const char *served_by)
{
    const char *name = model[0] ? model : served_by;
    uint64_t hash = hash_bytes(name, strlen(name));
    return hash ? hash : 1;
}

bool track_turn(struct track *track, uint64_t maker)
{
    struct conformal before = track->calibration;
    uint64_t before_maker = track->maker;
    if (maker == before_maker) {
        return true;
    }
    bool known = maker == track->kept_maker && track->kept.horizon == before.horizon;
    if (known) {
        conformal_resume(&track->calibration, &track->kept);
    } else if (before_maker != 0) {
        conformal_carry(&track->calibration, before.horizon);
    }
    if (before_maker != 0) {
        track->kept = before;
        track->kept_maker = before_maker;
    }
    track->maker = maker;
    return known;
}

/* ---------------------------------------------------------------- what a vintage is of */

enum { KIND_SHIFT = 4, STATE_MASK = 15, OF_GAUGE = 1, OF_COUNTER = 2 };

unsigned vintage_state(enum series_state state, bool counter)
{
    return (unsigned)state | (unsigned)(counter ? OF_COUNTER : OF_GAUGE) << KIND_SHIFT;
}

enum series_state vintage_series_state(const struct vintage *vintage)
{
    unsigned state = vintage->state & STATE_MASK;
    return state <= SERIES_STALE ? (enum series_state)state : SERIES_STALE;
}

bool vintage_of_counter(const struct vintage *vintage, bool otherwise)
{
    unsigned kind = vintage->state >> KIND_SHIFT;
    return kind == OF_COUNTER || (kind != OF_GAUGE && otherwise);
}

bool vintage_fits(const struct vintage *vintage, int64_t step_ms, bool counter)
{
    return vintage->step_ms == step_ms && vintage_of_counter(vintage, counter) == counter;
}

bool vintage_align(struct vintage *vintage, int64_t start_ms)
{
    int64_t step_ms = vintage->step_ms, away_ms = (vintage->origin_ms - start_ms) % step_ms;
    away_ms += away_ms < 0 ? step_ms : 0;
    away_ms -= 2 * away_ms > step_ms ? step_ms : 0;
    /* The cell of an older release begins where it is called: its reading came later, not before.
     */
    if (away_ms > 0 && vintage->origin_ms % step_ms == 0) {
        return false;
    }
    vintage->origin_ms -= away_ms;
    /* Of two neighbouring twelfths each may be rounded by half a millisecond. */
    return away_ms == 0 || ((away_ms < 0 ? -away_ms : away_ms) - 1) * ALIGNED <= step_ms;
}

/* ---------------------------------------------------------------- rules of issuing */

int64_t vintage_unit_ms(int64_t step_ms)
{
    int64_t steps = (VINTAGE_UNIT_MS + step_ms - 1) / step_ms;
    return steps > 1 ? steps * step_ms : step_ms;
}

static uint64_t unit_of(int64_t time_ms, int64_t unit_ms)
{
    return (uint64_t)(time_ms / unit_ms - (time_ms % unit_ms < 0));
}

/* The highest power of two of units between the two, as an exponent; none passed: -1. */
static int rank_of(int64_t unit_ms, int64_t last_ms, int64_t origin_ms)
{
    if (last_ms == INT64_MIN) {
        return 62;
    }
    uint64_t passed = unit_of(last_ms, unit_ms) ^ unit_of(origin_ms, unit_ms);
    return origin_ms <= last_ms || passed == 0 ? -1 : 63 - __builtin_clzll(passed);
}

bool vintage_due(int64_t step_ms, size_t horizon, bool live, int64_t last_ms, int64_t origin_ms)
{
    int64_t unit_ms = vintage_unit_ms(step_ms);
    int64_t apart_ms = (int64_t)(horizon / VINTAGES_PER_HORIZON) * step_ms;
    int least = 0;
    while (!live && least < 20 && unit_ms << (least + 1) <= apart_ms) {
        least++;
    }
    return rank_of(unit_ms, last_ms, origin_ms) >= least;
}

int64_t vintage_lifetime_ms(int64_t step_ms, size_t horizon, int64_t last_ms, int64_t origin_ms,
                            int64_t age_max_ms)
{
    int64_t unit_ms = vintage_unit_ms(step_ms);
    int rank = rank_of(unit_ms, last_ms, origin_ms);
    int64_t lifetime_ms = 2 * VINTAGES_PER_RANK * unit_ms;
    for (int i = 0; i < rank && lifetime_ms < age_max_ms; i++) {
        lifetime_ms *= 2;
    }
    /* Until all its values have arrived, whatever the rank: it is learned from. */
    int64_t needed_ms = (int64_t)(horizon + horizon / 4) * step_ms;
    lifetime_ms = lifetime_ms > needed_ms ? lifetime_ms : needed_ms;
    return lifetime_ms < age_max_ms ? lifetime_ms : age_max_ms;
}
