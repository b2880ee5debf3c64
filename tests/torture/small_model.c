/* Training of the very small model.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/torture/small_model.h"

#include "base/check.h"

#include <math.h>
#include <stdio.h>

enum { VALUES = 600 };

void small_series(struct model_series *series)
{
    static double values[VALUES];
    for (int i = 0; i < VALUES; i++) {
        values[i] = 10 + 5 * sin(i * 0.2618) + 0.1 * (i % 7);
    }
    *series = (struct model_series){
        .values = values,
        .count = VALUES,
        .start_ms = INT64_C(1790000000000) / 3600000 * 3600000,
        .step_ms = 3600000,
        .seasons = {24},
        .minimum = (double)-INFINITY,
        .maximum = (double)INFINITY,
        .key = 7,
    };
}

void small_config(struct model_config *config)
{
    *config = (struct model_config){.horizon = 6, .without_blend = true};
    snprintf(config->backbone, sizeof config->backbone, "logsparse");
    snprintf(config->head, sizeof config->head, "quantile");
    snprintf(config->members, sizeof config->members, "1");
    snprintf(config->options, sizeof config->options, "width=4 layers=1 heads=1 inner=4 kernel=1");
}

struct snapshot *small_model(uint64_t seed)
{
    struct model_series series;
    struct snapshot *snapshot = NULL;
    struct error error = {0};
    struct train_request request = {
        .series = &series, .series_count = 1, .steps = 2, .seed = seed, .lanes = 1};
    small_series(&series);
    small_config(&request.config);
    if (model_train(&request, &snapshot, &error) != STATUS_OK) {
        fprintf(stderr, "%s\n", error.text);
    }
    CHECK(snapshot != NULL);
    return snapshot;
}
