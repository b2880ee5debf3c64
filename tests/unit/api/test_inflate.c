/* The two bounds of unpacking, each where the other one would let the body in.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/inflate.h"

#include "base/memory.h"
#include "base/random.h"
#include "tests/unit/base/test.h"

#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define KIB     ((size_t)1024)
#define MIB     ((size_t)1 << 20)
#define MAXIMUM (4 * MIB)

/* ---------------------------------------------------------------- packed by the libraries
 * themselves */

typedef size_t pack(const char *plain, size_t length, char *packed, size_t capacity);
typedef enum status unpack(const char *packed, size_t length, size_t maximum, char **out,
                           size_t *out_length, struct error *error);

static size_t pack_gzip(const char *plain, size_t length, char *packed, size_t capacity)
{
    z_stream stream = {0};
    assert_int_equal(deflateInit2(&stream, 1, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (z_const Bytef *)(uintptr_t)plain;
    stream.avail_in = (uInt)length;
    stream.next_out = (Bytef *)packed;
    stream.avail_out = (uInt)capacity;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    size_t size = capacity - stream.avail_out;
    assert_int_equal(deflateEnd(&stream), Z_OK);
    return size;
}

static size_t pack_zstd(const char *plain, size_t length, char *packed, size_t capacity)
{
    size_t size = ZSTD_compress(packed, capacity, plain, length, 1);
    assert_false(ZSTD_isError(size));
    return size;
}

static const struct format {
    const char *name;
    pack *pack;
    unpack *unpack;
} formats[] = {{"gzip", pack_gzip, inflate_gzip}, {"zstd", pack_zstd, inflate_zstd}};

/* ---------------------------------------------------------------- a body that packs as wanted */

/* Zeros, but for `random_bytes` at the front of each KiB, which do not pack. */
static char *body_new(size_t length, size_t random_bytes)
{
    struct random random;
    random_init(&random, 1, 0);
    char *body = mem_zeroed(length, 1);
    assert_non_null(body);
    for (size_t at = 0; at < length; at += KIB) {
        for (size_t i = 0; i < random_bytes && at + i < length; i++) {
            body[at + i] = (char)random_next(&random);
        }
    }
    return body;
}

struct packed {
    char *plain, *bytes;
    size_t plain_length, length;
};

static struct packed packed_new(const struct format *format, size_t length, size_t random_bytes)
{
    struct packed packed = {.plain = body_new(length, random_bytes), .plain_length = length};
    size_t capacity = length + length / 8 + KIB;
    packed.bytes = mem_zeroed(capacity, 1);
    assert_non_null(packed.bytes);
    packed.length = format->pack(packed.plain, length, packed.bytes, capacity);
    return packed;
}

static size_t ratio_of(const struct packed *packed)
{
    return packed->plain_length / packed->length;
}

static void packed_release(struct packed *packed)
{
    mem_free(packed->plain);
    mem_free(packed->bytes);
}

static void accepted(const struct format *format, const struct packed *packed, size_t maximum)
{
    struct error error = {0};
    char *out = NULL;
    size_t length = 0;
    enum status status =
        format->unpack(packed->bytes, packed->length, maximum, &out, &length, &error);
    if (status != STATUS_OK) {
        fail_msg("%s: %s", format->name, error.text);
    }
    assert_int_equal(length, packed->plain_length);
    assert_memory_equal(out, packed->plain, length);
    assert_int_equal(out[length], 0);
    mem_free(out);
}

static void refused(const struct format *format, const struct packed *packed, size_t maximum)
{
    struct error error = {0};
    char *out = NULL;
    size_t length = 0;
    size_t before = mem_bytes_in_use();
    if (format->unpack(packed->bytes, packed->length, maximum, &out, &length, &error) !=
        STATUS_TOO_LARGE) {
        mem_free(out);
        fail_msg("%s: %zu bytes from %zu were let in", format->name, length, packed->length);
    }
    assert_string_equal(error.code, "body_too_large");
    assert_null(out);
    assert_int_equal(mem_bytes_in_use(), before);
}

/* ---------------------------------------------------------------- tests */

/* Far below the maximum, and a bomb all the same. */
static void the_ratio_alone_refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        struct packed packed = packed_new(&formats[i], 30 * MIB, 0);
        assert_true(ratio_of(&packed) > 200);
        refused(&formats[i], &packed, 64 * MIB);
        packed_release(&packed);
    }
}

/* Hardly packed, so that no ratio is in the way: one byte over the maximum is too much. */
static void the_maximum_alone_refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        struct packed packed = packed_new(&formats[i], MAXIMUM + 1, KIB / 2);
        assert_true(ratio_of(&packed) < 4);
        refused(&formats[i], &packed, MAXIMUM);
        accepted(&formats[i], &packed, MAXIMUM + 1);
        packed_release(&packed);
    }
}

/* What metrics reach that repeat themselves. */
static void a_well_packed_body_is_let_in(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        struct packed packed = packed_new(&formats[i], 16 * MIB, 16);
        assert_in_range(ratio_of(&packed), 30, 90);
        accepted(&formats[i], &packed, 64 * MIB);
        packed_release(&packed);
    }
}

/* A small body of any ratio: the bound on the ratio begins above one MiB. */
static void the_first_mebibyte_is_free(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        struct packed packed = packed_new(&formats[i], MIB, 0);
        assert_true(ratio_of(&packed) > 100);
        accepted(&formats[i], &packed, 64 * MIB);
        packed_release(&packed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ratio_alone_refuses),
        cmocka_unit_test(the_maximum_alone_refuses),
        cmocka_unit_test(a_well_packed_body_is_let_in),
        cmocka_unit_test(the_first_mebibyte_is_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
