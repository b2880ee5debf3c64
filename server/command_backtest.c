/* forecastd backtest: train on a file, forecast its held-back windows, print the scores.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/command.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "server/backtest_cut.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define FILE_BYTES_MAX     ((size_t)1 << 30)
#define INFLATED_BYTES_MAX ((size_t)4 << 30)

extern char **environ;

struct backtest {
    const char *file, *forecasts;
    int64_t horizon, windows, season, seconds, steps, seed;
    bool m4, json, has_end;
    int64_t end_ms;
    struct config_sources sources;
    struct config config;
    FILE *out; /* of forecasts; NULL = none */
    bool write_failed;
};

static const struct command_option options[] = {
    {"horizon", "STEPS", "Steps of a forecast; required."},
    {"windows", "W",
     "Windows held back (default 1); 0 trains on all and forecasts beyond the end."},
    {"season", "S", "Season for MASE, in steps; default: detected."},
    {"backbone", "NAME", "The network; the same as --set model.backbone=NAME."},
    {"seconds", "N", "Train for N seconds; default: train.seconds."},
    {"steps", "N", "Train N steps, whatever the time: results can be repeated."},
    {"seed", "N", "Seed of the random numbers; default: train.seed."},
    {"end", "TIME", "Drop what is at or after this time first (RFC 3339)."},
    {"m4", NULL, "OWA too, as the M4 competition defines it."},
    {"forecasts", "OUT.csv",
     "Write the forecasts: series_id,step,mean,q0.025,... (- = standard output)."},
    {"json", NULL, "Print one JSON object."},
    {"config", "FILE", "Read this configuration file."},
    {"set", "KEY=VALUE", "Set one option of the configuration; may repeat."},
};

/* ---------------------------------------------------------------- output */

static void write_forecast(void *context, const char *id, size_t window,
                           const struct forecast *forecast)
{
    struct backtest *backtest = context;
    struct text line;
    text_init(&line, (size_t)8 << 20);
    for (size_t step = 0; step < forecast->horizon; step++) {
        bool quote = strpbrk(id, ",\"") != NULL;
        if (quote) {
            text_add_char(&line, '"');
        }
        for (const char *c = id; *c != '\0'; c++) {
            text_add_char(&line, *c);
            if (*c == '"') {
                text_add_char(&line, '"');
            }
        }
        if (backtest->windows > 1) {
            text_add_format(&line, "#%zu", window);
        }
        if (quote) {
            text_add_char(&line, '"');
        }
        text_add_format(&line, ",%zu,%.9g", step + 1, (double)forecast->mean[step]);
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            text_add_format(&line, ",%.9g",
                            (double)forecast->quantiles[q * forecast->horizon + step]);
        }
        text_add_char(&line, '\n');
    }
    backtest->write_failed = backtest->write_failed || line.failed != STATUS_OK ||
                             fwrite(line.bytes, 1, line.length, backtest->out) != line.length;
    text_release(&line);
}

static enum status open_forecasts(struct backtest *backtest, struct error *error)
{
    if (backtest->forecasts == NULL && backtest->windows > 0) {
        return STATUS_OK;
    }
    bool standard = backtest->forecasts == NULL || strcmp(backtest->forecasts, "-") == 0;
    backtest->out = standard ? stdout : fopen(backtest->forecasts, "we");
    if (backtest->out == NULL) {
        return error_set(error, STATUS_IO, "could not open '%s': %s", backtest->forecasts,
                         strerror(errno));
    }
    fputs("series_id,step,mean", backtest->out);
    for (size_t q = 0; q < QUANTILE_COUNT; q++) {
        fprintf(backtest->out, ",q%g", quantile_levels[q]);
    }
    fputc('\n', backtest->out);
    return STATUS_OK;
}

static enum status close_forecasts(struct backtest *backtest, struct error *error)
{
    if (backtest->out == NULL) {
        return STATUS_OK;
    }
    bool failed = fflush(backtest->out) != 0 || backtest->write_failed;
    if (backtest->out != stdout) {
        failed = fclose(backtest->out) != 0 || failed;
    }
    backtest->out = NULL;
    return failed ? error_set(error, STATUS_IO, "could not write the forecasts") : STATUS_OK;
}

static void add_metric(struct text *json, const char *name, double value)
{
    text_add_format(json, ",\"%s\":", name);
    text_add_double(json, value);
}

static void add_metrics(struct text *json, const char *model, const struct metrics *metrics,
                        bool m4)
{
    text_add_format(json, "\"%s\":{\"series\":%llu,\"points\":%llu", model,
                    (unsigned long long)metrics->series, (unsigned long long)metrics->points);
    add_metric(json, "sMAPE", metrics->smape);
    add_metric(json, "ND", metrics->nd);
    add_metric(json, "MASE", metrics->mase);
    text_add_format(json, ",\"series_without_MASE_scale\":%llu",
                    (unsigned long long)metrics->series_without_scale);
    add_metric(json, "rho0.025", metrics->rho_low);
    add_metric(json, "rho0.975", metrics->rho_high);
    for (int i = 0; i < 9; i++) {
        char name[16];
        snprintf(name, sizeof(name), "rho0.%d", i + 1);
        add_metric(json, name, metrics->rho[i]);
    }
    add_metric(json, "wQL", metrics->wql);
    add_metric(json, "cover80", metrics->cover80);
    add_metric(json, "width80", metrics->width80);
    add_metric(json, "quantile_crossings", metrics->quantile_crossings);
    add_metric(json, "cover95", metrics->cover95);
    add_metric(json, "MSIS95", metrics->msis95);
    text_add_format(json, ",\"missing_actuals\":%llu",
                    (unsigned long long)metrics->missing_actuals);
    if (m4) {
        add_metric(json, "Naive2_sMAPE", metrics->naive2_smape);
        add_metric(json, "Naive2_MASE", metrics->naive2_mase);
        add_metric(json, "OWA", metrics->owa);
    }
    text_add_char(json, '}');
}

static void print_json(const struct backtest *backtest, const struct backtest_result *result,
                       size_t left_out)
{
    struct rusage usage = {0};
    struct text json;
    getrusage(RUSAGE_SELF, &usage);
    text_init(&json, (size_t)1 << 16);
    text_add_format(&json,
                    "{\"series\":%llu,\"series_left_out\":%llu,\"horizon\":%lld,\"windows\":%lld,",
                    (unsigned long long)result->series_used,
                    (unsigned long long)(result->series_left_out + left_out),
                    (long long)backtest->horizon, (long long)backtest->windows);
    text_add_format(&json, "\"season\":%u,\"seed\":%lld,\"backbone\":\"%s\"", result->season,
                    (long long)backtest->seed, backtest->config.backbone);
    add_metric(&json, "train_seconds", result->train_seconds);
    add_metric(&json, "forecast_seconds", result->forecast_seconds);
    text_add_format(&json, ",\"peak_bytes\":%zu,\"peak_resident_bytes\":%lld,\"parameters\":%llu",
                    result->peak_bytes, (long long)usage.ru_maxrss * 1024,
                    (unsigned long long)result->parameters);
    if (backtest->windows > 0) {
        text_add_string(&json, ",\"models\":{");
        add_metrics(&json, "champion", &result->champion, backtest->m4);
        text_add_char(&json, ',');
        add_metrics(&json, "seasonal_naive", &result->seasonal_naive, backtest->m4);
        text_add_char(&json, '}');
    }
    text_add_string(&json, "}\n");
    fwrite(json.bytes, 1, json.length, stdout);
    text_release(&json);
}

static void print_row(FILE *out, const char *name, double champion, double baseline)
{
    fprintf(out, "%-10s %12.5f %12.5f\n", name, champion, baseline);
}

static void print_table(const struct backtest *backtest, const struct backtest_result *result,
                        size_t left_out)
{
    const struct metrics *a = &result->champion, *b = &result->seasonal_naive;
    FILE *out = backtest->windows > 0 ? stdout : stderr;
    fprintf(out, "series %llu (%llu left out), horizon %lld, windows %lld, season %u\n",
            (unsigned long long)result->series_used,
            (unsigned long long)(result->series_left_out + left_out), (long long)backtest->horizon,
            (long long)backtest->windows, result->season);
    fprintf(out, "training %.1f s, forecasting %.2f s, %llu parameters, peak %.1f MB\n",
            result->train_seconds, result->forecast_seconds, (unsigned long long)result->parameters,
            (double)result->peak_bytes / 1e6);
    if (backtest->windows == 0) {
        return;
    }
    fprintf(out, "\n%-10s %12s %12s\n", "", backtest->config.backbone, "seas. naive");
    print_row(out, "MASE", a->mase, b->mase);
    print_row(out, "sMAPE", a->smape, b->smape);
    if (backtest->m4) {
        print_row(out, "OWA", a->owa, b->owa);
    }
    print_row(out, "ND", a->nd, b->nd);
    print_row(out, "wQL", a->wql, b->wql);
    print_row(out, "rho0.5", a->rho[4], b->rho[4]);
    print_row(out, "rho0.9", a->rho[8], b->rho[8]);
    print_row(out, "cover80", a->cover80, b->cover80);
    print_row(out, "cover95", a->cover95, b->cover95);
    print_row(out, "MSIS95", a->msis95, b->msis95);
}

/* ---------------------------------------------------------------- the run */

static enum status read_series(struct backtest *backtest, struct csv_data *csv,
                               struct cut_data *cut, struct error *error)
{
    char *bytes = NULL;
    size_t length = 0;
    enum status status = command_read_file(backtest->file, FILE_BYTES_MAX, &bytes, &length, error);
    if (status != STATUS_OK) {
        return status;
    }
    status = csv_read(bytes, length, INFLATED_BYTES_MAX, csv, error);
    mem_free(bytes);
    if (status != STATUS_OK) {
        return error_wrap(error, "%s", backtest->file);
    }
    if (csv->rejected > 0) {
        fprintf(stderr, "forecastd: %s: %llu rows refused, the first: %s\n", backtest->file,
                (unsigned long long)csv->rejected, csv->first[0].text);
    }
    struct cut_options rules = {.horizon = (size_t)backtest->horizon,
                                .windows = (size_t)backtest->windows,
                                .season = (uint32_t)backtest->season,
                                .has_end = backtest->has_end,
                                .end_ms = backtest->end_ms};
    status = cut_series(csv, &rules, cut, error);
    if (status != STATUS_OK) {
        csv_free(csv);
    }
    return status;
}

static enum status run(struct backtest *backtest, struct error *error)
{
    struct csv_data csv = {0};
    struct cut_data cut = {0};
    struct backtest_result result = {0};
    struct progress progress;
    enum status status = read_series(backtest, &csv, &cut, error);
    if (status != STATUS_OK) {
        return status;
    }
    status = open_forecasts(backtest, error);
    if (status != STATUS_OK) {
        goto release;
    }
    struct backtest_request request = {
        .series = cut.series,
        .series_count = cut.count,
        .horizon = (size_t)backtest->horizon,
        .windows = (size_t)backtest->windows,
        .season = (uint32_t)backtest->season,
        .m4 = backtest->m4,
        .train = {.seconds = backtest->seconds > 0 ? (double)backtest->seconds
                             : backtest->steps > 0 ? 0
                                                   : (double)backtest->config.seconds_ms / 1e3,
                  .steps = (uint64_t)backtest->steps,
                  .seed = (uint64_t)backtest->seed,
                  .lanes = (unsigned)backtest->config.lanes,
                  .memory_max = (size_t)backtest->config.memory,
                  .report = progress_report,
                  .report_context = &progress},
        .visit = backtest->out != NULL ? write_forecast : NULL,
        .visit_context = backtest,
    };
    config_model(&backtest->config, &request.train.config);
    progress_begin(&progress, "backtest");
    status = backtest_run(&request, &result, error);
    progress_end(&progress);
    if (status == STATUS_OK) {
        status = close_forecasts(backtest, error);
    }
    if (status != STATUS_OK) {
        goto release;
    }
    if (backtest->season == 0) {
        fprintf(stderr, "season %u (detected)\n", result.season);
    }
    if (backtest->json) {
        print_json(backtest, &result, cut.left_out);
    } else {
        print_table(backtest, &result, cut.left_out);
    }

release:
    snapshot_release(result.snapshot);
    cut_free(&cut);
    csv_free(&csv);
    return status;
}

/* One option; EXIT_DONE or EXIT_USAGE. */
static int take_option(struct backtest *backtest, const struct command_line *line, const char *name)
{
    static char backbone[64];
    const char *value = line->value;
    struct error error = {0};
    const struct {
        const char *name;
        int64_t minimum, maximum, *out;
    } numbers[] = {
        {"horizon", 1, 1024, &backtest->horizon}, {"windows", 0, 1000, &backtest->windows},
        {"season", 1, 100000, &backtest->season}, {"seconds", 1, 604800, &backtest->seconds},
        {"steps", 1, 10000000, &backtest->steps}, {"seed", 0, INT64_MAX, &backtest->seed},
    };
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            return command_integer(line, name, value, numbers[i].minimum, numbers[i].maximum,
                                   numbers[i].out)
                       ? EXIT_DONE
                       : EXIT_USAGE;
        }
    }
    if (strcmp(name, "m4") == 0) {
        backtest->m4 = true;
    } else if (strcmp(name, "json") == 0) {
        backtest->json = true;
    } else if (strcmp(name, "forecasts") == 0) {
        backtest->forecasts = value;
    } else if (strcmp(name, "backbone") == 0) {
        snprintf(backbone, sizeof(backbone), "model.backbone=%s", value);
        command_source(&backtest->sources, "set", backbone);
    } else if (strcmp(name, "end") == 0) {
        if (clock_parse(value, strlen(value), 0, &backtest->end_ms, &error) != STATUS_OK) {
            return command_usage(line, "option '--end': %s", error.text);
        }
        backtest->has_end = true;
    } else if (!command_source(&backtest->sources, name, value)) {
        return command_usage(line, "too many --set");
    }
    return EXIT_DONE;
}

int command_backtest(int argc, char **argv)
{
    struct command_line line = {
        .command = "backtest",
        .synopsis = "FILE --horizon STEPS [--windows W] [--season S] [--seconds N | --steps N] ...",
        .about = "Holds back the last W x STEPS steps of every series of a CSV file (forms wide, "
                 "long and\n"
                 "rows; plain or gzip), trains on what is before them, forecasts window after "
                 "window and\n"
                 "compares with the seasonal naive. With W = 0 it forecasts beyond the end.",
        .options = options,
        .option_count = ARRAY_COUNT(options),
        .argc = argc,
        .argv = argv,
    };
    struct backtest backtest = {.windows = 1, .seed = -1, .sources = {.environment = environ}};
    struct error error = {0};
    for (int word; (word = command_next(&line)) != WORD_END;) {
        if (word == WORD_STOP) {
            return command_exit(&line);
        }
        if (word == WORD_PLAIN && backtest.file != NULL) {
            return command_usage(&line, "unexpected argument '%s'", line.value);
        }
        if (word == WORD_PLAIN) {
            backtest.file = line.value;
        } else if (take_option(&backtest, &line, options[word].name) != EXIT_DONE) {
            return EXIT_USAGE;
        }
    }
    if (backtest.file == NULL) {
        return command_usage(&line, "no file is named");
    }
    if (backtest.horizon == 0) {
        return command_usage(&line, "option '--horizon' is required");
    }
    if (backtest.seconds > 0 && backtest.steps > 0) {
        return command_usage(&line, "--seconds and --steps exclude each other");
    }
    if (backtest.windows == 0 && backtest.forecasts == NULL && backtest.json) {
        return command_usage(&line, "--json with --windows 0 needs --forecasts OUT.csv");
    }
    char horizon[48];
    snprintf(horizon, sizeof(horizon), "forecast.horizon=%lld", (long long)backtest.horizon);
    if (!command_source(&backtest.sources, "set", horizon)) {
        return command_usage(&line, "too many --set");
    }
    if (config_load(&backtest.sources, &backtest.config, &error) != STATUS_OK) {
        return command_fail(&error);
    }
    if (backtest.seed < 0) {
        backtest.seed = backtest.config.seed;
    }
    return run(&backtest, &error) == STATUS_OK ? EXIT_DONE : command_fail(&error);
}
