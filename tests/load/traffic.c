/* Ordinary requests of the load programs.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/load/traffic.h"

#include "tests/bench/load.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

size_t traffic_get(char *out, size_t capacity, const char *target)
{
    return (size_t)snprintf(out, capacity, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", target);
}

static size_t post_head(char *out, size_t capacity, const char *target, size_t length)
{
    return (size_t)snprintf(out, capacity,
                            "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\n"
                            "Content-Length: %zu\r\n\r\n",
                            target, target[1] == 'w' ? "text/plain" : "application/json", length);
}

/* Every line has the same length: names have five digits, values two before and two behind the
 * point. */
static size_t tick_lines(char *out, const char *name, size_t series, int64_t time_ms)
{
    double phase = 2 * M_PI * (double)(time_ms / TRAFFIC_STEP_MS) / 8640;
    size_t length = 0;
    for (size_t i = 0; i < series; i++) {
        double value =
            50 + 20 * sin(phase + (double)i) + (double)((time_ms / 1000 + (long)i * 37) % 89) / 50;
        length += (size_t)snprintf(out + length, TRAFFIC_LINE, "%s,sensor=%05zu value=%.2f %lld\n",
                                   name, i, value, (long long)time_ms);
    }
    return length;
}

size_t traffic_tick(char *out, const char *name, size_t series, int64_t time_ms)
{
    char head[TRAFFIC_HEAD];
    size_t body = tick_lines(out + TRAFFIC_HEAD, name, series, time_ms);
    size_t length = post_head(head, sizeof(head), "/write?precision=ms", body);
    memcpy(out, head, length);
    memmove(out + length, out + TRAFFIC_HEAD, body);
    return length + body;
}

void traffic_again(char *request, size_t length, int64_t time_ms)
{
    char digits[16];
    size_t count = (size_t)snprintf(digits, sizeof(digits), "%lld", (long long)time_ms);
    char *end = request + length, *body = strstr(request, "\r\n\r\n") + 4;
    size_t stride = strcspn(body, "\n") + 1;
    for (char *stop = body + stride - 1; stop < end; stop += stride) {
        memcpy(stop - count, digits, count);
    }
}

size_t traffic_forecast(char *out, size_t capacity, size_t first, size_t series)
{
    char *body = malloc(series * 64 + 64);
    size_t length = (size_t)sprintf(body, "{\"steps\":48,\"series\":[");
    for (size_t i = 0; i < series; i++) {
        length += (size_t)sprintf(body + length, "%s\"load_value{sensor=\\\"%05zu\\\"}\"",
                                  i ? "," : "", first + i);
    }
    length += (size_t)sprintf(body + length, "]}");
    size_t head = post_head(out, capacity, "/api/v1/forecast", length);
    memcpy(out + head, body, length < capacity - head ? length : capacity - head);
    free(body);
    return head + length;
}

int traffic_post(int port, const char *target, const char *content)
{
    return load_request(port, "POST", target, "application/json", content, strlen(content), NULL, 0,
                        NULL);
}

void traffic_feed(int port, size_t series, size_t ticks)
{
    char *lines = malloc(series * TRAFFIC_LINE + 1);
    int64_t now_ms = (int64_t)time(NULL) * 1000 / TRAFFIC_STEP_MS * TRAFFIC_STEP_MS;
    for (size_t tick = 0; tick < ticks; tick++) {
        size_t length = tick_lines(lines, "load", series,
                                   now_ms - (int64_t)(ticks - 1 - tick) * TRAFFIC_STEP_MS);
        char text[2048];
        int status = load_request(port, "POST", "/write?precision=ms", "text/plain", lines, length,
                                  text, sizeof(text), NULL);
        if (status != 204 && status != 200) {
            fprintf(stderr, "load: feeding: %d %s\n", status, text);
            exit(1);
        }
    }
    free(lines);
}

/* ---------------------------------------------------------------- the usual load */

const char *const traffic_kinds[4] = {"writes", "forecasts", "queries", "health"};

void traffic_mix_begin(struct traffic_mix *mix, int port, size_t ticks, double seconds)
{
    int64_t whole = (int64_t)(seconds * TRAFFIC_MIX_WRITES) + (int64_t)ticks;
    mix->next_ms = (int64_t)time(NULL) * 1000 - whole * TRAFFIC_STEP_MS;
    for (size_t i = 0; i < ticks; i++, mix->next_ms += TRAFFIC_STEP_MS) {
        size_t length = traffic_tick(mix->text, "load", TRAFFIC_MIX_SERIES, mix->next_ms);
        const char *body = strstr(mix->text, "\r\n\r\n") + 4;
        load_request(port, "POST", "/write?precision=ms", "text/plain", body,
                     length - (size_t)(body - mix->text), NULL, 0, NULL);
    }
}

size_t traffic_mix_make(void *context, uint64_t number, const char **bytes, unsigned *kind)
{
    struct traffic_mix *mix = context;
    char target[256];
    *bytes = mix->text;
    if (number % 3 == 0) {
        *kind = TRAFFIC_WRITE;
        size_t length = traffic_tick(mix->text, "load", TRAFFIC_MIX_SERIES, mix->next_ms);
        mix->next_ms += TRAFFIC_STEP_MS;
        return length;
    }
    unsigned sensor = (unsigned)(number * 7919 % TRAFFIC_MIX_SERIES);
    switch (number / 3 % 4) {
    case 0:
        *kind = TRAFFIC_HEALTH;
        return traffic_get(mix->text, sizeof(mix->text), number % 2 ? "/metrics" : "/healthz");
    case 1:
        *kind = TRAFFIC_QUERY;
        snprintf(target, sizeof(target),
                 "/prometheus/api/v1/"
                 "query?query=avg_over_time(load_value%%7Bsensor%%3D%%22%05u%%22%%7D%%5B1h%%5D)"
                 "&time=%lld",
                 sensor, (long long)(mix->next_ms / 1000));
        return traffic_get(mix->text, sizeof(mix->text), target);
    default:
        *kind = TRAFFIC_FORECAST;
        snprintf(target, sizeof(target),
                 "/api/v1/forecast?series=load_value%%7Bsensor%%3D%%22%05u%%22%%7D", sensor);
        return traffic_get(mix->text, sizeof(mix->text), target);
    }
}
