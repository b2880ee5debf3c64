/* Inside of a batch and of a group of batches that becomes one transaction; private to storage/.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A batch names its series by its own small numbers. Which entry a number means is found at commit
 * time (group_prepare), because in between the series may have been created by another batch or
 * deleted. A batch that deletes a series travels in a group of its own, so that "points before and
 * after the delete" has one meaning: those after it go to a new series with a new id.
 */
#ifndef STORAGE_BATCH_H
#define STORAGE_BATCH_H

#include "base/lock.h"
#include "storage/series_table.h"
#include "storage/writer.h"

enum batch_op_kind { OP_POINT, OP_END };

struct batch_op {
    struct point point;
    uint32_t series; /* number within the batch */
    uint16_t kind;
    bool exists; /* for the driver: known to be in a chunk */
};

struct batch_series {
    struct series_entry
        *entry;    /* at commit: what it means; NULL until then and where it is unused */
    uint32_t id;   /* when it was named; 0 = unknown then */
    uint32_t hash; /* where it stands in the slots */
    uint32_t text_at, text_length;
    bool is_indexed; /* it stands in the slots; not where a handle named it */
    bool anew; /* named after this batch deleted it: a new series even if the text is still known */
};

enum batch_change_kind {
    CHANGE_SETTINGS,
    CHANGE_EXCLUDED,
    CHANGE_DELETE,
    CHANGE_RECORD,
    CHANGE_VINTAGE
};

struct batch_change {
    enum batch_change_kind kind;
    size_t at; /* takes effect before ops[at] */
    uint32_t id;
    struct series_entry *entry; /* at commit; of a vintage NULL where the series is gone */
    struct series_settings settings, before;
    bool expects_before;        /* settings: refused where they are not `before` */
    struct time_span *excluded; /* owned; the series takes it when the commit is through */
    uint8_t excluded_count;
    int64_t issued_ms, expires_ms; /* of a vintage */
    unsigned char *vintage;        /* owned */
    size_t vintage_length;
    char *record_kind, *record_key, *record_json; /* owned; json NULL: delete */
    size_t record_length;
};

struct write_batch {
    struct write_batch *next; /* in the pool or in the writer's queue */
    struct storage *storage;
    size_t points_max;
    struct batch_op *ops;
    size_t op_count, op_capacity;
    struct batch_series *series;
    uint32_t *slots; /* open addressing by text: number + 1 */
    size_t series_count, series_capacity, slot_count, indexed_count;
    char *texts;
    size_t texts_length, texts_capacity;
    struct batch_change *changes;
    size_t change_count, change_capacity;
    size_t change_bytes; /* of records and vintages */
    int64_t queued_ns;   /* monotonic: when it was submitted */
    size_t queued_bytes; /* what it took then */
    uint32_t promised;   /* counted in storage->promised */
    bool has_delete;
    bool refused; /* at commit: result.error says why; not part of the transaction */
    struct write_result result;
    write_done done;
    void *context;
};

/* What its arrays take, used or not. */
size_t write_batch_bytes(const struct write_batch *batch);

/* What was promised has become real, or will never: before anybody hears of the outcome. */
void batch_promise_release(struct write_batch *batch);

struct batch_pool {
    struct lock lock;
    struct write_batch *head; /* guarded by lock, as below */
    size_t bytes;
};

void batch_pool_init(struct batch_pool *pool);
void batch_pool_release(struct batch_pool *pool);

/* Batches of one transaction. Reused by the writer from group to group. */
struct write_group {
    struct write_batch **batches;
    size_t count, capacity;
    size_t ops;
    struct text_table created_names; /* of `created` */
    struct series_entry **created;
    size_t created_count, created_capacity;
    struct series_entry **touched; /* got points or an end in this group; each once */
    size_t touched_count, touched_capacity;
    uint32_t
        *touched_ids; /* after the commit, for the observer; series deleted meanwhile left out */
    size_t touched_id_count;
};

void write_group_release(struct write_group *group);

/* Resolves what every op and change means; creates entries for new series (invisible until
 * group_publish). A batch whose change names an unknown series, or expects other settings than
 * there are behind the batches before it, is refused; the others go on. Makes room in all lists, so
 * that nothing after the commit can fail. */
enum status group_prepare(struct storage *storage, struct write_group *group,
                          struct error *error) MUST_USE;

/* The transaction is on disk: new series become visible, deleted ones vanish and are freed. */
void group_publish(struct storage *storage, struct write_group *group);

/* The transaction failed: entries that group_prepare made are freed. */
void group_abandon(struct storage *storage, struct write_group *group);

/* The entry is part of this group. */
static inline void group_touch(struct write_group *group, struct series_entry *entry)
{
    if (!entry->touched) {
        entry->touched = true;
        group->touched[group->touched_count++] = entry;
    }
}

/* Statistics of one point or end, in the one meaning that both drivers share. Under the lock.
 * Returns whether the series has a point more than before. */
bool entry_count_point(struct series_entry *entry, struct point point, bool existed,
                       struct write_result *result);
void entry_count_end(struct series_entry *entry, int64_t time_ms);

/* The spans of a change become those of its series, which it takes from there. Under the lock. */
void entry_take_excluded(struct series_entry *entry, struct batch_change *change);

/* How long points of a series are kept: its own setting, or the store's; 0 = for ever. */
int64_t entry_retention(const struct series_entry *entry, int64_t preset_ms);

#endif
