/* Trains one member on a training set, for a number of steps or a time.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A batch is cut into SHARD_COUNT fixed shards. Each shard draws its windows from a random stream
 * of its own (seed, step, shard), runs forward and backward on the tape of whichever lane takes it,
 * and leaves its gradient in a slab of its own; the slabs are summed in order. So the result
 * depends on seed, steps and data, and not on the number of lanes or their timing. Recurrent
 * backbones train on streams of windows instead (streams.h), without mixing.
 */
#ifndef MODEL_TRAINING_TRAINER_H
#define MODEL_TRAINING_TRAINER_H

#include "model/training/window.h"

#include <stdatomic.h>

#define SHARD_COUNT 4

/* What the trainer tells while it runs; called on the thread that called trainer_run. */
struct trainer_news {
    double progress; /* of this member's budget, 0 to 1 */
    uint64_t step;
    double loss; /* running mean, NaN before the first step */
};

struct trainer_request {
    const struct training_set *set;
    struct member *member; /* its weights are the result: the moving average */
    uint64_t seed;
    uint64_t steps;     /* 0 = by time */
    uint64_t steps_max; /* by time: not more than these; 0 = no limit */
    double seconds;     /* of wall time from the call on */
    size_t lanes;
    size_t memory_max; /* bytes of tapes */
    bool low_priority;
    const atomic_bool *cancel;                                    /* may be NULL */
    void (*news)(void *context, const struct trainer_news *news); /* may be NULL */
    void *context;
};

struct trainer_result {
    uint64_t steps, windows;
    double loss, seconds;
    size_t micro_batch, tape_bytes;
};

/* STATUS_CANCELLED; STATUS_NO_MEMORY; STATUS_INTERNAL "diverged" where the loss is not finite even
 * with a smaller rate. */
enum status trainer_run(const struct trainer_request *request, struct trainer_result *result,
                        struct error *error) MUST_USE;

#endif
