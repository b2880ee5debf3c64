/* Why a port could not be listened on, and what would help.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/http_internal.h"

#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* As the library's may: what it calls leaves an error of its own. */
void freeaddrinfo(struct addrinfo *found)
{
    void (*real)(struct addrinfo *) = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "freeaddrinfo");
    real(found);
    errno = EINVAL;
}

static enum status listen_at(const char *address, struct http *http, struct error *error)
{
    struct api_services services = {0};
    struct http_options options = {.listen = address, .insecure = true, .services = &services};
    *http = (struct http){.listen_fd = -1};
    *error = (struct error){0};
    return http_listen(http, &options, error);
}

static void the_reason_is_that_of_the_port(void **state)
{
    struct http first, second;
    struct error error;
    char taken[32];
    (void)state;
    assert_int_equal(listen_at("127.0.0.1:0", &first, &error), STATUS_OK);
    snprintf(taken, sizeof(taken), "127.0.0.1:%d", first.port);
    assert_int_equal(listen_at(taken, &second, &error), STATUS_IO);
    assert_non_null(strstr(error.text, strerror(EADDRINUSE)));
    assert_non_null(strstr(error.hint, "--set server.listen="));
    close(second.listen_fd);
    close(first.listen_fd);
}

/* No other forecastd is to blame: 192.0.2.1 is nobody's. */
static void another_reason_has_no_hint(void **state)
{
    struct http http;
    struct error error;
    (void)state;
    assert_int_equal(listen_at("192.0.2.1:7380", &http, &error), STATUS_IO);
    assert_non_null(strstr(error.text, strerror(EADDRNOTAVAIL)));
    assert_string_equal(error.hint, "");
    close(http.listen_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reason_is_that_of_the_port),
        cmocka_unit_test(another_reason_has_no_hint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
