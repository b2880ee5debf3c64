/* Tests of selector: Prometheus's meaning of matchers, what is refused, and every failing
 * allocation. SPDX-License-Identifier: Apache-2.0
 */
#include "base/memory.h"
#include "base/series_name.h"
#include "tests/unit/base/test.h"

#include <string.h>

static void what_matches(UNUSED void **state)
{
    static const struct {
        const char *selector;
        const char *series;
        int matches;
    } rows[] = {
        {"up", "up", 1},
        {"up", "upper", 0},
        {"up", "up{a=\"1\"}", 1},
        {"up{a=\"1\"}", "up{a=\"1\",b=\"2\"}", 1},
        {"up{a=\"1\"}", "up{a=\"2\"}", 0},
        {"up{a=\"1\"}", "up", 0},
        {"up{a=\"\"}", "up", 1},
        {"up{a=\"\"}", "up{a=\"1\"}", 0},
        {"up{a!=\"1\"}", "up", 1},
        {"up{a!=\"1\"}", "up{a=\"2\"}", 1},
        {"up{a!=\"1\"}", "up{a=\"1\"}", 0},
        {"up{a!=\"\"}", "up", 0},
        {"up{a=~\"z.*\"}", "up{a=\"zone\"}", 1},
        {"up{a=~\"z.*\"}", "up{a=\"azone\"}", 0},
        {"up{a=~\".*\"}", "up", 1},
        {"up{a=~\".+\"}", "up", 0},
        {"up{a!~\"w\"}", "up{a=\"w\"}", 0},
        {"up{a!~\"w\"}", "up{a=\"ww\"}", 1},
        {"up{a!~\".+\"}", "up", 1},
        {"{a=\"x\"}", "any{a=\"x\"}", 1},
        {"{a=\"x\"}", "any", 0},
        {"{__name__=~\"boiler\\\\..*\"}", "boiler.temp{a=\"1\"}", 1},
        {"{__name__=~`boiler\\..*`}", "boilerxtemp", 0},
        {"{__name__!=\"up\",a=\"1\"}", "up{a=\"1\"}", 0},
        {"{__name__!=\"up\",a=\"1\"}", "down{a=\"1\"}", 1},
        {"{\"a,b\",c=\"d\"}", "{\"a,b\",c=\"d\"}", 1},
        {"{\"a,b\"}", "{\"a,b\",c=\"d\"}", 1},
        {"up{a=\"q\\\"\\\\\\n\"}", "up{a=\"q\\\"\\\\\\n\"}", 1},
        {"up{a!=\"1\",a!=\"2\"}", "up{a=\"3\"}", 1},
        {"up{a!=\"1\",a!=\"2\"}", "up{a=\"2\"}", 0},
        {" up { a = 'x' , b =~ \"1|2\" , } ", "up{a=\"x\",b=\"2\"}", 1},
        {"up{a=~\"1|2\"}", "up{a=\"12\"}", 0},
        {"up", "up{", 0},
        {"x{__name__=~\"x|y\"}", "x", 1},
        {"{a=~\"x\",a!=\"y\"}", "m{a=\"x\"}", 1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct selector *selector = NULL;
        struct error error = {0};
        if (selector_parse(rows[i].selector, strlen(rows[i].selector), &selector, &error) !=
            STATUS_OK) {
            fail_msg("%s: %s", rows[i].selector, error.text);
        }
        if (selector_matches(selector, rows[i].series, strlen(rows[i].series)) != rows[i].matches) {
            fail_msg("%s on %s", rows[i].selector, rows[i].series);
        }
        selector_free(selector);
    }
}

static void what_is_refused(UNUSED void **state)
{
    static const char *const rows[] = {
        "",
        "{}",
        "{a=\"\"}",
        "{a=~\".*\"}",
        "{a!=\"x\"}",
        "{a!~\".+\"}",
        "up{a}",
        "up{a=\"1\"",
        "up{a==\"1\"}",
        "up{a~\"1\"}",
        "up{a=~\"(\"}",
        "up{a=~\"*\"}",
        "up{a=~\"a{2}\"}",
        "up{a=1}",
        "up[5m]{a=\"1\"}x",
        "up{a=\"1\"}[5m]",
        "up{a!\"1\"}",
    };
    size_t before = mem_bytes_in_use();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct selector *selector = NULL;
        struct error error = {0};
        if (selector_parse(rows[i], strlen(rows[i]), &selector, &error) != STATUS_INVALID) {
            fail_msg("accepted: %s", rows[i]);
        }
        assert_string_equal(error.code, "bad_selector");
        assert_string_equal(error.param, "match");
        assert_null(selector);
    }
    assert_int_equal(mem_bytes_in_use(), before);
}

static void exact_ones_are_seen(UNUSED void **state)
{
    static const struct {
        const char *selector;
        const char *canonical; /* NULL: not exact */
    } rows[] = {
        {"up", "up"},
        {"up{b=\"2\",a=\"1\"}", "up{a=\"1\",b=\"2\"}"},
        {"{__name__=\"up\",a=\"1\"}", "up{a=\"1\"}"},
        {"{\"a,b\"}", "{\"a,b\"}"},
        {"up{a=\"\"}", "up"},
        {"{a=\"1\"}", NULL},
        {"up{a!=\"1\"}", NULL},
        {"up{a=~\"1\"}", NULL},
        {"{__name__=~\"up\"}", NULL},
        {"up{__name__=\"up\"}", NULL},
        {"{\"\",\"up\"}", NULL},
        {"{__name__=\"\",__name__=\"up\"}", NULL},
        {"up{a=\"1\",a=\"2\"}", NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct selector *selector = NULL;
        struct error error = {0};
        char out[SERIES_TEXT_MAX + 1];
        size_t length = 0;
        assert_ok(selector_parse(rows[i].selector, strlen(rows[i].selector), &selector, &error));
        assert_int_equal(selector_exact(selector, out, &length), rows[i].canonical != NULL);
        if (rows[i].canonical != NULL) {
            out[length] = '\0';
            assert_string_equal(out, rows[i].canonical);
            assert_true(selector_matches(selector, out, length));
        }
        selector_free(selector);
    }
}

static void every_failing_allocation(UNUSED void **state)
{
    static const char text[] = "up{a=~\"x.*\",b!~\"y|z\",c=\"1\"}";
    size_t before = mem_bytes_in_use();
    for (uint64_t nth = 1;; nth++) {
        struct selector *selector = NULL;
        struct error error = {0};
        mem_fault_set(nth, 0);
        enum status status = selector_parse(text, strlen(text), &selector, &error);
        int hit = mem_fault_hit();
        mem_fault_set(0, 0);
        assert_int_equal(status, hit ? STATUS_NO_MEMORY : STATUS_OK);
        if (!hit) {
            assert_int_equal(nth, 4);
            selector_free(selector);
            break;
        }
        assert_null(selector);
        assert_int_equal(mem_bytes_in_use(), before);
    }
    selector_free(NULL);
    assert_int_equal(mem_bytes_in_use(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_matches),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(exact_ones_are_seen),
        cmocka_unit_test(every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
