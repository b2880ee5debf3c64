/* One training of one group: load, train, judge, admit.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/scheduler.h"

#include "base/clock.h"

#include <stdio.h>

#define SECONDS_MIN     1.0
#define GROUP_BYTES_MAX ((size_t)256 << 20) /* of all series together */
#define MEMORY_DEFAULT  ((size_t)512 << 20) /* where the request does not say */

size_t train_group_bytes(size_t memory_max)
{
    size_t half = (memory_max > 0 ? memory_max : MEMORY_DEFAULT) / 2;
    return half < GROUP_BYTES_MAX ? half : GROUP_BYTES_MAX;
}

size_t train_tape_bytes(size_t memory_max, const struct api_group *group)
{
    return (memory_max > 0 ? memory_max : MEMORY_DEFAULT) - group->bytes;
}

enum status train_group(struct api_worker *worker, struct registry *registry,
                        struct catalogue *catalogue, int64_t step_ms,
                        const struct train_request *train, struct train_outcome *outcome,
                        struct error *error)
{
    struct api_group group = {0};
    struct snapshot *challenger = NULL, *champion = NULL;
    struct gate_result gate = {0};
    int64_t begin_ns = clock_monotonic_ns();
    struct api_group_order order = {.step_ms = step_ms,
                                    .values_max = SERIES_VALUES_MAX,
                                    .bytes_max = train_group_bytes(train->memory_max),
                                    .cancel = train->cancel};
    enum status status = api_group_load(worker, &order, &group, error);
    if (status != STATUS_OK) {
        return status;
    }
    struct train_request request = *train;
    request.series = group.series;
    request.series_count = group.count;
    request.series_total = group.count + group.left_out;
    request.memory_max = train_tape_bytes(train->memory_max, &group);
    if (request.seconds > 0.0) { /* loading is part of the budget */
        double loaded = (double)(clock_monotonic_ns() - begin_ns) / 1e9;
        request.seconds =
            request.seconds - loaded > SECONDS_MIN ? request.seconds - loaded : SECONDS_MIN;
    }
    status = model_train(&request, &challenger, error);
    if (status != STATUS_OK) {
        goto release;
    }
    champion = registry_acquire(registry, step_ms);
    struct gate_request judged = {.challenger = challenger,
                                  .champion = champion,
                                  .series = group.series,
                                  .series_count = group.count,
                                  .cancel = train->cancel};
    status = model_gate(&judged, &gate, error);
    if (status != STATUS_OK) {
        error_wrap(error, "could not judge the new model");
        goto release;
    }
    if (group.left_out > 0) {
        size_t length = 0;
        while (length < sizeof(gate.reason) && gate.reason[length] != '\0') {
            length++;
        }
        snprintf(gate.reason + length, sizeof(gate.reason) - length,
                 "; %zu series %s left out by sampling", group.left_out,
                 group.left_out == 1 ? "was" : "were");
    }
    status = catalogue_admit(catalogue, challenger, &gate, outcome->id, error);
    const struct snapshot_record *record = snapshot_record(challenger);
    outcome->promoted = gate.promote;
    outcome->series = record->series;
    outcome->series_total = record->series_total;
    outcome->windows = record->windows;
    outcome->windows_total = record->windows_total;
    outcome->sampled = snapshot_sampled(record);
    outcome->seconds = (double)(clock_monotonic_ns() - begin_ns) / 1e9;
    snprintf(outcome->reason, sizeof(outcome->reason), "%s", gate.reason);

release:
    snapshot_release(champion);
    snapshot_release(challenger);
    api_group_free(&group);
    return status;
}
