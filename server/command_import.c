/* forecastd import: points of CSV files or of another database, into a directory or to a daemon.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/backfill.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FILE_BYTES_MAX     ((size_t)1 << 30)
#define INFLATED_BYTES_MAX ((size_t)2 << 30)
#define FILES_MAX          256

struct import {
    struct import_target target;
    const char *files[FILES_MAX];
    size_t file_count;
    struct backfill_source source;
};

/* Canonical text of a series id: as users type it, else the whole id is a name without labels. */
static enum status series_text(const char *id, char out[SERIES_TEXT_MAX], size_t *length,
                               struct error *error)
{
    struct slice name = {.bytes = id, .length = strlen(id)};
    struct error parsing = {0};
    if (series_name_parse(id, strlen(id), out, length, &parsing) == STATUS_OK) {
        return STATUS_OK;
    }
    return series_name_write(name, NULL, 0, out, length, error);
}

static void report_rejected(const char *path, const struct csv_data *data)
{
    const size_t first = ARRAY_COUNT(data->first);
    for (size_t i = 0; i < first && i < data->rejected; i++) {
        fprintf(stderr, "forecastd: %s: %s\n", path, data->first[i].text);
    }
    if (data->rejected > 0 && data->first[0].hint[0] != '\0') {
        fprintf(stderr, "%s\n", data->first[0].hint);
    }
    if (data->rejected > first) {
        fprintf(stderr, "forecastd: %s: %llu further rows or values refused\n", path,
                (unsigned long long)(data->rejected - first));
    }
}

static enum status import_series(struct import_target *target, const struct csv_series *series,
                                 struct error *error)
{
    char text[SERIES_TEXT_MAX];
    size_t first = 0;
    while (first < series->count && isnan(series->points[first].value)) {
        first++; /* missing values before the first real one say nothing */
    }
    struct slice name = {.bytes = series->id, .length = strlen(series->id)};
    if (target->url == NULL) { /* the daemon does the same with what it gets */
        enum status status = series_text(series->id, text, &name.length, error);
        if (status != STATUS_OK) {
            return status;
        }
        name.bytes = text;
    }
    return import_target_add(target, name, series->points + first, series->count - first, error);
}

static enum status import_file(struct import_target *target, const char *path, struct error *error)
{
    char *bytes = NULL;
    size_t length = 0;
    struct csv_data data = {0};
    struct progress progress;
    enum status status = command_read_file(path, FILE_BYTES_MAX, &bytes, &length, error);
    if (status != STATUS_OK) {
        return status;
    }
    /* The daemon has limits of its own. */
    struct csv_options options = {.inflated_max = INFLATED_BYTES_MAX,
                                  .limits = target->url == NULL ? &target->store.limits : NULL,
                                  .now_ms = target->now_ms,
                                  .keep_repeated = true};
    status = csv_read(bytes, length, &options, &data, error);
    mem_free(bytes);
    if (status != STATUS_OK) {
        return error->status == STATUS_OK ? status : error_wrap(error, "%s", path);
    }
    report_rejected(path, &data);
    target->rejected += data.rejected;
    progress_begin(&progress, path);
    for (size_t i = 0; i < data.count && status == STATUS_OK; i++) {
        char note[80];
        snprintf(note, sizeof(note), "series %zu of %zu, %llu points", i + 1, data.count,
                 (unsigned long long)target->accepted);
        progress_show(&progress, (double)i / (double)data.count, note);
        status = import_series(target, &data.series[i], error);
    }
    if (status == STATUS_OK) {
        status = import_target_flush(target, error);
    }
    progress_end(&progress);
    csv_free(&data);
    return status;
}

static int run_import(struct import *import, const struct config_sources *sources)
{
    struct error error = {0};
    struct import_target *target = &import->target;
    enum status status = import_target_open(target, sources, &error);
    if (status != STATUS_OK) {
        return command_fail(&error);
    }
    if (import->source.url != NULL) {
        status = backfill_run(&import->source, target, &error);
    }
    for (size_t i = 0; i < import->file_count && status == STATUS_OK; i++) {
        status = import_file(target, import->files[i], &error);
    }
    struct error closing = {0};
    enum status closed = import_target_close(target, status == STATUS_OK, &closing);
    fprintf(stderr, "%llu points stored, %llu of them updates, %llu refused\n",
            (unsigned long long)target->accepted, (unsigned long long)target->updated,
            (unsigned long long)target->rejected);
    if (status != STATUS_OK || closed != STATUS_OK) {
        return command_fail(status != STATUS_OK ? &error : &closing);
    }
    return target->rejected > 0 ? EXIT_FAILED : EXIT_DONE;
}

/* Everything is read: does it belong together? */
static enum status check_import(struct import *import, struct error *error)
{
    struct backfill_source *source = &import->source;
    if (import->source.url == NULL) {
        bool stray = source->query_count > 0 || source->database != NULL ||
                     source->bucket != NULL || source->headers.length > 0;
        if (stray) {
            return error_set(error, STATUS_INVALID,
                             "--from-prometheus or --from-influxdb is missing");
        }
        return import->file_count > 0 ? STATUS_OK
                                      : error_set(error, STATUS_INVALID, "no file is named");
    }
    if (import->file_count > 0) {
        return error_set(error, STATUS_INVALID, "either files or a neighbour");
    }
    if (source->kind == NEIGHBOUR_INFLUXQL && source->bucket != NULL) {
        source->kind = NEIGHBOUR_FLUX;
    }
    return backfill_check(source, error);
}

static const struct command_option import_options[] = {
    COMMAND_STORE_OPTIONS,
    {"url", "URL", "Send the points to the daemon there instead."},
    HTTP_CLIENT_OPTIONS,
    BACKFILL_OPTIONS,
};

int command_import(int argc, char **argv)
{
    struct command_line line = {
        .command = "import",
        .synopsis =
            "[--data DIR | --url URL] FILE...\n"
            "       forecastd import [--data DIR | --url URL] --from-prometheus URL --query "
            "QUERY...\n"
            "       forecastd import [--data DIR | --url URL] --from-influxdb URL --database "
            "NAME",
        .about = "Stores the points of CSV files (forms wide, long and rows; plain or gzip; - is "
                 "standard\n"
                 "input), or of another database. Storing points again changes nothing.",
        .options = import_options,
        .option_count = ARRAY_COUNT(import_options),
        .argc = argc,
        .argv = argv,
    };
    static struct import import;
    struct error error = {0};
    struct config_sources sources = {0};
    bool has_data = false;
    backfill_source_init(&import.source);
    for (int word; (word = command_next(&line)) != WORD_END;) {
        if (word == WORD_STOP) {
            return command_exit(&line);
        }
        if (word == WORD_PLAIN) {
            if (import.file_count == FILES_MAX) {
                return command_usage(&line, "too many files");
            }
            import.files[import.file_count++] = line.value;
            continue;
        }
        const char *name = import_options[word].name;
        if (strcmp(name, "url") == 0) {
            import.target.url = line.value;
            continue;
        }
        if (http_credentials_take(&import.target.as, name, line.value)) {
            continue;
        }
        enum status status = backfill_option(&import.source, name, line.value, &error);
        if (status == STATUS_NOT_FOUND && command_take_source(&line, &sources, name) != EXIT_DONE) {
            return EXIT_USAGE;
        }
        has_data = has_data || strcmp(name, "data") == 0;
        if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
            return command_usage(&line, "--%s: %s", name, error.text);
        }
    }
    if (has_data && import.target.url != NULL) {
        return command_usage(&line, COMMAND_ONE_PLACE);
    }
    if (check_import(&import, &error) != STATUS_OK) {
        return command_usage(&line, "%s%s%s", error.text, error.hint[0] ? "\n" : "", error.hint);
    }
    int code = run_import(&import, &sources);
    backfill_source_release(&import.source);
    return code;
}
