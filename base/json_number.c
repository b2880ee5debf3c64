/* JSON numbers: from the bytes to the correctly rounded double, eight digits at a time.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/decimal.h"
#include "base/json_reader.h"

#include <locale.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SLOW_BYTES_MAX 1024

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;

static void make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

/* The C library rounds correctly for any length and exponent, but needs a zero byte and the "C"
 * locale. Returns 0 where the number is too long. */
static int convert_slowly(const char *bytes, size_t length, double *number)
{
    char copy[SLOW_BYTES_MAX];
    if (length >= sizeof(copy)) {
        return 0;
    }
    memcpy(copy, bytes, length);
    copy[length] = '\0';
    pthread_once(&c_locale_once, make_c_locale);
    *number = c_locale != (locale_t)0 ? strtod_l(copy, NULL, c_locale) : strtod(copy, NULL);
    return 1;
}

static inline int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
/* Eight digits in one word: adding 6 carries out of the low half for anything above '9'. */
static inline int are_eight_digits(uint64_t word)
{
    return ((word & UINT64_C(0xF0F0F0F0F0F0F0F0)) |
            (((word + UINT64_C(0x0606060606060606)) & UINT64_C(0xF0F0F0F0F0F0F0F0)) >> 4)) ==
           UINT64_C(0x3333333333333333);
}

/* Pairs, then fours, then all eight: three multiplications instead of eight. */
static inline uint64_t eight_digits(uint64_t word)
{
    word -= UINT64_C(0x3030303030303030);
    word = word * 10 + (word >> 8);
    word = ((word & UINT64_C(0x000000FF000000FF)) * UINT64_C(0x000F424000000064) +
            ((word >> 16) & UINT64_C(0x000000FF000000FF)) * UINT64_C(0x0000271000000001)) >>
           32;
    return word;
}
#endif

/* Adds the digits at `p` to `value`, which wraps where there are too many; returns where they end.
 */
static inline const char *read_digits(const char *p, const char *end, uint64_t *value)
{
    uint64_t sum = *value;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    while (end - p >= 8) {
        uint64_t word;
        memcpy(&word, p, sizeof(word));
        if (!are_eight_digits(word)) {
            break;
        }
        sum = sum * 100000000u + eight_digits(word);
        p += 8;
    }
#endif
    while (p < end && is_digit(*p)) {
        sum = sum * 10 + (uint64_t)(*p - '0');
        p++;
    }
    *value = sum;
    return p;
}

/* Digits from the first that is not zero. */
static size_t significant_digits(const char *p, const char *end)
{
    size_t count = 0;
    for (; p < end && (is_digit(*p) || *p == '.'); p++) {
        count += *p != '.' && (count > 0 || *p != '0');
    }
    return count;
}

/* The exponent after e or E; NULL where there are no digits. Held at +-99999, which is far outside.
 */
static const char *read_exponent(const char *p, const char *end, int *exponent)
{
    int negative = 0;
    if (p < end && (*p == '+' || *p == '-')) {
        negative = *p == '-';
        p++;
    }
    if (p == end || !is_digit(*p)) {
        return NULL;
    }
    int value = 0;
    for (; p < end && is_digit(*p); p++) {
        value = value < 10000 ? value * 10 + (*p - '0') : 99999;
    }
    *exponent += negative ? -value : value;
    return p;
}

size_t json_parse_number(const char *bytes, size_t length, double *number, int64_t *integer,
                         int *is_integer)
{
    const char *end = bytes + length;
    const char *p = bytes;
    int negative = p < end && *p == '-';
    p += negative;
    const char *first = p;
    uint64_t digits = 0;
    p = read_digits(p, end, &digits);
    size_t whole_count = (size_t)(p - first);
    if (whole_count == 0) {
        return 0;
    }
    if (*first == '0' && whole_count > 1) {
        /* 007 is the number 0 followed by something that the caller will not expect. */
        p = first + 1;
        end = p;
        whole_count = 1;
        digits = 0;
    }
    int exponent = 0;
    size_t count = whole_count;
    *is_integer = 1;
    if (p < end && *p == '.') {
        const char *fraction = p + 1;
        p = read_digits(fraction, end, &digits);
        if (p == fraction) {
            return 0;
        }
        count += (size_t)(p - fraction);
        exponent = count < 100000 ? -(int)(p - fraction) : 0;
        *is_integer = 0;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p = read_exponent(p + 1, end, &exponent);
        if (p == NULL) {
            return 0;
        }
        *is_integer = 0;
    }
    double value;
    size_t used = (size_t)(p - bytes);
    if (count <= 15 && exponent <= 0 && exponent >= -22) {
        /* Nearly every reading, hence without a call: both numbers are exact (Clinger 1990). */
        value = exponent == 0 ? (double)digits : (double)digits / decimal_powers[-exponent];
    } else if ((count > 19 && significant_digits(first, p) > 19) ||
               !decimal_to_double(digits, exponent, &value)) {
        *is_integer = 0;
        return convert_slowly(bytes, used, number) ? used : 0;
    }
    *number = negative ? -value : value;
    if (*is_integer) {
        if (digits > (uint64_t)INT64_MAX + (uint64_t)negative) {
            *is_integer = 0;
        } else {
            *integer = (int64_t)(negative ? 0 - digits : digits);
        }
    }
    return used;
}
