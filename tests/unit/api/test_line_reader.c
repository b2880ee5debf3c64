/* The reader of line protocol: a table of lines, truncation at every byte, and a slow oracle.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/line_reader.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/series_name.h"
#include "base/text.h"

#include "line_oracle.h"
#include "tests/watched.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODIES WATCHED_OR(3000, 20000) /* the fuzzer has more of them */
#define NOW_MS INT64_C(1795354740000)

/* ---------------------------------------------------------------- a reading as text */

struct log {
    struct text text;
    char (*names)[SERIES_TEXT_MAX];
    uint32_t count;
    bool with_reasons;
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
    if (log->count == 256) {
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
    if (point.time_ms == INT64_C(1600000000666)) {
        return error_set(error, STATUS_INVALID, "refused time");
    }
    text_add_format(&log->text, "%s %lld %.17g;", log->names[number], (long long)point.time_ms,
                    point.value);
    return STATUS_OK;
}

static void log_refusal(void *context, uint64_t position, const struct error *error)
{
    struct log *log = context;
    const char *quote = strrchr(error->text, '\'');
    text_add_format(&log->text, "line %llu%s%s;", (unsigned long long)position,
                    log->with_reasons ? ": " : "",
                    !log->with_reasons                       ? ""
                    : quote && strncmp(quote, "': ", 3) == 0 ? quote + 3
                                                             : error->text);
}

static void log_init(struct log *log, bool with_reasons)
{
    text_init(&log->text, 1u << 20);
    log->names = calloc(256, sizeof(*log->names));
    assert_non_null(log->names);
    log->count = 0;
    log->with_reasons = with_reasons;
}

static void log_release(struct log *log)
{
    text_release(&log->text);
    free(log->names);
}

static struct line_skipped read_into(struct log *log, const char *body, size_t length,
                                     enum line_precision precision, struct points_cache *cache)
{
    struct error error = {0};
    struct line_options options = {precision, NOW_MS};
    struct points_visitor visitor = {log, log_series, log_point, log_refusal, NULL, NULL};
    struct line_skipped skipped;
    char *exact = malloc(length ? length : 1); /* so that a sanitizer sees a byte too many */
    assert_non_null(exact);
    if (length) {
        memcpy(exact, body, length);
    }
    enum status status = line_read(exact, length, &options, cache, &visitor, &skipped, &error);
    free(exact);
    assert_int_equal(status, STATUS_OK);
    return skipped;
}

/* ---------------------------------------------------------------- the table */

#define T   " 1600000000000000000"
#define TMS " 1600000000000 "

static const struct {
    const char *body, *wanted;
} cases[] = {
    /* the form */
    {"cpu value=1" T, "cpu_value" TMS "1;"},
    {"cpu,host=a,zone=b value=1" T, "cpu_value{host=\"a\",zone=\"b\"}" TMS "1;"},
    {"cpu,zone=b,host=a value=1" T, "cpu_value{host=\"a\",zone=\"b\"}" TMS "1;"},
    {"cpu a=1,b=2.5" T, "cpu_a" TMS "1;cpu_b" TMS "2.5;"},
    {"cpu value=1", "cpu_value 1795354740000 1;"},
    {"cpu value=1 ", "cpu_value 1795354740000 1;"},
    {"", ""},
    {"\n\n \n\t\n\r\n", ""},
    {"# comment value=1\n  # another\ncpu value=1" T, "cpu_value" TMS "1;"},
    {" cpu value=1" T, "cpu_value" TMS "1;"},
    {"cpu   value=1   1600000000000000000  ", "cpu_value" TMS "1;"},
    {"cpu value=1" T "\r\ncpu value=2" T "\r\n", "cpu_value" TMS "1;cpu_value" TMS "2;"},
    {"cpu value=1\r\n", "cpu_value 1795354740000 1;"},
    {"cpu value=t\r", ""},
    /* numbers */
    {"c a=12i,b=-12i,c=12u,d=0i,e=-0i" T,
     "c_a" TMS "12;c_b" TMS "-12;c_c" TMS "12;c_d" TMS "0;c_e" TMS "-0;"},
    {"c a=007,b=007i,c=00.50" T, "c_a" TMS "7;c_b" TMS "7;c_c" TMS "0.5;"},
    {"c a=.5,b=-.5,c=1.,d=-1.,e=1.e2" T,
     "c_a" TMS "0.5;c_b" TMS "-0.5;c_c" TMS "1;c_d" TMS "-1;c_e" TMS "100;"},
    {"c a=1e3,b=1E+3,c=-1.5e-3,d=0.1" T,
     "c_a" TMS "1000;c_b" TMS "1000;c_c" TMS "-0.0015;c_d" TMS "0.10000000000000001;"},
    {"c a=9223372036854775807i,b=-9223372036854775808i,c=18446744073709551615u" T,
     "c_a" TMS "9.2233720368547758e+18;c_b" TMS "-9.2233720368547758e+18;c_c" TMS
     "1.8446744073709552e+19;"},
    {"c a=9223372036854775808i" T, "line 1: invalid number;"},
    {"c a=-9223372036854775809i" T, "line 1: invalid number;"},
    {"c a=18446744073709551616u" T, "line 1: invalid number;"},
    {"c a=-1u" T, "line 1: invalid number;"},
    {"c a=1.5i" T, "line 1: invalid number;"},
    {"c a=1e3i" T, "line 1: invalid number;"},
    {"c a=9i10" T, "line 1: invalid number;"},
    {"c a=1ii" T, "line 1: invalid number;"},
    {"c a=1.1.1" T, "line 1: invalid number;"},
    {"c a=1e" T, "line 1: invalid number;"},
    {"c a=1e999" T, "line 1: invalid number;"},
    {"c a=0x10" T, "line 1: invalid number;"},
    {"c a=1_000" T, "line 1: invalid number;"},
    {"c a=-" T, "line 1: invalid number;"},
    {"c a=." T, "line 1: invalid number;"},
    {"c a=-.e1" T, "line 1: invalid number;"},
    {"c a=-i" T, "line 1: invalid number;"},
    {"c a=NaN" T, "line 1: invalid number;"},
    {"c a=nan" T, "line 1: invalid number;"},
    {"c a=-inf" T, "line 1: invalid number;"},
    {"c a=Inf" T, "line 1: invalid boolean;"},
    {"c a=+1" T, "line 1: invalid boolean;"},
    {"c a=i" T, "line 1: invalid boolean;"},
    /* strings and booleans are no readings */
    {"c a=\"x\",b=2" T, "c_b" TMS "2;"},
    {"c a=t,b=T,c=true,d=True,e=TRUE,f=f,g=F,h=false,i=False,j=FALSE,k=1" T, "c_k" TMS "1;"},
    {"c a=tru" T, "line 1: invalid boolean;"},
    {"c a=TrUe" T, "line 1: invalid boolean;"},
    {"c a=hello" T, "line 1: invalid boolean;"},
    {"c a=\"\"" T, ""},
    {"c a=\"with blank, comma= and \\\"quote\\\"\",b=2" T, "c_b" TMS "2;"},
    {"c a=\"back\\\\\",b=2" T, "c_b" TMS "2;"},
    {"c a=\"two\nlines\",b=2" T "\nc\nc b=3" T, "c_b" TMS "2;line 3: missing fields;c_b" TMS "3;"},
    {"c a=\"two\nlines\",b=x\nc b=3" T, "line 1: invalid boolean;c_b" TMS "3;"},
    {"c a=\"open" T "\nc b=3" T, "line 1: unbalanced quotes;"},
    {"c a=\"x\"y" T, "line 1: invalid field format;"},
    {"c,t=\"q\" v=1" T, "c_v{t=\"\\\"q\\\"\"}" TMS "1;"},
    /* escapes */
    {"my\\ cpu\\,x v=1" T, "{\"my cpu,x_v\"}" TMS "1;"},
    {"c\\=d v=1" T, "{\"c\\\\=d_v\"}" TMS "1;"},
    {"c=d v=1" T, "{\"c=d_v\"}" TMS "1;"},
    {"c,t=a\\ b\\,c\\=d v=1" T, "c_v{t=\"a b,c=d\"}" TMS "1;"},
    {"c,t=a\\\\ v=1" T, "line 1: invalid tag format;"},
    {"c,t=a\\b v=1" T, "c_v{t=\"a\\\\b\"}" TMS "1;"},
    {"c,t=C:\\dir v=1" T, "c_v{t=\"C:\\\\dir\"}" TMS "1;"},
    {"c a\\ b\\,c\\=d=1" T, "{\"c_a b,c=d\"}" TMS "1;"},
    {"c a\\\"=1" T, "{\"c_a\\\"\"}" TMS "1;"},
    {"c \"a\"=1" T, "{\"c_\\\"a\\\"\"}" TMS "1;"},
    /* keys of tags that no label may have */
    {"c,my\\ tag=x v=1" T, "c_v{my_tag=\"x\"}" TMS "1;"},
    {"c,1st=x,a/b=y v=1" T, "c_v{_st=\"x\",a_b=\"y\"}" TMS "1;"},
    {"c,gr\xc3\xb6\xc3\x9f"
     "e=x v=1" T,
     "c_v{gr__e=\"x\"}" TMS "1;"},
    {"c,a\\ b=x,a/b=y v=1" T, "line 1: duplicate tags;"},
    {"c,a=x,a=y v=1" T, "line 1: duplicate tags;"},
    /* broken keys */
    {",a=b v=1" T, "line 1: missing measurement;"},
    {"cpu", "line 1: missing fields;"},
    {"cpu ", "line 1: missing fields;"},
    {"cpu,host=a", "line 1: missing fields;"},
    {"cpu,host=a ", "line 1: missing fields;"},
    {"cpu, v=1" T, "line 1: missing tag key;"},
    {"cpu,host=a, v=1" T, "line 1: missing tag key;"},
    {"cpu,,host=a v=1" T, "line 1: missing tag key;"},
    {"cpu,=a v=1" T, "line 1: missing tag key;"},
    {"cpu,host v=1" T, "line 1: missing tag value;"},
    {"cpu,host= v=1" T, "line 1: missing tag value;"},
    {"cpu,host=,b=c v=1" T, "line 1: missing tag value;"},
    {"cpu,host=a=b v=1" T, "line 1: invalid tag format;"},
    /* broken fields */
    {"cpu v" T, "line 1: invalid field format;"},
    {"cpu v=" T, "line 1: missing field value;"},
    {"cpu v=,b=1" T, "line 1: missing field value;"},
    {"cpu v=", "line 1: missing field value;"},
    {"cpu =1" T, "line 1: missing field key;"},
    {"cpu a=1,=2" T, "line 1: missing field key;"},
    {"cpu a=1," T, "line 1: invalid field format;"},
    {"cpu a=1,", "line 1: invalid field format;"},
    {"cpu a=1,,b=2" T, "line 1: invalid field format;"},
    {"cpu a=1,b" T, "line 1: invalid field format;"},
    {"cpu a=1 b=2" T, "line 1: bad timestamp;"},
    /* times */
    {"c v=1 1600000000000000000x", "line 1: bad timestamp;"},
    {"c v=1 1.6e18", "line 1: bad timestamp;"},
    {"c v=1 -", "line 1: bad timestamp;"},
    {"c v=1 1600000000000000000 x", "line 1: point is invalid;"},
    {"c v=1 9223372036854775808", "line 1: time outside range;"},
    {"c v=1 1600000000000", "line 1: the time lies before 1973: \"precision\" names its unit;"},
    {"c v=1 -1600000000000000000",
     "line 1: the time lies before 1973: \"precision\" names its unit;"},
    {"c v=1 1600000000123999999", "c_v 1600000000123 1;"},
    {"c v=1,w=2 1600000000666000000", "line 1: refused time;"},
    /* the others are read */
    {"c v=1" T "\nbad\nc v=2" T "\n\n#\nc v=x\nc v=3" T,
     "c_v" TMS "1;line 2: missing fields;c_v" TMS "2;line 6: invalid boolean;c_v" TMS "3;"},
};

static void test_table(void **state)
{
    struct points_cache *cache = NULL;
    struct error error = {0};
    (void)state;
    assert_int_equal(points_cache_new(&cache, &error), STATUS_OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int way = 0; way < 3; way++) { /* without a cache, then unknown and known in it */
            struct log log;
            log_init(&log, true);
            read_into(&log, cases[i].body, strlen(cases[i].body), LINE_NS, way ? cache : NULL);
            const char *got = log.text.bytes ? log.text.bytes : "";
            if (strcmp(got, cases[i].wanted) != 0) {
                fail_msg("way %d: %s\nwanted %s\ngot    %s", way, cases[i].body, cases[i].wanted,
                         got);
            }
            log_release(&log);
        }
    }
    points_cache_free(cache);
}

static void test_precision(void **state)
{
    static const struct {
        enum line_precision precision;
        const char *time, *wanted;
    } times[] = {
        {LINE_NS, "1600000000123456789", "c_v 1600000000123 1;"},
        {LINE_US, "1600000000123456", "c_v 1600000000123 1;"},
        {LINE_MS, "1600000000123", "c_v 1600000000123 1;"},
        {LINE_S, "1600000000", "c_v 1600000000000 1;"},
        {LINE_MINUTES, "26666666", "c_v 1599999960000 1;"},
        {LINE_HOURS, "444444", "c_v 1599998400000 1;"},
        {LINE_S, "9223372036854775", "c_v 9223372036854775000 1;"},
        {LINE_S, "9223372036854776", "line 1: time outside range;"},
        {LINE_HOURS, "9223372036854775807", "line 1: time outside range;"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        struct log log;
        char body[100];
        snprintf(body, sizeof(body), "c v=1 %s", times[i].time);
        log_init(&log, true);
        read_into(&log, body, strlen(body), times[i].precision, NULL);
        assert_string_equal(log.text.bytes, times[i].wanted);
        log_release(&log);
    }
}

static void test_skipped_fields_are_counted(void **state)
{
    struct log log;
    const char *body = "c a=\"x\",b=\"y\",c=true,d=1\nc a=\"x\",b=oops\nc a=f";
    (void)state;
    log_init(&log, true);
    struct line_skipped skipped = read_into(&log, body, strlen(body), LINE_NS, NULL);
    assert_int_equal(skipped.strings, 2);
    assert_int_equal(skipped.booleans, 2);
    log_release(&log);
}

/* ---------------------------------------------------------------- bounds */

static void test_bounds(void **state)
{
    static char body[(size_t)2 << 20];
    struct log log;
    (void)state;
    for (size_t fields = LINE_FIELDS_MAX; fields <= LINE_FIELDS_MAX + 1; fields++) {
        size_t length = 2;
        memcpy(body, "c ", 2);
        for (size_t i = 0; i < fields; i++) {
            length += (size_t)sprintf(body + length, "%sv=%zu", i ? "," : "", i);
        }
        log_init(&log, true);
        read_into(&log, body, length, LINE_NS, NULL);
        bool refused = strstr(log.text.bytes, "line 1: too many fields") != NULL;
        assert_int_equal(refused, fields > LINE_FIELDS_MAX);
        log_release(&log);
    }
    memset(body, 'x', sizeof(body));
    memcpy(body, "c a=\"", 5);
    memcpy(body + LINE_BYTES_MAX + 1 - 5, "\",b=1", 5); /* one byte too long */
    log_init(&log, true);
    read_into(&log, body, LINE_BYTES_MAX + 1, LINE_NS, NULL);
    assert_non_null(strstr(log.text.bytes, "longer than 65536"));
    log_release(&log);
    memmove(body + LINE_BYTES_MAX - 5, "\",b=1", 5);
    log_init(&log, true);
    read_into(&log, body, LINE_BYTES_MAX, LINE_NS, NULL);
    assert_string_equal(log.text.bytes, "c_b 1795354740000 1;");
    log_release(&log);
}

static void test_names_that_no_series_can_have(void **state)
{
    char body[6000], *at = body;
    (void)state;
    at += sprintf(at, "c,t=");
    memset(at, 'x', 257);
    strcpy(at + 257, " v=1\nc v=2\n");
    at = strchr(body, 0);
    at += sprintf(at, "c");
    for (int i = 0; i < 33; i++) {
        at += sprintf(at, ",t%d=x", i);
    }
    at += sprintf(at, " v=1\n");
    memset(at, 'm', 4200);
    strcpy(at + 4200, " v=1\nc,t=\x01 v=1\nc,t=\xff v=1\n");
    struct log log;
    log_init(&log, false);
    read_into(&log, body, strlen(body), LINE_NS, NULL);
    assert_string_equal(log.text.bytes, "line 1;c_v 1795354740000 2;line 3;line 4;line 5;line 6;");
    log_release(&log);
}

/* ---------------------------------------------------------------- against the oracle */

static void compare(const char *body, size_t length, struct points_cache *cache)
{
    struct log wanted, got;
    log_init(&wanted, true);
    struct points_visitor visitor = {&wanted, log_series, log_point, log_refusal, NULL, NULL};
    line_oracle(body, length, NOW_MS, &visitor);
    for (int way = 0; way < 3; way++) {
        log_init(&got, true);
        read_into(&got, body, length, LINE_NS, way ? cache : NULL);
        const char *left = wanted.text.bytes ? wanted.text.bytes : "";
        const char *right = got.text.bytes ? got.text.bytes : "";
        if (strcmp(left, right) != 0) {
            fail_msg("way %d: %.*s\nwanted %s\ngot    %s", way, (int)length, body, left, right);
        }
        log_release(&got);
    }
    log_release(&wanted);
}

static void test_truncated_at_every_byte(void **state)
{
    static const char body[] =
        "# head\nweather\\ x,site=a\\,b,my\\=key=v\\ 1 temp=21.5,note=\"it \\\"is\\\"\nwet\","
        "ok=true,n=-12i,u=7u,f=1.e3 1600000000000000000\r\nweather temp=.5\n";
    struct points_cache *cache = NULL;
    struct error error = {0};
    (void)state;
    assert_int_equal(points_cache_new(&cache, &error), STATUS_OK);
    for (size_t length = 0; length < sizeof(body); length++) {
        compare(body, length, cache);
        compare(body + length, sizeof(body) - 1 - length, cache);
    }
    points_cache_free(cache);
}

static void test_random_bodies(void **state)
{
    static const char *const pieces[] = {"cpu",
                                         "m",
                                         "v=",
                                         "a=",
                                         "1",
                                         "2.5",
                                         "12i",
                                         "7u",
                                         "t",
                                         "true",
                                         "f",
                                         "\"s\"",
                                         "\"a\\\"b\"",
                                         "\"",
                                         "\\",
                                         "\\ ",
                                         "\\,",
                                         "\\=",
                                         ",",
                                         ",",
                                         "=",
                                         " ",
                                         " ",
                                         "\n",
                                         "\n",
                                         "\r\n",
                                         "\t",
                                         "#",
                                         "-",
                                         ".",
                                         "e3",
                                         "i",
                                         "nan",
                                         "host",
                                         "host=a",
                                         ",host=a",
                                         "cpu v=1\n",
                                         "cpu,host=a v=2,a=3i\n",
                                         " 1600000000000000000",
                                         " 1600000000666000000\n",
                                         "cpu,host=b v=1 1600000000000000000\n",
                                         "\xc3\xa4",
                                         "\x01",
                                         "0",
                                         "x"};
    struct random random;
    struct points_cache *cache = NULL;
    struct error error = {0};
    (void)state;
    assert_int_equal(points_cache_new(&cache, &error), STATUS_OK);
    random_init(&random, 20261126, 0);
    for (int i = 0; i < BODIES; i++) {
        char body[1024];
        size_t length = 0, count = 1 + random_below(&random, 24);
        for (size_t p = 0; p < count; p++) {
            const char *piece = pieces[random_below(&random, sizeof(pieces) / sizeof(pieces[0]))];
            size_t piece_length = strlen(piece);
            memcpy(body + length, piece, piece_length);
            length += piece_length;
        }
        compare(body, length, cache);
    }
    points_cache_free(cache);
}

/* Lines and JSON share a cache: neither may take the other's names. */
static void test_cache_shared_with_json(void **state)
{
    struct points_cache *cache = NULL;
    struct error error = {0};
    struct log log;
    const char *json = "{\"series\":\"c,t=a b\",\"labels\":{\"k\":\"v\"},\"value\":1}";
    (void)state;
    assert_int_equal(points_cache_new(&cache, &error), STATUS_OK);
    for (int round = 0; round < 3; round++) {
        struct points_options options = {.now_ms = NOW_MS};
        log_init(&log, true);
        struct points_visitor visitor = {&log, log_series, log_point, log_refusal, NULL, NULL};
        assert_int_equal(points_read(json, strlen(json), &options, cache, &visitor, &error),
                         STATUS_OK);
        read_into(&log, "c,t=a b=1", 9, LINE_NS, cache);
        read_into(&log, "c,t=a b \"k\":\"v\"=1", 18, LINE_NS, cache);
        assert_string_equal(log.text.bytes,
                            "{\"c,t=a b\",k=\"v\"} 1795354740000 1;c_b{t=\"a\"} 1795354740000 1;"
                            "line 1: invalid field format;");
        log_release(&log);
    }
    points_cache_free(cache);
}

/* ---------------------------------------------------------------- a failing visitor */

static enum status no_series(void *context, struct slice text, uint64_t *handle, uint32_t *number,
                             struct error *error)
{
    (void)handle;
    (void)context;
    (void)text;
    (void)number;
    return error_set(error, STATUS_NO_MEMORY, "no memory for a name");
}

static enum status no_point(void *context, uint32_t number, struct point point, struct error *error)
{
    (void)context;
    (void)number;
    (void)point;
    return error_set(error, STATUS_TOO_LARGE, "too many points");
}

static void test_failures_end_the_reading(void **state)
{
    struct error error = {0};
    struct line_options options = {LINE_NS, NOW_MS};
    struct line_skipped skipped;
    struct log log;
    (void)state;
    log_init(&log, true);
    struct points_visitor visitor = {&log, no_series, log_point, log_refusal, NULL, NULL};
    assert_int_equal(line_read("c v=1", 5, &options, NULL, &visitor, &skipped, &error),
                     STATUS_NO_MEMORY);
    visitor.series = log_series;
    visitor.point = no_point;
    assert_int_equal(line_read("c v=1", 5, &options, NULL, &visitor, &skipped, &error),
                     STATUS_TOO_LARGE);
    assert_int_equal(log.text.length, 0);
    log_release(&log);
}

/* ---------------------------------------------------------------- speed */

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
    fail_msg("%s", error->text);
}

/* The time of the fastest of many readings of a body of 1,000 points, in nanoseconds a point. */
static double best_ns(const struct text *body, struct points_cache *cache, bool json)
{
    struct error error = {0};
    uint64_t points = 0;
    int64_t best = INT64_MAX;
    struct points_visitor visitor = {&points, count_series, count_point, count_refusal, NULL, NULL};
    for (int round = 0; round < 300; round++) {
        struct line_options lines = {LINE_MS, NOW_MS};
        struct points_options objects = {.now_ms = NOW_MS};
        struct line_skipped skipped;
        int64_t before = clock_monotonic_ns();
        enum status status =
            json ? points_read(body->bytes, body->length, &objects, cache, &visitor, &error)
                 : line_read(body->bytes, body->length, &lines, cache, &visitor, &skipped, &error);
        int64_t took = clock_monotonic_ns() - before;
        assert_int_equal(status, STATUS_OK);
        best = took < best ? took : best;
    }
    assert_int_equal(points, 300 * 1000);
    return (double)best / 1000;
}

/* Prints the rates. A line has fewer bytes than the same point in JSON: it must not cost more. */
static void test_speed(void **state)
{
    struct text lines, fields, json;
    struct points_cache *cache = NULL;
    struct error error = {0};
    (void)state;
    text_init(&lines, 1u << 20);
    text_init(&fields, 1u << 20);
    text_init(&json, 1u << 20);
    for (int i = 0; i < 1000; i++) {
        text_add_format(&lines, "s%04d,site=a value=%d.%02d 1795354740000\n", i, 20 + i % 9,
                        i % 100);
        if (i % 10 == 0) {
            text_add_format(&fields, "%scpu,cpu=cpu%03d,host=a ", i ? " 1795354740000\n" : "", i);
        }
        text_add_format(&fields, "%susage_%d=%d.%02d", i % 10 ? "," : "", i % 10, 20 + i % 9,
                        i % 100);
        text_add_format(&json,
                        "%c{\"series\":\"s%04d_value\",\"labels\":{\"site\":\"a\"},"
                        "\"timestamp\":1795354740000,\"value\":%d.%02d}",
                        i ? ',' : '[', i, 20 + i % 9, i % 100);
    }
    text_add_char(&json, ']');
    assert_int_equal(points_cache_new(&cache, &error), STATUS_OK);
    double one = best_ns(&lines, cache, false), ten = best_ns(&fields, cache, false);
    double object = best_ns(&json, cache, true), plain = best_ns(&lines, NULL, false);
    print_message("M points/s: lines of one field %.1f, of ten %.1f, JSON %.1f, lines of unknown "
                  "series %.1f\n",
                  1e3 / one, 1e3 / ten, 1e3 / object, 1e3 / plain);
    assert_true(WATCHED || one < object);
    points_cache_free(cache);
    text_release(&lines);
    text_release(&fields);
    text_release(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_precision),
        cmocka_unit_test(test_skipped_fields_are_counted),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_names_that_no_series_can_have),
        cmocka_unit_test(test_truncated_at_every_byte),
        cmocka_unit_test(test_random_bodies),
        cmocka_unit_test(test_cache_shared_with_json),
        cmocka_unit_test(test_failures_end_the_reading),
        cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
