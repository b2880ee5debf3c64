/* UTF-8: the length of one well-formed character, and validity of a run of bytes.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the well-formed character (Unicode, table 3-7) at the start, 1 to 4; 0 where it is not
 * well formed or cut off: overlong forms, surrogates and anything above U+10FFFF are not. */
static inline size_t utf8_length(const char *bytes, size_t available)
{
    if (available == 0) {
        return 0;
    }
    unsigned char first = (unsigned char)bytes[0];
    if (first < 0x80) {
        return 1;
    }
    size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || length > available) {
        return 0;
    }
    /* Only the second byte has narrower bounds than 80..BF, and only after these four. */
    unsigned char second = (unsigned char)bytes[1];
    unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (second < low || second > high) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if (((unsigned char)bytes[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return length;
}

/* The code point of the well-formed character of `length` bytes. */
static inline uint32_t utf8_decode(const char *bytes, size_t length)
{
    unsigned char first = (unsigned char)bytes[0];
    if (length == 1) {
        return first;
    }
    uint32_t point = first & (0xFFu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        point = point << 6 | ((unsigned char)bytes[i] & 0x3Fu);
    }
    return point;
}

/* Writes a code point (not a surrogate, at most U+10FFFF); returns 1 to 4. */
static inline size_t utf8_encode(uint32_t point, char out[4])
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    size_t length = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (point & 0x3F));
        point >>= 6;
    }
    out[0] = (char)((0xF00u >> length & 0xFFu) | point);
    return length;
}

#endif
