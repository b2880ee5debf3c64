/* Tests of log: both forms, levels, quoting, the limit of rates, and whole lines from many threads.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/clock.h"
#include "base/json_reader.h"
#include "base/log.h"
#include "base/memory.h"
#include "tests/unit/base/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char captured[1 << 20];
static int saved_stderr;
static int capture_file;

static int64_t fixed_wall(void)
{
    return 1795354740000;
}

static void capture_begin(void)
{
    char path[] = "/tmp/test_log.XXXXXX";
    capture_file = mkstemp(path);
    assert_true(capture_file >= 0);
    unlink(path);
    saved_stderr = dup(STDERR_FILENO);
    dup2(capture_file, STDERR_FILENO);
}

static const char *capture_end(void)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    ssize_t got = pread(capture_file, captured, sizeof(captured) - 1, 0);
    assert_true(got >= 0);
    captured[got] = '\0';
    close(capture_file);
    return captured;
}

static int setup(UNUSED void **state)
{
    clock_wall_replace(fixed_wall);
    log_set_json(0);
    log_set_level(LOG_INFO);
    return 0;
}

static void a_line_of_logfmt(UNUSED void **state)
{
    capture_begin();
    log_info("scheduler", "champion replaced", "group=%s model=%s", "5m", "5m-7");
    assert_string_equal(capture_end(), "time=2026-11-22T13:39:00Z level=info module=scheduler "
                                       "msg=\"champion replaced\" group=5m model=5m-7\n");
    capture_begin();
    log_error("storage", "it broke", "%s", "");
    assert_string_equal(capture_end(),
                        "time=2026-11-22T13:39:00Z level=error module=storage msg=\"it broke\"\n");
}

static void a_line_of_json(UNUSED void **state)
{
    char buffer[100];
    log_set_json(1);
    capture_begin();
    log_warning("http", "bad request", "peer=%s name=%s count=%d text=%s", "10.0.0.1",
                log_quote("a \"b\"\n", 6, buffer, sizeof(buffer)), 7, "007");
    assert_string_equal(
        capture_end(),
        "{\"time\":\"2026-11-22T13:39:00Z\",\"level\":\"warning\",\"module\":\"http\","
        "\"msg\":\"bad request\",\"peer\":\"10.0.0.1\",\"name\":\"a \\\"b\\\"\\u000a\","
        "\"count\":7,\"text\":\"007\"}\n");
    capture_begin();
    log_warning("http", "words only", "%s", "no pairs \"here\" = at all");
    assert_string_equal(
        capture_end(),
        "{\"time\":\"2026-11-22T13:39:00Z\",\"level\":\"warning\",\"module\":\"http\","
        "\"msg\":\"words only\",\"detail\":\"no pairs \\\"here\\\" = at all\"}\n");
    log_set_json(0);
}

static void json_is_valid_whatever_is_logged(UNUSED void **state)
{
    static const char *const details[] = {
        "",
        " ",
        "=",
        "a=",
        "=b",
        "a=\"",
        "a=\"\\",
        "a=\"x\"y=z",
        "a=\xFF",
        "a=1 b",
        "a=1e",
        "a=-",
        "\"",
        "a=\"\\q\"",
        "x=\x01\x02",
        "a=[1]",
        "a={}",
        "a=null",
        "k=\"\\ud800\"",
    };
    log_set_json(1);
    for (size_t i = 0; i < sizeof(details) / sizeof(details[0]); i++) {
        /* The message is a place of its own, so the limit of rates stays out of it. */
        capture_begin();
        log_line(LOG_ERROR, "m", details[i], "%s", details[i]);
        const char *line = capture_end();
        struct json_reader reader;
        json_reader_init(&reader, line, strlen(line));
        assert_int_equal(json_next(&reader), JSON_OBJECT_BEGIN);
        assert_int_equal(json_skip_value(&reader), JSON_OBJECT_END);
        if (json_next(&reader) != JSON_END) {
            fail_msg("not JSON: %s", line);
        }
    }
    log_set_json(0);
}

static void levels_filter(UNUSED void **state)
{
    log_set_level(LOG_WARNING);
    capture_begin();
    log_debug("m", "one", "%d", 1);
    log_info("m", "two", "%d", 1);
    log_warning("m", "three", "%d", 1);
    log_error("m", "four", "%d", 1);
    const char *lines = capture_end();
    assert_null(strstr(lines, "one"));
    assert_null(strstr(lines, "two"));
    assert_non_null(strstr(lines, "three"));
    assert_non_null(strstr(lines, "four"));
    log_set_level(LOG_DEBUG);
    capture_begin();
    log_debug("m", "five", "%d", 1);
    assert_non_null(strstr(capture_end(), "five"));
}

static size_t count_of(const char *text, const char *wanted)
{
    size_t count = 0;
    for (; (text = strstr(text, wanted)) != NULL; text++) {
        count++;
    }
    return count;
}

static void log_here(int i)
{
    log_info("m", "again", "i=%d", i);
}

static void repetition_is_limited_and_counted(UNUSED void **state)
{
    /* Start right behind a full second, so that the hundred calls fall into one. */
    clock_sleep_ms(1000 - clock_monotonic_ns() / 1000000 % 1000 + 2);
    capture_begin();
    for (int i = 0; i < 100; i++) {
        log_here(i);
    }
    log_info("m", "another place", "i=%d", 1);
    clock_sleep_ms(1010);
    log_here(100);
    const char *lines = capture_end();
    assert_int_equal(count_of(lines, "msg=\"again\""), 11);
    assert_int_equal(count_of(lines, "another place"), 1);
    assert_non_null(strstr(lines, "i=100 dropped=90\n"));
}

static void what_was_dropped_is_a_member_of_json(UNUSED void **state)
{
    log_set_json(1);
    clock_sleep_ms(1000 - clock_monotonic_ns() / 1000000 % 1000 + 2);
    capture_begin();
    for (int i = 0; i < 13; i++) {
        log_here(i);
    }
    clock_sleep_ms(1010);
    log_here(13);
    const char *lines = capture_end();
    log_set_json(0);
    assert_int_equal(count_of(lines, "\n"), 11);
    assert_non_null(strstr(lines, "\"i\":13,\"dropped\":3}\n"));
}

static void one_event_is_one_line(UNUSED void **state)
{
    capture_begin();
    log_info("m", "forged", "a=%s", "x\ntime=2026 level=error msg=\"forged\"\r\x1B[2J");
    const char *line = capture_end();
    assert_int_equal(count_of(line, "\n"), 1);
    assert_null(strchr(line, '\x1B'));
}

static void quoting_stays_in_the_buffer(UNUSED void **state)
{
    const char *text = "a\"b\\c\n\xC3\xB6\xFF\xE2\x82\xAC end";
    for (size_t capacity = 0; capacity < 60; capacity++) {
        char *buffer = malloc(capacity + 1);
        buffer[capacity] = '#';
        if (capacity > 0) {
            log_quote(text, strlen(text), buffer, capacity);
            size_t length = strlen(buffer);
            assert_true(length < capacity);
            if (capacity >= 3) {
                assert_int_equal(buffer[0], '"');
                assert_int_equal(buffer[length - 1], '"');
                struct json_reader reader;
                json_reader_init(&reader, buffer, length);
                assert_int_equal(json_next(&reader), JSON_STRING);
                assert_int_equal(json_next(&reader), JSON_END);
            }
        } else {
            log_quote(text, strlen(text), buffer, capacity);
        }
        assert_int_equal(buffer[capacity], '#');
        free(buffer);
    }
}

static void without_memory_the_message_still_goes_out(UNUSED void **state)
{
    capture_begin();
    mem_fault_set(1, 1);
    log_error("m", "no memory left", "a=%d", 1);
    mem_fault_set(0, 0);
    assert_non_null(strstr(capture_end(), "no memory left"));
}

static void *log_some(void *argument)
{
    for (int i = 0; i < 200; i++) {
        log_line(LOG_INFO, "thread", argument, "i=%d end", i);
    }
    return NULL;
}

static void threads_write_whole_lines(UNUSED void **state)
{
    static char names[4][40];
    pthread_t threads[4];
    capture_begin();
    for (int i = 0; i < 4; i++) {
        memset(names[i], 'a' + i, 30);
        pthread_create(&threads[i], NULL, log_some, names[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    char *lines = captured;
    capture_end();
    size_t count = 0;
    for (char *line = strtok(lines, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        assert_int_equal(
            strncmp(line, "time=2026-11-22T13:39:00Z level=info module=thread msg=\"", 55), 0);
        assert_non_null(strstr(line, " end"));
        count++;
    }
    assert_true(count >= 40 && count <= 120);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_line_of_logfmt, setup),
        cmocka_unit_test_setup(a_line_of_json, setup),
        cmocka_unit_test_setup(json_is_valid_whatever_is_logged, setup),
        cmocka_unit_test_setup(levels_filter, setup),
        cmocka_unit_test_setup(repetition_is_limited_and_counted, setup),
        cmocka_unit_test_setup(what_was_dropped_is_a_member_of_json, setup),
        cmocka_unit_test_setup(one_event_is_one_line, setup),
        cmocka_unit_test_setup(quoting_stays_in_the_buffer, setup),
        cmocka_unit_test_setup(without_memory_the_message_still_goes_out, setup),
        cmocka_unit_test_setup(threads_write_whole_lines, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
