/* Commands that talk to a daemon, against one that says what it is told: a training elsewhere, with
 * its progress, its end, and whatever may go wrong; and what all commands say to words they do not
 * take. SPDX-License-Identifier: Apache-2.0
 */
#include "base/check.h"
#include "server/command.h"
#include "tests/unit/server/shell.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ANSWERS_MAX 4
#define WAIT_S      20 /* for a request that does not come */

static struct shell shell;
static char folder[] = "/tmp/forecastd-remote-XXXXXX";
static char url[64];
static int listener;

/* What the daemon says to one request after the other, and what it heard. */
struct talk {
    const char *answers[ANSWERS_MAX]; /* "code body" */
    char heard[ANSWERS_MAX][2048];
};

static struct talk *talk; /* shared with the process that answers */

static void answer_all(void)
{
    for (size_t i = 0; i < ANSWERS_MAX && talk->answers[i] != NULL; i++) {
        char answer[2048];
        size_t used = 0;
        ssize_t got = 1;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) {
            return;
        }
        const char *stop = NULL;
        while (got > 0 && used < sizeof(talk->heard[i]) - 1 && stop == NULL) {
            got = recv(fd, talk->heard[i] + used, sizeof(talk->heard[i]) - 1 - used, 0);
            used += got > 0 ? (size_t)got : 0;
            talk->heard[i][used] = '\0';
            stop = strstr(talk->heard[i], "\r\n\r\n");
            if (stop != NULL && strstr(talk->heard[i], "POST") != NULL &&
                strchr(stop, '}') == NULL) {
                stop = NULL; /* the body is still to come */
            }
        }
        int length =
            snprintf(answer, sizeof(answer), "HTTP/1.1 %.3s X\r\nConnection: close\r\n\r\n%s",
                     talk->answers[i], talk->answers[i] + 4);
        (void)!send(fd, answer, (size_t)length, MSG_NOSIGNAL);
        close(fd);
    }
}

#define JOB(state, more) "{\"id\":\"train-7\",\"kind\":\"train\",\"state\":\"" state "\"" more "}"
#define RUNNING                                                                                    \
    JOB("running", ",\"progress\":0.5,\"step\":12,\"loss\":0.25,\"seconds_left\":3,"               \
                   "\"phase\":\"training\",\"other\":[1,{\"id\":\"no\"}]")

static int prepare(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct timeval wait = {.tv_sec = WAIT_S};
    socklen_t length = sizeof(address);
    (void)state;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    talk = mmap(NULL, sizeof(*talk), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (talk == MAP_FAILED || mkdtemp(folder) == NULL || listener < 0 ||
        setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) != 0 ||
        bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, 8) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
        return -1;
    }
    shell.folder = folder;
    snprintf(url, sizeof(url), "http://127.0.0.1:%d", ntohs(address.sin_port));
    return 0;
}

static int clean_up(void **state)
{
    char line[128];
    (void)state;
    close(listener);
    snprintf(line, sizeof(line), "rm -rf '%s'", folder);
    return system(line);
}

/* The daemon is a process, not a thread: a sanitizer's locks may be held by a thread that starts, and
 * the command's process, forked beside it, would wait for them for ever. */
static int train(const char *const *answers, const char *option, const char *second,
                 const char *third)
{
    memset(talk, 0, sizeof(*talk));
    memcpy(talk->answers, answers, sizeof(talk->answers));
    pid_t daemon = fork();
    assert_true(daemon >= 0);
    if (daemon == 0) {
        answer_all();
        _exit(0);
    }
    int code = shell_run(&shell, command_train, "--url", url, option, second, third, NULL);
    assert_int_equal(waitpid(daemon, NULL, 0), daemon);
    return code;
}

static void a_training_elsewhere_is_followed_to_its_end(void **state)
{
    static const char *const answers[ANSWERS_MAX] = {
        "202 " JOB("queued", ""), "200 " RUNNING,
        "200 " JOB("done", ",\"result\":{\"promoted\":true},\"error\":null")};
    (void)state;
    assert_int_equal(train(answers, "--steps=5", "--seed=3", "--backbone=logsparse"), EXIT_DONE);
    assert_non_null(strstr(talk->heard[0], "POST /api/v1/train HTTP/1.1\r\n"));
    assert_non_null(
        strstr(talk->heard[0], "\r\n\r\n{\"steps\":5,\"seed\":3,\"backbone\":\"logsparse\"}"));
    assert_non_null(strstr(talk->heard[1], "GET /api/v1/jobs/train-7 HTTP/1.1\r\n"));
    assert_non_null(strstr(shell.err, "job train-7 done: {\"promoted\":true}"));
}

static void what_goes_wrong_elsewhere_is_told(void **state)
{
    static const struct {
        const char *answers[ANSWERS_MAX], *said;
    } rows[] = {
        {{"202 " JOB("queued", ""), "200 " JOB("failed", ",\"error\":\"no series\"")},
         "job train-7 failed: no series"},
        {{"202 " JOB("cancelled", ",\"result\":null")}, "job train-7 cancelled\n"},
        {{"409 {\"detail\":\"a training waits\",\"hint\":\"Wait for it.\"}"},
         "the daemon answered 409: a training waits"},
        {{"200 {\"series\":[]}"}, "the answer is not a job"},
        {{"200 []"}, "the answer is not a job"},
        {{"200 {\"id\":\"train-7\",\"state\":tru"}, "the answer is not a job"},
        {{"202 " JOB("queued", ""), "404 {\"detail\":\"no job \\\"train-7\\\"\"}"},
         "the daemon answered 404: no job"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        assert_int_equal(train(rows[i].answers, "--seconds=9", NULL, NULL), EXIT_FAILED);
        assert_non_null(strstr(talk->heard[0], "{\"seconds\":9}"));
        if (strstr(shell.err, rows[i].said) == NULL) {
            fail_msg("row %zu: %s", i, shell.err);
        }
    }
}

/* Each command names what it does not take, and says where help is. */
static void words_too_many_are_refused(void **state)
{
    static int (*const commands[])(int argc, char **argv) = {
        command_serve, command_train,       command_config,   command_export,
        command_check, command_healthcheck, command_forecast, command_backbones,
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        assert_int_equal(shell_run(&shell, commands[i], "one", "two", NULL), EXIT_USAGE);
        assert_non_null(strstr(shell.err, "Try 'forecastd "));
        assert_string_equal(shell.out, "");
    }
    static const char *const numbers[] = {"--seconds=0", "--steps=x", "--seed=-1"};
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
        assert_int_equal(shell_run(&shell, command_train, numbers[i], NULL), EXIT_USAGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_training_elsewhere_is_followed_to_its_end),
        cmocka_unit_test(what_goes_wrong_elsewhere_is_told),
        cmocka_unit_test(words_too_many_are_refused),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
