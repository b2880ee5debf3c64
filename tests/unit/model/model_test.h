/* What the test programs of training and serving need: cmocka, statuses with their text, series.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_UNIT_MODEL_MODEL_TEST_H
#define TESTS_UNIT_MODEL_MODEL_TEST_H

/* cmocka.h wants these four before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/model.h"

#include <math.h>

#define UNUSED __attribute__((unused))

/* Fails with the error's own text. Needs a `struct error error` in scope. */
#define assert_status(call, expected)                                                              \
    do {                                                                                           \
        enum status assert_status_got = (call);                                                    \
        if (assert_status_got != (expected)) {                                                     \
            fail_msg("%s: %s (%s)", #call, status_text(assert_status_got),                         \
                     assert_status_got == STATUS_OK ? "" : error.text);                            \
        }                                                                                          \
    } while (0)
#define assert_ok(call) assert_status(call, STATUS_OK)

#define assert_close(got, want, tolerance)                                                         \
    do {                                                                                           \
        double assert_close_got = (got);                                                           \
        double assert_close_want = (want);                                                         \
        if (!(fabs(assert_close_got - assert_close_want) <= (tolerance))) {                        \
            fail_msg("%s = %.17g, not %.17g", #got, assert_close_got, assert_close_want);          \
        }                                                                                          \
    } while (0)

static inline struct model_series plain_series(const double *values, size_t count, int64_t step_ms)
{
    return (struct model_series){.values = values,
                                 .count = count,
                                 .step_ms = step_ms,
                                 .minimum = -INFINITY,
                                 .maximum = INFINITY};
}

#endif
