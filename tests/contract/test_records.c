/* What any store does with records: texts by kind and key.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/contract/fixture.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

struct seen {
    char text[256];
    size_t stop_after, count;
};

static bool record_seen(void *context, const char *key, const char *json, size_t length)
{
    struct seen *seen = context;
    size_t used = strlen(seen->text);
    snprintf(seen->text + used, sizeof seen->text - used, "%s=%.*s;", key, (int)length, json);
    return ++seen->count != seen->stop_after;
}

static void assert_records(struct fixture *f, const char *kind, size_t stop_after,
                           const char *expected)
{
    struct seen seen = {.stop_after = stop_after};
    struct error error = {0};
    assert_int_equal(storage_records(f->reader, kind, record_seen, &seen, &error), STATUS_OK);
    assert_string_equal(seen.text, expected);
}

static void record(struct fixture *f, const char *kind, const char *key, const char *json)
{
    struct error error = {0};
    struct write_batch *batch = batch_begin(f);
    assert_int_equal(
        write_batch_record(batch, kind, key, json, json == NULL ? 0 : strlen(json), &error),
        STATUS_OK);
    batch_commit(f, batch);
}

static void records(void **state)
{
    struct fixture *f = *state;
    record(f, "model", "b", "{\"n\":2}");
    record(f, "model", "a", "{\"n\":1}");
    record(f, "job", "a", "[]");
    record(f, "model", "c", "3");
    record(f, "model", "b", "22");
    for (int round = 0; round < 2; round++) {
        assert_records(f, "model", 0, "a={\"n\":1};b=22;c=3;");
        assert_records(f, "model", 2, "a={\"n\":1};b=22;");
        assert_records(f, "job", 0, "a=[];");
        assert_records(f, "none", 0, "");
        fixture_reopen(f);
    }
    record(f, "model", "a", NULL);
    record(f, "model", "absent", NULL);
    assert_records(f, "model", 0, "b=22;c=3;");
}

int main(void)
{
    static const struct contract_test tests[] = {
        {"records", records},
    };
    return contract_run("records", tests, ARRAY_COUNT(tests));
}
