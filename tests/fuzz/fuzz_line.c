/* Fuzzes the reader of line protocol: with and without its cache it must agree on any bytes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses the precision.
 */
#include "api/line_reader.h"
#include "base/series_name.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NOW_MS INT64_C(1795354740000)

/* A running sum of everything that a reading handed on. */
struct sum {
    uint64_t value, line;
};

static void add(struct sum *sum, uint64_t value)
{
    sum->value = (sum->value ^ value) * UINT64_C(0x100000001B3);
}

/* A name that was handed on has to be one that can be read back. */
static enum status visit_series(void *context, struct slice text, uint64_t *handle, uint32_t *number,
                                struct error *error)
{
    (void)handle;
    char again[SERIES_TEXT_MAX];
    size_t again_length = 0;
    uint32_t hash = 17;
    struct error fault = {0};
    (void)context;
    if (series_name_parse(text.bytes, text.length, again, &again_length, &fault) != STATUS_OK ||
        again_length != text.length || memcmp(text.bytes, again, text.length) != 0) {
        abort();
    }
    if (text.length % 16 == 5) {
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
    uint64_t bits;
    (void)error;
    if (!isfinite(point.value) || point.time_ms < INT64_C(94694400000)) {
        abort();
    }
    memcpy(&bits, &point.value, sizeof(bits));
    add(context, number);
    add(context, (uint64_t)point.time_ms);
    add(context, bits);
    return STATUS_OK;
}

static void visit_refusal(void *context, uint64_t position, const struct error *error)
{
    struct sum *sum = context;
    if (error->status == STATUS_OK || !error->code || position <= sum->line) {
        abort();
    }
    sum->line = position; /* each line once, in order */
    add(sum, ~position);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct points_cache *cache; /* kept, so that later inputs meet names of earlier ones */
    struct error error = {0};
    if (size == 0 || (!cache && points_cache_new(&cache, &error) != STATUS_OK)) {
        return 0;
    }
    struct line_options options = {(enum line_precision)(data[0] % 6), NOW_MS};
    struct sum sums[3] = {{1, 0}, {1, 0}, {1, 0}};
    struct line_skipped skipped[3];
    for (int i = 0; i < 3; i++) { /* without a cache, then twice with it: unknown and known names */
        struct points_visitor visitor = {&sums[i],      visit_series, visit_point,
                                         visit_refusal, NULL,         NULL};
        if (line_read((const char *)data + 1, size - 1, &options, i ? cache : NULL, &visitor,
                      &skipped[i], &error) != STATUS_OK) {
            abort();
        }
        if (sums[i].value != sums[0].value || skipped[i].strings != skipped[0].strings ||
            skipped[i].booleans != skipped[0].booleans) {
            abort();
        }
    }
    return 0;
}
