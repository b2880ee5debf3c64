/* Tests of hash: published vectors of SipHash, SHA-256 and CRC-32C, and splitting at every place.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/hash.h"
#include "base/random.h"
#include "tests/unit/base/test.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *program; /* the path of this one */

static void siphash_vectors(UNUSED void **state)
{
    /* Aumasson and Bernstein 2012, appendix A, and the first and last rows of the authors' vectors.
     */
    const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    unsigned char input[64];
    for (int i = 0; i < 64; i++) {
        input[i] = (unsigned char)i;
    }
    assert_true(hash_siphash(key, input, 15) == UINT64_C(0xa129ca6149be45e5));
    assert_true(hash_siphash(key, input, 0) == UINT64_C(0x726fdb47dd0e0e31));
    assert_true(hash_siphash(key, input, 1) == UINT64_C(0x74f839c593dc67fd));
    assert_true(hash_siphash(key, input, 8) == UINT64_C(0x93f5f5799a932462));
    assert_true(hash_siphash(key, input, 63) == UINT64_C(0x958a324ceb064572));
}

static void the_process_key_stays(UNUSED void **state)
{
    assert_true(hash_bytes("abc", 3) == hash_bytes("abc", 3));
    assert_true(hash_bytes("abc", 3) != hash_bytes("abd", 3));
    assert_true(hash_bytes("abc", 3) != hash_bytes("abc", 2));
    const uint64_t zero[2] = {0, 0};
    assert_true(hash_bytes("abc", 3) != hash_siphash(zero, "abc", 3));
}

/* What the program at `path` says of "abc" when it is run anew. */
static uint64_t hash_of_another_process(const char *path)
{
    char command[PATH_MAX + 16], line[32];
    snprintf(command, sizeof(command), "'%s' hash", path);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_non_null(fgets(line, sizeof(line), pipe));
    assert_int_equal(pclose(pipe), 0);
    return strtoull(line, NULL, 16);
}

/* No stranger knows which keys collide: each process draws a key of its own. */
static void each_process_has_its_own_key(UNUSED void **state)
{
    uint64_t here = hash_bytes("abc", 3), there = hash_of_another_process(program);
    assert_true(there != 0 && here != there);
    assert_true(hash_of_another_process(program) != there);
}

static void equal_means_every_byte(UNUSED void **state)
{
    char left[64], right[64];
    memset(left, 'a', sizeof(left));
    memset(right, 'a', sizeof(right));
    assert_true(hash_equal(left, right, sizeof(left)));
    assert_true(hash_equal(left, right, 0));
    for (size_t i = 0; i < sizeof(left); i++) {
        right[i] = (char)('a' ^ (1 << (i % 8)));
        assert_false(hash_equal(left, right, sizeof(left)));
        right[i] = 'a';
    }
}

static void sha256_vectors(UNUSED void **state)
{
    static const struct {
        const char *text;
        const char *hex;
    } rows[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqr"
         "lmnopqrsmnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    char hex[65];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sha256 hash;
        sha256_init(&hash);
        sha256_add(&hash, rows[i].text, strlen(rows[i].text));
        sha256_hex(&hash, hex);
        assert_string_equal(hex, rows[i].hex);
    }
    struct sha256 million;
    sha256_init(&million);
    for (int i = 0; i < 1000; i++) {
        char block[1000];
        memset(block, 'a', sizeof(block));
        sha256_add(&million, block, sizeof(block));
    }
    sha256_hex(&million, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void sha256_pieces_make_the_whole(UNUSED void **state)
{
    char input[300];
    for (size_t i = 0; i < sizeof(input); i++) {
        input[i] = (char)(i * 7);
    }
    for (size_t length = 0; length <= sizeof(input); length += 3) {
        char whole[65], pieces[65];
        struct sha256 hash;
        sha256_init(&hash);
        sha256_add(&hash, input, length);
        sha256_hex(&hash, whole);
        for (size_t step = 1; step < 70; step += 6) {
            sha256_init(&hash);
            for (size_t at = 0; at < length; at += step) {
                sha256_add(&hash, input + at, length - at < step ? length - at : step);
            }
            sha256_hex(&hash, pieces);
            assert_string_equal(whole, pieces);
        }
    }
}

/* One bit at a time, straight from the definition. */
static uint32_t crc_by_bits(uint32_t crc, const unsigned char *bytes, size_t length)
{
    crc = ~crc;
    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
        }
    }
    return ~crc;
}

static void crc_vectors(UNUSED void **state)
{
    assert_true(hash_crc32c(0, "123456789", 9) == 0xE3069283u);
    assert_true(hash_crc32c(0, "", 0) == 0);
    unsigned char zeros[32] = {0}; /* RFC 3720, B.4 */
    assert_true(hash_crc32c(0, zeros, 32) == 0x8A9136AAu);
    memset(zeros, 0xFF, 32);
    assert_true(hash_crc32c(0, zeros, 32) == 0x62A8AB43u);
    assert_true(hash_crc32c_portable(0, "123456789", 9) == 0xE3069283u);
}

static void crc_is_the_same_in_every_way(UNUSED void **state)
{
    struct random random;
    random_init(&random, 1, 1);
    unsigned char input[200];
    for (int round = 0; round < 5000; round++) {
        size_t from = random_below(&random, 9);
        size_t length = random_below(&random, sizeof(input) - from + 1);
        for (size_t i = 0; i < sizeof(input); i++) {
            input[i] = (unsigned char)random_next(&random);
        }
        uint32_t start = (uint32_t)random_next(&random);
        uint32_t expected = crc_by_bits(start, input + from, length);
        assert_true(hash_crc32c(start, input + from, length) == expected);
        assert_true(hash_crc32c_portable(start, input + from, length) == expected);
        size_t cut = random_below(&random, length + 1);
        uint32_t half = hash_crc32c(start, input + from, cut);
        assert_true(hash_crc32c(half, input + from + cut, length - cut) == expected);
    }
}

int main(int argument_count, char **arguments)
{
    program = arguments[0];
    if (argument_count > 1) { /* each_process_has_its_own_key */
        printf("%016" PRIx64 "\n", hash_bytes("abc", 3));
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_vectors),
        cmocka_unit_test(the_process_key_stays),
        cmocka_unit_test(each_process_has_its_own_key),
        cmocka_unit_test(equal_means_every_byte),
        cmocka_unit_test(sha256_vectors),
        cmocka_unit_test(sha256_pieces_make_the_whole),
        cmocka_unit_test(crc_vectors),
        cmocka_unit_test(crc_is_the_same_in_every_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
