/* The same sensors as remote-write messages: protobuf by hand, packed by snappy.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/bench/readings.h"

#include <snappy-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERIES_BYTES_MAX 128
#define SAMPLE_BYTES_MAX 32

/* A message that grows. */
struct message {
    unsigned char *bytes;
    size_t length;
};

static void add_varint(struct message *message, uint64_t value)
{
    for (; value > 0x7f; value >>= 7) {
        message->bytes[message->length++] = (unsigned char)(value | 0x80);
    }
    message->bytes[message->length++] = (unsigned char)value;
}

/* A field with a length in front: a text or a message. */
static void add_bytes(struct message *message, unsigned number, const void *bytes, size_t length)
{
    add_varint(message, number << 3 | 2);
    add_varint(message, length);
    memcpy(message->bytes + message->length, bytes, length);
    message->length += length;
}

static void add_label(struct message *series, const char *name, const char *value)
{
    unsigned char bytes[SERIES_BYTES_MAX];
    struct message label = {bytes, 0};
    add_bytes(&label, 1, name, strlen(name));
    add_bytes(&label, 2, value, strlen(value));
    add_bytes(series, 1, label.bytes, label.length);
}

static void add_sample(struct message *series, int64_t time_ms, double value)
{
    unsigned char bytes[SAMPLE_BYTES_MAX] = {1 << 3 | 1};
    struct message sample = {bytes, 1 + sizeof(value)};
    memcpy(bytes + 1, &value, sizeof(value));
    add_varint(&sample, 2 << 3);
    add_varint(&sample, (uint64_t)time_ms);
    add_bytes(series, 2, sample.bytes, sample.length);
}

/* The share of one connection: series first to first + count - 1, `ticks` ticks of each from `tick`
 * on. */
struct share {
    size_t first, count, tick, ticks;
    int64_t start_ms;
};

static void add_share(struct message *request, const struct share *share, unsigned char *scratch)
{
    for (size_t s = share->first; s < share->first + share->count; s++) {
        struct message series = {scratch, 0};
        char sensor[24];
        snprintf(sensor, sizeof(sensor), "%05zu", s);
        add_label(&series, "__name__", "bench_temperature");
        add_label(&series, "sensor", sensor);
        for (size_t tick = share->tick; tick < share->tick + share->ticks; tick++) {
            add_sample(&series, share->start_ms + (int64_t)tick * REMOTE_TICK_MS,
                       readings_value(s, tick));
        }
        add_bytes(request, 1, series.bytes, series.length);
    }
}

/* The whole HTTP request around the packed message. */
static char *pack(const struct message *message, size_t *length)
{
    size_t packed = snappy_max_compressed_length(message->length);
    char *body = malloc(packed);
    if (snappy_compress((const char *)message->bytes, message->length, body, &packed) !=
        SNAPPY_OK) {
        fprintf(stderr, "bench: snappy failed\n");
        exit(1);
    }
    char *request = malloc(packed + 512);
    int head =
        snprintf(request, 512,
                 "POST /api/v1/write HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Encoding: snappy\r\n"
                 "Content-Type: application/x-protobuf\r\n"
                 "X-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: %zu\r\n\r\n",
                 packed);
    memcpy(request + head, body, packed);
    free(body);
    *length = (size_t)head + packed;
    return request;
}

struct readings readings_make_remote(size_t requests, size_t points, size_t series,
                                     size_t connections, int64_t start_ms)
{
    struct readings readings = {calloc(requests, sizeof(char *)), calloc(requests, sizeof(size_t)),
                                requests};
    size_t own = series / connections, ticks = points / own;
    struct message message = {malloc(points * SAMPLE_BYTES_MAX + own * SERIES_BYTES_MAX), 0};
    unsigned char *scratch = malloc(SERIES_BYTES_MAX + ticks * SAMPLE_BYTES_MAX);
    for (size_t r = 0; r < requests; r++) {
        struct share share = {r % connections * own, own, r / connections * ticks, ticks, start_ms};
        message.length = 0;
        add_share(&message, &share, scratch);
        readings.requests[r] = pack(&message, &readings.lengths[r]);
    }
    free(scratch);
    free(message.bytes);
    return readings;
}
