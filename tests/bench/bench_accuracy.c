/* Accuracy of the default recipe on a data file: trains, forecasts held-back windows, prints.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: bench_accuracy FILE HORIZON WINDOWS SEASON SECONDS [steps=N] [seed=N] [lanes=N] [m4]
 *                       [end=TIME] [head=NAME] [options=TEXT] [save=PATH] [columns=N]
 * FILE is CSV (plain or gzip): rows (series_id,start,step_seconds,values) or wide (time, a column a
 * series). Without arguments it prints its usage and succeeds.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <zlib.h>

#define SERIES_MAX     4096
#define LINE_MAX_BYTES (1u << 20)

struct table {
    struct backtest_series *series;
    size_t count;
    double *values[SERIES_MAX];
    size_t capacity[SERIES_MAX];
};

static void *must(void *pointer)
{
    if (pointer == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return pointer;
}

static int64_t parse_time(const char *text)
{
    int64_t time_ms = 0;
    struct error error = {0};
    if (clock_parse(text, strlen(text), 0, &time_ms, &error) != STATUS_OK) {
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    return time_ms;
}

static void append(struct table *table, size_t index, double value)
{
    struct model_series *series = &table->series[index].series;
    if (series->count == table->capacity[index]) {
        table->capacity[index] = table->capacity[index] * 2 + 1024;
        table->values[index] =
            must(mem_resize(table->values[index], table->capacity[index], sizeof(double)));
        series->values = table->values[index];
    }
    table->values[index][series->count] = value;
    series->count++;
}

static size_t add_series(struct table *table, const char *id)
{
    size_t index = table->count;
    if (index == SERIES_MAX) {
        fprintf(stderr, "too many series\n");
        exit(1);
    }
    table->count++;
    table->series[index] = (struct backtest_series){
        .id = must(mem_copy_text(id, strlen(id))),
        .series = {.minimum = -INFINITY, .maximum = INFINITY},
    };
    return index;
}

/* series_id,start,step_seconds,values */
static void read_rows_line(struct table *table, char *line)
{
    char *rest = line;
    const char *id = strsep(&rest, ",");
    const char *start = strsep(&rest, ",");
    const char *step = strsep(&rest, ",");
    size_t index = add_series(table, id);
    table->series[index].series.start_ms = parse_time(start);
    table->series[index].series.step_ms = atoll(step) * 1000;
    for (char *text; (text = strsep(&rest, " ")) != NULL;) {
        if (*text != '\0') {
            append(table, index, strtod(text, NULL));
        }
    }
}

static void read_wide_line(struct table *table, char *line, int64_t *first_ms, int64_t *step_ms,
                           size_t row, int64_t end_ms)
{
    char *rest = line;
    int64_t time_ms = parse_time(strsep(&rest, ","));
    if (row == 0) {
        *first_ms = time_ms;
    } else if (row == 1) {
        *step_ms = time_ms - *first_ms;
    }
    if (time_ms >= end_ms) {
        return;
    }
    for (size_t i = 0; i < table->count; i++) {
        const char *cell = strsep(&rest, ",");
        append(table, i, cell == NULL || *cell == '\0' ? (double)NAN : strtod(cell, NULL));
    }
}

static void read_table(struct table *table, const char *path, int64_t end_ms)
{
    gzFile file = gzopen(path, "rb");
    char *line = must(mem_alloc(LINE_MAX_BYTES));
    if (file == NULL || gzgets(file, line, (int)LINE_MAX_BYTES) == NULL) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    line[strcspn(line, "\r\n")] = '\0';
    bool rows = strncmp(line, "series_id,start", 15) == 0;
    char *rest = line;
    (void)strsep(&rest, ",");
    for (char *name; !rows && (name = strsep(&rest, ",")) != NULL;) {
        (void)add_series(table, name);
    }
    int64_t first_ms = 0;
    int64_t step_ms = 0;
    for (size_t row = 0; gzgets(file, line, (int)LINE_MAX_BYTES) != NULL; row++) {
        line[strcspn(line, "\r\n")] = '\0';
        if (rows) {
            read_rows_line(table, line);
        } else {
            read_wide_line(table, line, &first_ms, &step_ms, row, end_ms);
        }
    }
    for (size_t i = 0; i < table->count && !rows; i++) {
        table->series[i].series.start_ms = first_ms;
        table->series[i].series.step_ms = step_ms;
    }
    gzclose(file);
    mem_free(line);
}

static void report(void *context, const struct train_progress *progress)
{
    double *last = context;
    if (progress->fraction - *last >= 0.05 || progress->fraction >= 1.0) {
        *last = progress->fraction;
        fprintf(stderr, "%5.1f %%  %-14s step %llu loss %.4f\n", 100.0 * progress->fraction,
                progress->phase, (unsigned long long)progress->step, progress->loss);
    }
}

static const char *option(int count, char **arguments, const char *name, const char *preset)
{
    size_t length = strlen(name);
    for (int i = 6; i < count; i++) {
        if (strncmp(arguments[i], name, length) == 0 &&
            (arguments[i][length] == '=' || arguments[i][length] == '\0')) {
            return arguments[i] + length + (arguments[i][length] == '=' ? 1 : 0);
        }
    }
    return preset;
}

static void print_metrics(const char *name, const struct metrics *metrics)
{
    printf("%-14s OWA %.4f MASE %.4f sMAPE %.3f wQL %.5f rho0.5 %.5f rho0.9 %.5f cover80 %.3f "
           "cover95 %.3f MSIS %.2f ND %.5f\n",
           name, metrics->owa, metrics->mase, metrics->smape, metrics->wql, metrics->rho[4],
           metrics->rho[8], metrics->cover80, metrics->cover95, metrics->msis95, metrics->nd);
}

int main(int count, char **arguments)
{
    if (count < 6) {
        printf("usage: bench_accuracy FILE HORIZON WINDOWS SEASON SECONDS [name=value]...\n");
        return 0;
    }
    struct table *table = must(mem_zeroed(1, sizeof(*table)));
    table->series = must(mem_zeroed(SERIES_MAX, sizeof(table->series[0])));
    const char *end = option(count, arguments, "end", NULL);
    read_table(table, arguments[1], end != NULL ? parse_time(end) : INT64_MAX);
    double last = -1.0;
    struct backtest_request request = {
        .series = table->series,
        .series_count = table->count,
        .horizon = strtoull(arguments[2], NULL, 10),
        .windows = strtoull(arguments[3], NULL, 10),
        .season = (uint32_t)strtoul(arguments[4], NULL, 10),
        .m4 = option(count, arguments, "m4", NULL) != NULL,
        .train = {.seconds = strtod(arguments[5], NULL),
                  .steps = strtoull(option(count, arguments, "steps", "0"), NULL, 10),
                  .seed = strtoull(option(count, arguments, "seed", "1"), NULL, 10),
                  .lanes = (unsigned)atoi(option(count, arguments, "lanes", "0")),
                  .report = report,
                  .report_context = &last},
    };
    struct model_config *config = &request.train.config;
    snprintf(config->backbone, sizeof(config->backbone), "logsparse");
    snprintf(config->head, sizeof(config->head), "%s",
             option(count, arguments, "head", "quantile"));
    snprintf(config->options, sizeof(config->options), "%s",
             option(count, arguments, "options", ""));
    config->horizon = request.horizon;
    struct error error = {0};
    struct backtest_result result;
    if (backtest_run(&request, &result, &error) != STATUS_OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("series %llu (%llu left out) season %u parameters %llu steps %llu train %.1f s "
           "forecast %.2f s peak %.1f MB resident %.1f MB\n",
           (unsigned long long)result.series_used, (unsigned long long)result.series_left_out,
           result.season, (unsigned long long)result.parameters,
           (unsigned long long)snapshot_record(result.snapshot)->steps, result.train_seconds,
           result.forecast_seconds, (double)result.peak_bytes / 1e6, (double)usage.ru_maxrss / 1e3);
    print_metrics("champion", &result.champion);
    print_metrics("seasonal_naive", &result.seasonal_naive);
    struct text json;
    text_init(&json, 1u << 16);
    snapshot_describe(result.snapshot, &json);
    printf("%s\n", json.bytes);
    text_release(&json);
    const char *save = option(count, arguments, "save", NULL);
    if (save != NULL && snapshot_save(result.snapshot, save, &error) != STATUS_OK) {
        fprintf(stderr, "%s\n", error.text);
    }
    snapshot_release(result.snapshot);
    return 0;
}
