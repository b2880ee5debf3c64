/* Assertions for our own mistakes: always on, debug only, and at compile time.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The world's mistakes are statuses, never assertions. CHECK stays on in release builds. SLOW_CHECK
 * (whole tensor finite, array sorted) is compiled only with -DFORECASTD_DEBUG.
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

/* Prints file, line and expression to standard error and aborts. */
_Noreturn void check_failed(const char *expression, const char *file, int line);

#define CHECK(expression)                                                                          \
    ((expression) ? (void)0 : check_failed(#expression, __FILE__, __LINE__))

#ifdef FORECASTD_DEBUG
#define SLOW_CHECK(expression) CHECK(expression)
#else
#define SLOW_CHECK(expression) ((void)sizeof(expression))
#endif

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
