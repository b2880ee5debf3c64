/* Fuzzes time zones: TZif files, rules for the years after them, names.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses what follows eight bytes of a moment: a file; a rule, which is put into a
 * file of nothing else; or a name.
 *
 * Oracles: the offset stays what it is up to the next change, which lies ahead; what a zone says
 * around the moment, written as a file, is read as a zone that says the same.
 */
#include "base/time_zone.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX    ((size_t)8 << 10)
#define HEADER_BYTES 44
#define CHANGES      24 /* that are walked from one moment */
#define HOUR_MS      INT64_C(3600000)
#define FAR_MS       (INT64_C(1) << 55) /* beyond it files keep seconds that no moment has */

struct file {
    unsigned char bytes[2 * HEADER_BYTES + CHANGES * 16 + INPUT_MAX];
    size_t length;
};

static void put(struct file *file, const void *bytes, size_t length)
{
    memcpy(file->bytes + file->length, bytes, length);
    file->length += length;
}

static void put_number(struct file *file, uint64_t number, size_t size)
{
    while (size-- > 0) {
        file->bytes[file->length++] = (unsigned char)(number >> 8 * size);
    }
}

static void put_header(struct file *file, size_t times, size_t types)
{
    static const char begin[20] = "TZif2";
    put(file, begin, sizeof(begin));
    put_number(file, 0, 4);
    put_number(file, 0, 4);
    put_number(file, 0, 4);
    put_number(file, times, 4);
    put_number(file, types, 4);
    put_number(file, 0, 4);
}

static void put_type(struct file *file, int64_t offset_ms)
{
    put_number(file, (uint64_t)(offset_ms / 1000), 4);
    put_number(file, 0, 2);
}

/* The offset in the middle of a stretch is that at its begin. */
static void check_stretch(const struct time_zone *zone, int64_t from_ms, int64_t until_ms)
{
    int64_t offset_ms = time_zone_offset_ms(zone, from_ms);
    uint64_t length_ms = (uint64_t)until_ms - (uint64_t)from_ms;
    if (until_ms <= from_ms || offset_ms % 1000 != 0 || offset_ms > 168 * HOUR_MS ||
        offset_ms < -168 * HOUR_MS) {
        abort();
    }
    for (uint64_t part = 1; part <= 64; part++) {
        int64_t at_ms = (int64_t)((uint64_t)from_ms + length_ms / 64 * part);
        at_ms = part == 64 ? until_ms - 1 : at_ms;
        if (time_zone_offset_ms(zone, at_ms) != offset_ms ||
            time_zone_next_change_ms(zone, at_ms) != until_ms) {
            abort();
        }
    }
}

/* The zone of what was seen on the way: `count` changes, the offset before the first one. */
static void write_again(const struct time_zone *zone, int64_t time_ms, const int64_t *at_ms,
                        size_t count)
{
    static struct file file;
    struct time_zone *again = NULL;
    struct error error = {0};
    file.length = 0;
    put_header(&file, 0, 1);
    put_type(&file, 0);
    put_header(&file, count, count + 1);
    for (size_t i = 0; i < count; i++) {
        put_number(&file, (uint64_t)(at_ms[i] / 1000), 8);
    }
    for (size_t i = 0; i < count; i++) {
        put_number(&file, i + 1, 1);
    }
    put_type(&file, time_zone_offset_ms(zone, time_ms));
    for (size_t i = 0; i < count; i++) {
        put_type(&file, time_zone_offset_ms(zone, at_ms[i]));
    }
    put(&file, "\n\n", 2);
    if (time_zone_read(file.bytes, file.length, &again, &error) != STATUS_OK) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        int64_t next_ms = i + 1 < count ? at_ms[i + 1] : INT64_MAX;
        if (time_zone_offset_ms(again, at_ms[i]) != time_zone_offset_ms(zone, at_ms[i]) ||
            time_zone_offset_ms(again, at_ms[i] - 1) != time_zone_offset_ms(zone, at_ms[i] - 1) ||
            time_zone_next_change_ms(again, at_ms[i]) != next_ms) {
            abort();
        }
    }
    time_zone_free(again);
}

static void walk(const struct time_zone *zone, int64_t time_ms)
{
    int64_t at_ms[CHANGES];
    size_t count = 0;
    int64_t from_ms = time_ms;
    while (count < CHANGES) {
        int64_t next_ms = time_zone_next_change_ms(zone, from_ms);
        check_stretch(zone, from_ms, next_ms);
        if (next_ms == INT64_MAX) {
            break;
        }
        at_ms[count++] = from_ms = next_ms;
    }
    /* An offset of a rule may be more than a file has room for. */
    bool fits = time_ms > -FAR_MS && (count == 0 || at_ms[count - 1] < FAR_MS);
    for (size_t i = 0; i <= count; i++) {
        int64_t offset_ms = time_zone_offset_ms(zone, i == 0 ? time_ms : at_ms[i - 1]);
        fits = fits && offset_ms < 26 * HOUR_MS && offset_ms > -26 * HOUR_MS;
    }
    if (fits) {
        write_again(zone, time_ms, at_ms, count);
    }
}

static void read_file(const void *bytes, size_t length, int64_t time_ms)
{
    struct time_zone *zone = NULL;
    struct error error = {0};
    if (time_zone_read(bytes, length, &zone, &error) != STATUS_OK) {
        if (error.status != STATUS_INVALID || zone != NULL) {
            abort();
        }
        return;
    }
    walk(zone, time_ms);
    walk(zone, INT64_MIN);
    time_zone_free(zone);
}

static void read_rule(const void *text, size_t length, int64_t time_ms)
{
    static struct file file;
    file.length = 0;
    put_header(&file, 0, 1);
    put_type(&file, 0);
    put_header(&file, 0, 1);
    put_type(&file, 0);
    put(&file, "\n", 1);
    put(&file, text, length);
    put(&file, "\n", 1);
    read_file(file.bytes, file.length, time_ms);
}

static void find(const char *name, int64_t time_ms)
{
    const struct time_zone *zone = NULL, *again = NULL;
    struct error error = {0};
    enum status status = time_zone_find(name, &zone, &error);
    if (status != STATUS_OK) {
        if (status != STATUS_INVALID || zone != NULL || time_zone_or_utc(name) != NULL) {
            abort();
        }
        return;
    }
    if (time_zone_find(name, &again, &error) != STATUS_OK || again != zone ||
        strstr(name, "..") != NULL) {
        abort();
    }
    walk(zone, time_ms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t time_ms = 0;
    if (size < 1 + sizeof(time_ms) || size > INPUT_MAX) {
        return 0;
    }
    size_t length = size - 1 - sizeof(time_ms);
    char *rest = malloc(length + 1); /* a name ends; nothing may be read behind */
    if (rest == NULL) {
        abort();
    }
    memcpy(&time_ms, data + 1, sizeof(time_ms));
    time_ms -= time_ms == INT64_MAX ? 1 : 0; /* which says that no change is ahead */
    memcpy(rest, data + 1 + sizeof(time_ms), length);
    rest[length] = '\0';
    switch (data[0] % 3) {
    case 0:
        read_file(data + 1 + sizeof(time_ms), length, time_ms);
        break;
    case 1:
        read_rule(rest, length, time_ms);
        break;
    default:
        find(rest, time_ms);
    }
    free(rest);
    return 0;
}
