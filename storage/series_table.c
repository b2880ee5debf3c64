/* Hash by text and directory by id.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "storage/series_table.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/memory.h"

#include <string.h>

enum { SLOTS_MIN = 64, PAGES_MIN = 16 };

struct series_entry *series_entry_new(size_t entry_bytes, uint32_t id, const char *text,
                                      size_t length)
{
    CHECK(entry_bytes >= sizeof(struct series_entry) && length <= SERIES_TEXT_MAX);
    struct series_entry *entry = mem_zeroed(1, entry_bytes + length + 1);
    if (entry == NULL) {
        return NULL;
    }
    char *copy = (char *)entry + entry_bytes;
    memcpy(copy, text, length);
    entry->id = id;
    entry->hash = text_hash(text, length);
    entry->text = copy;
    entry->text_length = (uint32_t)length;
    entry->ended_ms = INT64_MIN;
    return entry;
}

void series_entry_free(struct series_entry *entry)
{
    if (entry != NULL) {
        mem_free(entry->settings);
        mem_free(entry->excluded);
        mem_free(entry);
    }
}

uint32_t text_hash(const char *text, size_t length)
{
    return (uint32_t)hash_bytes(text, length);
}

struct series_entry *text_table_find(const struct text_table *table, uint32_t hash,
                                     const char *text, size_t length)
{
    if (table->capacity == 0) {
        return NULL;
    }
    size_t mask = table->capacity - 1;
    for (size_t at = hash & mask; table->slots[at] != NULL; at = (at + 1) & mask) {
        struct series_entry *entry = table->slots[at];
        if (entry->hash == hash && entry->text_length == length &&
            memcmp(entry->text, text, length) == 0) {
            return entry;
        }
    }
    return NULL;
}

static void slot_put(struct series_entry **slots, size_t mask, struct series_entry *entry)
{
    size_t at = entry->hash & mask;
    while (slots[at] != NULL) {
        at = (at + 1) & mask;
    }
    slots[at] = entry;
}

enum status text_table_reserve(struct text_table *table, size_t more, struct error *error)
{
    size_t need = (table->count + more) * 2; /* at most half full */
    if (need <= table->capacity) {
        return STATUS_OK;
    }
    size_t capacity = table->capacity == 0 ? SLOTS_MIN : table->capacity;
    while (capacity < need) {
        capacity *= 2;
    }
    struct series_entry **slots = mem_zeroed(capacity, sizeof *slots);
    if (slots == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate the index of series");
    }
    for (size_t i = 0; i < table->capacity; i++) {
        if (table->slots[i] != NULL) {
            slot_put(slots, capacity - 1, table->slots[i]);
        }
    }
    mem_free(table->slots);
    table->slots = slots;
    table->capacity = capacity;
    return STATUS_OK;
}

void text_table_insert(struct text_table *table, struct series_entry *entry)
{
    CHECK((table->count + 1) * 2 <= table->capacity);
    slot_put(table->slots, table->capacity - 1, entry);
    table->count++;
}

void text_table_remove(struct text_table *table, const struct series_entry *entry)
{
    size_t mask = table->capacity - 1;
    size_t at = entry->hash & mask;
    while (table->slots[at] != entry) {
        CHECK(table->slots[at] != NULL);
        at = (at + 1) & mask;
    }
    /* Shift back whatever would no longer be found across the hole. */
    for (size_t next = (at + 1) & mask; table->slots[next] != NULL; next = (next + 1) & mask) {
        size_t home = table->slots[next]->hash & mask;
        if (((next - home) & mask) >= ((next - at) & mask)) {
            table->slots[at] = table->slots[next];
            at = next;
        }
    }
    table->slots[at] = NULL;
    table->count--;
}

void text_table_clear(struct text_table *table)
{
    if (table->count > 0) {
        memset(table->slots, 0, table->capacity * sizeof *table->slots);
        table->count = 0;
    }
}

void text_table_release(struct text_table *table)
{
    mem_free(table->slots);
    *table = (struct text_table){0};
}

/* ---------------------------------------------------------------- directory */

static enum status pages_reserve(struct series_directory *directory, size_t page,
                                 struct error *error)
{
    if (page < directory->page_capacity) {
        return STATUS_OK;
    }
    size_t capacity = directory->page_capacity == 0 ? PAGES_MIN : directory->page_capacity;
    while (capacity <= page) {
        capacity *= 2;
    }
    struct series_page **pages = mem_resize(directory->pages, capacity, sizeof *pages);
    if (pages == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate the directory of series");
    }
    memset(pages + directory->page_capacity, 0,
           (capacity - directory->page_capacity) * sizeof *pages);
    directory->pages = pages;
    directory->page_capacity = capacity;
    return STATUS_OK;
}

enum status series_directory_reserve(struct series_directory *directory, uint32_t first_id,
                                     uint32_t last_id, struct error *error)
{
    if (pages_reserve(directory, last_id / DIRECTORY_PAGE, error) != STATUS_OK) {
        return error->status;
    }
    for (size_t page = first_id / DIRECTORY_PAGE; page <= last_id / DIRECTORY_PAGE; page++) {
        if (directory->pages[page] != NULL) {
            continue;
        }
        directory->pages[page] = mem_zeroed(1, sizeof **directory->pages);
        if (directory->pages[page] == NULL) {
            return error_set(error, STATUS_NO_MEMORY, "could not allocate the directory of series");
        }
        directory->page_count++;
    }
    return STATUS_OK;
}

void series_directory_put(struct series_directory *directory, struct series_entry *entry)
{
    struct series_page *page = directory->pages[entry->id / DIRECTORY_PAGE];
    CHECK(page->entries[entry->id % DIRECTORY_PAGE] == NULL);
    page->entries[entry->id % DIRECTORY_PAGE] = entry;
    page->count++;
}

void series_directory_remove(struct series_directory *directory, uint32_t id)
{
    struct series_page **page = &directory->pages[id / DIRECTORY_PAGE];
    CHECK((*page)->entries[id % DIRECTORY_PAGE] != NULL);
    (*page)->entries[id % DIRECTORY_PAGE] = NULL;
    if (--(*page)->count == 0) {
        mem_free(*page);
        *page = NULL;
        directory->page_count--;
    }
}

struct series_entry *series_directory_next(const struct series_directory *directory, uint32_t after)
{
    uint64_t id = (uint64_t)after + 1;
    for (size_t page = id / DIRECTORY_PAGE; page < directory->page_capacity; page++) {
        const struct series_page *here = directory->pages[page];
        for (size_t at = id % DIRECTORY_PAGE; here != NULL && at < DIRECTORY_PAGE; at++) {
            if (here->entries[at] != NULL) {
                return here->entries[at];
            }
        }
        id = 0; /* the next page from its start on */
    }
    return NULL;
}

size_t series_directory_bytes(const struct series_directory *directory)
{
    return directory->page_capacity * sizeof *directory->pages +
           directory->page_count * sizeof **directory->pages;
}

void series_directory_release(struct series_directory *directory)
{
    for (size_t page = 0; page < directory->page_capacity; page++) {
        mem_free(directory->pages[page]);
    }
    mem_free(directory->pages);
    *directory = (struct series_directory){0};
}
