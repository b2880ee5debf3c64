/* forecastd import: the points of CSV files, into a directory or to a daemon.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/command.h"

#include "base/check.h"
#include "base/memory.h"
#include "server/http_client.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FILE_BYTES_MAX     ((size_t)1 << 30)
#define INFLATED_BYTES_MAX ((size_t)2 << 30)
#define BATCH_POINTS       ((size_t)50000)
#define PIECE_BYTES        ((size_t)4 << 20)

struct import {
    const char *url; /* NULL: into the store */
    struct http_credentials as;
    struct command_store store;
    struct write_batch *batch; /* being filled; NULL = none */
    struct text piece;         /* the same for a daemon: a body of long CSV */
    uint64_t accepted, updated, rejected;
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

static enum status flush_batch(struct import *import, struct error *error)
{
    struct write_result result;
    if (import->batch == NULL) {
        return STATUS_OK;
    }
    struct write_batch *batch = import->batch;
    import->batch = NULL;
    enum status status = writer_write_take(import->store.writer, batch, &result, error);
    if (status == STATUS_OK) {
        import->accepted += result.accepted;
        import->updated += result.updated;
    }
    return status;
}

/* A member of the daemon's answer to an import. */
static uint64_t answer_count(const char *body, const char *key)
{
    const char *found = strstr(body, key);
    unsigned long long value = 0;
    if (found == NULL || sscanf(found + strlen(key), "\":%llu", &value) != 1) {
        return 0;
    }
    return value;
}

static enum status flush_piece(struct import *import, struct error *error)
{
    struct http_reply reply = {0};
    if (import->piece.length == 0) {
        return STATUS_OK;
    }
    enum status status = text_status(&import->piece, "a piece of the file", error);
    if (status != STATUS_OK) {
        return status;
    }
    struct http_call call = {.as = &import->as,
                             .base = import->url,
                             .method = "POST",
                             .target = "/api/v1/import",
                             .content_type = "text/csv",
                             .body = import->piece.bytes,
                             .body_length = import->piece.length,
                             .timeout_ms = 120000};
    status = http_client_call(&call, &reply, error);
    if (status == STATUS_OK && reply.status != 422) {
        status = http_reply_check(&reply, error);
    }
    if (status == STATUS_OK) {
        import->accepted += answer_count(reply.body, "accepted");
        import->updated += answer_count(reply.body, "updated");
        import->rejected += answer_count(reply.body, "rejected");
    }
    http_reply_release(&reply);
    text_clear(&import->piece);
    return status;
}

static enum status add_to_batch(struct import *import, const char *text, size_t length,
                                const struct csv_series *series, struct error *error)
{
    uint32_t number = 0;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < series->count; i++) {
        bool fresh = import->batch == NULL;
        if (fresh) {
            status = write_batch_new(import->store.storage, BATCH_POINTS, &import->batch, error);
            if (status != STATUS_OK) {
                return status;
            }
        }
        if (fresh || i == 0) {
            status = write_batch_series(import->batch, text, length, &number, error);
        }
        if (status == STATUS_OK) {
            status = write_batch_point(import->batch, number, series->points[i], error);
        }
        if (status == STATUS_OK && write_batch_points(import->batch) >= BATCH_POINTS) {
            status = flush_batch(import, error);
        }
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static void add_csv_field(struct text *out, const char *field, size_t length)
{
    text_add_char(out, '"');
    for (size_t i = 0; i < length; i++) {
        if (field[i] == '"') {
            text_add_char(out, '"');
        }
        text_add_char(out, field[i]);
    }
    text_add_char(out, '"');
}

static enum status add_to_piece(struct import *import, const struct csv_series *series,
                                struct error *error)
{
    for (size_t i = 0; i < series->count; i++) {
        struct text *piece = &import->piece;
        if (piece->length == 0) {
            text_add_string(piece, "series_id,timestamp,value\n");
        }
        add_csv_field(piece, series->id, strlen(series->id));
        text_add_char(piece, ',');
        text_add_time(piece, series->points[i].time_ms);
        text_add_char(piece, ',');
        if (!isnan(series->points[i].value)) {
            text_add_double(piece, series->points[i].value);
        }
        text_add_char(piece, '\n');
        if (piece->length > PIECE_BYTES) {
            enum status status = flush_piece(import, error);
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    return STATUS_OK;
}

static void report_rejected(const char *path, const struct csv_data *data)
{
    const size_t first = ARRAY_COUNT(data->first);
    for (size_t i = 0; i < first && i < data->rejected; i++) {
        fprintf(stderr, "forecastd: %s: %s\n", path, data->first[i].text);
    }
    if (data->rejected > first) {
        fprintf(stderr, "forecastd: %s: %llu further rows refused\n", path,
                (unsigned long long)(data->rejected - first));
    }
}

static enum status import_file(struct import *import, const char *path, struct error *error)
{
    char text[SERIES_TEXT_MAX];
    char *bytes = NULL;
    size_t length = 0;
    struct csv_data data = {0};
    struct progress progress;
    enum status status = command_read_file(path, FILE_BYTES_MAX, &bytes, &length, error);
    if (status != STATUS_OK) {
        return status;
    }
    status = csv_read(bytes, length, INFLATED_BYTES_MAX, &data, error);
    mem_free(bytes);
    if (status != STATUS_OK) {
        return error->status == STATUS_OK ? status : error_wrap(error, "%s", path);
    }
    report_rejected(path, &data);
    import->rejected += data.rejected;
    progress_begin(&progress, path);
    for (size_t i = 0; i < data.count && status == STATUS_OK; i++) {
        char note[80];
        size_t text_length = 0;
        snprintf(note, sizeof(note), "series %zu of %zu, %llu points", i + 1, data.count,
                 (unsigned long long)import->accepted);
        progress_show(&progress, (double)i / (double)data.count, note);
        if (import->url != NULL) {
            status = add_to_piece(import, &data.series[i], error);
        } else {
            status = series_text(data.series[i].id, text, &text_length, error);
            if (status == STATUS_OK) {
                status = add_to_batch(import, text, text_length, &data.series[i], error);
            }
        }
    }
    if (status == STATUS_OK) {
        status = import->url != NULL ? flush_piece(import, error) : flush_batch(import, error);
    }
    progress_end(&progress);
    csv_free(&data);
    return status;
}

static int run_import(struct import *import, const struct config_sources *sources,
                      const char *const *files, size_t file_count)
{
    struct error error = {0};
    enum status status = STATUS_OK;
    text_init(&import->piece, PIECE_BYTES + 64 * 1024);
    if (import->url == NULL) {
        status = command_store_open(&import->store, sources, STORE_WRITE, &error);
    }
    bool opened = status == STATUS_OK;
    for (size_t i = 0; i < file_count && status == STATUS_OK; i++) {
        status = import_file(import, files[i], &error);
    }
    if (opened && import->url == NULL) {
        if (import->batch != NULL) {
            write_batch_free(import->batch);
        }
        if (status == STATUS_OK) {
            status = writer_compact(import->store.writer, &error);
        }
        command_store_close(&import->store);
    }
    text_release(&import->piece);
    if (opened) {
        fprintf(stderr, "%llu points stored, %llu of them updates, %llu refused\n",
                (unsigned long long)import->accepted, (unsigned long long)import->updated,
                (unsigned long long)import->rejected);
    }
    if (status != STATUS_OK) {
        return command_fail(&error);
    }
    return import->rejected > 0 ? EXIT_FAILED : EXIT_DONE;
}

int command_import(int argc, char **argv)
{
    static const struct command_option options[] = {
        COMMAND_STORE_OPTIONS,
        {"url", "URL", "Send the points to the daemon there instead."},
        HTTP_CLIENT_OPTIONS,
    };
    struct command_line line = {
        .command = "import",
        .synopsis = "[--data DIR | --url URL] FILE...",
        .about = "Stores the points of CSV files (forms wide, long and rows; plain or gzip; - is "
                 "standard\n"
                 "input). Storing a file again changes nothing.",
        .options = options,
        .option_count = ARRAY_COUNT(options),
        .argc = argc,
        .argv = argv,
    };
    static struct import import;
    const char *files[256];
    size_t file_count = 0;
    struct config_sources sources = {0};
    for (int word; (word = command_next(&line)) != WORD_END;) {
        if (word == WORD_STOP) {
            return command_exit(&line);
        }
        if (word == WORD_PLAIN) {
            if (file_count == ARRAY_COUNT(files)) {
                return command_usage(&line, "too many files");
            }
            files[file_count++] = line.value;
        } else if (strcmp(options[word].name, "url") == 0) {
            import.url = line.value;
        } else if (http_credentials_take(&import.as, options[word].name, line.value)) {
            continue;
        } else if (!command_source(&sources, options[word].name, line.value)) {
            return command_usage(&line, "too many --set");
        }
    }
    if (file_count == 0) {
        return command_usage(&line, "no file is named");
    }
    return run_import(&import, &sources, files, file_count);
}
