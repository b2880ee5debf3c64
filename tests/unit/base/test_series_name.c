/* Tests of series_name: the canonical form, its limits, and the way there and back for random
 * names. SPDX-License-Identifier: Apache-2.0
 */
#include "base/random.h"
#include "base/series_name.h"
#include "base/utf8.h"
#include "tests/unit/base/test.h"
#include "tests/watched.h"

#include <stdio.h>
#include <string.h>

static struct slice slice_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static void write_puts_labels_in_order(UNUSED void **state)
{
    struct series_label labels[4] = {{slice_of("zone"), slice_of("eu")},
                                     {slice_of("a"), slice_of("q\"b\\s\nn")},
                                     {slice_of("empty"), slice_of("")},
                                     {slice_of("a.b-c_d"), slice_of("{x=y,z}")}};
    char out[SERIES_TEXT_MAX + 1];
    size_t length;
    struct error error;
    assert_ok(series_name_write(slice_of("boiler.temp"), labels, 4, out, &length, &error));
    out[length] = '\0';
    assert_string_equal(out, "boiler.temp{a=\"q\\\"b\\\\s\\nn\",a.b-c_d=\"{x=y,z}\",zone=\"eu\"}");
    assert_memory_equal(labels[0].key.bytes, "a", 1);
    struct series_label none[1] = {{slice_of("empty"), slice_of("")}};
    assert_ok(series_name_write(slice_of("m"), none, 1, out, &length, &error));
    assert_int_equal(length, 1);
}

static void what_users_type(UNUSED void **state)
{
    static const struct {
        const char *typed;
        const char *canonical;
    } rows[] = {
        {"up", "up"},
        {"  up ", "up"},
        {"up{}", "up"},
        {"up { } ", "up"},
        {"boiler temp", "boiler temp"},
        {"a:b:c", "a:b:c"},
        {"gr\xC3\xB6\xC3\x9F"
         "e",
         "gr\xC3\xB6\xC3\x9F"
         "e"},
        {"5m", "5m"},
        {"a\xC2\xA0z", "a\xC2\xA0z"},
        {"a[0]", "a[0]"},
        {"up{b=\"2\",a=\"1\"}", "up{a=\"1\",b=\"2\"}"},
        {" up { b = \"2\" , a = \"1\" , } ", "up{a=\"1\",b=\"2\"}"},
        {"up{a=''}", "up"},
        {"up{a='x\"y'}", "up{a=\"x\\\"y\"}"},
        {"up{a=`x\\d`}", "up{a=\"x\\\\d\"}"},
        {"up{a=\"x\\ny\\\\z\\\"\"}", "up{a=\"x\\ny\\\\z\\\"\"}"},
        {"{\"up\"}", "up"},
        {"{\"up\",a=\"1\"}", "up{a=\"1\"}"},
        {"{a=\"1\",\"up\"}", "up{a=\"1\"}"},
        {"{__name__=\"up\",a=\"1\"}", "up{a=\"1\"}"},
        {"up{\"a.b\"=\"1\"}", "up{a.b=\"1\"}"},
        {"{\"a,b\"}", "{\"a,b\"}"},
        {"a,b", "{\"a,b\"}"},
        {"a=b", "{\"a=b\"}"},
        {"{\"a{b}\",c=\"d\"}", "{\"a{b}\",c=\"d\"}"},
        {"{\" a \"}", "{\" a \"}"},
        {"{\"q\\\"\\\\\"}", "{\"q\\\"\\\\\"}"},
        {"say \"hi\"", "{\"say \\\"hi\\\"\"}"},
        {"a}", "{\"a}\"}"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[SERIES_TEXT_MAX + 1];
        size_t length = 0;
        struct error error = {0};
        if (series_name_parse(rows[i].typed, strlen(rows[i].typed), out, &length, &error) !=
            STATUS_OK) {
            fail_msg("%s: %s", rows[i].typed, error.text);
        }
        out[length] = '\0';
        assert_string_equal(out, rows[i].canonical);
        /* Canonical text is its own canonical form. */
        assert_ok(
            series_name_parse(rows[i].canonical, strlen(rows[i].canonical), out, &length, &error));
        out[length] = '\0';
        assert_string_equal(out, rows[i].canonical);
    }
}

static void what_is_refused(UNUSED void **state)
{
    static const struct {
        const char *typed;
        const char *code;
    } rows[] = {
        {"", "bad_series_name"},
        {"   ", "bad_series_name"},
        {"{}", "bad_series_name"},
        {"{\"\"}", "bad_series_name"},
        {"{a=\"1\"}", "bad_series_name"},
        {"{\"\",\"up\"}", "bad_series_name"},
        {"{__name__=\"\",__name__=\"up\"}", "bad_series_name"},
        {"up{", "bad_series_name"},
        {"up{a", "bad_series_name"},
        {"up{a=", "bad_series_name"},
        {"up{a=\"", "bad_series_name"},
        {"up{a=\"1\"", "bad_series_name"},
        {"up{a=1}", "bad_series_name"},
        {"up{a=\"1\"}x", "bad_series_name"},
        {"up{a=\"1\" b=\"2\"}", "bad_series_name"},
        {"up{,}", "bad_series_name"},
        {"up{a=\"1\",,b=\"2\"}", "bad_series_name"},
        {"up{a!=\"1\"}", "bad_series_name"},
        {"up{a=~\"1\"}", "bad_series_name"},
        {"up{a=\"\\d\"}", "bad_series_name"},
        {"up{a=\"x\\\"}", "bad_series_name"},
        {"up{\"down\"}", "bad_series_name"},
        {"{\"up\",\"down\"}", "bad_series_name"},
        {"up{__name__=\"down\"}", "bad_series_name"},
        {"up\x01", "bad_series_name"},
        {"up\xC3", "bad_series_name"},
        {"u\np", "bad_series_name"},
        {"up\xC2\x85", "bad_series_name"},
        {"up\xC2\x9F", "bad_series_name"},
        {"up{a=\"\x01\"}", "bad_label"},
        {"up{a=\"\\t\"}", "bad_label"},
        {"up{a=\"\xFF\"}", "bad_label"},
        {"up{1a=\"x\"}", "bad_label"},
        {"up{a b=\"x\"}", "bad_series_name"},
        {"up{a$=\"x\"}", "bad_label"},
        {"up{\xC3\xA9=\"x\"}", "bad_label"},
        {"up{a=\"1\",a=\"2\"}", "duplicate_label"},
        {"up{a=\"1\",b=\"3\",a=\"1\"}", "duplicate_label"},
        {"{\"up\"", "bad_series_name"},
        {"{\"up\"}{}", "bad_series_name"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[SERIES_TEXT_MAX];
        size_t length = 0;
        struct error error = {0};
        if (series_name_parse(rows[i].typed, strlen(rows[i].typed), out, &length, &error) !=
            STATUS_INVALID) {
            fail_msg("accepted: %s as %.*s", rows[i].typed, (int)length, out);
        }
        if (error.code == NULL || strcmp(error.code, rows[i].code) != 0) {
            fail_msg("%s: code %s (%s)", rows[i].typed, error.code, error.text);
        }
        for (size_t at = 0; error.text[at] != '\0';) {
            size_t width = utf8_length(error.text + at, strlen(error.text + at));
            assert_true(width > 0 && (unsigned char)error.text[at] >= 0x20);
            at += width;
        }
    }
}

static void limits(UNUSED void **state)
{
    static char big[600], values[40][256], keys[40][8];
    char out[SERIES_TEXT_MAX];
    size_t length;
    struct error error = {0};
    memset(big, 'n', sizeof(big));
    assert_ok(series_name_write((struct slice){big, 512}, NULL, 0, out, &length, &error));
    assert_int_equal(length, 512);
    assert_int_equal(series_name_write((struct slice){big, 513}, NULL, 0, out, &length, &error),
                     STATUS_INVALID);
    struct series_label one[1] = {{{big, 64}, {big, 256}}};
    assert_ok(series_name_write(slice_of("m"), one, 1, out, &length, &error));
    one[0].key.length = 65;
    assert_int_equal(series_name_write(slice_of("m"), one, 1, out, &length, &error),
                     STATUS_INVALID);
    one[0] = (struct series_label){{big, 64}, {big, 257}};
    assert_int_equal(series_name_write(slice_of("m"), one, 1, out, &length, &error),
                     STATUS_INVALID);
    one[0] = (struct series_label){{big, 0}, {big, 1}};
    assert_int_equal(series_name_write(slice_of("m"), one, 1, out, &length, &error),
                     STATUS_INVALID);
    assert_string_equal(error.code, "bad_label");

    struct series_label labels[40];
    for (int i = 0; i < 40; i++) {
        snprintf(keys[i], sizeof(keys[i]), "k%02d", i);
        memset(values[i], 'v', sizeof(values[i]));
        labels[i] = (struct series_label){slice_of(keys[i]), {values[i], 10}};
    }
    assert_ok(series_name_write(slice_of("m"), labels, 32, out, &length, &error));
    assert_int_equal(series_name_write(slice_of("m"), labels, 33, out, &length, &error),
                     STATUS_INVALID);
    assert_string_equal(error.code, "too_many_labels");

    struct series_label reserved[1] = {{slice_of("__name__"), slice_of("x")}};
    assert_int_equal(series_name_write(slice_of("m"), reserved, 1, out, &length, &error),
                     STATUS_INVALID);
    assert_string_equal(error.code, "bad_label");

    /* The same bounds for what is typed; a zero byte is no end. */
    static char typed[SERIES_TEXT_MAX + 1];
    memset(typed, ' ', sizeof(typed));
    typed[0] = 'm';
    assert_ok(series_name_parse(typed, SERIES_TEXT_MAX, out, &length, &error));
    assert_int_equal(series_name_parse(typed, SERIES_TEXT_MAX + 1, out, &length, &error),
                     STATUS_INVALID);
    assert_int_equal(series_name_parse("m\0n", 3, out, &length, &error), STATUS_INVALID);
    size_t used = (size_t)snprintf(typed, sizeof(typed), "m{");
    for (int i = 0; i < 40; i++) {
        used += (size_t)snprintf(typed + used, sizeof(typed) - used, "k%02d='v',", i);
        if (i == 31 || i == 32 || i == 39) {
            typed[used] = '}';
            assert_int_equal(series_name_parse(typed, used + 1, out, &length, &error),
                             i == 31 ? STATUS_OK : STATUS_INVALID);
        }
    }

    /* Up to exactly 4096 bytes: m{ 15 labels of 4 + 3 + 256 - 1, the last filled up. */
    for (int escapes = 0; escapes < 3; escapes++) {
        for (size_t last = 0; last < 256; last++) {
            for (int i = 0; i < 16; i++) {
                memset(values[i], 'v', 256);
                labels[i] =
                    (struct series_label){slice_of(keys[i]), {values[i], i < 15 ? 256 : last + 1}};
            }
            for (int i = 0; i < escapes; i++) {
                values[15][last < (size_t)i ? 0 : last - (size_t)i] = '"';
            }
            size_t extra = 0;
            for (size_t k = 0; k <= last; k++) {
                extra += values[15][k] == '"';
            }
            size_t expected = 1 + 16 * 7 + 15 * 256 + last + 1 + extra + 1;
            enum status status = series_name_write(slice_of("m"), labels, 16, out, &length, &error);
            assert_int_equal(status, expected <= SERIES_TEXT_MAX ? STATUS_OK : STATUS_INVALID);
            if (status == STATUS_OK) {
                assert_int_equal(length, expected);
            }
        }
    }
}

static size_t random_text(struct random *random, char *out, size_t maximum)
{
    static const char *const pieces[] = {"a",
                                         "b",
                                         "Z",
                                         "0",
                                         "_",
                                         ".",
                                         "-",
                                         ":",
                                         " ",
                                         "{",
                                         "}",
                                         "\"",
                                         "\\",
                                         ",",
                                         "=",
                                         "\xC3\xA9",
                                         "\xE2\x82\xAC",
                                         "\xF0\x9F\x98\x80",
                                         "'",
                                         "n",
                                         "#",
                                         "/"};
    size_t used = 0;
    for (uint64_t count = random_below(random, 12); count > 0; count--) {
        const char *piece = pieces[random_below(random, sizeof(pieces) / sizeof(pieces[0]))];
        if (used + strlen(piece) <= maximum) {
            memcpy(out + used, piece, strlen(piece));
            used += strlen(piece);
        }
    }
    return used;
}

static void random_names_come_back(UNUSED void **state)
{
    struct random random;
    random_init(&random, 20261122, 1);
    for (int round = 0; round < WATCHED_OR(20000, 200000); round++) {
        char name_bytes[64], values[8][64], keys[8][4];
        struct slice name = {name_bytes, random_text(&random, name_bytes, 60)};
        if (name.length == 0) {
            continue;
        }
        struct series_label labels[8];
        size_t count = random_below(&random, 8);
        for (size_t i = 0; i < count; i++) {
            /* Distinct keys, in an order that changes. */
            keys[i][0] = (char)('a' + (i * 5 + (size_t)round) % 8);
            keys[i][1] = (char)('a' + random_below(&random, 26));
            size_t value_length = random_text(&random, values[i], 60);
            if (value_length > 0 && random_below(&random, 5) == 0) {
                values[i][0] = '\n';
                while (value_length > 1 && ((unsigned char)values[i][1] & 0xC0) == 0x80) {
                    memmove(values[i] + 1, values[i] + 2, --value_length - 1);
                }
            }
            labels[i] = (struct series_label){{keys[i], 2}, {values[i], value_length}};
        }
        char out[SERIES_TEXT_MAX], again[SERIES_TEXT_MAX], scratch[SERIES_TEXT_MAX];
        size_t length, again_length;
        struct error error = {0};
        assert_ok(series_name_write(name, labels, count, out, &length, &error));
        if (series_name_parse(out, length, again, &again_length, &error) != STATUS_OK) {
            fail_msg("%.*s: %s", (int)length, out, error.text);
        }
        assert_int_equal(again_length, length);
        assert_memory_equal(again, out, length);
        struct slice split_name;
        struct series_label split[SERIES_LABELS_MAX];
        size_t split_count;
        if (series_name_split(out, length, scratch, &split_name, split, &split_count, &error) !=
            STATUS_OK) {
            fail_msg("%.*s: %s", (int)length, out, error.text);
        }
        assert_int_equal(split_name.length, name.length);
        assert_memory_equal(split_name.bytes, name.bytes, name.length);
        size_t at = 0;
        for (size_t i = 0; i < count; i++) {
            if (labels[i].value.length == 0) {
                continue;
            }
            assert_true(at < split_count);
            assert_int_equal(split[at].key.length, 2);
            assert_memory_equal(split[at].key.bytes, labels[i].key.bytes, 2);
            assert_int_equal(split[at].value.length, labels[i].value.length);
            assert_memory_equal(split[at].value.bytes, labels[i].value.bytes,
                                labels[i].value.length);
            at++;
        }
        assert_int_equal(at, split_count);
    }
}

static void damaged_text_does_no_harm(UNUSED void **state)
{
    static const char canonical[] = "{\"a,\\\"b\",c=\"d\\\\e\",f=\"g\"}";
    struct random random;
    random_init(&random, 20261122, 2);
    int accepted = 0;
    for (int round = 0; round < WATCHED_OR(20000, 200000); round++) {
        char text[sizeof(canonical)];
        memcpy(text, canonical, sizeof(canonical));
        size_t length = 1 + random_below(&random, sizeof(canonical) - 1);
        for (uint64_t edits = random_below(&random, 4); edits > 0; edits--) {
            text[random_below(&random, length)] = "{}\"\\,=ab"[random_below(&random, 8)];
        }
        char scratch[SERIES_TEXT_MAX], out[SERIES_TEXT_MAX];
        struct slice name;
        struct series_label labels[SERIES_LABELS_MAX];
        size_t count, out_length;
        struct error error;
        accepted +=
            series_name_split(text, length, scratch, &name, labels, &count, &error) == STATUS_OK;
        if (series_name_parse(text, length, out, &out_length, &error) == STATUS_OK) {
            assert_ok(series_name_split(out, out_length, scratch, &name, labels, &count, &error));
        }
    }
    assert_true(accepted > 0);
}

static void only_canonical_text_is_split(UNUSED void **state)
{
    static const char *const rows[] = {
        "",
        "{",
        "{}",
        "a{",
        "a{}",
        "a{b}",
        "a{b=}",
        "a{b=\"}",
        "a{b=\"c\"",
        "a{b=\"c\"}x",
        "a{b=\"c\",}",
        "a{b=\"\\x\"}",
        "{a=\"b\"}",
        "{\"a\"",
        "{\"a\",}",
        "{\"a\"b=\"c\"}",
        "a{=\"c\"}",
        "a{b=\"c\\\"}",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char scratch[SERIES_TEXT_MAX];
        struct slice name;
        struct series_label labels[SERIES_LABELS_MAX];
        size_t count;
        struct error error = {0};
        if (series_name_split(rows[i], strlen(rows[i]), scratch, &name, labels, &count, &error) ==
            STATUS_OK) {
            fail_msg("accepted: %s", rows[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_puts_labels_in_order),
        cmocka_unit_test(what_users_type),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(limits),
        cmocka_unit_test(random_names_come_back),
        cmocka_unit_test(damaged_text_does_no_harm),
        cmocka_unit_test(only_canonical_text_is_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
