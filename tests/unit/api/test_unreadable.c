/* One series whose chunks cannot be read: whatever is done for all series goes on without it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "asked.h"

#include "storage/driver.h"
#include "storage/store.h"

static uint32_t bad; /* this series */

static enum status read_bad(void *reader, uint32_t id, int64_t start_ms, int64_t end_ms,
                            struct point *out, size_t maximum, size_t *count, struct error *error)
{
    return id == bad ? error_set(error, STATUS_CORRUPT, "checksum of a chunk is wrong")
                     : memory_driver.read(reader, id, start_ms, end_ms, out, maximum, count, error);
}

static enum status read_last_bad(void *reader, uint32_t id, struct point *out, size_t maximum,
                                 size_t *count, struct error *error)
{
    return id == bad ? error_set(error, STATUS_CORRUPT, "checksum of a chunk is wrong")
                     : memory_driver.read_last(reader, id, out, maximum, count, error);
}

static void the_others_are_trained(void **state)
{
    static struct storage_driver driver;
    int64_t steps_ms[4];
    size_t counts[4];
    struct api_group group;
    struct error error = {0};
    struct api_group_order order = {.step_ms = MINUTE, .values_max = COUNT, .bytes_max = 1 << 24};
    (void)state;
    make_cycle(20, 5, 1);
    put("a", COUNT, MINUTE);
    put("b", COUNT, MINUTE);
    put("c", COUNT, MINUTE);
    writer_stop(fixture.services.writer); /* its thread asks the driver too */
    driver = memory_driver;
    driver.read = read_bad;
    driver.read_last = read_last_bad;
    fixture.services.storage->driver = &driver;
    for (bad = 1; bad <= 3; bad++) {
        assert_int_equal(api_groups(fixture.worker, steps_ms, counts, 4), 1);
        assert_int_equal(steps_ms[0], MINUTE);
        assert_int_equal(api_group_load(fixture.worker, &order, &group, &error), STATUS_OK);
        assert_int_equal(group.count, 2);
        for (size_t i = 0; i < group.count; i++) {
            assert_int_not_equal(group.ids[i], bad);
        }
        api_group_free(&group);
    }
    fixture.services.storage->driver = &memory_driver;
    struct writer_options options = {0};
    assert_int_equal(
        writer_start(fixture.services.storage, &options, &fixture.services.writer, &error),
        STATUS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_others_are_trained, asked_open, asked_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
