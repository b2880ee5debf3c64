/* The end of a failed assertion.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *expression, const char *file, int line)
{
    /* Not through the log: its lock may be what is broken. */
    (void)fprintf(stderr, "%s:%d: check failed: %s\n", file, line, expression);
    (void)fflush(stderr);
    abort();
}
