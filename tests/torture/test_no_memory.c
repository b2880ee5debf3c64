/* Every allocation of every scenario fails, once and from then on: no crash, no leak, nothing
 * acknowledged that is not there, and the next request works.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All of the process: the product's, SQLite's, libc's (fault_malloc.h). STRIDE=1 looks at every
 * one; the short form at every 97th, or 485th where a scenario is long, with another offset for
 * each scenario.
 */
#include "tests/torture/fault_malloc.h"
#include "tests/torture/ground.h"
#include "tests/torture/scenarios.h"
#include "tests/watched.h"

#include "base/clock.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { STRIDE = 97, ALLOCATIONS_MAX = 200000 };

static char directory[GROUND_PATH];
static struct snapshot *model;

/* ---------------------------------------------------------------- one run */

struct run {
    const struct scenario *scenario;
    uint64_t nth;
    bool persistent;
};

static void must(const struct run *run, struct history *history, bool good, const char *what)
{
    if (!good) {
        fail_msg("%s, allocation %llu%s: %s: %s", run->scenario->name, (unsigned long long)run->nth,
                 run->persistent ? " from then on" : "", what, history->why);
    }
}

static void next_request_works(const struct run *run, struct history *history)
{
    size_t before = history->attempt_count;
    history_ingest(history);
    for (size_t i = before; i < history->attempt_count; i++) {
        must(run, history, history->attempts[i].status == STATUS_OK, "the next request failed");
    }
}

/* Returns whether the fault has struck. */
static bool run_once(const struct run *run)
{
    struct history history;
    struct error error = {0};
    size_t bytes = mem_bytes_in_use();
    int64_t blocks = fault_malloc_live();
    scenario_begin(&history, run->scenario, model, directory);
    fault_malloc_set(run->nth, run->persistent);
    run->scenario->run(&history);
    bool struck = fault_malloc_hit();
    fault_malloc_set(0, false);
    if (history.storage == NULL) {
        must(run, &history, history_open(&history, &error), error.text);
    }
    if (run->scenario->judge != NULL) {
        must(run, &history, run->scenario->judge(&history), "judged by what is there");
    }
    next_request_works(run, &history);
    must(run, &history, history_verify(&history), "then");
    history_close(&history);
    must(run, &history, history_open(&history, &error), error.text);
    must(run, &history, history_verify(&history), "after a restart");
    history_release(&history);
    must(run, &history, mem_bytes_in_use() == bytes, "memory leaked");
    must(run, &history, fault_malloc_live() <= blocks, "somebody's memory leaked");
    return struck;
}

static void run_all(bool persistent)
{
    const char *only = getenv("SCENARIO");
    uint64_t runs = 0;
    size_t count = 0;
    int64_t begin_ns = clock_monotonic_ns();
    for (size_t i = 0; i < scenario_count; i++) {
        struct run run = {&scenarios[i], 1000000000, persistent};
        if (only != NULL && strcmp(only, scenarios[i].name) != 0) {
            continue;
        }
        count++;
        (void)run_once(&run); /* what is allocated once and for all is there now */
        run.nth = 1 + i * 13 % scenario_stride(&scenarios[i], STRIDE);
        while (run_once(&run)) {
            runs++;
            run.nth += scenario_stride(run.scenario, STRIDE);
            assert_true(run.nth < ALLOCATIONS_MAX);
        }
    }
    printf("  %zu scenarios, %llu allocations failed%s, %.1f s\n", count, (unsigned long long)runs,
           persistent ? " with all later ones" : "",
           (double)(clock_monotonic_ns() - begin_ns) / 1e9);
    /* Else the faults miss what they are to strike. Under a sanitizer only the product's own
     * allocations are (fault_malloc.h), and a stride skips most of them. */
    assert_true(count > 0 && runs > WATCHED_OR(0, count));
}

static void once(void **state)
{
    (void)state;
    run_all(false);
}

static void from_then_on(void **state)
{
    (void)state;
    run_all(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(once),
        cmocka_unit_test(from_then_on),
    };
    model = ground_open(directory);
    if (model == NULL) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ground_close(directory, model);
    return failed;
}
