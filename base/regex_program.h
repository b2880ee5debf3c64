/* What a regular expression is compiled to: a program of steps. Private to regex.c and
 * regex_match.c. SPDX-License-Identifier: Apache-2.0
 */
#ifndef BASE_REGEX_PROGRAM_H
#define BASE_REGEX_PROGRAM_H

#include "base/regex.h"

#include <stdint.h>

/* A literal costs one step, a star two, a bar two; lazy marks and brackets none. */
#define REGEX_STEPS_MAX   (3 * REGEX_BYTES_MAX + 8)
#define REGEX_RANGES_MAX  (4 * REGEX_BYTES_MAX)
#define REGEX_NESTING_MAX 64

enum step_kind {
    STEP_CHAR,
    STEP_ANY,
    STEP_CLASS,
    STEP_SPLIT,
    STEP_JUMP,
    STEP_BEGIN,
    STEP_END,
    STEP_MATCH
};

struct step {
    enum step_kind kind;
    uint32_t point; /* STEP_CHAR; of STEP_CLASS: 1 where negated */
    uint16_t first; /* target of a jump, one of a split; first range of a class */
    uint16_t other; /* second target of a split; number of ranges of a class */
};

struct range {
    uint32_t low, high;
};

struct regex {
    size_t step_count;
    size_t range_count;
    struct range *ranges; /* behind the steps, in the same block */
    struct step steps[];
};

#endif
