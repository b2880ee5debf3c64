/* An api on the memory store without sockets.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>

static _Atomic int64_t now_ms = NOW_MS;

static int64_t test_clock(void)
{
    return atomic_load(&now_ms);
}

void fixture_set_now(int64_t time_ms)
{
    atomic_store(&now_ms, time_ms);
}

static void must(enum status status, const struct error *error)
{
    if (status != STATUS_OK) {
        fail_msg("%s", error->text);
    }
}

void fixture_open_for(struct fixture *fixture, uint32_t series_max)
{
    struct error error = {0};
    memset(fixture, 0, sizeof(*fixture));
    log_set_level(LOG_ERROR);
    fixture_set_now(NOW_MS);
    clock_wall_replace(test_clock);
    fixture->limits = (struct api_limits){
        .metrics_series_max = 100,
        .body_max = (size_t)4 << 20,
        .max_future_ms = 600000,
        .series_max = 50,
        .retention_ms = 0,
        .points_per_request = 100000,
        .forecast_series_max = 500,
        .horizon_default = 48,
        .horizon_max = 1024,
        .live_bytes_max = (size_t)4 << 20,
    };
    struct api_services *services = &fixture->services;
    struct storage_options options = {.url = "memory:", .series_max = series_max};
    must(storage_open(&options, &services->storage, &error), &error);
    struct writer_options writer = {0};
    must(writer_start(services->storage, &writer, &services->writer, &error), &error);
    must(registry_new(&services->registry, &error), &error);
    must(job_table_new(&services->jobs, &error), &error);
    atomic_store(&services->limits, &fixture->limits);
    must(api_services_init(services, &error), &error);
    must(api_worker_new(services, &fixture->worker, &error), &error);
}

void fixture_open(struct fixture *fixture)
{
    fixture_open_for(fixture, 50);
}

void fixture_close(struct fixture *fixture)
{
    api_worker_free(fixture->worker);
    api_services_release(&fixture->services);
    writer_stop(fixture->services.writer);
    storage_close(fixture->services.storage);
    registry_free(fixture->services.registry);
    job_table_free(fixture->services.jobs);
    clock_wall_replace(NULL);
}

struct waiting {
    struct lock lock;
    struct condition done;
    bool is_done;
};

static void resume(struct api_request *request)
{
    struct waiting *waiting = request->server_context;
    lock_acquire(&waiting->lock);
    waiting->is_done = true;
    condition_signal(&waiting->done);
    lock_release(&waiting->lock);
}

static void wait_for(struct waiting *waiting)
{
    lock_acquire(&waiting->lock);
    while (!waiting->is_done) {
        condition_wait(&waiting->done, &waiting->lock);
    }
    lock_release(&waiting->lock);
}

static void note_header(struct answer *answer, const char *name, const char *value)
{
    struct {
        const char *name;
        char *to;
        size_t size;
    } known[] = {{"Allow", answer->allow, sizeof(answer->allow)},
                 {"Location", answer->location, sizeof(answer->location)},
                 {"Retry-After", answer->retry_after, sizeof(answer->retry_after)},
                 {"Cache-Control", answer->cache, sizeof(answer->cache)},
                 {"Content-Security-Policy", answer->policy, sizeof(answer->policy)},
                 {"ETag", answer->etag, sizeof(answer->etag)}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].name, name) == 0) {
            snprintf(known[i].to, known[i].size, "%s", value);
        }
    }
}

void (*fixture_answered)(void);

static struct answer take(struct api_response *response, bool fast)
{
    struct answer answer = {.status = response->status, .length = response->body_length};
    answer.fast = fast;
    if (fixture_answered != NULL) {
        fixture_answered();
    }
    snprintf(answer.type, sizeof(answer.type), "%s",
             response->content_type ? response->content_type : "");
    for (size_t i = 0; i < response->header_count; i++) {
        note_header(&answer, response->headers[i].name, api_header_value(response, i));
    }
    answer.body = malloc(response->body_length + 1);
    assert_non_null(answer.body);
    if (response->body_length) {
        memcpy(answer.body, response->body, response->body_length);
    }
    answer.body[response->body_length] = '\0';
    api_response_release(response);
    return answer;
}

struct answer fixture_ask(struct fixture *fixture, enum api_method method, const char *target,
                          const char *type, const char *body, size_t length,
                          enum api_encoding encoding)
{
    char path[80 << 10];
    struct waiting waiting = {.is_done = false};
    struct api_response response = {0};
    snprintf(path, sizeof(path), "%s", target);
    char *mark = strchr(path, '?');
    if (mark) {
        *mark = '\0';
    }
    struct api_request request = {
        .method = method,
        .path = path,
        .query = mark ? mark + 1 : "",
        .content_type = type ? type : "application/json",
        .authorization = fixture->authorization,
        .encoding = encoding,
        .body = body,
        .body_length = length,
        .request_id = "test-1",
        .resume = resume,
        .server_context = &waiting,
        .response = &response,
    };
    lock_init(&waiting.lock);
    condition_init(&waiting.done);
    bool fast = true;
    enum api_outcome outcome = api_begin(&fixture->services, &request, length, &response);
    if (outcome == API_DECLINED) {
        outcome = api_fast(&fixture->services, &request, &response);
        if (outcome == API_DECLINED) {
            fast = false;
            outcome = api_handle(fixture->worker, &request, &response);
        }
        if (outcome == API_PENDING) {
            wait_for(&waiting);
        }
    }
    condition_release_memory(&waiting.done);
    lock_release_memory(&waiting.lock);
    api_observe(&fixture->services, &request, response.status, 1000000);
    return take(&response, fast);
}

void fixture_answer_release(struct answer *answer)
{
    free(answer->body);
}

struct answer get(struct fixture *fixture, const char *target)
{
    return fixture_ask(fixture, API_GET, target, "", "", 0, API_IDENTITY);
}

struct answer post(struct fixture *fixture, const char *target, const char *json)
{
    return fixture_ask(fixture, API_POST, target, NULL, json, strlen(json), API_IDENTITY);
}

void expect(struct fixture *fixture, enum api_method method, const char *target, const char *json,
            int status, const char *part)
{
    struct answer answer = fixture_ask(fixture, method, target, NULL, json ? json : "",
                                       json ? strlen(json) : 0, API_IDENTITY);
    if (answer.status != status || (part && !strstr(answer.body, part))) {
        fail_msg("%d %s %s\nwanted %d with %s\ngot %d: %s", (int)method, target, json ? json : "",
                 status, part ? part : "anything", answer.status, answer.body);
    }
    if (status >= 400 && strncmp(target, "/prometheus/", 12) == 0) {
        assert_string_equal(answer.type, "application/json");
        assert_non_null(strstr(answer.body, "{\"status\":\"error\",\"errorType\":\""));
    } else if (status >= 400) {
        assert_string_equal(answer.type, "application/problem+json");
        assert_non_null(strstr(answer.body, "\"request_id\":\"test-1\""));
    }
    fixture_answer_release(&answer);
}

void fixture_fill(struct fixture *fixture, const char *series, size_t count, int64_t step_ms)
{
    struct error error = {0};
    struct write_batch *batch = NULL;
    struct write_result result;
    uint32_t number = 0;
    uint64_t seed = 88172645463325252u;
    must(write_batch_new(fixture->services.storage, count, &batch, &error), &error);
    must(write_batch_series(batch, series, strlen(series), &number, &error), &error);
    int64_t last_ms = NOW_MS - NOW_MS % step_ms;
    for (size_t i = 0; i < count; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        double noise = (double)(seed >> 11) / 9007199254740992.0 - 0.5;
        double value = 20.0 + 5.0 * sin((double)i * 2.0 * M_PI / 24.0) + noise;
        struct point point = {last_ms - (int64_t)(count - 1 - i) * step_ms,
                              round(value * 100) / 100};
        must(write_batch_point(batch, number, point, &error), &error);
    }
    must(writer_write_take(fixture->services.writer, batch, &result, &error), &error);
}

json_t *fixture_json(struct fixture *fixture, const char *target)
{
    struct answer answer = get(fixture, target);
    json_error_t cause;
    if (answer.status != 200) {
        fail_msg("%s: %d %s", target, answer.status, answer.body);
    }
    json_t *document = json_loadb(answer.body, answer.length, 0, &cause);
    if (!document) {
        fail_msg("%s: %s\n%s", target, cause.text, answer.body);
    }
    assert_string_equal(answer.cache, "no-store");
    fixture_answer_release(&answer);
    return document;
}

const json_t *fixture_forecast(const json_t *document, size_t index)
{
    return json_array_get(json_object_get(document, "forecasts"), index);
}

double fixture_number(const json_t *object, const char *name, size_t index)
{
    const json_t *one = json_array_get(json_object_get(object, name), index);
    assert_true(json_is_number(one));
    assert_true(isfinite(json_number_value(one)));
    return json_number_value(one);
}

void fixture_check_forecast(const json_t *forecast, size_t steps, int64_t step_ms, double low,
                            double high)
{
    const json_t *quantiles = json_object_get(forecast, "quantiles");
    const json_t *stamps = json_object_get(forecast, "timestamps");
    const char *origin = json_string_value(json_object_get(forecast, "origin"));
    struct error error = {0};
    int64_t before_ms = 0;
    assert_int_equal(clock_parse(origin, strlen(origin), 1, &before_ms, &error), STATUS_OK);
    assert_int_equal(json_array_size(stamps), steps);
    assert_int_equal(json_array_size(json_object_get(forecast, "mean")), steps);
    assert_int_equal(json_integer_value(json_object_get(forecast, "step_ms")), step_ms);
    for (size_t h = 0; h < steps; h++) {
        int64_t stamp = json_integer_value(json_array_get(stamps, h));
        assert_int_equal(stamp - before_ms, step_ms);
        before_ms = stamp;
        assert_true(fixture_number(forecast, "mean", h) >= low &&
                    fixture_number(forecast, "mean", h) <= high);
        double last = low;
        const char *level;
        json_t *values;
        double last_level = 0.0;
        json_object_foreach((json_t *)(uintptr_t)quantiles, level, values)
        {
            double value = json_number_value(json_array_get(values, h));
            assert_true(strtod(level, NULL) > last_level); /* in rising order */
            last_level = strtod(level, NULL);
            assert_true(isfinite(value) && value >= last && value <= high);
            last = value;
        }
    }
}

bool fixture_is_fast(struct fixture *fixture, const char *target, const char *part)
{
    struct answer answer = get(fixture, target);
    assert_int_equal(answer.status, 200);
    if (part && !strstr(answer.body, part)) {
        fail_msg("%s is not in %s", part, answer.body);
    }
    bool fast = answer.fast;
    fixture_answer_release(&answer);
    return fast;
}
