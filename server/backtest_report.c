/* What a backtest says: one JSON object, a table for people, a CSV row a series.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/backtest_report.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define TABLE_ROWS 10 /* series that the table for people lists */

/* The figures of struct metrics under the names of the scoring tool. */
static const struct figure {
    const char *name;
    size_t offset;
    bool m4, shown; /* only with --m4; in the table for people */
} figures[] = {
#define FIGURE(name, member, m4, shown)                                                            \
    {                                                                                              \
        name, offsetof(struct metrics, member), m4, shown                                          \
    }
    FIGURE("MASE", mase, false, true),
    FIGURE("sMAPE", smape, false, true),
    FIGURE("OWA", owa, true, true),
    FIGURE("Naive2_sMAPE", naive2_smape, true, false),
    FIGURE("Naive2_MASE", naive2_mase, true, false),
    FIGURE("ND", nd, false, true),
    FIGURE("wQL", wql, false, true),
    FIGURE("rho0.025", rho_low, false, false),
    FIGURE("rho0.1", rho[0], false, false),
    FIGURE("rho0.2", rho[1], false, false),
    FIGURE("rho0.3", rho[2], false, false),
    FIGURE("rho0.4", rho[3], false, false),
    FIGURE("rho0.5", rho[4], false, true),
    FIGURE("rho0.6", rho[5], false, false),
    FIGURE("rho0.7", rho[6], false, false),
    FIGURE("rho0.8", rho[7], false, false),
    FIGURE("rho0.9", rho[8], false, true),
    FIGURE("rho0.975", rho_high, false, false),
    FIGURE("cover80", cover80, false, true),
    FIGURE("width80", width80, false, false),
    FIGURE("cover95", cover95, false, true),
    FIGURE("MSIS95", msis95, false, true),
    FIGURE("quantile_crossings", quantile_crossings, false, false),
    FIGURE("sum_absolute", absolute, false, false),
#undef FIGURE
};

static double value_of(const struct metrics *metrics, const struct figure *figure)
{
    double value;
    memcpy(&value, (const char *)metrics + figure->offset, sizeof(value));
    return value;
}

static void set_value(struct metrics *metrics, size_t offset, double value)
{
    memcpy((char *)metrics + offset, &value, sizeof(value));
}

void backtest_report_add(struct backtest_report *report, const struct backtest_result *result)
{
    CHECK(report->seed_count < BACKTEST_SEEDS_MAX);
    if (report->seed_count == 0) {
        report->result = result;
    }
    report->champions[report->seed_count] = result->champion;
    report->train_seconds[report->seed_count] = result->train_seconds;
    report->seed_count++;
}

/* Mean, smallest and largest of one number of the champions. */
static void over_seeds(const struct backtest_report *report, size_t offset, double out[3])
{
    double sum = 0.0;
    out[1] = HUGE_VAL;
    out[2] = -HUGE_VAL;
    for (size_t i = 0; i < report->seed_count; i++) {
        double value;
        memcpy(&value, (const char *)&report->champions[i] + offset, sizeof(value));
        sum += value;
        out[1] = fmin(out[1], value);
        out[2] = fmax(out[2], value);
    }
    out[0] = sum / (double)report->seed_count;
}

/* The counts are those of the first seed: all have the same data. */
static struct metrics mean_champion(const struct backtest_report *report)
{
    struct metrics mean = report->champions[0];
    double summary[3];
    for (size_t i = 0; i < ARRAY_COUNT(figures); i++) {
        over_seeds(report, figures[i].offset, summary);
        set_value(&mean, figures[i].offset, summary[0]);
    }
    for (size_t part = 0; part < METRICS_PARTS; part++) {
        size_t offset = part * sizeof(double);
        over_seeds(report, offsetof(struct metrics, cover80_part) + offset, summary);
        mean.cover80_part[part] = summary[0];
        over_seeds(report, offsetof(struct metrics, cover95_part) + offset, summary);
        mean.cover95_part[part] = summary[0];
    }
    return mean;
}

/* ---------------------------------------------------------------- JSON */

static void add_number(struct text *json, const char *name, double value)
{
    text_add_format(json, ",\"%s\":", name);
    text_add_double(json, value);
}

static void add_parts(struct text *json, const char *name, const double parts[METRICS_PARTS])
{
    text_add_format(json, ",\"%s\":[", name);
    for (size_t i = 0; i < METRICS_PARTS; i++) {
        text_add_string(json, i > 0 ? "," : "");
        text_add_double(json, parts[i]);
    }
    text_add_char(json, ']');
}

static void add_metrics(struct text *json, const struct metrics *metrics, bool m4)
{
    text_add_format(json, "{\"series\":%llu,\"points\":%llu", (unsigned long long)metrics->series,
                    (unsigned long long)metrics->points);
    for (size_t i = 0; i < ARRAY_COUNT(figures); i++) {
        if (m4 || !figures[i].m4) {
            add_number(json, figures[i].name, value_of(metrics, &figures[i]));
        }
    }
    add_parts(json, "cover80_thirds", metrics->cover80_part);
    add_parts(json, "cover95_thirds", metrics->cover95_part);
    text_add_format(json, ",\"series_without_MASE_scale\":%llu,\"missing_actuals\":%llu}",
                    (unsigned long long)metrics->series_without_scale,
                    (unsigned long long)metrics->missing_actuals);
}

static void add_models(struct text *json, const struct backtest_report *report)
{
    struct metrics mean = mean_champion(report);
    text_add_string(json, ",\"models\":{\"champion\":");
    add_metrics(json, &mean, report->m4);
    for (int i = 0; i < BASELINE_COUNT; i++) {
        text_add_format(json, ",\"%s\":", baseline_name((enum baseline)i));
        add_metrics(json, &report->result->baselines[i], report->m4);
    }
    text_add_char(json, '}');
}

static void add_seeds(struct text *json, const struct backtest_report *report)
{
    text_add_string(json, ",\"seeds\":[");
    for (size_t i = 0; i < report->seed_count; i++) {
        text_add_format(json, "%s{\"seed\":%llu", i > 0 ? "," : "",
                        (unsigned long long)(report->seed + i));
        add_number(json, "train_seconds", report->train_seconds[i]);
        text_add_string(json, ",\"champion\":");
        add_metrics(json, &report->champions[i], report->m4);
        text_add_char(json, '}');
    }
    text_add_string(json, "],\"champion_range\":{");
    bool first = true;
    for (size_t i = 0; i < ARRAY_COUNT(figures); i++) {
        if (figures[i].m4 && !report->m4) {
            continue;
        }
        double summary[3];
        over_seeds(report, figures[i].offset, summary);
        text_add_format(json, "%s\"%s\":[", first ? "" : ",", figures[i].name);
        text_add_double(json, summary[1]);
        text_add_char(json, ',');
        text_add_double(json, summary[2]);
        text_add_char(json, ']');
        first = false;
    }
    text_add_char(json, '}');
}

/* The champion's loss over the best baseline's; what cannot be told comes last. */
static double relative(const struct backtest_row *row)
{
    double ratio = row->champion.wql / row->baseline.wql;
    return isnan(ratio) ? -1.0 : ratio;
}

static int compare_rows(const void *a, const void *b)
{
    const struct backtest_row *left = *(const struct backtest_row *const *)a;
    const struct backtest_row *right = *(const struct backtest_row *const *)b;
    double x = relative(left);
    double y = relative(right);
    return x != y ? (x < y) - (x > y) : (left->index > right->index) - (left->index < right->index);
}

/* The rows, worst first; NULL where memory is short. Free with mem_free. */
static const struct backtest_row **rank_rows(const struct backtest_result *result)
{
    const struct backtest_row **rows = mem_zeroed(result->row_count + 1, sizeof(*rows));
    for (size_t i = 0; rows != NULL && i < result->row_count; i++) {
        rows[i] = &result->rows[i];
    }
    if (rows != NULL) {
        qsort(rows, result->row_count, sizeof(*rows), compare_rows);
    }
    return rows;
}

static void add_row_figures(struct text *json, const struct metrics *metrics)
{
    text_add_string(json, "{\"sMAPE\":");
    text_add_double(json, metrics->smape);
    add_number(json, "MASE", metrics->mase);
    add_number(json, "wQL", metrics->wql);
    add_number(json, "cover80", metrics->cover80);
    text_add_char(json, '}');
}

static void add_rows(struct text *json, const struct backtest_result *result, size_t rows_max)
{
    const struct backtest_row **rows = rank_rows(result);
    text_add_format(json, ",\"by_series_total\":%zu,\"by_series\":[", result->row_count);
    for (size_t i = 0; rows != NULL && i < result->row_count && i < rows_max; i++) {
        text_add_string(json, i > 0 ? ",{\"series\":" : "{\"series\":");
        text_add_json_string(json, rows[i]->id, strlen(rows[i]->id));
        text_add_format(
            json, ",\"points\":%llu,\"champion\":", (unsigned long long)rows[i]->champion.points);
        add_row_figures(json, &rows[i]->champion);
        text_add_format(json,
                        ",\"best_baseline\":\"%s\",\"baseline\":", baseline_name(rows[i]->best));
        add_row_figures(json, &rows[i]->baseline);
        text_add_char(json, '}');
    }
    text_add_char(json, ']');
    mem_free(rows);
}

void backtest_report_json(const struct backtest_report *report, size_t rows_max, struct text *json)
{
    const struct backtest_result *result = report->result;
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    text_add_format(json, "{\"series\":%llu,\"series_left_out\":%llu,\"horizon\":%zu,",
                    (unsigned long long)result->series_used,
                    (unsigned long long)(result->series_left_out + report->left_out),
                    report->horizon);
    text_add_format(json, "\"windows\":%zu,\"season\":%u,\"seed\":%llu,\"backbone\":\"%s\"",
                    report->windows, result->season, (unsigned long long)report->seed,
                    report->backbone);
    add_number(json, "train_seconds", result->train_seconds);
    add_number(json, "forecast_seconds", result->forecast_seconds);
    text_add_format(json, ",\"peak_bytes\":%zu,\"peak_resident_bytes\":%lld,\"parameters\":%llu",
                    result->peak_bytes, (long long)usage.ru_maxrss * 1024,
                    (unsigned long long)result->parameters);
    if (report->windows > 0) {
        add_models(json, report);
    }
    if (report->windows > 0 && report->seed_count > 1) {
        add_seeds(json, report);
    }
    if (report->windows > 0 && rows_max > 0) {
        add_rows(json, result, rows_max);
    }
    text_add_char(json, '}');
}

/* ---------------------------------------------------------------- for people */

/* A column; a dash where the figure is not known. */
static void print_number(FILE *out, int width, int digits, double value)
{
    if (isfinite(value)) {
        fprintf(out, " %*.*f", width, digits, value);
    } else {
        fprintf(out, " %*s", width, "-");
    }
}

static void print_parts(FILE *out, const char *name, size_t offset, const struct metrics *models)
{
    static const char *const parts[METRICS_PARTS] = {"early", "middle", "late"};
    for (size_t part = 0; part < METRICS_PARTS; part++) {
        fprintf(out, "%s %-7s", name, parts[part]);
        for (size_t i = 0; i <= BASELINE_COUNT; i++) {
            const char *figure = (const char *)&models[i] + offset + part * sizeof(double);
            double value;
            memcpy(&value, figure, sizeof(value));
            print_number(out, 14, 4, value);
        }
        fputc('\n', out);
    }
}

static void print_figures(const struct backtest_report *report, const struct metrics *models,
                          FILE *out)
{
    fprintf(out, "\n%-15s %14.14s %14s %14s %14s %14s %14s\n", "", report->backbone, "last value",
            "drift", "seasonal naive", "damped trend", "seasonal drift");
    for (size_t k = 0; k < ARRAY_COUNT(figures); k++) {
        if (!figures[k].shown || (figures[k].m4 && !report->m4)) {
            continue;
        }
        fprintf(out, "%-15s", figures[k].name);
        for (size_t i = 0; i <= BASELINE_COUNT; i++) {
            print_number(out, 14, 5, value_of(&models[i], &figures[k]));
        }
        if (report->seed_count > 1) {
            double summary[3];
            over_seeds(report, figures[k].offset, summary);
            fprintf(out, "   %.5f to %.5f", summary[1], summary[2]);
        }
        fputc('\n', out);
    }
    print_parts(out, "cover80", offsetof(struct metrics, cover80_part), models);
}

static void print_against_best(const char *name, size_t offset, const struct metrics *models,
                               FILE *out)
{
    double values[1 + BASELINE_COUNT];
    int best = 1;
    for (int i = 0; i <= BASELINE_COUNT; i++) {
        memcpy(&values[i], (const char *)&models[i] + offset, sizeof(double));
        best = i > 0 && values[i] < values[best] ? i : best;
    }
    const char *baseline = baseline_name((enum baseline)(best - 1));
    double ratio = values[0] / values[best];
    if (isfinite(ratio)) {
        fprintf(out, "%s: %.3f of the best baseline's (%s)\n", name, ratio, baseline);
    } else if (values[best] == 0.0) {
        fprintf(out, "%s: the best baseline (%s) made no error\n", name, baseline);
    } else {
        fprintf(out, "%s: not known: the values are all zero, or never change\n", name);
    }
}

/* Of the column of series: the longest name listed, within bounds. */
static int name_width(const struct backtest_row **rows, size_t count)
{
    size_t width = 20;
    for (size_t i = 0; rows != NULL && i < count && i < TABLE_ROWS; i++) {
        size_t length = strlen(rows[i]->id);
        width = length > width ? length : width;
    }
    return (int)(width < 60 ? width : 60);
}

static void print_rows(const struct backtest_result *result, FILE *out)
{
    const struct backtest_row **rows = rank_rows(result);
    size_t better = 0;
    for (size_t i = 0; i < result->row_count; i++) {
        better += result->rows[i].champion.wql < result->rows[i].baseline.wql ? 1 : 0;
    }
    fprintf(out, "better than the best baseline, chosen for each afterwards: %zu of %zu series\n",
            better, result->row_count);
    int width = name_width(rows, result->row_count);
    fprintf(out, "\n%-*s %9s %9s %8s   %-15s %9s %9s\n", width, "series, worst first", "MASE",
            "wQL", "cover80", "best baseline", "MASE", "wQL");
    for (size_t i = 0; rows != NULL && i < result->row_count && i < TABLE_ROWS; i++) {
        const struct backtest_row *row = rows[i];
        fprintf(out, "%-*.*s", width, width, row->id);
        print_number(out, 9, 4, row->champion.mase);
        print_number(out, 9, 4, row->champion.wql);
        print_number(out, 8, 3, row->champion.cover80);
        fprintf(out, "   %-15s", baseline_name(row->best));
        print_number(out, 9, 4, row->baseline.mase);
        print_number(out, 9, 4, row->baseline.wql);
        fputc('\n', out);
    }
    if (result->row_count > TABLE_ROWS) {
        fprintf(out, "... and %zu more\n", result->row_count - TABLE_ROWS);
    }
    mem_free(rows);
}

void backtest_report_table(const struct backtest_report *report, FILE *out)
{
    const struct backtest_result *result = report->result;
    fprintf(out, "series %llu (%llu left out), horizon %zu, windows %zu, season %u",
            (unsigned long long)result->series_used,
            (unsigned long long)(result->series_left_out + report->left_out), report->horizon,
            report->windows, result->season);
    if (report->seed_count > 1) {
        fprintf(out, ", seeds %llu to %llu: mean and range", (unsigned long long)report->seed,
                (unsigned long long)(report->seed + report->seed_count - 1));
    }
    fputc('\n', out);
    fprintf(out, "training %.1f s, forecasting %.2f s, %llu parameters, peak %.1f MB\n",
            result->train_seconds, result->forecast_seconds, (unsigned long long)result->parameters,
            (double)result->peak_bytes / 1e6);
    if (report->windows == 0) {
        return;
    }
    struct metrics models[1 + BASELINE_COUNT];
    models[0] = mean_champion(report);
    memcpy(models + 1, result->baselines, sizeof(result->baselines));
    print_figures(report, models, out);
    fputc('\n', out);
    print_against_best("MASE", offsetof(struct metrics, mase), models, out);
    print_against_best("wQL", offsetof(struct metrics, wql), models, out);
    print_rows(result, out);
}

/* ---------------------------------------------------------------- CSV */

void backtest_csv_id(struct text *csv, const char *id, size_t window)
{
    bool quote = strpbrk(id, ",\"\n") != NULL;
    text_add_string(csv, quote ? "\"" : "");
    for (const char *c = id; *c != '\0'; c++) {
        text_add_char(csv, *c);
        if (*c == '"') {
            text_add_char(csv, '"');
        }
    }
    if (window > 0) {
        text_add_format(csv, "#%zu", window);
    }
    text_add_string(csv, quote ? "\"" : "");
}

/* A comma, and the number unless it is not known. */
static void add_cell(struct text *csv, double value)
{
    text_add_char(csv, ',');
    if (isfinite(value)) {
        text_add_double(csv, value);
    }
}

static void add_cells(struct text *csv, const struct metrics *metrics)
{
    add_cell(csv, metrics->smape);
    add_cell(csv, metrics->mase);
    add_cell(csv, metrics->wql);
    add_cell(csv, metrics->cover80);
}

void backtest_report_rows(const struct backtest_report *report, struct text *csv)
{
    text_add_string(csv, "series_id,sMAPE,MASE,wQL,cover80,points,best_baseline,baseline_sMAPE,"
                         "baseline_MASE,baseline_wQL,baseline_cover80\n");
    for (size_t i = 0; i < report->result->row_count; i++) {
        const struct backtest_row *row = &report->result->rows[i];
        backtest_csv_id(csv, row->id, 0);
        add_cells(csv, &row->champion);
        text_add_format(csv, ",%llu,%s", (unsigned long long)row->champion.points,
                        baseline_name(row->best));
        add_cells(csv, &row->baseline);
        text_add_char(csv, '\n');
    }
}
