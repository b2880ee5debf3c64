/* Errors on the wire: what each status becomes, in whose form, and what never reaches a client.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/api/fixture.h"

#include "api/problem.h"
#include "base/check.h"
#include "base/memory.h"

#define INNER "cannot read page 7 of /var/lib/forecastd/forecastd.db" /* nobody's business */

static struct api_response ask_for(const char *path, enum status status, const char *text)
{
    struct api_response response = {0};
    struct api_request request = {.path = path,
                                  .content_type = "application/json",
                                  .request_id = "r-1",
                                  .response = &response};
    struct error error = {0};
    (void)error_set(&error, status, "%s", text);
    api_problem(&request, &error, &response);
    return response;
}

static const char *header_of(const struct api_response *response, const char *name)
{
    for (size_t i = 0; i < response->header_count; i++) {
        if (strcmp(response->headers[i].name, name) == 0) {
            return api_header_value(response, i);
        }
    }
    return NULL;
}

static bool says(const struct api_response *response, const char *part)
{
    return memmem(response->body, response->body_length, part, strlen(part)) != NULL;
}

static const struct {
    enum status status;
    int http;
    const char *code;
    bool inner; /* its text is not for clients */
} rows[] = {
    {STATUS_INVALID, 400, "invalid", false},
    {STATUS_UNSUPPORTED, 400, "unsupported", false},
    {STATUS_NOT_FOUND, 404, "not_found", false},
    {STATUS_CONFLICT, 409, "conflict", false},
    {STATUS_TOO_LARGE, 413, "too_large", false},
    {STATUS_BUSY, 503, "busy", false},
    {STATUS_NOT_READY, 503, "not_ready", false},
    {STATUS_CANCELLED, 503, "cancelled", false},
    {STATUS_TIMEOUT, 503, "timeout", false},
    {STATUS_NO_MEMORY, 503, "no_memory", true},
    {STATUS_NO_SPACE, 503, "storage_unavailable", true},
    {STATUS_IO, 503, "storage_unavailable", true},
    {STATUS_CORRUPT, 500, "internal", true},
    {STATUS_INTERNAL, 500, "internal", true},
};

static void each_status_has_its_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char code[80];
        struct api_response response = ask_for("/api/v1/series", rows[i].status, INNER);
        snprintf(code, sizeof(code), "\"code\":\"%s\"", rows[i].code);
        if (response.status != rows[i].http || !says(&response, code)) {
            fail_msg("%s: %d %.*s", rows[i].code, response.status, (int)response.body_length,
                     response.body);
        }
        assert_string_equal(response.content_type, "application/problem+json");
        assert_true(says(&response, "\"request_id\":\"r-1\""));
        assert_int_equal(says(&response, "page 7"), !rows[i].inner);
        const char *later = header_of(&response, "Retry-After");
        assert_int_equal(later != NULL, rows[i].http == 503);
        if (rows[i].status == STATUS_NO_SPACE) {
            assert_string_equal(later, "10"); /* room takes longer than a turn in a queue */
        }
        api_response_release(&response);
    }
}

static void neighbours_get_errors_in_their_own_form(void **state)
{
    static const struct {
        enum status status;
        const char *type;
    } prometheus[] = {{STATUS_INVALID, "bad_data"},  {STATUS_NOT_FOUND, "not_found"},
                      {STATUS_TIMEOUT, "timeout"},   {STATUS_CORRUPT, "internal"},
                      {STATUS_IO, "unavailable"},    {STATUS_BUSY, "unavailable"},
                      {STATUS_TOO_LARGE, "bad_data"}};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(prometheus); i++) {
        char wanted[80];
        struct api_response response =
            ask_for("/prometheus/api/v1/query", prometheus[i].status, INNER);
        snprintf(wanted, sizeof(wanted),
                 "{\"status\":\"error\",\"errorType\":\"%s\",\"error\":", prometheus[i].type);
        assert_true(says(&response, wanted));
        api_response_release(&response);
    }
    struct api_response response = ask_for("/write", STATUS_IO, INNER);
    assert_true(says(&response, "\"error\":\"the store could not be read or written"));
    assert_non_null(header_of(&response, "X-Influxdb-Version"));
    api_response_release(&response);
    response = ask_for("/api/v2/write", STATUS_INVALID, "unlike a line");
    assert_true(says(&response, "unlike a line"));
    api_response_release(&response);
    response = ask_for("/v1/metrics", STATUS_INTERNAL, INNER);
    assert_true(says(&response, "the daemon met an error of its own"));
    assert_false(says(&response, "page 7"));
    api_response_release(&response);
}

/* With no memory for a body there is one that needs none, in the form of whoever asked. */
static void without_memory_there_is_still_an_answer(void **state)
{
    static const struct {
        const char *path, *part;
    } forms[] = {{"/api/v1/series", "\"code\":\"no_memory\""}, {"/write", "\"error\":"}};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(forms); i++) {
        mem_fault_set(1, 1);
        struct api_response response = ask_for(forms[i].path, STATUS_NO_MEMORY, "no");
        mem_fault_set(0, 0);
        assert_int_equal(response.status, 503);
        assert_true(response.body_static);
        assert_true(says(&response, forms[i].part));
        assert_non_null(header_of(&response, "Retry-After"));
        api_response_release(&response);
    }
}

static void headers_are_bounded_and_clean(void **state)
{
    struct api_response response = {0};
    (void)state;
    response_header(&response, "X-Text", "a%cb%c%c", '\n', '\r', 0x7f);
    assert_string_equal(header_of(&response, "X-Text"), "a_b__");
    for (int i = 0; i < 2 * API_HEADERS_MAX; i++) {
        response_header(&response, "X-More", "%d", i);
    }
    assert_int_equal(response.header_count, API_HEADERS_MAX);
    assert_string_equal(api_header_value(&response, 1), "0");
    struct api_response full = {0};
    char longest[2 * API_HEADER_VALUE_LENGTH];
    memset(longest, 'v', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    for (int i = 0; i < API_HEADERS_MAX; i++) {
        response_header(&full, "X-Long", "%s", longest);
    }
    size_t fits = API_HEADERS_BYTES / (API_HEADER_VALUE_LENGTH + 1);
    assert_int_equal(full.header_count, fits);
    for (size_t i = 0; i < fits; i++) {
        assert_int_equal(strlen(api_header_value(&full, i)), API_HEADER_VALUE_LENGTH);
    }
    response_header(&full, "X-Short", "1");
    assert_string_equal(header_of(&full, "X-Short"), "1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_status_has_its_answer),
        cmocka_unit_test(neighbours_get_errors_in_their_own_form),
        cmocka_unit_test(without_memory_there_is_still_an_answer),
        cmocka_unit_test(headers_are_bounded_and_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
