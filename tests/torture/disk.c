/* The disk in memory: bytes, names, what was synced, and what a power cut leaves.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/torture/disk.h"

#include "base/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct disk_change {
    struct disk_change *next;
    bool resize;
    int64_t at, length; /* resize: the new length is `at` */
    unsigned char bytes[];
};

/* ---------------------------------------------------------------- bytes */

static void *must(void *block)
{
    CHECK(block != NULL);
    return block;
}

static void bytes_resize(struct disk_bytes *bytes, int64_t length)
{
    if (length > bytes->capacity) {
        bytes->capacity = length + length / 2 + 4096;
        bytes->bytes = must(realloc(bytes->bytes, (size_t)bytes->capacity));
    }
    if (length > bytes->length) {
        memset(bytes->bytes + bytes->length, 0, (size_t)(length - bytes->length));
    }
    bytes->length = length;
}

static void bytes_write(struct disk_bytes *bytes, int64_t at, const void *from, int64_t length)
{
    if (length > 0) {
        bytes_resize(bytes, at + length > bytes->length ? at + length : bytes->length);
        memcpy(bytes->bytes + at, from, (size_t)length);
    }
}

static void bytes_copy(struct disk_bytes *to, const struct disk_bytes *from)
{
    bytes_resize(to, 0);
    bytes_write(to, 0, from->bytes, from->length);
}

static void change_add(struct disk_file *file, struct disk_change *change)
{
    change->next = NULL;
    *(file->changes == NULL ? &file->changes : &file->last_change->next) = change;
    file->last_change = change;
}

static void changes_drop(struct disk_file *file)
{
    while (file->changes != NULL) {
        struct disk_change *change = file->changes;
        file->changes = change->next;
        free(change);
    }
    file->last_change = NULL;
}

static void change_apply(struct disk_bytes *to, const struct disk_change *change)
{
    if (change->resize) {
        bytes_resize(to, change->at);
    } else {
        bytes_write(to, change->at, change->bytes, change->length);
    }
}

/* ---------------------------------------------------------------- files and names */

void disk_release(struct disk_file *file)
{
    CHECK(file->users > 0);
    if (--file->users == 0) {
        changes_drop(file);
        for (int i = 0; i < DISK_SHM_MAX; i++) {
            free(file->shm[i]);
        }
        free(file->now.bytes);
        free(file->durable.bytes);
        free(file);
    }
}

static struct disk_file *names_find(const struct disk_names *names, const char *path)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->items[i].path, path) == 0) {
            return names->items[i].file;
        }
    }
    return NULL;
}

/* The name means this file from now on; NULL: it is gone. */
static void names_set(struct disk_names *names, const char *path, struct disk_file *file)
{
    size_t at = 0;
    while (at < names->count && strcmp(names->items[at].path, path) != 0) {
        at++;
    }
    struct disk_file *before = at < names->count ? names->items[at].file : NULL;
    if (file != NULL) {
        file->users++;
        CHECK(at < DISK_FILES_MAX);
        snprintf(names->items[at].path, DISK_PATH_MAX, "%s", path);
        names->items[at].file = file;
        names->count += at == names->count;
    } else if (before != NULL) {
        names->items[at] = names->items[--names->count];
    }
    if (before != NULL) {
        disk_release(before);
    }
}

static void entry_add(struct disk *disk, const char *path, struct disk_file *file, bool paired)
{
    if (disk->entry_count == sizeof disk->entries / sizeof *disk->entries) {
        disk_sync_parent(disk, disk->entries[0].path); /* a journal commits now and then */
    }
    struct disk_entry_change *entry = &disk->entries[disk->entry_count++];
    snprintf(entry->path, sizeof entry->path, "%s", path);
    entry->file = file;
    entry->paired = paired;
    if (file != NULL) {
        file->users++;
    }
}

struct disk_file *disk_find(struct disk *disk, const char *path)
{
    return names_find(&disk->now, path);
}

struct disk_file *disk_create(struct disk *disk, const char *path)
{
    if (disk->now.count == DISK_FILES_MAX) {
        return NULL;
    }
    struct disk_file *file = must(calloc(1, sizeof *file));
    snprintf(file->path, sizeof file->path, "%s", path);
    names_set(&disk->now, path, file);
    entry_add(disk, path, file, false);
    return file;
}

void disk_unlink(struct disk *disk, const char *path)
{
    entry_add(disk, path, NULL, false);
    names_set(&disk->now, path, NULL);
}

bool disk_rename(struct disk *disk, const char *from, const char *to)
{
    struct disk_file *file = disk_find(disk, from);
    if (file == NULL) {
        return false;
    }
    entry_add(disk, to, file, true);
    entry_add(disk, from, NULL, false);
    names_set(&disk->now, to, file);
    names_set(&disk->now, from, NULL);
    snprintf(file->path, sizeof file->path, "%s", to);
    return true;
}

/* ---------------------------------------------------------------- reading and writing */

int64_t disk_used(struct disk *disk)
{
    int64_t used = 0;
    for (size_t i = 0; i < disk->now.count; i++) {
        used += disk->now.items[i].file->now.length;
    }
    return used;
}

static bool disk_has_room(struct disk *disk, int64_t more)
{
    return disk->quota == 0 || more <= 0 || disk_used(disk) + more <= disk->quota;
}

bool disk_write(struct disk *disk, struct disk_file *file, int64_t at, const void *bytes,
                int64_t length)
{
    if (!disk_has_room(disk, at + length - file->now.length)) {
        return false;
    }
    struct disk_change *change = must(malloc(sizeof *change + (size_t)length));
    change->resize = false;
    change->at = at;
    change->length = length;
    memcpy(change->bytes, bytes, (size_t)length);
    change_add(file, change);
    change_apply(&file->now, change);
    return true;
}

bool disk_resize(struct disk *disk, struct disk_file *file, int64_t length)
{
    if (!disk_has_room(disk, length - file->now.length)) {
        return false;
    }
    struct disk_change *change = must(calloc(1, sizeof *change));
    change->resize = true;
    change->at = length;
    change_add(file, change);
    change_apply(&file->now, change);
    return true;
}

int64_t disk_read(const struct disk_file *file, int64_t at, void *bytes, int64_t length)
{
    int64_t left = at < file->now.length ? file->now.length - at : 0;
    int64_t count = left < length ? left : length;
    if (count > 0) {
        memcpy(bytes, file->now.bytes + at, (size_t)count);
    }
    return count;
}

void disk_hold_syncs(struct disk *disk, bool hold)
{
    pthread_mutex_lock(&disk->lock);
    disk->syncs_held = hold;
    pthread_cond_broadcast(&disk->changed);
    pthread_mutex_unlock(&disk->lock);
}

unsigned disk_syncs_waiting(struct disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    unsigned waiting = disk->syncs_waiting;
    pthread_mutex_unlock(&disk->lock);
    return waiting;
}

void disk_wait_to_sync(struct disk *disk)
{
    disk->syncs_waiting++;
    while (disk->syncs_held) {
        pthread_cond_wait(&disk->changed, &disk->lock);
    }
    disk->syncs_waiting--;
}

void disk_sync(struct disk *disk, struct disk_file *file)
{
    disk->syncs++;
    if (disk->syncs_ignored) {
        return;
    }
    for (const struct disk_change *change = file->changes; change != NULL; change = change->next) {
        change_apply(&file->durable, change);
    }
    changes_drop(file);
    if (file->name_needs_sync) {
        file->name_needs_sync = false;
        disk_sync_parent(disk, file->path);
    }
}

void disk_sync_folder(struct disk *disk, const char *folder, size_t length)
{
    size_t kept = 0;
    if (disk->syncs_ignored) {
        return;
    }
    for (size_t i = 0; i < disk->entry_count; i++) {
        struct disk_entry_change entry = disk->entries[i];
        const char *slash = strrchr(entry.path, '/');
        if (slash != NULL && (size_t)(slash - entry.path) == length &&
            memcmp(entry.path, folder, length) == 0) {
            names_set(&disk->durable, entry.path, entry.file);
            if (entry.file != NULL) {
                disk_release(entry.file);
            }
        } else {
            disk->entries[kept++] = entry;
        }
    }
    disk->entry_count = kept;
}

void disk_sync_parent(struct disk *disk, const char *path)
{
    const char *slash = strrchr(path, '/');
    disk_sync_folder(disk, path, slash == NULL ? 0 : (size_t)(slash - path));
}

/* ---------------------------------------------------------------- faults */

void disk_fault_set(struct disk *disk, uint64_t nth, enum disk_fault fault, bool persistent)
{
    pthread_mutex_lock(&disk->lock);
    uint64_t done = fault == DISK_CUT   ? disk->changes
                    : fault == DISK_END ? disk->reads
                                        : disk->operations;
    disk->fault_at = nth == 0 ? 0 : done + nth;
    disk->fault = fault;
    disk->persistent = persistent;
    disk->struck = false;
    pthread_cond_broadcast(&disk->changed);
    pthread_mutex_unlock(&disk->lock);
}

bool disk_await_delay(struct disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    while (!disk->delayed && disk->fault == DISK_DELAY) {
        pthread_cond_wait(&disk->changed, &disk->lock);
    }
    bool delayed = disk->delayed;
    pthread_mutex_unlock(&disk->lock);
    return delayed;
}

void disk_let_go(struct disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    disk->delayed = false;
    pthread_cond_broadcast(&disk->changed);
    pthread_mutex_unlock(&disk->lock);
}

static void wait_to_be_let_go(struct disk *disk)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += DISK_PATIENCE_S;
    disk->delayed = true;
    pthread_cond_broadcast(&disk->changed);
    while (disk->delayed && !disk->delay_outlasted) {
        disk->delay_outlasted =
            pthread_cond_timedwait(&disk->changed, &disk->lock, &until) == ETIMEDOUT &&
            disk->delayed;
    }
    disk->delayed = false;
}

enum disk_fault disk_strikes(struct disk *disk, const char *path, bool change)
{
    disk->operations++;
    disk->changes += change;
    if (disk->dead) {
        return DISK_CUT;
    }
    if (disk->fault_at == 0 || disk->fault == DISK_END || (disk->fault == DISK_CUT && !change)) {
        return DISK_NO_FAULT;
    }
    uint64_t done = disk->fault == DISK_CUT ? disk->changes : disk->operations;
    if (done < disk->fault_at || (done > disk->fault_at && !disk->persistent)) {
        return DISK_NO_FAULT;
    }
    disk->struck = true;
    snprintf(disk->struck_path, sizeof disk->struck_path, "%s", path);
    if (disk->fault == DISK_DELAY) {
        wait_to_be_let_go(disk);
        return disk->dead ? DISK_CUT : DISK_NO_FAULT;
    }
    disk->dead = disk->fault == DISK_CUT;
    return disk->fault;
}

bool disk_ends(struct disk *disk, const char *path)
{
    disk->reads++;
    if (disk->fault_at == 0 || disk->fault != DISK_END || disk->reads < disk->fault_at ||
        (disk->reads > disk->fault_at && !disk->persistent)) {
        return false;
    }
    disk->struck = true;
    snprintf(disk->struck_path, sizeof disk->struck_path, "%s", path);
    return true;
}

/* ---------------------------------------------------------------- the power comes back */

enum survival {
    SURVIVE_NONE,
    SURVIVE_ALL,
    SURVIVE_PREFIX,
    SURVIVE_SECTORS,
    SURVIVE_TORN,
    SURVIVALS
};

/* A write's sectors, each by itself. */
static void sectors_apply(struct disk_bytes *to, const struct disk_change *change, bool torn,
                          struct random *random)
{
    for (int64_t at = 0; at < change->length;) {
        int64_t end = (change->at + at) / DISK_SECTOR * DISK_SECTOR + DISK_SECTOR - change->at;
        end = end < change->length ? end : change->length;
        int64_t count = end - at;
        uint64_t dice = random_below(random, 4);
        if (torn && dice == 0) {
            count = (int64_t)random_below(random, (uint64_t)count + 1);
        }
        if (dice < 2) {
            bytes_write(to, change->at + at, change->bytes + at, count);
        }
        at = end;
    }
}

/* The file's length is not its data: it may have grown without them. */
static void hollow_growth(struct disk_bytes *to, int64_t longest, struct random *random)
{
    int64_t before = to->length;
    if (longest <= before || random_below(random, 3) != 0) {
        return;
    }
    bytes_resize(to, longest);
    bool rubbish = random_below(random, 2) == 0;
    for (int64_t i = before; rubbish && i < longest; i++) {
        to->bytes[i] = (unsigned char)random_next(random);
    }
}

static void file_crash(struct disk_file *file, struct random *random)
{
    enum survival survival = (enum survival)random_below(random, SURVIVALS);
    size_t count = 0, at = 0;
    int64_t longest = 0;
    for (const struct disk_change *change = file->changes; change != NULL; change = change->next) {
        int64_t end = change->at + change->length;
        longest = end > longest ? end : longest;
        count++;
    }
    size_t prefix = survival == SURVIVE_NONE  ? 0
                    : survival == SURVIVE_ALL ? count
                                              : (size_t)random_below(random, count + 1);
    for (const struct disk_change *change = file->changes; change != NULL; change = change->next) {
        bool by_sector =
            survival >= SURVIVE_SECTORS || (survival == SURVIVE_PREFIX && at == prefix);
        if (by_sector && change->resize) {
            if (random_below(random, 2) == 0) {
                change_apply(&file->durable, change);
            }
        } else if (by_sector) {
            sectors_apply(&file->durable, change, survival != SURVIVE_SECTORS, random);
        } else if (at < prefix) {
            change_apply(&file->durable, change);
        }
        at++;
    }
    if (survival != SURVIVE_NONE) {
        hollow_growth(&file->durable, longest, random);
    }
    changes_drop(file);
    bytes_copy(&file->now, &file->durable);
}

/* Names in order up to some point, or any of them; both halves of a rename go together. */
static void entries_crash(struct disk *disk, struct random *random)
{
    size_t prefix = (size_t)random_below(random, disk->entry_count + 1);
    bool any = random_below(random, 3) == 0, with_before = false;
    for (size_t i = 0; i < disk->entry_count; i++) {
        struct disk_entry_change *entry = &disk->entries[i];
        bool second = i > 0 && disk->entries[i - 1].paired;
        bool survives = second ? with_before : any ? random_below(random, 2) == 0 : i < prefix;
        with_before = survives;
        if (survives) {
            names_set(&disk->durable, entry->path, entry->file);
        }
        if (entry->file != NULL) {
            disk_release(entry->file);
        }
    }
    disk->entry_count = 0;
}

void disk_crash(struct disk *disk, struct random *random)
{
    pthread_mutex_lock(&disk->lock);
    entries_crash(disk, random);
    while (disk->now.count > 0) {
        names_set(&disk->now, disk->now.items[0].path, NULL);
    }
    for (size_t i = 0; i < disk->durable.count; i++) {
        struct disk_file *file = disk->durable.items[i].file;
        snprintf(file->path, sizeof file->path, "%s", disk->durable.items[i].path);
        file_crash(file, random);
        file->name_needs_sync = false;
        names_set(&disk->now, file->path, file);
    }
    disk->dead = false;
    disk->fault_at = 0;
    pthread_mutex_unlock(&disk->lock);
}

/* ---------------------------------------------------------------- the disk */

static void changed_init(pthread_cond_t *changed)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

struct disk *disk_new(uint64_t seed)
{
    struct disk *disk = must(calloc(1, sizeof *disk));
    pthread_mutex_init(&disk->lock, NULL);
    changed_init(&disk->changed);
    random_init(&disk->random, seed, 1);
    return disk;
}

void disk_free(struct disk *disk)
{
    for (size_t i = 0; i < disk->entry_count; i++) {
        if (disk->entries[i].file != NULL) {
            disk_release(disk->entries[i].file);
        }
    }
    while (disk->now.count > 0) {
        names_set(&disk->now, disk->now.items[0].path, NULL);
    }
    while (disk->durable.count > 0) {
        names_set(&disk->durable, disk->durable.items[0].path, NULL);
    }
    pthread_cond_destroy(&disk->changed);
    pthread_mutex_destroy(&disk->lock);
    free(disk);
}
