/* Wall clock and monotonic clock behind one replaceable source; reading and writing of times.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Time stamps are 64-bit milliseconds since 1970-01-01T00:00:00Z, always UTC.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

int64_t clock_wall_ms(void);
int64_t clock_monotonic_ns(void);

/* Processor time of the calling thread. */
int64_t clock_processor_ns(void);

/* Tests: replace a clock (NULL restores it). Waiting still takes real time. */
void clock_wall_replace(int64_t (*source)(void));
void clock_monotonic_replace(int64_t (*source)(void));

void clock_sleep_ms(int64_t duration_ms);

/* RFC 3339 with an offset ("2026-11-22T13:40:00Z", "...+02:00", a blank instead of T, fractions).
 * Where `offset_required` is 0 a time without offset (and a bare date) is UTC, and what databases
 * print is taken too: no seconds, +02, +0200. Digits beyond milliseconds are cut off. */
enum status clock_parse(const char *text, size_t length, int offset_required, int64_t *time_ms,
                        struct error *error) MUST_USE;

/* "30s", "10m", "24h", "7d", "500ms", "1h30m", also w and y (365 days); units from long to short.
 * Negative numbers, fractions and a number without unit are refused, except "0". */
enum status clock_parse_duration(const char *text, size_t length, int64_t *duration_ms,
                                 struct error *error) MUST_USE;

/* Civil date from days since the epoch and back (proleptic Gregorian). weekday: 0 = Monday. */
struct civil {
    int year, month, day, hour, minute, second, millisecond, weekday;
};
void clock_civil(int64_t time_ms, struct civil *civil);

/* Writes "2026-11-22T13:40:00Z" (at most 32 bytes with the zero byte); returns its length. */
size_t clock_format(int64_t time_ms, char buffer[32]);

#endif
