/* Backup and restore as scenarios, and what is under their names afterwards.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/torture/copies.h"

#include "base/check.h"
#include "server/command.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int answer;             /* of the command that was run last */
static uint32_t source_digest; /* of what was to be copied */
static size_t source_models;
static size_t models_cut; /* whose files seemed to end early: they are left out, and named */

static void path_in(const struct history *history, const char *name, char path[DISK_PATH_MAX])
{
    snprintf(path, DISK_PATH_MAX, "%s/%s", history->directory, name);
}

static bool there(const struct history *history, const char *name)
{
    char path[DISK_PATH_MAX];
    path_in(history, name, path);
    return disk_find(history->disk, path) != NULL;
}

static void note(struct history *history, const char *command)
{
    struct error error = {0};
    if (answer != EXIT_DONE) {
        (void)history_done(history, error_set(&error, STATUS_IO, "the %s failed", command), &error);
    }
}

static int run_backup(const struct history *history)
{
    char file[DISK_PATH_MAX], directory[DISK_PATH_MAX];
    char *arguments[] = {file, (char[]){"--data"}, directory, (char[]){"--rate=0"}, NULL};
    path_in(history, "copy", file);
    snprintf(directory, sizeof directory, "%s", history->directory);
    return command_backup((int)ARRAY_COUNT(arguments) - 1, arguments);
}

static int run_restore(const struct history *history)
{
    char file[DISK_PATH_MAX], directory[DISK_PATH_MAX];
    char *arguments[] = {file, (char[]){"--data"}, directory, NULL};
    path_in(history, "copy", file);
    path_in(history, "restored", directory);
    (void)mkdir(directory, 0700); /* the lock lies on the real disk */
    return command_restore((int)ARRAY_COUNT(arguments) - 1, arguments);
}

/* The number of models that a store has whole, by its own check. */
static bool models_count(struct history *history, size_t *count)
{
    char models[DISK_PATH_MAX];
    struct error error = {0};
    *count = 0;
    path_in(history, "models", models);
    return catalogue_check(history->storage, models, history_finding, history, count, &error) ==
               STATUS_OK ||
           history_wrong(history, "models: %s", error.text);
}

static void prepare(struct history *history)
{
    models_cut = 0;
    history_compact(history);
    for (int i = 0; i < 2; i++) {
        history_publish(history);
        history_ingest(history);
    }
    CHECK(history_read(history, &source_digest) && models_count(history, &source_models));
    CHECK(source_models > 0);
}

/* The restored store, as a daemon would open it, against its source. */
static bool restored_is_whole(struct history *history)
{
    char directory[DISK_PATH_MAX];
    struct error error = {0};
    struct history copy = {.directory = directory,
                           .model = history->model,
                           .disk = history->disk,
                           .options = history->options};
    uint32_t digest = 0;
    size_t models = 0;
    path_in(history, "restored", directory);
    bool good =
        history_open(&copy, &error) || history_wrong(&copy, "cannot open it: %s", error.text);
    good = good && history_read(&copy, &digest) && models_count(&copy, &models);
    if (good && digest != source_digest) {
        good = history_wrong(&copy, "it holds other points");
    }
    if (good && models + models_cut != source_models) {
        good = history_wrong(&copy, "it has %zu models of %zu, %zu were cut", models, source_models,
                             models_cut);
    }
    if (good && storage_check(copy.storage, history_finding, &copy, &error) != STATUS_OK) {
        good = history_wrong(&copy, "check: %s", error.text);
    }
    history_close(&copy);
    return good || history_wrong(history, "the restored store: %.300s", copy.why);
}

/* ---------------------------------------------------------------- backup */

void copies_prepare_backup(struct history *history)
{
    prepare(history);
    answer = EXIT_FAILED;
}

void copies_backup(struct history *history)
{
    answer = run_backup(history);
    note(history, "backup");
    const struct disk *disk = history->disk;
    char models[DISK_PATH_MAX];
    path_in(history, "models/", models);
    bool cut = disk->struck && disk->fault == DISK_END &&
               strncmp(disk->struck_path, models, strlen(models)) == 0;
    models_cut = cut && there(history, "copy");
}

bool copies_judge_backup(struct history *history)
{
    if (answer == EXIT_DONE && !there(history, "copy")) {
        return history_wrong(history, "the backup was made and is not there");
    }
    if (!there(history, "copy") && run_backup(history) != EXIT_DONE) {
        return history_wrong(history, "the next backup failed");
    }
    return run_restore(history) == EXIT_DONE ? restored_is_whole(history)
                                             : history_wrong(history, "what is there is no backup");
}

/* ---------------------------------------------------------------- restore */

void copies_prepare_restore(struct history *history)
{
    prepare(history);
    CHECK(run_backup(history) == EXIT_DONE);
    answer = EXIT_FAILED;
}

void copies_restore(struct history *history)
{
    answer = run_restore(history);
    note(history, "restore");
}

bool copies_judge_restore(struct history *history)
{
    bool made = there(history, "restored/forecastd.db");
    if (answer == EXIT_DONE && !made) {
        return history_wrong(history, "the store was restored and is not there");
    }
    if (!made && run_restore(history) != EXIT_DONE) {
        return history_wrong(history, "the next restore failed");
    }
    return restored_is_whole(history);
}

void copies_clean(const char *directory)
{
    char path[DISK_PATH_MAX];
    snprintf(path, sizeof path, "%s/restored/forecastd.lock", directory);
    unlink(path);
    snprintf(path, sizeof path, "%s/restored", directory);
    rmdir(path);
}
