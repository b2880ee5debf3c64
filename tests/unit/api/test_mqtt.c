/* MQTT: topic patterns and payloads against tables, and cut at every byte.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/mqtt_payload.h"
#include "base/check.h"
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW_MS INT64_C(1795354740000)

static struct slice slice_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

/* ---------------------------------------------------------------- topics */

static void patterns_name_series(void **state)
{
    static const struct {
        const char *patterns, *topic, *series; /* NULL: none fits */
    } rows[] = {
        {"home/{room}/{name}", "home/kitchen/temperature", "temperature{room=\"kitchen\"}"},
        {"home/{room}/{name}", "home/kitchen", NULL},
        {"home/{room}/{name}", "home/kitchen/a/b", NULL},
        {"zigbee2mqtt/{device}", "zigbee2mqtt/attic", "zigbee2mqtt{device=\"attic\"}"},
        {"a/b/c", "a/b/c", "a_b_c"},
        {"a/b", "a/B", NULL},
        {"power=shellies/{device}/+/power", "shellies/x/relay0/power", "power{device=\"x\"}"},
        {"meters/#", "meters/gas/total", "meters_gas_total"},
        {"meters/#", "meters", NULL},
        {"site/{site}/#", "site/a/b", "site_b{site=\"a\"}"},
        {"total=site/{site}/#", "site/a/b/c", "total{site=\"a\"}"},
        {"+/{name}", "x/y", "y"},
        {"{name}", "$SYS", NULL},
        {"$SYS/#", "$SYS/load", "$SYS_load"},
        {" x/{a} ,\ty/{b}", "y/1", "y{b=\"1\"}"},
        {"{name}/{name}", "a/b", "a_b"},
        {"a//b", "a//b", "a__b"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct mqtt_patterns patterns;
        struct mqtt_identity identity;
        struct error error = {0};
        char text[SERIES_TEXT_MAX];
        size_t length = 0;
        assert_int_equal(mqtt_patterns_parse(rows[i].patterns, &patterns, &error), STATUS_OK);
        enum status status = mqtt_identify(&patterns, slice_of(rows[i].topic), &identity, &error);
        assert_int_equal(status, rows[i].series != NULL ? STATUS_OK : STATUS_NOT_FOUND);
        if (rows[i].series == NULL) {
            continue;
        }
        status = series_name_write(identity.name, identity.labels, identity.label_count, text,
                                   &length, &error);
        if (status != STATUS_OK) {
            print_error("row %zu: %s\n", i, error.text);
        }
        assert_int_equal(status, STATUS_OK);
        text[length] = '\0';
        assert_string_equal(text, rows[i].series);
    }
}

static void bad_patterns_are_named(void **state)
{
    static const char *const rows[] = {"a/#/b", "a/{}", "a/{1x}", "a/b+", "a/x#", "=a/b",
                                       "x=",    "a,,b", "a/{x",   "a}/b", ","};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct mqtt_patterns patterns;
        struct error error = {0};
        assert_int_equal(mqtt_patterns_parse(rows[i], &patterns, &error), STATUS_INVALID);
        assert_string_equal(error.param, "mqtt.topics");
    }
}

static void a_name_has_an_end(void **state)
{
    struct mqtt_patterns patterns;
    struct mqtt_identity identity;
    struct error error = {0};
    char topic[4000];
    (void)state;
    memset(topic, 'x', sizeof(topic));
    topic[0] = 'a';
    topic[1] = '/';
    assert_int_equal(mqtt_patterns_parse("a/{name}", &patterns, &error), STATUS_OK);
    assert_int_equal(
        mqtt_identify(&patterns, (struct slice){topic, sizeof(topic)}, &identity, &error),
        STATUS_INVALID);
}

/* ---------------------------------------------------------------- payloads */

static char last_series[SERIES_TEXT_MAX + 1];

static enum status log_series(void *context, struct slice text, uint64_t *handle, uint32_t *number,
                              struct error *error)
{
    (void)handle;
    (void)context;
    (void)error;
    memcpy(last_series, text.bytes, text.length);
    last_series[text.length] = '\0';
    *number = 1;
    return STATUS_OK;
}

static enum status log_point(void *context, uint32_t number, struct point point,
                             struct error *error)
{
    (void)number;
    (void)error;
    text_add_format(context, "%s %lld %g;", last_series, (long long)(point.time_ms - NOW_MS),
                    point.value);
    return STATUS_OK;
}

static void log_refusal(void *context, uint64_t position, const struct error *error)
{
    (void)position;
    text_add_format(context, "refused %s;", error->code);
}

static enum status read_payload(const char *text, enum time_unit unit, struct text *log,
                                uint64_t *skipped, struct error *error)
{
    struct mqtt_identity identity = {.name = {"m", 1}, .label_count = 1};
    struct points_visitor visitor = {
        .context = log, .series = log_series, .point = log_point, .refuse = log_refusal};
    struct mqtt_payload payload = {slice_of(text), NOW_MS, unit};
    identity.labels[0] = (struct series_label){{"a", 1}, {"b", 1}};
    return mqtt_payload_read(&payload, &identity, &visitor, skipped, error);
}

static void payloads_become_readings(void **state)
{
    static const struct {
        const char *payload, *readings; /* NULL: refused */
        uint64_t skipped;
    } rows[] = {
        {"21.4", "m{a=\"b\"} 0 21.4;", 0},
        {" -3e2\r\n", "m{a=\"b\"} 0 -300;", 0},
        {"1e999", "refused bad_value;", 0},
        {"", NULL, 0},
        {"ON", NULL, 0},
        {"21.4 C", NULL, 0},
        {"[1]", NULL, 0},
        {"\"1\"", NULL, 0},
        {"nan", NULL, 0},
        {"{}", NULL, 0},
        {"{\"value\":1}", "m{a=\"b\"} 0 1;", 0},
        {"{\"value\":null}", "m{a=\"b\"} 0 nan;", 0},
        {"{\"t\":1,\"h\":2}", "m_t{a=\"b\"} 0 1;m_h{a=\"b\"} 0 2;", 0},
        {"{\"t\":1,\"on\":true,\"s\":\"x\",\"l\":[1,{\"t\":2}]}", "m_t{a=\"b\"} 0 1;", 3},
        {"{\"x\":{\"y\":{\"value\":5}}}", "m_x_y_value{a=\"b\"} 0 5;", 0},
        {"{\"a\":{\"b\":{\"c\":{\"d\":{\"e\":1}}}},\"z\":2}", "m_z{a=\"b\"} 0 2;", 1},
        {"{\"value\":1,\"timestamp\":1795354740500}", "m{a=\"b\"} 500 1;", 0},
        {"{\"time\":\"2026-11-22T13:39:01Z\",\"value\":1}", "m{a=\"b\"} 1000 1;", 0},
        {"{\"value\":1,\"timestamp\":\"noon\"}", NULL, 0},
        {"{\"value\":1,\"timestamp\":true}", NULL, 0},
        {"{\"value\":1,\"timestamp\":17}", NULL, 0},
        {"{\"x\":{\"time\":3}}", "m_x_time{a=\"b\"} 0 3;", 0},
        {"{\"value\":1", NULL, 0},
        {"{\"value\":1}}", NULL, 0},
        {"{\"value\":1}x", NULL, 0},
        {"{\"\\u0001\":1,\"b\":2}", "refused bad_series_name;m_b{a=\"b\"} 0 2;", 0},
    };
    struct text log;
    (void)state;
    text_init(&log, 1u << 16);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct error error = {0};
        uint64_t skipped = 0;
        text_clear(&log);
        text_add_string(&log, "");
        enum status status =
            read_payload(rows[i].payload, UNIT_MILLISECONDS, &log, &skipped, &error);
        if (rows[i].readings == NULL) {
            if (status != STATUS_INVALID || log.length != 0) {
                fail_msg("%s gave '%s'", rows[i].payload, log.bytes);
            }
            continue;
        }
        if (status != STATUS_OK) {
            fail_msg("%s: %s", rows[i].payload, error.text);
        }
        assert_string_equal(log.bytes, rows[i].readings);
        assert_int_equal(skipped, rows[i].skipped);
    }
    text_release(&log);
}

static void a_cut_payload_stores_nothing(void **state)
{
    static const char whole[] =
        "{\"t\":1.5,\"x\":{\"y\":2},\"timestamp\":1795354740500,\"z\":null}";
    struct text log;
    (void)state;
    text_init(&log, 1u << 16);
    for (size_t length = 1; length < sizeof(whole) - 1; length++) {
        char cut[sizeof(whole)];
        struct error error = {0};
        uint64_t skipped = 0;
        memcpy(cut, whole, length);
        cut[length] = '\0';
        assert_int_equal(read_payload(cut, UNIT_MILLISECONDS, &log, &skipped, &error),
                         STATUS_INVALID);
        assert_int_equal(log.length, 0);
    }
    text_release(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_name_series),
        cmocka_unit_test(bad_patterns_are_named),
        cmocka_unit_test(a_name_has_an_end),
        cmocka_unit_test(payloads_become_readings),
        cmocka_unit_test(a_cut_payload_stores_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
