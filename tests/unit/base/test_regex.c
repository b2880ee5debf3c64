/* Tests of regex: tables, the C library as second opinion on random patterns, and linear time.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/regex.h"
#include "tests/unit/base/test.h"
#include "tests/watched.h"

#include <regex.h>
#include <stdio.h>
#include <string.h>

static bool matches(const char *pattern, const char *text)
{
    struct regex *regex = NULL;
    struct error error = {0};
    enum status status = regex_compile(pattern, strlen(pattern), &regex, &error);
    if (status != STATUS_OK) {
        fail_msg("%s: %s", pattern, error.text);
    }
    bool result = regex_matches(regex, text, strlen(text));
    regex_free(regex);
    return result;
}

static const struct {
    const char *pattern;
    const char *text;
    int matches;
} matches_table[] = {
    {"", "", 1},
    {"", "a", 0},
    {"abc", "abc", 1},
    {"abc", "abcd", 0},
    {"abc", "xabc", 0},
    {"abc", "ab", 0},
    {"a.c", "axc", 1},
    {"a.c", "a\nc", 1},
    {"a.c",
     "a\xC3\xA9"
     "c",
     1},
    {"a.c", "ac", 0},
    {"..",
     "\xE2\x82\xAC"
     "x",
     1},
    {".*", "", 1},
    {".*", "anything", 1},
    {".+", "", 0},
    {".+", "x", 1},
    {"a*", "aaaa", 1},
    {"a*", "aab", 0},
    {"z.*", "zone", 1},
    {"z.*", "azone", 0},
    {"a?b", "b", 1},
    {"a?b", "aab", 0},
    {"a|b", "a", 1},
    {"a|b", "b", 1},
    {"a|b", "ab", 0},
    {"ab|cd|ef", "cd", 1},
    {"ab|cd|ef", "ad", 0},
    {"a|", "", 1},
    {"|a", "a", 1},
    {"(a|b)*c", "ababc", 1},
    {"(a|b)*c", "abdc", 0},
    {"(ab)+", "abab", 1},
    {"(ab)+", "aba", 0},
    {"(?:ab)?c", "abc", 1},
    {"(?:ab)?c", "c", 1},
    {"((a))", "a", 1},
    {"()", "", 1},
    {"()*a", "a", 1},
    {"(a*)*", "aaa", 1},
    {"(a*)*b", "aaa", 0},
    {"(|a)+b", "aab", 1},
    {"[abc]", "b", 1},
    {"[abc]", "d", 0},
    {"[^abc]", "d", 1},
    {"[^abc]", "a", 0},
    {"[a-c]+", "abcab", 1},
    {"[a-c]", "-", 0},
    {"[a-]", "-", 1},
    {"[-a]", "-", 1},
    {"[]a]", "]", 1},
    {"[^]a]", "]", 0},
    {"[^]a]", "b", 1},
    {"[\\]]", "]", 1},
    {"[\\d_]+", "1_2", 1},
    {"[\xC3\xA0-\xC3\xBC]", "\xC3\xA9", 1},
    {"[^a]", "\xF0\x9F\x98\x80", 1},
    {"[.]", ".", 1},
    {"[.]", "x", 0},
    {"[*+?]", "+", 1},
    {"\\d+", "0123", 1},
    {"\\d+", "12a", 0},
    {"\\D", "5", 0},
    {"\\D", "\xC3\xA9", 1},
    {"\\w+", "aZ_9", 1},
    {"\\w", "-", 0},
    {"\\W", "-", 1},
    {"\\W", "_", 0},
    {"\\s\\S", " x", 1},
    {"\\s", "\v", 0},
    {"\\.", ".", 1},
    {"\\.", "x", 0},
    {"a\\*", "a*", 1},
    {"\\(\\)\\[\\]\\{\\}\\|\\\\", "()[]{}|\\", 1},
    {"\\n", "\n", 1},
    {"^abc$", "abc", 1},
    {"a^b", "ab", 0},
    {"(^a|b)c", "bc", 1},
    {"a$|b", "a", 1},
    {"a$b", "ab", 0},
    {"^*a", "a", 1},
    {"a*?b", "aab", 1},
    {"a+?", "", 0},
    {"a+?", "aa", 1},
    {"a??", "", 1},
    {"a??b", "ab", 1},
    {"10\\.0\\.0\\..*", "10.0.0.7", 1},
    {"node-[0-9]+\\.example", "node-17.example", 1},
    {"}", "}", 1},
    {"a]", "a]", 1},
    {"prod|staging", "prod", 1},
    {"a.", "a\xFF", 1},
    {"a\xC3\xA9*", "a\xC3\xA9\xC3\xA9", 1},
    {"x*y*z*", "xxzz", 1},
    {"(a|ab)(c|bcd)", "abcd", 1},
};

static void what_matches(UNUSED void **state)
{
    for (size_t i = 0; i < sizeof(matches_table) / sizeof(matches_table[0]); i++) {
        if (matches(matches_table[i].pattern, matches_table[i].text) != matches_table[i].matches) {
            fail_msg("%s on %s", matches_table[i].pattern, matches_table[i].text);
        }
    }
}

static void what_is_refused(UNUSED void **state)
{
    static const char *const rows[] = {
        "(",   ")",    "a)",   "(a",    "[",        "[a",     "[]",    "[^]",     "*",
        "+a",  "?",    "a**",  "a+*",   "a?*",      "a*??",   "(*a)",  "|*",      "\\",
        "a\\", "a{2}", "{",    "(?i)a", "(?P<n>a)", "(?",     "[b-a]", "[a-\\d]", "[[:alpha:]]",
        "\\b", "\\1",  "\\pL", "\\x41", "\xFF",     "[\xC3]", "a\xC3", "\\A",     "[\\b]",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct regex *regex = NULL;
        struct error error = {0};
        if (regex_compile(rows[i], strlen(rows[i]), &regex, &error) != STATUS_INVALID) {
            fail_msg("accepted: %s", rows[i]);
        }
        assert_string_equal(error.code, "bad_regex");
    }
}

/* A random pattern of the part that POSIX and we read alike; bounded in depth. */
static void random_pattern(struct random *random, char *out, size_t *used, int depth)
{
    uint64_t parts = 1 + random_below(random, 4);
    for (uint64_t i = 0; i < parts; i++) {
        switch (random_below(random, depth > 0 ? 9 : 7)) {
        case 0:
            out[(*used)++] = '.';
            break;
        case 1:
            *used += (size_t)sprintf(out + *used, "%s", random_below(random, 2) ? "[ab]" : "[^b]");
            break;
        case 2:
            *used += (size_t)sprintf(out + *used, "%s", random_below(random, 2) ? "[b-d]" : "\\.");
            break;
        case 7:
        case 8:
            out[(*used)++] = '(';
            random_pattern(random, out, used, depth - 1);
            if (random_below(random, 2)) {
                out[(*used)++] = '|';
                random_pattern(random, out, used, depth - 1);
            }
            out[(*used)++] = ')';
            break;
        default:
            out[(*used)++] = (char)('a' + random_below(random, 3));
            break;
        }
        if (random_below(random, 3) == 0) {
            out[(*used)++] = "*+?"[random_below(random, 3)];
        }
    }
}

static void the_c_library_agrees(UNUSED void **state)
{
    struct random random;
    random_init(&random, 20261122, 1);
    int matched = 0, compared = 0;
    for (int round = 0; round < 4000; round++) {
        char pattern[2000];
        size_t used = 0;
        random_pattern(&random, pattern, &used, 3);
        if (used > 60) {
            continue;
        }
        pattern[used] = '\0';
        char anchored[2100];
        sprintf(anchored, "^(%s)$", pattern);
        regex_t reference;
        assert_int_equal(regcomp(&reference, anchored, REG_EXTENDED | REG_NOSUB), 0);
        struct regex *regex;
        struct error error;
        assert_ok(regex_compile(pattern, used, &regex, &error));
        for (int i = 0; i < 25; i++) {
            char text[16];
            size_t length = random_below(&random, 12);
            for (size_t k = 0; k < length; k++) {
                text[k] = "abcd."[random_below(&random, 5)];
            }
            text[length] = '\0';
            bool expected = regexec(&reference, text, 0, NULL, 0) == 0;
            if (regex_matches(regex, text, length) != expected) {
                fail_msg("%s on %s should be %d", pattern, text, expected);
            }
            matched += expected;
            compared++;
        }
        regex_free(regex);
        regfree(&reference);
    }
    assert_true(compared > 50000);
    assert_true(matched > compared / 50);
}

static void no_pattern_takes_long(UNUSED void **state)
{
    static const char *const patterns[] = {"(a*)*b",
                                           "(a|a)*b",
                                           "(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)aaaaaaaa",
                                           "(.*)(.*)(.*)(.*)(.*)(.*)x",
                                           "((((((a*)*)*)*)*)*)*b",
                                           "(a|b|ab)*c"};
    char text[4096];
    memset(text, 'a', sizeof(text));
    int64_t start = clock_monotonic_ns();
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        struct regex *regex;
        struct error error;
        assert_ok(regex_compile(patterns[i], strlen(patterns[i]), &regex, &error));
        assert_false(regex_matches(regex, text, sizeof(text)));
        regex_free(regex);
    }
    assert_true(clock_monotonic_ns() - start < 2000000000);
}

static void sizes_are_bounded(UNUSED void **state)
{
    struct regex *regex;
    struct error error = {0};
    char pattern[300];
    memset(pattern, 'a', sizeof(pattern));
    assert_ok(regex_compile(pattern, REGEX_BYTES_MAX, &regex, &error));
    assert_true(regex_matches(regex, pattern, REGEX_BYTES_MAX));
    assert_false(regex_matches(regex, pattern, REGEX_BYTES_MAX - 1));
    regex_free(regex);
    assert_int_equal(regex_compile(pattern, REGEX_BYTES_MAX + 1, &regex, &error), STATUS_INVALID);
    /* What costs the most steps, ranges and nesting a byte. */
    static const char *const worst[] = {"|", "a|", "a*", "\\W", "(|)", "(", ".|"};
    for (size_t i = 0; i < sizeof(worst) / sizeof(worst[0]); i++) {
        size_t unit = strlen(worst[i]), used = 0;
        for (; used + unit <= REGEX_BYTES_MAX; used += unit) {
            memcpy(pattern + used, worst[i], unit);
        }
        if (regex_compile(pattern, used, &regex, &error) == STATUS_OK) {
            regex_matches(regex, "some text", 9);
            regex_free(regex);
        } else {
            assert_string_equal(worst[i], "(");
        }
    }
}

static void random_bytes_do_no_harm(UNUSED void **state)
{
    struct random random;
    random_init(&random, 20261122, 2);
    int accepted = 0;
    for (int round = 0; round < WATCHED_OR(10000, 100000); round++) {
        char pattern[64];
        size_t length = random_below(&random, 24);
        for (size_t i = 0; i < length; i++) {
            pattern[i] = "ab()[]|*+?.\\^$-{}dwW:\xC3\xA9\xFF"[random_below(&random, 24)];
        }
        struct regex *regex;
        struct error error;
        if (regex_compile(pattern, length, &regex, &error) == STATUS_OK) {
            accepted++;
            regex_matches(regex, "ab()d\xC3\xA9 w", 9);
            regex_matches(regex, pattern, length);
            regex_free(regex);
        }
    }
    assert_true(accepted > 1000);
}

static void no_memory_is_a_status(UNUSED void **state)
{
    size_t before = mem_bytes_in_use();
    struct regex *regex;
    struct error error = {0};
    mem_fault_set(1, 0);
    assert_int_equal(regex_compile("a.*", 3, &regex, &error), STATUS_NO_MEMORY);
    mem_fault_set(0, 0);
    assert_int_equal(mem_bytes_in_use(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_matches),          cmocka_unit_test(what_is_refused),
        cmocka_unit_test(the_c_library_agrees),  cmocka_unit_test(no_pattern_takes_long),
        cmocka_unit_test(sizes_are_bounded),     cmocka_unit_test(random_bytes_do_no_harm),
        cmocka_unit_test(no_memory_is_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
