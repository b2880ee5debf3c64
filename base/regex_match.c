/* Matching of regular expressions: the program is simulated state set by state set.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A match walks the text once and keeps the set of steps that could be active. No backtracking, so
 * no pattern that a stranger sends can take longer than text length times program length (Cox 2007,
 * "Regular Expression Matching Can Be Simple And Fast").
 */
#include "base/regex_program.h"

#include "base/utf8.h"

#include <string.h>

/* A set of steps: a list for walking, and for each step the generation in which it was added. */
struct active {
    uint16_t steps[REGEX_STEPS_MAX];
    size_t count;
};

struct simulation {
    const struct regex *regex;
    uint32_t generation;
    uint32_t seen[REGEX_STEPS_MAX];
    struct active now, next;
    bool matched; /* the set being built holds the last step */
};

/* Adds a step and all that it leads to without a character. */
static void activate(struct simulation *s, struct active *set, uint16_t start, bool at_begin,
                     bool at_end)
{
    uint16_t stack[REGEX_STEPS_MAX + 1];
    size_t depth = 0;
    stack[depth++] = start;
    while (depth > 0) {
        uint16_t at = stack[--depth];
        if (s->seen[at] == s->generation) {
            continue;
        }
        s->seen[at] = s->generation;
        const struct step *step = &s->regex->steps[at];
        switch (step->kind) {
        case STEP_JUMP:
            stack[depth++] = step->first;
            break;
        case STEP_SPLIT:
            /* Each step is expanded once and pushes at most two, so the stack holds at most
             * one more than there are steps. */
            stack[depth++] = step->other;
            stack[depth++] = step->first;
            break;
        case STEP_BEGIN:
        case STEP_END:
            if (step->kind == STEP_BEGIN ? at_begin : at_end) {
                stack[depth++] = (uint16_t)(at + 1);
            }
            break;
        case STEP_MATCH:
            s->matched = true;
            break;
        case STEP_CHAR:
        case STEP_ANY:
        case STEP_CLASS:
            set->steps[set->count++] = at;
            break;
        }
    }
}

static bool accepts(const struct regex *regex, const struct step *step, uint32_t point)
{
    if (step->kind == STEP_CHAR) {
        return step->point == point;
    }
    if (step->kind == STEP_ANY) {
        return true;
    }
    const struct range *range = regex->ranges + step->first;
    bool inside = false;
    for (uint16_t i = 0; i < step->other && !inside; i++) {
        inside = point >= range[i].low && point <= range[i].high;
    }
    return inside != (step->point != 0);
}

bool regex_matches(const struct regex *regex, const char *text, size_t length)
{
    struct simulation s;
    s.regex = regex;
    s.generation = 1;
    memset(s.seen, 0, regex->step_count * sizeof(s.seen[0]));
    s.now.count = 0;
    s.matched = false;
    activate(&s, &s.now, 0, true, length == 0);
    for (size_t at = 0; at < length;) {
        if (s.now.count == 0) {
            return false;
        }
        size_t width = utf8_length(text + at, length - at);
        /* A stray byte is one character that equals none. */
        uint32_t point = width > 0 ? utf8_decode(text + at, width) : 0xFFFFFFFF;
        at += width > 0 ? width : 1;
        s.generation++;
        s.next.count = 0;
        s.matched = false;
        for (size_t i = 0; i < s.now.count; i++) {
            uint16_t step = s.now.steps[i];
            if (accepts(regex, &regex->steps[step], point)) {
                activate(&s, &s.next, (uint16_t)(step + 1), false, at == length);
            }
        }
        memcpy(s.now.steps, s.next.steps, s.next.count * sizeof(s.next.steps[0]));
        s.now.count = s.next.count;
    }
    return s.matched;
}
