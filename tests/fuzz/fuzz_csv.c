/* Fuzzes the reader of CSV files, plain and gzip: whatever it returns is in order and finite.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/api.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define INFLATED_MAX ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct csv_data csv;
    struct error error = {0};
    if (csv_read((const char *)data, size, INFLATED_MAX, &csv, &error) != STATUS_OK) {
        if (error.status == STATUS_OK || error.text[0] == '\0') {
            abort();
        }
        return 0;
    }
    for (size_t s = 0; s < csv.count; s++) {
        const struct csv_series *series = &csv.series[s];
        if (!series->id || series->id[0] == '\0') {
            abort();
        }
        for (size_t i = 0; i < series->count; i++) {
            bool ordered = i == 0 || series->points[i - 1].time_ms < series->points[i].time_ms;
            if (isinf(series->points[i].value) || !ordered) {
                abort();
            }
        }
    }
    csv_free(&csv);
    return 0;
}
