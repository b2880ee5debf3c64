/* What every test program of base needs: cmocka with its includes, and checks of statuses.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_UNIT_BASE_TEST_H
#define TESTS_UNIT_BASE_TEST_H

/* cmocka.h wants these four before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define UNUSED __attribute__((unused))

/* The text says why it failed, which the number would not. */
#define assert_ok(call)                                                                            \
    do {                                                                                           \
        enum status assert_ok_status = (call);                                                     \
        if (assert_ok_status != STATUS_OK) {                                                       \
            fail_msg("%s: %s", #call, status_text(assert_ok_status));                              \
        }                                                                                          \
    } while (0)

#define assert_text(text, expected)                                                                \
    do {                                                                                           \
        assert_string_equal((text)->bytes, expected);                                              \
        assert_int_equal((text)->length, strlen(expected));                                        \
    } while (0)

#endif
