/* Tests of time_zone: against the C library in another process's zone, rules, hostile files.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/base/test.h"

#include "base/clock.h"
#include "base/time_zone.h"
#include "base/time_zone_rule.h"

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define HOUR_MS INT64_C(3600000)

static int64_t moment(const char *text)
{
    struct error error = {0};
    int64_t time_ms = 0;
    assert_int_equal(clock_parse(text, strlen(text), 1, &time_ms, &error), STATUS_OK);
    return time_ms;
}

static const struct time_zone *zone_of(const char *name)
{
    const struct time_zone *zone = NULL;
    struct error error = {0};
    assert_int_equal(time_zone_find(name, &zone, &error), STATUS_OK);
    assert_non_null(zone);
    return zone;
}

/* Both switches of a year in the north, half hours, the south, a zone without summer time. */
static void knows_both_switches(UNUSED void **state)
{
    const struct time_zone *berlin = zone_of("Europe/Berlin");
    assert_int_equal(time_zone_offset_ms(berlin, moment("2026-03-29T00:59:59Z")), HOUR_MS);
    assert_int_equal(time_zone_offset_ms(berlin, moment("2026-03-29T01:00:00Z")), 2 * HOUR_MS);
    assert_int_equal(time_zone_offset_ms(berlin, moment("2026-10-25T00:59:59Z")), 2 * HOUR_MS);
    assert_int_equal(time_zone_offset_ms(berlin, moment("2026-10-25T01:00:00Z")), HOUR_MS);
    assert_int_equal(time_zone_next_change_ms(berlin, moment("2026-07-01T00:00:00Z")),
                     moment("2026-10-25T01:00:00Z"));
    /* Beyond the years that files list. */
    assert_int_equal(time_zone_offset_ms(berlin, moment("2090-07-01T00:00:00Z")), 2 * HOUR_MS);
    assert_int_equal(time_zone_offset_ms(zone_of("Asia/Kolkata"), 0), 11 * HOUR_MS / 2);
    assert_int_equal(
        time_zone_offset_ms(zone_of("Australia/Sydney"), moment("2027-01-01T00:00:00Z")),
        11 * HOUR_MS);
    assert_int_equal(time_zone_offset_ms(zone_of("Asia/Tokyo"), moment("2026-07-01T00:00:00Z")),
                     9 * HOUR_MS);
    assert_int_equal(
        time_zone_next_change_ms(zone_of("Asia/Tokyo"), moment("2026-07-01T00:00:00Z")), INT64_MAX);
    assert_int_equal(time_zone_offset_ms(NULL, 0), 0);
}

/* Every nine hours and a bit from 1971 to 2060, in zones of all kinds: what localtime says. */
static void agrees_with_the_c_library(UNUSED void **state)
{
    static const char *const names[] = {
        "Europe/Berlin",  "America/New_York",  "Australia/Lord_Howe", "America/Sao_Paulo",
        "Asia/Kathmandu", "Africa/Casablanca", "Pacific/Chatham"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct time_zone *zone = zone_of(names[i]);
        assert_int_equal(setenv("TZ", names[i], 1), 0); /* this program has one thread here */
        tzset();
        for (int64_t second = INT64_C(31536000); second < INT64_C(2840140800); second += 32803) {
            time_t t = (time_t)second;
            struct tm local;
            assert_non_null(localtime_r(&t, &local));
            if (time_zone_offset_ms(zone, second * 1000) != (int64_t)local.tm_gmtoff * 1000) {
                fail_msg("%s at %lld: %lld s, not %ld", names[i], (long long)second,
                         (long long)time_zone_offset_ms(zone, second * 1000) / 1000,
                         local.tm_gmtoff);
            }
        }
    }
    assert_int_equal(unsetenv("TZ"), 0);
}

static void refuses_names_that_are_none(UNUSED void **state)
{
    static const char *const names[] = {
        "Europe/Berlinn", "../../etc/passwd", "/etc/passwd",    "a b",           "Europe",
        "zone.tab",       "Mars/Olympus",     "Europe//Berlin", "Europe/Berlin/"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct time_zone *zone = NULL;
        struct error error = {0};
        assert_int_equal(time_zone_find(names[i], &zone, &error), STATUS_INVALID);
        assert_non_null(strstr(error.text, names[i]));
        assert_null(zone);
        assert_null(time_zone_or_utc(names[i]));
    }
    const struct time_zone *zone = NULL;
    struct error error = {0};
    assert_int_equal(time_zone_find("UTC", &zone, &error), STATUS_OK);
    assert_null(zone);
}

/* Without a descriptor nobody knows whether there is such a zone: that is said, and not kept. */
static void what_cannot_be_read_now_is_no_zone_that_is_none(UNUSED void **state)
{
    struct rlimit before;
    struct error error = {0};
    const struct time_zone *zone = NULL;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    enum status found = time_zone_find("Asia/Tashkent", &zone, &error);
    struct error again = {0};
    enum status prepared = time_zone_prepare("Asia/Tashkent", &again);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(found, STATUS_BUSY);
    assert_int_equal(prepared, STATUS_BUSY);
    assert_null(zone);
    assert_non_null(strstr(error.text, "Asia/Tashkent"));
    assert_non_null(strstr(error.text, strerror(EMFILE)));
    assert_int_equal(time_zone_prepare("Asia/Tashkent", &again), STATUS_OK);
    /* Once it is known no descriptor is needed. */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    zone = time_zone_or_utc("Asia/Tashkent");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(time_zone_offset_ms(zone, moment("2026-07-01T00:00:00Z")), 5 * HOUR_MS);
    /* One that is gone is UTC, as is none. */
    assert_int_equal(time_zone_prepare("Mars/Olympus", &again), STATUS_OK);
    assert_int_equal(time_zone_prepare(NULL, &again), STATUS_OK);
}

static int finds_file(const char *path, UNUSED const struct stat *stat, int kind,
                      UNUSED struct FTW *walk)
{
    const char *name = path + strlen("/usr/share/zoneinfo/");
    const struct time_zone *zone = NULL;
    struct error error = {0};
    if (kind == FTW_F && time_zone_find(name, &zone, &error) != STATUS_OK) {
        assert_int_equal(error.status, STATUS_INVALID); /* a list of zones, say; not "too many" */
    }
    return 0;
}

/* Whoever sets one zone after the other leaves room for the others' zones. */
static void has_room_for_every_name(UNUSED void **state)
{
    assert_int_equal(nftw("/usr/share/zoneinfo", finds_file, 16, 0), 0);
    assert_non_null(zone_of("Pacific/Apia"));
}

/* Cut anywhere, or with any byte changed: refused or read, never more. */
static void survives_broken_files(UNUSED void **state)
{
    unsigned char bytes[8192], broken[8192];
    FILE *file = fopen("/usr/share/zoneinfo/Europe/Berlin", "rb");
    assert_non_null(file);
    size_t length = fread(bytes, 1, sizeof(bytes), file);
    assert_int_equal(fclose(file), 0);
    for (size_t cut = 0; cut < length; cut++) {
        struct time_zone *zone = NULL;
        struct error error = {0};
        assert_int_equal(time_zone_read(bytes, cut, &zone, &error), STATUS_INVALID);
    }
    for (size_t at = 0; at < length; at++) {
        struct time_zone *zone = NULL;
        struct error error = {0};
        memcpy(broken, bytes, length);
        broken[at] ^= 0xff;
        if (time_zone_read(broken, length, &zone, &error) == STATUS_OK) {
            for (int64_t time_ms = -4000000000000; time_ms < 8000000000000;
                 time_ms += 77777777777) {
                int64_t offset_ms = time_zone_offset_ms(zone, time_ms);
                assert_true(offset_ms > -200 * HOUR_MS && offset_ms < 200 * HOUR_MS);
                (void)time_zone_next_change_ms(zone, time_ms);
            }
        }
        time_zone_free(zone);
    }
}

static void reads_rules(UNUSED void **state)
{
    struct time_zone_rule rule;
    assert_true(time_zone_rule_parse("<+0330>-3:30", &rule));
    assert_int_equal(rule.standard_s, 12600);
    assert_true(time_zone_rule_parse("EST5EDT,M3.2.0,M11.1.0", &rule));
    assert_int_equal(time_zone_rule_offset_s(&rule, moment("2050-03-13T06:59:59Z")), -5 * 3600);
    assert_int_equal(time_zone_rule_offset_s(&rule, moment("2050-03-13T07:00:00Z")), -4 * 3600);
    assert_int_equal(time_zone_rule_offset_s(&rule, moment("2050-11-06T06:00:00Z")), -5 * 3600);
    assert_true(time_zone_rule_parse("AAA0BBB,J60/0,300/1:30:15", &rule));
    assert_int_equal(time_zone_rule_offset_s(&rule, moment("2048-02-29T12:00:00Z")), 0);
    assert_int_equal(time_zone_rule_offset_s(&rule, moment("2048-03-01T00:00:00Z")), 3600);
    static const char *const bad[] = {"",
                                      "X",
                                      "EST",
                                      "EST5EDT",
                                      "EST5EDT,M13.1.0,M1.1.0",
                                      "EST5EDT,M3.2.0",
                                      "EST5EDT,M3.2.0,M11.1.0x",
                                      "<EST5",
                                      "EST200"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(time_zone_rule_parse(bad[i], &rule));
    }
}

/* Times of up to a week put a change into the year beside it: the offset is another from there on,
 * not from the first of January. */
static void rules_may_change_in_the_year_beside(UNUSED void **state)
{
    struct time_zone_rule rule;
    int64_t turn = moment("2050-01-01T00:00:00Z");
    assert_true(time_zone_rule_parse("AAA0BBB,0/-167,J100/0", &rule));
    assert_int_equal(time_zone_rule_offset_s(&rule, turn - 167 * HOUR_MS - 1), 0);
    assert_int_equal(time_zone_rule_offset_s(&rule, turn - 167 * HOUR_MS), 3600);
    assert_int_equal(time_zone_rule_offset_s(&rule, turn - 1), 3600);
    assert_int_equal(time_zone_rule_offset_s(&rule, turn), 3600);
    assert_true(time_zone_rule_next_ms(&rule, turn - HOUR_MS) == moment("2050-04-09T23:00:00Z"));
    assert_true(time_zone_rule_parse("AAA0BBB,J100,J365/167", &rule));
    int64_t end = moment("2050-01-06T22:00:00Z");
    assert_int_equal(time_zone_rule_offset_s(&rule, turn), 3600);
    assert_int_equal(time_zone_rule_offset_s(&rule, end - 1), 3600);
    assert_int_equal(time_zone_rule_offset_s(&rule, end), 0);
    assert_true(time_zone_rule_next_ms(&rule, turn) == end);
    /* Both in the year before: the next ones lie two years ahead. */
    assert_true(time_zone_rule_parse("AAA0BBB,0/-167,1/-167", &rule));
    assert_true(time_zone_rule_next_ms(&rule, turn - HOUR_MS) ==
                moment("2051-01-01T00:00:00Z") - 167 * HOUR_MS);
    /* Summer all year, as files write it. */
    assert_true(time_zone_rule_parse("EST5EDT,0/0,J365/25", &rule));
    for (int64_t hour = -48; hour < 48; hour++) {
        assert_int_equal(time_zone_rule_offset_s(&rule, turn + hour * HOUR_MS), -4 * 3600);
    }
}

static void rules_hold_to_the_last_moment(UNUSED void **state)
{
    struct time_zone_rule rule;
    assert_true(time_zone_rule_parse("EST5EDT,M3.2.0,M11.1.0", &rule));
    assert_true(time_zone_rule_next_ms(&rule, INT64_MAX - 1) == INT64_MAX);
    assert_true(time_zone_rule_next_ms(&rule, INT64_MIN) > INT64_MIN);
    assert_true(time_zone_rule_offset_s(&rule, INT64_MIN) < 0);
}

static void *ask_many(void *context)
{
    static const char *const names[] = {"Europe/Paris", "Europe/Rome", "Asia/Seoul", "Asia/Dubai"};
    for (int i = 0; i < 2000; i++) {
        const struct time_zone *zone = time_zone_or_utc(names[i % 4]);
        if (zone == NULL || time_zone_offset_ms(zone, 0) != (i % 4 == 3   ? 4
                                                             : i % 4 == 2 ? 9
                                                                          : 1) *
                                                                HOUR_MS) {
            return context;
        }
    }
    return NULL;
}

static void threads_share_zones(UNUSED void **state)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask_many, threads), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *wrong = NULL;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_both_switches),
        cmocka_unit_test(agrees_with_the_c_library),
        cmocka_unit_test(refuses_names_that_are_none),
        cmocka_unit_test(what_cannot_be_read_now_is_no_zone_that_is_none),
        cmocka_unit_test(has_room_for_every_name),
        cmocka_unit_test(survives_broken_files),
        cmocka_unit_test(reads_rules),
        cmocka_unit_test(rules_may_change_in_the_year_beside),
        cmocka_unit_test(rules_hold_to_the_last_moment),
        cmocka_unit_test(threads_share_zones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
