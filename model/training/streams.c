/* Streams of windows: how recurrent backbones train, each row of a batch in the order of time.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/training/streams.h"

#include "base/check.h"
#include "base/memory.h"

#include <string.h>

struct stream {
    struct window_place place; /* of the window that comes next */
    struct window_scale scale;
    size_t left; /* windows to come; 0 = another stream begins */
};

enum status streams_init(struct streams *streams, const struct window_sampler *sampler,
                         size_t shards, size_t rows, struct error *error)
{
    size_t bytes = backbone_memory_bytes(sampler->member->backbone);
    *streams = (struct streams){
        .sampler = sampler, .rows = rows, .memory_bytes = bytes, .count = shards * rows};
    streams->items = mem_zeroed(streams->count, sizeof(streams->items[0]));
    streams->memory = mem_array_aligned(streams->count, bytes);
    if (streams->items == NULL || streams->memory == NULL) {
        streams_release(streams);
        return error_set(error, STATUS_NO_MEMORY, "could not make the memories of training");
    }
    return STATUS_OK;
}

void streams_release(struct streams *streams)
{
    mem_free(streams->items);
    mem_free(streams->memory);
    *streams = (struct streams){0};
}

void streams_restart(struct streams *streams)
{
    for (size_t i = 0; i < streams->count; i++) {
        streams->items[i].left = 0;
    }
}

void *streams_memory(const struct streams *streams, size_t shard, size_t row)
{
    return streams->memory + (shard * streams->rows + row) * streams->memory_bytes;
}

/* Draws a window and goes back from it by a random number of windows, as far as there are any. */
static void begin_stream(const struct window_sampler *sampler, struct stream *stream,
                         struct random *random)
{
    size_t context = sampler->member->shape.context;
    struct window_place drawn = window_draw(sampler, random);
    size_t first = 0;
    size_t last = 0;
    window_origins(sampler, drawn.series, &first, &last);
    size_t before = (drawn.origin - first) / context;
    size_t back = (size_t)random_below(random, STREAM_WINDOWS);
    back = back < before ? back : before;
    stream->place = drawn;
    stream->place.origin -= back * context;
    stream->left = (last - stream->place.origin) / context + 1;
    stream->left = stream->left < STREAM_WINDOWS ? stream->left : STREAM_WINDOWS;
    stream->scale = window_scale_at(sampler, &stream->place);
}

struct window_place streams_next(struct streams *streams, size_t shard, size_t row,
                                 struct random *random)
{
    CHECK(row < streams->rows);
    struct stream *stream = &streams->items[shard * streams->rows + row];
    if (stream->left == 0) {
        memset(streams_memory(streams, shard, row), 0, streams->memory_bytes);
        begin_stream(streams->sampler, stream, random);
    }
    struct window_place place = stream->place;
    place.scale = &stream->scale;
    stream->place.origin += streams->sampler->member->shape.context;
    stream->left--;
    return place;
}
