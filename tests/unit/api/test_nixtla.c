/* The body of POST /v2/forecast: what is read, what is passed over, what is refused by name.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "api/nixtla_reader.h"

#include <math.h>

#define H_MAX 1024

static enum status read_text(const char *text, struct nixtla_body *body, struct error *error)
{
    memset(error, 0, sizeof(*error));
    return nixtla_read(text, strlen(text), H_MAX, body, error);
}

static void reads_a_body(void **state)
{
    (void)state;
    struct nixtla_body body;
    struct error error;
    assert_int_equal(
        read_text("{\"series\":{\"y\":[1,2.5,null,-4e2,5],\"sizes\":[2,3],\"X\":null,"
                  "\"X_future\":[],\"start_datetime\":[\"2026-01-01T00:00:00\",\"2026-02-01\"]},"
                  "\"model\":\"timegpt-1\",\"h\":7,\"freq\":\"15min\",\"level\":[80,99.5,90.0],"
                  "\"finetune_steps\":10,\"later\":{\"a\":[{\"b\":1}]}}",
                  &body, &error),
        STATUS_OK);
    assert_int_equal(body.points, 5);
    assert_int_equal(body.series, 2);
    assert_true(isnan(body.y[2]) && body.y[3] == -400.0);
    assert_int_equal(body.sizes[1], 3);
    assert_int_equal(body.starts_ms[0], INT64_C(1767225600000));
    assert_int_equal(body.horizon, 7);
    assert_int_equal(body.frequency.step_ms, 900000);
    assert_int_equal(body.level_count, 3);
    assert_string_equal(body.levels[0].name, "80");
    assert_string_equal(body.levels[1].name, "99.5");
    assert_string_equal(body.levels[2].name, "90.0");
    assert_true(fabs(body.levels[1].share - 0.995) < 1e-12);
    nixtla_release(&body);
}

static void says_what_a_body_has(void **state)
{
    (void)state;
    struct nixtla_body body;
    struct error error = {0};
    const char *text = "{\"series\":{\"y\":[1,2],\"sizes\":[2]},\"h\":1}";
    assert_int_equal(read_text(text, &body, &error), STATUS_INVALID);
    assert_string_equal(error.text, "\"freq\" is missing");
    assert_non_null(strstr(error.hint, "\"freq\":\"h\"}"));
    nixtla_release(&body);
    text = "{\"series\":{\"y\":[],\"sizes\":[]},\"h\":1,\"freq\":\"h\"}";
    assert_int_equal(read_text(text, &body, &error), STATUS_INVALID);
    assert_string_equal(error.text, "\"series.sizes\" is empty");
    assert_string_equal(error.code, "bad_field");
    nixtla_release(&body);
    text = "{\"series\":{\"sizes\":[],\"sizes\":[1]}}";
    assert_int_equal(read_text(text, &body, &error), STATUS_INVALID);
    assert_string_equal(error.code, "duplicate_field");
    nixtla_release(&body);
}

static void refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *code;
    } table[] = {
        {"", "bad_json"},
        {"[]", "bad_field"},
        {"{}", "missing_field"},
        {"{\"series\":{\"y\":[1,2],\"sizes\":[2]},\"h\":1,\"freq\":\"D\"} 1", "bad_json"},
        {"{\"series\":{\"y\":[1,2],\"sizes\":[2]},\"h\":1,\"freq\":\"D\"", "bad_json"},
        {"{\"series\":{\"y\":[1,2],\"sizes\":[3]},\"h\":1,\"freq\":\"D\"}", "bad_field"},
        {"{\"series\":{\"y\":[1,2],\"sizes\":[2],\"sizes\":[2]},\"h\":1}", "duplicate_field"},
        {"{\"series\":{\"y\":[1,2],\"sizes\":[-2]},\"h\":1,\"freq\":\"D\"}", "bad_field"},
        {"{\"series\":{\"y\":[1,[2]],\"sizes\":[2]},\"h\":1,\"freq\":\"D\"}", "bad_field"},
        {"{\"series\":{\"y\":[1,1e999],\"sizes\":[2]},\"h\":1,\"freq\":\"D\"}", "bad_field"},
        {"{\"series\":{\"y\":[1,2],\"sizes\":[4294967298]},\"h\":1,\"freq\":\"D\"}", "bad_field"},
        {"{\"series\":{\"X\":[[1]]}}", "not_supported"},
        {"{\"finetuned_model_id\":\"a\"}", "not_supported"},
        {"{\"h\":1025}", "bad_field"},
        {"{\"level\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}", "bad_field"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct nixtla_body body;
        struct error error;
        enum status status = read_text(table[i].text, &body, &error);
        if (status != STATUS_INVALID || strcmp(error.code, table[i].code) != 0) {
            fail_msg("%s: %s, %s", table[i].text, error.code ? error.code : "-", error.text);
        }
        nixtla_release(&body);
    }
}

static void frequencies(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t step_ms;
        uint32_t season;
    } table[] = {
        {"h", 3600000, 0},      {"H", 3600000, 0},         {"30min", 1800000, 0},
        {"10S", 10000, 0},      {"MS", 2592000000, 12},    {"ms", 1, 0},
        {"3MS", 7776000000, 4}, {"W-MON", 604800000, 52},  {"QE-DEC", 7862400000, 4},
        {"B", 86400000, 5},     {"A-DEC", 31536000000, 0}, {"5MS", 12960000000, 0},
    };
    struct nixtla_frequency found;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_true(nixtla_frequency(table[i].text, strlen(table[i].text), &found));
        assert_int_equal(found.step_ms, table[i].step_ms);
        assert_int_equal(found.season, table[i].season);
    }
    static const char *const none[] = {"",    "0D", "x",  "m", "99999999999999999999h",
                                       "2YS", "-D", "D D"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_false(nixtla_frequency(none[i], strlen(none[i]), &found));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_body),
        cmocka_unit_test(says_what_a_body_has),
        cmocka_unit_test(refuses),
        cmocka_unit_test(frequencies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
