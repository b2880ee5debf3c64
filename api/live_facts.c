/* What was inferred about each series: step and seasons, in blocks by id.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/live_internal.h"

#include "base/memory.h"

#include <string.h>

struct grid_cells live_cells(const struct series_facts *facts)
{
    return (struct grid_cells){facts->step_ms, facts->phase_ms, facts->lead_ms};
}

bool live_same_cell(const struct grid_cells *cells, int64_t then_ms, int64_t now_ms)
{
    bool single = cells->phase_ms > 0 && cells->lead_ms == 0; /* several a cell have no phase */
    return grid_cell_ms(cells, then_ms) == grid_cell_ms(cells, now_ms) &&
           (then_ms == now_ms || !single);
}

size_t live_points_per_cell(const struct series_facts *facts)
{
    return facts->native_ms > 0 && facts->step_ms > facts->native_ms
               ? (size_t)((facts->step_ms + facts->native_ms - 1) / facts->native_ms)
               : 1;
}

int64_t live_label_ms(const struct series_facts *facts, int64_t cell_ms)
{
    return facts->months ? grid_month_ms(cell_ms) : cell_ms;
}

bool live_facts(struct live *live, const struct series_info *info, struct series_facts *facts)
{
    size_t block = info->id / FACTS_PER_BLOCK;
    bool found = false;
    lock_acquire(&live->facts_lock);
    if (block < live->block_count && live->blocks[block]) {
        *facts = live->blocks[block][info->id % FACTS_PER_BLOCK];
        found = facts->points > 0;
    }
    lock_release(&live->facts_lock);
    return found && facts->generation == info->generation && info->points >= facts->points &&
           info->points - facts->points <= facts->points / 8;
}

bool live_ids_gone(struct storage *storage, size_t first, size_t count)
{
    uint32_t next = storage_series_next(storage, first == 0 ? 0 : (uint32_t)(first - 1));
    return next != 0 && next - first >= count;
}

static bool make_room(struct live *live, size_t block)
{
    if (block >= live->block_count) {
        size_t count = block + block / 2 + 16;
        struct series_facts **blocks = mem_resize(live->blocks, count, sizeof(*blocks));
        if (!blocks) {
            return false;
        }
        memset(blocks + live->block_count, 0, (count - live->block_count) * sizeof(*blocks));
        live->blocks = blocks;
        live->block_count = count;
    }
    if (!live->blocks[block]) {
        live->blocks[block] = mem_zeroed(FACTS_PER_BLOCK, sizeof(**live->blocks));
    }
    return live->blocks[block] != NULL;
}

void live_facts_put(struct live *live, uint32_t id, const struct series_facts *facts)
{
    lock_acquire(&live->facts_lock);
    if (make_room(live, id / FACTS_PER_BLOCK)) {
        live->blocks[id / FACTS_PER_BLOCK][id % FACTS_PER_BLOCK] = *facts;
    }
    lock_release(&live->facts_lock);
}

/* Takes the next block from the hand on; false at the end, and the hand is back. */
static bool take_next(struct live *live, size_t *block)
{
    bool found = false;
    lock_acquire(&live->facts_lock);
    while (!found && live->facts_hand < live->block_count) {
        *block = live->facts_hand++;
        found = live->blocks[*block] != NULL;
    }
    live->facts_hand = found ? live->facts_hand : 0;
    lock_release(&live->facts_lock);
    return found;
}

void live_facts_tidy(struct live *live, struct storage *storage)
{
    size_t block = 0;
    for (int looked = 0; looked < FACTS_TIDIED && take_next(live, &block); looked++) {
        if (live_ids_gone(storage, block * FACTS_PER_BLOCK, FACTS_PER_BLOCK)) {
            lock_acquire(&live->facts_lock);
            mem_free(live->blocks[block]);
            live->blocks[block] = NULL;
            lock_release(&live->facts_lock);
        }
    }
}
