/* forecastd backtest: train on a file, forecast its held-back windows, print the scores.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/command.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "server/backtest_cut.h"
#include "server/backtest_plot.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define FILE_BYTES_MAX     ((size_t)1 << 30)
#define INFLATED_BYTES_MAX ((size_t)4 << 30)
#define REPORT_BYTES_MAX   ((size_t)64 << 20)

extern char **environ;

struct backtest {
    const char *file, *forecasts, *by_series, *plot, *plot_series;
    int64_t horizon, windows, season, seconds, steps, seed, seeds;
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
    {"seeds", "N", "Train N times, with seeds from --seed on: means and ranges of the figures."},
    {"end", "TIME", "Drop what is at or after this time first (RFC 3339)."},
    {"m4", NULL, "OWA too, as the M4 competition defines it."},
    {"forecasts", "OUT.csv",
     "Write the forecasts: series_id,step,mean,q0.025,... (- = standard output)."},
    {"by-series", "OUT.csv", "Write a row a series: the model beside its best baseline."},
    {"plot", "OUT.svg", "Draw forecasts against what came: worst, median and best series by MASE."},
    {"plot-series", "ID", "Draw this series only."},
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
        backtest_csv_id(&line, id, backtest->windows > 1 ? window : 0);
        text_add_format(&line, ",%zu,%.*g", step + 1, BACKTEST_DIGITS,
                        (double)forecast->mean[step]);
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            text_add_format(&line, ",%.*g", BACKTEST_DIGITS,
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

static enum status write_file(const char *path, const struct text *text, const char *what,
                              struct error *error)
{
    enum status status = text_status(text, what, error);
    if (status != STATUS_OK) {
        return status;
    }
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        return error_set(error, STATUS_IO, "could not open '%s': %s", path, strerror(errno));
    }
    bool written = fwrite(text->bytes, 1, text->length, file) == text->length;
    written = fclose(file) == 0 && written;
    return written ? STATUS_OK : error_set(error, STATUS_IO, "could not write '%s'", path);
}

static enum status write_rows(const struct backtest *backtest, const struct backtest_report *report,
                              struct error *error)
{
    struct text csv;
    text_init(&csv, REPORT_BYTES_MAX);
    backtest_report_rows(report, &csv);
    enum status status = write_file(backtest->by_series, &csv, "the table of series", error);
    text_release(&csv);
    return status;
}

static enum status write_plot(const struct backtest *backtest, const struct cut_data *cut,
                              const struct backtest_report *report, struct error *error)
{
    /* The file with its folder: sets of data are often told apart by that. */
    const char *name = backtest->file + strlen(backtest->file);
    for (int slashes = 0; name > backtest->file && slashes < 2; name--) {
        slashes += name[-1] == '/' ? 1 : 0;
        if (slashes == 2) {
            break;
        }
    }
    struct plot_request request = {
        .series = cut->series,
        .report = report,
        .name = name,
        .chosen = backtest->plot_series,
    };
    struct text svg;
    text_init(&svg, REPORT_BYTES_MAX);
    enum status status = backtest_plot(&request, &svg, error);
    if (status == STATUS_OK) {
        status = write_file(backtest->plot, &svg, "the picture", error);
    }
    text_release(&svg);
    return status;
}

static enum status print_json(const struct backtest_report *report, struct error *error)
{
    struct text json;
    text_init(&json, REPORT_BYTES_MAX);
    backtest_report_json(report, 0, &json);
    text_add_char(&json, '\n');
    enum status status = text_status(&json, "the figures", error);
    if (status == STATUS_OK) {
        fwrite(json.bytes, 1, json.length, stdout); /* a failure is seen at the flush */
    }
    text_release(&json);
    return status;
}

static enum status print_report(const struct backtest *backtest, const struct cut_data *cut,
                                const struct backtest_report *report, struct error *error)
{
    /* First, so that a file that cannot be written costs nobody the training. */
    enum status status = STATUS_OK;
    if (backtest->json) {
        status = print_json(report, error);
    } else {
        backtest_report_table(report, backtest->windows > 0 ? stdout : stderr);
    }
    if (status == STATUS_OK && (fflush(stdout) != 0 || ferror(stdout))) {
        status = error_set(error, STATUS_IO, "could not write the result: %s", strerror(errno));
    }
    if (status == STATUS_OK && backtest->by_series != NULL) {
        status = write_rows(backtest, report, error);
    }
    if (status == STATUS_OK && backtest->plot != NULL) {
        status = write_plot(backtest, cut, report, error);
    }
    return status;
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
    struct csv_options reading = {.inflated_max = INFLATED_BYTES_MAX};
    status = csv_read(bytes, length, &reading, csv, error);
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
    } else if (cut->counters > 0) {
        fprintf(stderr, "forecastd: %zu series are counters: tested is their rise per second\n",
                cut->counters);
    }
    return status;
}

/* One training and its forecasts. The request's visit is dropped after the first seed: files hold
 * that one's. */
static enum status run_seeds(struct backtest *backtest, struct backtest_request *request,
                             struct backtest_result *first, struct backtest_report *report,
                             struct error *error)
{
    struct progress progress;
    enum status status = STATUS_OK;
    request->train.report = progress_report;
    request->train.report_context = &progress;
    for (int64_t i = 0; i < backtest->seeds && status == STATUS_OK; i++) {
        char label[48];
        uint64_t seed = (uint64_t)backtest->seed + (uint64_t)i;
        struct backtest_result other = {0};
        struct backtest_result *result = i == 0 ? first : &other;
        snprintf(label, sizeof(label), backtest->seeds > 1 ? "backtest, seed %llu" : "backtest",
                 (unsigned long long)seed);
        request->train.seed = seed;
        progress_begin(&progress, label);
        status = backtest_run(request, result, error);
        progress_end(&progress);
        if (status == STATUS_OK) {
            backtest_report_add(report, result);
        }
        backtest_release(&other);
        request->visit = NULL;
    }
    return status;
}

static enum status run(struct backtest *backtest, struct error *error)
{
    struct csv_data csv = {0};
    struct cut_data cut = {0};
    struct backtest_result result = {0};
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
                  .lanes = (unsigned)backtest->config.lanes,
                  .memory_max = (size_t)backtest->config.memory},
        .visit = backtest->out != NULL ? write_forecast : NULL,
        .visit_context = backtest,
    };
    config_model(&backtest->config, &request.train.config);
    struct backtest_report report = {
        .backbone = backtest->config.backbone,
        .horizon = request.horizon,
        .windows = request.windows,
        .left_out = cut.left_out,
        .seed = (uint64_t)backtest->seed,
        .m4 = backtest->m4,
    };
    status = run_seeds(backtest, &request, &result, &report, error);
    if (status == STATUS_OK) {
        status = close_forecasts(backtest, error);
    }
    if (status == STATUS_OK && backtest->season == 0) {
        fprintf(stderr, "season %u (detected)\n", result.season);
    }
    if (status == STATUS_OK) {
        status = print_report(backtest, &cut, &report, error);
    }

release:
    backtest_release(&result);
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
        {"horizon", 1, 1024, &backtest->horizon},
        {"windows", 0, 1000, &backtest->windows},
        {"season", 1, 100000, &backtest->season},
        {"seconds", 1, 604800, &backtest->seconds},
        {"steps", 1, 10000000, &backtest->steps},
        {"seed", 1, SEED_MAX, &backtest->seed},
        {"seeds", 1, BACKTEST_SEEDS_MAX, &backtest->seeds},
    };
    const struct {
        const char *name;
        const char **out;
    } words[] = {
        {"forecasts", &backtest->forecasts},
        {"by-series", &backtest->by_series},
        {"plot", &backtest->plot},
        {"plot-series", &backtest->plot_series},
    };
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (strcmp(name, words[i].name) == 0) {
            *words[i].out = value;
            return EXIT_DONE;
        }
    }
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
    } else if (strcmp(name, "backbone") == 0) {
        if (backbone_check(value, &error) != STATUS_OK) {
            return command_usage(line, "option '--backbone': %s\n%s", error.text, error.hint);
        }
        snprintf(backbone, sizeof(backbone), "model.backbone=%s", value);
        command_source(&backtest->sources, "set", backbone);
    } else if (strcmp(name, "end") == 0) {
        if (clock_parse(value, strlen(value), 0, &backtest->end_ms, &error) != STATUS_OK) {
            return command_usage(line, "option '--end': %s", error.text);
        }
        backtest->has_end = true;
    } else {
        return command_take_source(line, &backtest->sources, name);
    }
    return EXIT_DONE;
}

/* What the options must be together; EXIT_DONE or EXIT_USAGE. */
static int check_usage(const struct backtest *backtest, const struct command_line *line)
{
    if (backtest->file == NULL) {
        return command_usage(line, "no file is named");
    }
    if (backtest->horizon == 0) {
        return command_usage(line, "option '--horizon' is required");
    }
    if (backtest->seconds > 0 && backtest->steps > 0) {
        return command_usage(line, "--seconds and --steps exclude each other");
    }
    if (backtest->windows == 0 && backtest->forecasts == NULL && backtest->json) {
        return command_usage(line, "--json with --windows 0 needs --forecasts OUT.csv");
    }
    bool evaluates = backtest->by_series != NULL || backtest->plot != NULL || backtest->seeds > 1;
    if (backtest->windows == 0 && evaluates) {
        return command_usage(line,
                             "--windows 0 has no actual values for --by-series, --plot or --seeds");
    }
    if (backtest->plot_series != NULL && backtest->plot == NULL) {
        return command_usage(line, "--plot-series needs --plot OUT.svg");
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
                 "compares with the baselines. With W = 0 it forecasts beyond the end.",
        .options = options,
        .option_count = ARRAY_COUNT(options),
        .argc = argc,
        .argv = argv,
    };
    struct backtest backtest = {.windows = 1, .seeds = 1, .sources = {.environment = environ}};
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
    if (check_usage(&backtest, &line) != EXIT_DONE) {
        return EXIT_USAGE;
    }
    char horizon[48];
    snprintf(horizon, sizeof(horizon), "forecast.horizon=%lld", (long long)backtest.horizon);
    if (!command_source(&backtest.sources, "set", horizon)) {
        return command_usage(&line, "too many --set");
    }
    if (config_load(&backtest.sources, &backtest.config, &error) != STATUS_OK) {
        return command_fail(&error);
    }
    if (backtest.seed == 0) {
        backtest.seed = backtest.config.seed;
    }
    return run(&backtest, &error) == STATUS_OK ? EXIT_DONE : command_fail(&error);
}
