/* Names of metrics and labels as Prometheus has them, made from those of OpenTelemetry.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/otlp_names.h"

#include "base/check.h"

#include <string.h>

#define WORDS_MAX (OTLP_NAME_MAX / 2 + 8)

/* A name on its way: its words, which stand in the message or in the tables. */
struct words {
    struct slice items[WORDS_MAX];
    size_t count;
};

struct unit {
    const char *code, *word;
};

/* Units as UCUM writes them. */
static const struct unit units[] = {{"d", "days"},          {"h", "hours"},
                                    {"min", "minutes"},     {"s", "seconds"},
                                    {"ms", "milliseconds"}, {"us", "microseconds"},
                                    {"ns", "nanoseconds"},  {"By", "bytes"},
                                    {"KiBy", "kibibytes"},  {"MiBy", "mebibytes"},
                                    {"GiBy", "gibibytes"},  {"TiBy", "tibibytes"},
                                    {"KBy", "kilobytes"},   {"MBy", "megabytes"},
                                    {"GBy", "gigabytes"},   {"TBy", "terabytes"},
                                    {"m", "meters"},        {"V", "volts"},
                                    {"A", "amperes"},       {"J", "joules"},
                                    {"W", "watts"},         {"g", "grams"},
                                    {"Cel", "celsius"},     {"Hz", "hertz"},
                                    {"%", "percent"},       {"1", ""}};

static const struct unit per_units[] = {{"s", "second"}, {"m", "minute"}, {"h", "hour"},
                                        {"d", "day"},    {"w", "week"},   {"mo", "month"},
                                        {"y", "year"}};

static bool is_word_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_same(struct slice a, struct slice b)
{
    return a.length == b.length && memcmp(a.bytes, b.bytes, a.length) == 0;
}

static bool has_word(const struct words *words, struct slice word)
{
    for (size_t i = 0; i < words->count; i++) {
        if (is_same(words->items[i], word)) {
            return true;
        }
    }
    return false;
}

/* False: too many. */
static bool add_word(struct words *words, struct slice word)
{
    if (words->count == WORDS_MAX) {
        return false;
    }
    words->items[words->count++] = word;
    return true;
}

static bool add_words(struct words *words, struct slice text, bool colons)
{
    for (size_t i = 0; i < text.length;) {
        size_t from = i;
        while (i < text.length &&
               (is_word_byte(text.bytes[i]) || (colons && text.bytes[i] == ':'))) {
            i++;
        }
        if (i > from && !add_word(words, (struct slice){text.bytes + from, i - from})) {
            return false;
        }
        i += i == from;
    }
    return true;
}

/* The word is to be the last one, and to stand there once. */
static bool end_with(struct words *words, const char *text)
{
    struct slice word = {text, strlen(text)};
    size_t kept = 0;
    for (size_t i = 0; i < words->count; i++) {
        if (!is_same(words->items[i], word)) {
            words->items[kept++] = words->items[i];
        }
    }
    words->count = kept;
    return add_word(words, word);
}

static struct slice trim(struct slice text)
{
    while (text.length > 0 && text.bytes[0] == ' ') {
        text.bytes++;
        text.length--;
    }
    while (text.length > 0 && text.bytes[text.length - 1] == ' ') {
        text.length--;
    }
    return text;
}

/* One side of a unit, behind `per` where that is not empty. What is in braces is a remark. */
static bool add_unit(struct words *words, struct slice code, const struct unit *known, size_t count,
                     const char *per)
{
    code = trim(code);
    struct slice word = code;
    if (memchr(code.bytes, '{', code.length) || memchr(code.bytes, '}', code.length)) {
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        if (is_same(code, (struct slice){known[i].code, strlen(known[i].code)})) {
            word = (struct slice){known[i].word, strlen(known[i].word)};
        }
    }
    if (word.length == 0 || has_word(words, word)) {
        return true;
    }
    return (per[0] == '\0' || add_word(words, (struct slice){per, strlen(per)})) &&
           add_words(words, word, false);
}

static size_t join(const struct words *words, char out[OTLP_NAME_MAX])
{
    size_t used = 0;
    char first = words->count > 0 ? words->items[0].bytes[0] : 'a';
    if (first >= '0' && first <= '9') {
        out[used++] = '_';
    }
    for (size_t i = 0; i < words->count; i++) {
        struct slice word = words->items[i];
        if (used + word.length + 1 > OTLP_NAME_MAX) {
            return 0;
        }
        if (i > 0) {
            out[used++] = '_';
        }
        memcpy(out + used, word.bytes, word.length);
        used += word.length;
    }
    return used;
}

size_t otlp_metric_name(struct slice name, struct slice unit, enum otlp_ending ending,
                        char out[OTLP_NAME_MAX])
{
    struct words words = {.count = 0};
    if (name.length > OTLP_NAME_MAX || !add_words(&words, name, true) || words.count == 0) {
        return 0;
    }
    const char *slash = memchr(unit.bytes, '/', unit.length);
    size_t before = slash ? (size_t)(slash - unit.bytes) : unit.length;
    bool fits = add_unit(&words, (struct slice){unit.bytes, before}, units, ARRAY_COUNT(units), "");
    if (fits && slash) {
        struct slice rest = {slash + 1, unit.length - before - 1};
        fits = add_unit(&words, rest, per_units, ARRAY_COUNT(per_units), "per");
    }
    if (fits && ending == OTLP_TOTAL) {
        fits = end_with(&words, "total");
    }
    if (fits && ending == OTLP_RATIO && is_same(unit, (struct slice){"1", 1})) {
        fits = end_with(&words, "ratio");
    }
    return fits ? join(&words, out) : 0;
}

size_t otlp_label_key(struct slice key, char *out)
{
    size_t used = 0;
    if (key.length > 0 && key.bytes[0] >= '0' && key.bytes[0] <= '9') {
        memcpy(out, "key_", 4);
        used = 4;
    }
    for (size_t i = 0; i < key.length; i++) {
        if (is_word_byte(key.bytes[i])) {
            out[used++] = key.bytes[i];
        } else if (used == 0 || out[used - 1] != '_') {
            out[used++] = '_';
        }
    }
    return used;
}
