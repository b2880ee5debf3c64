/* Forecasts as gauges of now: which ones are asked for, their lines, and keeping these.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/gauges.h"

#include "api/desk.h"
#include "api/forecast_query.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/series_name.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUR_MS         INT64_C(3600000)
#define DIGITS          6
#define SERIES_LINE_MAX ((size_t)256 << 10)

/* ---------------------------------------------------------------- what is asked for */

static enum status add_horizon(const char *text, struct gauge_order *out, struct error *error)
{
    int64_t horizon_ms = 0;
    if (parse_duration("horizon", text, &horizon_ms, error) != STATUS_OK) {
        return error->status;
    }
    for (size_t i = 0; i < out->horizon_count; i++) {
        if (out->horizons_ms[i] == horizon_ms) {
            return STATUS_OK;
        }
    }
    if (out->horizon_count == GAUGE_HORIZONS_MAX) {
        error_set(error, STATUS_INVALID, "more than %d horizons", GAUGE_HORIZONS_MAX);
        return error_code(error, "bad_parameter", "horizon");
    }
    out->horizons_ms[out->horizon_count++] = horizon_ms;
    return STATUS_OK;
}

enum status gauge_order_read(const struct query *query, const char *quantiles_preset,
                             struct gauge_order *out, struct error *error)
{
    struct forecast_query levels = {.level_count = 0};
    const char *quantiles = query_value(query, "quantiles");
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < query->count; i++) {
        if (strcmp(query->parameters[i].name, "horizon") == 0 &&
            add_horizon(query->parameters[i].value, out, error) != STATUS_OK) {
            return error->status;
        }
    }
    if (out->horizon_count == 0) {
        out->horizons_ms[0] = HOUR_MS;
        out->horizon_count = 2; /* and the configured steps */
    }
    if (forecast_query_quantiles(&levels, quantiles ? quantiles : quantiles_preset, error) !=
        STATUS_OK) {
        return error->status;
    }
    if (levels.level_count > GAUGE_LEVELS_MAX) {
        error_set(error, STATUS_INVALID, "more than %d quantile levels", GAUGE_LEVELS_MAX);
        return error_code(error, "bad_parameter", "quantiles");
    }
    out->level_count = levels.level_count;
    memcpy(out->levels, levels.levels, out->level_count * sizeof(double));
    return STATUS_OK;
}

struct forecast_order gauge_forecast_order(const struct api_limits *limits,
                                           const struct gauge_order *order)
{
    struct forecast_order made = {.steps = 1,
                                  .steps_max = limits->horizon_max,
                                  .skip_short = true,
                                  .as_many = true,
                                  .late = true};
    for (size_t i = 0; i < order->horizon_count; i++) {
        if (order->horizons_ms[i] == 0) {
            made.steps = limits->horizon_default;
        } else if (order->horizons_ms[i] > made.horizon_ms) {
            made.horizon_ms = order->horizons_ms[i];
        }
    }
    return made;
}

/* ---------------------------------------------------------------- keys: PREFIX id h,h;q,q */

void gauge_key_write(uint32_t id, const struct gauge_order *order, char key[GAUGE_KEY_MAX])
{
    size_t used = (size_t)snprintf(key, GAUGE_KEY_MAX, GAUGE_KEY_PREFIX "%u ", id);
    for (size_t i = 0; i < order->horizon_count; i++) {
        used += (size_t)snprintf(key + used, GAUGE_KEY_MAX - used, "%s%lld", i ? "," : "",
                                 (long long)order->horizons_ms[i]);
    }
    for (size_t i = 0; i < order->level_count; i++) {
        used += (size_t)snprintf(key + used, GAUGE_KEY_MAX - used, "%s%.9f", i ? "," : ";",
                                 order->levels[i]);
    }
    CHECK(used < GAUGE_KEY_MAX); /* 8 of 20 digits and 8 of 11 */
}

bool gauge_key_read(const char *key, uint32_t *id, struct gauge_order *order)
{
    size_t prefix = strlen(GAUGE_KEY_PREFIX);
    if (strncmp(key, GAUGE_KEY_PREFIX, prefix) != 0) {
        return false;
    }
    char *at = NULL;
    memset(order, 0, sizeof(*order));
    *id = (uint32_t)strtoul(key + prefix, &at, 10);
    do {
        order->horizons_ms[order->horizon_count++] = strtoll(at + 1, &at, 10);
    } while (*at == ',' && order->horizon_count < GAUGE_HORIZONS_MAX);
    while ((*at == ';' || *at == ',') && order->level_count < GAUGE_LEVELS_MAX) {
        order->levels[order->level_count++] = strtod(at + 1, &at);
    }
    return true;
}

/* ---------------------------------------------------------------- lines */

static void add_label_value(struct slice value, struct text *out)
{
    for (size_t i = 0; i < value.length; i++) {
        char c = value.bytes[i];
        if (c == '\\' || c == '"' || c == '\n') {
            text_add_char(out, '\\');
        }
        text_add_char(out, c == '\n' ? 'n' : c);
    }
}

static bool is_ours(struct slice key)
{
    static const char *const names[] = {"series_name", "horizon", "quantile"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (key.length == strlen(names[i]) && memcmp(key.bytes, names[i], key.length) == 0) {
            return true;
        }
    }
    return key.length >= 2 && memcmp(key.bytes, "__", 2) == 0; /* Prometheus' own */
}

static void write_label_name(struct slice key, char name[80])
{
    size_t used = (size_t)snprintf(name, 80, "%s", is_ours(key) ? "exported_" : "");
    for (size_t i = 0; i < key.length && used < 79; i++) {
        char c = key.bytes[i];
        name[used++] = isalnum((unsigned char)c) ? c : '_';
    }
    name[used] = '\0';
}

/* series_name="...",host="a" of a series. Two labels that would get one name are numbered. */
static void add_labels(const char *series, size_t length, struct text *out)
{
    char scratch[SERIES_TEXT_MAX], names[SERIES_LABELS_MAX][80];
    struct series_label labels[SERIES_LABELS_MAX];
    struct slice name;
    struct error ignored = {0};
    size_t count = 0;
    if (series_name_split(series, length, scratch, &name, labels, &count, &ignored) != STATUS_OK) {
        name = (struct slice){series, length}; /* the store holds none such */
        count = 0;
    }
    text_add_string(out, "series_name=\"");
    add_label_value(name, out);
    text_add_char(out, '"');
    for (size_t i = 0; i < count; i++) {
        bool taken = false;
        write_label_name(labels[i].key, names[i]);
        for (size_t j = 0; j < i; j++) {
            taken = taken || strcmp(names[i], names[j]) == 0;
        }
        text_add_format(out, ",%s", names[i]);
        if (taken) {
            text_add_format(out, "_%zu", i);
        }
        text_add_string(out, "=\"");
        add_label_value(labels[i].value, out);
        text_add_char(out, '"');
    }
}

/* In the largest unit up to hours that leaves no rest: 48m, 24h. */
static void add_duration(int64_t duration_ms, struct text *out)
{
    static const struct {
        int64_t ms;
        const char *name;
    } units[] = {{HOUR_MS, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    size_t i = 0;
    while (duration_ms % units[i].ms != 0) {
        i++;
    }
    text_add_format(out, "%lld%s", (long long)(duration_ms / units[i].ms), units[i].name);
}

static void add_lines(const struct gauge_order *order, const struct forecast_made *made,
                      const struct text *labels, size_t step, int64_t horizon_ms, struct text *out)
{
    for (size_t q = 0; q < order->level_count; q++) {
        double value = forecast_level(made, step, order->levels[q]);
        text_add_string(out, "forecastd_forecast{");
        text_add(out, labels->bytes, labels->length);
        text_add_string(out, ",horizon=\"");
        add_duration(horizon_ms, out);
        text_add_string(out, "\",quantile=\"");
        text_add_double_digits(out, order->levels[q], 9);
        text_add_string(out, "\"} ");
        text_add_double_digits(out, value, DIGITS);
        text_add_char(out, '\n');
    }
}

void gauge_render(const struct gauge_order *order, const struct forecast_made *made,
                  const char *series, size_t length, struct text *out)
{
    int64_t step_ms = made->facts.step_ms, written[GAUGE_HORIZONS_MAX];
    struct text labels;
    if (made->state == SERIES_STALE) {
        return;
    }
    size_t over = forecast_over(made), last = made->forecast.horizon;
    text_init(&labels, 4 * SERIES_TEXT_MAX);
    add_labels(series, length, &labels);
    for (size_t i = 0; i < order->horizon_count && !labels.failed; i++) {
        bool again = false;
        written[i] =
            order->horizons_ms[i] ? order->horizons_ms[i] : (int64_t)made->default_steps * step_ms;
        int64_t steps = (written[i] + step_ms - 1) / step_ms;
        for (size_t j = 0; j < i; j++) {
            again = again || written[i] == written[j];
        }
        if (!again && written[i] >= step_ms && steps <= (int64_t)last) {
            size_t step = (size_t)steps + over < last ? (size_t)steps + over : last;
            add_lines(order, made, &labels, step - 1, written[i], out);
        }
    }
    if (labels.failed) {
        out->failed = labels.failed;
    }
    text_release(&labels);
}

/* ---------------------------------------------------------------- made and kept */

/* Takes the lines. */
static void keep_lines(struct forecast_desk *desk, const struct gauge_order *order,
                       const struct forecast_made *made, struct text *lines,
                       struct live_answer *answer)
{
    char key[GAUGE_KEY_MAX];
    struct api_services *services = desk->services;
    struct grid_cells cells =
        made->skipped ? (struct grid_cells){.step_ms = 1} : live_cells(&made->facts);
    int64_t last_ms = made->info.last_ms;
    struct live_series *series = mem_alloc(sizeof(*series));
    answer->bytes = lines->length ? text_take(lines, &answer->length) : mem_alloc(1);
    if (!series || !answer->bytes) {
        mem_free(series);
        mem_free(answer->bytes);
        return;
    }
    *series = (struct live_series){
        .id = made->id,
        .generation = made->info.generation,
        .cells = cells,
        .last_ms = last_ms,
        .skipped = made->skipped,
    };
    answer->series = series;
    answer->series_count = 1;
    answer->asked_ms = clock_wall_ms();
    answer->good_until_ms = made->skipped ? INT64_MAX : made->good_until_ms;
    gauge_key_write(made->id, order, key);
    live_put_take(services->live, key, answer, answer->limits->live_bytes_max);
}

/* The lines of a horizon that ends behind what was made: from a forecast on a coarser grid. One
 * that is too far for any has none. */
static enum status render_far(struct forecast_desk *desk, const struct gauge_order *order,
                              struct forecast_made *near, struct slice series, struct text *out,
                              struct error *error)
{
    struct forecast_order wanted = {.ids = &near->id,
                                    .count = 1,
                                    .horizon_ms = order->horizons_ms[0],
                                    .steps_max = atomic_load(&desk->services->limits)->horizon_max,
                                    .skip_short = true,
                                    .coarser = true,
                                    .late = true};
    struct forecast_made made;
    if (forecast_make(desk, &wanted, &made, error) != STATUS_OK) {
        return error->status == STATUS_INVALID ? STATUS_OK : error->status;
    }
    if (!made.skipped) {
        gauge_render(order, &made, series.bytes, series.length, out);
        if (made.good_until_ms < near->good_until_ms) {
            near->good_until_ms = made.good_until_ms;
        }
    }
    forecast_made_release(&made);
    return STATUS_OK;
}

/* All lines of a series; each far horizon has a grid of its own, the finest that it can have. */
static enum status render_all(struct forecast_desk *desk, const struct gauge_order *order,
                              struct forecast_made *near, struct text *out, struct error *error)
{
    char name[SERIES_TEXT_MAX];
    size_t length = storage_series_text(desk->services->storage, near->id, name);
    int64_t reach_ms = (int64_t)near->forecast.horizon * near->facts.step_ms;
    enum status status = STATUS_OK;
    near->default_steps = atomic_load(&desk->services->limits)->horizon_default;
    gauge_render(order, near, name, length, out);
    for (size_t i = 0; i < order->horizon_count && status == STATUS_OK; i++) {
        if (order->horizons_ms[i] > reach_ms && near->state != SERIES_STALE) {
            struct gauge_order far = *order;
            far.horizons_ms[0] = order->horizons_ms[i];
            far.horizon_count = 1;
            status = render_far(desk, &far, near, (struct slice){name, length}, out, error);
        }
    }
    return status;
}

enum status gauge_make(struct forecast_desk *desk, const struct gauge_order *order,
                       const uint32_t *ids, size_t count, struct text *out, struct error *error)
{
    struct forecast_made made[DESK_SERIES_MAX];
    struct api_services *services = desk->services;
    struct live_answer state = {
        .limits = atomic_load(&services->limits),
        .registry_generation = registry_generation(services->registry),
        .content_type = "text/plain",
    };
    struct forecast_order wanted = gauge_forecast_order(state.limits, order);
    wanted.ids = ids;
    wanted.count = count;
    if (forecast_make(desk, &wanted, made, error) != STATUS_OK) {
        return error->status;
    }
    enum status status = STATUS_OK;
    for (size_t i = 0; i < count; i++) {
        struct live_answer answer = state;
        struct text lines;
        text_init(&lines, SERIES_LINE_MAX);
        if (!made[i].skipped && status == STATUS_OK) {
            status = render_all(desk, order, &made[i], &lines, error);
        }
        if (status == STATUS_OK) {
            status = text_status(&lines, "the gauges of a series", error);
        }
        if (status == STATUS_OK) {
            if (out) {
                text_add(out, lines.bytes, lines.length);
            }
            keep_lines(desk, order, &made[i], &lines, &answer);
        }
        text_release(&lines);
        forecast_made_release(&made[i]);
    }
    return status;
}
