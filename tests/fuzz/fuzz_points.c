/* Fuzzes the reader of points: the general way and the short cut must agree on any bytes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses the form (JSON or NDJSON) and the unit of time.
 */
#include "tests/fuzz/visitor.h"

#define NOW_MS INT64_C(1795354740000)

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
    uint64_t sums[3] = {1, 1, 1};
    enum status status[3];
    for (int i = 0; i < 3; i++) { /* without a cache, then twice with it: unknown and known names */
        struct points_visitor visitor = {&sums[i], sum_series, sum_point, sum_refusal, NULL, NULL};
        status[i] = points_read((const char *)data + 1, size - 1, &options, i ? cache : NULL,
                                &visitor, &error);
    }
    bool readable = status[0] == STATUS_OK;
    if (status[0] != status[1] || status[1] != status[2] ||
        (readable && (sums[0] != sums[1] || sums[1] != sums[2]))) {
        abort();
    }
    return 0;
}
