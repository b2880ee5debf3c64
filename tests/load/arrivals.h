/* An open-loop HTTP load over loopback: requests arrive by the clock, whether answers came or not.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A closed loop waits for a slow server and so hides how slow it is. Here a request that is due
 * takes a free keep-alive connection or opens one; its latency counts from when it was due. With
 * all connections taken it is lost, which is counted. One thread.
 */
#ifndef LOAD_ARRIVALS_H
#define LOAD_ARRIVALS_H

#include <stddef.h>
#include <stdint.h>

#define ARRIVAL_KINDS 4

struct arrivals_options {
    int port;
    double rate;           /* requests a second, evenly spaced */
    double seconds;        /* arrivals stop then; answers are awaited for 10 s more */
    double ignore_seconds; /* at the beginning: not counted */
    size_t connections_max;
    /* The bytes of request `number`, copied before the next call; returns their length and says
     * which kind it is (below ARRIVAL_KINDS), for the counts. */
    size_t (*make)(void *context, uint64_t number, const char **bytes, unsigned *kind);
    void *context;
    /* About every second, with the number of connections that are open; may be NULL. */
    void (*tick)(void *context, double second, size_t connections);
};

struct arrivals_count {
    uint64_t due, good, busy,
        other;        /* good: 2xx; busy: 503 with Retry-After; other: any other answer */
    uint64_t lost;    /* no connection was free, or it broke, or no answer came */
    int other_status; /* the last one of `other` */
    double p50_ms, p99_ms, max_ms; /* of good answers */
    double busy_p99_ms;
};

struct arrivals_result {
    struct arrivals_count kinds[ARRIVAL_KINDS];
    double seconds;     /* counted ones */
    double late_p99_ms; /* how long after it was due a request left: the generator's own delay */
};

struct arrivals_result arrivals_run(const struct arrivals_options *options);

#endif
