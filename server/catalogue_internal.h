/* Inside of the catalogue, shared by its changes (catalogue.c) and its loading (catalogue_load.c).
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SERVER_CATALOGUE_INTERNAL_H
#define SERVER_CATALOGUE_INTERNAL_H

#include "base/lock.h"
#include "server/catalogue.h"
#include "server/model_entry.h"

#include <stdatomic.h>

#define ENTRIES_MAX 1024
#define PATH_BYTES  700

struct catalogue {
    struct storage *storage;
    struct writer *writer;
    struct registry *registry;
    char directory[512];
    struct lock lock;
    struct condition free; /* signalled when `busy` ends */
    bool busy; /* guarded by lock: somebody holds the ticket and alone touches the entries */
    size_t models, champions; /* guarded by lock: for catalogue_counts */
    struct model_entry entries[ENTRIES_MAX];
    size_t count;
    size_t unreadable;            /* records that were left out when they were read */
    bool no_memory;               /* for one of them: nothing is known about it */
    atomic_uint_fast64_t damaged; /* files that failed their check since the start */
    unsigned long long unsure_number; /* the largest of ids that may be on record or not */
};

/* Waits for the ticket, and gives it back. */
void catalogue_take(struct catalogue *catalogue);
void catalogue_return(struct catalogue *catalogue);

/* NULL where there is none. */
struct model_entry *catalogue_find(struct catalogue *catalogue, int64_t step_ms,
                                   enum standing standing);

void catalogue_path(const char *directory, const char *file, char path[PATH_BYTES]);

/* The changed entries (NULLs are skipped) and the removal of others' records, in one transaction.
 */
enum status catalogue_write(struct catalogue *catalogue, struct model_entry *const *changed,
                            size_t changed_count, struct model_entry *const *removed,
                            size_t removed_count, struct error *error) MUST_USE;

/* NULL where it cannot be loaded, and *error says why: what fails its check (STATUS_CORRUPT) is
 * renamed aside, what is missing (STATUS_NOT_FOUND) or of a newer release (STATUS_UNSUPPORTED) is
 * not, and the entry says so; where memory or disk failed, nothing changes. */
struct snapshot *catalogue_load(struct catalogue *catalogue, struct model_entry *entry,
                                struct error *error);

#endif
