/* The nth allocation fails, for every n until a request passes: no crash, no leak, no false answer.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "base/memory.h"
#include "tests/torture/fault_malloc.h"
#include "tests/watched.h"

#include <stdlib.h>

#define N_MAX  3000
#define STRIDE WATCHED_OR(7, 1) /* every one in the plain build */

struct scenario {
    const char *name;
    enum api_method method;
    const char *target, *type, *body;
};

static const struct scenario scenarios[] = {
    {"point", API_POST, "/api/v1/points", NULL, "{\"series\":\"new@\",\"value\":1}"},
    {"refused points", API_POST, "/api/v1/points", NULL,
     "[{\"series\":\"new@\",\"value\":1},{\"series\":\"x\",\"value\":\"y\"}]"},
    {"line", API_POST, "/write?db=x", "", "new@ value=1,other=2i"},
    {"refused lines", API_POST, "/api/v2/write", "", "new@ value=1\nnew value=x\n"},
    {"create database", API_POST, "/query?q=CREATE+DATABASE+x", "", ""},
    {"import", API_POST, "/api/v1/import", "text/csv", "time,new@\n2026-11-22T12:00:00Z,1\n"},
    {"forecast", API_GET, "/api/v1/forecast?series=plain", NULL, ""},
    {"forecast post", API_POST, "/api/v1/forecast", NULL,
     "{\"series\":[\"plain\"],\"steps\":4,\"history\":\"1h\",\"format\":\"table\"}"},
    {"time left", API_GET, "/api/v1/timeleft?series=plain&above=30", NULL, ""},
    {"anomalies", API_GET, "/api/v1/anomalies?series=plain", NULL, ""},
    {"gauges", API_GET, "/forecast/metrics", NULL, ""},
    {"nixtla", API_POST, "/v2/forecast", NULL,
     "{\"series\":{\"y\":[1,2,3,4,5,6,7,8,9,10],\"sizes\":[4,6]},\"h\":3,\"freq\":\"D\",\"level\":["
     "80]}"},
    {"series", API_GET, "/api/v1/series?match=plain", NULL, ""},
    {"points", API_GET, "/api/v1/series/plain/points", NULL, ""},
    {"patch", API_PATCH, "/api/v1/series/plain", NULL,
     "{\"season\":24,\"exclude\":[{\"from\":1,\"to\":2},{\"from\":5,\"to\":9}]}"},
    {"delete", API_DELETE, "/api/v1/series/other", NULL, ""},
    {"accuracy", API_GET, "/api/v1/accuracy?series=plain", NULL, ""},
    {"jobs", API_GET, "/api/v1/jobs", NULL, ""},
    {"backbones", API_GET, "/api/v1/backbones", NULL, ""},
    {"promql", API_POST, "/prometheus/api/v1/query_range", "application/x-www-form-urlencoded",
     "start=1795354440&end=1795355040&step=60&query=sum by(a)(rate(plain[5m])) %2B on() avg(-plain)"
     " * on() max without(ml_forecast) ({__name__=~\"plain:.*\",ml_forecast!=\"yhat\"} > 0)"},
    {"labels", API_GET, "/prometheus/api/v1/label/__name__/values?match[]=plain", NULL, ""},
    {"labels of all", API_GET, "/prometheus/api/v1/series?match[]={__name__=~%22p.*%22}", NULL, ""},
    {"metadata", API_GET, "/prometheus/api/v1/metadata", NULL, ""},
    {"models", API_GET, "/api/v1/models", NULL, ""},
    {"metrics", API_GET, "/metrics", NULL, ""},
    {"status", API_GET, "/api/v1/status", NULL, ""},
};

/* Whether the series of the nth run has its point. */
static bool stored(struct fixture *fixture, int n, const char *suffix)
{
    char target[100];
    snprintf(target, sizeof(target), "/api/v1/series/new%d%s/points", n, suffix);
    struct answer answer = get(fixture, target);
    bool found = answer.status == 200 && strstr(answer.body, "[[");
    fixture_answer_release(&answer);
    return found;
}

static bool has_hit;

static void fault_end(void)
{
    has_hit = fault_malloc_hit();
    fault_malloc_set(0, false);
    fixture_answered = NULL;
}

static void run_scenario(const struct scenario *scenario, bool persistent)
{
    for (int n = 1 + (int)(scenario - scenarios) % STRIDE; n < N_MAX; n += STRIDE) {
        struct fixture fixture;
        char body[300];
        size_t before = mem_bytes_in_use();
        fixture_open(&fixture);
        fixture_fill(&fixture, "plain", 60, 60000);
        fixture_fill(&fixture, "other", 3, 60000);
        const char *hole = strchr(scenario->body, '@');
        snprintf(body, sizeof(body), "%s", scenario->body);
        if (hole) {
            int head = (int)(hole - scenario->body);
            snprintf(body, sizeof(body), "%.*s%d%s", head, scenario->body, n, hole + 1);
        }
        fixture_answered = fault_end;
        fault_malloc_set((uint64_t)n, persistent);
        struct answer answer = fixture_ask(&fixture, scenario->method, scenario->target,
                                           scenario->type, body, strlen(body), API_IDENTITY);
        bool hit = has_hit;
        bool lines = strstr(scenario->target, "write") != NULL;
        bool good = answer.status == 200 || answer.status == 204 || answer.status == 422 ||
                    answer.status == 400;
        if (!good && answer.status != 503) {
            fail_msg("%s %d: %d %s", scenario->name, n, answer.status, answer.body);
        }
        if (hole) {
            /* An import may fail after its last commit; a request of points never does. */
            bool stored_now = stored(&fixture, n, lines ? "_value" : "");
            bool may_differ = strcmp(scenario->name, "import") == 0 && stored_now;
            if (stored_now != good && !may_differ) {
                fail_msg("%s %d: %d, stored %d", scenario->name, n, answer.status, stored_now);
            }
        }
        fixture_answer_release(&answer);
        expect(&fixture, API_GET, "/api/v1/forecast?series=plain", NULL, 200, "\"mean\":[");
        fixture_close(&fixture);
        if (mem_bytes_in_use() != before) {
            fail_msg("%s %d: %zd bytes leaked", scenario->name, n,
                     (ssize_t)(mem_bytes_in_use() - before));
        }
        if (!hit) {
            return;
        }
    }
    fail_msg("%s never passed", scenario->name);
}

static void test_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        run_scenario(&scenarios[i], false);
    }
}

static void test_from_then_on(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        run_scenario(&scenarios[i], true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_from_then_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
