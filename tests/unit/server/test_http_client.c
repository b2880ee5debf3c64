/* The client of our commands against a server that says what it is told: forms of answers, answers
 * that are cut or none, addresses, tokens, problems in the daemon's words.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/check.h"
#include "server/http_client.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* Answers one connection with these bytes, keeps what came. */
struct script {
    int listener;
    const char *answer;
    size_t length;
    char heard[4096];
};

static int listener;
static char base[64];

static void *serve_one(void *context)
{
    struct script *script = context;
    size_t used = 0;
    int fd = accept(script->listener, NULL, NULL);
    while (fd >= 0 && used < sizeof(script->heard) - 1) {
        ssize_t got = recv(fd, script->heard + used, sizeof(script->heard) - 1 - used, 0);
        used += got > 0 ? (size_t)got : 0;
        script->heard[used] = '\0';
        if (got <= 0 || strstr(script->heard, "\r\n\r\n") != NULL) {
            break;
        }
    }
    if (script->length > 0) {
        (void)!send(fd, script->answer, script->length, MSG_NOSIGNAL);
    }
    close(fd);
    return NULL;
}

static enum status call_with(struct script *script, const struct http_call *call,
                             struct http_reply *reply, struct error *error)
{
    pthread_t thread;
    struct http_call whole = *call;
    whole.method = "GET";
    whole.target = "/x";
    whole.timeout_ms = 20000;
    script->listener = listener;
    assert_int_equal(pthread_create(&thread, NULL, serve_one, script), 0);
    enum status status = http_client_call(&whole, reply, error);
    pthread_join(thread, NULL);
    return status;
}

static int listen_here(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof(address);
    (void)state;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, 8) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
        return -1;
    }
    snprintf(base, sizeof(base), "http://127.0.0.1:%d", ntohs(address.sin_port));
    return 0;
}

static int close_listener(void **state)
{
    (void)state;
    return close(listener);
}

#define OK_HEAD "HTTP/1.1 200 OK\r\n"

static void answers_come_in_three_forms(void **state)
{
    static const char *const answers[] = {
        OK_HEAD "Content-Length: 5\r\n\r\nhello",
        OK_HEAD "content-length:5\r\n\r\nhello",
        OK_HEAD "\r\nhello",
        OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;name=x\r\nllo\r\n0\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(answers); i++) {
        struct script script = {.answer = answers[i], .length = strlen(answers[i])};
        struct http_call call = {.base = base};
        struct http_reply reply;
        struct error error = {0};
        if (call_with(&script, &call, &reply, &error) != STATUS_OK) {
            fail_msg("answer %zu: %s", i, error.text);
        }
        assert_int_equal(reply.status, 200);
        assert_int_equal(reply.length, 5);
        assert_string_equal(reply.body, "hello");
        assert_non_null(strstr(script.heard, "GET /x HTTP/1.1\r\n"));
        assert_non_null(strstr(script.heard, "Connection: close\r\n"));
        http_reply_release(&reply);
    }
}

static void what_is_cut_or_no_answer_is_said(void **state)
{
    static const struct {
        const char *answer, *said;
    } rows[] = {
        {"", "the answer is not HTTP"},
        {"SSH-2.0-OpenSSH_9.2\r\n\r\n", "the answer is not HTTP"},
        {"HTTP/1.1 200 OK\r\n", "the answer is not HTTP"},
        {OK_HEAD "Content-Length: 6\r\n\r\nhello", "the answer was cut off"},
        {OK_HEAD "Content-Length: 4\r\n\r\nhello", "the answer was cut off"},
        {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nhel", "the answer was cut off"},
        {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", "the answer was cut off"},
        {OK_HEAD "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "the answer was cut off"},
        {OK_HEAD "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhe",
         "the answer was cut off"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct script script = {.answer = rows[i].answer, .length = strlen(rows[i].answer)};
        struct http_call call = {.base = base};
        struct http_reply reply;
        struct error error = {0};
        assert_int_equal(call_with(&script, &call, &reply, &error), STATUS_IO);
        if (strstr(error.text, rows[i].said) == NULL || reply.body != NULL) {
            fail_msg("answer %zu: %s", i, error.text);
        }
    }
    struct script script = {.answer = OK_HEAD "\r\nmore than may be", .length = 35};
    struct http_call call = {.base = base, .answer_max = 20};
    struct http_reply reply;
    struct error error = {0};
    assert_int_equal(call_with(&script, &call, &reply, &error), STATUS_TOO_LARGE);
}

static void addresses_are_taken_apart(void **state)
{
    static const struct {
        const char *base;
        enum status status;
        const char *said;
    } rows[] = {
        {"ftp://127.0.0.1", STATUS_INVALID, "only http:// and https://"},
        {"http://", STATUS_INVALID, "not a URL"},
        {"http://:80", STATUS_INVALID, "not a URL"},
        {"http://127.0.0.1:123456789", STATUS_INVALID, "not a URL"},
        {"http://127.0.0.1:1", STATUS_IO, "could not reach 127.0.0.1:1"},
        {"http://[::1]:1", STATUS_IO, "could not reach ::1:1"},
        {"http://no.such.host.invalid:80", STATUS_IO, "could not find host 'no.such.host.invalid'"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct http_call call = {
            .base = rows[i].base, .method = "GET", .target = "/", .timeout_ms = 5000};
        struct http_reply reply;
        struct error error = {0};
        if (http_client_call(&call, &reply, &error) != rows[i].status ||
            strstr(error.text, rows[i].said) == NULL) {
            fail_msg("%s: %s", rows[i].base, error.text);
        }
    }
    char with_path[96];
    snprintf(with_path, sizeof(with_path), "%s/behind/a/proxy/?x", base);
    struct script script = {.answer = OK_HEAD "\r\n", .length = strlen(OK_HEAD "\r\n")};
    struct http_call call = {.base = with_path};
    struct http_reply reply;
    struct error error = {0};
    assert_int_equal(call_with(&script, &call, &reply, &error), STATUS_OK);
    assert_non_null(strstr(script.heard, "GET /behind/a/proxy/x HTTP/1.1\r\n"));
    http_reply_release(&reply);
}

static void write_file(const char *path, const char *content)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(content, file);
    fclose(file);
}

static void the_token_is_the_first_line_of_a_file(void **state)
{
    char path[] = "/tmp/forecastd-token-XXXXXX";
    int fd = mkstemp(path);
    struct http_credentials as = {.token_file = path};
    struct script script = {.answer = OK_HEAD "\r\n", .length = strlen(OK_HEAD "\r\n")};
    struct http_call call = {.base = base, .as = &as};
    struct http_reply reply;
    struct error error = {0};
    (void)state;
    assert_true(fd >= 0 && close(fd) == 0);
    write_file(path, "ft_secret \nsecond\n");
    assert_int_equal(call_with(&script, &call, &reply, &error), STATUS_OK);
    assert_non_null(strstr(script.heard, "\r\nAuthorization: Bearer ft_secret\r\n"));
    http_reply_release(&reply);
    call.method = "GET";
    call.target = "/";
    write_file(path, "\n");
    assert_int_equal(http_client_call(&call, &reply, &error), STATUS_INVALID);
    assert_non_null(strstr(error.text, "there is no token in"));
    unlink(path);
    assert_int_equal(http_client_call(&call, &reply, &error), STATUS_IO);
    assert_non_null(strstr(error.text, "could not open token file"));
    as = (struct http_credentials){0};
    assert_true(http_credentials_take(&as, "ca", "/x.pem"));
    assert_true(http_credentials_take(&as, "token-file", "/t"));
    assert_false(http_credentials_take(&as, "other", "x"));
    assert_string_equal(as.authorities, "/x.pem");
}

static void problems_are_told_in_the_daemons_words(void **state)
{
    static const struct {
        int status;
        const char *body, *text, *hint;
    } rows[] = {
        {404, "{\"title\":\"t\",\"detail\":\"no series \\\"x\\\"\",\"hint\":\"Write it first.\"}",
         "the daemon answered 404: no series \"x\"", "Write it first."},
        {503, "{\"errors\":[1,{\"detail\":\"inner\"}],\"detail\":null,\"hint\":7}",
         "the daemon answered 503", ""},
        {500, "<html>", "the daemon answered 500", ""},
        {400, "{\"detail\":\"cut", "the daemon answered 400", ""},
        {400, "", "the daemon answered 400", ""},
        {400, "{\"detail\":null,\"hint\":\"h\"}", "the daemon answered 400", "h"},
        {400, "{\"detail\":{\"hint\":\"inner\"}}", "the daemon answered 400", ""},
        /* One line, and nothing that a terminal obeys. */
        {400, "{\"detail\":\"a\\u001b[2J\\nb\",\"hint\":\"\\u007f\"}",
         "the daemon answered 400: a [2J b", " "},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char body[160];
        snprintf(body, sizeof(body), "%s", rows[i].body);
        struct http_reply reply = {rows[i].status, body, strlen(body)};
        struct error error = {0};
        assert_int_equal(http_reply_check(&reply, &error), STATUS_INVALID);
        assert_string_equal(error.text, rows[i].text);
        assert_string_equal(error.hint, rows[i].hint);
    }
    struct http_reply fine = {399, NULL, 0};
    struct error error = {0};
    assert_int_equal(http_reply_check(&fine, &error), STATUS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come_in_three_forms),
        cmocka_unit_test(what_is_cut_or_no_answer_is_said),
        cmocka_unit_test(addresses_are_taken_apart),
        cmocka_unit_test(the_token_is_the_first_line_of_a_file),
        cmocka_unit_test(problems_are_told_in_the_daemons_words),
    };
    return cmocka_run_group_tests(tests, listen_here, close_listener);
}
