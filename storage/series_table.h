/* The index of all series in memory: text -> entry and id -> entry.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A driver makes its entries larger than struct series_entry (which comes first in its own struct)
 * and keeps what it needs behind; the text stands behind that, in the same allocation. Ids rise and
 * are never used again, so the directory by id has holes where series were deleted. It is in pages,
 * and one that has become empty goes: where series come and leave, what is left of those that were
 * is an eighth of a byte each.
 *
 * Bytes a series, without points in memory: the entry (about 300 with the SQLite driver), its text,
 * 16 in the hash (half full at worst a quarter), 8 in the directory: below 400 for a text of 40.
 *
 * Threads: no lock inside. struct storage says which lock guards which part.
 */
#ifndef STORAGE_SERIES_TABLE_H
#define STORAGE_SERIES_TABLE_H

#include "storage/storage.h"

struct series_entry {
    uint32_t id;
    uint32_t hash;
    uint32_t text_length;
    bool ended;
    bool touched; /* writer only: already on the list of the group being committed */
    uint8_t excluded_count;
    const char *text;
    int64_t created_ms;
    int64_t first_ms, last_ms; /* meaningful where points > 0 */
    int64_t ended_ms;          /* time of the newest stale marker */
    double last_value;
    uint64_t points, late, updated, generation;
    struct series_settings *settings; /* owned; NULL: nothing is set */
    struct time_span *excluded;       /* owned; [excluded_count], as in struct time_spans */
};

/* Zeroed, with the text copied in; `entry_bytes` is at least sizeof(struct series_entry). NULL
 * where there is no memory. */
struct series_entry *series_entry_new(size_t entry_bytes, uint32_t id, const char *text,
                                      size_t length);
void series_entry_free(struct series_entry *entry); /* settings and spans too */

/* Open addressing with linear probing, deletion by shifting back: no tombstones. */
struct text_table {
    struct series_entry **slots;
    size_t capacity, count;
};

uint32_t text_hash(const char *text, size_t length);
struct series_entry *text_table_find(const struct text_table *table, uint32_t hash,
                                     const char *text, size_t length);
/* STATUS_NO_MEMORY; after this `more` insertions cannot fail. */
enum status text_table_reserve(struct text_table *table, size_t more, struct error *error) MUST_USE;
void text_table_insert(struct text_table *table, struct series_entry *entry);
void text_table_remove(struct text_table *table, const struct series_entry *entry);
void text_table_clear(struct text_table *table); /* entries are not freed, slots are kept */
void text_table_release(struct text_table *table);

/* Directory: entries by id. */
enum { DIRECTORY_PAGE = 64 };

struct series_page {
    uint32_t count;
    struct series_entry *entries[DIRECTORY_PAGE];
};

struct series_directory {
    struct series_page **pages; /* NULL where no series is */
    size_t page_capacity;
    size_t page_count; /* that are there */
    uint32_t last_id;  /* the highest ever given */
};

/* STATUS_NO_MEMORY; after this series_directory_put of these ids cannot fail, until something is
 * removed. */
enum status series_directory_reserve(struct series_directory *directory, uint32_t first_id,
                                     uint32_t last_id, struct error *error) MUST_USE;
void series_directory_put(struct series_directory *directory, struct series_entry *entry);
void series_directory_remove(struct series_directory *directory, uint32_t id);
void series_directory_release(struct series_directory *directory); /* entries are not freed */
size_t series_directory_bytes(const struct series_directory *directory);

/* The first entry behind an id; NULL: there is none. */
struct series_entry *series_directory_next(const struct series_directory *directory,
                                           uint32_t after);

static inline struct series_entry *series_directory_at(const struct series_directory *directory,
                                                       uint32_t id)
{
    size_t page = id / DIRECTORY_PAGE;
    return page < directory->page_capacity && directory->pages[page] != NULL
               ? directory->pages[page]->entries[id % DIRECTORY_PAGE]
               : NULL;
}

#endif
