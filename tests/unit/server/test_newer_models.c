/* Models of a newer release beside an older one: they wait for it, untouched, and come back.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Formats are told apart by a number in the file. So a model "of a newer release" is a small one
 * with another number, and going back or forward a change of numbers and a restart. One model is
 * trained; all others are it, under other names.
 */
#include "base/hash.h"
#include "tests/unit/server/waves.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define READ  '4' /* by this release */
#define NEWER '9'

static char seed[96];

static void path_of(const char *id, char path[128])
{
    snprintf(path, 128, "%s/%s.safetensors", models, id);
}

/* Trained or not found good enough, as after a gate. */
static void add_model(bool promote, const char *expected)
{
    struct error error = {0};
    struct gate_result gate = {.promote = promote, .reason = "decided by the test"};
    struct snapshot *snapshot = NULL;
    char id[48];
    assert_int_equal(snapshot_load(seed, NULL, &snapshot, &error), STATUS_OK);
    assert_int_equal(catalogue_admit(catalogue, snapshot, &gate, id, &error), STATUS_OK);
    snapshot_release(snapshot);
    assert_string_equal(id, expected);
}

static void put_record(const char *id, const char *json, size_t length)
{
    struct write_batch *batch = NULL;
    struct write_result result;
    struct error error = {0};
    assert_int_equal(write_batch_new(services.storage, 0, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_record(batch, "model", id, json, length, &error), STATUS_OK);
    assert_int_equal(writer_write_take(services.writer, batch, &result, &error), STATUS_OK);
}

/* What a release with that format of models would have written: a file that is whole, and its hash
 * in the record. The catalogue sees it when it is opened next. */
static void set_format(const char *id, char release)
{
    static const char format[] = "\"format\":\"forecastd-model-";
    static const char key[] = "\"sha256\":\"";
    static char bytes[1 << 20];
    struct waves_record record;
    struct sha256 hash;
    char hex[65], path[128];
    path_of(id, path);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    size_t length = fread(bytes, 1, sizeof(bytes), file);
    char *at = memmem(bytes, length, format, sizeof(format) - 1);
    assert_non_null(at);
    at[sizeof(format) - 1] = release;
    rewind(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    fclose(file);
    sha256_init(&hash);
    sha256_add(&hash, bytes, length);
    sha256_hex(&hash, hex);
    find_record(id, &record);
    at = strstr(record.json, key);
    assert_non_null(at);
    memcpy(at + sizeof(key) - 1, hex, 64);
    put_record(id, record.json, strlen(record.json));
}

/* After a restart. */
static void expect_champion(const char *id)
{
    char serving[48];
    waves_close();
    waves_open();
    assert_string_equal(champion_id(serving), id);
}

static void expect_standing(const char *id, const char *standing)
{
    char part[48];
    snprintf(part, sizeof(part), "\"standing\":\"%s\",\"champion\":", standing);
    expect_record(id, part);
}

/* As if there never had been a model: the next one is 1h-1. */
static int forget_models(void **state)
{
    (void)state;
    for (int i = 1; i < 20; i++) {
        char id[48];
        snprintf(id, sizeof(id), "1h-%d", i);
        put_record(id, NULL, 0);
    }
    waves_close();
    remove_folder(models);
    waves_open();
    return 0;
}

static int prepare(void **state)
{
    struct error error = {0};
    if (waves_prepare(state) != 0) {
        return 1;
    }
    struct snapshot *snapshot = train_small(1);
    snapshot_set_id(snapshot, "1h-1");
    snprintf(seed, sizeof(seed), "%s/../seed.safetensors", models);
    enum status status = snapshot_save(snapshot, seed, &error);
    snapshot_release(snapshot);
    return status != STATUS_OK;
}

/* ---------------------------------------------------------------- tests */

static void note_line(void *context, const char *line)
{
    snprintf(context, 400, "%s", line);
}

/* Back to an older release: it cannot read the champion, says why, and goes on with what it can.
 * The file keeps its name, so that the newer release finds it. */
static void it_waits_for_its_release(void **state)
{
    char path[128], line[400] = "";
    size_t checked = 0;
    struct error error = {0};
    (void)state;
    add_model(true, "1h-1");
    add_model(true, "1h-2");
    set_format("1h-2", NEWER);
    path_of("1h-2", path);
    expect_champion("1h-1");
    expect_standing("1h-2", "newer");
    expect_record("1h-2", "it is not of format forecastd-model-");
    expect_record("1h-1", "\"reason\":\"serves again: the champion cannot be read\"");
    expect_champion("1h-1"); /* and it stays so */
    assert_int_equal(catalogue_damaged(catalogue), 0);
    assert_int_equal(count_files(".corrupt"), 0);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(catalogue_promote(catalogue, "1h-2", &error), STATUS_CONFLICT);
    assert_int_equal(catalogue_check(services.storage, models, note_line, line, &checked, &error),
                     STATUS_OK);
    assert_non_null(strstr(line, "newer release"));
    assert_non_null(strstr(line, "; nothing is to be done"));
    /* Forward again, and at once or after a training of the older one. */
    set_format("1h-2", READ);
    expect_champion("1h-2");
    expect_standing("1h-1", "previous");
    set_format("1h-2", NEWER);
    expect_champion("1h-1");
    add_model(true, "1h-3");
    set_format("1h-2", READ);
    expect_champion("1h-3");
    expect_standing("1h-2", "retired");
    assert_int_equal(catalogue_promote(catalogue, "1h-2", &error), STATUS_OK);
}

/* However many there are, and whatever the older release trains. */
static void trainings_of_the_older_release_remove_none(void **state)
{
    static const char *const ids[] = {"1h-1", "1h-2", "1h-3", "1h-4"};
    struct error error = {0};
    (void)state;
    add_model(true, "1h-1");
    add_model(true, "1h-2");
    add_model(false, "1h-3");
    add_model(false, "1h-4");
    for (size_t i = 0; i < 4; i++) {
        set_format(ids[i], NEWER);
    }
    expect_champion("");
    for (size_t i = 2; i < 4; i++) { /* those kept back are looked at when somebody asks */
        assert_int_equal(catalogue_promote(catalogue, ids[i], &error), STATUS_CONFLICT);
    }
    add_model(false, "1h-5");
    for (size_t i = 0; i < 4; i++) {
        char path[128];
        path_of(ids[i], path);
        assert_int_equal(access(path, F_OK), 0);
        expect_standing(ids[i], "newer");
        set_format(ids[i], READ);
    }
    expect_champion("1h-2");
    expect_standing("1h-1", "previous");
    expect_standing("1h-3", "kept_back");
    expect_standing("1h-4", "kept_back");
}

/* The older release has trained two, and the second is damaged: the first serves by the check at
 * start, and yet was put there by a training. */
static void a_trained_one_is_not_displaced(void **state)
{
    char path[128];
    (void)state;
    add_model(true, "1h-1");
    add_model(true, "1h-2");
    set_format("1h-2", NEWER);
    expect_champion("1h-1");
    add_model(true, "1h-3");
    add_model(true, "1h-4");
    path_of("1h-4", path);
    assert_int_equal(truncate(path, 1000), 0);
    expect_champion("1h-3");
    set_format("1h-2", READ);
    expect_champion("1h-3");
    expect_standing("1h-2", "previous");
    expect_standing("1h-1", "retired");
}

/* Two steps back: the deputy cannot be read either. It comes back behind whom it stood in for,
 * though 1h-10 is looked at before 1h-9. */
static void a_deputy_stays_one(void **state)
{
    char id[48];
    (void)state;
    for (int i = 1; i <= 10; i++) {
        snprintf(id, sizeof(id), "1h-%d", i);
        add_model(i >= 9, id);
    }
    set_format("1h-10", NEWER);
    expect_champion("1h-9");
    set_format("1h-9", NEWER);
    expect_champion("");
    set_format("1h-9", READ);
    set_format("1h-10", READ);
    expect_champion("1h-10");
    expect_standing("1h-9", "previous");
}

/* Two steps back with a training in between: of two former champions the later one serves, and one
 * is the previous, in both orders of looking at them. */
static void of_two_champions_the_later_serves(void **state)
{
    char id[48];
    (void)state;
    for (int i = 1; i <= 9; i++) {
        snprintf(id, sizeof(id), "1h-%d", i);
        add_model(i >= 8, id);
    }
    set_format("1h-9", NEWER);
    expect_champion("1h-8");
    add_model(true, "1h-10");
    set_format("1h-10", NEWER);
    expect_champion("1h-8");
    set_format("1h-9", READ);
    set_format("1h-10", READ);
    expect_champion("1h-10");
    expect_standing("1h-9", "retired");
    expect_standing("1h-8", "previous");

    add_model(true, "1h-11");
    set_format("1h-11", NEWER);
    expect_champion("1h-10");
    add_model(true, "1h-12");
    set_format("1h-12", NEWER);
    expect_champion("1h-10");
    set_format("1h-11", READ);
    set_format("1h-12", READ);
    expect_champion("1h-12");
    expect_standing("1h-11", "previous");
    expect_standing("1h-10", "retired");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(it_waits_for_its_release, forget_models),
        cmocka_unit_test_setup(trainings_of_the_older_release_remove_none, forget_models),
        cmocka_unit_test_setup(a_trained_one_is_not_displaced, forget_models),
        cmocka_unit_test_setup(a_deputy_stays_one, forget_models),
        cmocka_unit_test_setup(of_two_champions_the_later_serves, forget_models),
    };
    return cmocka_run_group_tests(tests, prepare, waves_clean_up);
}
