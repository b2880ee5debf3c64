/* gzip, unpacked in pieces under an absolute bound and a bound on the ratio.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/inflate.h"

#include "base/memory.h"

#include <zlib.h>

#define RATIO_MAX        100u
#define RATIO_FREE_BYTES ((size_t)1 << 20)
#define FIRST_BYTES      ((size_t)64 << 10)

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

/* A larger buffer, up to `bound` bytes and one for the zero. */
static enum status grow(char **out, size_t *capacity, size_t bound, struct error *error)
{
    if (*capacity >= bound) {
        return too_large(bound, error);
    }
    size_t wanted = *capacity ? *capacity * 2 : FIRST_BYTES;
    wanted = wanted > bound ? bound : wanted;
    char *bigger = mem_resize(*out, wanted + 1, 1);
    if (!bigger) {
        return error_set(error, STATUS_NO_MEMORY, "no memory to unpack the body");
    }
    *out = bigger;
    *capacity = wanted;
    return STATUS_OK;
}

/* Unpacks until the input is used up at the end of a member. */
static enum status run(z_stream *stream, size_t bound, char **out, size_t *out_length,
                       struct error *error)
{
    size_t capacity = 0, used = 0;
    int code = Z_OK;
    for (;;) {
        if (used == capacity && grow(out, &capacity, bound, error) != STATUS_OK) {
            return error->status;
        }
        stream->next_out = (Bytef *)*out + used;
        stream->avail_out = (uInt)(capacity - used);
        code = inflate(stream, Z_NO_FLUSH);
        used = capacity - stream->avail_out;
        if (code == Z_STREAM_END && stream->avail_in > 0) {
            code = inflateReset(stream);
        } else if (code == Z_STREAM_END) {
            (*out)[used] = '\0';
            *out_length = used;
            return STATUS_OK;
        }
        if (code == Z_MEM_ERROR) {
            return error_set(error, STATUS_NO_MEMORY, "no memory to unpack the body");
        }
        if ((code != Z_OK && code != Z_BUF_ERROR) ||
            (stream->avail_in == 0 && stream->avail_out > 0)) {
            error_set(error, STATUS_INVALID, "cannot unpack the body: %s",
                      stream->msg ? stream->msg : "it ends too early");
            return error_code(error, "bad_gzip", NULL);
        }
    }
}

enum status inflate_gzip(const char *bytes, size_t length, size_t maximum, char **out,
                         size_t *out_length, struct error *error)
{
    size_t bound = 0;
    if (length > UINT32_MAX || size_mul(length, RATIO_MAX, &bound) ||
        size_add(bound, RATIO_FREE_BYTES, &bound) || bound > maximum) {
        bound = maximum;
    }
    *out = NULL;
    *out_length = 0;
    if (length > UINT32_MAX || bound >= UINT32_MAX) {
        return too_large(maximum, error);
    }
    z_stream stream = {.zalloc = zlib_alloc, .zfree = zlib_free};
    stream.next_in = (z_const Bytef *)(uintptr_t)bytes;
    stream.avail_in = (uInt)length;
    if (inflateInit2(&stream, 15 + 16) != Z_OK) {
        return error_set(error, STATUS_NO_MEMORY, "no memory to unpack the body");
    }
    enum status status = run(&stream, bound, out, out_length, error);
    inflateEnd(&stream);
    if (status != STATUS_OK) {
        mem_free(*out);
        *out = NULL;
    }
    return status;
}
