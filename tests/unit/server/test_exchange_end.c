/* The end of a request that the library never let us answer: what is noted and counted.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/audit.h"
#include "server/http_internal.h"
#include "tests/unit/server/port.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/forecastd-end-XXXXXX";
static struct port port;
static struct http http;
static struct client client;
static struct exchange exchange;
static union {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
} peer;

/* In the library's place: there is no connection here, only its address. */
const union MHD_ConnectionInfo *MHD_get_connection_info(struct MHD_Connection *connection,
                                                        enum MHD_ConnectionInfoType type, ...)
{
    static union MHD_ConnectionInfo info;
    assert_null(connection);
    assert_int_equal(type, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    info.client_addr = &peer.any;
    return peer.any.sa_family != AF_UNSPEC ? &info : NULL;
}

static int prepare(void **state)
{
    struct error error = {0};
    (void)state;
    assert_int_equal(truncate(path, 0), 0);
    port_open(&port, 1, 16);
    http_stop(port.http, 0);
    port.http = NULL;
    memset(&http, 0, sizeof(http));
    http.services = &port.services;
    assert_int_equal(audit_open(path, &http.audit, &error), STATUS_OK);
    memset(&peer, 0, sizeof(peer));
    peer.four.sin_family = AF_INET;
    assert_int_equal(inet_pton(AF_INET, "192.0.2.7", &peer.four.sin_addr), 1);
    memset(&client, 0, sizeof(client));
    memset(&exchange, 0, sizeof(exchange));
    exchange.http = client.http = &http;
    exchange.client = &client;
    exchange.asked = exchange.dispatched = true;
    exchange.request.method = API_DELETE;
    exchange.request.path = "/api/v1/series/a";
    exchange.request.query = "";
    snprintf(exchange.request.request_id, sizeof(exchange.request.request_id), "id-1");
    atomic_store(&http.active, 1);
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    audit_close(http.audit);
    port_close(&port);
    return 0;
}

/* Ends the exchange; the audit log then has this line and no other, or nothing. */
static void end_notes(const char *line)
{
    char text[4096];
    exchange_end(&exchange);
    assert_int_equal(atomic_load(&http.active), 0);
    assert_int_equal(atomic_load(&client.phase), PHASE_IDLE);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    const char *found = strstr(text, " event=");
    assert_string_equal(found != NULL ? found : text, line);
}

static void must_be_counted(const char *code)
{
    char line[160];
    struct api_response response = {0};
    struct api_request request = {
        .path = "/metrics", .query = "", .content_type = "", .response = &response};
    snprintf(line, sizeof(line), "route=\"/api/v1/series/{id}\",method=\"DELETE\",code=\"%s\"} 1\n",
             code);
    assert_int_equal(api_begin(&port.services, &request, 0, &response), API_DECLINED);
    assert_int_equal(api_fast(&port.services, &request, &response), API_DONE);
    assert_non_null(memmem(response.body, response.body_length, line, strlen(line)));
    api_response_release(&response);
}

static void what_was_done_is_noted_as_it_ended(void **state)
{
    (void)state;
    exchange.response.status = 204;
    exchange.request.caller.known = true;
    snprintf(exchange.request.caller.name, sizeof(exchange.request.caller.name), "ops");
    atomic_store(&exchange.handoff, HANDOFF_READY);
    end_notes(" event=admin who=ops address=192.0.2.7 method=DELETE "
              "target=\"/api/v1/series/a\" result=204 request_id=id-1\n");
    must_be_counted("204");
}

static void an_end_without_an_outcome_is_noted_too(void **state)
{
    (void)state;
    memset(&peer, 0, sizeof(peer));
    peer.six.sin6_family = AF_INET6;
    assert_int_equal(inet_pton(AF_INET6, "2001:db8::7", &peer.six.sin6_addr), 1);
    exchange.response.status = 204; /* whoever fills it has not handed it over */
    atomic_store(&exchange.handoff, HANDOFF_SUSPENDED);
    end_notes(" event=admin who=- address=2001:db8::7 method=DELETE "
              "target=\"/api/v1/series/a\" result=499 request_id=id-1\n");
    must_be_counted("other");
}

static void what_was_not_begun_is_not_noted(void **state)
{
    (void)state;
    exchange.dispatched = false;
    end_notes("");
}

static void an_address_that_nobody_knows_is_a_dash(void **state)
{
    (void)state;
    memset(&peer, 0, sizeof(peer));
    exchange.status = 404;
    end_notes(" event=admin who=- address=- method=DELETE "
              "target=\"/api/v1/series/a\" result=404 request_id=id-1\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_done_is_noted_as_it_ended, prepare, clean_up),
        cmocka_unit_test_setup_teardown(an_end_without_an_outcome_is_noted_too, prepare, clean_up),
        cmocka_unit_test_setup_teardown(what_was_not_begun_is_not_noted, prepare, clean_up),
        cmocka_unit_test_setup_teardown(an_address_that_nobody_knows_is_a_dash, prepare, clean_up),
    };
    int file = mkstemp(path);
    if (file < 0) {
        return 1;
    }
    close(file);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return unlink(path) == 0 ? failed : 1;
}
