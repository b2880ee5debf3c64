/* The options of a backfill on the command line, one by one.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/backfill.h"

#include "base/check.h"
#include "base/clock.h"
#include "server/fetch.h"

#include <string.h>
#include <strings.h>

#define START_PRESET_MS   (INT64_C(30) * 86400 * 1000)
#define HEADERS_BYTES_MAX ((size_t)64 << 10)

void backfill_source_init(struct backfill_source *source)
{
    memset(source, 0, sizeof(*source));
    source->now_ms = clock_wall_ms();
    source->start_ms = source->now_ms - START_PRESET_MS;
    source->end_ms = source->now_ms;
    text_init(&source->headers, HEADERS_BYTES_MAX);
}

void backfill_source_release(struct backfill_source *source)
{
    text_release(&source->headers);
    explicit_bzero(source->user, sizeof(source->user));
}

/* "-30d" is that long before now, "now" is now; else RFC 3339, UTC without an offset. */
static enum status parse_moment(const char *text, int64_t now_ms, int64_t *time_ms,
                                struct error *error)
{
    size_t length = strlen(text);
    int64_t before_ms = 0;
    if (strcmp(text, "now") == 0) {
        *time_ms = now_ms;
        return STATUS_OK;
    }
    if (text[0] == '-') {
        enum status status = clock_parse_duration(text + 1, length - 1, &before_ms, error);
        if (status == STATUS_OK) {
            *time_ms = now_ms - before_ms;
        }
        return status;
    }
    return clock_parse(text, length, 0, time_ms, error);
}

static enum status set_kind(struct backfill_source *source, enum neighbour_kind kind,
                            const char *url, struct error *error)
{
    if (source->url != NULL) {
        return error_set(error, STATUS_INVALID, "one neighbour at a time");
    }
    source->kind = kind;
    source->url = url;
    return STATUS_OK;
}

/* A header given openly; those that carry secrets only come from files. */
static enum status add_header(struct backfill_source *source, const char *line, struct error *error)
{
    static const char *const secret[] = {"authorization:", "proxy-authorization:", "cookie:"};
    for (size_t i = 0; i < ARRAY_COUNT(secret); i++) {
        if (strncasecmp(line, secret[i], strlen(secret[i])) == 0) {
            error_set(error, STATUS_INVALID, "--header must not carry a secret");
            return error_hint(error, "Put it into a file: --header-file, --bearer-file, "
                                     "--influx-token-file or --basic-file.");
        }
    }
    enum status status = fetch_check_header(line, strlen(line), error);
    if (status == STATUS_OK) {
        text_add_format(&source->headers, "%s\n", line);
        status = text_status(&source->headers, "the headers", error);
    }
    return status;
}

static enum status add_secret(struct backfill_source *source, const char *scheme, const char *path,
                              struct error *error)
{
    char secret[FETCH_SECRET_MAX];
    enum status status = fetch_read_secret(path, secret, error);
    if (status == STATUS_OK) {
        text_add_format(&source->headers, "Authorization: %s %s\n", scheme, secret);
        status = text_status(&source->headers, "the headers", error);
    }
    explicit_bzero(secret, sizeof(secret));
    return status;
}

static enum status set_step(struct backfill_source *source, const char *value, struct error *error)
{
    int64_t step_ms = 0;
    enum status status = clock_parse_duration(value, strlen(value), &step_ms, error);
    if (status == STATUS_OK && step_ms <= 0) {
        return error_set(error, STATUS_INVALID, "must be longer than nothing");
    }
    source->step_ms = status == STATUS_OK ? step_ms : source->step_ms;
    return status;
}

enum status backfill_option(struct backfill_source *source, const char *name, const char *value,
                            struct error *error)
{
    const struct {
        const char *name;
        const char **place;
    } texts[] = {{"name", &source->name},     {"database", &source->database},
                 {"policy", &source->policy}, {"org", &source->org},
                 {"bucket", &source->bucket}, {"ca-file", &source->ca_file}};
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        if (strcmp(name, texts[i].name) == 0) {
            *texts[i].place = value;
            return STATUS_OK;
        }
    }
    if (strcmp(name, "from-prometheus") == 0) {
        return set_kind(source, NEIGHBOUR_PROMETHEUS, value, error);
    }
    if (strcmp(name, "from-influxdb") == 0) {
        return set_kind(source, NEIGHBOUR_INFLUXQL, value, error);
    }
    if (strcmp(name, "query") == 0) {
        if (source->query_count == BACKFILL_QUERIES_MAX) {
            return error_set(error, STATUS_INVALID, "too many --query");
        }
        source->queries[source->query_count++] = value;
        return STATUS_OK;
    }
    if (strcmp(name, "start") == 0 || strcmp(name, "end") == 0) {
        return parse_moment(value, source->now_ms,
                            name[0] == 's' ? &source->start_ms : &source->end_ms, error);
    }
    if (strcmp(name, "step") == 0) {
        return set_step(source, value, error);
    }
    if (strcmp(name, "header") == 0) {
        return add_header(source, value, error);
    }
    if (strcmp(name, "header-file") == 0) {
        return fetch_read_headers(value, &source->headers, error);
    }
    if (strcmp(name, "bearer-file") == 0 || strcmp(name, "influx-token-file") == 0) {
        return add_secret(source, name[0] == 'b' ? "Bearer" : "Token", value, error);
    }
    if (strcmp(name, "basic-file") == 0) {
        return fetch_read_secret(value, source->user, error);
    }
    return STATUS_NOT_FOUND;
}
