/* Series found by words: against a plain reading of every name, page by page, and what is refused.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "api/series_search.h"

#define SERIES 1500 /* more than one batch of ids */

static struct fixture fixture;
static const char *prefix; /* of the view; NULL: everything */

static int open_fixture(void **state)
{
    (void)state;
    fixture_open_for(&fixture, SERIES + 10);
    for (int i = 0; i < SERIES; i++) {
        char body[200];
        snprintf(body, sizeof(body),
                 "{\"series\":\"Fleet.load\",\"labels\":{\"host\":\"web-%04d\",\"rack\":\"r%d\"},"
                 "\"value\":1}",
                 i, i % 7);
        expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
    }
    return 0;
}

static int close_fixture(void **state)
{
    (void)state;
    fixture_close(&fixture);
    return 0;
}

static size_t found(const char *words, uint32_t after, uint32_t *ids, size_t maximum, size_t *total)
{
    struct view view = {&fixture.services, prefix};
    struct series_search search;
    struct error error = {0};
    assert_int_equal(series_search_init(&search, &view, NULL, words, &error), STATUS_OK);
    return series_search_run(&search, after, ids, maximum, total);
}

static void test_words_in_any_order_and_case(void **state)
{
    uint32_t ids[SERIES];
    size_t total = 0;
    (void)state;
    assert_int_equal(found(NULL, 0, ids, SERIES, &total), SERIES);
    assert_int_equal(total, SERIES);
    assert_int_equal(found("  ", 0, ids, SERIES, &total), SERIES);
    assert_int_equal(found("WEB-0042", 0, ids, SERIES, &total), 1);
    assert_int_equal(ids[0], 43);
    assert_int_equal(found("r3 fleet", 0, ids, SERIES, &total), (SERIES + 3) / 7);
    assert_int_equal(found("rack=r3 host=web-0", 0, ids, SERIES, &total), 143);
    assert_int_equal(found("rack=\"r3\"", 0, ids, SERIES, &total), (SERIES + 3) / 7);
    assert_int_equal(found("r3 r4", 0, ids, SERIES, &total), 0);
    assert_int_equal(total, 0);
}

/* What a view does not hold is neither found nor counted. */
static void test_in_view_only(void **state)
{
    uint32_t ids[SERIES];
    size_t total = 0;
    (void)state;
    prefix = "Fleet";
    assert_int_equal(found("r5", 0, ids, SERIES, &total), 214);
    prefix = "Other";
    assert_int_equal(found("r5", 0, ids, SERIES, &total), 0);
    assert_int_equal(total, 0);
    prefix = NULL;
}

/* Pages one after the other are the whole, whatever their size. */
static void test_pages(void **state)
{
    static const size_t sizes[] = {1, 7, 100, 511, 512, 513};
    uint32_t whole[SERIES], page[SERIES];
    size_t total = 0, count = found("r5", 0, whole, SERIES, &total);
    (void)state;
    assert_int_equal(total, count);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t at = 0, got;
        uint32_t after = 0;
        while ((got = found("r5", after, page, sizes[i], NULL)) > 0) {
            assert_memory_equal(page, whole + at, got * sizeof(*page));
            at += got;
            after = page[got - 1];
        }
        assert_int_equal(at, count);
    }
}

static void test_route(void **state)
{
    char long_search[400] = "/api/v1/series?search=";
    (void)state;
    expect(&fixture, API_GET, "/api/v1/series?search=r5&limit=2", NULL, 200, "\"total\":214}");
    expect(&fixture, API_GET, "/api/v1/series?search=r5&limit=2&cursor=6", NULL, 200,
           "\"total\":null}");
    expect(&fixture, API_GET, "/api/v1/series?limit=2", NULL, 200, "\"total\":1500}");
    expect(&fixture, API_GET, "/api/v1/series?search=web-1&match=%7Brack%3D%22r1%22%7D&limit=1",
           NULL, 200, "\"total\":72}");
    memset(long_search + strlen(long_search), 'x', SEARCH_BYTES_MAX + 1);
    expect(&fixture, API_GET, long_search, NULL, 400, "bad_parameter");
    expect(&fixture, API_GET, "/api/v1/series?search=1+2+3+4+5+6+7+8+9+10+11+12+13+14+15+16+17",
           NULL, 400, "bad_parameter");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_in_any_order_and_case),
        cmocka_unit_test(test_in_view_only),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_route),
    };
    return cmocka_run_group_tests_name("series_search", tests, open_fixture, close_fixture);
}
