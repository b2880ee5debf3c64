/* Pages of the database that are not what was written: zeros, changed bytes, another page.
 * SPDX-License-Identifier: Apache-2.0
 *
 * No crash, no leak, no value that was not written, no time twice, and nothing missing that check
 * does not find.
 *
 * A swapped page is a sound one in the place of the next of its kind, which SQLite notices only
 * where it looks at the whole tree: then check finds it, and until somebody asks it, what is read
 * may be another series'. Flips in a payload are those that nobody but the checksum of the chunk or
 * of the journal row can see.
 *
 * Every page and every payload in turn, in each way. Opening, reading, writing and compaction may
 * fail, and what was on the page may be lost; where check finds nothing, all is there, what was
 * acknowledged after the damage too.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "storage/writer.h"
#include "tests/torture/fault_vfs.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SERIES = 4, CHUNKED = 3000, JOURNALED = 40, LATER = 40, FLIPPED_BYTES = 64 };
enum { POINTS_MAX = CHUNKED + JOURNALED + LATER, PAGE_BYTES_MIN = 512 };

enum { PAYLOADS_MAX = 200, PAYLOAD_BITS = 24 };

enum damage { DAMAGE_ZEROS, DAMAGE_FLIPS, DAMAGE_SWAP, DAMAGES, DAMAGE_PAYLOAD = DAMAGES };
static const char *const damage_names[] = {"zeros", "flipped bytes", "swapped", "payload"};

static char folder[64] =
    "/tmp/forecastd-pages-XXXXXX"; /* the lock of a store lies on a real disk */
static int64_t start_ms;

/* ---------------------------------------------------------------- the store and its truth */

struct store {
    struct storage *storage;
    struct writer *writer;
    struct storage_reader *reader;
};

/* Its bits follow no rule, so that a chunk holds few and there are many pages. */
static double value_of(int series, int64_t number)
{
    struct random random;
    random_init(&random, (uint64_t)number, (uint64_t)series);
    return random_normal(&random);
}

static size_t name_of(int series, char name[16])
{
    return (size_t)snprintf(name, 16, "bad.%d", series);
}

static void store_close(struct store *store)
{
    writer_stop(store->writer);
    storage_reader_close(store->reader);
    storage_close(store->storage);
    *store = (struct store){0};
}

static enum status store_open(struct store *store, struct error *error)
{
    char url[96];
    struct writer_options stepped = {.stepped = true};
    snprintf(url, sizeof url, "sqlite:%s", folder);
    struct storage_options options = {.url = url};
    *store = (struct store){0};
    *error = (struct error){0};
    if (storage_open(&options, &store->storage, error) != STATUS_OK ||
        writer_start(store->storage, &stepped, &store->writer, error) != STATUS_OK ||
        storage_reader_open(store->storage, &store->reader, error) != STATUS_OK) {
        store_close(store);
        assert_true(error->status != STATUS_OK && error->text[0] != '\0');
        return error->status;
    }
    return STATUS_OK;
}

/* Points first .. first + count - 1 of every series, in one batch. */
static enum status points_write(struct store *store, int64_t first, int count)
{
    struct write_batch *batch = NULL;
    struct error error = {0};
    enum status status = write_batch_new(store->storage, SERIES * (size_t)count, &batch, &error);
    for (int series = 0; status == STATUS_OK && series < SERIES; series++) {
        char name[16];
        uint32_t number;
        status = write_batch_series(batch, name, name_of(series, name), &number, &error);
        for (int64_t i = first; status == STATUS_OK && i < first + count; i++) {
            struct point point = {start_ms + i * 1000, value_of(series, i)};
            status = write_batch_point(batch, number, point, &error);
        }
    }
    if (status != STATUS_OK) {
        write_batch_free(batch);
        return status;
    }
    return writer_write_take(store->writer, batch, NULL, &error);
}

/* How many points of all series can be read; a failure counts as none. No time comes twice; with
 * `true_only` each point is one that was written. */
static size_t points_read(struct store *store, bool true_only)
{
    static struct point points[POINTS_MAX + 1];
    size_t all = 0;
    for (int series = 0; series < SERIES; series++) {
        char name[16];
        struct error error = {0};
        size_t count = 0;
        uint32_t id = storage_series_find(store->storage, name, name_of(series, name));
        if (id == 0 || storage_read(store->reader, id, INT64_MIN, INT64_MAX, points, POINTS_MAX + 1,
                                    &count, &error) != STATUS_OK) {
            continue;
        }
        for (size_t i = 1; i < count; i++) {
            assert_true(points[i - 1].time_ms < points[i].time_ms);
        }
        for (size_t i = 0; true_only && i < count; i++) {
            int64_t number = (points[i].time_ms - start_ms) / 1000;
            assert_in_range(number, 0, POINTS_MAX - 1);
            assert_true(points[i].time_ms == start_ms + number * 1000);
            assert_true(points[i].value == value_of(series, number));
        }
        all += count;
    }
    return all;
}

/* ---------------------------------------------------------------- the database file */

struct file {
    char path[96];
    unsigned char *bytes;
    int64_t length, page_bytes, pages;
    struct {
        int64_t at, length; /* in the file; every chunk, every journal row */
    } payloads[PAYLOADS_MAX];
    size_t payload_count, chunk_count;
};

/* Where the file has the blobs that a query gives. */
static void payloads_find(struct file *file, sqlite3 *db, const char *query)
{
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_prepare_v2(db, query, -1, &statement, NULL), SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW) {
        size_t length = (size_t)sqlite3_column_bytes(statement, 0);
        const unsigned char *found =
            memmem(file->bytes, (size_t)file->length, sqlite3_column_blob(statement, 0), length);
        if (found != NULL) { /* else it goes on on another page */
            assert_true(file->payload_count < PAYLOADS_MAX);
            file->payloads[file->payload_count].at = found - file->bytes;
            file->payloads[file->payload_count++].length = (int64_t)length;
        }
    }
    assert_int_equal(sqlite3_finalize(statement), SQLITE_OK);
}

/* A closed store: chunks, some rows in the journal, everything in the database file. */
static void file_make(struct file *file)
{
    struct disk *disk = disk_new(1);
    struct store store;
    struct error error = {0};
    fault_vfs_mount(disk);
    assert_int_equal(store_open(&store, &error), STATUS_OK);
    assert_int_equal(points_write(&store, 0, CHUNKED), STATUS_OK);
    assert_int_equal(writer_compact(store.writer, &error), STATUS_OK);
    assert_int_equal(points_write(&store, CHUNKED, JOURNALED), STATUS_OK);
    store_close(&store);
    snprintf(file->path, sizeof file->path, "%s/forecastd.db", folder);
    const struct disk_file *found = disk_find(disk, file->path);
    assert_non_null(found);
    file->length = found->now.length;
    file->bytes = malloc((size_t)file->length);
    assert_non_null(file->bytes);
    assert_int_equal(disk_read(found, 0, file->bytes, file->length), file->length);
    file->page_bytes = file->bytes[16] << 8 | file->bytes[17]; /* SQLite's header */
    assert_true(file->page_bytes >= PAGE_BYTES_MIN && file->length % file->page_bytes == 0);
    file->pages = file->length / file->page_bytes;
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(file->path, &db), SQLITE_OK);
    payloads_find(file, db, "SELECT data FROM chunk WHERE length(data) > 0");
    file->chunk_count = file->payload_count;
    payloads_find(file, db, "SELECT data FROM journal");
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    fault_vfs_mount(NULL);
    disk_free(disk);
}

/* What SQLite says a page is: 2 and 5 lead to others, 10 and 13 hold entries of an index or rows.
 */
static int kind_of(const struct file *file, int64_t page)
{
    return page == 0 ? 13 : file->bytes[page * file->page_bytes];
}

/* The next page of the same kind, or the next one; the page itself where there is none. */
static int64_t page_like(const struct file *file, int64_t page)
{
    for (int64_t other = page + 1; other < file->pages; other++) {
        if (kind_of(file, other) == kind_of(file, page)) {
            return other;
        }
    }
    return page + 1 < file->pages ? page + 1 : page;
}

/* `index`: of a page or of a payload. */
static void damage_do(const struct file *file, unsigned char *copy, int64_t index,
                      enum damage damage)
{
    size_t size = (size_t)file->page_bytes;
    struct random random;
    random_init(&random, (uint64_t)index, 3);
    if (damage == DAMAGE_PAYLOAD) { /* behind its head, so that it still decodes */
        int64_t length = file->payloads[index].length / 2;
        unsigned char *at = copy + file->payloads[index].at + file->payloads[index].length - length;
        for (int i = 0; i < PAYLOAD_BITS; i++) {
            at[random_below(&random, (uint64_t)length)] ^=
                (unsigned char)(1 << random_below(&random, 8));
        }
        return;
    }
    unsigned char *at = copy + index * file->page_bytes;
    int64_t other = page_like(file, index);
    if (damage == DAMAGE_ZEROS) {
        memset(at, 0, size);
    } else if (damage == DAMAGE_FLIPS) {
        for (int i = 0; i < FLIPPED_BYTES; i++) {
            at[random_below(&random, size)] ^= (unsigned char)(1 + random_below(&random, 255));
        }
    } else {
        memcpy(at, file->bytes + other * file->page_bytes, size);
        memcpy(copy + other * file->page_bytes, file->bytes + index * file->page_bytes, size);
    }
}

/* Writes the file with one damage; false where it changes nothing. */
static bool file_write_damaged(const struct file *file, struct disk *disk, int64_t index,
                               enum damage damage)
{
    unsigned char *copy = malloc((size_t)file->length);
    assert_non_null(copy);
    memcpy(copy, file->bytes, (size_t)file->length);
    damage_do(file, copy, index, damage);
    bool changed = memcmp(copy, file->bytes, (size_t)file->length) != 0;
    struct disk_file *made = disk_create(disk, file->path);
    assert_non_null(made);
    assert_true(disk_write(disk, made, 0, copy, file->length));
    disk_sync(disk, made);
    free(copy);
    return changed;
}

/* ---------------------------------------------------------------- one damage */

struct outcome {
    size_t unopened, found, harmless; /* numbers of damages */
};

static bool check_finds_nothing(struct store *store)
{
    struct error error = {0};
    return storage_check(store->storage, NULL, NULL, &error) == STATUS_OK;
}

/* Everything that a store goes through; true where check never found anything: then *expected
 * points are to be there. */
static bool live(struct store *store, bool true_only, size_t *expected)
{
    struct error error = {0};
    (void)points_read(store, true_only);
    bool sound = check_finds_nothing(store);
    *expected = SERIES * (CHUNKED + JOURNALED);
    if (points_write(store, CHUNKED + JOURNALED, LATER) == STATUS_OK) {
        *expected += SERIES * LATER;
    }
    (void)points_read(store, true_only);
    (void)!writer_compact(store->writer, &error);
    (void)points_read(store, true_only);
    return check_finds_nothing(store) && sound;
}

static void damage_once(const struct file *file, int64_t index, enum damage damage,
                        struct outcome *outcome)
{
    struct disk *disk = disk_new((uint64_t)index);
    struct store store;
    struct error error = {0};
    size_t bytes = mem_bytes_in_use(), expected = 0;
    bool true_only = damage != DAMAGE_SWAP;
    fault_vfs_mount(disk);
    bool changed = file_write_damaged(file, disk, index, damage);
    if (changed && store_open(&store, &error) != STATUS_OK) {
        outcome->unopened++;
    } else if (changed) {
        bool sound = live(&store, true_only, &expected);
        store_close(&store);
        if (store_open(&store, &error) == STATUS_OK) {
            size_t count = points_read(&store, true_only || sound);
            sound = check_finds_nothing(&store) && sound;
            if (sound && count != expected) {
                fail_msg("page or payload %lld, %s: %zu points of %zu, and check finds nothing",
                         (long long)index + 1, damage_names[damage], count, expected);
            }
            store_close(&store);
        } else {
            sound = false;
        }
        *(sound ? &outcome->harmless : &outcome->found) += 1;
    }
    fault_vfs_mount(NULL);
    disk_free(disk);
    assert_int_equal(mem_bytes_in_use(), bytes);
}

static void every_page_is_damaged_in_turn(void **state)
{
    struct file file = {0};
    struct outcome outcome = {0};
    (void)state;
    file_make(&file);
    size_t rows = 0, entries = 0, others = 0;
    for (int64_t page = 0; page < file.pages; page++) {
        rows += kind_of(&file, page) == 13;
        entries += kind_of(&file, page) == 10;
        others += kind_of(&file, page) == 2 || kind_of(&file, page) == 5;
    }
    assert_true(rows > 20 && entries > 1 && others > 0);
    for (int64_t page = 0; page < file.pages; page++) {
        for (int damage = 0; damage < DAMAGES; damage++) {
            damage_once(&file, page, (enum damage)damage, &outcome);
        }
    }
    printf("  %lld pages: %zu damages kept the store closed, %zu were found, %zu did no harm\n",
           (long long)file.pages, outcome.unopened, outcome.found, outcome.harmless);
    assert_true(file.pages > 20 && outcome.unopened > 0 && outcome.found > 20);
    free(file.bytes);
}

/* SQLite finds nothing wrong with these, and what decodes would be other numbers. */
static void checksums_alone_guard_payloads(void **state)
{
    struct file file = {0};
    struct outcome outcome = {0};
    (void)state;
    file_make(&file);
    for (size_t i = 0; i < file.payload_count; i++) {
        damage_once(&file, (int64_t)i, DAMAGE_PAYLOAD, &outcome);
    }
    printf("  payloads of %zu chunks and %zu journal rows: all found\n", file.chunk_count,
           file.payload_count - file.chunk_count);
    assert_true(file.chunk_count > 20 && file.payload_count > file.chunk_count);
    assert_int_equal(outcome.found, file.payload_count);
    free(file.bytes);
}

int main(void)
{
    char command[100];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_page_is_damaged_in_turn),
        cmocka_unit_test(checksums_alone_guard_payloads),
    };
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    start_ms = clock_wall_ms() / 1000 * 1000 - INT64_C(7200000);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) != 0 ? 1 : failed;
}
