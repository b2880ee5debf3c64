/* Tokens at the door: every route has a scope, callers get what theirs allows, and see what is
 * theirs. SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/api/fixture.h"

#include "api/router.h"
#include "base/token.h"

#include <stdlib.h>

static struct fixture fixture;
static char reader[TOKEN_SECRET_BYTES + 8], writer[TOKEN_SECRET_BYTES + 8],
    admin[TOKEN_SECRET_BYTES + 8], plant[TOKEN_SECRET_BYTES + 8], expired[TOKEN_SECRET_BYTES + 8];

static void add(struct text *file, const char *name, const char *scopes, const char *prefix,
                char *header)
{
    struct token token = {.created_ms = NOW_MS - 1000, .expires_ms = INT64_MAX};
    struct error error = {0};
    char secret[TOKEN_SECRET_BYTES];
    assert_int_equal(token_set_name(&token, name, &error), STATUS_OK);
    assert_int_equal(token_set_scopes(&token, scopes, &error), STATUS_OK);
    if (prefix) {
        assert_int_equal(token_set_prefix(&token, prefix, &error), STATUS_OK);
    }
    token.expires_ms = header == expired ? NOW_MS : INT64_MAX;
    token_draw(&token, secret);
    snprintf(header, TOKEN_SECRET_BYTES + 8, "Bearer %s", secret);
    token_write(&token, file);
}

static int open_door(void **state)
{
    struct text file;
    struct token_list tokens;
    struct error error = {0};
    (void)state;
    memset(&fixture, 0, sizeof(fixture));
    fixture_open(&fixture);
    expect(&fixture, API_POST, "/api/v1/points",
           "[{\"series\":\"plant.a\",\"points\":[[1795354680000,1],[1795354740000,2]]},"
           "{\"series\":\"plant.b\",\"value\":1},{\"series\":\"office\",\"points\":"
           "[[1795354680000,1],[1795354740000,2]]}]",
           200, NULL);
    text_init(&file, 8192);
    add(&file, "reader", "read", NULL, reader);
    add(&file, "writer", "write", NULL, writer);
    add(&file, "ops", "admin", NULL, admin);
    add(&file, "plant", "read,write", "plant.", plant);
    add(&file, "late", "admin", NULL, expired);
    assert_int_equal(access_new(&fixture.services.access, &error), STATUS_OK);
    assert_int_equal(token_list_read(&tokens, "file", file.bytes, file.length, &error), STATUS_OK);
    access_replace_take(fixture.services.access, &tokens);
    text_release(&file);
    return 0;
}

static int close_door(void **state)
{
    (void)state;
    fixture_close(&fixture);
    access_free(fixture.services.access);
    return 0;
}

/* The head alone, so that nothing is done: 0 where the request may go on. */
static int knock(const struct route *route, const char *authorization)
{
    char path[128];
    const char *hole = strchr(route->template, '{');
    struct api_response response = {0};
    snprintf(path, sizeof(path), "%.*s%s%s",
             hole ? (int)(hole - route->template) : (int)strlen(route->template), route->template,
             hole ? "1" : "", hole ? strchr(hole, '}') + 1 : "");
    struct api_request request = {.method = route->method,
                                  .path = path,
                                  .query = "",
                                  .content_type = "",
                                  .authorization = authorization,
                                  .request_id = "test-1",
                                  .response = &response};
    enum api_outcome outcome = api_begin(&fixture.services, &request, 0, &response);
    int status = outcome == API_DONE ? response.status : 0;
    api_response_release(&response);
    return status == 415 ? 0 : status; /* beyond the door, an empty type may still not do */
}

static bool is_open(const char *path)
{
    static const char *const open[] = {"/healthz", "/readyz",    "/ping",        "/health",
                                       "/",        "/ui/{file}", "/openapi.json"};
    for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
        if (strcmp(open[i], path) == 0) {
            return true;
        }
    }
    return false;
}

static void every_route_has_a_scope(void **state)
{
    size_t count = 0;
    const struct route *routes = router_routes(&count);
    (void)state;
    assert_true(count > 40);
    for (size_t i = 0; i < count; i++) {
        const struct route *route = &routes[i];
        unsigned scope = route->scope & ~(unsigned)SCOPE_WHOLE;
        if (is_open(route->template)) {
            assert_int_equal(route->scope, SCOPE_OPEN);
            assert_int_equal(knock(route, NULL), 0);
            continue;
        }
        assert_int_not_equal(scope, 0);
        assert_false(scope & SCOPE_OPEN);
        assert_int_equal(knock(route, NULL), 401);
        assert_int_equal(knock(route, "Bearer fct_0123"), 401);
        assert_int_equal(knock(route, "Bearer "), 401);
        assert_int_equal(knock(route, expired), 401);
        assert_int_equal(knock(route, reader), scope & SCOPE_READ ? 0 : 403);
        assert_int_equal(knock(route, writer), scope & SCOPE_WRITE ? 0 : 403);
        assert_int_equal(knock(route, admin), 0);
        bool fits = scope & (SCOPE_READ | SCOPE_WRITE) && !(route->scope & SCOPE_WHOLE);
        assert_int_equal(knock(route, plant), fits ? 0 : 403);
        /* What changes something is not for readers, whoever adds the next route. */
        bool reads = strstr(route->template, "forecast") || strstr(route->template, "prometheus") ||
                     strcmp(route->template, "/query") == 0 ||
                     strcmp(route->template, "/validate_token") == 0;
        if (route->method != API_GET && !reads) {
            assert_false(scope & SCOPE_READ);
        }
    }
}

static void handlers_do_not_run_without_a_look_at_the_head(void **state)
{
    struct api_response response = {0};
    struct api_request request = {.method = API_GET,
                                  .path = "/api/v1/series",
                                  .query = "",
                                  .content_type = "",
                                  .request_id = "test-1",
                                  .response = &response};
    (void)state;
    assert_int_equal(api_handle(fixture.worker, &request, &response), API_DONE);
    assert_int_equal(response.status, 401);
    api_response_release(&response);
    request.path = "/metrics";
    assert_int_equal(api_fast(&fixture.services, &request, &response), API_DONE);
    assert_int_equal(response.status, 401);
    api_response_release(&response);
    request.probe = true;
    assert_int_equal(api_fast(&fixture.services, &request, &response), API_DONE);
    assert_int_equal(response.status, 200);
    api_response_release(&response);
}

static void hides(const char *target, const char *hidden, const char *shown)
{
    struct answer answer = get(&fixture, target);
    assert_int_equal(answer.status, 200);
    assert_null(strstr(answer.body, hidden));
    assert_non_null(strstr(answer.body, shown));
    fixture_answer_release(&answer);
}

static void a_prefix_limits_what_is_read(void **state)
{
    (void)state;
    fixture.authorization = reader; /* fills the memory of live answers with everything */
    hides("/api/v1/forecast?series=%7B__name__%3D~%22plant.a%7Coffice%22%7D", "nothing", "office");
    fixture.authorization = plant;
    hides("/api/v1/forecast?series=%7B__name__%3D~%22plant.a%7Coffice%22%7D", "office", "plant.a");
    fixture.authorization = reader;
    hides("/api/v1/forecast?series=%7B__name__%3D~%22plant.a%7Coffice%22%7D", "nothing", "office");
    fixture.authorization = plant;
    hides("/api/v1/series", "office", "plant.b");
    hides("/api/v1/series?limit=1&cursor=1", "office", "plant.b");
    hides("/api/v1/series?match=%7B__name__%3D~%22.%2B%22%7D", "office", "plant.a");
    hides("/prometheus/api/v1/label/__name__/values", "office", "plant.a");
    hides("/prometheus/api/v1/series?match[]=%7B__name__%3D~%22.%2B%22%7D", "office", "plant.a");
    hides("/prometheus/api/v1/query?query=%7B__name__%3D~%22.%2B%22%7D", "office", "plant.a");
    hides("/prometheus/api/v1/query?query=count(%7B__name__%3D~%22office.*%22%7D)", "office", "[]");
    hides("/api/v1/accuracy?series=plant.a", "office", "plant.a");
    expect(&fixture, API_GET, "/api/v1/series/3", NULL, 404, "unknown_series");
    expect(&fixture, API_GET, "/api/v1/series/3/points", NULL, 404, "unknown_series");
    expect(&fixture, API_GET, "/api/v1/series/office", NULL, 404, "unknown_series");
    expect(&fixture, API_GET, "/api/v1/series/1", NULL, 200, "plant.a");
    expect(&fixture, API_GET, "/api/v1/forecast?series=office", NULL, 404, "unknown_series");
    expect(&fixture, API_POST, "/api/v1/forecast", "{\"series\":\"office\"}", 404, NULL);
    expect(&fixture, API_GET, "/api/v1/accuracy?series=office", NULL, 404, "unknown_series");
    fixture.authorization = admin;
    expect(&fixture, API_GET, "/api/v1/series/3", NULL, 200, "office");
    fixture.authorization = NULL;
}

static void a_prefix_limits_what_is_written(void **state)
{
    struct answer answer;
    (void)state;
    fixture.authorization = plant;
    answer = post(&fixture, "/api/v1/points",
                  "[{\"series\":\"plant.a\",\"value\":1},{\"series\":\"office\",\"value\":9},"
                  "{\"series\":\"plant\",\"value\":9}]");
    assert_int_equal(answer.status, 422);
    assert_non_null(strstr(answer.body, "\"accepted\":1,\"updated\":1,\"rejected\":2"));
    assert_non_null(strstr(answer.body, "outside_prefix"));
    fixture_answer_release(&answer);
    const char *lines = "plant.x value=1\noffice value=9\n";
    answer = fixture_ask(&fixture, API_POST, "/write", "", lines, strlen(lines), API_IDENTITY);
    assert_int_equal(answer.status, 400);
    assert_non_null(strstr(answer.body, "partial write"));
    fixture_answer_release(&answer);
    const char *csv = "time,plant.csv,office\n2026-11-22T13:00:00Z,1,9\n2026-11-22T13:01:00Z,1,9\n";
    answer = fixture_ask(&fixture, API_POST, "/api/v1/import", "text/csv", csv, strlen(csv),
                         API_IDENTITY);
    assert_int_equal(answer.status, 422);
    assert_non_null(strstr(answer.body, "outside_prefix"));
    fixture_answer_release(&answer);
    fixture.authorization = reader;
    hides("/api/v1/series/office/points", ",9]", "[1795354740000,2]");
    fixture.authorization = NULL;
}

static int line_status(const char *target)
{
    struct answer answer = fixture_ask(&fixture, API_POST, target, "", "", 0, API_IDENTITY);
    assert_true(answer.status == 204 || strstr(answer.body, "\"error\":"));
    fixture_answer_release(&answer);
    return answer.status;
}

static void influx_clients_have_ways_of_their_own(void **state)
{
    char header[200], target[200];
    const char *secret = writer + strlen("Bearer ");
    (void)state;
    snprintf(header, sizeof(header), "Token %s", secret);
    fixture.authorization = header;
    assert_int_equal(line_status("/api/v2/write?org=o&bucket=b"), 204);
    expect(&fixture, API_POST, "/api/v1/points", "[]", 401, "unauthorized");
    fixture.authorization = NULL;
    snprintf(target, sizeof(target), "/write?db=d&u=telegraf&p=%s", secret);
    assert_int_equal(line_status(target), 204);
    assert_int_equal(line_status("/write?db=d&u=telegraf&p=wrong"), 401);
    assert_int_equal(line_status("/write?db=d&u=telegraf"), 401);
    /* base64 of "u:" and nothing, of no colon, and no base64 */
    static const char *const bad[] = {"Basic dTo=", "Basic dQ==", "Basic !", "Basic ", "Basic"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        fixture.authorization = bad[i];
        assert_int_equal(line_status("/write"), 401);
    }
    fixture.authorization = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route_has_a_scope),
        cmocka_unit_test(handlers_do_not_run_without_a_look_at_the_head),
        cmocka_unit_test(a_prefix_limits_what_is_read),
        cmocka_unit_test(a_prefix_limits_what_is_written),
        cmocka_unit_test(influx_clients_have_ways_of_their_own),
    };
    return cmocka_run_group_tests(tests, open_door, close_door);
}
