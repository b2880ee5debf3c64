/* Fuzzes what the commands' HTTP client makes of a URL and of the answer of whoever listens there.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Two bytes choose what the network does, the first line is the URL, the rest is the answer. The
 * network is a few functions here that stand before the C library's and the client's TLS.
 *
 * Oracles: an answer is the same in whole and in pieces; its body, sent again in chunks and with
 * its length, is the same body, and cut off without the last byte; what is said about a refusal is
 * one line.
 */
#include "server/http_client.h"
#include "server/tls_client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define INPUT_MAX ((size_t)64 << 10)

/* ---------------------------------------------------------------- the network */

enum fault {
    FAULT_NONE,
    FAULT_NAME,
    FAULT_SOCKET,
    FAULT_CONNECT,
    FAULT_CONNECT_LATE,
    FAULT_SEND,
    FAULT_SEND_CLOSED,
    FAULT_RECEIVE,
    FAULT_RESET,
    FAULT_SILENCE,
    FAULT_POLL,
    FAULT_ENCRYPT,
    FAULT_COUNT
};

static struct {
    const char *bytes;
    size_t length, at, piece;
    enum fault fault;
    unsigned calls; /* every third one has to wait */
} network;

static struct sockaddr_storage somewhere;
static struct addrinfo answer_of_names = {.ai_family = AF_INET,
                                          .ai_addr = (struct sockaddr *)&somewhere,
                                          .ai_addrlen = sizeof(struct sockaddr)};

static ssize_t failing(int code)
{
    errno = code;
    return -1;
}

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                struct addrinfo **found)
{
    if (host[0] == '\0' || port[0] == '\0' || hints == NULL) {
        abort();
    }
    *found = &answer_of_names;
    return network.fault == FAULT_NAME ? EAI_NONAME : 0;
}

void freeaddrinfo(struct addrinfo *found)
{
    if (found != &answer_of_names) {
        abort();
    }
}

int socket(int family, int type, int protocol)
{
    (void)family;
    (void)type;
    (void)protocol;
    return network.fault == FAULT_SOCKET ? (int)failing(EMFILE)
                                         : open("/dev/null", O_RDWR | O_CLOEXEC);
}

int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t length)
{
    (void)fd;
    (void)address;
    (void)length;
    bool late = network.fault == FAULT_CONNECT_LATE || network.piece % 2 == 0;
    return network.fault == FAULT_CONNECT ? (int)failing(ECONNREFUSED)
           : late                         ? (int)failing(EINPROGRESS)
                                          : 0;
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
    int code = network.fault == FAULT_CONNECT_LATE ? EHOSTUNREACH : 0;
    (void)fd;
    (void)level;
    (void)name;
    memcpy(value, &code, *length);
    return 0;
}

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    (void)fds;
    (void)timeout_ms;
    network.calls++;
    return network.fault == FAULT_SILENCE ? 0
           : network.fault == FAULT_POLL  ? (int)failing(EINVAL)
           : network.calls % 7 == 0       ? (int)failing(EINTR)
                                          : (int)count;
}

ssize_t send(int fd, const void *bytes, size_t length, int flags)
{
    (void)fd;
    (void)bytes;
    (void)flags;
    if (network.fault == FAULT_SEND || network.fault == FAULT_SEND_CLOSED) {
        return failing(network.fault == FAULT_SEND ? ENOBUFS : EPIPE);
    }
    return network.calls++ % 3 == 0 ? failing(EAGAIN) : (ssize_t)(length < 100 ? length : 100);
}

ssize_t recv(int fd, void *bytes, size_t length, int flags)
{
    size_t left = network.length - network.at;
    (void)fd;
    (void)flags;
    if (network.calls++ % 3 == 0) {
        return failing(network.calls % 2 == 0 ? EAGAIN : EINTR);
    }
    if (left == 0 || network.fault == FAULT_RECEIVE) {
        return network.fault == FAULT_RECEIVE ? failing(EIO)
               : network.fault == FAULT_RESET ? failing(ECONNRESET)
                                              : 0;
    }
    left = left < length ? left : length;
    left = left < network.piece ? left : network.piece;
    memcpy(bytes, network.bytes + network.at, left);
    network.at += left;
    return (ssize_t)left;
}

enum status tls_client_open(int fd, const struct tls_peer *peer, struct tls_client **out,
                            struct error *error)
{
    static char it;
    if (fd < 0 || peer->host[0] == '\0' || peer->timeout_ms <= 0) {
        abort();
    }
    if (network.fault == FAULT_ENCRYPT) {
        return error_set(error, STATUS_INVALID, "failed here so that this is tried too");
    }
    *out = (struct tls_client *)(void *)&it;
    return STATUS_OK;
}

ssize_t tls_client_send(struct tls_client *client, const char *bytes, size_t length)
{
    return client == NULL ? failing(EIO) : send(0, bytes, length, 0);
}

ssize_t tls_client_receive(struct tls_client *client, char *bytes, size_t maximum)
{
    return client == NULL ? failing(EIO) : recv(0, bytes, maximum, 0);
}

void tls_client_close(struct tls_client *client)
{
    (void)client;
}

/* ---------------------------------------------------------------- the oracle */

static enum status call(const char *url, const char *bytes, size_t length, struct http_reply *reply)
{
    static const char *const tokens[] = {NULL, "/dev/null", "VERSION", "tests/fuzz/nowhere", ""};
    struct error error = {0};
    struct http_credentials as = {0};
    if (!http_credentials_take(&as, "token-file", tokens[network.piece / 2 % 5]) ||
        !http_credentials_take(&as, "ca", network.piece % 5 == 0 ? NULL : "tests/fuzz/nowhere") ||
        http_credentials_take(&as, "other", "x")) {
        abort();
    }
    struct http_call request = {.as = network.piece % 7 == 0 ? NULL : &as,
                                .timeout_ms = network.piece % 5 == 0 ? 100 : 0,
                                .base = url,
                                .method = "POST",
                                .target = "/api/v1/points?x=y",
                                .content_type = network.piece % 3 == 0 ? NULL : "text/csv",
                                .body = "a,b\n",
                                .body_length = network.piece % 3 == 0 ? 0 : 4,
                                .answer_max = network.piece % 5 == 0 ? 0 : INPUT_MAX};
    network.bytes = bytes;
    network.length = length;
    network.at = network.calls = 0;
    enum status status = http_client_call(&request, reply, &error);
    if ((status == STATUS_OK) != (reply->body != NULL) ||
        (status != STATUS_OK && error.text[0] == '\0') ||
        (status == STATUS_OK && reply->length > length)) {
        abort();
    }
    return status;
}

static void call_same(const char *bytes, size_t length, const struct http_reply *first)
{
    struct http_reply again;
    if (call("http://a", bytes, length, &again) != STATUS_OK || again.status != first->status ||
        again.length != first->length || memcmp(again.body, first->body, first->length) != 0) {
        abort();
    }
    http_reply_release(&again);
}

/* The body in chunks of one, two, ... bytes, and with its length. */
static void send_again(const struct http_reply *first)
{
    static char bytes[INPUT_MAX];
    struct http_reply cut;
    size_t at =
        (size_t)snprintf(bytes, sizeof(bytes), "HTTP/1.1 %03d x\r\nA: b\r\n", first->status);
    size_t begin = at;
    at += (size_t)snprintf(bytes + at, sizeof(bytes) - at, "transfer-encoding:  Chunked\r\n\r\n");
    for (size_t from = 0, size = 1; from < first->length; from += size, size++) {
        size = size < first->length - from ? size : first->length - from;
        at += (size_t)snprintf(bytes + at, sizeof(bytes) - at, "%zx;x=y\r\n", size);
        memcpy(bytes + at, first->body + from, size);
        memcpy(bytes + at + size, "\r\n", 2);
        at += size + 2;
    }
    at += (size_t)snprintf(bytes + at, sizeof(bytes) - at, "0\r\n\r\n");
    call_same(bytes, at, first);
    at = begin + (size_t)snprintf(bytes + begin, sizeof(bytes) - begin,
                                  "content-LENGTH: %zu\r\n\r\n", first->length);
    memcpy(bytes + at, first->body, first->length);
    at += first->length;
    call_same(bytes, at, first);
    if (first->length > 0 && call("http://a", bytes, at - 1, &cut) != STATUS_IO) {
        abort();
    }
}

static void check_refusal(const struct http_reply *reply)
{
    struct error error = {0};
    if ((http_reply_check(reply, &error) == STATUS_OK) != (reply->status < 400)) {
        abort();
    }
    for (const char *text = error.text; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            abort();
        }
    }
    for (const char *text = error.hint; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char url[1024];
    struct http_reply reply, whole;
    const uint8_t *feed = size > 2 ? memchr(data + 2, '\n', size - 2) : NULL;
    if (feed == NULL || (size_t)(feed - data) >= sizeof(url) || size > INPUT_MAX / 16) {
        return 0;
    }
    snprintf(url, sizeof(url), "%.*s", (int)(feed - data) - 2, (const char *)data + 2);
    const char *bytes = (const char *)feed + 1;
    size_t length = (size_t)(data + size - feed) - 1;
    network.fault = data[0] % FAULT_COUNT;
    network.piece = 1 + data[1];
    enum status status = call(url, bytes, length, &reply);
    if (status != STATUS_OK) {
        return 0;
    }
    check_refusal(&reply);
    network.fault = FAULT_NONE;
    network.piece = INPUT_MAX / 2 + 1; /* in whole; without a token */
    if (call(url, bytes, length, &whole) != STATUS_OK || whole.status != reply.status ||
        whole.length != reply.length || memcmp(whole.body, reply.body, reply.length) != 0) {
        abort();
    }
    http_reply_release(&whole);
    if (reply.status >= 0 && reply.status <= 999) {
        send_again(&reply);
    }
    http_reply_release(&reply);
    return 0;
}
