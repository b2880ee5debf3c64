/* A group of batches on its way through a commit: resolved before, published or abandoned after.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Everything that can fail (memory, unknown ids) happens in group_prepare. What follows a
 * successful commit only moves pointers, so the memory can never fall behind the disk.
 */
#include "storage/batch.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "storage/store.h"

#include <string.h>

void write_group_release(struct write_group *group)
{
    mem_free(group->batches);
    mem_free(group->created);
    mem_free(group->touched);
    mem_free(group->touched_ids);
    text_table_release(&group->created_names);
    *group = (struct write_group){0};
}

static void entry_destroy(struct storage *storage, struct series_entry *entry)
{
    storage->driver->entry_release(entry);
    series_entry_free(entry);
}

static enum status touched_reserve(struct write_group *group, size_t need, struct error *error)
{
    if (need > group->touched_capacity) {
        struct series_entry **touched = mem_resize(group->touched, need, sizeof *touched);
        group->touched = touched == NULL ? group->touched : touched;
        uint32_t *ids = mem_resize(group->touched_ids, need, sizeof *ids);
        group->touched_ids = ids == NULL ? group->touched_ids : ids;
        if (touched == NULL || ids == NULL) {
            return error_set(error, STATUS_NO_MEMORY, "could not allocate a list of series");
        }
        group->touched_capacity = need;
    }
    return STATUS_OK;
}

static enum status entry_create(struct storage *storage, struct write_group *group,
                                const char *text, size_t length, struct series_entry **out,
                                struct error *error)
{
    if (group->created_count == group->created_capacity) {
        size_t capacity = group->created_capacity * 2 + 16;
        struct series_entry **created = mem_resize(group->created, capacity, sizeof *created);
        if (created == NULL) {
            return error_set(error, STATUS_NO_MEMORY, "could not allocate new series");
        }
        group->created = created;
        group->created_capacity = capacity;
    }
    if (text_table_reserve(&group->created_names, 1, error) != STATUS_OK) {
        return error->status;
    }
    /* The id is spent even if the commit fails: nobody can know what a failed sync left behind. */
    uint32_t id = storage->directory.last_id + 1;
    struct series_entry *entry = series_entry_new(storage->driver->entry_bytes, id, text, length);
    if (entry == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate a new series");
    }
    lock_acquire(&storage->lock);
    storage->directory.last_id = id;
    lock_release(&storage->lock);
    entry->created_ms = clock_wall_ms();
    storage->driver->entry_init(entry);
    text_table_insert(&group->created_names, entry);
    group->created[group->created_count++] = entry;
    *out = entry;
    return STATUS_OK;
}

static enum status series_resolve(struct storage *storage, struct write_group *group,
                                  struct write_batch *batch, struct batch_series *series,
                                  struct error *error)
{
    const char *text = batch->texts + series->text_at;
    struct series_entry *entry = NULL;
    if (series->id != 0) {
        entry = series_directory_at(&storage->directory, series->id);
    }
    if (entry == NULL) {
        uint32_t hash = text_hash(text, series->text_length);
        entry =
            series->anew ? NULL : text_table_find(&storage->names, hash, text, series->text_length);
        if (entry == NULL) {
            entry = text_table_find(&group->created_names, hash, text, series->text_length);
        }
    }
    if (entry == NULL &&
        entry_create(storage, group, text, series->text_length, &entry, error) != STATUS_OK) {
        return error->status;
    }
    series->entry = entry;
    return STATUS_OK;
}

static bool same_settings(const struct series_settings *a, const struct series_settings *b)
{
    return a->has_step == b->has_step && (!a->has_step || a->step_ms == b->step_ms) &&
           a->has_season == b->has_season &&
           (!a->has_season || a->season_steps == b->season_steps) &&
           a->has_minimum == b->has_minimum && (!a->has_minimum || a->minimum == b->minimum) &&
           a->has_maximum == b->has_maximum && (!a->has_maximum || a->maximum == b->maximum) &&
           a->has_integer == b->has_integer && (!a->has_integer || a->integer == b->integer) &&
           a->has_kind == b->has_kind && (!a->has_kind || a->kind == b->kind) &&
           a->has_retention == b->has_retention &&
           (!a->has_retention || a->retention_ms == b->retention_ms) &&
           strcmp(a->time_zone, b->time_zone) == 0;
}

/* Whether the settings are what a change of batch `index` expects. Those that a batch before it in
 * the group sets are not there yet, and count as others. */
static bool as_expected(const struct write_group *group, size_t index,
                        const struct batch_change *change)
{
    static const struct series_settings none;
    const struct series_settings *now = change->entry->settings;
    for (size_t b = 0; b < index; b++) {
        const struct write_batch *batch = group->batches[b];
        for (size_t i = 0; !batch->refused && i < batch->change_count; i++) {
            if (batch->changes[i].kind == CHANGE_SETTINGS && batch->changes[i].id == change->id) {
                return false;
            }
        }
    }
    return same_settings(now != NULL ? now : &none, &change->before);
}

static void changes_resolve(struct storage *storage, const struct write_group *group, size_t index)
{
    struct write_batch *batch = group->batches[index];
    for (size_t i = 0; i < batch->change_count; i++) {
        struct batch_change *change = &batch->changes[i];
        if (change->kind == CHANGE_RECORD) {
            continue;
        }
        change->entry = series_directory_at(&storage->directory, change->id);
        if (change->entry == NULL && change->kind != CHANGE_VINTAGE) {
            error_set(&batch->result.error, STATUS_NOT_FOUND, "there is no series %u", change->id);
            batch->refused = true;
            return;
        }
        if (change->expects_before && !as_expected(group, index, change)) {
            error_set(&batch->result.error, STATUS_CONFLICT,
                      "the settings of series %u have changed meanwhile", change->id);
            batch->refused = true;
            return;
        }
    }
}

enum status group_prepare(struct storage *storage, struct write_group *group, struct error *error)
{
    size_t series_count = 0;
    group->created_count = group->touched_count = group->touched_id_count = 0;
    group->ops = 0;
    text_table_clear(&group->created_names);
    for (size_t b = 0; b < group->count; b++) {
        struct write_batch *batch = group->batches[b];
        changes_resolve(storage, group, b);
        if (batch->refused) {
            continue;
        }
        for (size_t i = 0; i < batch->op_count; i++) {
            struct batch_series *series = &batch->series[batch->ops[i].series];
            if (series->entry == NULL &&
                series_resolve(storage, group, batch, series, error) != STATUS_OK) {
                goto failed;
            }
        }
        group->ops += batch->op_count + batch->change_count;
        series_count += batch->series_count + batch->change_count;
    }
    if (touched_reserve(group, series_count, error) != STATUS_OK) {
        goto failed;
    }
    if (group->created_count > 0) {
        lock_acquire(&storage->names_lock);
        enum status status = text_table_reserve(&storage->names, group->created_count, error);
        lock_release(&storage->names_lock);
        lock_acquire(&storage->lock);
        if (status == STATUS_OK) {
            status = series_directory_reserve(&storage->directory, group->created[0]->id,
                                              storage->directory.last_id, error);
        }
        lock_release(&storage->lock);
        if (status != STATUS_OK) {
            goto failed;
        }
    }
    return STATUS_OK;
failed:
    group_abandon(storage, group);
    return error->status;
}

/* Calls for each series that the group deletes. */
static void deleted_each(struct storage *storage, struct write_group *group,
                         void (*visit)(struct storage *, struct series_entry *))
{
    for (size_t b = 0; b < group->count; b++) {
        const struct write_batch *batch = group->batches[b];
        for (size_t i = 0; batch->has_delete && !batch->refused && i < batch->change_count; i++) {
            if (batch->changes[i].kind == CHANGE_DELETE) {
                visit(storage, batch->changes[i].entry);
            }
        }
    }
}

static void name_forget(struct storage *storage, struct series_entry *entry)
{
    text_table_remove(&storage->names, entry);
    storage->deletions++;
}

static void id_forget(struct storage *storage, struct series_entry *entry)
{
    series_directory_remove(&storage->directory, entry->id);
    storage->series_changes++;
    storage->counters.points -= entry->points;
    storage->counters.index_bytes -= storage->driver->entry_bytes + entry->text_length + 1;
}

void group_publish(struct storage *storage, struct write_group *group)
{
    lock_acquire(&storage->names_lock);
    deleted_each(storage, group, name_forget);
    for (size_t i = 0; i < group->created_count; i++) {
        text_table_insert(&storage->names, group->created[i]);
    }
    lock_release(&storage->names_lock);

    lock_acquire(&storage->lock);
    for (size_t i = 0; i < group->created_count; i++) { /* first: what was reserved is for them */
        struct series_entry *entry = group->created[i];
        series_directory_put(&storage->directory, entry);
        storage->series_changes++;
        storage->counters.index_bytes += storage->driver->entry_bytes + entry->text_length + 1;
    }
    deleted_each(storage, group, id_forget);
    lock_release(&storage->lock);

    for (size_t i = 0; i < group->touched_count; i++) {
        struct series_entry *entry = group->touched[i];
        entry->touched = false;
        if (series_directory_at(&storage->directory, entry->id) == entry) {
            group->touched_ids[group->touched_id_count++] = entry->id;
        }
    }
    deleted_each(storage, group, entry_destroy);
    group->created_count = group->touched_count = 0;
}

void group_abandon(struct storage *storage, struct write_group *group)
{
    for (size_t i = 0; i < group->touched_count; i++) {
        group->touched[i]->touched = false;
    }
    for (size_t i = 0; i < group->created_count; i++) {
        entry_destroy(storage, group->created[i]);
    }
    for (size_t b = 0; b < group->count; b++) {
        for (size_t i = 0; i < group->batches[b]->series_count; i++) {
            group->batches[b]->series[i].entry = NULL;
        }
    }
    group->created_count = group->touched_count = 0;
}

bool entry_count_point(struct series_entry *entry, struct point point, bool existed,
                       struct write_result *result)
{
    bool first = entry->points == 0;
    result->accepted++;
    if (existed) {
        result->updated++;
        entry->updated++;
        entry->generation++;
    } else {
        if (!first && point.time_ms < entry->last_ms) {
            result->late++;
            entry->late++;
            entry->generation++;
        }
        entry->points++;
    }
    if (first || point.time_ms < entry->first_ms) {
        entry->first_ms = point.time_ms;
    }
    if (first || point.time_ms >= entry->last_ms) {
        entry->last_ms = point.time_ms;
        entry->last_value = point.value;
    }
    entry->ended = entry->ended && point.time_ms <= entry->ended_ms;
    return !existed;
}

void entry_count_end(struct series_entry *entry, int64_t time_ms)
{
    if (time_ms > entry->ended_ms) {
        entry->ended_ms = time_ms;
    }
    entry->ended = entry->points == 0 || entry->ended_ms >= entry->last_ms;
}

void entry_take_excluded(struct series_entry *entry, struct batch_change *change)
{
    mem_free(entry->excluded);
    entry->excluded = change->excluded;
    entry->excluded_count = change->excluded_count;
    entry->generation++;
    change->excluded = NULL;
}

int64_t entry_retention(const struct series_entry *entry, int64_t preset_ms)
{
    return entry->settings != NULL && entry->settings->has_retention ? entry->settings->retention_ms
                                                                     : preset_ms;
}
