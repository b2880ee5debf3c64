/* A disk that takes its time to sync: nobody is acknowledged before it has, readers do not wait for
 * it, and whoever came meanwhile shares the next sync. SPDX-License-Identifier: Apache-2.0
 *
 * The sync takes exactly as long as the test says (disk_hold_syncs), so no outcome hangs on timing.
 */
#include "base/clock.h"
#include "storage/writer.h"
#include "tests/torture/fault_vfs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { BATCHES = 20, SYNCS_MAX = 4, DEADLINE_MS = 20000 };

struct ticket {
    struct disk *disk;
    atomic_bool answered;
    enum status status;
    uint64_t syncs; /* of the disk, when the answer came */
};

static char folder[64] = "/tmp/forecastd-slow-XXXXXX"; /* the lock of a store lies on a real disk */
static int64_t start_ms;

/* ---------------------------------------------------------------- the store */

struct store {
    struct disk *disk;
    struct storage *storage;
    struct writer *writer;
    struct storage_reader *reader;
};

static void store_open(struct store *store)
{
    struct error error = {0};
    struct writer_options options = {0};
    char url[96];
    snprintf(url, sizeof url, "sqlite:%s", folder);
    struct storage_options storage = {.url = url};
    assert_int_equal(storage_open(&storage, &store->storage, &error), STATUS_OK);
    assert_int_equal(writer_start(store->storage, &options, &store->writer, &error), STATUS_OK);
    assert_int_equal(storage_reader_open(store->storage, &store->reader, &error), STATUS_OK);
}

static void store_close(struct store *store)
{
    writer_stop(store->writer);
    storage_reader_close(store->reader);
    storage_close(store->storage);
}

static uint64_t syncs_of(struct disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    uint64_t syncs = disk->syncs;
    pthread_mutex_unlock(&disk->lock);
    return syncs;
}

static void note_answer(void *context, const struct write_result *result)
{
    struct ticket *ticket = context;
    ticket->status = result->error.status;
    ticket->syncs = syncs_of(ticket->disk);
    atomic_store(&ticket->answered, true);
}

/* A batch with the point `number`. */
static void submit(struct store *store, int number, struct ticket *ticket)
{
    struct write_batch *batch = NULL;
    struct error error = {0};
    uint32_t series;
    struct point point = {start_ms + number * INT64_C(1000), number};
    *ticket = (struct ticket){.disk = store->disk};
    assert_int_equal(write_batch_new(store->storage, 1, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_series(batch, "a", 1, &series, &error), STATUS_OK);
    assert_int_equal(write_batch_point(batch, series, point, &error), STATUS_OK);
    assert_int_equal(writer_submit_take(store->writer, batch, note_answer, ticket, &error),
                     STATUS_OK);
}

static void await_answer(struct ticket *ticket)
{
    for (int ms = 0; !atomic_load(&ticket->answered); ms++) {
        assert_true(ms < DEADLINE_MS);
        clock_sleep_ms(1);
    }
    assert_int_equal(ticket->status, STATUS_OK);
}

/* The points 0, 1, 2 ... and nothing else; how many. */
static size_t points_read(struct store *store)
{
    static struct point points[2 * BATCHES];
    struct error error = {0};
    size_t count = 0;
    assert_int_equal(storage_read(store->reader, storage_series_find(store->storage, "a", 1),
                                  INT64_MIN, INT64_MAX, points, 2 * BATCHES, &count, &error),
                     STATUS_OK);
    for (size_t i = 0; i < count; i++) {
        assert_true(points[i].value == (double)i);
    }
    return count;
}

/* ---------------------------------------------------------------- the test */

static void a_slow_sync_holds_up_answers_and_nothing_else(void **state)
{
    struct store store = {.disk = disk_new(1)};
    static struct ticket tickets[BATCHES + 1];
    (void)state;
    fault_vfs_mount(store.disk);
    store_open(&store);
    submit(&store, 0, &tickets[0]);
    await_answer(&tickets[0]);

    disk_hold_syncs(store.disk, true);
    uint64_t before = syncs_of(store.disk);
    submit(&store, 1, &tickets[1]);
    for (int ms = 0; disk_syncs_waiting(store.disk) == 0; ms++) {
        assert_true(ms < DEADLINE_MS); /* else it is acknowledged without a sync */
        clock_sleep_ms(1);
    }
    for (int i = 2; i <= BATCHES; i++) {
        submit(&store, i, &tickets[i]);
    }
    assert_in_range(points_read(&store), 1, 2); /* returns, with the disk still at it */
    for (int i = 1; i <= BATCHES; i++) {
        assert_false(atomic_load(&tickets[i].answered));
    }
    assert_int_equal(syncs_of(store.disk), before);

    disk_hold_syncs(store.disk, false);
    for (int i = 1; i <= BATCHES; i++) {
        await_answer(&tickets[i]);
        assert_true(tickets[i].syncs > before);
        assert_true(tickets[i].syncs <= before + SYNCS_MAX); /* those who waited share one */
    }
    assert_int_equal(points_read(&store), BATCHES + 1);
    store_close(&store);
    store_open(&store);
    assert_int_equal(points_read(&store), BATCHES + 1);
    store_close(&store);
    fault_vfs_mount(NULL);
    disk_free(store.disk);
}

int main(void)
{
    char command[100];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_sync_holds_up_answers_and_nothing_else),
    };
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    start_ms = clock_wall_ms() - 3600000;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) != 0 ? 1 : failed;
}
