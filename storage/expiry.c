/* Series that leave: those which retention has emptied, and nobody configured.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Senders make names up, a pod or a container each, and stop without saying so. Their points go
 * with age; if the series stayed, the store would be full of names one day and refuse new ones. So
 * a series goes where the newest that is known of it is as old as a point that goes.
 *
 * It goes as by a request, in a batch and a group: its name, its id and all handles of it are void
 * after the commit, and a point that was on its way makes it anew. Only the writer thread makes and
 * deletes series, so nothing comes between looking and deleting.
 */
#include "base/log.h"
#include "base/memory.h"
#include "storage/batch.h"
#include "storage/store.h"

enum {
    LOOK = 4096, /* series looked at in one slice */
    LOT = 32,    /* deleted in one transaction */
};

static bool is_configured(const struct series_entry *entry)
{
    const struct series_settings *settings = entry->settings;
    return entry->excluded_count > 0 ||
           (settings != NULL &&
            (settings->has_step || settings->has_season || settings->has_minimum ||
             settings->has_maximum || settings->has_integer || settings->has_kind ||
             settings->has_retention || settings->time_zone[0] != '\0'));
}

/* Its newest point, end marker and making all lie before a time, and it holds no point. (The time
 * of the newest point is known beyond the point.) */
static bool is_over(const struct series_entry *entry, int64_t before_ms)
{
    return entry->points == 0 && entry->last_ms < before_ms && entry->ended_ms < before_ms &&
           entry->created_ms < before_ms && !is_configured(entry);
}

static size_t lot_choose(struct storage *storage, int64_t before_ms, uint32_t ids[LOT])
{
    size_t count = 0;
    for (int looked = 0; looked < LOOK && count < LOT; looked++) {
        const struct series_entry *entry =
            series_directory_next(&storage->directory, storage->expire_hand);
        storage->expire_hand = entry == NULL ? 0 : entry->id;
        if (entry == NULL) {
            break;
        }
        if (is_over(entry, before_ms)) {
            ids[count++] = entry->id;
        }
    }
    return count;
}

static enum status lot_delete(struct storage *storage, const uint32_t *ids, size_t count,
                              struct error *error)
{
    struct write_batch *batch = NULL;
    struct write_group group = {0};
    enum status status = write_batch_new(storage, 0, &batch, error);
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        status = write_batch_delete(batch, ids[i], error);
    }
    if (status == STATUS_OK) {
        group.batches = mem_zeroed(1, sizeof(struct write_batch *));
        if (group.batches == NULL) {
            status = error_set(error, STATUS_NO_MEMORY, "could not allocate a group of batches");
        }
    }
    if (status == STATUS_OK) {
        group.batches[0] = batch;
        group.count = group.capacity = 1;
        status = store_commit(storage, &group, error);
    }
    write_group_release(&group);
    write_batch_free(batch);
    return status;
}

enum status store_expire(struct storage *storage, int64_t now_ms, bool *more, struct error *error)
{
    uint32_t ids[LOT];
    *more = false;
    if (storage->options.retention_ms <= 0) {
        return STATUS_OK;
    }
    size_t count = lot_choose(storage, now_ms - storage->options.retention_ms, ids);
    if (count > 0 && lot_delete(storage, ids, count, error) != STATUS_OK) {
        return error->status;
    }
    lock_acquire(&storage->lock);
    storage->counters.expired += count;
    lock_release(&storage->lock);
    storage->expire_count += count;
    *more = storage->expire_hand != 0;
    if (!*more && storage->expire_count > 0) {
        log_info("storage", "series left behind their last points", "series=%zu",
                 storage->expire_count);
        storage->expire_count = 0;
    }
    return STATUS_OK;
}
