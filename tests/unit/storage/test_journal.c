/* Journal records: what goes in comes out in order; damage is noticed.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "storage/journal.h"

#include "base/hash.h"
#include "base/random.h"
#include "tests/watched.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ENTRIES = 3000 };

static struct journal_entry entries[ENTRIES];

static void fill(struct journal_writer *writer, struct random *random, size_t count)
{
    struct error error = {0};
    assert_int_equal(journal_begin(writer, count, &error), STATUS_OK);
    assert_true(journal_is_empty(writer));
    for (size_t i = 0; i < count; i++) {
        entries[i] = (struct journal_entry){
            .kind = random_below(random, 20) == 0   ? JOURNAL_END
                    : random_below(random, 20) == 0 ? JOURNAL_TOUCH
                                                    : JOURNAL_POINT,
            .series = random_below(random, 3) == 0 ? (uint32_t)random_next(random) : (uint32_t)i,
            .point = {(int64_t)random_next(random) >> random_below(random, 64),
                      random_below(random, 9) == 0 ? (double)NAN : random_normal(random)},
        };
        journal_add(writer, &entries[i]);
    }
    journal_finish(writer);
}

static void round_trip(void **state)
{
    (void)state;
    struct journal_writer writer = {0};
    struct random random;
    random_init(&random, 1, 0);
    for (size_t count = 1; count <= ENTRIES; count = count * 3 / 2 + 1) {
        struct journal_reader reader;
        struct journal_entry entry;
        struct error error = {0};
        fill(&writer, &random, count);
        assert_int_equal(journal_read(&reader, writer.bytes, writer.length, &error), STATUS_OK);
        for (size_t i = 0; i < count; i++) {
            assert_true(journal_next(&reader, &entry));
            assert_int_equal(entry.kind, entries[i].kind);
            assert_int_equal(entry.series, entries[i].series);
            if (entry.kind != JOURNAL_TOUCH) {
                assert_int_equal(entry.point.time_ms, entries[i].point.time_ms);
            }
            if (entry.kind == JOURNAL_POINT) {
                assert_memory_equal(&entry.point.value, &entries[i].point.value, 8);
            }
        }
        assert_false(journal_next(&reader, &entry));
        assert_false(reader.bytes.bad);
    }
    journal_writer_release(&writer);
}

static void a_tick_of_many_series_is_small(void **state)
{
    (void)state;
    struct journal_writer writer = {0};
    struct error error = {0};
    assert_int_equal(journal_begin(&writer, 1000, &error), STATUS_OK);
    for (uint32_t i = 0; i < 1000; i++) {
        journal_add(&writer, &(struct journal_entry){.kind = JOURNAL_POINT,
                                                     .series = i + 1,
                                                     .point = {1795354740000, (double)i / 100}});
    }
    journal_finish(&writer);
    assert_true(writer.length <= 10050);
    journal_writer_release(&writer);
}

static void hostile_bytes(void **state)
{
    (void)state;
    struct journal_writer writer = {0};
    struct random random;
    random_init(&random, 2, 0);
    for (int round = 0; round < WATCHED_OR(4000, 20000); round++) {
        struct journal_reader reader;
        struct journal_entry entry;
        struct error error = {0};
        fill(&writer, &random, 1 + random_below(&random, 8));
        size_t length = writer.length - random_below(&random, writer.length - 4);
        unsigned char *exact = malloc(length);
        assert_non_null(exact);
        memcpy(exact, writer.bytes, length);
        for (uint64_t n = random_below(&random, 3); n > 0 && length > 5; n--) {
            exact[4 + random_below(&random, length - 4)] = (unsigned char)random_next(&random);
        }
        if (length >= 4 && round % 5 != 0) {
            u32_put(exact, hash_crc32c(0, exact + 4, length - 4));
        }
        if (journal_read(&reader, exact, length, &error) == STATUS_OK) {
            size_t count = 0;
            while (journal_next(&reader, &entry)) {
                count++;
            }
            assert_true(count <= length);
        } else {
            assert_int_equal(error.status, STATUS_CORRUPT);
        }
        free(exact);
    }
    journal_writer_release(&writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(a_tick_of_many_series_is_small),
        cmocka_unit_test(hostile_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
