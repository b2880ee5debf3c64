/* What senders say a metric is: the type of each family of metrics, by its name.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/families.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/json_reader.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "model/model.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define SLOTS_FIRST  64u /* a power of two */
#define NAME_MAX     512u
#define RECORD_BYTES 40

struct family {
    char *name; /* owned; NULL: the slot is empty */
    size_t length;
    enum family_type type;
};

struct families {
    struct lock lock;
    struct family *slots; /* open addressing; guarded by lock, as the next two */
    size_t slot_count, count;
    atomic_uint_fast64_t version;
};

static const char *const type_names[] = {"gauge", "counter", "histogram", "summary"};

enum status families_new(struct families **out, struct error *error)
{
    struct families *families = mem_zeroed(1, sizeof(*families));
    if (!families) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the types of metrics");
    }
    lock_init(&families->lock);
    *out = families;
    return STATUS_OK;
}

void families_free(struct families *families)
{
    if (!families) {
        return;
    }
    for (size_t i = 0; i < families->slot_count; i++) {
        mem_free(families->slots[i].name);
    }
    mem_free(families->slots);
    lock_release_memory(&families->lock);
    mem_free(families);
}

/* ---------------------------------------------------------------- the table, under its lock */

/* The slot of a name, or the empty one where it would go. */
static struct family *slot_of(const struct families *families, struct slice name)
{
    size_t mask = families->slot_count - 1;
    size_t at = (size_t)hash_bytes(name.bytes, name.length) & mask;
    while (families->slots[at].name &&
           (families->slots[at].length != name.length ||
            memcmp(families->slots[at].name, name.bytes, name.length) != 0)) {
        at = (at + 1) & mask;
    }
    return &families->slots[at];
}

static bool find(const struct families *families, struct slice name, enum family_type *type)
{
    const struct family *slot = families->slot_count ? slot_of(families, name) : NULL;
    if (!slot || !slot->name) {
        return false;
    }
    *type = slot->type;
    return true;
}

static bool grow(struct families *families)
{
    struct families bigger = {.slot_count =
                                  families->slot_count ? families->slot_count * 2 : SLOTS_FIRST};
    bigger.slots = mem_zeroed(bigger.slot_count, sizeof(*bigger.slots));
    if (!bigger.slots) {
        return false;
    }
    for (size_t i = 0; i < families->slot_count; i++) {
        const struct family *family = &families->slots[i];
        if (family->name) {
            *slot_of(&bigger, (struct slice){family->name, family->length}) = *family;
        }
    }
    mem_free(families->slots);
    families->slots = bigger.slots;
    families->slot_count = bigger.slot_count;
    return true;
}

/* False where there is no memory or the table is full. */
static bool put(struct families *families, struct slice name, enum family_type type)
{
    if (families->count * 2 >= families->slot_count && !grow(families)) {
        return false;
    }
    struct family *slot = slot_of(families, name);
    if (!slot->name) {
        char *copy = families->count < FAMILIES_MAX ? mem_copy_text(name.bytes, name.length) : NULL;
        if (!copy) {
            return false;
        }
        *slot = (struct family){copy, name.length, type};
        families->count++;
    }
    slot->type = type;
    return true;
}

static bool find_locked(struct families *families, struct slice name, enum family_type *type)
{
    lock_acquire(&families->lock);
    bool found = find(families, name, type);
    lock_release(&families->lock);
    return found;
}

/* ---------------------------------------------------------------- coming in */

static bool load_one(void *context, const char *key, const char *json, size_t length)
{
    struct json_reader reader;
    json_reader_init(&reader, json, length);
    bool is_type = json_next(&reader) == JSON_OBJECT_BEGIN && json_next(&reader) == JSON_KEY &&
                   json_next(&reader) == JSON_STRING;
    for (size_t i = 0; is_type && i < ARRAY_COUNT(type_names); i++) {
        if (reader.text_length == strlen(type_names[i]) &&
            memcmp(reader.text, type_names[i], reader.text_length) == 0) {
            (void)put(context, (struct slice){key, strlen(key)}, (enum family_type)i);
        }
    }
    return true;
}

enum status families_load(struct families *families, struct storage *storage, struct error *error)
{
    struct storage_reader *reader = NULL;
    enum status status = storage_reader_open(storage, &reader, error);
    if (status == STATUS_OK) {
        status = storage_records(reader, FAMILY_RECORD_KIND, load_one, families, error);
        storage_reader_close(reader);
    }
    return status;
}

static bool may_be_name(struct slice name)
{
    for (size_t i = 0; i < name.length;) {
        size_t step = utf8_length(name.bytes + i, name.length - i);
        if (step == 0 || (unsigned char)name.bytes[i] < 0x20 || name.bytes[i] == 0x7f) {
            return false;
        }
        i += step;
    }
    return name.length > 0 && name.length <= NAME_MAX;
}

enum status families_declare(struct families *families, struct families *fresh, struct slice name,
                             enum family_type type, struct write_batch *batch, struct error *error)
{
    enum family_type known = type;
    char key[NAME_MAX + 1], json[RECORD_BYTES];
    bool is_known = find_locked(families, name, &known);
    if ((is_known && known == type) || (find(fresh, name, &known) && known == type) ||
        !may_be_name(name) ||
        (!is_known && families_count(families) + fresh->count >= FAMILIES_MAX)) {
        return STATUS_OK;
    }
    memcpy(key, name.bytes, name.length);
    key[name.length] = '\0';
    int length = snprintf(json, sizeof(json), "{\"type\":\"%s\"}", type_names[type]);
    enum status status =
        write_batch_record(batch, FAMILY_RECORD_KIND, key, json, (size_t)length, error);
    if (status == STATUS_TOO_LARGE) {
        return STATUS_OK; /* so many at once: the rest when they are told again */
    }
    if (status == STATUS_OK && !put(fresh, name, type)) {
        status = error_set(error, STATUS_NO_MEMORY, "no memory for the types of metrics");
    }
    return status;
}

void families_merge(struct families *families, const struct families *fresh)
{
    lock_acquire(&families->lock);
    for (size_t i = 0; i < fresh->slot_count; i++) {
        const struct family *family = &fresh->slots[i];
        if (family->name) {
            (void)put(families, (struct slice){family->name, family->length}, family->type);
        }
    }
    lock_release(&families->lock);
    atomic_fetch_add(&families->version, 1);
}

/* ---------------------------------------------------------------- what is known */

size_t families_count(struct families *families)
{
    lock_acquire(&families->lock);
    size_t count = families->count;
    lock_release(&families->lock);
    return count;
}

uint64_t families_version(struct families *families)
{
    return atomic_load(&families->version);
}

/* The stem of a name that ends so. */
static bool stem_of(struct slice name, const char *suffix, struct slice *stem)
{
    size_t length = strlen(suffix);
    *stem = (struct slice){name.bytes, name.length - length};
    return name.length > length && memcmp(name.bytes + stem->length, suffix, length) == 0;
}

bool families_kind(struct families *families, const char *text, size_t length,
                   enum series_kind *kind)
{
    static const char *const parts[] = {"_bucket", "_count"};
    char scratch[SERIES_TEXT_MAX];
    struct series_label labels[SERIES_LABELS_MAX];
    struct slice name, stem;
    size_t label_count = 0;
    struct error ignored = {0};
    enum family_type type = FAMILY_GAUGE;
    if (families_count(families) == 0 || series_name_split(text, length, scratch, &name, labels,
                                                           &label_count, &ignored) != STATUS_OK) {
        return false;
    }
    if (find_locked(families, name, &type)) {
        *kind = type == FAMILY_COUNTER ? SERIES_COUNTER : SERIES_GAUGE;
        return true;
    }
    *kind = SERIES_COUNTER;
    if (stem_of(name, "_total", &stem) && find_locked(families, stem, &type)) {
        return type == FAMILY_COUNTER;
    }
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        if (stem_of(name, parts[i], &stem) && find_locked(families, stem, &type)) {
            return type == FAMILY_HISTOGRAM || type == FAMILY_SUMMARY;
        }
    }
    return false;
}

bool families_counter(void *families, const char *text, size_t length, const struct point *points,
                      size_t count)
{
    enum series_kind kind = SERIES_GAUGE;
    if (families_kind(families, text, length, &kind)) {
        return kind == SERIES_COUNTER;
    }
    return counter_name(text, length) && counter_possible(points, count, NULL);
}

const char *families_type(struct families *families, struct slice name)
{
    enum family_type type = FAMILY_GAUGE;
    return find_locked(families, name, &type) ? type_names[type] : NULL;
}
