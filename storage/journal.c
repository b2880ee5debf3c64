/* Writing and reading of journal records.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "storage/journal.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/memory.h"

#include <math.h>

enum {
    HEADER_BYTES = 5,
    VERSION = 1,
    ENTRY_BYTES_MAX = 6 + 1 + VARINT_MAX + 8,
    KEEP_BYTES_MAX = 1 << 20, /* a larger buffer is given back after use */
};

void journal_writer_release(struct journal_writer *writer)
{
    mem_free(writer->bytes);
    *writer = (struct journal_writer){0};
}

enum status journal_begin(struct journal_writer *writer, size_t entries, struct error *error)
{
    size_t need = HEADER_BYTES + entries * ENTRY_BYTES_MAX;
    if (writer->capacity < need || (writer->capacity > KEEP_BYTES_MAX && need <= KEEP_BYTES_MAX)) {
        mem_free(writer->bytes);
        writer->bytes = mem_alloc(need);
        writer->capacity = writer->bytes == NULL ? 0 : need;
        if (writer->bytes == NULL) {
            return error_set(error, STATUS_NO_MEMORY, "could not allocate a journal record");
        }
    }
    writer->length = HEADER_BYTES;
    writer->series = 0;
    writer->time = 0;
    return STATUS_OK;
}

void journal_add(struct journal_writer *writer, const struct journal_entry *entry)
{
    CHECK(writer->capacity - writer->length >= ENTRY_BYTES_MAX);
    unsigned char *out = writer->bytes + writer->length;
    uint64_t step = zigzag((int64_t)entry->series - (int64_t)writer->series);
    writer->series = entry->series;
    out = varint_put(out, step << 1 | (entry->kind != JOURNAL_POINT));
    if (entry->kind != JOURNAL_POINT) {
        *out++ = (unsigned char)entry->kind;
    }
    if (entry->kind != JOURNAL_TOUCH) {
        uint64_t gap = (uint64_t)entry->point.time_ms - (uint64_t)writer->time;
        out = varint_put(out, zigzag((int64_t)gap));
        writer->time = entry->point.time_ms;
    }
    if (entry->kind == JOURNAL_POINT) {
        out = double_put(out, entry->point.value);
    }
    writer->length = (size_t)(out - writer->bytes);
}

void journal_finish(struct journal_writer *writer)
{
    writer->bytes[4] = VERSION;
    u32_put(writer->bytes, hash_crc32c(0, writer->bytes + 4, writer->length - 4));
}

bool journal_is_empty(const struct journal_writer *writer)
{
    return writer->length <= HEADER_BYTES;
}

enum status journal_read(struct journal_reader *reader, const unsigned char *bytes, size_t length,
                         struct error *error)
{
    *reader = (struct journal_reader){0};
    if (length < HEADER_BYTES || u32_load(bytes) != hash_crc32c(0, bytes + 4, length - 4)) {
        return error_set(error, STATUS_CORRUPT, "checksum of a journal row is wrong");
    }
    if (bytes[4] != VERSION) {
        return error_set(error, STATUS_CORRUPT, "version of a journal row is unknown");
    }
    reader->bytes.cursor = bytes + HEADER_BYTES;
    reader->bytes.end = bytes + length;
    return STATUS_OK;
}

bool journal_next(struct journal_reader *reader, struct journal_entry *entry)
{
    struct byte_reader *bytes = &reader->bytes;
    if (bytes->bad || bytes->cursor == bytes->end) {
        return false;
    }
    uint64_t step = varint_next(bytes);
    unsigned kind = (step & 1) != 0 ? byte_next(bytes) : (unsigned)JOURNAL_POINT;
    int64_t series = (int64_t)((uint64_t)unzigzag(step >> 1) + reader->series);
    bytes->bad |= series < 0 || series > (int64_t)UINT32_MAX || kind > JOURNAL_TOUCH;
    entry->kind = (enum journal_kind)kind;
    entry->series = reader->series = (uint32_t)series;
    entry->point = (struct point){.time_ms = reader->time, .value = (double)NAN};
    if (kind != JOURNAL_TOUCH) {
        uint64_t gap = (uint64_t)unzigzag(varint_next(bytes));
        entry->point.time_ms = reader->time = (int64_t)((uint64_t)reader->time + gap);
    }
    if (kind == JOURNAL_POINT) {
        entry->point.value = double_next(bytes);
    }
    return !bytes->bad;
}
