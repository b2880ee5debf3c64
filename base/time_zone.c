/* Time zones: the offset of local time from UTC at any moment, read from the system's TZif files.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/time_zone.h"

#include "base/check.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/time_zone_rule.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FOLDER          "/usr/share/zoneinfo/"
#define FILE_BYTES_MAX  65536
#define HEADER_BYTES    44
#define TRANSITIONS_MAX 4096
#define TYPES_MAX       256
#define OFFSET_MAX      93599 /* seconds: RFC 8536 */
#define RULE_TEXT_MAX   64

struct time_zone {
    char name[TIME_ZONE_NAME_MAX];
    size_t count;
    int64_t *at_ms;    /* [count] moments of change, ascending */
    int32_t *offset_s; /* [count] from then on */
    int32_t first_s;   /* before the first change */
    bool has_rule;     /* after the last change */
    struct time_zone_rule rule;
};

/* ---------------------------------------------------------------- reading */

/* A file's bytes with a position; reading beyond the end gives zeros and marks it. */
struct cursor {
    const unsigned char *bytes;
    size_t length, at;
    bool bad;
};

static uint64_t read_number(struct cursor *cursor, size_t size)
{
    uint64_t value = 0;
    if (cursor->length - cursor->at < size) {
        cursor->bad = true;
        return 0;
    }
    for (size_t i = 0; i < size; i++) {
        value = value << 8 | cursor->bytes[cursor->at + i];
    }
    cursor->at += size;
    return value;
}

struct counts {
    size_t utc, standard, leap, times, types, letters;
    int version;
};

static bool read_header(struct cursor *cursor, struct counts *counts)
{
    if (cursor->length - cursor->at < HEADER_BYTES ||
        memcmp(cursor->bytes + cursor->at, "TZif", 4) != 0) {
        return false;
    }
    counts->version = cursor->bytes[cursor->at + 4];
    cursor->at += 20;
    counts->utc = read_number(cursor, 4);
    counts->standard = read_number(cursor, 4);
    counts->leap = read_number(cursor, 4);
    counts->times = read_number(cursor, 4);
    counts->types = read_number(cursor, 4);
    counts->letters = read_number(cursor, 4);
    return counts->times <= TRANSITIONS_MAX && counts->types >= 1 && counts->types <= TYPES_MAX &&
           counts->letters <= FILE_BYTES_MAX && counts->leap <= TRANSITIONS_MAX &&
           counts->utc <= TYPES_MAX && counts->standard <= TYPES_MAX;
}

static size_t body_bytes(const struct counts *counts, size_t time_size)
{
    return counts->times * (time_size + 1) + counts->types * 6 + counts->letters +
           counts->leap * (time_size + 4) + counts->standard + counts->utc;
}

/* The transitions of the body at the cursor, with times of eight bytes. */
static bool read_body(struct cursor *cursor, const struct counts *counts, struct time_zone *zone)
{
    int32_t types[TYPES_MAX];
    struct cursor type_cursor = *cursor;
    type_cursor.at += counts->times * 9;
    for (size_t i = 0; i < counts->types; i++) {
        types[i] = (int32_t)(uint32_t)read_number(&type_cursor, 4);
        (void)read_number(&type_cursor, 2);
        if (types[i] > OFFSET_MAX || types[i] < -OFFSET_MAX) {
            return false;
        }
    }
    struct cursor index_cursor = *cursor;
    index_cursor.at += counts->times * 8;
    for (size_t i = 0; i < counts->times; i++) {
        int64_t seconds = (int64_t)read_number(cursor, 8);
        size_t type = (size_t)read_number(&index_cursor, 1);
        /* The format has transitions from the big bang on; days count here. */
        seconds = seconds < INT64_MIN / 1000 ? INT64_MIN / 1000 : seconds;
        seconds = seconds > INT64_MAX / 1000 ? INT64_MAX / 1000 : seconds;
        if (type >= counts->types || (i > 0 && seconds * 1000 <= zone->at_ms[i - 1])) {
            return false;
        }
        zone->at_ms[i] = seconds * 1000;
        zone->offset_s[i] = types[type];
    }
    zone->count = counts->times;
    zone->first_s = types[0];
    cursor->at =
        type_cursor.at + counts->letters + counts->leap * 12 + counts->standard + counts->utc;
    return !type_cursor.bad && !index_cursor.bad && !cursor->bad && cursor->at <= cursor->length;
}

/* "\n<rule>\n" at the end of the file. */
static bool read_footer(const struct cursor *cursor, struct time_zone *zone)
{
    char text[RULE_TEXT_MAX];
    const char *begin = (const char *)cursor->bytes + cursor->at;
    size_t left = cursor->length - cursor->at;
    if (left < 2 || begin[0] != '\n') {
        return false;
    }
    const char *end = memchr(begin + 1, '\n', left - 1);
    if (end == NULL || (size_t)(end - begin) > sizeof(text)) {
        return false;
    }
    size_t length = (size_t)(end - begin) - 1;
    memcpy(text, begin + 1, length);
    text[length] = '\0';
    zone->has_rule = length > 0;
    return length == 0 || time_zone_rule_parse(text, &zone->rule);
}

static bool parse(struct cursor *cursor, struct time_zone *zone, struct error *error)
{
    struct counts counts;
    /* The first body has times of four bytes and ends in 2038; the second one is the same again. */
    if (!read_header(cursor, &counts) || counts.version < '2' ||
        cursor->length - cursor->at < body_bytes(&counts, 4)) {
        return false;
    }
    cursor->at += body_bytes(&counts, 4);
    if (!read_header(cursor, &counts) || cursor->length - cursor->at < body_bytes(&counts, 8)) {
        return false;
    }
    zone->at_ms = mem_zeroed(counts.times + 1, sizeof(zone->at_ms[0]));
    zone->offset_s = mem_zeroed(counts.times + 1, sizeof(zone->offset_s[0]));
    if (zone->at_ms == NULL || zone->offset_s == NULL) {
        error_set(error, STATUS_NO_MEMORY, "no memory for a time zone");
        return false;
    }
    return read_body(cursor, &counts, zone) && read_footer(cursor, zone);
}

void time_zone_free(struct time_zone *zone)
{
    if (zone != NULL) {
        mem_free(zone->at_ms);
        mem_free(zone->offset_s);
        mem_free(zone);
    }
}

enum status time_zone_read(const void *bytes, size_t length, struct time_zone **out,
                           struct error *error)
{
    struct cursor cursor = {.bytes = bytes, .length = length};
    struct time_zone *zone = mem_zeroed(1, sizeof(*zone));
    if (zone == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for a time zone");
    }
    *error = (struct error){.status = STATUS_OK};
    if (!parse(&cursor, zone, error)) {
        time_zone_free(zone);
        return error->status != STATUS_OK
                   ? error->status
                   : error_set(error, STATUS_INVALID, "cannot read the time zone's file");
    }
    *out = zone;
    return STATUS_OK;
}

/* ---------------------------------------------------------------- by name */

static struct {
    struct lock lock;
    struct time_zone *zones[TIME_ZONES_MAX];
    size_t count;
} known = {.lock = {PTHREAD_MUTEX_INITIALIZER}};

static const struct time_zone *look_up(const char *name)
{
    const struct time_zone *found = NULL;
    lock_acquire(&known.lock);
    for (size_t i = 0; i < known.count && found == NULL; i++) {
        found = strcmp(known.zones[i]->name, name) == 0 ? known.zones[i] : NULL;
    }
    lock_release(&known.lock);
    return found;
}

/* Keeps a zone, unless another thread was faster; NULL where the table is full. */
static const struct time_zone *keep_take(struct time_zone *zone)
{
    const struct time_zone *kept = NULL;
    lock_acquire(&known.lock);
    for (size_t i = 0; i < known.count && kept == NULL; i++) {
        kept = strcmp(known.zones[i]->name, zone->name) == 0 ? known.zones[i] : NULL;
    }
    if (kept == NULL && known.count < TIME_ZONES_MAX) {
        known.zones[known.count++] = zone;
        kept = zone;
    }
    lock_release(&known.lock);
    if (kept != zone) {
        time_zone_free(zone);
    }
    return kept;
}

/* Letters, digits and _ + - / only: never a way out of the folder. No second spelling of a name,
 * of which there would be more than room for. */
static bool is_name(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length < TIME_ZONE_NAME_MAX && name[0] != '/' &&
           strstr(name, "//") == NULL &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/") ==
               length;
}

/* What says that there is no such file to be had, now and later; anything else may pass. */
static bool is_absent(int code)
{
    static const int codes[] = {ENOENT, ENOTDIR, EISDIR, ELOOP, ENAMETOOLONG, EACCES, EPERM};
    for (size_t i = 0; i < ARRAY_COUNT(codes); i++) {
        if (codes[i] == code) {
            return true;
        }
    }
    return false;
}

/* STATUS_INVALID where there is no such file, STATUS_BUSY where that cannot be said now. */
static enum status read_file(const char *name, unsigned char *bytes, size_t *length,
                             struct error *error)
{
    char path[sizeof(FOLDER) + TIME_ZONE_NAME_MAX];
    snprintf(path, sizeof(path), FOLDER "%s", name);
    FILE *file = fopen(path, "rbe");
    int code = file != NULL ? 0 : errno;
    if (file != NULL) {
        *length = fread(bytes, 1, FILE_BYTES_MAX, file);
        code = ferror(file) ? errno : 0;
        (void)fclose(file); /* it was only read */
    }
    if (code == 0) {
        return STATUS_OK;
    }
    return error_set(error, is_absent(code) ? STATUS_INVALID : STATUS_BUSY,
                     "could not read the time zone \"%.48s\": %s", name, strerror(code));
}

static enum status load(const char *name, struct time_zone **out, struct error *error)
{
    size_t length = 0;
    unsigned char *bytes = mem_alloc(FILE_BYTES_MAX);
    if (bytes == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for a time zone");
    }
    enum status status = read_file(name, bytes, &length, error);
    if (status == STATUS_OK) {
        status = time_zone_read(bytes, length, out, error);
    }
    mem_free(bytes);
    if (status == STATUS_OK) {
        snprintf((*out)->name, sizeof((*out)->name), "%s", name);
    }
    return status;
}

enum status time_zone_find(const char *name, const struct time_zone **out, struct error *error)
{
    *out = NULL;
    if (name == NULL || name[0] == '\0' || strcmp(name, "UTC") == 0) {
        return STATUS_OK;
    }
    *out = look_up(name);
    if (*out != NULL) {
        return STATUS_OK;
    }
    struct time_zone *zone = NULL;
    enum status status = is_name(name) ? load(name, &zone, error) : STATUS_INVALID;
    if (status == STATUS_INVALID) {
        return error_set(error, STATUS_INVALID, "there is no time zone \"%.48s\"", name);
    }
    if (status == STATUS_OK) {
        *out = keep_take(zone);
        status = *out != NULL ? STATUS_OK
                              : error_set(error, STATUS_NO_MEMORY, "too many time zones in use");
    }
    return status;
}

const struct time_zone *time_zone_or_utc(const char *name)
{
    const struct time_zone *zone = NULL;
    struct error ignored = {0};
    return time_zone_find(name, &zone, &ignored) == STATUS_OK ? zone : NULL;
}

enum status time_zone_prepare(const char *name, struct error *error)
{
    const struct time_zone *zone = NULL;
    enum status status = time_zone_find(name, &zone, error);
    return status == STATUS_INVALID ? STATUS_OK : status;
}

/* ---------------------------------------------------------------- asking */

/* Changes at or before a moment. */
static size_t changes_before(const struct time_zone *zone, int64_t time_ms)
{
    size_t low = 0;
    size_t high = zone->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (zone->at_ms[middle] <= time_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

int64_t time_zone_offset_ms(const struct time_zone *zone, int64_t time_ms)
{
    if (zone == NULL) {
        return 0;
    }
    size_t before = changes_before(zone, time_ms);
    if (before == zone->count && zone->has_rule) {
        return (int64_t)time_zone_rule_offset_s(&zone->rule, time_ms) * 1000;
    }
    return (int64_t)(before > 0 ? zone->offset_s[before - 1] : zone->first_s) * 1000;
}

int64_t time_zone_next_change_ms(const struct time_zone *zone, int64_t time_ms)
{
    if (zone == NULL) {
        return INT64_MAX;
    }
    size_t before = changes_before(zone, time_ms);
    if (before < zone->count) {
        return zone->at_ms[before];
    }
    return zone->has_rule ? time_zone_rule_next_ms(&zone->rule, time_ms) : INT64_MAX;
}
