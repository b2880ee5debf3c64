/* OTLP: names by the conventions, JSON and protobuf alike, damaged bodies, no memory, what is kept.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "api/families.h"
#include "api/otlp_json.h"
#include "api/otlp_names.h"
#include "api/otlp_point.h"
#include "api/otlp_reader.h"
#include "base/check.h"
#include "base/memory.h"
#include "base/random.h"
#include "tests/watched.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#define N_MAX     300
#define BYTES_MAX (8u << 20)
#define TIME      "\"timeUnixNano\":\"1795354680000000000\""

static const char document[] =
    "{\"resourceMetrics\":[{\"resource\":{\"attributes\":["
    "{\"key\":\"service.name\",\"value\":{\"stringValue\":\"shop\"}},"
    "{\"key\":\"host.name\",\"value\":{\"stringValue\":\"h\"}}]},\"scopeMetrics\":[{"
    "\"scope\":{\"name\":\"meter\",\"version\":\"1\"},\"metrics\":["
    "{\"name\":\"heat\",\"unit\":\"Cel\",\"gauge\":{\"dataPoints\":[{" TIME
    ",\"asDouble\":21.5,\"attributes\":[{\"key\":\"a.b\",\"value\":{\"intValue\":\"7\"}}]}]}},"
    "{\"name\":\"calls\",\"sum\":{\"aggregationTemporality\":2,\"isMonotonic\":true,\"dataPoints\":"
    "[{" TIME ",\"asInt\":\"12\"},{" TIME "}]}},"
    "{\"name\":\"took\",\"unit\":\"s\",\"histogram\":{\"aggregationTemporality\":2,\"dataPoints\":"
    "[{" TIME ",\"count\":\"3\",\"sum\":1.5,\"bucketCounts\":[\"1\",\"2\"]}]}},"
    "{\"name\":\"rpc\",\"summary\":{\"dataPoints\":[{" TIME ",\"count\":\"2\",\"sum\":3,"
    "\"quantileValues\":[{\"quantile\":0.5,\"value\":1}]}]}},"
    "{\"name\":\"fine\",\"exponentialHistogram\":{\"dataPoints\":[{}]}}]}]}]}";

#define LABELS "host_name=\"h\",job=\"shop\",otel_scope_name=\"meter\",otel_scope_version=\"1\""
static const char wanted[] =
    "heat_celsius{a_b=\"7\"," LABELS "} 1795354680000 21.5\nheat_celsius is a gauge\n"
    "calls_total{" LABELS "} 1795354680000 12\nrefused 2 bad_value\ncalls_total is a counter\n"
    "took_seconds_count{" LABELS "} 1795354680000 3\ntook_seconds_sum{" LABELS
    "} 1795354680000 1.5\ntook_seconds is a histogram\n"
    "rpc{" LABELS ",quantile=\"0.5\"} 1795354680000 1\nrpc_count{" LABELS
    "} 1795354680000 2\nrpc_sum{" LABELS "} 1795354680000 3\nrpc is a summary\n"
    "refused 5 bad_value\n";

/* ---------------------------------------------------------------- reading into a text */

struct log {
    struct text text;
    char name[SERIES_TEXT_MAX + 1];
};

static enum status log_series(void *context, struct slice text, uint64_t *handle, uint32_t *number,
                              struct error *error)
{
    (void)handle;
    struct log *log = context;
    (void)error;
    *number = 0;
    memcpy(log->name, text.bytes, text.length);
    log->name[text.length] = '\0';
    return STATUS_OK;
}

static enum status log_point(void *context, uint32_t number, struct point point,
                             struct error *error)
{
    struct log *log = context;
    (void)number;
    (void)error;
    text_add_format(&log->text, "%s %lld %.17g\n", log->name, (long long)point.time_ms,
                    point.value);
    return STATUS_OK;
}

static void log_refusal(void *context, uint64_t position, const struct error *error)
{
    struct log *log = context;
    assert_non_null(error->code);
    text_add_format(&log->text, "refused %llu %s\n", (unsigned long long)position, error->code);
}

static enum status log_declaration(void *context, struct slice family, enum family_type type,
                                   struct error *error)
{
    static const char *const names[] = {"gauge", "counter", "histogram", "summary"};
    struct log *log = context;
    (void)error;
    text_add_format(&log->text, "%.*s is a %s\n", (int)family.length, family.bytes, names[type]);
    return STATUS_OK;
}

/* Reads a copy that ends where the message ends, so that a sanitizer sees each byte beyond. */
static enum status read_message(struct log *log, const char *bytes, size_t length)
{
    struct error error = {0};
    struct otlp_skipped skipped = {0};
    struct points_visitor visitor = {log,         log_series, log_point,
                                     log_refusal, NULL,       log_declaration};
    char *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    text_clear(&log->text);
    enum status status = otlp_read((struct slice){copy, length}, &visitor, &skipped, &error);
    if (status != STATUS_OK) {
        assert_int_equal(status, STATUS_INVALID);
        assert_string_equal(error.code, "bad_protobuf");
    }
    free(copy);
    return status;
}

static enum status read_json(struct log *log, const char *json, size_t length)
{
    struct error error = {0};
    struct text message;
    char *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, json, length);
    enum status status = otlp_json_read(copy, length, &message, &error);
    if (status == STATUS_OK) { /* what it writes can always be read */
        assert_int_equal(read_message(log, message.length ? message.bytes : "", message.length),
                         STATUS_OK);
    } else {
        assert_int_equal(status, STATUS_INVALID);
        assert_non_null(error.code);
    }
    text_release(&message);
    free(copy);
    return status;
}

static void make_message(struct text *message)
{
    struct error error = {0};
    assert_int_equal(otlp_json_read(document, strlen(document), message, &error), STATUS_OK);
}

/* ---------------------------------------------------------------- names */

static struct slice slice(const char *text)
{
    return (struct slice){text, strlen(text)};
}

/* Cases of the conventions, as Prometheus' own translation has them. */
static void test_names(void **state)
{
    static const struct {
        const char *name, *unit;
        enum otlp_ending ending;
        const char *wanted;
    } cases[] = {
        {"http.server.request.duration", "s", OTLP_PLAIN, "http_server_request_duration_seconds"},
        {"system.io", "By", OTLP_TOTAL, "system_io_bytes_total"},
        {"system.io.bytes", "By", OTLP_TOTAL, "system_io_bytes_total"},
        {"total.requests", "", OTLP_TOTAL, "requests_total"},
        {"requests_total", "{request}", OTLP_TOTAL, "requests_total"},
        {"cpu.utilization", "1", OTLP_RATIO, "cpu_utilization_ratio"},
        {"cpu.utilization", "1", OTLP_PLAIN, "cpu_utilization"},
        {"speed", "m/s", OTLP_PLAIN, "speed_meters_per_second"},
        {"speed", "{car}/h", OTLP_PLAIN, "speed_per_hour"},
        {"speed", "By/{car}", OTLP_PLAIN, "speed_bytes"},
        {"fill", "%", OTLP_PLAIN, "fill_percent"},
        {"odd", " furlong ", OTLP_PLAIN, "odd_furlong"},
        {"odd", "a^b", OTLP_PLAIN, "odd_a_b"},
        {"9.lives", "", OTLP_PLAIN, "_9_lives"},
        {"a:b..c__d", "", OTLP_PLAIN, "a:b_c_d"},
        {"gr\xc3\xb6\xc3\x9f"
         "e",
         "", OTLP_PLAIN, "gr_e"},
        {"", "s", OTLP_PLAIN, ""},
        {"...", "", OTLP_TOTAL, ""}};
    char out[OTLP_NAME_MAX], name[2 * OTLP_NAME_MAX], key[64];
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        size_t length =
            otlp_metric_name(slice(cases[i].name), slice(cases[i].unit), cases[i].ending, out);
        assert_int_equal(length, strlen(cases[i].wanted));
        assert_memory_equal(out, cases[i].wanted, length);
    }
    for (size_t length = 1; length < sizeof(name); length++) { /* words of one letter */
        memset(name, 'a', length);
        for (size_t i = 1; i < length; i += 2) {
            name[i] = '.';
        }
        size_t used = otlp_metric_name((struct slice){name, length}, slice("m/s"), OTLP_TOTAL, out);
        assert_true(used <= OTLP_NAME_MAX && (used > 0 || length > OTLP_NAME_MAX - 24));
    }
    assert_int_equal(otlp_label_key(slice("1.a--b"), key), 9);
    assert_memory_equal(key, "key_1_a_b", 9);
}

/* ---------------------------------------------------------------- the readers */

static void test_document(void **state)
{
    struct log log;
    (void)state;
    text_init(&log.text, BYTES_MAX);
    assert_int_equal(read_json(&log, document, strlen(document)), STATUS_OK);
    assert_string_equal(log.text.bytes, wanted);
    text_release(&log.text);
}

/* A quantile becomes a label, whose text may not depend on bits that JSON cannot say. */
static void test_odd_quantiles(void **state)
{
    static const struct {
        double level;
        const char *wanted;
    } cases[] = {{0.5, "0.5"},
                 {1, "1"},
                 {0.999, "0.999"},
                 {(double)NAN, "NaN"},
                 {-(double)NAN, "NaN"},
                 {(double)INFINITY, "+Inf"},
                 {-(double)INFINITY, "-Inf"}};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char bytes[11] = {0x32, 9, 0x09}; /* a quantile with nothing but its level */
        struct otlp_quantile quantile;
        memcpy(bytes + 3, &cases[i].level, sizeof(double));
        struct protobuf message = protobuf_of((struct slice){bytes, sizeof(bytes)});
        assert_true(otlp_quantile_next(&message, &quantile));
        assert_string_equal(quantile.text, cases[i].wanted);
        assert_false(otlp_quantile_next(&message, &quantile));
    }
}

/* A prefix of JSON is no JSON; one of protobuf may end behind a field, and has then less to say. */
static void test_cut_at_every_byte(void **state)
{
    struct log log;
    struct text message;
    (void)state;
    text_init(&log.text, BYTES_MAX);
    make_message(&message);
    for (size_t length = 0; length < message.length; length++) {
        enum status status = read_message(&log, message.bytes, length);
        assert_true(status == STATUS_INVALID || length == 0);
    }
    for (size_t length = 0; length < strlen(document); length++) {
        assert_int_equal(read_json(&log, document, length), STATUS_INVALID);
    }
    text_release(&message);
    text_release(&log.text);
}

static void test_random_damage(void **state)
{
    struct random random;
    struct log log;
    struct text message;
    size_t refused = 0;
    (void)state;
    random_init(&random, 11, 1);
    text_init(&log.text, BYTES_MAX);
    make_message(&message);
    for (int round = 0; round < WATCHED_OR(4000, 20000); round++) {
        char bytes[4096];
        bool json = round % 2;
        size_t length = json ? strlen(document) : message.length;
        memcpy(bytes, json ? document : message.bytes, length);
        for (uint64_t i = 1 + random_below(&random, 3); i > 0; i--) {
            bytes[random_below(&random, length)] = (char)random_below(&random, 256);
        }
        refused += (json ? read_json : read_message)(&log, bytes, length) != STATUS_OK;
    }
    assert_in_range(refused, WATCHED_OR(400, 2000), WATCHED_OR(3800, 19000));
    text_release(&message);
    text_release(&log.text);
}

/* ---------------------------------------------------------------- the route */

static struct answer send(struct fixture *fixture)
{
    return fixture_ask(fixture, API_POST, "/v1/metrics", "application/json", document,
                       strlen(document), API_IDENTITY);
}

#define CALLS                                                                                      \
    "/api/v1/series/calls_total%7Bhost_name%3D%22h%22%2Cjob%3D%22shop%22%2Cotel_scope_name"        \
    "%3D%22meter%22%2Cotel_scope_version%3D%221%22%7D"

static void test_partial_success_and_kind(void **state)
{
    struct fixture fixture;
    (void)state;
    fixture_open(&fixture);
    struct answer answer = send(&fixture);
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.body, "\"rejectedDataPoints\":\"2\""));
    fixture_answer_release(&answer);
    expect(&fixture, API_GET, CALLS, NULL, 200, "\"kind\":\"counter\"");
    expect(&fixture, API_GET, CALLS "/points", NULL, 200, "[1795354680000,12]");
    expect(&fixture, API_PATCH, CALLS, "{\"kind\":\"gauge\"}", 200, NULL);
    answer = send(&fixture);
    fixture_answer_release(&answer);
    expect(&fixture, API_GET, CALLS, NULL, 200, "\"kind\":\"gauge\"");
    fixture_close(&fixture);
}

/* Acknowledged means stored, and anything else means that nothing is, whichever allocation fails.
 */
static void test_without_memory(void **state)
{
    bool stored = false;
    (void)state;
    for (uint64_t n = 1; n < N_MAX && !stored; n++) {
        struct fixture fixture;
        fixture_open(&fixture);
        mem_fault_set(n, 0);
        struct answer answer = send(&fixture);
        bool hit = mem_fault_hit();
        mem_fault_set(0, 0);
        assert_true(answer.status == 200 || answer.status == 503);
        stored = !hit && answer.status == 200;
        fixture_answer_release(&answer);
        expect(&fixture, API_GET, CALLS "/points", NULL, answer.status == 200 ? 200 : 404, NULL);
        fixture_close(&fixture);
    }
    assert_true(stored);
}

/* ---------------------------------------------------------------- families */

static void declare(struct fixture *fixture, const char *name, enum family_type type)
{
    struct write_batch *batch = NULL;
    struct families *fresh = NULL;
    struct write_result result;
    struct error error = {0};
    struct api_services *services = &fixture->services;
    assert_int_equal(write_batch_new(services->storage, 10, &batch, &error), STATUS_OK);
    assert_int_equal(families_new(&fresh, &error), STATUS_OK);
    assert_int_equal(families_declare(services->families, fresh, slice(name), type, batch, &error),
                     STATUS_OK);
    assert_int_equal(writer_write_take(services->writer, batch, &result, &error), STATUS_OK);
    families_merge(services->families, fresh);
    families_free(fresh);
}

static int kind_of(struct families *families, const char *text)
{
    enum series_kind kind = SERIES_GAUGE;
    return families_kind(families, text, strlen(text), &kind) ? (int)kind : -1;
}

/* How the store thins a series: five points with a reset in the middle, or a fall that is none. */
static bool thinned_as_counter(struct families *families, const char *text, double after_fall)
{
    struct point points[5] = {{0, 90}, {1, 95}, {2, after_fall}, {3, 60}, {4, 70}};
    return families_counter(families, text, strlen(text), points, 5);
}

static void test_families(void **state)
{
    struct fixture fixture;
    struct families *again = NULL;
    struct error error = {0};
    (void)state;
    fixture_open(&fixture);
    struct families *families = fixture.services.families;
    declare(&fixture, "requests", FAMILY_COUNTER);
    declare(&fixture, "odd_total", FAMILY_GAUGE);
    declare(&fixture, "took", FAMILY_HISTOGRAM);
    declare(&fixture, "rpc", FAMILY_SUMMARY);
    declare(&fixture, "turned", FAMILY_COUNTER);
    declare(&fixture, "turned", FAMILY_GAUGE);
    declare(&fixture, "no\nname", FAMILY_COUNTER);
    declare(&fixture, "a {b", FAMILY_COUNTER);
    assert_int_equal(families_count(families), 6);
    assert_int_equal(families_new(&again, &error), STATUS_OK);
    assert_int_equal(families_load(again, fixture.services.storage, &error), STATUS_OK);
    assert_int_equal(families_count(again), 6);
    for (int i = 0; i < 2; i++, families = again) {
        assert_int_equal(kind_of(families, "requests{a=\"b\"}"), SERIES_COUNTER);
        assert_int_equal(kind_of(families, "requests_total"), SERIES_COUNTER);
        assert_int_equal(kind_of(families, "odd_total"), SERIES_GAUGE);
        assert_int_equal(kind_of(families, "took_bucket{le=\"1\"}"), SERIES_COUNTER);
        assert_int_equal(kind_of(families, "took_count"), SERIES_COUNTER);
        assert_int_equal(kind_of(families, "took_sum"), -1);
        assert_int_equal(kind_of(families, "rpc{quantile=\"0.5\"}"), SERIES_GAUGE);
        assert_int_equal(kind_of(families, "turned"), SERIES_GAUGE);
        assert_int_equal(kind_of(families, "{\"a {b\"}"), SERIES_COUNTER);
        assert_int_equal(kind_of(families, "unknown_total"), -1);
        assert_true(thinned_as_counter(families, "requests{a=\"b\"}", 80));
        assert_true(thinned_as_counter(families, "unknown_total", 3));
        assert_false(thinned_as_counter(families, "unknown_total", 80));
        assert_false(thinned_as_counter(families, "odd_total", 3));
        assert_false(thinned_as_counter(families, "unknown", 3));
        assert_string_equal(families_type(families, slice("took")), "histogram");
        assert_null(families_type(families, slice("took_count")));
    }
    families_free(again);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),          cmocka_unit_test(test_document),
        cmocka_unit_test(test_odd_quantiles),  cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_random_damage),  cmocka_unit_test(test_partial_success_and_kind),
        cmocka_unit_test(test_without_memory), cmocka_unit_test(test_families),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
