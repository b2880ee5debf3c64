/* The catalogue at start and at the end: records read, files verified and loaded; and its check.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/catalogue_internal.h"

#include "base/check.h"
#include "base/file.h"
#include "base/memory.h"
#include "server/quoted.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool collect_entry(void *context, const char *key, const char *json, size_t length)
{
    struct catalogue *catalogue = context;
    struct error error = {0};
    if (catalogue->count == ENTRIES_MAX) {
        return false;
    }
    enum status status =
        model_entry_read(&catalogue->entries[catalogue->count], json, length, &error);
    if (status == STATUS_NO_MEMORY) {
        catalogue->no_memory = true;
        return false;
    }
    if (status != STATUS_OK) {
        log_error("catalogue", "record left out", "key=%s reason=%s", key, QUOTED(error.text));
        catalogue->unreadable++;
        return true;
    }
    catalogue->count++;
    return true;
}

static enum status read_records(struct catalogue *catalogue, struct error *error)
{
    struct storage_reader *reader = NULL;
    enum status status = storage_reader_open(catalogue->storage, &reader, error);
    if (status == STATUS_OK) {
        status = storage_records(reader, MODEL_RECORD_KIND, collect_entry, catalogue, error);
        storage_reader_close(reader);
    }
    if (status == STATUS_OK && catalogue->no_memory) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate the record of a model");
    }
    return status;
}

/* A new standing for what cannot be loaded, and its record. */
static void not_loaded(struct catalogue *catalogue, struct model_entry *entry,
                       enum standing standing, const char *why)
{
    struct error error = {0};
    model_entry_decide(entry, standing, "start", "not loaded: %.140s", why);
    if (catalogue_write(catalogue, &entry, 1, NULL, 0, &error) != STATUS_OK) {
        log_error("catalogue", "could not record a model that was not loaded", "model=%s reason=%s",
                  entry->id, QUOTED(error.text));
    }
}

struct snapshot *catalogue_load(struct catalogue *catalogue, struct model_entry *entry,
                                struct error *error)
{
    char path[PATH_BYTES], aside[PATH_BYTES + 16];
    struct snapshot *snapshot = NULL;
    catalogue_path(catalogue->directory, entry->file, path);
    enum status status = snapshot_load(path, entry->sha256, &snapshot, error);
    if (status == STATUS_OK) {
        return snapshot;
    }
    if (status == STATUS_UNSUPPORTED && entry->standing == STANDING_NEWER) {
        return NULL; /* said before */
    }
    log_error("catalogue", "model not loaded", "model=%s file=%s reason=%s", entry->id, entry->file,
              QUOTED(error->text));
    if (status == STATUS_UNSUPPORTED) {
        not_loaded(catalogue, entry, STANDING_NEWER, error->text);
        return NULL;
    }
    if (status != STATUS_CORRUPT && status != STATUS_NOT_FOUND) {
        return NULL; /* memory or disk failed us for now; the file may be as good as ever */
    }
    atomic_fetch_add(&catalogue->damaged, 1);
    if (status == STATUS_CORRUPT && catalogue->writer != NULL) {
        snprintf(aside, sizeof(aside), "%s.corrupt", path);
        if (file_system()->rename(path, aside) != 0) {
            log_error("catalogue", "could not rename aside", "file=%s reason=%s", entry->file,
                      QUOTED(strerror(errno)));
        }
    }
    not_loaded(catalogue, entry, STANDING_CORRUPT, error->text);
    return NULL;
}

static void publish_entry(struct catalogue *catalogue, struct model_entry *entry)
{
    struct error error = {0};
    struct snapshot *snapshot = catalogue_load(catalogue, entry, &error);
    if (snapshot == NULL) {
        return;
    }
    if (registry_publish(catalogue->registry, snapshot, &error) != STATUS_OK) {
        log_error("catalogue", "model not published", "model=%s reason=%s", entry->id,
                  QUOTED(error.text));
    }
    snapshot_release(snapshot);
}

/* When a training or a person last made it the champion. */
static int64_t chosen_ms(const struct model_entry *entry)
{
    int64_t at_ms = entry->published_ms;
    for (size_t i = 0; i < entry->decision_count; i++) {
        const struct decision *decision = &entry->decisions[i];
        if (decision->standing == STANDING_CHAMPION && strcmp(decision->by, "start") != 0) {
            at_ms = decision->at_ms;
        }
    }
    return at_ms;
}

/* Where a model stands that an older release could not read: where it stood before, except that of
 * two champions the one serves that was chosen last. So a deputy gives way, and what has filled the
 * place since does not, whichever of several is looked at first. */
static enum standing standing_again(struct catalogue *catalogue, const struct model_entry *entry)
{
    enum standing before = STANDING_RETIRED;
    for (size_t i = 0; i < entry->decision_count; i++) {
        if (entry->decisions[i].standing != STANDING_NEWER) {
            before = entry->decisions[i].standing;
        }
    }
    struct model_entry *champion = catalogue_find(catalogue, entry->step_ms, STANDING_CHAMPION);
    if (before == STANDING_CHAMPION &&
        (champion == NULL || chosen_ms(champion) < chosen_ms(entry))) {
        return STANDING_CHAMPION;
    }
    if (before != STANDING_CHAMPION && before != STANDING_PREVIOUS) {
        return before;
    }
    return catalogue_find(catalogue, entry->step_ms, STANDING_PREVIOUS) == NULL ? STANDING_PREVIOUS
                                                                                : STANDING_RETIRED;
}

/* The decision, and those on the champion and the previous one that it moves. */
static void stand_again(struct catalogue *catalogue, struct model_entry *entry)
{
    struct error error = {0};
    struct model_entry *champion = NULL, *previous = NULL;
    enum standing standing = standing_again(catalogue, entry);
    if (standing == STANDING_CHAMPION) {
        champion = catalogue_find(catalogue, entry->step_ms, STANDING_CHAMPION);
        previous =
            champion != NULL ? catalogue_find(catalogue, entry->step_ms, STANDING_PREVIOUS) : NULL;
    }
    model_entry_decide(entry, standing, "start", "can be read again");
    if (champion != NULL) {
        model_entry_decide(champion, STANDING_PREVIOUS, "start", "%s can be read again", entry->id);
    }
    if (previous != NULL) {
        model_entry_decide(previous, STANDING_RETIRED, "start", "two champions have come after it");
    }
    log_info("catalogue", "model can be read again", "model=%s standing=%s", entry->id,
             standing_name(standing));
    struct model_entry *changed[] = {entry, champion, previous};
    if (catalogue_write(catalogue, changed, ARRAY_COUNT(changed), NULL, 0, &error) != STATUS_OK) {
        log_error("catalogue", "could not record who serves", "model=%s reason=%s", entry->id,
                  QUOTED(error.text));
    }
}

/* Forward again: what waits for a newer release is loaded where this is one. */
static void take_back(struct catalogue *catalogue)
{
    for (size_t i = 0; i < catalogue->count; i++) {
        struct model_entry *entry = &catalogue->entries[i];
        struct error error = {0};
        struct snapshot *snapshot =
            entry->standing == STANDING_NEWER ? catalogue_load(catalogue, entry, &error) : NULL;
        if (snapshot != NULL) {
            snapshot_release(snapshot);
            stand_again(catalogue, entry);
        }
    }
}

/* Previous ones first, so that publishing the champions makes them the previous again. */
static void publish_all(struct catalogue *catalogue)
{
    static const enum standing order[] = {STANDING_PREVIOUS, STANDING_CHAMPION};
    take_back(catalogue);
    for (size_t pass = 0; pass < ARRAY_COUNT(order); pass++) {
        for (size_t i = 0; i < catalogue->count; i++) {
            if (catalogue->entries[i].standing == order[pass]) {
                publish_entry(catalogue, &catalogue->entries[i]);
            }
        }
    }
    /* Where a champion could not be read the previous one serves now: entries and records shall
     * say so. */
    for (size_t i = 0; i < catalogue->count; i++) {
        struct model_entry *entry = &catalogue->entries[i];
        struct error error = {0};
        if (entry->standing != STANDING_PREVIOUS ||
            catalogue_find(catalogue, entry->step_ms, STANDING_CHAMPION) != NULL) {
            continue;
        }
        model_entry_decide(entry, STANDING_CHAMPION, "start",
                           "serves again: the champion cannot be read");
        log_warning("catalogue", "previous model serves", "model=%s", entry->id);
        if (catalogue_write(catalogue, &entry, 1, NULL, 0, &error) != STATUS_OK) {
            log_error("catalogue", "could not record who serves", "model=%s reason=%s", entry->id,
                      QUOTED(error.text));
        }
    }
}

enum status catalogue_open(struct storage *storage, struct writer *writer,
                           struct registry *registry, const char *directory, struct catalogue **out,
                           struct error *error)
{
    struct catalogue *catalogue = mem_zeroed(1, sizeof(*catalogue));
    if (catalogue == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not open the catalogue: out of memory");
    }
    catalogue->storage = storage;
    catalogue->writer = writer;
    catalogue->registry = registry;
    snprintf(catalogue->directory, sizeof(catalogue->directory), "%s", directory);
    lock_init(&catalogue->lock);
    condition_init(&catalogue->free);
    enum status status = STATUS_OK;
    if (writer != NULL && file_system()->make_folder(directory, 0700) != 0 && errno != EEXIST) {
        status = error_set(error, STATUS_IO, "could not make folder '%s': %s", directory,
                           strerror(errno));
    }
    if (status == STATUS_OK) {
        status = read_records(catalogue, error);
    }
    if (status != STATUS_OK) {
        catalogue_close(catalogue);
        return status;
    }
    catalogue_take(catalogue);
    publish_all(catalogue);
    catalogue_return(catalogue);
    *out = catalogue;
    return STATUS_OK;
}

void catalogue_close(struct catalogue *catalogue)
{
    if (catalogue == NULL) {
        return;
    }
    for (size_t i = 0; i < catalogue->count; i++) {
        model_entry_release(&catalogue->entries[i]);
    }
    condition_release_memory(&catalogue->free);
    lock_release_memory(&catalogue->lock);
    mem_free(catalogue);
}

/* ---------------------------------------------------------------- check */

enum status catalogue_check(struct storage *storage, const char *directory, storage_report report,
                            void *context, size_t *checked, struct error *error)
{
    struct catalogue *catalogue = mem_zeroed(1, sizeof(*catalogue));
    if (catalogue == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not check the models: out of memory");
    }
    catalogue->storage = storage;
    lock_init(&catalogue->lock);
    condition_init(&catalogue->free);
    enum status status = read_records(catalogue, error);
    size_t bad = catalogue->unreadable;
    char line[PATH_BYTES + 400];
    if (bad > 0) {
        snprintf(
            line, sizeof(line),
            "models: %zu records cannot be read; the daemon leaves them out, the next training "
            "replaces them",
            bad);
        report(context, line);
    }
    for (size_t i = 0; status == STATUS_OK && i < catalogue->count; i++) {
        struct model_entry *entry = &catalogue->entries[i];
        char path[PATH_BYTES];
        struct snapshot *snapshot = NULL;
        struct error why = {0};
        catalogue_path(directory, entry->file, path);
        enum status found = entry->standing != STANDING_CORRUPT
                                ? snapshot_load(path, entry->sha256, &snapshot, &why)
                                : STATUS_OK;
        if (found == STATUS_NO_MEMORY || found == STATUS_IO) {
            *error = why; /* nothing is known about the file */
            status = error_wrap(error, "could not check model %s", entry->id);
        } else if (found == STATUS_UNSUPPORTED) {
            snprintf(
                line, sizeof(line),
                "model %s: of a newer release, whole and left as it is; nothing is to be done, "
                "it comes back with that release",
                entry->id);
            report(context, line);
        } else if (found != STATUS_OK) {
            snprintf(line, sizeof(line),
                     "model %s: %s; the daemon sets it aside and the previous one serves, the next "
                     "training replaces it",
                     entry->id, why.text);
            report(context, line);
            bad++;
        }
        snapshot_release(snapshot);
        ++*checked;
    }
    catalogue_close(catalogue);
    if (status == STATUS_OK && bad > 0) {
        return error_set(error, STATUS_CORRUPT, "%zu models are damaged", bad);
    }
    return status;
}
