/* Live forecasts: finished answers by query string.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/live_internal.h"

#include "api/problem.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/memory.h"

#include <string.h>

#define QUERY_LENGTH_MAX   4096
#define ANSWER_LENGTH_MAX  ((size_t)1 << 20)
#define ENTRIES_WALKED_MAX 4096
#define DUE_MS_MAX         1000
#define DUE_MS_MIN         20

enum status live_new(struct live **out, struct error *error)
{
    struct live *live = mem_zeroed(1, sizeof(*live));
    if (!live) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for live forecasts");
    }
    lock_init(&live->lock);
    lock_init(&live->facts_lock);
    lock_init(&live->made_lock);
    *out = live;
    return STATUS_OK;
}

static void entry_release(struct live_entry *entry)
{
    if (atomic_fetch_sub(&entry->references, 1) == 1) {
        mem_free(entry->answer.bytes);
        mem_free(entry->answer.series);
        mem_free(entry);
    }
}

void live_free(struct live *live)
{
    if (!live) {
        return;
    }
    for (size_t b = 0; b < LIVE_BUCKETS; b++) {
        while (live->buckets[b]) {
            struct live_entry *entry = live->buckets[b];
            live->buckets[b] = entry->next;
            entry_release(entry);
        }
    }
    for (size_t b = 0; b < live->block_count; b++) {
        mem_free(live->blocks[b]);
    }
    mem_free(live->blocks);
    live_made_free(live);
    lock_release_memory(&live->lock);
    lock_release_memory(&live->facts_lock);
    lock_release_memory(&live->made_lock);
    mem_free(live);
}

void live_stats(struct live *live, struct live_stats *stats)
{
    lock_acquire(&live->lock);
    *stats = (struct live_stats){live->entries, live->bytes, live->series};
    lock_release(&live->lock);
}

/* ---------------------------------------------------------------- is it still good? */

static bool series_unchanged(struct storage *storage, const struct live_series *series)
{
    struct series_info info;
    struct error ignored;
    return storage_series_info(storage, series->id, &info, &ignored) == STATUS_OK &&
           info.generation == series->generation &&
           live_same_cell(&series->cells, series->last_ms, info.last_ms);
}

/* `all` looks at every series of the answer, otherwise at the first few. */
static bool still_good(struct api_services *services, const struct live_answer *answer,
                       int64_t now_ms, bool all)
{
    if (now_ms >= answer->good_until_ms || answer->limits != atomic_load(&services->limits) ||
        answer->registry_generation != registry_generation(services->registry) ||
        (answer->open && answer->series_changes != storage_series_changes(services->storage))) {
        return false;
    }
    size_t count = answer->series_count;
    if (!all && count > LIVE_WATCHED_MAX) {
        count = LIVE_WATCHED_MAX;
    }
    for (size_t i = 0; i < count; i++) {
        if (!series_unchanged(services->storage, &answer->series[i])) {
            return false;
        }
    }
    return true;
}

/* ---------------------------------------------------------------- asking */

static struct live_entry **find_place(struct live *live, uint64_t hash, const char *query,
                                      size_t length)
{
    struct live_entry **place = &live->buckets[hash % LIVE_BUCKETS];
    while (*place && ((*place)->hash != hash || (*place)->query_length != length ||
                      memcmp((*place)->query, query, length) != 0)) {
        place = &(*place)->next;
    }
    return place;
}

void live_write_age(char *room, int64_t age_ms)
{
    uint64_t rest = age_ms > 0 ? (uint64_t)age_ms : 0;
    memset(room, ' ', LIVE_AGE_WIDTH);
    size_t at = LIVE_AGE_WIDTH;
    do {
        room[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest && at > 0);
}

/* The entry of a query with a reference for the caller, where it is still good; NULL otherwise. */
static struct live_entry *find_good(struct api_services *services, const char *query,
                                    int64_t now_ms)
{
    struct live *live = services->live;
    size_t length = strlen(query);
    if (length > QUERY_LENGTH_MAX) {
        return NULL;
    }
    uint64_t hash = hash_bytes(query, length);
    lock_acquire(&live->lock);
    struct live_entry *entry = *find_place(live, hash, query, length);
    if (entry) {
        atomic_fetch_add(&entry->references, 1);
    }
    lock_release(&live->lock);
    if (!entry) {
        return NULL;
    }
    atomic_store_explicit(&entry->asked_ms, now_ms, memory_order_relaxed);
    if (!still_good(services, &entry->answer, now_ms, false)) {
        entry_release(entry);
        return NULL;
    }
    return entry;
}

bool live_add(struct api_services *services, const char *query, int64_t now_ms, struct text *out)
{
    struct live_entry *entry = find_good(services, query, now_ms);
    if (entry) {
        text_add(out, entry->answer.bytes, entry->answer.length);
        entry_release(entry);
    }
    return entry != NULL;
}

bool live_get(struct api_services *services, const char *query, int64_t now_ms,
              struct api_response *response)
{
    struct live_entry *entry = find_good(services, query, now_ms);
    if (!entry) {
        return false;
    }
    const struct live_answer *answer = &entry->answer;
    char *copy = mem_alloc(answer->length);
    if (copy) {
        memcpy(copy, answer->bytes, answer->length);
        for (size_t i = 0; i < answer->series_count; i++) {
            if (answer->series[i].age_at > 0) {
                live_write_age(copy + answer->series[i].age_at, now_ms - answer->series[i].last_ms);
            }
        }
        response->status = 200;
        response->content_type = answer->content_type;
        response->body = copy;
        response->body_length = answer->length;
        response_common_headers(response);
    }
    entry_release(entry);
    return copy != NULL;
}

/* ---------------------------------------------------------------- storing */

static void unlink_entry(struct live *live, struct live_entry **place)
{
    struct live_entry *entry = *place;
    *place = entry->next;
    live->entries--;
    live->bytes -= entry->weight;
    live->series -= entry->answer.series_count;
    entry_release(entry);
}

/* The entry asked for longest ago among the next few that the hand passes. */
static void make_room(struct live *live)
{
    struct live_entry **oldest = NULL;
    for (size_t seen = 0, steps = 0; steps < LIVE_BUCKETS && seen < 8; steps++) {
        live->hand = (live->hand + 1) % LIVE_BUCKETS;
        for (struct live_entry **place = &live->buckets[live->hand]; *place;
             place = &(*place)->next) {
            seen++;
            if (!oldest || atomic_load(&(*place)->asked_ms) < atomic_load(&(*oldest)->asked_ms)) {
                oldest = place;
            }
        }
    }
    if (oldest) {
        unlink_entry(live, oldest);
    }
}

static void answer_release(struct live_answer *answer)
{
    mem_free(answer->bytes);
    mem_free(answer->series);
}

void live_put_take(struct live *live, const char *query, struct live_answer *answer,
                   size_t bytes_max)
{
    size_t length = strlen(query);
    size_t weight = sizeof(struct live_entry) + length + answer->length +
                    answer->series_count * sizeof(*answer->series);
    struct live_entry *entry = NULL;
    if (length <= QUERY_LENGTH_MAX && answer->length <= ANSWER_LENGTH_MAX && weight <= bytes_max) {
        entry = mem_zeroed(1, sizeof(*entry) + length);
    }
    if (!entry) {
        answer_release(answer);
        return;
    }
    atomic_init(&entry->references, 1);
    entry->hash = hash_bytes(query, length);
    entry->query_length = length;
    entry->weight = weight;
    entry->answer = *answer;
    memcpy(entry->query, query, length);
    int64_t asked_ms = answer->asked_ms;
    lock_acquire(&live->lock);
    struct live_entry **place = find_place(live, entry->hash, query, length);
    if (*place) {
        asked_ms = atomic_load(&(*place)->asked_ms);
        unlink_entry(live, place);
    }
    while (live->bytes + weight > bytes_max && live->entries > 0) {
        make_room(live);
    }
    atomic_init(&entry->asked_ms, asked_ms);
    entry->next = live->buckets[entry->hash % LIVE_BUCKETS];
    live->buckets[entry->hash % LIVE_BUCKETS] = entry;
    live->entries++;
    live->bytes += weight;
    live->series += answer->series_count;
    lock_release(&live->lock);
}

void live_forget(struct live *live, const char *query)
{
    size_t length = strlen(query);
    uint64_t hash = hash_bytes(query, length);
    lock_acquire(&live->lock);
    struct live_entry **place = find_place(live, hash, query, length);
    if (*place) {
        unlink_entry(live, place);
    }
    lock_release(&live->lock);
}

/* ---------------------------------------------------------------- keeping fresh */

static bool speaks_of(const struct live_answer *answer, const uint32_t *ids, size_t count)
{
    for (size_t i = 0; i < answer->series_count; i++) {
        size_t low = 0, high = count;
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (ids[middle] < answer->series[i].id) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if (low < count && ids[low] == answer->series[i].id) {
            return true;
        }
    }
    return false;
}

/* Live entries, counted up so that they can be looked at without the lock. */
static size_t gather(struct live *live, int64_t now_ms, const uint32_t *ids, size_t id_count,
                     struct live_entry **out, size_t maximum)
{
    size_t count = 0;
    lock_acquire(&live->lock);
    for (size_t b = 0; b < LIVE_BUCKETS && count < maximum && live->entries > 0; b++) {
        for (struct live_entry *entry = live->buckets[b]; entry && count < maximum;
             entry = entry->next) {
            if (now_ms - atomic_load(&entry->asked_ms) < LIVE_ASKED_MS &&
                (!ids || speaks_of(&entry->answer, ids, id_count))) {
                atomic_fetch_add(&entry->references, 1);
                out[count++] = entry;
            }
        }
    }
    lock_release(&live->lock);
    return count;
}

size_t live_outdated(struct api_services *services, const uint32_t *ids, size_t id_count,
                     int64_t now_ms, char **queries, size_t maximum)
{
    size_t found = 0;
    struct live_entry **entries = mem_array(ENTRIES_WALKED_MAX, sizeof(struct live_entry *));
    if (!entries) {
        return 0;
    }
    size_t count = gather(services->live, now_ms, ids, id_count, entries, ENTRIES_WALKED_MAX);
    for (size_t i = 0; i < count; i++) {
        if (found < maximum && !still_good(services, &entries[i]->answer, now_ms, true)) {
            queries[found] = mem_copy_text(entries[i]->query, entries[i]->query_length);
            found += queries[found] != NULL;
        }
        entry_release(entries[i]);
    }
    mem_free(entries);
    return found;
}

static bool add_id(uint32_t *ids, size_t *count, size_t maximum, uint32_t id)
{
    for (size_t i = 0; i < *count; i++) {
        if (ids[i] == id) {
            return true;
        }
    }
    if (*count == maximum) {
        return false;
    }
    ids[(*count)++] = id;
    return true;
}

int64_t live_due(struct api_services *services, int64_t now_ms, uint32_t *ids, size_t maximum,
                 size_t *count)
{
    int64_t due_ms = DUE_MS_MAX;
    *count = 0;
    struct live_entry **entries = mem_array(ENTRIES_WALKED_MAX, sizeof(struct live_entry *));
    if (!entries) {
        return due_ms;
    }
    size_t gathered = gather(services->live, now_ms, NULL, 0, entries, ENTRIES_WALKED_MAX);
    for (size_t i = 0; i < gathered; i++) {
        const struct live_answer *answer = &entries[i]->answer;
        if (!still_good(services, answer, now_ms, true)) {
            for (size_t s = 0; s < answer->series_count && due_ms > 0; s++) {
                if (!add_id(ids, count, maximum, answer->series[s].id)) {
                    due_ms = 0;
                }
            }
        } else if (due_ms > 0) {
            for (size_t s = 0; s < answer->series_count; s++) {
                int64_t next = answer->series[s].last_ms + answer->series[s].cells.step_ms - now_ms;
                if (next >= 0 && next < due_ms) { /* a late one is told by the writer's observer */
                    due_ms = next < DUE_MS_MIN ? DUE_MS_MIN : next;
                }
            }
        }
        entry_release(entries[i]);
    }
    mem_free(entries);
    return due_ms;
}
