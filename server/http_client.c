/* Connect, send, receive and take apart one HTTP answer.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/http_client.h"

#include "base/json_reader.h"
#include "base/memory.h"
#include "base/text.h"
#include "server/tls_client.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_MS 30000
#define ANSWER_MAX ((size_t)64 << 20)
#define HEAD_MAX   ((size_t)64 << 10)

struct address {
    bool encrypted;
    char host[256];
    char port[8];
    char prefix[256]; /* path of the base, without a slash at the end */
};

static enum status parse_base(const char *base, struct address *address, struct error *error)
{
    const char *scheme = "http://";
    if (strncasecmp(base, "https://", 8) == 0) {
        scheme = "https://";
        address->encrypted = true;
    } else if (strncasecmp(base, scheme, strlen(scheme)) != 0) {
        error_set(error, STATUS_INVALID,
                  "cannot call '%.100s': only http:// and https:// are supported", base);
        return error_hint(error, "Write it as http://127.0.0.1:7380.");
    }
    const char *host = base + strlen(scheme);
    size_t authority = strcspn(host, "/?#"), length = authority;
    const char *port = NULL;
    for (size_t i = authority; i-- > 0 && host[i] != ']';) {
        if (host[i] == ':') {
            port = host + i + 1;
            length = i;
            break;
        }
    }
    if (length > 1 && host[0] == '[' && host[length - 1] == ']') {
        host++;
        length -= 2;
        authority--;
    }
    size_t port_length = port != NULL ? strcspn(port, "/?#") : 0;
    size_t prefix = strcspn(base + strlen(scheme), "/?#") + strlen(scheme);
    size_t prefix_length = strcspn(base + prefix, "?#");
    while (prefix_length > 0 && base[prefix + prefix_length - 1] == '/') {
        prefix_length--;
    }
    if (length == 0 || length >= sizeof(address->host) || port_length >= sizeof(address->port) ||
        prefix_length >= sizeof(address->prefix)) {
        return error_set(error, STATUS_INVALID, "cannot call '%.100s': not a URL", base);
    }
    snprintf(address->host, sizeof(address->host), "%.*s", (int)length, host);
    snprintf(address->port, sizeof(address->port), "%.*s", (int)port_length,
             port != NULL ? port : "");
    if (port_length == 0) {
        snprintf(address->port, sizeof(address->port), address->encrypted ? "443" : "80");
    }
    snprintf(address->prefix, sizeof(address->prefix), "%.*s", (int)prefix_length, base + prefix);
    return STATUS_OK;
}

static enum status wait_for(int fd, short events, int timeout_ms, struct error *error)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    int ready;
    do {
        ready = poll(&poll_fd, 1, timeout_ms);
    } while (ready < 0 && errno == EINTR);
    if (ready == 0) {
        return error_set(error, STATUS_TIMEOUT, "no answer within %d s", timeout_ms / 1000);
    }
    return ready > 0 ? STATUS_OK : error_set(error, STATUS_IO, "%s", strerror(errno));
}

static enum status connect_to(const struct address *address, int timeout_ms, int *out,
                              struct error *error)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int failure = getaddrinfo(address->host, address->port, &hints, &found);
    if (failure != 0) {
        return error_set(error, STATUS_IO, "could not find host '%s': %s", address->host,
                         gai_strerror(failure));
    }
    int why = ECONNREFUSED;
    enum status status = STATUS_IO;
    for (struct addrinfo *one = found; one != NULL; one = one->ai_next) {
        int fd = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        socklen_t length = sizeof(why);
        if (fd < 0) {
            continue;
        }
        status = STATUS_OK;
        if (connect(fd, one->ai_addr, one->ai_addrlen) != 0) {
            why = errno;
            if (why == EINPROGRESS) {
                status = wait_for(fd, POLLOUT, timeout_ms, error);
            }
            if (status == STATUS_OK &&
                (why != EINPROGRESS || getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &length) != 0 ||
                 why != 0)) {
                status = STATUS_IO;
            }
        }
        if (status == STATUS_OK) {
            *out = fd;
            break;
        }
        close(fd);
    }
    freeaddrinfo(found);
    if (status == STATUS_IO) {
        error_set(error, STATUS_IO, "could not reach %s:%s: %s", address->host, address->port,
                  strerror(why));
    }
    return status;
}

/* A connection, encrypted or not. */
struct wire {
    int fd, timeout_ms;
    struct tls_client *tls;
};

static enum status send_all(const struct wire *wire, const char *bytes, size_t length,
                            struct error *error)
{
    while (length > 0) {
        ssize_t sent = wire->tls != NULL ? tls_client_send(wire->tls, bytes, length)
                                         : send(wire->fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EPIPE || errno == ECONNRESET)) {
            return STATUS_OK; /* the daemon may have answered early: look at what it said */
        }
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            return error_set(error, STATUS_IO, "could not send: %s", strerror(errno));
        }
        if (sent < 0) {
            enum status status = wait_for(wire->fd, POLLOUT, wire->timeout_ms, error);
            if (status != STATUS_OK) {
                return status;
            }
            continue;
        }
        bytes += sent;
        length -= (size_t)sent;
    }
    return STATUS_OK;
}

/* Everything up to the end of the connection: the request says "Connection: close". */
static enum status receive_all(const struct wire *wire, struct text *answer, struct error *error)
{
    char piece[16384];
    for (;;) {
        ssize_t got = wire->tls != NULL ? tls_client_receive(wire->tls, piece, sizeof(piece))
                                        : recv(wire->fd, piece, sizeof(piece), 0);
        if (got == 0 || (got < 0 && errno == ECONNRESET && answer->length > 0)) {
            break;
        }
        if (got < 0 && errno != EAGAIN && errno != EINTR) {
            return error_set(error, STATUS_IO, "could not receive: %s", strerror(errno));
        }
        if (got < 0) {
            enum status status = wait_for(wire->fd, POLLIN, wire->timeout_ms, error);
            if (status != STATUS_OK) {
                return status;
            }
            continue;
        }
        text_add(answer, piece, (size_t)got);
    }
    return text_status(answer, "the answer", error);
}

/* Removes the sizes of chunks in place; returns the length, or SIZE_MAX where they are broken. */
static size_t join_chunks(char *body, size_t length)
{
    size_t out = 0, at = 0;
    while (at < length) {
        char *end;
        unsigned long long size = strtoull(body + at, &end, 16);
        size_t line = strcspn(body + at, "\n") + 1;
        if (end == body + at || size > length || at + line + size > length) {
            return SIZE_MAX;
        }
        if (size == 0) {
            return out;
        }
        memmove(body + out, body + at + line, (size_t)size);
        out += (size_t)size;
        at += line + (size_t)size;
        at += strspn(body + at, "\r\n");
    }
    return SIZE_MAX;
}

static const char *find_header(const char *head, const char *end, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = head; line != NULL && line < end;) {
        if (strncasecmp(line, name, length) == 0 && line[length] == ':') {
            return line + length + 1 + strspn(line + length + 1, " ");
        }
        line = memchr(line, '\n', (size_t)(end - line));
        line = line != NULL ? line + 1 : NULL;
    }
    return NULL;
}

static enum status take_apart(struct text *answer, struct http_reply *reply, struct error *error)
{
    const char *bytes = answer->bytes != NULL ? answer->bytes : "";
    const char *blank = strstr(bytes, "\r\n\r\n");
    if (strncmp(bytes, "HTTP/1.", 7) != 0 || blank == NULL || strlen(bytes) < 12) {
        return error_set(error, STATUS_IO, "the answer is not HTTP");
    }
    reply->status = (int)strtol(bytes + 9, NULL, 10);
    size_t head = (size_t)(blank - bytes) + 4, length = answer->length - head;
    const char *encoding = find_header(bytes, blank, "Transfer-Encoding");
    const char *stated = find_header(bytes, blank, "Content-Length");
    char *body = mem_copy_text(bytes + head, length);
    if (body == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not keep the answer: out of memory");
    }
    if (encoding != NULL && strncasecmp(encoding, "chunked", 7) == 0) {
        length = join_chunks(body, length);
    } else if (stated != NULL && strtoull(stated, NULL, 10) != length) {
        length = SIZE_MAX;
    }
    if (length == SIZE_MAX) {
        mem_free(body);
        return error_set(error, STATUS_IO, "the answer was cut off");
    }
    body[length] = '\0';
    reply->body = body;
    reply->length = length;
    return STATUS_OK;
}

/* ---------------------------------------------------------------- who we are */

bool http_credentials_take(struct http_credentials *as, const char *name, const char *value)
{
    if (strcmp(name, "token-file") == 0) {
        as->token_file = value;
    } else if (strcmp(name, "ca") == 0) {
        as->authorities = value;
    } else {
        return false;
    }
    return true;
}

/* The header with the token, where there is one. */
static enum status add_token(const struct http_credentials *as, struct text *head,
                             struct error *error)
{
    char line[256] = "";
    const char *path =
        as != NULL && as->token_file != NULL ? as->token_file : getenv("FORECASTD_TOKEN_FILE");
    if (path == NULL || path[0] == '\0') {
        return STATUS_OK;
    }
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return error_set(error, STATUS_IO, "could not open token file '%s': %s", path,
                         strerror(errno));
    }
    bool got = fgets(line, sizeof(line), file) != NULL;
    fclose(file);
    line[strcspn(line, " \t\r\n")] = '\0';
    if (!got || line[0] == '\0') {
        return error_set(error, STATUS_INVALID, "there is no token in '%s'", path);
    }
    text_add_format(head, "Authorization: Bearer %s\r\n", line);
    explicit_bzero(line, sizeof(line));
    return STATUS_OK;
}

static enum status encrypt(struct wire *wire, const struct address *address,
                           const struct http_credentials *as, struct error *error)
{
    const char *preset = getenv("FORECASTD_CA_FILE");
    struct tls_peer peer = {
        .host = address->host,
        .authorities = as != NULL && as->authorities != NULL ? as->authorities : preset,
        .any_name = as != NULL && as->any_name,
        .timeout_ms = wire->timeout_ms,
    };
    return address->encrypted ? tls_client_open(wire->fd, &peer, &wire->tls, error) : STATUS_OK;
}

/* Sends and receives over a socket of its own. */
static enum status exchange_once(const struct address *address, const struct http_call *call,
                                 const struct text *head, struct text *answer, struct error *error)
{
    struct wire wire = {.fd = -1,
                        .timeout_ms = call->timeout_ms > 0 ? call->timeout_ms : TIMEOUT_MS};
    enum status status = connect_to(address, wire.timeout_ms, &wire.fd, error);
    if (status == STATUS_OK) {
        status = encrypt(&wire, address, call->as, error);
    }
    if (status == STATUS_OK) {
        status = send_all(&wire, head->bytes, head->length, error);
    }
    if (status == STATUS_OK && call->body_length > 0) {
        status = send_all(&wire, call->body, call->body_length, error);
    }
    if (status == STATUS_OK) {
        status = receive_all(&wire, answer, error);
    }
    tls_client_close(wire.tls);
    if (wire.fd >= 0) {
        close(wire.fd);
    }
    return status;
}

enum status http_client_call(const struct http_call *call, struct http_reply *reply,
                             struct error *error)
{
    struct address address = {0};
    struct text head, answer;
    memset(reply, 0, sizeof(*reply));
    text_init(&head, HEAD_MAX);
    text_init(&answer, call->answer_max > 0 ? call->answer_max : ANSWER_MAX);
    enum status status = parse_base(call->base, &address, error);
    if (status != STATUS_OK) {
        goto release;
    }
    bool six = strchr(address.host, ':') != NULL;
    text_add_format(&head, "%s %s%s HTTP/1.1\r\nHost: %s%s%s:%s\r\nConnection: close\r\n",
                    call->method, address.prefix, call->target, six ? "[" : "", address.host,
                    six ? "]" : "", address.port);
    text_add_format(&head, "User-Agent: forecastd/%s\r\n", FORECASTD_VERSION);
    if (call->content_type != NULL) {
        text_add_format(&head, "Content-Type: %s\r\nContent-Length: %zu\r\n", call->content_type,
                        call->body_length);
    }
    status = add_token(call->as, &head, error);
    text_add_string(&head, "\r\n");
    if (status == STATUS_OK) {
        status = text_status(&head, "the request", error);
    }
    if (status == STATUS_OK) {
        status = exchange_once(&address, call, &head, &answer, error);
    }
    if (status == STATUS_OK) {
        status = take_apart(&answer, reply, error);
    }
    if (status != STATUS_OK) {
        error_wrap(error, "%s", call->base);
    }

release:
    text_release(&head);
    text_release(&answer);
    return status;
}

void http_reply_release(struct http_reply *reply)
{
    mem_free(reply->body);
    reply->body = NULL;
}

/* What fits of a text from outside, on one line: it goes to a terminal. */
static void take_words(const struct json_reader *reader, char *out, size_t capacity)
{
    size_t length = reader->text_length < capacity ? reader->text_length : capacity - 1;
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)reader->text[i];
        out[i] = byte < 0x20 || byte == 0x7f ? ' ' : reader->text[i];
    }
    out[length] = '\0';
}

enum status http_reply_check(const struct http_reply *reply, struct error *error)
{
    if (reply->status < 400) {
        return STATUS_OK;
    }
    char detail[200] = "", hint[200] = "";
    struct json_reader reader;
    json_reader_init(&reader, reply->body, reply->length);
    if (json_next(&reader) == JSON_OBJECT_BEGIN) {
        while (json_next(&reader) == JSON_KEY) {
            bool is_detail = reader.text_length == 6 && memcmp(reader.text, "detail", 6) == 0;
            bool is_hint = reader.text_length == 4 && memcmp(reader.text, "hint", 4) == 0;
            if (!is_detail && !is_hint) {
                if (json_skip_value(&reader) == JSON_BROKEN) {
                    break;
                }
                continue;
            }
            enum json_token token = json_next(&reader);
            if (token == JSON_STRING) {
                take_words(&reader, is_detail ? detail : hint, sizeof(detail));
            } else if (token == JSON_OBJECT_BEGIN || token == JSON_ARRAY_BEGIN) {
                break; /* what lies inside is not about the answer */
            }
        }
    }
    error_set(error, STATUS_INVALID, "the daemon answered %d%s%s", reply->status,
              detail[0] ? ": " : "", detail);
    return hint[0] ? error_hint(error, "%s", hint) : error->status;
}
