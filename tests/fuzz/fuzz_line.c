/* Fuzzes the reader of line protocol: with and without its cache it must agree on any bytes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses the precision, and whether the bytes are read as JSON before: readers of
 * both share a cache in the daemon.
 */
#include "api/line_reader.h"
#include "api/points_reader.h"
#include "tests/fuzz/visitor.h"

#define NOW_MS INT64_C(1795354740000)

/* A running sum of everything that a reading handed on. */
struct sum {
    uint64_t value, line;
};

static enum status visit_point(void *context, uint32_t number, struct point point,
                               struct error *error)
{
    struct sum *sum = context;
    if (!isfinite(point.value) || point.time_ms < INT64_C(94694400000)) {
        abort();
    }
    return sum_point(&sum->value, number, point, error);
}

static void visit_refusal(void *context, uint64_t position, const struct error *error)
{
    struct sum *sum = context;
    if (position <= sum->line) {
        abort();
    }
    sum->line = position; /* each line once, in order */
    sum_refusal(&sum->value, position, error);
}

static void read_json(const char *bytes, size_t length, struct points_cache *cache)
{
    struct points_options options = {.unit = UNIT_MILLISECONDS, .ndjson = true, .now_ms = NOW_MS};
    uint64_t sum = 1;
    struct points_visitor visitor = {&sum, sum_series, sum_point, sum_refusal, NULL, NULL};
    struct error error = {0};
    if (points_read(bytes, length, &options, cache, &visitor, &error) != STATUS_OK &&
        error.text[0] == '\0') {
        abort();
    }
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
    enum status status[3];
    for (int i = 0; i < 3; i++) { /* without a cache, then twice with it: unknown and known names */
        if (i == 2 && data[0] / 6 % 2 == 1) {
            read_json((const char *)data + 1, size - 1, cache);
        }
        struct points_visitor visitor = {&sums[i],      sum_series, visit_point,
                                         visit_refusal, NULL,       NULL};
        status[i] = line_read((const char *)data + 1, size - 1, &options, i ? cache : NULL,
                              &visitor, &skipped[i], &error);
        if (status[i] != status[0] || status[i] == STATUS_INVALID) {
            abort();
        }
        if (status[i] == STATUS_OK &&
            (sums[i].value != sums[0].value || skipped[i].strings != skipped[0].strings ||
             skipped[i].booleans != skipped[0].booleans)) {
            abort();
        }
    }
    return 0;
}
