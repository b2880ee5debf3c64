/* What administrators do, a line each: who, from where, what, and how it ended.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/audit.h"

#include "base/clock.h"
#include "base/memory.h"
#include "server/quoted.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE_BYTES_MAX 2048

struct audit {
    char path[512];
    int fd; /* dup3 replaces what it stands for, so writers need no lock */
};

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
}

static enum status not_opened(const char *path, struct error *error)
{
    error_set(error, STATUS_IO, "could not open audit log '%s': %s", path, strerror(errno));
    return error_code(error, "bad_value", "log.audit");
}

enum status audit_open(const char *path, struct audit **out, struct error *error)
{
    struct audit *audit = mem_zeroed(1, sizeof(*audit));
    if (audit == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not open the audit log: out of memory");
    }
    snprintf(audit->path, sizeof(audit->path), "%s", path);
    audit->fd = STDERR_FILENO;
    if (path[0] != '\0') {
        audit->fd = open_file(path);
        if (audit->fd < 0) {
            mem_free(audit);
            return not_opened(path, error);
        }
    }
    *out = audit;
    return STATUS_OK;
}

void audit_close(struct audit *audit)
{
    if (audit != NULL) {
        if (audit->path[0] != '\0') {
            close(audit->fd);
        }
        mem_free(audit);
    }
}

enum status audit_reopen(struct audit *audit, struct error *error)
{
    if (audit->path[0] == '\0') {
        return STATUS_OK;
    }
    int fd = open_file(audit->path);
    if (fd < 0) {
        return not_opened(audit->path, error);
    }
    int moved = dup3(fd, audit->fd, O_CLOEXEC);
    close(fd);
    return moved >= 0 ? STATUS_OK : not_opened(audit->path, error);
}

/* Among the lines of the log it has their form; a file of its own is always logfmt. */
static void build_line(const struct audit *audit, const struct text *pairs, struct text *line)
{
    bool json = audit->path[0] == '\0' && log_is_json();
    text_add_string(line, json ? "{\"time\":\"" : "time=");
    text_add_time(line, clock_wall_ms());
    if (json) {
        text_add_string(line, "\",\"level\":\"info\",\"module\":\"audit\"");
        log_add_members(line, pairs->bytes);
        text_add_char(line, '}');
    } else {
        text_add_char(line, ' ');
        text_add(line, pairs->bytes, pairs->length);
    }
    text_add_char(line, '\n');
}

/* Releases the pairs. */
static void write_line(const struct audit *audit, struct text *pairs)
{
    struct text line;
    text_init(&line, 2 * LINE_BYTES_MAX);
    if (pairs->failed == STATUS_OK) {
        build_line(audit, pairs, &line);
    }
    if (pairs->failed == STATUS_OK && line.failed == STATUS_OK) {
        ssize_t wrote;
        do {
            wrote = write(audit->fd, line.bytes, line.length);
        } while (wrote < 0 && errno == EINTR);
        if (wrote != (ssize_t)line.length) {
            log_error("audit", "line not written", "file=%s", QUOTED(audit->path));
        }
    }
    text_release(&line);
    text_release(pairs);
}

/* Who, from where and what, as both logs have it. */
struct attempt {
    char address[64];
    const char *who, *method;
};

static void describe(const struct api_request *request, const struct sockaddr *peer,
                     struct attempt *attempt)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PATCH", "DELETE", "other"};
    memcpy(attempt->address, "-", 2);
    attempt->who = request->caller.known ? request->caller.name : "-";
    attempt->method = methods[request->method];
    if (peer != NULL) {
        size_t length =
            peer->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
        getnameinfo(peer, (socklen_t)length, attempt->address, sizeof(attempt->address), NULL, 0,
                    NI_NUMERICHOST);
    }
}

void audit_refusal(const struct api_request *request, int status, const struct sockaddr *peer)
{
    struct attempt attempt;
    describe(request, peer, &attempt);
    log_warning("audit", "refused", "who=%s address=%s method=%s target=%s result=%d", attempt.who,
                attempt.address, attempt.method, QUOTED(request->path), status);
}

void audit_request(struct audit *audit, const struct api_request *request, int status,
                   const struct sockaddr *peer)
{
    struct attempt attempt;
    struct text line;
    describe(request, peer, &attempt);
    text_init(&line, LINE_BYTES_MAX);
    text_add_format(&line, "event=admin who=%s address=%s method=%s target=%s result=%d",
                    attempt.who, attempt.address, attempt.method, QUOTED(request->path), status);
    text_add_format(&line, " request_id=%s", request->request_id);
    write_line(audit, &line);
}

void audit_event(struct audit *audit, const char *event, const char *result)
{
    struct text line;
    text_init(&line, LINE_BYTES_MAX);
    text_add_format(&line, "event=%s result=%s", event, QUOTED(result));
    write_line(audit, &line);
}
