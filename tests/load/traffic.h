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

/* A whole POST /write of one tick of `series` series (load,sensor=NNNNN value=...); `out` has room
 * for TRAFFIC_HEAD + series * TRAFFIC_LINE bytes. */
#define TRAFFIC_HEAD 256
#define TRAFFIC_LINE 64
size_t traffic_tick(char *out, size_t series, int64_t time_ms);

/* Writes another time into such a request: cheap, where the generator must not be what is measured.
 */
void traffic_again(char *request, size_t length, int64_t time_ms);

/* A POST /api/v1/forecast of `series` series from number `first` on: always computed by a worker.
 */
size_t traffic_forecast(char *out, size_t capacity, size_t first, size_t series);

/* Feeds `ticks` ticks of `series` series, the newest one now. Exits where the server refuses. */
void traffic_feed(int port, size_t series, size_t ticks);

/* POSTs `content`; returns the HTTP status. */
int traffic_post(int port, const char *target, const char *content);

#endif
