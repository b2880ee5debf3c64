/* Series as they are put, and their forecasts as they are asked for: what tests of odd data share.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_UNIT_API_ASKED_H
#define TESTS_UNIT_API_ASKED_H

#include "fixture.h"

#include <jansson.h>

#define MINUTE INT64_C(60000)
#define HOUR   INT64_C(3600000)
#define COUNT  400

extern struct fixture fixture;
extern double values[COUNT]; /* what `put` sends; NaN: no point */

struct asked {
    json_t *document;
    const json_t *forecast;
};

int asked_open(void **state);
int asked_close(void **state);
/* The newest `count` of `values`, one a step, the last one now. */
void put(const char *series, size_t count, int64_t step_ms);
/* A cycle of 24 steps around `level`, with noise. */
void make_cycle(double level, double size, double noise);
/* One forecast, with what holds for every answer: all finite, levels in order, never without an
 * interval unless the series is whole numbers. `more` parameters keep 0.1, 0.5 and 0.9. */
struct asked ask_with(const char *series, bool integer, const char *more);
struct asked ask(const char *series, bool integer);
double level_at(struct asked asked, const char *level, size_t h);
double band(struct asked asked);
int quality(struct asked asked, const char *name);
const char *text_of(struct asked asked, const char *name);
bool warns(struct asked asked, const char *code);
void done(struct asked asked);

/* A model of minutes for the tests that need one to serve, or not to: trained on one cycle before
 * all tests, so that it is the same for each, and released behind them. */
int asked_teach(void **state);
int asked_forget(void **state);
void publish(void);

#endif
