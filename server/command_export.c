/* forecastd export: stored points as long CSV; forecastd check: is everything sound.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/command.h"

#include "base/check.h"
#include "base/clock.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

extern char **environ;

#define IDS       256
#define POINTS    8192
#define LINES_MAX ((size_t)4 << 20)

struct export
{
    struct command_store store;
    struct storage_reader *reader;
    struct selector *selector; /* NULL: all */
    int64_t start_ms, end_ms;
    struct text out;
};

static enum status write_out(struct text *out, struct error *error)
{
    enum status status = text_status(out, "the output", error);
    if (status == STATUS_OK && fwrite(out->bytes, 1, out->length, stdout) != out->length) {
        status = error_set(error, STATUS_IO, "could not write to standard output");
    }
    text_clear(out);
    return status;
}

static void add_field(struct text *out, const char *field, size_t length)
{
    if (memchr(field, '"', length) == NULL && memchr(field, ',', length) == NULL) {
        text_add(out, field, length);
        return;
    }
    text_add_char(out, '"');
    for (size_t i = 0; i < length; i++) {
        if (field[i] == '"') {
            text_add_char(out, '"');
        }
        text_add_char(out, field[i]);
    }
    text_add_char(out, '"');
}

/* One series, in slices so that no read transaction lives long. */
static enum status export_series(struct export *export, uint32_t id, struct error *error)
{
    static struct point points[POINTS];
    static char text[SERIES_TEXT_MAX];
    size_t length = storage_series_text(export->store.storage, id, text);
    int64_t from_ms = export->start_ms;
    for (size_t count = POINTS; count == POINTS && length > 0;) {
        enum status status = storage_read(export->reader, id, from_ms, export->end_ms, points,
                                          POINTS, &count, error);
        for (size_t i = 0; status == STATUS_OK && i < count; i++) {
            add_field(&export->out, text, length);
            text_add_char(&export->out, ',');
            text_add_time(&export->out, points[i].time_ms);
            text_add_char(&export->out, ',');
            if (!isnan(points[i].value)) {
                text_add_double(&export->out, points[i].value);
            }
            text_add_char(&export->out, '\n');
            if (export->out.length > LINES_MAX / 2) {
                status = write_out(&export->out, error);
            }
        }
        if (status != STATUS_OK) {
            return status;
        }
        from_ms = count > 0 ? points[count - 1].time_ms + 1 : from_ms;
    }
    return STATUS_OK;
}

static enum status export_all(struct export *export, struct error *error)
{
    uint32_t ids[IDS], after = 0;
    enum status status = storage_reader_open(export->store.storage, &export->reader, error);
    text_add_string(&export->out, "series_id,timestamp,value\n");
    for (size_t count = 1; status == STATUS_OK && count > 0;) {
        count = storage_series_list(export->store.storage, export->selector, after, ids, IDS);
        for (size_t i = 0; i < count && status == STATUS_OK; i++) {
            status = export_series(export, ids[i], error);
            after = ids[i];
        }
    }
    if (status == STATUS_OK) {
        status = write_out(&export->out, error);
    }
    if (export->reader != NULL) {
        storage_reader_close(export->reader);
    }
    return status;
}

static bool read_time(const struct command_line *line, const char *name, int64_t *out)
{
    struct error error = {0};
    if (clock_parse(line->value, strlen(line->value), 0, out, &error) != STATUS_OK) {
        command_usage(line, "option '--%s': %s", name, error.text);
        return false;
    }
    return true;
}

int command_export(int argc, char **argv)
{
    static const struct command_option options[] = {
        COMMAND_STORE_OPTIONS,
        {"series", "S", "A series or a selector; default: all."},
        {"start", "TIME", "From this time on (RFC 3339)."},
        {"end", "TIME", "Up to, not including, this time."},
    };
    struct command_line line = {
        .command = "export",
        .synopsis = "[--data DIR] [--series S] [--start TIME] [--end TIME]",
        .about = "Prints stored points as CSV: series_id,timestamp,value.",
        .options = options,
        .option_count = ARRAY_COUNT(options),
        .argc = argc,
        .argv = argv,
    };
    static struct export export;
    struct config_sources sources = {0};
    struct error error = {0};
    const char *series = NULL;
    export.start_ms = INT64_MIN;
    export.end_ms = INT64_MAX;
    for (int word; (word = command_next(&line)) != WORD_END;) {
        if (word == WORD_STOP) {
            return command_exit(&line);
        }
        if (word == WORD_PLAIN) {
            return command_usage(&line, "unexpected argument '%s'", line.value);
        }
        const char *name = options[word].name;
        if (strcmp(name, "series") == 0) {
            series = line.value;
        } else if (strcmp(name, "start") == 0 || strcmp(name, "end") == 0) {
            if (!read_time(&line, name, name[0] == 's' ? &export.start_ms : &export.end_ms)) {
                return EXIT_USAGE;
            }
        } else if (command_take_source(&line, &sources, name) != EXIT_DONE) {
            return EXIT_USAGE;
        }
    }
    enum status status = STATUS_OK;
    text_init(&export.out, LINES_MAX);
    if (series != NULL) {
        status = selector_parse(series, strlen(series), &export.selector, &error);
    }
    if (status == STATUS_OK) {
        status = command_store_open(&export.store, &sources, STORE_READ, &error);
        uint32_t first;
        if (status == STATUS_OK && export.selector != NULL &&
            storage_series_list(export.store.storage, export.selector, 0, &first, 1) == 0) {
            status = error_set(&error, STATUS_NOT_FOUND, "no series matches '%s'", series);
            command_store_close(&export.store);
        } else if (status == STATUS_OK) {
            status = export_all(&export, &error);
            command_store_close(&export.store);
        }
    }
    if (export.selector != NULL) {
        selector_free(export.selector);
    }
    text_release(&export.out);
    if (status != STATUS_OK) {
        return command_fail(&error);
    }
    return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}

/* ---------------------------------------------------------------- check */

static void print_finding(void *context, const char *line)
{
    (void)context;
    puts(line);
}

/* Want of memory and a disk that fails say nothing about what was not looked at. */
static const char *verdict(enum status points, enum status files)
{
    if (points == STATUS_CORRUPT || files == STATUS_CORRUPT) {
        return "damaged";
    }
    return points == STATUS_OK && files == STATUS_OK ? "sound" : "not checked to the end";
}

int command_check(int argc, char **argv)
{
    static const struct command_option options[] = {COMMAND_STORE_OPTIONS};
    struct command_line line = {
        .command = "check",
        .synopsis = "[--data DIR]",
        .about = "Reads everything, verifies database, points and model files, and prints what is "
                 "wrong.\n"
                 "Nothing is changed.",
        .options = options,
        .option_count = ARRAY_COUNT(options),
        .argc = argc,
        .argv = argv,
    };
    struct config_sources sources = {0};
    static struct config config;
    struct command_store store;
    struct storage_stats stats;
    struct error error = {0};
    char directory[600];
    size_t checked = 0;
    for (int word; (word = command_next(&line)) != WORD_END;) {
        if (word == WORD_STOP) {
            return command_exit(&line);
        }
        if (word == WORD_PLAIN) {
            return command_usage(&line, "unexpected argument '%s'", line.value);
        }
        if (command_take_source(&line, &sources, options[word].name) != EXIT_DONE) {
            return EXIT_USAGE;
        }
    }
    sources.environment = environ;
    if (config_load(&sources, &config, &error) != STATUS_OK) {
        return command_fail(&error);
    }
    /* The files first: a store that cannot be opened has the more to say. */
    enum status points =
        storage_check_folder(config.path, config.retention_ms, print_finding, NULL, &error);
    if (points == STATUS_NOT_FOUND) {
        return command_fail(&error);
    }
    if (points != STATUS_OK) {
        command_fail(&error);
    }
    if (command_store_open(&store, &sources, STORE_READ, &error) != STATUS_OK) {
        return command_fail(&error);
    }
    snprintf(directory, sizeof(directory), "%s/models", store.config.path);
    storage_stats(store.storage, &stats);
    enum status files =
        catalogue_check(store.storage, directory, print_finding, NULL, &checked, &error);
    command_store_close(&store);
    fprintf(stderr, "%u series, %llu points, %zu models: %s\n", stats.series,
            (unsigned long long)stats.points, checked, verdict(points, files));
    if (files != STATUS_OK) {
        command_fail(&error);
    }
    return points == STATUS_OK && files == STATUS_OK ? EXIT_DONE : EXIT_FAILED;
}
