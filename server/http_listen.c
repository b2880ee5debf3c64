/* The listening socket: address parsed, loopback enforced, bound.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/http_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *four = (const void *)address;
        return (ntohl(four->sin_addr.s_addr) >> 24) == 127;
    }
    const struct sockaddr_in6 *six = (const void *)address;
    return IN6_IS_ADDR_LOOPBACK(&six->sin6_addr);
}

static enum status resolve(const char *listen_at, const char *option, struct addrinfo **found,
                           struct error *error)
{
    char host[128], *port = NULL;
    snprintf(host, sizeof(host), "%s", listen_at);
    char *name = host;
    if (host[0] == '[') {
        char *bracket = strchr(host, ']');
        if (bracket != NULL && bracket[1] == ':') {
            *bracket = '\0';
            name = host + 1;
            port = bracket + 2;
        }
    } else {
        char *colon = strrchr(host, ':');
        if (colon != NULL) {
            *colon = '\0';
            port = colon + 1;
        }
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_PASSIVE};
    const char *numeric = strcmp(name, "localhost") == 0 ? "127.0.0.1" : name;
    char *end = NULL;
    long number = port != NULL && port[0] != '\0' ? strtol(port, &end, 10) : -1;
    if (number < 0 || number > 65535 || *end != '\0' || name[0] == '\0' ||
        getaddrinfo(numeric, port, &hints, found) != 0) {
        error_set(error, STATUS_INVALID, "cannot listen on '%s': not an address and a port",
                  listen_at);
        error_code(error, "bad_value", option);
        return error_hint(error, "Write %s as 127.0.0.1:7380 or [::1]:7380.", option);
    }
    return STATUS_OK;
}

enum status http_address_check(const char *listen_at, const char *option, struct error *error)
{
    struct addrinfo *found = NULL;
    enum status status = resolve(listen_at, option, &found, error);
    if (status == STATUS_OK) {
        freeaddrinfo(found);
    }
    return status;
}

enum status http_listen(struct http *http, const struct http_options *options, struct error *error)
{
    struct addrinfo *found = NULL;
    const char *option = options->probes ? "server.health_listen" : "server.listen";
    enum status status = resolve(options->listen, option, &found, error);
    if (status != STATUS_OK) {
        return status;
    }
    http->loopback = is_loopback(found->ai_addr);
    bool guarded = options->probes || options->services->access != NULL;
    if (!http->loopback && !guarded && !options->insecure) {
        freeaddrinfo(found);
        error_set(error, STATUS_INVALID,
                  "cannot listen on '%s': anybody on the network could read and "
                  "write, because auth.tokens names no file of tokens",
                  options->listen);
        error_code(error, "insecure_listen", "server.listen");
        return error_hint(error, "Set auth.tokens (forecastd token create --help), listen on "
                                 "127.0.0.1, or pass --insecure where the network is trusted.");
    }
    int on = 1;
    http->listen_fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool fine = http->listen_fd >= 0 &&
                setsockopt(http->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
                bind(http->listen_fd, found->ai_addr, found->ai_addrlen) == 0 &&
                listen(http->listen_fd, SOMAXCONN) == 0;
    int code = errno; /* before anything else is called */
    freeaddrinfo(found);
    if (!fine) {
        status = error_set(error, STATUS_IO, "could not listen on '%s': %s", options->listen,
                           strerror(code));
        if (code == EADDRINUSE) {
            error_hint(error, "Another forecastd may be running; choose with --set %s=...", option);
        }
        return status;
    }
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    if (getsockname(http->listen_fd, (struct sockaddr *)&address, &length) == 0) {
        http->port =
            ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                                : ((struct sockaddr_in *)&address)->sin_port);
    }
    return STATUS_OK;
}
