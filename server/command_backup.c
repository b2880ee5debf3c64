/* forecastd backup: the whole store and its models as one verified file; forecastd restore: back.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A restore builds everything in DIR/restore.partial, checks it there, and then renames: the models
 * first, the database last. So whenever it is interrupted there is either no store in DIR or the
 * whole one, and the next restore clears what was left behind. DIR/models was left behind only
 * where restore.partial has a database and no models: any other one belongs to somebody, and stays.
 */
#include "server/command.h"

#include "base/check.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "server/model_entry.h"
#include "storage/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

#define DATABASE "forecastd.db"
enum { PATH_BYTES = 1200, MODELS_MAX = 4096, RATE_DEFAULT_MIB = 100 };

static void print_finding(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

static void show_fraction(void *context, double fraction)
{
    progress_show(context, fraction, "");
}

/* ---------------------------------------------------------------- what both are told */

struct request {
    struct config config; /* alone: neither command opens the store as a daemon does */
    const char *file;
    int64_t rate_mib; /* of a backup */
};

/* Reads a command line. False: leave with *code. */
static bool request_read(struct command_line *line, const char *missing, struct request *request,
                         int *code)
{
    struct config_sources sources = {.environment = environ};
    struct error error = {0};
    for (int word; (word = command_next(line)) != WORD_END;) {
        const char *option = word >= 0 ? line->options[word].name : "";
        if (word == WORD_STOP) {
            *code = command_exit(line);
            return false;
        }
        if (word == WORD_PLAIN && request->file == NULL) {
            request->file = line->value;
        } else if (word == WORD_PLAIN) {
            *code = command_usage(line, "unexpected argument '%s'", line->value);
            return false;
        } else if (strcmp(option, "rate") == 0) {
            if (!command_integer(line, option, line->value, 0, 1 << 20, &request->rate_mib)) {
                *code = EXIT_USAGE;
                return false;
            }
        } else if (command_take_source(line, &sources, option) != EXIT_DONE) {
            *code = EXIT_USAGE;
            return false;
        }
    }
    if (request->file == NULL) {
        *code = command_usage(line, "%s", missing);
        return false;
    }
    if (config_load(&sources, &request->config, &error) != STATUS_OK) {
        *code = command_fail(&error);
        return false;
    }
    return true;
}

/* ---------------------------------------------------------------- models into the backup */

struct model_name {
    char id[48], file[64], sha256[65];
    enum standing standing;
};

struct model_names {
    struct model_name *names; /* MODELS_MAX */
    size_t count;
    struct error error; /* why they are not all of them */
};

/* A record that cannot be read has no file that could be used. */
static bool collect_model(void *context, const char *key, const char *json, size_t length)
{
    struct model_names *models = context;
    struct model_entry entry = {0};
    struct error unreadable = {0};
    (void)key;
    if (models->count == MODELS_MAX) {
        error_set(&models->error, STATUS_TOO_LARGE, "there are more than %d models", MODELS_MAX);
        return false;
    }
    enum status status = model_entry_read(&entry, json, length, &unreadable);
    if (status == STATUS_NO_MEMORY) {
        models->error = unreadable;
        return false;
    }
    if (status == STATUS_OK) {
        struct model_name *name = &models->names[models->count++];
        memcpy(name->id, entry.id, sizeof(name->id));
        memcpy(name->file, entry.file, sizeof(name->file));
        memcpy(name->sha256, entry.sha256, sizeof(name->sha256));
        name->standing = entry.standing;
        model_entry_release(&entry);
    }
    return true;
}

/* STATUS_CORRUPT where the file is not what its record says: then it is left out. */
static enum status model_add(struct backup *backup, const char *path,
                             const struct model_name *model, unsigned char *part,
                             struct error *error)
{
    const struct file_system *files = file_system();
    struct sha256 hash;
    char hex[65];
    int file = files->open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (file < 0) {
        return error_set(error, errno == ENOENT ? STATUS_CORRUPT : STATUS_IO,
                         "could not open '%.200s': %s", path, strerror(errno));
    }
    enum status status = STATUS_OK;
    sha256_init(&hash);
    for (ssize_t got = 1; status == STATUS_OK && got > 0;) {
        got = files->read(file, part, BACKUP_PART_MAX);
        if (got < 0) {
            status =
                error_set(error, STATUS_IO, "could not read '%.200s': %s", path, strerror(errno));
        } else if (got > 0) {
            sha256_add(&hash, part, (size_t)got);
            status = backup_add(backup, model->file, part, (size_t)got, error);
        }
    }
    (void)files->close(file);
    sha256_hex(&hash, hex);
    if (status == STATUS_OK && strcmp(hex, model->sha256) != 0) {
        status = error_set(error, STATUS_CORRUPT, "'%.200s' is damaged", path);
    }
    return status;
}

/* A model that was removed after the copy began, or is damaged, is left out with its record: what
 * the file then holds is complete in itself. */
static enum status models_add(struct backup *backup, const char *directory, size_t *added,
                              struct error *error)
{
    struct model_names models = {.names = mem_zeroed(MODELS_MAX, sizeof(*models.names))};
    unsigned char *part = mem_alloc(BACKUP_PART_MAX);
    enum status status =
        models.names == NULL || part == NULL
            ? error_set(error, STATUS_NO_MEMORY, "could not allocate a list of models")
            : backup_records(backup, MODEL_RECORD_KIND, collect_model, &models, error);
    if (status == STATUS_OK && models.error.status != STATUS_OK) {
        *error = models.error;
        status = error->status;
    }
    for (size_t i = 0; status == STATUS_OK && i < models.count; i++) {
        const struct model_name *model = &models.names[i];
        char path[PATH_BYTES];
        snprintf(path, sizeof(path), "%s/models/%s", directory, model->file);
        if (model->standing == STANDING_CORRUPT) {
            continue;
        }
        status = model_add(backup, path, model, part, error);
        *added += status == STATUS_OK;
        if (status == STATUS_CORRUPT) {
            fprintf(stderr, "forecastd: model %s is left out: %s\n", model->id, error->text);
            status = backup_leave_out(backup, model->file, MODEL_RECORD_KIND, model->id, error);
        }
    }
    mem_free(models.names);
    mem_free(part);
    return status;
}

static enum status backup_make(const struct request *request, struct error *error)
{
    const char *path = request->config.path, *file = request->file;
    struct progress progress;
    struct backup *backup = NULL;
    size_t models = 0;
    progress_begin(&progress, "copying");
    struct backup_options options = {.bytes_per_second = request->rate_mib << 20,
                                     .progress = show_fraction,
                                     .context = &progress};
    enum status status = backup_create(path, file, &options, &backup, error);
    progress_end(&progress);
    if (status == STATUS_OK) {
        status = models_add(backup, path, &models, error);
    }
    if (status == STATUS_OK) {
        status = backup_publish(backup, print_finding, NULL, error);
    }
    if (status == STATUS_OK) {
        const struct backup_about *about = backup_about(backup);
        fprintf(stderr, "%s: %lld series, %zu models, %lld bytes, verified\n", file,
                (long long)about->series, models, (long long)about->bytes);
    } else if (status == STATUS_CORRUPT) {
        error_hint(error, "Nothing was written. 'forecastd check' says what is wrong.");
    }
    backup_close(backup);
    return status;
}

int command_backup(int argc, char **argv)
{
    static const struct command_option options[] = {
        COMMAND_STORE_OPTIONS,
        {"rate", "MIB", "Copy at most so many MiB a second; default 100, 0 as fast as it goes."},
    };
    struct command_line line = {
        .command = "backup",
        .synopsis = "FILE [--data DIR] [--rate MIB]",
        .about = "Copies the store with its models into one new file and verifies it. A daemon may "
                 "run meanwhile.",
        .options = options,
        .option_count = ARRAY_COUNT(options),
        .argc = argc,
        .argv = argv,
    };
    static struct request request; /* large */
    struct error error = {0};
    int code;
    memset(&request, 0, sizeof(request));
    request.rate_mib = RATE_DEFAULT_MIB;
    if (!request_read(&line, "the file to write is missing", &request, &code)) {
        return code;
    }
    (void)umask(077); /* the store's directory is for its owner alone: so is what was in it */
    return backup_make(&request, &error) == STATUS_OK ? EXIT_DONE : command_fail(&error);
}

/* ---------------------------------------------------------------- restore */

struct restore {
    char directory[PATH_BYTES - 200]; /* the store's */
    char partial[PATH_BYTES - 150];   /* where everything is built */
    char models[PATH_BYTES - 100];    /* in there */
    char placed[PATH_BYTES - 100];    /* where the models go in the end */
    char name[64];                    /* of the model file that is being written */
    int file;                         /* -1: none */
    size_t count;
};

static enum status failed(const char *doing, const char *path, struct error *error)
{
    return error_set(error, errno == ENOSPC ? STATUS_NO_SPACE : STATUS_IO,
                     "could not %s '%.200s': %s", doing, path, strerror(errno));
}

/* Where it fails the next step says so. */
static void folder_remove(const char *folder)
{
    (void)file_system()->remove_folder(folder);
}

static enum status folder_make(const char *folder, struct error *error)
{
    return file_system()->make_folder(folder, 0700) == 0 ? STATUS_OK
                                                         : failed("make folder", folder, error);
}

static enum status model_close(struct restore *restore, struct error *error)
{
    int file = restore->file;
    restore->file = -1;
    if (file >= 0) {
        bool synced = file_system()->sync(file) == 0;
        bool closed = file_system()->close(file) == 0;
        return synced && closed ? STATUS_OK : failed("write", restore->name, error);
    }
    return STATUS_OK;
}

static enum status model_write(void *context, const char *name, const void *bytes, size_t length,
                               struct error *error)
{
    struct restore *restore = context;
    char path[PATH_BYTES];
    if (restore->file < 0 || strcmp(restore->name, name) != 0) {
        if (model_close(restore, error) != STATUS_OK) {
            return error->status;
        }
        snprintf(path, sizeof(path), "%s/%s", restore->models, name);
        snprintf(restore->name, sizeof(restore->name), "%s", name);
        restore->file =
            file_system()->open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (restore->file < 0) {
            return failed("make", path, error);
        }
        restore->count++;
    }
    for (size_t done = 0; done < length;) {
        ssize_t wrote =
            file_system()->write(restore->file, (const char *)bytes + done, length - done);
        if (wrote < 0 && errno != EINTR) {
            return failed("write", name, error);
        }
        done += wrote > 0 ? (size_t)wrote : 0;
    }
    return STATUS_OK;
}

/* Everything into the folder of its own, and checked there as `forecastd check` would. */
static enum status build(struct restore *restore, struct backup *backup, struct error *error)
{
    if (folder_make(restore->partial, error) != STATUS_OK ||
        folder_make(restore->models, error) != STATUS_OK ||
        backup_parts(backup, model_write, restore, error) != STATUS_OK ||
        model_close(restore, error) != STATUS_OK ||
        backup_extract(backup, restore->partial, error) != STATUS_OK) {
        return error->status;
    }
    if (file_system()->sync_folder(restore->models) != 0 ||
        file_system()->sync_folder(restore->partial) != 0 ||
        file_system()->sync_folder(restore->directory) != 0) {
        return failed("sync", restore->partial, error);
    }
    char url[PATH_BYTES + 16];
    struct storage *storage = NULL;
    size_t checked = 0;
    snprintf(url, sizeof(url), "sqlite:%s", restore->partial);
    struct storage_options options = {.url = url, .read_only = true};
    enum status status = storage_open(&options, &storage, error);
    if (status == STATUS_OK) {
        status = catalogue_check(storage, restore->models, print_finding, NULL, &checked, error);
        storage_close(storage);
    }
    return status;
}

static bool is_there(const char *path)
{
    return file_system()->size(path) >= 0 || errno != ENOENT;
}

static void path_of(char path[PATH_BYTES], const char *folder, const char *name)
{
    snprintf(path, PATH_BYTES, "%s/%s", folder, name);
}

/* What was built and is not in place. The database goes first: without models beside it, it says
 * that they are in place. */
static void clear_partial(const struct restore *restore)
{
    char database[PATH_BYTES];
    path_of(database, restore->partial, DATABASE);
    (void)file_system()->remove(database);
    folder_remove(restore->models);
    folder_remove(restore->partial);
}

/* While the database of restore.partial still says whose they are. */
static void remove_placed(const struct restore *restore)
{
    folder_remove(restore->placed);
    (void)file_system()->sync_folder(restore->directory);
}

/* Models without a database are removed where they are of a restore that was interrupted before its
 * last step. STATUS_CONFLICT where they are not; an empty folder is what a daemon makes at its
 * start. */
static enum status clear_placed(const struct restore *restore, struct error *error)
{
    char database[PATH_BYTES];
    path_of(database, restore->partial, DATABASE);
    if (is_there(database) && !is_there(restore->models)) {
        remove_placed(restore);
    }
    if (rmdir(restore->placed) == 0 || !is_there(restore->placed)) {
        return STATUS_OK;
    }
    error_set(error, STATUS_CONFLICT, "cannot restore into '%.200s': there are models already",
              restore->directory);
    return error_hint(error, "Name an empty directory with --data DIR, or move the folder 'models' "
                             "out of the way, too; nothing is overwritten.");
}

/* The database comes last: with it the store is there. */
static enum status put_in_place(const struct restore *restore, struct error *error)
{
    char from[PATH_BYTES], to[PATH_BYTES];
    path_of(from, restore->partial, DATABASE);
    path_of(to, restore->directory, DATABASE);
    enum status status = STATUS_OK;
    if (file_system()->rename(restore->models, restore->placed) != 0) {
        return failed("rename to", restore->placed, error);
    }
    if (file_system()->sync_folder(restore->directory) != 0) {
        status = failed("sync", restore->directory, error);
    } else if (file_system()->rename(from, to) != 0) {
        status = failed("rename to", to, error);
    }
    if (status != STATUS_OK && !is_there(to)) {
        remove_placed(restore);
    } else if (status == STATUS_OK && file_system()->sync_folder(restore->directory) != 0) {
        status = failed("sync", restore->directory, error);
    }
    return status;
}

static enum status restore_into(struct restore *restore, struct backup *backup, struct error *error)
{
    struct backup_target *target = NULL;
    if (backup_target_open(restore->directory, &target, error) != STATUS_OK) {
        return error->status;
    }
    if (clear_placed(restore, error) != STATUS_OK) {
        backup_target_close(target);
        return error->status;
    }
    clear_partial(restore);
    enum status status = build(restore, backup, error);
    if (status == STATUS_OK) {
        status = put_in_place(restore, error);
    }
    if (restore->file >= 0) {
        (void)file_system()->close(restore->file);
    }
    clear_partial(restore);
    backup_target_close(target);
    return status;
}

static enum status restore_run(const struct request *request, struct error *error)
{
    const char *file = request->file;
    struct restore restore = {.file = -1};
    struct backup *backup = NULL;
    snprintf(restore.directory, sizeof(restore.directory), "%s", request->config.path);
    snprintf(restore.partial, sizeof(restore.partial), "%s/restore.partial", restore.directory);
    snprintf(restore.models, sizeof(restore.models), "%s/models", restore.partial);
    snprintf(restore.placed, sizeof(restore.placed), "%s/models", restore.directory);
    enum status status = backup_open(file, print_finding, NULL, &backup, error);
    if (status == STATUS_OK) {
        status = restore_into(&restore, backup, error);
    }
    if (status == STATUS_OK) {
        const struct backup_about *about = backup_about(backup);
        char made[40] = {0};
        struct text text;
        text_init(&text, sizeof(made));
        text_add_time(&text, about->made_ms);
        snprintf(made, sizeof(made), "%.*s", (int)text.length, text.bytes);
        text_release(&text);
        fprintf(stderr, "%s: %lld series and %zu models as of %s\n", restore.directory,
                (long long)about->series, restore.count, made);
    } else if (status == STATUS_CORRUPT) {
        error_hint(error, "Nothing was restored. Take another backup.");
    }
    backup_close(backup);
    return status;
}

int command_restore(int argc, char **argv)
{
    static const struct command_option options[] = {COMMAND_STORE_OPTIONS};
    struct command_line line = {
        .command = "restore",
        .synopsis = "FILE [--data DIR]",
        .about = "Verifies a backup and makes a store of it in a directory that has none.",
        .options = options,
        .option_count = ARRAY_COUNT(options),
        .argc = argc,
        .argv = argv,
    };
    static struct request request; /* large */
    struct error error = {0};
    int code;
    memset(&request, 0, sizeof(request));
    if (!request_read(&line, "the file to restore is missing", &request, &code)) {
        return code;
    }
    return restore_run(&request, &error) == STATUS_OK ? EXIT_DONE : command_fail(&error);
}
