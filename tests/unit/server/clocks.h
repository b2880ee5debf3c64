/* Clocks that a test sets; waiting still takes real time.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_UNIT_SERVER_CLOCKS_H
#define TESTS_UNIT_SERVER_CLOCKS_H

#include <stdatomic.h>
#include <stdint.h>

#define MINUTE_MS INT64_C(60000)

extern atomic_llong wall_ahead_ms;      /* what the wall clock is set ahead */
extern atomic_llong monotonic_ahead_ms; /* what has gone by besides real time */

int64_t real_wall_ms(void);

void clocks_replace(void);
void clocks_restore(void);

#endif
