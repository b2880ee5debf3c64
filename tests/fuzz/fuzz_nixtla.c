/* Fuzzes the body of POST /v2/forecast: whatever the bytes, it is read within its bounds or
 * refused. SPDX-License-Identifier: Apache-2.0
 */
#include "api/nixtla_reader.h"

#include <math.h>
#include <stdlib.h>

#define H_MAX 1024

static void check(const struct nixtla_body *body)
{
    size_t sum = 0;
    if (body->series == 0 || body->series > NIXTLA_SERIES_MAX || body->points > NIXTLA_POINTS_MAX ||
        body->horizon == 0 || body->horizon > H_MAX || body->frequency.step_ms <= 0 ||
        body->level_count > NIXTLA_LEVELS_MAX) {
        abort();
    }
    for (size_t i = 0; i < body->series; i++) {
        sum += body->sizes[i];
    }
    for (size_t i = 0; i < body->points; i++) {
        if (isinf(body->y[i])) {
            abort();
        }
    }
    for (size_t i = 0; i < body->level_count; i++) {
        if (!(body->levels[i].share > 0.0 && body->levels[i].share < 1.0)) {
            abort();
        }
    }
    if (sum != body->points) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nixtla_body body;
    struct error error = {0};
    if (nixtla_read((const char *)data, size, H_MAX, &body, &error) == STATUS_OK) {
        check(&body);
    } else if (error.status == STATUS_OK || !error.code) {
        abort();
    }
    nixtla_release(&body);
    return 0;
}
