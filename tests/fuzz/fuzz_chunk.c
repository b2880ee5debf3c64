/* Fuzzes the store's own formats, chunks and journal records: damaged bytes, and any points.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses: a chunk without its checksum, which is put in front; a record of the
 * journal likewise; points, nine bytes each; or bytes as they are.
 *
 * Oracles: what can be decoded is in order and comes back when it is encoded again, bit by bit but
 * for the kind of NaN; points fit into the room that a chunk needs at most.
 */
#include "base/hash.h"
#include "storage/chunk.h"
#include "storage/journal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX   ((size_t)64 << 10)
#define SMALL_BYTES 128 /* of a chunk that takes some of the points */

static bool same(struct point a, struct point b)
{
    return a.time_ms == b.time_ms &&
           ((isnan(a.value) && isnan(b.value)) || memcmp(&a.value, &b.value, sizeof(a.value)) == 0);
}

/* Encodes the points and looks at what comes back. */
static void chunk_again(const struct point *points, size_t count)
{
    static unsigned char bytes[CHUNK_BYTES_MAX];
    static struct point again[CHUNK_POINTS_MAX];
    struct error error = {0};
    size_t fitting = 0, again_count = 0;
    size_t length = chunk_encode(points, count, bytes, sizeof(bytes));
    if (length == 0 || chunk_count(bytes, length) != count ||
        chunk_decode(bytes, length, again, CHUNK_POINTS_MAX, &again_count, &error) != STATUS_OK ||
        again_count != count) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        if (!same(points[i], again[i])) {
            abort();
        }
    }
    size_t some = chunk_fit(points, count, bytes, SMALL_BYTES, &fitting);
    if (some == 0 || some > count || fitting > SMALL_BYTES ||
        chunk_decode(bytes, fitting, again, CHUNK_POINTS_MAX, &again_count, &error) != STATUS_OK ||
        again_count != some || !same(points[some - 1], again[some - 1])) {
        abort();
    }
}

static void read_chunk(const unsigned char *bytes, size_t length, size_t maximum)
{
    static struct point points[CHUNK_POINTS_MAX];
    struct error error = {0};
    size_t count = 0;
    if (chunk_decode(bytes, length, points, maximum, &count, &error) != STATUS_OK) {
        if (error.status != STATUS_CORRUPT) {
            abort();
        }
        return;
    }
    if (count == 0 || count > maximum || chunk_count(bytes, length) != count) {
        abort();
    }
    for (size_t i = 1; i < count; i++) {
        if (points[i].time_ms <= points[i - 1].time_ms) {
            abort();
        }
    }
    chunk_again(points, count);
}

static void read_journal(const unsigned char *bytes, size_t length)
{
    static struct journal_entry entries[INPUT_MAX];
    static struct journal_writer writer;
    struct journal_reader reader;
    struct journal_entry entry;
    struct error error = {0};
    size_t count = 0;
    if (journal_read(&reader, bytes, length, &error) != STATUS_OK) {
        if (error.status != STATUS_CORRUPT) {
            abort();
        }
        return;
    }
    while (count < INPUT_MAX && journal_next(&reader, &entry)) {
        entries[count++] = entry;
    }
    if (journal_begin(&writer, count, &error) != STATUS_OK) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        journal_add(&writer, &entries[i]);
    }
    journal_finish(&writer);
    if (journal_is_empty(&writer) != (count == 0) ||
        journal_read(&reader, writer.bytes, writer.length, &error) != STATUS_OK) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        if (!journal_next(&reader, &entry) || entry.kind != entries[i].kind ||
            entry.series != entries[i].series || !same(entry.point, entries[i].point)) {
            abort();
        }
    }
    journal_writer_release(&writer);
}

/* A byte for the gap in time, eight for the value. */
static void write_chunk(const unsigned char *bytes, size_t length)
{
    static struct point points[CHUNK_POINTS_MAX];
    int64_t time_ms = INT64_C(1795354740000);
    size_t count = 0;
    for (; length >= 9 && count < CHUNK_POINTS_MAX; bytes += 9, length -= 9) {
        time_ms += bytes[0] < 128 ? 1 + bytes[0] : INT64_C(1) << (bytes[0] - 128) % 40;
        points[count].time_ms = time_ms;
        memcpy(&points[count++].value, bytes + 1, sizeof(double));
    }
    if (count > 0) {
        chunk_again(points, count);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > INPUT_MAX) {
        return 0;
    }
    unsigned char *bytes = malloc(size + 3); /* exactly as many as there are */
    if (bytes == NULL) {
        abort();
    }
    memcpy(bytes + 4, data + 1, size - 1);
    u32_put(bytes, hash_crc32c(0, bytes + 4, size - 1));
    switch (data[0] % 4) {
    case 0:
        read_chunk(bytes, size + 3, data[0] & 4 ? 2 : CHUNK_POINTS_MAX);
        break;
    case 1:
        read_journal(bytes, size + 3);
        break;
    case 2:
        write_chunk(bytes + 4, size - 1);
        break;
    default:
        read_chunk(bytes + 4, size - 1, CHUNK_POINTS_MAX);
        read_journal(bytes + 4, size - 1);
    }
    free(bytes);
    return 0;
}
