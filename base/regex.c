/* Compiling regular expressions by Thompson's construction, for matching in linear time.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/regex.h"

#include "base/check.h"
#include "base/memory.h"
#include "base/regex_program.h"
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

struct compiler {
    const char *cursor;
    const char *end;
    size_t step_count;
    size_t range_count;
    int nesting;
    const char *problem;
    struct step steps[REGEX_STEPS_MAX];
    struct range ranges[REGEX_RANGES_MAX];
};

static bool fail(struct compiler *c, const char *problem)
{
    if (c->problem == NULL) {
        c->problem = problem;
    }
    return false;
}

static bool add_step(struct compiler *c, struct step step)
{
    if (c->step_count == REGEX_STEPS_MAX) {
        return fail(c, "it is too long");
    }
    c->steps[c->step_count++] = step;
    return true;
}

/* Makes room for one step at `at`; everything behind moves by one, targets included. */
static bool insert_step(struct compiler *c, size_t at, struct step step)
{
    if (!add_step(c, (struct step){.kind = STEP_MATCH})) {
        return false;
    }
    memmove(c->steps + at + 1, c->steps + at, (c->step_count - 1 - at) * sizeof(c->steps[0]));
    for (size_t i = at + 1; i < c->step_count; i++) {
        struct step *moved = &c->steps[i];
        bool is_split = moved->kind == STEP_SPLIT;
        if ((is_split || moved->kind == STEP_JUMP) && moved->first >= at) {
            moved->first++;
        }
        if (is_split && moved->other >= at) {
            moved->other++;
        }
    }
    c->steps[at] = step;
    return true;
}

static bool add_range(struct compiler *c, uint32_t low, uint32_t high)
{
    if (c->range_count == REGEX_RANGES_MAX) {
        return fail(c, "it is too long");
    }
    c->ranges[c->range_count++] = (struct range){low, high};
    return true;
}

/* The ranges of \d \w \s; the upper-case letters take the gaps between them. */
static bool add_named_class(struct compiler *c, char name)
{
    static const struct range digits[] = {{'0', '9'}};
    static const struct range words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    static const struct range blanks[] = {{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}};
    char lower = (char)(name | 0x20);
    const struct range *ranges = lower == 'd' ? digits : lower == 'w' ? words : blanks;
    size_t count = lower == 'd'   ? ARRAY_COUNT(digits)
                   : lower == 'w' ? ARRAY_COUNT(words)
                                  : ARRAY_COUNT(blanks);
    uint32_t gap = 0;
    for (size_t i = 0; i < count; i++) {
        bool added = name == lower ? add_range(c, ranges[i].low, ranges[i].high)
                                   : add_range(c, gap, ranges[i].low - 1);
        if (!added) {
            return false;
        }
        gap = ranges[i].high + 1;
    }
    return name == lower || add_range(c, gap, 0x10FFFF);
}

static bool is_class_name(char c)
{
    return c != '\0' && strchr("dwsDWS", c) != NULL;
}

/* One character, possibly escaped; *named is set instead where it is one of \d \w \s. */
static bool read_char(struct compiler *c, uint32_t *point, char *named)
{
    *named = '\0';
    if (*c->cursor == '\\') {
        c->cursor++;
        if (c->cursor == c->end) {
            return fail(c, "it ends in a backslash");
        }
        char escaped = *c->cursor;
        bool letter = (escaped >= 'a' && escaped <= 'z') || (escaped >= 'A' && escaped <= 'Z') ||
                      (escaped >= '0' && escaped <= '9');
        if (is_class_name(escaped)) {
            *named = escaped;
        } else if (escaped == 'n' || escaped == 'r' || escaped == 't') {
            *point = escaped == 'n' ? '\n' : escaped == 'r' ? '\r' : '\t';
        } else if (letter) {
            return fail(c, "this escape is not supported");
        }
        if (letter) {
            c->cursor++;
            return true;
        }
    }
    size_t width = utf8_length(c->cursor, (size_t)(c->end - c->cursor));
    if (width == 0) {
        return fail(c, "it is not valid UTF-8");
    }
    *point = utf8_decode(c->cursor, width);
    c->cursor += width;
    return true;
}

/* [...], the cursor behind the opening bracket. A ] at once, and a - at either end, are literal. */
static bool read_class(struct compiler *c)
{
    struct step step = {.kind = STEP_CLASS, .first = (uint16_t)c->range_count};
    if (c->cursor < c->end && *c->cursor == '^') {
        step.point = 1;
        c->cursor++;
    }
    bool first = true;
    for (;; first = false) {
        if (c->cursor == c->end) {
            return fail(c, "a [ is not closed");
        }
        if (*c->cursor == ']' && !first) {
            c->cursor++;
            break;
        }
        if (c->end - c->cursor >= 2 && memcmp(c->cursor, "[:", 2) == 0) {
            return fail(c, "named classes such as [:alpha:] are not supported");
        }
        uint32_t low;
        char named;
        if (!read_char(c, &low, &named)) {
            return false;
        }
        if (named != '\0') {
            if (!add_named_class(c, named)) {
                return false;
            }
            continue;
        }
        uint32_t high = low;
        if (c->end - c->cursor >= 2 && c->cursor[0] == '-' && c->cursor[1] != ']') {
            c->cursor++;
            if (!read_char(c, &high, &named)) {
                return false;
            }
            if (named != '\0' || high < low) {
                return fail(c, "a range in [ ] runs backwards");
            }
        }
        if (!add_range(c, low, high)) {
            return false;
        }
    }
    step.other = (uint16_t)(c->range_count - step.first);
    return add_step(c, step);
}

static bool read_alternatives(struct compiler *c);

static bool read_group(struct compiler *c)
{
    if (c->cursor < c->end && *c->cursor == '?') {
        if (c->end - c->cursor < 2 || c->cursor[1] != ':') {
            return fail(c, "flags and named groups are not supported");
        }
        c->cursor += 2;
    }
    if (++c->nesting > REGEX_NESTING_MAX) {
        return fail(c, "groups are nested too deeply");
    }
    if (!read_alternatives(c)) {
        return false;
    }
    if (c->cursor == c->end) {
        return fail(c, "a ( is not closed");
    }
    c->cursor++;
    c->nesting--;
    return true;
}

static bool read_atom(struct compiler *c)
{
    switch (*c->cursor) {
    case '(':
        c->cursor++;
        return read_group(c);
    case '[':
        c->cursor++;
        return read_class(c);
    case '.':
        c->cursor++;
        return add_step(c, (struct step){.kind = STEP_ANY});
    case '^':
        c->cursor++;
        return add_step(c, (struct step){.kind = STEP_BEGIN});
    case '$':
        c->cursor++;
        return add_step(c, (struct step){.kind = STEP_END});
    case '*':
    case '+':
    case '?':
        return fail(c, "there is nothing to repeat");
    case '{':
        return fail(c, "{n,m} is not supported; a brace itself is written \\{");
    default:
        break;
    }
    uint32_t point = 0;
    char named;
    if (!read_char(c, &point, &named)) {
        return false;
    }
    if (named == '\0') {
        return add_step(c, (struct step){.kind = STEP_CHAR, .point = point});
    }
    struct step step = {.kind = STEP_CLASS, .first = (uint16_t)c->range_count};
    if (!add_named_class(c, named)) {
        return false;
    }
    step.other = (uint16_t)(c->range_count - step.first);
    return add_step(c, step);
}

/* An atom and what repeats it. */
static bool read_repeated(struct compiler *c)
{
    size_t start = c->step_count;
    if (!read_atom(c)) {
        return false;
    }
    if (c->cursor == c->end || strchr("*+?", *c->cursor) == NULL || *c->cursor == '\0') {
        return true;
    }
    char repeat = *c->cursor++;
    if (c->cursor < c->end && *c->cursor == '?') {
        c->cursor++; /* lazy: the same texts match */
    }
    if (c->cursor < c->end && *c->cursor != '\0' && strchr("*+?", *c->cursor) != NULL) {
        return fail(c, "there is nothing to repeat");
    }
    if (repeat == '+') {
        return add_step(c, (struct step){.kind = STEP_SPLIT,
                                         .first = (uint16_t)start,
                                         .other = (uint16_t)(c->step_count + 1)});
    }
    struct step split = {.kind = STEP_SPLIT, .first = (uint16_t)(start + 1)};
    if (!insert_step(c, start, split)) {
        return false;
    }
    if (repeat == '*' && !add_step(c, (struct step){.kind = STEP_JUMP, .first = (uint16_t)start})) {
        return false;
    }
    c->steps[start].other = (uint16_t)c->step_count;
    return true;
}

/* a|b|c up to the end or a closing bracket. Each bar becomes: split (left, right), left, jump to
 * the end, right; the jumps are chained through `first` until the end is known. */
static bool read_alternatives(struct compiler *c)
{
    const uint16_t none = UINT16_MAX;
    uint16_t last_jump = none;
    size_t start = c->step_count;
    while (c->cursor < c->end && *c->cursor != ')') {
        if (*c->cursor != '|') {
            if (!read_repeated(c)) {
                return false;
            }
            continue;
        }
        c->cursor++;
        struct step split = {.kind = STEP_SPLIT, .first = (uint16_t)(start + 1)};
        struct step jump = {.kind = STEP_JUMP, .first = last_jump};
        if (!insert_step(c, start, split) || !add_step(c, jump)) {
            return false;
        }
        last_jump = (uint16_t)(c->step_count - 1);
        c->steps[start].other = (uint16_t)c->step_count;
        start = c->step_count;
    }
    while (last_jump != none) {
        uint16_t before = c->steps[last_jump].first;
        c->steps[last_jump].first = (uint16_t)c->step_count;
        last_jump = before;
    }
    return true;
}

enum status regex_compile(const char *pattern, size_t length, struct regex **out,
                          struct error *error)
{
    struct compiler c;
    c.cursor = pattern;
    c.end = pattern + length;
    c.step_count = 0;
    c.range_count = 0;
    c.nesting = 0;
    c.problem = NULL;
    if (length > REGEX_BYTES_MAX) {
        fail(&c, "it is longer than 256 bytes");
    } else if (read_alternatives(&c) && c.cursor != c.end) {
        fail(&c, "a ) was never opened");
    } else if (c.problem == NULL) {
        add_step(&c, (struct step){.kind = STEP_MATCH});
    }
    if (c.problem != NULL) {
        error_set(error, STATUS_INVALID, "cannot use the regular expression: %s", c.problem);
        return error_code(error, "bad_regex", NULL);
    }
    size_t steps_bytes = c.step_count * sizeof(c.steps[0]);
    size_t ranges_bytes = c.range_count * sizeof(c.ranges[0]);
    struct regex *regex = mem_alloc(sizeof(*regex) + steps_bytes + ranges_bytes);
    if (regex == NULL) {
        return error_set(error, STATUS_NO_MEMORY,
                         "could not reserve memory for a regular expression");
    }
    regex->step_count = c.step_count;
    regex->range_count = c.range_count;
    memcpy(regex->steps, c.steps, steps_bytes);
    regex->ranges = (struct range *)(void *)(regex->steps + c.step_count);
    memcpy(regex->ranges, c.ranges, ranges_bytes);
    *out = regex;
    return STATUS_OK;
}

void regex_free(struct regex *regex)
{
    mem_free(regex);
}
