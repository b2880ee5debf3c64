/* Port and raw client of the HTTP tests.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/server/port.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

static void after_commit(void *context, const uint32_t *ids, size_t count)
{
    struct port *port = context;
    (void)ids;
    (void)count;
    if (atomic_load(&port->hold)) {
        atomic_fetch_add(&port->held, 1);
        while (sem_wait(&port->gate) != 0) {
        }
    }
}

void port_open(struct port *port, size_t workers, size_t queue_max)
{
    struct error error = {0};
    memset(port, 0, sizeof(*port));
    sem_init(&port->gate, 0, 0);
    port->limits = (struct api_limits){.body_max = 64 * 1024,
                                       .max_future_ms = 600000,
                                       .series_max = 1000,
                                       .points_per_request = 100000,
                                       .forecast_series_max = 500,
                                       .horizon_default = 48,
                                       .horizon_max = 1024,
                                       .live_bytes_max = 1 << 20};
    struct storage_options storage = {.url = "memory:"};
    struct writer_options writer = {.observer = after_commit, .observer_context = port};
    struct api_services *services = &port->services;
    assert_int_equal(storage_open(&storage, &services->storage, &error), STATUS_OK);
    assert_int_equal(writer_start(services->storage, &writer, &services->writer, &error),
                     STATUS_OK);
    assert_int_equal(registry_new(&services->registry, &error), STATUS_OK);
    assert_int_equal(job_table_new(&services->jobs, &error), STATUS_OK);
    atomic_store(&services->limits, &port->limits);
    assert_int_equal(api_services_init(services, &error), STATUS_OK);
    struct http_options options = {.listen = "127.0.0.1:0",
                                   .hosts = "sensors.example, other",
                                   .connections = 200,
                                   .connections_per_address = 200,
                                   .services = services,
                                   .worker_count = workers,
                                   .worker_queue_max = queue_max,
                                   .bodies_waiting_max = queue_max};
    assert_int_equal(http_start(&options, &port->http, &error), STATUS_OK);
}

void port_close(struct port *port)
{
    if (port->http != NULL) {
        http_stop(port->http, 2000);
    }
    writer_stop(port->services.writer);
    api_services_release(&port->services);
    job_table_free(port->services.jobs);
    registry_free(port->services.registry);
    storage_close(port->services.storage);
    sem_destroy(&port->gate);
}

void port_hold_writer(struct port *port)
{
    atomic_store(&port->hold, true);
}

void port_release_writer(struct port *port)
{
    atomic_store(&port->hold, false);
    sem_post(&port->gate);
}

void port_wait_idle(struct port *port)
{
    struct http_stats stats;
    for (int i = 0; i < 1000; i++) {
        http_stats(port->http, &stats);
        if (stats.active == 0) {
            return;
        }
        clock_sleep_ms(5);
    }
    fail_msg("%zu requests never ended", stats.active);
}

int client_connect(const struct port *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)http_port(port->http))};
    struct timeval timeout = {.tv_sec = 5};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

void client_send(int fd, const char *text)
{
    size_t length = strlen(text);
    while (length > 0) {
        ssize_t sent = send(fd, text, length, MSG_NOSIGNAL);
        if (sent <= 0) {
            return; /* the server may have closed on purpose: the answer tells */
        }
        text += sent;
        length -= (size_t)sent;
    }
}

/* One byte at a time, so that what belongs to the next answer stays in the socket. */
static bool read_byte(int fd, char *byte, struct reply *reply)
{
    ssize_t got = recv(fd, byte, 1, 0);
    if (got < 0 && reply->status == 0 && reply->head[0] == '\0') {
        fail_msg("no answer within 5 s");
    }
    reply->closed = got <= 0;
    return got == 1;
}

void client_read(int fd, bool no_body, struct reply *reply)
{
    size_t head = 0, length = 0;
    memset(reply, 0, sizeof(*reply));
    while (head + 1 < sizeof(reply->head) && strstr(reply->head, "\r\n\r\n") == NULL) {
        if (!read_byte(fd, &reply->head[head], reply)) {
            return;
        }
        head++;
    }
    assert_int_equal(sscanf(reply->head, "HTTP/1.1 %d", &reply->status), 1);
    const char *stated = strcasestr(reply->head, "\r\nContent-Length:");
    if (stated != NULL) {
        length = strtoul(stated + 17, NULL, 10);
    }
    assert_true(no_body || length < sizeof(reply->body));
    while (!no_body && reply->body_length < length) {
        if (!read_byte(fd, &reply->body[reply->body_length], reply)) {
            fail_msg("the answer was cut off");
        }
        reply->body_length++;
    }
}

void client_ask(const struct port *port, const char *text, struct reply *reply)
{
    int fd = client_connect(port);
    client_send(fd, text);
    client_read(fd, false, reply);
    close(fd);
}
