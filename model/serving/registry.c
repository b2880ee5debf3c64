/* The live models by step group: counted references, swapped under readers.
 * SPDX-License-Identifier: Apache-2.0
 *
 * acquire takes a short lock, copies the pointer, adds a reference, unlocks: readers never wait for
 * training. publish swaps under the same lock and releases what fell out after it.
 */
#include "base/check.h"
#include "base/lock.h"
#include "base/memory.h"
#include "model/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS_MAX 4096

struct group {
    int64_t step_ms;
    uint64_t newest; /* number of the newest id */
    struct snapshot *champion;
    struct snapshot *previous;
    bool is_deserted; /* no series has this step, as far as anybody has looked */
};

struct registry {
    struct lock lock;
    struct group *groups; /* guarded by lock, as count and capacity */
    size_t count, capacity;
    atomic_uint_fast64_t generation;
};

/* Under the lock; NULL where the step has no group. */
static struct group *find(struct registry *registry, int64_t step_ms)
{
    for (size_t i = 0; i < registry->count; i++) {
        if (registry->groups[i].step_ms == step_ms) {
            return &registry->groups[i];
        }
    }
    return NULL;
}

static struct group *find_or_add(struct registry *registry, int64_t step_ms)
{
    struct group *group = find(registry, step_ms);
    if (group != NULL || registry->count == GROUPS_MAX) {
        return group;
    }
    if (registry->count == registry->capacity) {
        size_t capacity = registry->capacity * 2 + 8;
        struct group *grown = mem_resize(registry->groups, capacity, sizeof(*grown));
        if (grown == NULL) {
            return NULL;
        }
        registry->groups = grown;
        registry->capacity = capacity;
    }
    group = &registry->groups[registry->count];
    registry->count++;
    *group = (struct group){.step_ms = step_ms};
    return group;
}

/* "5m-142" -> 142; 0 where the id has another form. */
static uint64_t id_number(const char *id)
{
    const char *dash = strrchr(id, '-');
    return dash == NULL ? 0 : strtoull(dash + 1, NULL, 10);
}

enum status registry_new(struct registry **out, struct error *error)
{
    struct registry *registry = mem_zeroed(1, sizeof(*registry));
    if (registry == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not make the registry of models");
    }
    lock_init(&registry->lock);
    *out = registry;
    return STATUS_OK;
}

void registry_free(struct registry *registry)
{
    if (registry == NULL) {
        return;
    }
    for (size_t i = 0; i < registry->count; i++) {
        snapshot_release(registry->groups[i].champion);
        snapshot_release(registry->groups[i].previous);
    }
    mem_free(registry->groups);
    lock_release_memory(&registry->lock);
    mem_free(registry);
}

struct snapshot *registry_acquire(struct registry *registry, int64_t step_ms)
{
    lock_acquire(&registry->lock);
    struct group *group = find(registry, step_ms);
    struct snapshot *found = group != NULL ? group->champion : NULL;
    if (found != NULL) {
        snapshot_acquire(found);
    }
    lock_release(&registry->lock);
    return found;
}

struct snapshot *registry_acquire_previous(struct registry *registry, int64_t step_ms)
{
    lock_acquire(&registry->lock);
    struct group *group = find(registry, step_ms);
    struct snapshot *found = group != NULL ? group->previous : NULL;
    if (found != NULL) {
        snapshot_acquire(found);
    }
    lock_release(&registry->lock);
    return found;
}

bool registry_serves(struct registry *registry, const struct snapshot *snapshot)
{
    lock_acquire(&registry->lock);
    const struct group *group = find(registry, snapshot->record.step_ms);
    bool serves = group != NULL && (group->champion == snapshot || group->previous == snapshot);
    lock_release(&registry->lock);
    return serves;
}

static void write_id(const struct group *group, char id[48])
{
    char step[24];
    snapshot_step_text(group->step_ms, step, sizeof(step));
    snprintf(id, 48, "%s-%llu", step, (unsigned long long)(group->newest + 1));
}

static void name_snapshot(struct group *group, struct snapshot *snapshot)
{
    struct snapshot_record *record = &snapshot->record;
    if (record->id[0] == '\0') {
        write_id(group, record->id);
    }
    uint64_t number = id_number(record->id);
    group->newest = number > group->newest ? number : group->newest;
}

enum status registry_next_id(struct registry *registry, int64_t step_ms, char id[48],
                             struct error *error)
{
    enum status status = STATUS_OK;
    lock_acquire(&registry->lock);
    struct group *group = find_or_add(registry, step_ms);
    if (group == NULL) {
        status = error_set(error, STATUS_NO_MEMORY, "could not name a model: no room for a group");
    } else {
        write_id(group, id);
        group->newest++;
    }
    lock_release(&registry->lock);
    return status;
}

enum status registry_reserve(struct registry *registry, int64_t step_ms, struct error *error)
{
    lock_acquire(&registry->lock);
    bool there = find_or_add(registry, step_ms) != NULL;
    lock_release(&registry->lock);
    return there ? STATUS_OK
                 : error_set(error, STATUS_NO_MEMORY,
                             "could not publish a model: no room for a group");
}

enum status registry_publish(struct registry *registry, struct snapshot *snapshot,
                             struct error *error)
{
    struct snapshot *fallen = NULL;
    enum status status = STATUS_OK;
    lock_acquire(&registry->lock);
    struct group *group = find_or_add(registry, snapshot->record.step_ms);
    if (group == NULL) {
        status =
            error_set(error, STATUS_NO_MEMORY, "could not publish a model: no room for a group");
    } else if (group->champion != snapshot) {
        name_snapshot(group, snapshot);
        fallen = group->previous;
        group->previous = group->champion;
        group->champion = snapshot_acquire(snapshot);
        atomic_fetch_add(&registry->generation, 1);
    }
    lock_release(&registry->lock);
    snapshot_release(fallen);
    return status;
}

enum status registry_rollback(struct registry *registry, int64_t step_ms, struct error *error)
{
    struct snapshot *fallen = NULL;
    enum status status = STATUS_OK;
    lock_acquire(&registry->lock);
    struct group *group = find(registry, step_ms);
    if (group == NULL || group->previous == NULL) {
        status = error_set(error, STATUS_NOT_FOUND, "cannot roll back: there is no previous model");
    } else {
        fallen = group->champion;
        group->champion = group->previous;
        group->previous = NULL;
        atomic_fetch_add(&registry->generation, 1);
    }
    lock_release(&registry->lock);
    snapshot_release(fallen);
    return status;
}

enum status registry_withdraw(struct registry *registry, int64_t step_ms, struct error *error)
{
    struct snapshot *champion = NULL, *previous = NULL;
    enum status status = STATUS_OK;
    lock_acquire(&registry->lock);
    struct group *group = find(registry, step_ms);
    if (group == NULL || group->champion == NULL) {
        status = error_set(error, STATUS_NOT_FOUND, "cannot withdraw: there is no champion");
    } else {
        champion = group->champion;
        previous = group->previous;
        group->champion = group->previous = NULL;
        atomic_fetch_add(&registry->generation, 1);
    }
    lock_release(&registry->lock);
    snapshot_release(champion);
    snapshot_release(previous);
    return status;
}

void registry_note_groups(struct registry *registry, const int64_t *steps_ms, size_t count)
{
    lock_acquire(&registry->lock);
    for (size_t i = 0; i < registry->count; i++) {
        struct group *group = &registry->groups[i];
        group->is_deserted = true;
        for (size_t j = 0; j < count && group->is_deserted; j++) {
            group->is_deserted = steps_ms[j] != group->step_ms;
        }
    }
    lock_release(&registry->lock);
}

size_t registry_ages(struct registry *registry, struct champion_age *ages, size_t maximum)
{
    size_t count = 0;
    lock_acquire(&registry->lock);
    for (size_t i = 0; i < registry->count; i++) {
        const struct snapshot *champion = registry->groups[i].champion;
        if (champion == NULL) {
            continue;
        }
        if (count < maximum) {
            struct champion_age *age = &ages[count];
            age->step_ms = champion->record.step_ms;
            snapshot_step_text(champion->record.step_ms, age->step, sizeof(age->step));
            age->trained_at_ms = champion->record.trained_at_ms;
            age->newest_ms = champion->record.window_end_ms;
            age->is_deserted = registry->groups[i].is_deserted;
        }
        count++;
    }
    lock_release(&registry->lock);
    return count;
}

uint64_t registry_generation(struct registry *registry)
{
    return atomic_load(&registry->generation);
}
