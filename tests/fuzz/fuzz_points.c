/* Fuzzes the reader of points: the general way and the short cut must agree on any bytes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses the form (JSON or NDJSON) and the unit of time.
 */
#include "api/points_reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NOW_MS INT64_C(1795354740000)

/* A running sum of everything that a reading handed on. */
struct sum {
    uint64_t value;
};

static void add(struct sum *sum, uint64_t value)
{
    sum->value = (sum->value ^ value) * UINT64_C(0x100000001B3);
}

static enum status visit_series(void *context, struct slice text, uint64_t *handle, uint32_t *number,
                                struct error *error)
{
    (void)handle;
    uint32_t hash = 17;
    (void)context;
    if (text.length == 3) {
        error_set(error, STATUS_TOO_LARGE, "refused here so that this is tried too");
        return error_code(error, "series_limit", NULL);
    }
    for (size_t i = 0; i < text.length; i++) {
        hash = hash * 31 + (unsigned char)text.bytes[i];
    }
    *number = hash;
    return STATUS_OK;
}

static enum status visit_point(void *context, uint32_t number, struct point point,
                               struct error *error)
{
    uint64_t bits = 0;
    (void)error;
    if (isinf(point.value)) {
        abort();
    }
    if (!isnan(point.value)) {
        memcpy(&bits, &point.value, sizeof(bits));
    }
    add(context, number);
    add(context, (uint64_t)point.time_ms);
    add(context, bits);
    return STATUS_OK;
}

static void visit_refusal(void *context, uint64_t position, const struct error *error)
{
    if (error->status == STATUS_OK || !error->code) {
        abort();
    }
    add(context, ~position);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct points_cache *cache; /* kept, so that later inputs meet names of earlier ones */
    struct error error = {0};
    if (size == 0 || (!cache && points_cache_new(&cache, &error) != STATUS_OK)) {
        return 0;
    }
    struct points_options options = {
        .unit = (enum time_unit)(data[0] & 3), .ndjson = data[0] & 4, .now_ms = NOW_MS};
    struct sum sums[3] = {{1}, {1}, {1}};
    enum status status[3];
    for (int i = 0; i < 3; i++) { /* without a cache, then twice with it: unknown and known names */
        struct points_visitor visitor = {&sums[i], visit_series, visit_point, visit_refusal, NULL, NULL};
        status[i] = points_read((const char *)data + 1, size - 1, &options, i ? cache : NULL,
                                &visitor, &error);
    }
    bool readable = status[0] == STATUS_OK;
    if (status[0] != status[1] || status[1] != status[2] ||
        (readable && (sums[0].value != sums[1].value || sums[1].value != sums[2].value))) {
        abort();
    }
    return 0;
}
