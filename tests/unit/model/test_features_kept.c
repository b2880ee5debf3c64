/* Random features are part of a model: redrawn while training, in the weights that serve, in the
 * file. SPDX-License-Identifier: Apache-2.0
 */
#include "base/memory.h"
#include "model/snapshot.h"
#include "tests/unit/model/model_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LENGTH  200
#define HORIZON 6
#define HOUR    INT64_C(3600000)

static double values[LENGTH];

static struct snapshot *train(const char *options)
{
    struct error error = {0};
    struct model_series series = plain_series(values, LENGTH, HOUR);
    struct snapshot *out = NULL;
    struct train_request request = {
        .series = &series,
        .series_count = 1,
        .config = {.backbone = "performer", .head = "quantile", .horizon = HORIZON},
        .steps = 4,
        .seed = 3,
        .lanes = 1};
    snprintf(request.config.options, sizeof(request.config.options), "%s", options);
    assert_ok(model_train(&request, &out, &error));
    return out;
}

/* The first layer's features of the first member. */
static const real *features_of(const struct snapshot *snapshot, size_t *size)
{
    const struct member *member = snapshot->members[0];
    for (size_t i = 0; i < member->params.count; i++) {
        if (member->params.items[i].fixed) {
            *size = member->params.items[i].size;
            return member->weights + member->params.items[i].offset;
        }
    }
    fail_msg("no features among the parameters");
    return NULL;
}

static void features_survive_saving(UNUSED void **state)
{
    char folder[] = "/tmp/forecastd-features-XXXXXX";
    char path[64];
    struct error error = {0};
    for (int t = 0; t < LENGTH; t++) {
        values[t] = 20.0 + 5.0 * sin(2.0 * M_PI * t / 24.0) + (t * 37 % 11) * 0.2;
    }
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/model.safetensors", folder);
    struct snapshot *first = train("width=8 heads=2 inner=8 layers=1 redraw=0");
    struct snapshot *redrawn = train("width=8 heads=2 inner=8 layers=1 redraw=2");
    size_t size = 0;
    const real *start = features_of(first, &size);
    const real *drawn = features_of(redrawn, &size);
    assert_memory_not_equal(drawn, start, size * sizeof(real));

    struct snapshot *loaded = NULL;
    assert_ok(snapshot_save(redrawn, path, &error));
    assert_ok(snapshot_load(path, NULL, &loaded, &error));
    assert_memory_equal(features_of(loaded, &size), drawn, size * sizeof(real));
    assert_int_equal(loaded->member_count, redrawn->member_count);
    for (size_t i = 0; i < loaded->member_count; i++) {
        const struct member *member = loaded->members[i];
        assert_memory_equal(member->weights, redrawn->members[i]->weights,
                            member->params.size * sizeof(real));
    }
    snapshot_release(loaded);
    snapshot_release(redrawn);
    snapshot_release(first);
    unlink(path);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(features_survive_saving)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
