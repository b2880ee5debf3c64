/* Regular expressions in linear time: the part of RE2's syntax that selectors use, fully anchored.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Understood: literals, . (any character), * + ? (and their lazy forms, which match the same), |,
 * ( ) and (?: ), [a-z] and [^a-z], \d \w \s \D \W \S, \n \r \t, a backslash before anything that is
 * not a letter or digit, ^ and $. Not understood, and refused by name: {n,m}, flags such as (?i),
 * other escapes. Characters are those of UTF-8.
 */
#ifndef BASE_REGEX_H
#define BASE_REGEX_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

#define REGEX_BYTES_MAX 256

struct regex;

/* STATUS_INVALID (code bad_regex) where the pattern is wrong or too long, STATUS_NO_MEMORY. */
enum status regex_compile(const char *pattern, size_t length, struct regex **out,
                          struct error *error) MUST_USE;
void regex_free(struct regex *regex);

/* Whether the pattern matches the whole text. Time: text length times pattern length, at worst. Any
 * thread; `regex` is not changed. */
bool regex_matches(const struct regex *regex, const char *text, size_t length);

#endif
