/* The files of the page: found by exact name, plain and compressed alike, sent once.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "api/ui_assets.h"

static struct fixture fixture;

static int open_fixture(void **state)
{
    (void)state;
    fixture_open(&fixture);
    return 0;
}

static int close_fixture(void **state)
{
    (void)state;
    fixture_close(&fixture);
    return 0;
}

static void ask(const char *path, bool gzip, const char *tags, struct api_response *response)
{
    struct api_request request = {.method = API_GET,
                                  .path = path,
                                  .query = "",
                                  .content_type = "",
                                  .body = "",
                                  .request_id = "test-1",
                                  .accept_gzip = gzip,
                                  .if_none_match = tags,
                                  .response = response};
    memset(response, 0, sizeof(*response));
    assert_int_equal(api_fast(&fixture.services, &request, response), API_DONE);
}

static const char *header(const struct api_response *response, const char *name)
{
    for (size_t i = 0; i < response->header_count; i++) {
        if (strcmp(response->headers[i].name, name) == 0) {
            return api_header_value(response, i);
        }
    }
    return "";
}

static size_t read_source(const char *path, char *bytes, size_t maximum)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t length = fread(bytes, 1, maximum, file);
    fclose(file);
    return length;
}

static void test_every_file_both_ways(void **state)
{
    size_t count = 0;
    const struct ui_asset *assets = ui_assets(&count);
    (void)state;
    assert_true(count >= 10);
    for (size_t i = 0; i < count; i++) {
        struct api_response plain, packed;
        ask(assets[i].path, false, NULL, &plain);
        ask(assets[i].path, true, NULL, &packed);
        assert_int_equal(plain.status, 200);
        assert_int_equal(packed.status, 200);
        assert_string_equal(header(&plain, "Content-Encoding"), "");
        assert_string_equal(header(&packed, "Content-Encoding"), "gzip");
        assert_non_null(strstr(header(&packed, "Content-Security-Policy"), "default-src 'self'"));
        assert_string_not_equal(header(&plain, "ETag"), header(&packed, "ETag"));
        assert_true(packed.body_length < plain.body_length);
        api_response_release(&plain);
        api_response_release(&packed);
    }
}

static void test_unpacked_it_is_the_source(void **state)
{
    static char source[64 << 10];
    struct api_response response;
    (void)state;
    ask("/ui/app.js", false, NULL, &response);
    size_t length = read_source("api/ui/app.js", source, sizeof(source));
    assert_int_equal(response.body_length, length);
    assert_memory_equal(response.body, source, length);
    api_response_release(&response);
}

static void test_what_is_known_is_not_sent(void **state)
{
    struct api_response first, again, other;
    char tags[200];
    (void)state;
    ask("/ui/app.js", true, NULL, &first);
    snprintf(tags, sizeof(tags), "\"old\", %s", header(&first, "ETag"));
    ask("/ui/app.js", true, tags, &again);
    assert_int_equal(again.status, 304);
    assert_null(again.body);
    assert_string_equal(header(&again, "ETag"), header(&first, "ETag"));
    ask("/ui/app.js", false, tags, &other); /* the tag is of the compressed bytes */
    assert_int_equal(other.status, 200);
    api_response_release(&first);
    api_response_release(&other);
}

static void test_nothing_else_is_there(void **state)
{
    (void)state;
    expect(&fixture, API_GET, "/ui/none.js", NULL, 404, "unknown_route");
    expect(&fixture, API_GET, "/ui/../app.js", NULL, 404, "unknown_route");
    expect(&fixture, API_GET, "/ui/", NULL, 404, "unknown_route");
    expect(&fixture, API_POST, "/ui/app.js", "{}", 405, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_file_both_ways),
        cmocka_unit_test(test_unpacked_it_is_the_source),
        cmocka_unit_test(test_what_is_known_is_not_sent),
        cmocka_unit_test(test_nothing_else_is_there),
    };
    return cmocka_run_group_tests_name("ui", tests, open_fixture, close_fixture);
}
