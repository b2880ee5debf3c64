/* Bodies of synthetic sensors.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/bench/readings.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POINT_BYTES_MAX 120

double readings_value(uint64_t series, uint64_t tick)
{
    uint64_t random = (series << 32 | tick) * 0x9e3779b97f4a7c15u; /* a finalizer of its place */
    random = (random ^ random >> 30) * 0xbf58476d1ce4e5b9u;
    random = (random ^ random >> 27) * 0x94d049bb133111ebu;
    double noise = (double)(random >> 40) / (double)(1 << 24) - 0.5;
    return round(5000 + 2000 * sin(2 * M_PI * (double)tick / 8640 + (double)series) + 100 * noise) /
           100;
}

/* One point as text; `first` of its request or not. */
typedef int (*point_writer)(char *out, bool first, unsigned series, int64_t time_ms, double value);

static int write_json(char *out, bool first, unsigned series, int64_t time_ms, double value)
{
    return snprintf(out, POINT_BYTES_MAX,
                    "%s{\"series\":\"bench.temperature\",\"labels\":{\"sensor\":\"%05u\"},"
                    "\"timestamp\":%lld,\"value\":%.2f}",
                    first ? "" : ",", series, (long long)time_ms, value);
}

static int write_line(char *out, bool first, unsigned series, int64_t time_ms, double value)
{
    (void)first;
    return snprintf(out, POINT_BYTES_MAX, "bench,sensor=%05u temperature=%.2f %lld\n", series,
                    value, (long long)time_ms);
}

/* What stands before and behind the points, and the head's first lines. */
struct form {
    point_writer write;
    const char *before, *behind, *head;
};

static struct readings make(const struct form *form, size_t requests, size_t points, size_t series,
                            int64_t start_ms)
{
    struct readings readings = {calloc(requests, sizeof(char *)), calloc(requests, sizeof(size_t)),
                                requests};
    char *body = malloc(points * POINT_BYTES_MAX + 2);
    for (size_t r = 0; r < requests; r++) {
        size_t length = (size_t)sprintf(body, "%s", form->before);
        for (size_t p = 0; p < points; p++) {
            uint64_t i = (uint64_t)r * points + p;
            length += (size_t)form->write(body + length, p == 0, (unsigned)(i % series),
                                          start_ms + (int64_t)(i / series) * 10000,
                                          readings_value(i % series, i / series));
        }
        length += (size_t)sprintf(body + length, "%s", form->behind);
        char *request = malloc(length + 256);
        int head =
            snprintf(request, 256, "POST %s\r\nHost: 127.0.0.1\r\nContent-Length: %zu\r\n\r\n",
                     form->head, length);
        memcpy(request + head, body, length);
        readings.requests[r] = request;
        readings.lengths[r] = (size_t)head + length;
    }
    free(body);
    return readings;
}

struct readings readings_make(size_t requests, size_t points, size_t series, int64_t start_ms)
{
    static const struct form json = {write_json, "[", "]",
                                     "/api/v1/points HTTP/1.1\r\nContent-Type: application/json"};
    return make(&json, requests, points, series, start_ms);
}

struct readings readings_make_lines(size_t requests, size_t points, size_t series, int64_t start_ms)
{
    static const struct form lines = {write_line, "", "", "/write?db=bench&precision=ms HTTP/1.1"};
    return make(&lines, requests, points, series, start_ms);
}

void readings_free(struct readings *readings)
{
    for (size_t i = 0; i < readings->count; i++) {
        free(readings->requests[i]);
    }
    free(readings->requests);
    free(readings->lengths);
}

size_t readings_next(void *context, size_t connection, uint64_t number, const char **bytes)
{
    const struct readings *readings = context;
    (void)connection;
    *bytes = readings->requests[number % readings->count];
    return readings->lengths[number % readings->count];
}
