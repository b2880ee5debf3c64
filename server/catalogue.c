/* Models admitted, promoted, rolled back and pruned: files, records and registry kept in step.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/catalogue_internal.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "server/quoted.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_RETIRED   2 /* of a group, besides champion and previous */
#define KEEP_KEPT_BACK 2

/* ---------------------------------------------------------------- ticket */

void catalogue_take(struct catalogue *catalogue)
{
    lock_acquire(&catalogue->lock);
    while (catalogue->busy) {
        condition_wait(&catalogue->free, &catalogue->lock);
    }
    catalogue->busy = true;
    lock_release(&catalogue->lock);
}

void catalogue_return(struct catalogue *catalogue)
{
    size_t champions = 0;
    for (size_t i = 0; i < catalogue->count; i++) {
        champions += catalogue->entries[i].standing == STANDING_CHAMPION;
    }
    lock_acquire(&catalogue->lock);
    catalogue->busy = false;
    catalogue->models = catalogue->count;
    catalogue->champions = champions;
    condition_signal(&catalogue->free);
    lock_release(&catalogue->lock);
}

void catalogue_counts(struct catalogue *catalogue, size_t *models, size_t *champions)
{
    lock_acquire(&catalogue->lock);
    *models = catalogue->models;
    *champions = catalogue->champions;
    lock_release(&catalogue->lock);
}

uint64_t catalogue_damaged(struct catalogue *catalogue)
{
    return atomic_load(&catalogue->damaged);
}

/* ---------------------------------------------------------------- entries */

static struct model_entry *find_id(struct catalogue *catalogue, const char *id)
{
    for (size_t i = 0; i < catalogue->count; i++) {
        if (strcmp(catalogue->entries[i].id, id) == 0) {
            return &catalogue->entries[i];
        }
    }
    return NULL;
}

struct model_entry *catalogue_find(struct catalogue *catalogue, int64_t step_ms,
                                   enum standing standing)
{
    for (size_t i = 0; i < catalogue->count; i++) {
        if (catalogue->entries[i].step_ms == step_ms &&
            catalogue->entries[i].standing == standing) {
            return &catalogue->entries[i];
        }
    }
    return NULL;
}

void catalogue_path(const char *directory, const char *file, char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "%s/%s", directory, file);
}

/* "5m", "1h", "250ms": the largest unit that divides the step. */
static void step_text(int64_t step_ms, char *text, size_t capacity)
{
    static const struct {
        int64_t ms;
        const char *unit;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    for (size_t i = 0; i < ARRAY_COUNT(units); i++) {
        if (step_ms % units[i].ms == 0) {
            snprintf(text, capacity, "%lld%s", (long long)(step_ms / units[i].ms), units[i].unit);
            return;
        }
    }
}

static unsigned long long number_of(const char *id)
{
    const char *dash = strrchr(id, '-');
    return dash != NULL ? strtoull(dash + 1, NULL, 10) : 0;
}

static void next_id(const struct catalogue *catalogue, int64_t step_ms, char id[48])
{
    char step[24] = "";
    unsigned long long newest = catalogue->unsure_number;
    for (size_t i = 0; i < catalogue->count; i++) {
        unsigned long long number = number_of(catalogue->entries[i].id);
        if (catalogue->entries[i].step_ms == step_ms && number > newest) {
            newest = number;
        }
    }
    step_text(step_ms, step, sizeof(step));
    snprintf(id, 48, "%s-%llu", step, newest + 1);
}

/* ---------------------------------------------------------------- records */

static enum status put_record(struct write_batch *batch, const struct model_entry *entry,
                              struct error *error)
{
    struct text json;
    text_init(&json, MODEL_RECORD_BYTES_MAX);
    model_entry_write(entry, &json);
    enum status status = text_status(&json, "the record of a model", error);
    if (status == STATUS_OK) {
        status =
            write_batch_record(batch, MODEL_RECORD_KIND, entry->id, json.bytes, json.length, error);
    }
    text_release(&json);
    return status;
}

enum status catalogue_write(struct catalogue *catalogue, struct model_entry *const *changed,
                            size_t changed_count, struct model_entry *const *removed,
                            size_t removed_count, struct error *error)
{
    struct write_batch *batch = NULL;
    if (catalogue->writer == NULL) {
        return STATUS_OK; /* read only: what is corrupt is left out, nothing is changed */
    }
    struct write_result result;
    enum status status = write_batch_new(catalogue->storage, 0, &batch, error);
    for (size_t i = 0; status == STATUS_OK && i < changed_count; i++) {
        if (changed[i] != NULL) {
            status = put_record(batch, changed[i], error);
        }
    }
    for (size_t i = 0; status == STATUS_OK && i < removed_count; i++) {
        status = write_batch_record(batch, MODEL_RECORD_KIND, removed[i]->id, NULL, 0, error);
    }
    if (status != STATUS_OK) {
        write_batch_free(batch);
        return status;
    }
    return writer_write_take(catalogue->writer, batch, &result, error);
}

/* ---------------------------------------------------------------- admission */

/* Entries of a group beyond what is kept, oldest first. Those of a newer release stay: they wait
 * for it, and stood where no training of this one could judge them. */
static size_t choose_removed(struct catalogue *catalogue, int64_t step_ms,
                             struct model_entry **removed, size_t most)
{
    size_t count = 0;
    for (size_t i = 0; i < catalogue->count && count < most; i++) {
        struct model_entry *entry = &catalogue->entries[i];
        size_t newer = 0;
        if (entry->step_ms != step_ms || entry->standing == STANDING_CHAMPION ||
            entry->standing == STANDING_PREVIOUS || entry->standing == STANDING_NEWER) {
            continue;
        }
        for (size_t k = 0; k < catalogue->count; k++) {
            newer += catalogue->entries[k].step_ms == step_ms &&
                     catalogue->entries[k].standing == entry->standing &&
                     number_of(catalogue->entries[k].id) > number_of(entry->id);
        }
        size_t keep = entry->standing == STANDING_KEPT_BACK ? KEEP_KEPT_BACK : KEEP_RETIRED;
        if (newer >= keep) {
            removed[count++] = entry;
        }
    }
    return count;
}

/* After their records are gone: files, then entries. */
static void remove_entries(struct catalogue *catalogue, struct model_entry **removed, size_t count)
{
    char path[PATH_BYTES];
    for (size_t i = count; i-- > 0;) { /* from the end: pointers below stay right */
        struct model_entry *entry = removed[i];
        catalogue_path(catalogue->directory, entry->file, path);
        if (file_system()->remove(path) != 0 && errno != ENOENT) {
            log_warning("catalogue", "old model not removed", "file=%s reason=%s", entry->file,
                        QUOTED(strerror(errno)));
        }
        model_entry_release(entry);
        size_t index = (size_t)(entry - catalogue->entries);
        memmove(entry, entry + 1, (catalogue->count - index - 1) * sizeof(*entry));
        catalogue->count--;
    }
}

static enum status fill_entry(struct model_entry *entry, struct snapshot *snapshot,
                              const struct gate_result *gate, struct error *error)
{
    const struct snapshot_record *record = snapshot_record(snapshot);
    memset(entry, 0, sizeof(*entry));
    snprintf(entry->id, sizeof(entry->id), "%s", record->id);
    snprintf(entry->file, sizeof(entry->file), "%s.safetensors", record->id);
    snprintf(entry->sha256, sizeof(entry->sha256), "%s", record->sha256);
    entry->step_ms = record->step_ms;
    model_entry_decide(entry, gate->promote ? STANDING_CHAMPION : STANDING_KEPT_BACK, "gate", "%s",
                       gate->reason);
    entry->published_ms = clock_wall_ms();
    struct text json;
    text_init(&json, MODEL_RECORD_BYTES_MAX / 2);
    snapshot_describe(snapshot, &json);
    enum status status = text_status(&json, "the description of a model", error);
    if (status == STATUS_OK) {
        entry->description = mem_copy_text(json.bytes + 1, json.length - 1);
        if (entry->description == NULL) {
            status =
                error_set(error, STATUS_NO_MEMORY, "could not keep the description of a model");
        }
    }
    text_release(&json);
    return status;
}

/* The new entry is in the table already, with its decision; moves the standings of the others. */
static enum status record_admission(struct catalogue *catalogue, struct model_entry *entry,
                                    struct error *error)
{
    struct model_entry *removed[16] = {NULL};
    struct model_entry *champion = NULL, *previous = NULL;
    struct model_entry champion_before = {0}, previous_before = {0};
    const char *by = entry->decisions[entry->decision_count - 1].by;
    if (entry->standing == STANDING_CHAMPION) {
        entry->standing = STANDING_KEPT_BACK; /* hidden from the search for a moment */
        champion = catalogue_find(catalogue, entry->step_ms, STANDING_CHAMPION);
        previous = catalogue_find(catalogue, entry->step_ms, STANDING_PREVIOUS);
        entry->standing = STANDING_CHAMPION;
    }
    previous = champion != NULL && previous != entry ? previous : NULL;
    if (champion != NULL) {
        champion_before = *champion;
        model_entry_decide(champion, STANDING_PREVIOUS, by, "replaced by %s", entry->id);
    }
    if (previous != NULL) {
        previous_before = *previous;
        model_entry_decide(previous, STANDING_RETIRED, by, "two champions have come after it");
    }
    struct model_entry *changed[] = {entry, champion, previous};
    size_t removed_count = choose_removed(catalogue, entry->step_ms, removed, ARRAY_COUNT(removed));
    enum status status =
        catalogue_write(catalogue, changed, ARRAY_COUNT(changed), removed, removed_count, error);
    if (status == STATUS_OK) {
        remove_entries(catalogue, removed, removed_count);
        return STATUS_OK;
    }
    if (champion != NULL) {
        *champion = champion_before;
    }
    if (previous != NULL) {
        *previous = previous_before;
    }
    return status;
}

/* After a failed sync nobody knows whether the record is on disk, so its file must stay. */
static void admission_undo(struct catalogue *catalogue, const char *id, const char *path,
                           enum status status)
{
    if (status == STATUS_IO) {
        unsigned long long number = number_of(id);
        catalogue->unsure_number =
            number > catalogue->unsure_number ? number : catalogue->unsure_number;
    } else {
        (void)file_system()->remove(path);
    }
}

enum status catalogue_admit(struct catalogue *catalogue, struct snapshot *snapshot,
                            const struct gate_result *gate, char id[48], struct error *error)
{
    char path[PATH_BYTES], file[80];
    struct model_entry *entry = NULL;
    enum status status;
    catalogue_take(catalogue);
    if (catalogue->count == ENTRIES_MAX) {
        status = error_set(error, STATUS_TOO_LARGE, "cannot keep more than %d models", ENTRIES_MAX);
        goto finish;
    }
    /* First, so that nothing is on record that does not serve. */
    status = registry_reserve(catalogue->registry, snapshot_record(snapshot)->step_ms, error);
    if (status != STATUS_OK) {
        goto finish;
    }
    next_id(catalogue, snapshot_record(snapshot)->step_ms, id);
    snapshot_set_id(snapshot, id);
    snapshot_set_decision(snapshot, gate->reason);
    snprintf(file, sizeof(file), "%s.safetensors", id);
    catalogue_path(catalogue->directory, file, path);
    status = snapshot_save(snapshot, path, error);
    if (status != STATUS_OK) {
        goto finish;
    }
    entry = &catalogue->entries[catalogue->count];
    status = fill_entry(entry, snapshot, gate, error);
    if (status == STATUS_OK) {
        catalogue->count++;
        status = record_admission(catalogue, entry, error);
    }
    if (status != STATUS_OK) {
        model_entry_release(entry);
        catalogue->count = (size_t)(entry - catalogue->entries);
        admission_undo(catalogue, id, path, status);
        goto finish;
    }
    if (gate->promote) {
        status = registry_publish(catalogue->registry, snapshot, error);
    }

finish:
    catalogue_return(catalogue);
    return status;
}

/* ---------------------------------------------------------------- promotion and rollback */

enum status catalogue_promote(struct catalogue *catalogue, const char *id, struct error *error)
{
    struct snapshot *snapshot = NULL;
    enum status status;
    catalogue_take(catalogue);
    struct model_entry *entry = find_id(catalogue, id);
    if (entry == NULL) {
        status = error_set(error, STATUS_NOT_FOUND, "no model is called '%.48s'", id);
        goto finish;
    }
    if (entry->standing == STANDING_CHAMPION || entry->standing == STANDING_CORRUPT ||
        entry->standing == STANDING_NEWER) {
        status = error_set(error, STATUS_CONFLICT, "model '%s' is %s", id,
                           entry->standing == STANDING_CHAMPION  ? "the champion already"
                           : entry->standing == STANDING_CORRUPT ? "corrupt"
                                                                 : "of a newer release");
        goto finish;
    }
    snapshot = catalogue_load(catalogue, entry, error);
    if (snapshot == NULL) {
        if (error->status == STATUS_NOT_FOUND) {
            error->status = STATUS_CORRUPT; /* the model is there, its file is not */
        } else if (error->status == STATUS_UNSUPPORTED) {
            error->status = STATUS_CONFLICT; /* of a newer release */
        }
        status = error_wrap(error, "model '%s' could not be loaded", id);
        goto finish;
    }
    status = registry_reserve(catalogue->registry, entry->step_ms, error);
    if (status != STATUS_OK) {
        goto finish;
    }
    struct model_entry before = *entry;
    model_entry_decide(entry, STANDING_CHAMPION, "request", "promoted by request");
    status = record_admission(catalogue, entry, error);
    if (status != STATUS_OK) {
        *entry = before;
        goto finish;
    }
    status = registry_publish(catalogue->registry, snapshot, error);
    if (status == STATUS_OK) {
        log_info("catalogue", "model promoted by request", "model=%s", id);
    }

finish:
    catalogue_return(catalogue);
    snapshot_release(snapshot);
    return status;
}

/* The step of the only group that has a champion; 0 where there are none or several. */
static int64_t only_group(const struct catalogue *catalogue)
{
    int64_t step_ms = 0;
    for (size_t i = 0; i < catalogue->count; i++) {
        if (catalogue->entries[i].standing != STANDING_CHAMPION) {
            continue;
        }
        if (step_ms != 0) {
            return 0;
        }
        step_ms = catalogue->entries[i].step_ms;
    }
    return step_ms;
}

/* The champion is kept back for `reason` and the previous one serves again; on record only. */
static enum status step_back(struct catalogue *catalogue, struct model_entry *champion,
                             struct model_entry *previous, const char *by, const char *reason,
                             struct error *error)
{
    struct model_entry champion_before = *champion, previous_before = *previous;
    model_entry_decide(champion, STANDING_KEPT_BACK, by, "%s", reason);
    model_entry_decide(previous, STANDING_CHAMPION, by, "serves again: %s was rolled back",
                       champion->id);
    struct model_entry *changed[] = {champion, previous};
    enum status status = catalogue_write(catalogue, changed, 2, NULL, 0, error);
    if (status != STATUS_OK) {
        *champion = champion_before;
        *previous = previous_before;
    }
    return status;
}

/* The champion is kept back and nobody serves; the previous one retires, so that a restart does not
 * bring it back. On record only. */
static enum status step_down(struct catalogue *catalogue, struct model_entry *champion,
                             struct model_entry *previous, const char *reason, struct error *error)
{
    struct model_entry champion_before = *champion;
    struct model_entry previous_before = previous != NULL ? *previous : *champion;
    model_entry_decide(champion, STANDING_KEPT_BACK, "regret", "%s", reason);
    if (previous != NULL) {
        model_entry_decide(previous, STANDING_RETIRED, "regret",
                           "the baseline serves: %s was withdrawn", champion->id);
    }
    struct model_entry *changed[] = {champion, previous};
    enum status status = catalogue_write(catalogue, changed, 2, NULL, 0, error);
    if (status != STATUS_OK) {
        *champion = champion_before;
        if (previous != NULL) {
            *previous = previous_before;
        }
    }
    return status;
}

enum status catalogue_regret(struct catalogue *catalogue, int64_t step_ms,
                             const struct regret_verdict *verdict, struct error *error)
{
    enum status status;
    catalogue_take(catalogue);
    struct model_entry *champion = catalogue_find(catalogue, step_ms, STANDING_CHAMPION);
    struct model_entry *previous = catalogue_find(catalogue, step_ms, STANDING_PREVIOUS);
    if (champion == NULL || strcmp(champion->id, verdict->champion) != 0) {
        status = error_set(error, STATUS_CONFLICT, "model '%.48s' is not the champion any more",
                           verdict->champion);
        goto finish;
    }
    bool back = verdict->to_previous && previous != NULL;
    status = back ? step_back(catalogue, champion, previous, "regret", verdict->reason, error)
                  : step_down(catalogue, champion, previous, verdict->reason, error);
    if (status == STATUS_OK) {
        status = back ? registry_rollback(catalogue->registry, step_ms, error)
                      : registry_withdraw(catalogue->registry, step_ms, error);
        log_warning("catalogue", "champion rolled back", "from=%s to=%s reason=%s", champion->id,
                    back ? previous->id : "baseline", QUOTED(verdict->reason));
    }

finish:
    catalogue_return(catalogue);
    return status;
}

enum status catalogue_rollback(struct catalogue *catalogue, int64_t step_ms, struct error *error)
{
    enum status status;
    catalogue_take(catalogue);
    if (step_ms == 0) {
        step_ms = only_group(catalogue);
    }
    struct model_entry *champion = catalogue_find(catalogue, step_ms, STANDING_CHAMPION);
    struct model_entry *previous = catalogue_find(catalogue, step_ms, STANDING_PREVIOUS);
    if (champion == NULL || previous == NULL) {
        status = error_set(error, STATUS_NOT_FOUND, "cannot roll back: %s",
                           step_ms == 0 ? "there is no model, or several groups have one"
                                        : "there is no previous model");
        goto finish;
    }
    status = step_back(catalogue, champion, previous, "request", "rolled back by request", error);
    if (status == STATUS_OK) {
        status = registry_rollback(catalogue->registry, step_ms, error);
        log_info("catalogue", "rolled back by request", "from=%s to=%s", champion->id,
                 previous->id);
    }

finish:
    catalogue_return(catalogue);
    return status;
}
