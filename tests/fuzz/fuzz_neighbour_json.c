/* Fuzzes the readers of Prometheus' and InfluxDB 1.x's answers: what they hand on is well formed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses the reader, whether there is a name for nameless series, and a prefix of
 * columns.
 */
#include "api/api.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static enum status take(void *context, const char *series, size_t length,
                        const struct point *points, size_t count, struct error *error)
{
    char again[SERIES_TEXT_MAX];
    size_t again_length = 0;
    uint64_t *taken = context;
    if (series_name_parse(series, length, again, &again_length, error) != STATUS_OK ||
        again_length != length || memcmp(series, again, length) != 0 || count == 0) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(points[i].value)) {
            abort();
        }
    }
    if (length == 4) {
        return error_set(error, STATUS_NO_MEMORY, "failed here so that this is tried too");
    }
    *taken += count;
    return STATUS_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t taken = 0;
    struct error error = {0};
    if (size == 0) {
        return 0;
    }
    struct neighbour_answer answer = {.take = take,
                                      .context = &taken,
                                      .name = data[0] & 2 ? "name" : NULL,
                                      .column_prefix = data[0] & 4 ? "mean_" : NULL};
    const char *bytes = (const char *)data + 1;
    enum status status = data[0] & 1 ? neighbour_read_prometheus(bytes, size - 1, &answer, &error)
                                     : neighbour_read_influxql(bytes, size - 1, &answer, &error);
    if ((status != STATUS_NO_MEMORY && taken != answer.points) || status != error.status) {
        abort();
    }
    return 0;
}
