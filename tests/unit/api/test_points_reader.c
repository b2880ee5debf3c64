/* The reader of points against jansson on random documents, on broken ones, and its speed.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/points_reader.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/series_name.h"
#include "base/text.h"
#include "tests/watched.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NOW_MS    INT64_C(1795354740000)
#define DOCUMENTS 20000

/* What a reading gave, written down as text so that two readings can be compared. */
struct log {
    struct text text;
    char (*names)[SERIES_TEXT_MAX];
    uint32_t count;
};

static enum status log_series(void *context, struct slice text, uint64_t *handle, uint32_t *number,
                              struct error *error)
{
    (void)handle;
    struct log *log = context;
    for (uint32_t i = 0; i < log->count; i++) {
        if (strlen(log->names[i]) == text.length &&
            memcmp(log->names[i], text.bytes, text.length) == 0) {
            *number = i;
            return STATUS_OK;
        }
    }
    if (log->count == 64) {
        return error_set(error, STATUS_TOO_LARGE, "full");
    }
    memcpy(log->names[log->count], text.bytes, text.length);
    log->names[log->count][text.length] = '\0';
    *number = log->count++;
    return STATUS_OK;
}

static enum status log_point(void *context, uint32_t number, struct point point,
                             struct error *error)
{
    struct log *log = context;
    (void)error;
    text_add_format(&log->text, "%s %lld %.17g\n", log->names[number], (long long)point.time_ms,
                    point.value + 0.0); /* jansson reads -0 as the integer 0 */
    return STATUS_OK;
}

static void log_refusal(void *context, uint64_t position, const struct error *error)
{
    struct log *log = context;
    (void)error;
    text_add_format(&log->text, "refused %llu\n", (unsigned long long)position);
}

static void log_init(struct log *log)
{
    text_init(&log->text, 1u << 20);
    log->names = calloc(64, sizeof(*log->names));
    log->count = 0;
}

static void log_release(struct log *log)
{
    text_release(&log->text);
    free(log->names);
}

static enum status read_into(struct log *log, const char *body, size_t length,
                             struct points_cache *cache)
{
    struct error error = {0};
    struct points_options options = {.now_ms = NOW_MS};
    struct points_visitor visitor = {log, log_series, log_point, log_refusal, NULL, NULL};
    return points_read(body, length, &options, cache, &visitor, &error);
}

/* ---------------------------------------------------------------- the oracle: a tree by jansson */

static bool oracle_time(const json_t *value, int64_t *time_ms)
{
    struct error error = {0};
    if (json_is_string(value)) {
        return clock_parse(json_string_value(value), json_string_length(value), 1, time_ms,
                           &error) == STATUS_OK;
    }
    if (!json_is_number(value)) {
        return false;
    }
    double number = floor(json_number_value(value));
    *time_ms = json_is_integer(value) ? json_integer_value(value)
               : fabs(number) < 9e18  ? (int64_t)number
                                      : 0;
    return *time_ms >= INT64_C(94694400000);
}

static bool oracle_name(const json_t *object, char *out, size_t *length)
{
    struct series_label labels[64];
    size_t count = 0;
    struct error error = {0};
    const json_t *name = json_object_get(object, "series");
    json_t *given = json_object_get(object, "labels");
    if (!json_is_string(name) || (given && !json_is_object(given) && !json_is_null(given)) ||
        json_object_size(given) > SERIES_LABELS_MAX) {
        return false;
    }
    const char *key;
    json_t *value;
    json_object_foreach(given, key, value)
    {
        if (!json_is_string(value)) {
            return false;
        }
        labels[count].key = (struct slice){key, strlen(key)};
        labels[count++].value = (struct slice){json_string_value(value), json_string_length(value)};
    }
    return series_name_write((struct slice){json_string_value(name), json_string_length(name)},
                             labels, count, out, length, &error) == STATUS_OK;
}

static bool oracle_value(const json_t *value, double *number)
{
    *number = json_is_number(value) ? json_number_value(value) : (double)NAN;
    return json_is_number(value) || json_is_null(value);
}

static void oracle_one(struct log *log, const json_t *object, uint64_t *position)
{
    static const char *const known[] = {"series", "labels", "timestamp", "value", "points"};
    char name[SERIES_TEXT_MAX];
    size_t length = 0, members = 0;
    struct error error = {0};
    uint32_t number = 0;
    for (size_t i = 0; i < 5; i++) {
        members += json_object_get(object, known[i]) != NULL;
    }
    const json_t *points = json_object_get(object, "points");
    const json_t *value = json_object_get(object, "value");
    const json_t *stamp = json_object_get(object, "timestamp");
    struct point point = {NOW_MS, (double)NAN};
    bool fine = members == json_object_size(object) && oracle_name(object, name, &length);
    fine = fine && !(points && (value || stamp)) && (points || value);
    bool pairs = json_is_array(points);
    fine = fine && (!points || pairs);
    fine = fine && (!value || oracle_value(value, &point.value));
    fine = fine && (!stamp || oracle_time(stamp, &point.time_ms));
    fine =
        fine && log_series(log, (struct slice){name, length}, NULL, &number, &error) == STATUS_OK;
    if (!pairs) {
        if (fine) {
            log_point(log, number, point, &error);
        } else {
            log_refusal(log, *position, &error);
        }
        ++*position;
        return;
    }
    for (size_t i = 0; i < json_array_size(points); i++, ++*position) {
        const json_t *pair = json_array_get(points, i);
        bool good = fine && json_is_array(pair) && json_array_size(pair) == 2 &&
                    oracle_time(json_array_get(pair, 0), &point.time_ms) &&
                    oracle_value(json_array_get(pair, 1), &point.value);
        if (good) {
            log_point(log, number, point, &error);
        } else {
            log_refusal(log, *position, &error);
        }
    }
}

static bool oracle_read(struct log *log, const char *body, size_t length)
{
    json_error_t cause;
    uint64_t position = 0;
    json_t *document = json_loadb(body, length, 0, &cause);
    bool readable = json_is_object(document) || json_is_array(document);
    if (json_is_object(document)) {
        oracle_one(log, document, &position);
    }
    for (size_t i = 0; readable && json_is_array(document) && i < json_array_size(document); i++) {
        const json_t *one = json_array_get(document, i);
        readable = json_is_object(one);
        if (readable) {
            oracle_one(log, one, &position);
        }
    }
    json_decref(document);
    return readable;
}

/* ---------------------------------------------------------------- random documents */

static const char *pick(struct random *random, const char *const *list, size_t count)
{
    return list[random_below(random, count)];
}
#define PICK(random, list) pick(random, list, sizeof(list) / sizeof(list[0]))

static void blank(struct random *random, struct text *out)
{
    static const char *const blanks[] = {"", "", "", "", " ", "\n", "\t ", "\r\n"};
    text_add_string(out, PICK(random, blanks));
}

static void add_stamp(struct random *random, struct text *out)
{
    static const char *const odd[] = {"\"2026-11-22T13:40:00+02:00\"",
                                      "\"yesterday\"",
                                      "null",
                                      "true",
                                      "1795354740",
                                      "1795354740000.75",
                                      "1.79535474e12",
                                      "0",
                                      "-1795354740000",
                                      "[1,2]",
                                      "{\"a\":{}}",
                                      "9223372036854775807"};
    if (random_below(random, 5) == 0) {
        text_add_string(out, PICK(random, odd));
    } else {
        text_add_int(out, NOW_MS - (int64_t)random_below(random, 100000000));
    }
}

static void add_value(struct random *random, struct text *out)
{
    static const char *const odd[] = {
        "null",     "-0",           "0.1e1", "1E-400",
        "\"3\"",    "false",        "[]",    "123456789012345678901234567890",
        "-1.5e+10", "{\"value\":1}"};
    if (random_below(random, 5) == 0) {
        text_add_string(out, PICK(random, odd));
    } else {
        text_add_double_digits(out, random_normal(random) * 100.0,
                               (int)random_below(random, 17) + 1);
    }
}

static void add_labels(struct random *random, struct text *out)
{
    static const char *const keys[] = {"site", "a", "host", "k\\u0065y", "b d", ""};
    static const char *const values[] = {"\"x\"",        "\"\"",    "\"\\\"q\\\\\"",
                                         "\"\xC3\xBC\"", "\"y z\"", "7"};
    size_t count = random_below(random, 4), first = random_below(random, 6);
    size_t usual = random_below(random, 4) ? 3 : 6;
    text_add_char(out, '{');
    for (size_t i = 0; i < count; i++) {
        text_add_string(out, i ? "," : "");
        blank(random, out);
        text_add_format(out, "\"%s\":", keys[(first + i) % usual]);
        blank(random, out);
        text_add_string(out, values[random_below(random, usual == 6 ? 6 : 2)]);
        blank(random, out);
    }
    text_add_char(out, '}');
}

static void add_pairs(struct random *random, struct text *out)
{
    size_t count = random_below(random, 5);
    text_add_char(out, '[');
    for (size_t i = 0; i < count; i++) {
        text_add_string(out, i ? "," : "");
        size_t parts = random_below(random, 12) ? 2 : random_below(random, 4);
        text_add_string(out, "[");
        for (size_t p = 0; p < parts; p++) {
            text_add_string(out, p ? ", " : "");
            if (p == 0) {
                add_stamp(random, out);
            } else {
                add_value(random, out);
            }
        }
        text_add_string(out, "]");
    }
    text_add_char(out, ']');
}

static void add_object(struct random *random, struct text *out)
{
    static const char *const names[] = {"\"boiler.temp\"", "\"s\"", "\"x y\"",
                                        "\"\\u00fc\"",     "\"\"",  "4"};
    bool pairs = random_below(random, 4) == 0;
    unsigned order = (unsigned)random_below(random, 4);
    bool first = true;
    text_add_char(out, '{');
    for (unsigned i = 0; i < 4; i++) {
        unsigned which = (i + order) % 4;
        bool leave_out =
            random_below(random, 15) == 0 || (which == 2 && pairs && random_below(random, 9));
        if (leave_out || (which == 1 && random_below(random, 2))) {
            continue;
        }
        blank(random, out);
        text_add_string(out, first ? "" : ",");
        blank(random, out);
        first = false;
        if (which == 0) {
            text_add_format(out, "\"series\":%s",
                            names[random_below(random, random_below(random, 5) ? 2 : 6)]);
        } else if (which == 1) {
            text_add_string(out, "\"labels\" : ");
            add_labels(random, out);
        } else if (which == 2) {
            text_add_string(out, "\"timestamp\":");
            add_stamp(random, out);
        } else if (pairs) {
            text_add_string(out, "\"points\": ");
            add_pairs(random, out);
        } else {
            text_add_string(out, "\"value\":");
            blank(random, out);
            add_value(random, out);
        }
    }
    if (random_below(random, 30) == 0) {
        text_add_string(out, first ? "\"unit\":[1,{}]" : ",\"unit\":[1,{}]");
    }
    text_add_char(out, '}');
}

static void make_document(struct random *random, struct text *out)
{
    text_clear(out);
    blank(random, out);
    if (random_below(random, 6) == 0) {
        add_object(random, out);
    } else {
        size_t count = random_below(random, 6);
        text_add_char(out, '[');
        for (size_t i = 0; i < count; i++) {
            text_add_string(out, i ? "," : "");
            blank(random, out);
            add_object(random, out);
            blank(random, out);
        }
        text_add_char(out, ']');
    }
    blank(random, out);
    if (random_below(random, 8) == 0 && out->length > 0) { /* break it somewhere */
        static const char odd[] = "\"{}[],:\\x0 \x01\xff";
        out->bytes[random_below(random, out->length)] = odd[random_below(random, sizeof(odd) - 1)];
    }
}

/* jansson refuses whole numbers beyond 64 bits, escaped zero bytes and what is no finite double. */
static bool outside_of_comparison(const struct text *document)
{
    return strstr(document->bytes, "123456789012345678901234567890") ||
           strstr(document->bytes, "\\u0000");
}

static void test_oracle(void **state)
{
    (void)state;
    struct random random;
    struct error error = {0};
    struct points_cache *cache = NULL;
    struct text document;
    size_t readable_count = 0;
    text_init(&document, 1u << 20);
    random_init(&random, 1, 0);
    assert_int_equal(points_cache_new(&cache, &error), STATUS_OK);
    for (int i = 0; i < DOCUMENTS; i++) {
        struct log wanted, general, quick;
        make_document(&random, &document);
        if (outside_of_comparison(&document)) {
            continue;
        }
        log_init(&wanted);
        log_init(&general);
        log_init(&quick);
        bool readable = oracle_read(&wanted, document.bytes, document.length);
        enum status one = read_into(&general, document.bytes, document.length, NULL);
        enum status two = read_into(&quick, document.bytes, document.length, cache);
        if ((one == STATUS_OK) != readable || one != two) {
            fail_msg("readable %d, general %d, quick %d:\n%s", readable, one, two, document.bytes);
        }
        if (readable && wanted.text.length + general.text.length > 0) {
            readable_count++;
            const char *a = wanted.text.bytes ? wanted.text.bytes : "";
            const char *b = general.text.bytes ? general.text.bytes : "";
            const char *c = quick.text.bytes ? quick.text.bytes : "";
            if (strcmp(a, b) != 0 || strcmp(b, c) != 0) {
                fail_msg("%s\njansson:\n%sgeneral:\n%squick:\n%s", document.bytes, a, b, c);
            }
        }
        log_release(&wanted);
        log_release(&general);
        log_release(&quick);
    }
    assert_true(readable_count > DOCUMENTS / 2);
    points_cache_free(cache);
    text_release(&document);
}

/* Cut at each byte, a document is unreadable, with the cache warm or without one. */
static void test_truncated(void **state)
{
    (void)state;
    static const char body[] =
        "[{\"series\":\"s\",\"labels\":{\"site\":\"a\",\"b\":\"\\u00fc\"},\"timestamp\":"
        "1795354740000,"
        "\"value\":21.43}, "
        "{\"series\":\"s\",\"labels\":{\"site\":\"a\"},\"timestamp\":1795354740000,"
        "\"value\":-1.5e3},{\"series\":\"t\",\"points\":[[1795354740000,null],[1795354741000,7]]}]";
    struct error error = {0};
    struct points_cache *cache = NULL;
    assert_int_equal(points_cache_new(&cache, &error), STATUS_OK);
    for (int round = 0; round < 2; round++) {
        struct log log;
        for (size_t length = 0; length < sizeof(body) - 1; length++) {
            char *copy = malloc(length + 1); /* exact size: a sanitizer sees a step too far */
            memcpy(copy, body, length);
            copy = realloc(copy, length ? length : 1);
            log_init(&log);
            assert_int_equal(read_into(&log, copy, length, round ? cache : NULL), STATUS_INVALID);
            log_release(&log);
            free(copy);
        }
        log_init(&log);
        assert_int_equal(read_into(&log, body, sizeof(body) - 1, cache), STATUS_OK);
        assert_int_equal(log.count, 3);
        log_release(&log);
    }
    points_cache_free(cache);
}

static enum status count_series(void *context, struct slice text, uint64_t *handle,
                                uint32_t *number, struct error *error)
{
    (void)handle;
    (void)context;
    (void)error;
    *number = (uint32_t)text.length;
    return STATUS_OK;
}

static enum status count_point(void *context, uint32_t number, struct point point,
                               struct error *error)
{
    (void)number;
    (void)point;
    (void)error;
    ++*(uint64_t *)context;
    return STATUS_OK;
}

static void count_refusal(void *context, uint64_t position, const struct error *error)
{
    (void)context;
    (void)position;
    (void)error;
    fail();
}

/* Prints the rate; the bound is far below what is usual, so that a busy machine does not fail it.
 */
static void test_speed(void **state)
{
    (void)state;
    struct text body;
    struct error error = {0};
    struct points_cache *cache = NULL;
    uint64_t points = 0;
    text_init(&body, 1u << 20);
    for (int i = 0; i < 1000; i++) {
        text_add_format(
            &body,
            "%c{\"series\":\"s%04d\",\"labels\":{\"site\":\"a\"},\"timestamp\":1795354740000,"
            "\"value\":%d.%02d}",
            i ? ',' : '[', i, 20 + i % 9, i % 100);
    }
    text_add_char(&body, ']');
    assert_int_equal(points_cache_new(&cache, &error), STATUS_OK);
    struct points_options options = {.now_ms = NOW_MS};
    struct points_visitor visitor = {&points, count_series, count_point, count_refusal, NULL, NULL};
    clock_t start = clock();
    int64_t best = INT64_MAX;
    for (int round = 0; round < WATCHED_OR(20, 300); round++) {
        int64_t before = clock_monotonic_ns();
        assert_int_equal(points_read(body.bytes, body.length, &options, cache, &visitor, &error),
                         STATUS_OK);
        int64_t took = clock_monotonic_ns() - before;
        best = took < best ? took : best;
    }
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    print_message("parsed %.1f M points/s (best body %.1f)\n", (double)points / seconds / 1e6,
                  1e3 / (double)best * 1e3);
    assert_true(WATCHED || (double)points / seconds > 1e6);
    points_cache_free(cache);
    text_release(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oracle),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
