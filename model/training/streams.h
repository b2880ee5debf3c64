/* Streams of windows: how recurrent backbones train, each row of a batch in the order of time.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A row of a batch goes through one series window by window, the next one beginning where the
 * context of the one before ended, and carries the backbone's memory from step to step. A stream
 * holds a window drawn as for any other backbone and has STREAM_WINDOWS windows at most, fewer
 * where the series begins or ends; then the memory is emptied and another stream begins. Its scale
 * is that of its first window: what lies in the memory was made with it. Rows belong to shards, not
 * to lanes, so results do not depend on the lanes.
 *
 * Threads: streams of different shards may be used at once.
 */
#ifndef MODEL_TRAINING_STREAMS_H
#define MODEL_TRAINING_STREAMS_H

#include "model/training/window.h"

#define STREAM_WINDOWS 8

struct streams {
    const struct window_sampler *sampler;
    size_t rows;         /* of a shard */
    size_t memory_bytes; /* of a row */
    unsigned char *memory;
    struct stream *items; /* [shards * rows] */
    size_t count;
};

/* Rows of `shards` shards, all about to begin. STATUS_NO_MEMORY. */
enum status streams_init(struct streams *streams, const struct window_sampler *sampler,
                         size_t shards, size_t rows, struct error *error) MUST_USE;
void streams_release(struct streams *streams); /* harmless on a zeroed struct */
void streams_restart(struct streams *streams);

/* The next window of a row; begins a stream where there is none or the last one is over, and
 * empties the row's memory then. The place's scale lives until the next call for the row. */
struct window_place streams_next(struct streams *streams, size_t shard, size_t row,
                                 struct random *random);

/* The memories of a shard from `row` on, for backbone_recur. */
void *streams_memory(const struct streams *streams, size_t shard, size_t row);

#endif
