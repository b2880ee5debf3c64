/* The journal record of one transaction: everything that happened to points, in order.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Layout: crc32c of what follows (4 bytes), version byte 1, then entries. An entry starts with the
 * varint 2 * z(series - series before) for a point, or that + 1 and a kind byte for anything else;
 * points and ends have z(time - time before) as a varint, points their value as 8 bytes.
 * A tick of many series costs 10 bytes a point.
 *
 * A pure format: no I/O here.
 */
#ifndef STORAGE_JOURNAL_H
#define STORAGE_JOURNAL_H

#include "base/point.h"
#include "base/status.h"
#include "storage/bits.h"

#include <stddef.h>
#include <stdint.h>

enum journal_kind {
    JOURNAL_POINT,
    JOURNAL_END,   /* the series ended at a time */
    JOURNAL_TOUCH, /* settings changed: the generation grew; the settings themselves are in a table
                    */
};

struct journal_entry {
    enum journal_kind kind;
    uint32_t series;
    struct point point; /* END: time only */
};

struct journal_writer {
    unsigned char *bytes; /* owned; kept between transactions */
    size_t length, capacity;
    uint32_t series;
    int64_t time;
};

void journal_writer_release(struct journal_writer *writer);

/* Begins an empty record with room for `entries` more; STATUS_NO_MEMORY. */
enum status journal_begin(struct journal_writer *writer, size_t entries,
                          struct error *error) MUST_USE;

/* Never fails within the room that journal_begin made. */
void journal_add(struct journal_writer *writer, const struct journal_entry *entry);

/* Writes the checksum; the record is bytes[0 .. length). */
void journal_finish(struct journal_writer *writer);

/* True where nothing was added. */
bool journal_is_empty(const struct journal_writer *writer);

struct journal_reader {
    struct byte_reader bytes;
    uint32_t series;
    int64_t time;
};

/* STATUS_CORRUPT where checksum or version is wrong. */
enum status journal_read(struct journal_reader *reader, const unsigned char *bytes, size_t length,
                         struct error *error) MUST_USE;

/* False at the end; reader->bytes.bad then says whether it came too early. */
bool journal_next(struct journal_reader *reader, struct journal_entry *entry);

#endif
