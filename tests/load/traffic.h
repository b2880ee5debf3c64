/* Ordinary requests of the load programs: points in line protocol, forecasts, health.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LOAD_TRAFFIC_H
#define LOAD_TRAFFIC_H

#include <stddef.h>
#include <stdint.h>

#define TRAFFIC_STEP_MS 10000

/* A request of GET `target`, formatted into `out`. */
size_t traffic_get(char *out, size_t capacity, const char *target);

/* A whole POST /write of one tick of `series` series (NAME,sensor=NNNNN value=...); `out` has room
 * for TRAFFIC_HEAD + series * TRAFFIC_LINE bytes, `name` at most 8 characters. */
#define TRAFFIC_HEAD 256
#define TRAFFIC_LINE 64
size_t traffic_tick(char *out, const char *name, size_t series, int64_t time_ms);

/* Writes another time into such a request: cheap, where the generator must not be what is measured.
 */
void traffic_again(char *request, size_t length, int64_t time_ms);

/* A POST /api/v1/forecast of `series` series from number `first` on: always computed by a worker.
 */
size_t traffic_forecast(char *out, size_t capacity, size_t first, size_t series);

/* Feeds `ticks` ticks of `series` series, the newest one now. Exits where the server refuses. */
void traffic_feed(int port, size_t series, size_t ticks);

/* The usual load of a long run: a second holds 20 writes of TRAFFIC_MIX_SERIES points and 40 reads,
 * half of them forecasts, a quarter PromQL, a quarter health and metrics. */
#define TRAFFIC_MIX_SERIES 1000
#define TRAFFIC_MIX_WRITES 20
#define TRAFFIC_MIX_RATE   60
enum { TRAFFIC_WRITE, TRAFFIC_FORECAST, TRAFFIC_QUERY, TRAFFIC_HEALTH };
extern const char *const traffic_kinds[4]; /* their names */

struct traffic_mix {
    char text[TRAFFIC_HEAD + TRAFFIC_MIX_SERIES * TRAFFIC_LINE];
    int64_t next_ms; /* of the next tick that is written */
};

/* Feeds `ticks` ticks. The clock of the readings runs 200 times as fast as the clock on the wall,
 * and ends about now where the load lasts for `seconds`. */
void traffic_mix_begin(struct traffic_mix *mix, int port, size_t ticks, double seconds);

/* For arrivals_options.make, with a struct traffic_mix as context. */
size_t traffic_mix_make(void *context, uint64_t number, const char **bytes, unsigned *kind);

/* POSTs `content`; returns the HTTP status. */
int traffic_post(int port, const char *target, const char *content);

#endif
