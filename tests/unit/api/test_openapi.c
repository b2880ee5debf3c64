/* GET /openapi.json says what the route table and the table of error codes say.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/api/fixture.h"

#include "api/problem.h"
#include "api/query.h"
#include "api/router.h"

#include <jansson.h>

static struct fixture fixture;
static json_t *document;

static int open_document(void **state)
{
    (void)state;
    json_error_t cause;
    fixture_open(&fixture);
    struct answer answer = get(&fixture, "/openapi.json");
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.type, "application/json");
    document = json_loadb(answer.body, answer.length, JSON_REJECT_DUPLICATES, &cause);
    if (!document) {
        fail_msg("%s at %d", cause.text, cause.position);
    }
    fixture_answer_release(&answer);
    return 0;
}

static int close_document(void **state)
{
    (void)state;
    json_decref(document);
    fixture_close(&fixture);
    return 0;
}

/* ---------------------------------------------------------------- the document */

static const char *method_name(enum api_method method)
{
    return method == API_GET     ? "get"
           : method == API_POST  ? "post"
           : method == API_PATCH ? "patch"
                                 : "delete";
}

static const json_t *path_item(const struct route *route)
{
    return json_object_get(json_object_get(document, "paths"), route->template);
}

static const json_t *operation_of(const struct route *route)
{
    const json_t *operation = json_object_get(path_item(route), method_name(route->method));
    if (!operation) {
        fail_msg("%s %s is not documented", method_name(route->method), route->template);
    }
    return operation;
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

/* A parameter, or what its $ref points to. */
static const json_t *parameter_at(const json_t *parameters, size_t index)
{
    static const char before[] = "#/components/parameters/";
    const json_t *parameter = json_array_get(parameters, index);
    const char *reference = text_of(parameter, "$ref");
    if (reference[0]) {
        assert_memory_equal(reference, before, strlen(before));
        parameter =
            json_object_get(json_object_get(json_object_get(document, "components"), "parameters"),
                            reference + strlen(before));
    }
    assert_non_null(parameter);
    return parameter;
}

static bool holds(const json_t *array, const char *word)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (strcmp(json_string_value(json_array_get(array, i)), word) == 0) {
            return true;
        }
    }
    return false;
}

/* ---------------------------------------------------------------- routes */

static void every_route_and_no_other(void **state)
{
    size_t count = 0, documented = 0;
    const struct route *routes = router_routes(&count);
    const char *path, *name;
    json_t *item, *member;
    (void)state;
    for (size_t i = 0; i < count; i++) {
        assert_non_null(operation_of(&routes[i]));
    }
    json_object_foreach(json_object_get(document, "paths"), path, item)
    {
        json_object_foreach(item, name, member)
        {
            documented += strcmp(name, "parameters") != 0;
        }
    }
    assert_int_equal(documented, count);
}

static void check_parameters(const struct route *route, const json_t *parameters)
{
    size_t found = 0, wanted = 0;
    for (size_t i = 0; i < json_array_size(parameters); i++) {
        const json_t *parameter = parameter_at(parameters, i);
        const char *name = text_of(parameter, "name");
        if (strcmp(text_of(parameter, "in"), "query") != 0) {
            continue;
        }
        found++;
        if (!word_among(route->parameters, name)) {
            fail_msg("%s does not take %s", route->template, name);
        }
        const json_t *schema = json_object_get(parameter, "schema");
        bool repeats = strcmp(text_of(schema, "type"), "array") == 0 &&
                       !json_is_false(json_object_get(parameter, "explode"));
        if (repeats != word_among(route->repeatable, name)) {
            fail_msg("%s: may %s repeat?", route->template, name);
        }
    }
    for (const char *at = route->parameters; *at; at += strspn(at, " ")) {
        at += strcspn(at, " ");
        wanted++;
    }
    if (found != wanted) {
        fail_msg("%s takes %zu parameters, not %zu", route->template, wanted, found);
    }
}

static void parameters_are_those_of_the_route(void **state)
{
    size_t count = 0;
    const struct route *routes = router_routes(&count);
    (void)state;
    for (size_t i = 0; i < count; i++) {
        if (routes[i].parameters) {
            check_parameters(&routes[i], json_object_get(operation_of(&routes[i]), "parameters"));
        }
    }
}

static void holes_of_a_path_are_its_parameters(void **state)
{
    size_t count = 0;
    const struct route *routes = router_routes(&count);
    (void)state;
    for (size_t i = 0; i < count; i++) {
        const char *hole = strchr(routes[i].template, '{');
        const json_t *parameters = json_object_get(path_item(&routes[i]), "parameters");
        assert_int_equal(json_array_size(parameters), hole ? 1 : 0);
        if (hole) {
            const json_t *parameter = parameter_at(parameters, 0);
            const char *name = text_of(parameter, "name");
            assert_string_equal(text_of(parameter, "in"), "path");
            assert_int_equal(strcspn(hole + 1, "}"), strlen(name));
            assert_memory_equal(hole + 1, name, strlen(name));
        }
    }
}

static void scopes_are_those_of_the_route(void **state)
{
    static const struct {
        unsigned bit;
        const char *name;
    } scopes[] = {{SCOPE_READ, "read"}, {SCOPE_WRITE, "write"}, {SCOPE_ADMIN, "admin"}};
    size_t count = 0;
    const struct route *routes = router_routes(&count);
    (void)state;
    for (size_t i = 0; i < count; i++) {
        const json_t *operation = operation_of(&routes[i]);
        const json_t *named = json_object_get(operation, "x-scope");
        const json_t *security = json_object_get(operation, "security");
        size_t bits = 0, bearers = 0;
        for (size_t s = 0; s < 3; s++) {
            bits += (routes[i].scope & scopes[s].bit) != 0;
            assert_int_equal(holds(named, scopes[s].name), (routes[i].scope & scopes[s].bit) != 0);
        }
        for (size_t s = 0; s < json_array_size(security); s++) {
            const json_t *roles = json_object_get(json_array_get(security, s), "bearer");
            bearers += roles != NULL;
            assert_true(!roles || holds(named, json_string_value(json_array_get(roles, 0))));
        }
        assert_int_equal(json_array_size(named), bits);
        assert_int_equal(bearers, bits);
        assert_int_equal(json_array_size(security) == 0, routes[i].scope == SCOPE_OPEN);
        assert_int_equal(json_is_true(json_object_get(operation, "x-all-series")),
                         (routes[i].scope & SCOPE_WHOLE) != 0);
    }
}

/* What the document says may be sent is not refused by its type. */
static void bodies_are_those_of_the_route(void **state)
{
    size_t count = 0;
    const struct route *routes = router_routes(&count);
    (void)state;
    for (size_t i = 0; i < count; i++) {
        const char *type;
        json_t *media;
        const json_t *operation = operation_of(&routes[i]);
        const json_t *body = json_object_get(operation, "requestBody");
        const json_t *responses = json_object_get(operation, "responses");
        assert_int_equal(body != NULL, routes[i].body != BODY_NONE);
        assert_int_equal(json_object_get(responses, "415") != NULL, body != NULL);
        json_object_foreach(json_object_get(body, "content"), type, media)
        {
            struct api_request request = {.method = routes[i].method, .content_type = type};
            struct error error = {0};
            if (router_check_head(&routes[i], &request, &fixture.limits, 1, &error) != STATUS_OK) {
                fail_msg("%s does not take %s", routes[i].template, type);
            }
        }
    }
}

/* ---------------------------------------------------------------- the rest */

static void codes_are_those_of_the_table(void **state)
{
    size_t count = 0;
    const struct problem_code *codes = problem_codes(&count);
    const json_t *schemas = json_object_get(json_object_get(document, "components"), "schemas");
    const json_t *listed = json_object_get(json_object_get(schemas, "ErrorCode"), "enum");
    (void)state;
    assert_int_equal(json_array_size(listed), count);
    for (size_t i = 0; i < count; i++) {
        if (!holds(listed, codes[i].code)) {
            fail_msg("%s is not documented", codes[i].code);
        }
    }
}

static void version_is_the_daemons(void **state)
{
    (void)state;
    assert_string_equal(text_of(json_object_get(document, "info"), "version"), FORECASTD_VERSION);
    assert_memory_equal(text_of(document, "openapi"), "3.1.", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route_and_no_other),
        cmocka_unit_test(parameters_are_those_of_the_route),
        cmocka_unit_test(holes_of_a_path_are_its_parameters),
        cmocka_unit_test(scopes_are_those_of_the_route),
        cmocka_unit_test(bodies_are_those_of_the_route),
        cmocka_unit_test(codes_are_those_of_the_table),
        cmocka_unit_test(version_is_the_daemons),
    };
    return cmocka_run_group_tests(tests, open_document, close_document);
}
