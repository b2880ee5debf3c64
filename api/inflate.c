/* gzip and zstd, unpacked in pieces under an absolute bound and a bound on the ratio.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/inflate.h"

#include "base/memory.h"
#include "base/series_name.h"

#include <zlib.h>
#include <zstd.h>

#define RATIO_MAX        100u
#define RATIO_FREE_BYTES ((size_t)1 << 20)
#define FIRST_BYTES      ((size_t)64 << 10)
#define WINDOW_LOG_MAX   23

/* What is being unpacked into: up to `bound` bytes, and one for the zero. */
struct room {
    char *bytes;
    size_t used, capacity, bound;
};

static void *zlib_alloc(void *context, unsigned count, unsigned size)
{
    (void)context;
    return mem_zeroed(count, size);
}

static void zlib_free(void *context, void *block)
{
    (void)context;
    mem_free(block);
}

bool inflate_is_gzip(const char *bytes, size_t length)
{
    return length >= 2 && (unsigned char)bytes[0] == 0x1f && (unsigned char)bytes[1] == 0x8b;
}

static enum status too_large(size_t bound, struct error *error)
{
    error_set(error, STATUS_TOO_LARGE, "the unpacked body is over the limit of %zu bytes", bound);
    return error_code(error, "body_too_large", NULL);
}

/* Bound by ratio and by `maximum`; the ratio's is meant for bombs, so its first MiB is free. */
static size_t bound_of(size_t length, size_t maximum)
{
    size_t bound = 0;
    if (size_mul(length, RATIO_MAX, &bound) || size_add(bound, RATIO_FREE_BYTES, &bound) ||
        bound > maximum) {
        return maximum;
    }
    return bound;
}

static enum status room_grow(struct room *room, struct error *error)
{
    if (room->capacity >= room->bound) {
        return too_large(room->bound, error);
    }
    size_t wanted = room->capacity ? room->capacity * 2 : FIRST_BYTES;
    wanted = wanted > room->bound ? room->bound : wanted;
    char *bigger = mem_resize(room->bytes, wanted + 1, 1);
    if (!bigger) {
        return error_set(error, STATUS_NO_MEMORY, "no memory to unpack the body");
    }
    room->bytes = bigger;
    room->capacity = wanted;
    return STATUS_OK;
}

/* Hands the bytes on, or frees them where unpacking failed. */
static enum status room_end(struct room *room, enum status status, char **out, size_t *out_length)
{
    if (status != STATUS_OK) {
        mem_free(room->bytes);
        return status;
    }
    room->bytes[room->used] = '\0';
    *out = room->bytes;
    *out_length = room->used;
    return STATUS_OK;
}

static enum status damaged(const char *what, const char *code, struct error *error)
{
    error_set(error, STATUS_INVALID, "cannot unpack the body: %s", what);
    return error_code(error, code, NULL);
}

/* ---------------------------------------------------------------- gzip */

/* Unpacks until the input is used up at the end of a member. */
static enum status run_gzip(z_stream *stream, struct room *room, struct error *error)
{
    for (;;) {
        if (room->used == room->capacity && room_grow(room, error) != STATUS_OK) {
            return error->status;
        }
        stream->next_out = (Bytef *)room->bytes + room->used;
        stream->avail_out = (uInt)(room->capacity - room->used);
        int code = inflate(stream, Z_NO_FLUSH);
        room->used = room->capacity - stream->avail_out;
        if (code == Z_STREAM_END && stream->avail_in > 0) {
            code = inflateReset(stream);
        } else if (code == Z_STREAM_END) {
            return STATUS_OK;
        }
        if (code == Z_MEM_ERROR) {
            return error_set(error, STATUS_NO_MEMORY, "no memory to unpack the body");
        }
        if ((code != Z_OK && code != Z_BUF_ERROR) ||
            (stream->avail_in == 0 && stream->avail_out > 0)) {
            return damaged(stream->msg ? stream->msg : "it ends too early", "bad_gzip", error);
        }
    }
}

enum status inflate_gzip(const char *bytes, size_t length, size_t maximum, char **out,
                         size_t *out_length, struct error *error)
{
    struct room room = {.bound = bound_of(length, maximum)};
    *out = NULL;
    *out_length = 0;
    if (length > UINT32_MAX || room.bound >= UINT32_MAX) {
        return too_large(maximum, error);
    }
    z_stream stream = {.zalloc = zlib_alloc, .zfree = zlib_free};
    stream.next_in = (z_const Bytef *)(uintptr_t)bytes;
    stream.avail_in = (uInt)length;
    if (inflateInit2(&stream, 15 + 16) != Z_OK) {
        return error_set(error, STATUS_NO_MEMORY, "no memory to unpack the body");
    }
    enum status status = run_gzip(&stream, &room, error);
    inflateEnd(&stream);
    return room_end(&room, status, out, out_length);
}

/* ---------------------------------------------------------------- zstd */

/* Unpacks until the input is used up at the end of a frame. */
static enum status run_zstd(ZSTD_DCtx *context, struct slice bytes, struct room *room,
                            struct error *error)
{
    ZSTD_inBuffer in = {bytes.bytes, bytes.length, 0};
    for (;;) {
        if (room->used == room->capacity && room_grow(room, error) != STATUS_OK) {
            return error->status;
        }
        ZSTD_outBuffer piece = {room->bytes, room->capacity, room->used};
        size_t left = ZSTD_decompressStream(context, &piece, &in);
        room->used = piece.pos;
        if (ZSTD_isError(left)) {
            return damaged(ZSTD_getErrorName(left), "bad_zstd", error);
        }
        if (left == 0 && in.pos == in.size) {
            return STATUS_OK;
        }
        if (in.pos == in.size && piece.pos < piece.size) {
            return damaged("it ends too early", "bad_zstd", error);
        }
    }
}

enum status inflate_zstd(const char *bytes, size_t length, size_t maximum, char **out,
                         size_t *out_length, struct error *error)
{
    struct room room = {.bound = bound_of(length, maximum)};
    *out = NULL;
    *out_length = 0;
    ZSTD_DCtx *context = ZSTD_createDCtx();
    if (!context ||
        ZSTD_isError(ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, WINDOW_LOG_MAX))) {
        ZSTD_freeDCtx(context);
        return error_set(error, STATUS_NO_MEMORY, "no memory to unpack the body");
    }
    enum status status = run_zstd(context, (struct slice){bytes, length}, &room, error);
    ZSTD_freeDCtx(context);
    return room_end(&room, status, out, out_length);
}
