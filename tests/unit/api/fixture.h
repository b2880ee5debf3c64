/* An api on the memory store without sockets: requests go through api_begin, api_fast and
 * api_handle. SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_API_FIXTURE_H
#define TESTS_API_FIXTURE_H

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/api.h"

#include <stdio.h>
#include <string.h>

#define NOW_MS INT64_C(1795354740000) /* 2026-11-22T13:39:00Z */

struct fixture {
    struct api_services services;
    struct api_worker *worker;
    struct api_limits limits;
    const char *authorization; /* header of the requests; NULL: none */
};

struct answer {
    int status;
    char type[80];
    char allow[80], location[80], retry_after[80], cache[80], policy[120], etag[80];
    char *body; /* zero-terminated; fixture_answer_release */
    size_t length;
    bool fast; /* answered without a worker */
};

/* The wall clock of the tests. */
void fixture_set_now(int64_t now_ms);

void fixture_open(struct fixture *fixture); /* for 50 series */
void fixture_open_for(struct fixture *fixture, uint32_t series_max);
void fixture_close(struct fixture *fixture);

/* Called when an answer is there, before the fixture copies it; NULL at first. */
extern void (*fixture_answered)(void);

/* One whole request; waits for a pending one. `type` NULL: application/json. */
struct answer fixture_ask(struct fixture *fixture, enum api_method method, const char *target,
                          const char *type, const char *body, size_t length,
                          enum api_encoding encoding);
void fixture_answer_release(struct answer *answer);

/* GET, and POST of JSON text. */
struct answer get(struct fixture *fixture, const char *target);
struct answer post(struct fixture *fixture, const char *target, const char *json);

/* Asks, asserts the code and that `part` (may be NULL) stands in the body; shows the body if not.
 */
void expect(struct fixture *fixture, enum api_method method, const char *target, const char *json,
            int status, const char *part);

/* `count` points of a daily and noisy series, one a step, ending now. */
void fixture_fill(struct fixture *fixture, const char *series, size_t count, int64_t step_ms);

/* What GET answers with 200, parsed; the caller releases it. And one of its forecasts. */
json_t *fixture_json(struct fixture *fixture, const char *target);
const json_t *fixture_forecast(const json_t *document, size_t index);

/* A finite number of a list. */
double fixture_number(const json_t *object, const char *name, size_t index);

/* Timestamps on the grid behind the origin, everything finite, quantiles in order, inside [low,
 * high]. */
void fixture_check_forecast(const json_t *forecast, size_t steps, int64_t step_ms, double low,
                            double high);

/* Whether the network thread answers it by itself; then `part` has to be in the answer. */
bool fixture_is_fast(struct fixture *fixture, const char *target, const char *part);

#endif
