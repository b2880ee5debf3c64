/* What there is to query, under /prometheus: series, labels, values, metadata, and who answers.
 * SPDX-License-Identifier: Apache-2.0
 *
 * With start or end only series that have points between them are listed; a forecast counts as the
 * time behind its series' last point.
 */
#include "api/families.h"
#include "api/handlers.h"
#include "api/prometheus.h"
#include "api/prometheus_names.h"

#include <stdio.h>
#include <string.h>

/* One walk over the series that a request means. */
struct walk {
    struct call *call;
    int64_t start_ms, end_ms;
    size_t limit;       /* of the answer; SIZE_MAX: none */
    struct slice label; /* whose values are wanted */
    struct names names;
    struct text json;
    size_t written;
};

static bool has_points(const struct walk *walk, uint32_t id, enum promql_variant variant)
{
    struct series_info info;
    struct error ignored = {0};
    if (storage_series_info(walk->call->services->storage, id, &info, &ignored) != STATUS_OK ||
        info.points == 0) {
        return false;
    }
    if (variant != PROMQL_ACTUAL) {
        return info.points > 1 && walk->end_ms > info.last_ms;
    }
    return info.first_ms <= walk->end_ms && info.last_ms >= walk->start_ms;
}

/* Reads the parameters that these routes share, and visits. */
static enum status walk_series(struct walk *walk, bool match_required, promql_visit visit,
                               struct error *error)
{
    struct call *call = walk->call;
    struct prometheus_match match = {.count = 0};
    if (prometheus_parameters(call, error) != STATUS_OK ||
        prometheus_time(call, "start", INT64_MIN, &walk->start_ms, error) != STATUS_OK ||
        prometheus_time(call, "end", INT64_MAX, &walk->end_ms, error) != STATUS_OK ||
        query_size(&call->query, "limit", 0, SIZE_MAX, 0, &walk->limit, error) != STATUS_OK) {
        return error->status;
    }
    walk->limit = walk->limit ? walk->limit : SIZE_MAX;
    enum status status = prometheus_match(call, &match, error);
    if (status == STATUS_OK && match_required && match.count == 0) {
        error_set(error, STATUS_INVALID, "no match[] parameter provided");
        status = error_code(error, "missing_parameter", "match[]");
    }
    if (status == STATUS_OK) {
        struct promql_selection selection = {match.selectors, match.count, false, NULL,
                                             visit,           walk};
        status = promql_select(call->view, &selection, error);
    }
    prometheus_match_release(&match);
    return status;
}

/* ---------------------------------------------------------------- series */

static enum status visit_series(void *context, uint32_t id, enum promql_variant variant,
                                struct slice labels, struct error *error)
{
    struct walk *walk = context;
    if (walk->written == walk->limit || !has_points(walk, id, variant)) {
        return STATUS_OK;
    }
    if (walk->written++ > 0) {
        text_add_char(&walk->json, ',');
    }
    prometheus_add_labels(&walk->json, labels);
    return text_status(&walk->json, "the answer", error);
}

static enum status finish(struct walk *walk, const char *end, enum status status,
                          struct error *error)
{
    if (status == STATUS_OK) {
        text_add_string(&walk->json, end);
        status = call_json(walk->call, 200, &walk->json, error);
    } else {
        text_release(&walk->json);
    }
    return status == STATUS_TOO_LARGE ? error_code(error, "promql_limit", NULL) : status;
}

static void begin(struct walk *walk, struct call *call, const char *data)
{
    memset(walk, 0, sizeof(*walk));
    walk->call = call;
    text_init(&walk->json, ANSWER_BYTES_MAX);
    text_add_string(&walk->json, "{\"status\":\"success\",\"data\":");
    text_add_string(&walk->json, data);
}

enum status prometheus_series(struct call *call, struct error *error)
{
    struct walk walk;
    begin(&walk, call, "[");
    return finish(&walk, "]}", walk_series(&walk, true, visit_series, error), error);
}

/* ---------------------------------------------------------------- labels */

static enum status visit_labels(void *context, uint32_t id, enum promql_variant variant,
                                struct slice labels, struct error *error)
{
    struct walk *walk = context;
    struct slice key, value;
    bool listed = has_points(walk, id, variant);
    for (size_t at = 0; listed && promql_label_next(labels, &at, &key, &value);) {
        struct slice wanted = walk->label.length ? value : key;
        bool is_label = key.length == walk->label.length &&
                        memcmp(key.bytes, walk->label.bytes, key.length) == 0;
        if ((walk->label.length == 0 || is_label) &&
            names_add(&walk->names, wanted, error) != STATUS_OK) {
            return error->status;
        }
    }
    return STATUS_OK;
}

static enum status answer_names(struct walk *walk, struct error *error)
{
    enum status status = walk_series(walk, false, visit_labels, error);
    names_sort(&walk->names);
    for (size_t i = 0; i < walk->names.count && i < walk->limit; i++) {
        if (i > 0) {
            text_add_char(&walk->json, ',');
        }
        text_add_json_string(&walk->json, walk->names.items[i], strlen(walk->names.items[i]));
    }
    names_release(&walk->names);
    return finish(walk, "]}", status, error);
}

enum status prometheus_labels(struct call *call, struct error *error)
{
    struct walk walk;
    begin(&walk, call, "[");
    walk.label = (struct slice){"", 0};
    return answer_names(&walk, error);
}

enum status prometheus_values(struct call *call, struct error *error)
{
    struct walk walk;
    begin(&walk, call, "[");
    walk.label = (struct slice){call->argument, call->argument_length};
    return answer_names(&walk, error);
}

/* ---------------------------------------------------------------- metadata */

/* One entry a name: its kind is what was set, or what its sender said, or what the name says. */
static enum status visit_metadata(void *context, uint32_t id, enum promql_variant variant,
                                  struct slice labels, struct error *error)
{
    struct walk *walk = context;
    struct slice key = {"", 0}, value = {"", 0};
    struct series_info info;
    char line[SERIES_TEXT_MAX];
    if (storage_series_info(walk->call->services->storage, id, &info, error) != STATUS_OK) {
        error->status = STATUS_OK; /* deleted meanwhile */
        return STATUS_OK;
    }
    for (size_t at = 0; promql_label_next(labels, &at, &key, &value);) {
        if (key.length == promql_name_key.length &&
            memcmp(key.bytes, promql_name_key.bytes, key.length) == 0) {
            break;
        }
    }
    const char *wanted = query_value(&walk->call->query, "metric");
    if (wanted && strcmp(wanted, value.bytes) != 0) {
        return STATUS_OK;
    }
    bool total = value.length > 6 && memcmp(value.bytes + value.length - 6, "_total", 6) == 0;
    bool counter = info.settings.has_kind ? info.settings.kind == SERIES_COUNTER : total;
    const char *kind = counter ? "counter" : "gauge";
    const char *type = families_type(walk->call->services->families, value);
    kind = variant != PROMQL_ACTUAL ? "gauge" : type && !info.settings.has_kind ? type : kind;
    int length = snprintf(line, sizeof(line), "%s%c%s%c%s", value.bytes, '\0', kind, '\0',
                          variant == PROMQL_ACTUAL ? "" : "forecast: mean and 80 % band");
    return names_add(&walk->names, (struct slice){line, (size_t)length}, error);
}

enum status prometheus_metadata(struct call *call, struct error *error)
{
    struct walk walk;
    begin(&walk, call, "{");
    enum status status = walk_series(&walk, false, visit_metadata, error);
    names_sort(&walk.names);
    for (size_t i = 0; i < walk.names.count && i < walk.limit; i++) {
        const char *name = walk.names.items[i], *kind = name + strlen(name) + 1;
        const char *help = kind + strlen(kind) + 1;
        if (i > 0) {
            text_add_char(&walk.json, ',');
        }
        text_add_json_string(&walk.json, name, strlen(name));
        text_add_format(&walk.json, ":[{\"type\":\"%s\",\"help\":\"%s\",\"unit\":\"\"}]", kind,
                        help);
    }
    names_release(&walk.names);
    return finish(&walk, "}}", status, error);
}

/* The version says which of Prometheus's routes there are (label values take match[] since 2.24),
 * as Grafana asks it for that; our own stands beside it. */
enum status prometheus_buildinfo(struct call *call, struct error *error)
{
    struct walk walk;
    begin(&walk, call, "{\"version\":\"2.24.0\",\"application\":\"forecastd\",\"revision\":\"\",");
    return finish(&walk,
                  "\"branch\":\"\",\"buildUser\":\"\",\"buildDate\":\"\",\"goVersion\":\"\","
                  "\"forecastd\":\"" FORECASTD_VERSION "\"}}",
                  STATUS_OK, error);
}
