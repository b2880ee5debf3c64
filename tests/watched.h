/* For builds in which every step is watched or counted: sanitizers, valgrind, coverage.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A step costs two to fifty times as much there, and what such a build is to find stands in each
 * way through the code, not in how often it is gone. So what a test repeats for the sake of chance
 * or statistics, and every judgement of speed, is left to the plain build:
 *
 *     enum { BODIES = WATCHED_OR(3000, 20000) };
 *     if (!WATCHED) { assert_true(seconds < 1); }
 */
#ifndef TESTS_WATCHED_H
#define TESTS_WATCHED_H

#include <unistd.h>

#ifdef FORECASTD_SANITIZED
#define WATCHED 1
#else
#define WATCHED 0
#endif
#define WATCHED_OR(watched, plain) (WATCHED ? (watched) : (plain))

/* Where counts are written at the end. */
#ifdef FORECASTD_COUNTED
#define COUNTED        1
#define WATCHED_COUNTS "build/coverage"
void __gcov_dump(void);
#else
#define COUNTED        0
#define WATCHED_COUNTS "/nowhere"
#endif

/* _exit for the child of a test, which must not run what its parent left to do at its end; but what
 * it did is counted. */
_Noreturn static inline void watched_exit(int code)
{
#ifdef FORECASTD_COUNTED
    __gcov_dump();
#endif
    _exit(code);
}

#endif
