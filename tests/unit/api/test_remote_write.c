/* Remote write: the reader on messages of both versions, on damaged ones, without memory; its
 * speed. SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "api/protobuf.h"
#include "api/remote_write_reader.h"
#include "api/snappy_block.h"
#include "base/check.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"

#include <math.h>
#include <snappy-c.h>
#include <stdlib.h>
#include <time.h>

#define N_MAX     200
#define SERIES    1000
#define ROUNDS    20
#define STALE     UINT64_C(0x7ff0000000000002)
#define TYPE_1    "application/x-protobuf"
#define TYPE_2    "application/x-protobuf;proto=io.prometheus.write.v2.Request"
#define BYTES_MAX (4u << 20)

/* ---------------------------------------------------------------- writing messages */

static void add_varint(struct text *out, uint64_t value)
{
    for (; value > 0x7F; value >>= 7) {
        text_add_char(out, (char)(value | 0x80));
    }
    text_add_char(out, (char)value);
}

static void add_bytes(struct text *out, uint32_t number, const char *bytes, size_t length)
{
    add_varint(out, number << 3 | WIRE_BYTES);
    add_varint(out, length);
    text_add(out, bytes, length);
}

static void add_string(struct text *out, uint32_t number, const char *string)
{
    add_bytes(out, number, string, strlen(string));
}

static void add_message(struct text *out, uint32_t number, struct text *message)
{
    assert_int_equal(message->failed, STATUS_OK);
    add_bytes(out, number, message->length ? message->bytes : "", message->length);
    text_clear(message);
}

static void add_label(struct text *series, const char *key, const char *value)
{
    struct text label;
    text_init(&label, BYTES_MAX);
    add_string(&label, 1, key);
    add_string(&label, 2, value);
    add_message(series, 1, &label);
    text_release(&label);
}

static void add_sample(struct text *series, uint64_t bits, int64_t time_ms)
{
    struct text sample;
    text_init(&sample, 64);
    add_varint(&sample, 1 << 3 | WIRE_FIXED64);
    text_add(&sample, (const char *)&bits, sizeof(bits));
    add_varint(&sample, 2 << 3 | WIRE_VARINT);
    add_varint(&sample, (uint64_t)time_ms);
    add_message(series, 2, &sample);
    text_release(&sample);
}

static uint64_t bits_of(double value)
{
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* `count` series, one sample each, as a node exporter's. */
static void write_1(struct text *out, size_t count, int64_t time_ms)
{
    struct text series;
    text_init(&series, BYTES_MAX);
    for (size_t i = 0; i < count; i++) {
        char cpu[24], instance[40];
        snprintf(cpu, sizeof(cpu), "%zu", i % 64);
        snprintf(instance, sizeof(instance), "host-%zu.example:9100", i / 64);
        add_label(&series, "__name__", "node_cpu_seconds_total");
        add_label(&series, "cpu", cpu);
        add_label(&series, "instance", instance);
        add_label(&series, "job", "node");
        add_label(&series, "mode", "idle");
        add_sample(&series, bits_of((double)i / 4), time_ms);
        add_message(out, 1, &series);
    }
    text_release(&series);
}

static void write_2(struct text *out, size_t count, int64_t time_ms)
{
    static const char *const fixed[] = {
        "", "__name__", "node_cpu_seconds_total", "cpu", "instance", "job", "node", "mode", "idle"};
    struct text series, references;
    text_init(&series, BYTES_MAX);
    text_init(&references, 256);
    for (size_t i = 0; i < 9; i++) {
        add_string(out, 4, fixed[i]);
    }
    for (size_t i = 0; i < 64 + (count + 63) / 64; i++) {
        char symbol[40];
        snprintf(symbol, sizeof(symbol), i < 64 ? "%zu" : "host-%zu.example:9100",
                 i < 64 ? i : i - 64);
        add_string(out, 4, symbol);
    }
    for (size_t i = 0; i < count; i++) {
        const uint64_t numbers[] = {1, 2, 3, 9 + i % 64, 4, 73 + i / 64, 5, 6, 7, 8};
        for (size_t k = 0; k < 10; k++) {
            add_varint(&references, numbers[k]);
        }
        add_message(&series, 1, &references);
        add_sample(&series, bits_of((double)i / 4), time_ms);
        add_message(out, 5, &series);
    }
    text_release(&references);
    text_release(&series);
}

/* ---------------------------------------------------------------- reading them into a text */

struct log {
    struct text text;
    char names[64][SERIES_TEXT_MAX];
    uint32_t count;
    enum status answer; /* of points: for what the visitor itself may say */
};

static enum status log_series(void *context, struct slice text, uint64_t *handle, uint32_t *number,
                              struct error *error)
{
    (void)handle;
    struct log *log = context;
    for (*number = 0; *number < log->count; (*number)++) {
        if (strlen(log->names[*number]) == text.length &&
            memcmp(log->names[*number], text.bytes, text.length) == 0) {
            return STATUS_OK;
        }
    }
    if (log->count == 64) {
        return error_set(error, STATUS_TOO_LARGE, "full");
    }
    memcpy(log->names[log->count], text.bytes, text.length);
    log->names[log->count++][text.length] = '\0';
    return STATUS_OK;
}

static enum status log_point(void *context, uint32_t number, struct point point,
                             struct error *error)
{
    struct log *log = context;
    text_add_format(&log->text, "%s %lld %.17g\n", log->names[number], (long long)point.time_ms,
                    point.value);
    return log->answer ? error_set(error, log->answer, "so") : STATUS_OK;
}

static enum status log_end(void *context, uint32_t number, int64_t time_ms, struct error *error)
{
    struct log *log = context;
    (void)error;
    text_add_format(&log->text, "%s %lld ends\n", log->names[number], (long long)time_ms);
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
static enum status read_into(struct log *log, const char *bytes, size_t length,
                             enum remote_write_version version, struct points_cache *cache)
{
    struct error error = {0};
    struct remote_write_skipped skipped = {0};
    struct points_visitor visitor = {log,         log_series, log_point,
                                     log_refusal, log_end,    log_declaration};
    char *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    struct remote_write request = {{copy, length}, version, cache};
    text_clear(&log->text);
    enum status status = remote_write_read(&request, &visitor, &skipped, &error);
    if (status == STATUS_INVALID) {
        assert_string_equal(error.code, "bad_protobuf");
    }
    free(copy);
    return status;
}

static struct log *log_new(void)
{
    struct log *log = calloc(1, sizeof(*log));
    assert_non_null(log);
    text_init(&log->text, BYTES_MAX);
    text_add_string(&log->text, "");
    return log;
}

static void log_free(struct log *log)
{
    text_release(&log->text);
    free(log);
}

/* ---------------------------------------------------------------- tests of the reader */

static void test_values_and_faults(void **state)
{
    (void)state;
    struct log *log = log_new();
    struct text message, series;
    text_init(&message, BYTES_MAX);
    text_init(&series, BYTES_MAX);
    add_label(&series, "b", "2"); /* out of order */
    add_label(&series, "__name__", "x");
    add_label(&series, "a", "1");
    add_sample(&series, bits_of(1.5), NOW_MS);
    add_sample(&series, bits_of((double)NAN), NOW_MS + 1);
    add_sample(&series, STALE, NOW_MS + 2);
    add_sample(&series, bits_of(-(double)INFINITY), NOW_MS + 3);
    add_sample(&series, bits_of(1), -1);
    add_sample(&series, bits_of(1), INT64_MIN);
    add_message(&message, 1, &series);
    add_label(&series, "__name__", "x");
    add_label(&series, "__name__", "y");
    add_sample(&series, bits_of(1), NOW_MS);
    add_message(&message, 1, &series);
    add_label(&series, "a", "1");
    add_sample(&series, bits_of(1), NOW_MS);
    add_message(&message, 1, &series);
    for (int i = 0; i < 33; i++) {
        char key[8];
        snprintf(key, sizeof(key), "l%d", i);
        add_label(&series, key, "x");
    }
    add_sample(&series, bits_of(1), NOW_MS);
    add_message(&message, 1, &series);
    add_label(&series, "__name__", "nothing to say");
    add_message(&message, 1, &series);
    assert_int_equal(read_into(log, message.bytes, message.length, REMOTE_WRITE_1, NULL),
                     STATUS_OK);
    assert_string_equal(log->text.bytes, "x{a=\"1\",b=\"2\"} 1795354740000 1.5\n"
                                         "x{a=\"1\",b=\"2\"} 1795354740001 nan\n"
                                         "x{a=\"1\",b=\"2\"} 1795354740002 ends\n"
                                         "refused 3 bad_value\n"
                                         "refused 4 timestamp_unit\n"
                                         "refused 5 timestamp_unit\n"
                                         "refused 6 duplicate_label\n"
                                         "refused 7 bad_series_name\n"
                                         "refused 8 too_many_labels\n");
    assert_int_equal(log->count, 1);
    text_release(&series);
    text_release(&message);
    log_free(log);
}

static void add_type(struct text *out, uint32_t number, uint64_t type, const char *family)
{
    struct text metadata;
    text_init(&metadata, 1024);
    add_varint(&metadata, 1 << 3);
    add_varint(&metadata, type);
    if (family) {
        add_string(&metadata, 2, family);
    }
    add_string(&metadata, family ? 4 : 3, "help");
    add_message(out, number, &metadata);
    text_release(&metadata);
}

/* 1.0 names families, 2.0 tells it with each series, whose name may be that of a part. */
static void test_metadata(void **state)
{
    static const char *const names[] = {"a_total", "b", "c_bucket", "c_count", "d_sum", "e", "f"};
    static const uint64_t types[] = {1, 2, 3, 3, 5, 6, 900};
    struct log *log = log_new();
    struct text message, series;
    (void)state;
    text_init(&message, BYTES_MAX);
    text_init(&series, BYTES_MAX);
    add_type(&message, 3, 1, "requests");
    add_type(&message, 3, 3, "latency");
    add_type(&message, 3, 0, "unknown");
    assert_int_equal(read_into(log, message.bytes, message.length, REMOTE_WRITE_1, NULL),
                     STATUS_OK);
    assert_string_equal(log->text.bytes, "requests is a counter\nlatency is a histogram\n");
    text_clear(&message);
    add_string(&message, 4, "");
    add_string(&message, 4, "__name__");
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        const char references[] = {1, (char)(i + 2)};
        add_string(&message, 4, names[i]);
        add_bytes(&series, 1, references, 2);
        add_type(&series, 5, types[i], NULL);
        add_sample(&series, bits_of(1.0), NOW_MS);
        add_message(&message, 5, &series);
    }
    assert_int_equal(read_into(log, message.bytes, message.length, REMOTE_WRITE_2, NULL),
                     STATUS_OK);
    static const char *const wanted[] = {"a_total is a counter", "b is a gauge",
                                         "c is a histogram\nc_bucket", "c is a histogram\nc_count",
                                         "d is a summary\nd_sum"};
    for (size_t i = 0; i < ARRAY_COUNT(wanted); i++) {
        assert_non_null(strstr(log->text.bytes, wanted[i]));
    }
    assert_null(strstr(log->text.bytes, "e is"));
    assert_null(strstr(log->text.bytes, "f is"));
    text_release(&series);
    text_release(&message);
    log_free(log);
}

static void test_visitor_may_stop(void **state)
{
    (void)state;
    struct log *log = log_new();
    struct text message;
    text_init(&message, BYTES_MAX);
    write_1(&message, 2, NOW_MS);
    log->answer = STATUS_BUSY;
    assert_int_equal(read_into(log, message.bytes, message.length, REMOTE_WRITE_1, NULL),
                     STATUS_BUSY);
    text_release(&message);
    log_free(log);
}

/* Both versions say the same, with names known and unknown. */
static void test_versions_agree(void **state)
{
    (void)state;
    struct error error = {0};
    struct points_cache *cache = NULL;
    struct log *logs[4];
    struct text messages[2];
    text_init(&messages[0], BYTES_MAX);
    text_init(&messages[1], BYTES_MAX);
    write_1(&messages[0], 40, NOW_MS);
    write_2(&messages[1], 40, NOW_MS);
    assert_int_equal(points_cache_new(&cache, &error), STATUS_OK);
    for (int i = 0; i < 4; i++) {
        int version = i == 1 ? 1 : 0;
        logs[i] = log_new();
        assert_int_equal(read_into(logs[i], messages[version].bytes, messages[version].length,
                                   version ? REMOTE_WRITE_2 : REMOTE_WRITE_1, i > 1 ? cache : NULL),
                         STATUS_OK);
        assert_string_equal(logs[i]->text.bytes, logs[0]->text.bytes);
        assert_int_equal(logs[i]->count, 40);
    }
    for (int i = 0; i < 4; i++) {
        log_free(logs[i]);
    }
    points_cache_free(cache);
    text_release(&messages[0]);
    text_release(&messages[1]);
}

/* Cut anywhere, a message is damaged, or ends after a whole field of its top level. */
static void test_cut_at_every_byte(void **state)
{
    (void)state;
    struct log *log = log_new();
    for (int version = 0; version < 2; version++) {
        struct text message;
        size_t whole = 0;
        text_init(&message, BYTES_MAX);
        (version ? write_2 : write_1)(&message, 3, NOW_MS);
        for (size_t cut = 0; cut <= message.length; cut++) {
            enum status status =
                read_into(log, message.bytes, cut, version ? REMOTE_WRITE_2 : REMOTE_WRITE_1, NULL);
            assert_true(status == STATUS_OK || status == STATUS_INVALID);
            whole += status == STATUS_OK;
        }
        assert_int_equal(whole, version ? 1 + 9 + 65 + 3 : 1 + 3);
        text_release(&message);
    }
    log_free(log);
}

/* Bytes changed at random never crash, and known names change nothing in what comes out. */
static void test_random_damage(void **state)
{
    (void)state;
    struct error error = {0};
    struct points_cache *cache = NULL;
    struct log *plain = log_new(), *cached = log_new();
    struct random random;
    random_init(&random, 5, 1);
    assert_int_equal(points_cache_new(&cache, &error), STATUS_OK);
    for (int version = 0; version < 2; version++) {
        enum remote_write_version which = version ? REMOTE_WRITE_2 : REMOTE_WRITE_1;
        struct text message;
        text_init(&message, BYTES_MAX);
        (version ? write_2 : write_1)(&message, 4, NOW_MS);
        for (int i = 0; i < 20000; i++) {
            size_t at = random_below(&random, (uint32_t)message.length);
            char old = message.bytes[at];
            message.bytes[at] = (char)random_below(&random, 256);
            plain->count = cached->count = 0;
            enum status status = read_into(plain, message.bytes, message.length, which, NULL);
            assert_int_equal(read_into(cached, message.bytes, message.length, which, cache),
                             status);
            if (status == STATUS_OK) {
                assert_string_equal(cached->text.bytes ? cached->text.bytes : "",
                                    plain->text.bytes ? plain->text.bytes : "");
            }
            message.bytes[at] = old;
        }
        text_release(&message);
    }
    points_cache_free(cache);
    log_free(plain);
    log_free(cached);
}

static void test_types(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        int version; /* -1: refused */
    } cases[] = {
        {"", 0},
        {TYPE_1, 0},
        {TYPE_2, 1},
        {" Application/x-protobuf ; charset=utf-8 ; PROTO=\"io.prometheus.write.v2.Request\"", 1},
        {"application/x-protobuf;proto=prometheus.WriteRequest", 0},
        {"application/x-protobuf;proto=io.prometheus.write.v2.Requests", -1},
        {"application/x-protobuf;proto=", -1},
        {"application/x-protobufs", -1},
        {"application/json", -1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum remote_write_version version = REMOTE_WRITE_1;
        assert_int_equal(remote_write_version(cases[i].type, &version), cases[i].version >= 0);
        if (cases[i].version >= 0) {
            assert_int_equal(version, cases[i].version);
        }
    }
}

static void test_snappy_blocks(void **state)
{
    (void)state;
    struct text message;
    struct error error = {0};
    char *out = NULL, packed[8192];
    size_t length = 0, packed_length = sizeof(packed);
    text_init(&message, BYTES_MAX);
    write_1(&message, 20, NOW_MS);
    assert_int_equal(snappy_compress(message.bytes, message.length, packed, &packed_length),
                     SNAPPY_OK);
    for (size_t cut = 0; cut < packed_length; cut++) {
        char *copy = malloc(cut + 1);
        assert_non_null(copy);
        memcpy(copy, packed, cut);
        assert_int_equal(snappy_block_unpack(copy, cut, BYTES_MAX, &out, &length, &error),
                         STATUS_INVALID);
        assert_string_equal(error.code, "bad_snappy");
        assert_null(out);
        free(copy);
    }
    assert_int_equal(
        snappy_block_unpack(packed, packed_length, message.length - 1, &out, &length, &error),
        STATUS_TOO_LARGE);
    assert_int_equal(
        snappy_block_unpack(packed, packed_length, message.length, &out, &length, &error),
        STATUS_OK);
    assert_int_equal(length, message.length);
    assert_memory_equal(out, message.bytes, length);
    mem_free(out);
    /* A length that nothing stands behind takes no memory. */
    size_t before = mem_bytes_peak();
    assert_int_equal(
        snappy_block_unpack("\x80\x80\x80\x1e\x00", 5, 64u << 20, &out, &length, &error),
        STATUS_INVALID);
    assert_int_equal(mem_bytes_peak(), before);
    text_release(&message);
}

/* ---------------------------------------------------------------- the route without memory */

static struct answer send(struct fixture *fixture, const struct text *message, const char *type)
{
    size_t length = snappy_max_compressed_length(message->length);
    char *packed = malloc(length);
    assert_non_null(packed);
    assert_int_equal(snappy_compress(message->bytes, message->length, packed, &length), SNAPPY_OK);
    struct answer answer =
        fixture_ask(fixture, API_POST, "/api/v1/write", type, packed, length, API_SNAPPY);
    free(packed);
    return answer;
}

/* Acknowledged means stored, and anything else means that nothing is, whichever allocation fails.
 */
static void run_without_memory(int version, int persistent)
{
    static const char target[] =
        "/api/v1/series/"
        "node_cpu_seconds_total%7Bcpu%3D%220%22%2Cinstance%3D%22host-0."
        "example%3A9100%22%2Cjob%3D%22node%22%2Cmode%3D%22idle%22%7D/points";
    struct text message;
    text_init(&message, BYTES_MAX);
    (version ? write_2 : write_1)(&message, 3, NOW_MS - 60000);
    add_bytes(&message, version ? 5 : 1, "\x12\x06\x10\x80\x80\x80\x80\x01",
              8); /* a nameless one */
    for (uint64_t n = 1; n < N_MAX; n++) {
        struct fixture fixture;
        size_t before = mem_bytes_in_use();
        fixture_open(&fixture);
        mem_fault_set(n, persistent);
        struct answer answer = send(&fixture, &message, version ? TYPE_2 : TYPE_1);
        int hit = mem_fault_hit();
        mem_fault_set(0, 0);
        assert_true(answer.status == 400 || answer.status == 503);
        if (answer.status == 503) {
            assert_string_equal(answer.retry_after, "1");
        } else {
            assert_non_null(strstr(answer.body, "1 samples refused, all others stored"));
        }
        struct answer stored = get(&fixture, target);
        assert_int_equal(stored.status == 200 && strstr(stored.body, "[["), answer.status == 400);
        fixture_answer_release(&stored);
        fixture_answer_release(&answer);
        fixture_close(&fixture);
        assert_int_equal(mem_bytes_in_use(), before);
        if (!hit) {
            text_release(&message);
            return;
        }
    }
    fail_msg("version %d never passed", version + 1);
}

static void test_without_memory(void **state)
{
    (void)state;
    for (int version = 0; version < 2; version++) {
        run_without_memory(version, 0);
        run_without_memory(version, 1);
    }
}

/* ---------------------------------------------------------------- speed */

struct count {
    uint64_t points;
    uint32_t series;
};

static enum status count_series(void *context, struct slice text, uint64_t *handle,
                                uint32_t *number, struct error *error)
{
    (void)handle;
    struct count *count = context;
    (void)text, (void)error;
    *number = count->series++;
    return STATUS_OK;
}

static enum status count_point(void *context, uint32_t number, struct point point,
                               struct error *error)
{
    struct count *count = context;
    (void)number, (void)point, (void)error;
    count->points++;
    return STATUS_OK;
}

/* Processor nanoseconds a sample, best of ROUNDS. */
static double nanoseconds(const struct text *message, enum remote_write_version version,
                          struct points_cache *cache)
{
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        struct count count = {0};
        struct error error = {0};
        struct timespec begin, end;
        struct remote_write_skipped skipped = {0};
        struct points_visitor visitor = {&count, count_series, count_point, NULL, NULL, NULL};
        struct remote_write request = {{message->bytes, message->length}, version, cache};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
        assert_int_equal(remote_write_read(&request, &visitor, &skipped, &error), STATUS_OK);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
        assert_int_equal(count.points, SERIES);
        double spent =
            (double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec);
        best = fmin(best, spent / SERIES);
    }
    return best;
}

static void test_speed(void **state)
{
    (void)state;
    struct error error = {0};
    struct points_cache *cache = NULL;
    struct text first, second;
    text_init(&first, BYTES_MAX);
    text_init(&second, BYTES_MAX);
    write_1(&first, SERIES, NOW_MS);
    write_2(&second, SERIES, NOW_MS);
    assert_int_equal(points_cache_new(&cache, &error), STATUS_OK);
    double plain = nanoseconds(&first, REMOTE_WRITE_1, NULL);
    double known = nanoseconds(&first, REMOTE_WRITE_1, cache);
    double two = nanoseconds(&second, REMOTE_WRITE_2, NULL);
    print_message("reading a sample with five labels: 1.0 %.0f ns, names known %.0f ns, "
                  "2.0 %.0f ns\n",
                  plain, known, two);
    assert_true(known < plain);
    points_cache_free(cache);
    text_release(&first);
    text_release(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_and_faults),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_visitor_may_stop),
        cmocka_unit_test(test_versions_agree),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_random_damage),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_snappy_blocks),
        cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
