/* Decimal numbers: correctly rounded doubles from digits, and the shortest digits of a double.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Shared by text (printing) and json_reader (parsing); callers use those.
 */
#ifndef BASE_DECIMAL_H
#define BASE_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DECIMAL_BYTES_MAX 32

/* 10^0 ... 10^22, all that a double holds exactly. */
extern const double decimal_powers[23];

/* digits * 10^exponent, correctly rounded. Returns false outside |exponent| <= 19, where the caller
 * must take the slow way. */
bool decimal_to_double(uint64_t digits, int exponent, double *result);

/* Each writes a number without a zero byte and returns its length (at most DECIMAL_BYTES_MAX). */
size_t decimal_write_int(char *out, int64_t value);

/* The shortest decimal that reads back as the same double; -0 is written as 0. `value` is finite.
 */
size_t decimal_write_double(char *out, double value);

/* Rounded to at most `digits` (1 to 17) significant digits, trailing zeros dropped. */
size_t decimal_write_double_digits(char *out, double value, int digits);

#endif
