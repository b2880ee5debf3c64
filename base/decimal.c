/* Decimal numbers: correctly rounded doubles from digits, and the shortest digits of a double.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Readings lie within 10^-5 to 10^15 almost always. There both directions are exact in 128-bit
 * integers: m 10^-k is one division with a remainder that says which way to round, and a double
 * times a power of ten is one product and a shift. Everything else goes through the C library,
 * which is correct and ten times slower. Rejected: the tables of Ryu and Eisel-Lemire, ten
 * kilobytes for the rare rest.
 */
#include "base/decimal.h"

#include "base/check.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 wide;

static const uint64_t powers[20] = {
    1u,
    10u,
    100u,
    1000u,
    10000u,
    100000u,
    1000000u,
    10000000u,
    100000000u,
    1000000000u,
    10000000000u,
    100000000000u,
    1000000000000u,
    10000000000000u,
    100000000000000u,
    1000000000000000u,
    10000000000000000u,
    100000000000000000u,
    1000000000000000000u,
    10000000000000000000u,
};

/* 10^0 ... 10^22 are doubles exactly. */
const double decimal_powers[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* The 128-bit value above 2^62 as a double: the low half only matters as "more than nothing". */
static double wide_to_double(wide value)
{
    uint64_t high = (uint64_t)(value >> 64);
    if (high == 0) {
        return (double)(uint64_t)value;
    }
    int shift = 64 - __builtin_clzll(high);
    uint64_t kept = (uint64_t)(value >> shift);
    uint64_t lost = (uint64_t)value & (shift == 64 ? UINT64_MAX : (UINT64_C(1) << shift) - 1);
    return ldexp((double)(kept | (lost != 0)), shift);
}

/* digits / 10^k for k in 1 ... 19: both are shifted to fill 64 bits, so that the quotient has 63 or
 * 64 bits, and the remainder sets the last one, far below the place where a double rounds. */
static double divide_by_power(uint64_t digits, int k)
{
    int digits_shift = __builtin_clzll(digits);
    int power_shift = __builtin_clzll(powers[k]);
    uint64_t divisor = powers[k] << power_shift;
    wide dividend = (wide)(digits << digits_shift) << 63;
    uint64_t quotient = (uint64_t)(dividend / divisor);
    uint64_t rest = (uint64_t)(dividend - (wide)quotient * divisor);
    double rounded = (double)(quotient | (rest != 0));
    /* 2^-(63 + digits_shift - power_shift), built from its bits. */
    uint64_t bits = (uint64_t)(1023 - 63 - digits_shift + power_shift) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof(scale));
    return rounded * scale;
}

bool decimal_to_double(uint64_t digits, int exponent, double *result)
{
    if (exponent < -19 || exponent > 19) {
        if (digits == 0) {
            *result = 0.0;
            return true;
        }
        return false;
    }
    if (digits <= (UINT64_C(1) << 53)) {
        /* Clinger 1990: both operands are exact, so the one operation rounds correctly. */
        double exact = (double)digits;
        *result =
            exponent < 0 ? exact / decimal_powers[-exponent] : exact * decimal_powers[exponent];
        return true;
    }
    *result = exponent < 0 ? divide_by_power(digits, -exponent)
                           : wide_to_double((wide)digits * powers[exponent]);
    return true;
}

static const char digit_pairs[] = "00010203040506070809101112131415161718192021222324"
                                  "25262728293031323334353637383940414243444546474849"
                                  "50515253545556575859606162636465666768697071727374"
                                  "75767778798081828384858687888990919293949596979899";

static int count_digits(uint64_t value)
{
    /* 1233 / 4096 is log10(2) closely enough for 64 bits. */
    int bits = 64 - __builtin_clzll(value | 1);
    int guess = bits * 1233 >> 12;
    return guess + (guess < 20 && value >= powers[guess]) + (value == 0);
}

/* Exactly `count` digits, zeros in front. */
static void write_digits(char *out, uint64_t value, int count)
{
    while (count >= 2) {
        uint64_t rest = value / 100;
        memcpy(out + count - 2, digit_pairs + 2 * (value - rest * 100), 2);
        value = rest;
        count -= 2;
    }
    if (count == 1) {
        out[0] = (char)('0' + value % 10);
    }
}

static size_t write_unsigned(char *out, uint64_t value)
{
    int count = count_digits(value);
    write_digits(out, value, count);
    return (size_t)count;
}

size_t decimal_write_int(char *out, int64_t value)
{
    if (value >= 0) {
        return write_unsigned(out, (uint64_t)value);
    }
    out[0] = '-';
    return 1 + write_unsigned(out + 1, 0 - (uint64_t)value);
}

/* digits * 10^-places, for places of 0 ... 22 and digits > 0, without zeros at the end. */
static size_t write_fixed(char *out, uint64_t digits, int places)
{
    while (places > 0 && digits % 10 == 0) {
        digits /= 10;
        places--;
    }
    if (places == 0) {
        return write_unsigned(out, digits);
    }
    int count = count_digits(digits);
    if (count <= places) {
        memcpy(out, "0.", 2);
        memset(out + 2, '0', (size_t)(places - count));
        write_digits(out + 2 + places - count, digits, count);
        return (size_t)(2 + places);
    }
    char *at = out + count + 1;
    for (; places >= 2; places -= 2) { /* behind the point, from the end */
        uint64_t rest = digits / 100;
        at -= 2;
        memcpy(at, digit_pairs + 2 * (digits - rest * 100), 2);
        digits = rest;
    }
    if (places == 1) {
        *--at = (char)('0' + digits % 10);
        digits /= 10;
    }
    *--at = '.';
    write_digits(out, digits, (int)(at - out));
    return (size_t)(count + 1);
}

/* printf's %g as JSON writes it: a point whatever the locale, and 1e22 instead of 1e+22. */
static size_t write_general(char *out, double value, int digits)
{
    char printed[48];
    int length = snprintf(printed, sizeof(printed), "%.*g", digits, value);
    size_t used = 0;
    for (int i = 0; i < length; i++) {
        char c = printed[i];
        if (c == 'e') {
            out[used++] = c;
            if (printed[i + 1] == '-') {
                out[used++] = '-';
            }
            i += 2;
            while (i + 1 < length && printed[i] == '0') {
                i++;
            }
            c = printed[i];
        } else if (c != '-' && (c < '0' || c > '9')) {
            c = '.';
        }
        out[used++] = c;
    }
    return used;
}

static size_t write_slowly(char *out, double value)
{
    char printed[48];
    /* 15 digits always survive a double, except where it is subnormal and has fewer bits. */
    int digits = fabs(value) < DBL_MIN ? 1 : 15;
    for (; digits < 17; digits++) {
        (void)snprintf(printed, sizeof(printed), "%.*g", digits, value);
        if (strtod(printed, NULL) == value) {
            break;
        }
    }
    return write_general(out, value, digits);
}

/* round(value * 10^places), ties to even, for a positive value below 2^63 / 10^places; exact,
 * because the product of a 53-bit number and 10^places fits in 128 bits. */
static uint64_t scale_and_round(double value, int places)
{
    int exponent;
    double fraction = frexp(value, &exponent);
    wide product = (wide)(uint64_t)(fraction * 0x1p53);
    exponent -= 53;
    if (places > 19) {
        product *= powers[places - 19];
        places = 19;
    }
    product *= powers[places];
    if (exponent >= 0) {
        return (uint64_t)(product << exponent);
    }
    int shift = -exponent;
    if (shift > 127) {
        return 0;
    }
    wide kept = product >> shift;
    wide lost = product - (kept << shift);
    wide half = (wide)1 << (shift - 1);
    return (uint64_t)kept + (lost > half || (lost == half && (kept & 1)));
}

/* The multiple of a power of ten next to a value of 1 ... 10^15, ties to even as in printf. */
static uint64_t round_to_power(double value, uint64_t power)
{
    uint64_t whole = (uint64_t)value;
    uint64_t quotient = whole / power;
    uint64_t rest = whole - quotient * power;
    bool more = value > (double)whole; /* a fraction lies above the tie */
    bool up = rest > power / 2 || (rest == power / 2 && (more || (quotient & 1)));
    return (quotient + up) * power;
}

/* floor(log10(value)) of 10^-5 ... 10^16, found by comparison: a logarithm may be one off. */
static int decimal_exponent(double value)
{
    int exponent = 0;
    if (value >= 1.0) {
        while (exponent < 16 && value >= decimal_powers[exponent + 1]) {
            exponent++;
        }
        return exponent;
    }
    /* Each is the double nearest to the decimal, hence the first one that counts as at least it. */
    static const double small[] = {1e-1, 1e-2, 1e-3, 1e-4, 1e-5};
    while (value < small[exponent]) {
        exponent++;
    }
    return -exponent - 1;
}

size_t decimal_write_double(char *out, double value)
{
    CHECK(isfinite(value));
    if (value == 0.0) {
        out[0] = '0';
        return 1;
    }
    size_t sign = value < 0.0;
    double positive = sign ? -value : value;
    out[0] = '-';
    if (positive < 0x1p53 && positive == (double)(int64_t)positive) {
        return sign + write_unsigned(out + sign, (uint64_t)positive);
    }
    if (!(positive >= 1e-5 && positive < 1e15)) {
        return write_slowly(out, value);
    }
    /* Most readings have few decimals. m / 10^k rounds correctly, so equality proves the digits; one
     * decimal too many is a zero at the end, which is left out. */
    for (int places = 2; places <= 6; places += 2) {
        double scaled = positive * decimal_powers[places];
        if (scaled >= 0x1p53) {
            break;
        }
        double whole = (double)(int64_t)(scaled + 0.5);
        if (fabs(scaled - whole) <= scaled * 0x1p-51 &&
            whole / decimal_powers[places] == positive) {
            return sign + write_fixed(out + sign, (uint64_t)whole, places);
        }
    }
    /* The first of 15, 16, 17 digits that reads back: fewer than 15 come out as trailing zeros. */
    int first = 14 - decimal_exponent(positive);
    for (int places = first < 0 ? 0 : first; places <= first + 2; places++) {
        uint64_t digits = scale_and_round(positive, places);
        double back;
        if (places <= 19 && decimal_to_double(digits, -places, &back) && back == positive) {
            return sign + write_fixed(out + sign, digits, places);
        }
    }
    return write_slowly(out, value);
}

size_t decimal_write_double_digits(char *out, double value, int digits)
{
    CHECK(isfinite(value));
    CHECK(digits >= 1 && digits <= 17);
    if (value == 0.0) {
        out[0] = '0';
        return 1;
    }
    size_t sign = value < 0.0;
    double positive = sign ? -value : value;
    if (!(positive >= 1e-5 && positive < 1e15)) {
        return write_general(out, value, digits);
    }
    out[0] = '-';
    int places = digits - 1 - decimal_exponent(positive);
    if (places < 0) {
        return sign + write_unsigned(out + sign, round_to_power(positive, powers[-places]));
    }
    return sign + write_fixed(out + sign, scale_and_round(positive, places), places);
}
