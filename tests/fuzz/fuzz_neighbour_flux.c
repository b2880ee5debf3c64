/* Fuzzes the reader of InfluxDB 2.x's annotated CSV: what it hands on is well formed.
 * SPDX-License-Identifier: Apache-2.0
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
    char *bytes = malloc(size > 0 ? size : 1); /* it is changed while read */
    struct neighbour_answer answer = {.take = take, .context = &taken, .name = "name"};
    if (bytes == NULL) {
        return 0;
    }
    if (size > 0) {
        memcpy(bytes, data, size);
    }
    enum status status = neighbour_read_flux(bytes, size, &answer, &error);
    if ((status != STATUS_NO_MEMORY && taken != answer.points) || status != error.status) {
        abort();
    }
    free(bytes);
    return 0;
}
