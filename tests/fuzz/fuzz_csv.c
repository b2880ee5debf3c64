/* Fuzzes the reader of CSV files, plain and gzip: whatever it returns is in order, finite and
 * within the limits; what one time has several times is kept where that is asked for, and the last
 * of it otherwise. SPDX-License-Identifier: Apache-2.0
 */
#include "api/api.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define INFLATED_MAX ((size_t)1 << 20)

#define NOW_MS INT64_C(1795354740000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool held)
{
    if (!held) {
        abort();
    }
}

static void check(const struct csv_data *csv, const struct csv_options *options)
{
    for (size_t s = 0; s < csv->count; s++) {
        const struct csv_series *series = &csv->series[s];
        demand(series->id && series->id[0] != '\0');
        for (size_t i = 0; i < series->count; i++) {
            const struct point *point = &series->points[i];
            struct error ignored = {0};
            demand(!isinf(point->value));
            demand(i == 0 || point[-1].time_ms + !options->keep_repeated <= point->time_ms);
            demand(!options->limits || api_check_time(options->limits, options->now_ms,
                                                      point->time_ms, &ignored) == STATUS_OK);
        }
    }
    for (size_t i = 0; i < 20 && i < csv->rejected; i++) {
        demand(strncmp(csv->first[i].text, "line ", 5) == 0 && csv->first[i].code);
    }
}

static bool same(double a, double b)
{
    return isnan(a) ? isnan(b) : memcmp(&a, &b, sizeof(a)) == 0;
}

/* The last point of each time in `all`, and no other, is in `last`. */
static void compare(const struct csv_series *all, const struct csv_series *last)
{
    size_t at = 0;
    for (size_t i = 0; i < all->count; i++) {
        if (i + 1 == all->count || all->points[i + 1].time_ms != all->points[i].time_ms) {
            demand(at < last->count && last->points[at].time_ms == all->points[i].time_ms);
            demand(same(last->points[at++].value, all->points[i].value));
        }
    }
    demand(at == last->count && all->step_ms == last->step_ms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct api_limits limits = {.max_future_ms = 600000,
                                             .retention_ms = INT64_C(3155760000000)};
    struct csv_options options = {.inflated_max = INFLATED_MAX, .now_ms = NOW_MS};
    struct csv_data last, all, within;
    struct error error = {0};
    if (csv_read((const char *)data, size, &options, &last, &error) != STATUS_OK) {
        demand(error.status != STATUS_OK && error.text[0] != '\0');
        return 0;
    }
    check(&last, &options);
    options.keep_repeated = true;
    demand(csv_read((const char *)data, size, &options, &all, &error) == STATUS_OK);
    check(&all, &options);
    demand(all.count == last.count && all.rejected == last.rejected);
    for (size_t s = 0; s < all.count; s++) {
        compare(&all.series[s], &last.series[s]);
    }
    options.limits = &limits;
    demand(csv_read((const char *)data, size, &options, &within, &error) == STATUS_OK);
    check(&within, &options);
    uint64_t points = within.rejected - all.rejected;
    for (size_t s = 0; s < all.count; s++) {
        points += within.series[s].count;
        demand(points >= within.series[s].count && within.count == all.count);
        points -= all.series[s].count;
    }
    demand(points == 0); /* none is lost between the counts */
    csv_free(&last);
    csv_free(&all);
    csv_free(&within);
    return 0;
}
