/* A connection to an MQTT broker: TCP, or TLS over it; every wait has an end and can be stopped.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/mqtt_link.h"

#include "base/memory.h"
#include "server/lookup.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct mqtt_link {
    int fd, stop_fd, timeout_ms;
    const struct mqtt_address *address;
    gnutls_session_t session; /* NULL: plain */
    gnutls_certificate_credentials_t credentials;
};

enum status mqtt_address_parse(const char *url, struct mqtt_address *address, struct error *error)
{
    static const struct {
        const char *scheme, *port;
    } schemes[] = {{"mqtt://", "1883"}, {"mqtts://", "8883"}};
    for (int i = 0; i < 2; i++) {
        size_t length = strlen(schemes[i].scheme);
        if (strncmp(url, schemes[i].scheme, length) != 0) {
            continue;
        }
        const char *host = url + length;
        bool bracketed = host[0] == '[';
        size_t host_length = strcspn(host + bracketed, bracketed ? "]" : ":/");
        const char *rest = host + bracketed + host_length + bracketed;
        const char *port = rest[0] == ':' ? rest + 1 : schemes[i].port;
        bool whole = strspn(port, "0123456789") == strlen(port) && strlen(port) < 6 && *port &&
                     (rest[0] == ':' || rest[0] == '\0');
        if (host_length == 0 || host_length >= sizeof(address->host) || !whole) {
            break;
        }
        snprintf(address->host, sizeof(address->host), "%.*s", (int)host_length, host + bracketed);
        snprintf(address->port, sizeof(address->port), "%s", port);
        address->tls = i == 1;
        return STATUS_OK;
    }
    error_set(error, STATUS_INVALID, "'%.100s' is no address of a broker", url);
    error_code(error, "bad_value", "mqtt.broker");
    return error_hint(error, "Write it as mqtt://127.0.0.1:1883, or mqtts:// for TLS.");
}

/* ---------------------------------------------------------------- waiting */

/* STATUS_OK where ready, STATUS_TIMEOUT, STATUS_CANCELLED. */
static enum status wait_for(const struct mqtt_link *link, short events, int timeout_ms,
                            struct error *error)
{
    struct pollfd both[2] = {{.fd = link->fd, .events = events},
                             {.fd = link->stop_fd, .events = POLLIN}};
    int ready;
    do {
        ready = poll(both, 2, timeout_ms);
    } while (ready < 0 && errno == EINTR);
    if (ready < 0) {
        return error_set(error, STATUS_IO, "%s", strerror(errno));
    }
    if (both[1].revents != 0) {
        return error_set(error, STATUS_CANCELLED, "stopped");
    }
    if (ready == 0) {
        return error_set(error, STATUS_TIMEOUT, "no answer within %d ms", timeout_ms);
    }
    return STATUS_OK;
}

/* ---------------------------------------------------------------- opening */

static enum status connect_one(struct mqtt_link *link, const struct addrinfo *one,
                               struct error *error)
{
    int why = 0, on = 1;
    socklen_t length = sizeof(why);
    link->fd = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (link->fd < 0) {
        return error_set(error, STATUS_IO, "%s", strerror(errno));
    }
    setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(link->fd, one->ai_addr, one->ai_addrlen) == 0) {
        return STATUS_OK;
    }
    why = errno;
    enum status status = STATUS_OK;
    if (why == EINPROGRESS) {
        status = wait_for(link, POLLOUT, link->timeout_ms, error);
        getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &why, &length);
    }
    if (status == STATUS_OK && why != 0) {
        status = error_set(error, STATUS_IO, "%s", strerror(why));
    }
    if (status != STATUS_OK) {
        close(link->fd);
        link->fd = -1;
    }
    return status;
}

static enum status connect_any(struct mqtt_link *link, struct error *error)
{
    struct addrinfo *found = NULL;
    enum status status =
        lookup_addresses(link->address->host, link->address->port, link->stop_fd, &found, error);
    if (status != STATUS_OK) {
        return status;
    }
    status = STATUS_IO;
    for (struct addrinfo *one = found;
         one != NULL && status != STATUS_OK && status != STATUS_CANCELLED; one = one->ai_next) {
        status = connect_one(link, one, error);
    }
    freeaddrinfo(found);
    return status;
}

static enum status tls_failed(int code, struct error *error)
{
    return error_set(error, STATUS_IO, "TLS: %s", gnutls_strerror(code));
}

static enum status tls_prepare(struct mqtt_link *link, const char *ca_file, struct error *error)
{
    int code = gnutls_certificate_allocate_credentials(&link->credentials);
    if (code >= 0) {
        code = ca_file != NULL ? gnutls_certificate_set_x509_trust_file(link->credentials, ca_file,
                                                                        GNUTLS_X509_FMT_PEM)
                               : gnutls_certificate_set_x509_system_trust(link->credentials);
    }
    if (code == 0) {
        return error_set(error, STATUS_IO, "TLS: no certificates to trust in '%s'",
                         ca_file != NULL ? ca_file : "the system's store");
    }
    if (code > 0) {
        code = gnutls_init(&link->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK);
    }
    if (code >= 0) {
        code = gnutls_priority_set_direct(link->session,
                                          "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2", NULL);
    }
    if (code >= 0) {
        code = gnutls_credentials_set(link->session, GNUTLS_CRD_CERTIFICATE, link->credentials);
    }
    if (code >= 0) {
        const char *host = link->address->host;
        code = gnutls_server_name_set(link->session, GNUTLS_NAME_DNS, host, strlen(host));
        gnutls_session_set_verify_cert(link->session, host, 0);
        gnutls_transport_set_int(link->session, link->fd);
    }
    return code >= 0 ? STATUS_OK : tls_failed(code, error);
}

static enum status tls_handshake(struct mqtt_link *link, struct error *error)
{
    enum status status = STATUS_OK;
    while (status == STATUS_OK) {
        int code = gnutls_handshake(link->session);
        if (code >= 0) {
            return STATUS_OK;
        }
        if (code == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR) {
            gnutls_datum_t why = {0};
            gnutls_certificate_verification_status_print(
                gnutls_session_get_verify_cert_status(link->session), GNUTLS_CRT_X509, &why, 0);
            error_set(error, STATUS_IO, "TLS: %.200s", (const char *)why.data);
            gnutls_free(why.data);
            return STATUS_IO;
        }
        if (code != GNUTLS_E_AGAIN && code != GNUTLS_E_INTERRUPTED) {
            return tls_failed(code, error);
        }
        bool writes = gnutls_record_get_direction(link->session) == 1;
        status = wait_for(link, writes ? POLLOUT : POLLIN, link->timeout_ms, error);
    }
    return status;
}

enum status mqtt_link_open(const struct mqtt_link_options *options, struct mqtt_link **out,
                           struct error *error)
{
    const struct mqtt_address *address = options->address;
    struct mqtt_link *link = mem_zeroed(1, sizeof(*link));
    if (link == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the connection");
    }
    *link = (struct mqtt_link){.fd = -1,
                               .stop_fd = options->stop_fd,
                               .timeout_ms = options->timeout_ms,
                               .address = address};
    enum status status = connect_any(link, error);
    if (status == STATUS_OK && address->tls) {
        status = tls_prepare(link, options->ca_file, error);
    }
    if (status == STATUS_OK && address->tls) {
        status = tls_handshake(link, error);
    }
    if (status != STATUS_OK) {
        mqtt_link_close(link);
        error_wrap(error, "could not connect to %s:%s", address->host, address->port);
        return status;
    }
    *out = link;
    return STATUS_OK;
}

void mqtt_link_close(struct mqtt_link *link)
{
    if (link == NULL) {
        return;
    }
    if (link->session != NULL) {
        (void)gnutls_bye(link->session, GNUTLS_SHUT_WR);
        gnutls_deinit(link->session);
    }
    if (link->credentials != NULL) {
        gnutls_certificate_free_credentials(link->credentials);
    }
    if (link->fd >= 0) {
        close(link->fd);
    }
    mem_free(link);
}

/* ---------------------------------------------------------------- bytes */

enum transfer { MOVED, WAIT, CLOSED };

/* One try. `*moved` bytes, or what to wait for, or why it is over. */
static enum transfer move(struct mqtt_link *link, bool writes, char *bytes, size_t length,
                          size_t *moved, struct error *error)
{
    ssize_t done;
    if (link->session != NULL) {
        done = writes ? gnutls_record_send(link->session, bytes, length)
                      : gnutls_record_recv(link->session, bytes, length);
        if (done == GNUTLS_E_AGAIN || done == GNUTLS_E_INTERRUPTED) {
            return WAIT;
        }
        if (done < 0) {
            tls_failed((int)done, error);
        }
    } else {
        done =
            writes ? send(link->fd, bytes, length, MSG_NOSIGNAL) : recv(link->fd, bytes, length, 0);
        if (done < 0 && (errno == EAGAIN || errno == EINTR)) {
            return WAIT;
        }
        if (done < 0) {
            error_set(error, STATUS_IO, "%s", strerror(errno));
        }
    }
    if (done == 0 && !writes) {
        error_set(error, STATUS_IO, "the broker closed the connection");
    }
    *moved = done > 0 ? (size_t)done : 0;
    return done > 0 ? MOVED : CLOSED;
}

enum status mqtt_link_send(struct mqtt_link *link, const char *bytes, size_t length,
                           struct error *error)
{
    while (length > 0) {
        size_t moved = 0;
        enum transfer transfer = move(link, true, (char *)(uintptr_t)bytes, length, &moved, error);
        if (transfer == CLOSED) {
            return STATUS_IO;
        }
        if (transfer == WAIT) {
            enum status status = wait_for(link, POLLOUT, link->timeout_ms, error);
            if (status != STATUS_OK) {
                return status;
            }
        }
        bytes += moved;
        length -= moved;
    }
    return STATUS_OK;
}

enum status mqtt_link_receive(struct mqtt_link *link, char *bytes, size_t capacity, int timeout_ms,
                              size_t *got, struct error *error)
{
    *got = 0;
    enum transfer transfer = move(link, false, bytes, capacity, got, error);
    if (transfer == WAIT && timeout_ms > 0) {
        enum status status = wait_for(link, POLLIN, timeout_ms, error);
        if (status != STATUS_OK) {
            return status == STATUS_TIMEOUT ? STATUS_OK : status;
        }
        transfer = move(link, false, bytes, capacity, got, error);
    }
    return transfer == CLOSED ? STATUS_IO : STATUS_OK;
}
