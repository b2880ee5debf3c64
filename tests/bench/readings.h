/* Request bodies of synthetic sensors: two-decimal daily waves with noise, one request a tick.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef BENCH_READINGS_H
#define BENCH_READINGS_H

#include <stddef.h>
#include <stdint.h>

struct readings {
    char **requests; /* whole HTTP requests, built before the clock starts */
    size_t *lengths;
    size_t count;
};

/* `requests` requests of `points` points each, as POST /api/v1/points bodies in JSON. Point i of
 * all is series i % series at tick i / series; ticks are 10 s apart and begin at `start_ms`. */
struct readings readings_make(size_t requests, size_t points, size_t series, int64_t start_ms);
/* The same points as POST /write bodies in line protocol, in milliseconds. */
struct readings readings_make_lines(size_t requests, size_t points, size_t series,
                                    int64_t start_ms);
/* The same sensors, a tick a second, as POST /api/v1/write: remote write 1.0. Receivers refuse what
 * comes late, so each connection has series of its own: request r belongs to connection r %
 * connections, and has the next `points` points of that one's series. Series are a multiple of
 * connections, and points of a connection's series. */
#define REMOTE_TICK_MS 1000
struct readings readings_make_remote(size_t requests, size_t points, size_t series,
                                     size_t connections, int64_t start_ms);
void readings_free(struct readings *readings);

/* What a sensor reads at a tick: a daily wave of 10 s ticks with noise, two decimals. */
double readings_value(uint64_t series, uint64_t tick);

/* For load_options.make with a struct readings as context. */
size_t readings_next(void *context, size_t connection, uint64_t number, const char **bytes);

#endif
