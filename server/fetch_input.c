/* What a call is made of, as users give it: addresses, headers and secrets, checked before use.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define SECRET_FILE_MAX ((size_t)64 << 10)

enum status fetch_check_url(const char *what, const char *url, struct error *error)
{
    size_t scheme = strncasecmp(url, "http://", 7) == 0    ? 7
                    : strncasecmp(url, "https://", 8) == 0 ? 8
                                                           : 0;
    const char *host = url + scheme;
    size_t authority = strcspn(host, "/?#");
    if (scheme == 0) {
        error_set(error, STATUS_INVALID, "%s must begin with http:// or https://", what);
        return error_code(error, "bad_value", what);
    }
    if (memchr(host, '@', authority) != NULL) {
        error_set(error, STATUS_INVALID, "%s must not hold a user or a password", what);
        error_code(error, "bad_value", what);
        return error_hint(error, "Secrets come from files, so that nobody reads them in a list of "
                                 "processes or a log.");
    }
    bool clean = authority > 0 && host[0] != ':' && strchr(url, '#') == NULL;
    for (const char *at = url; *at != '\0'; at++) {
        clean = clean && (unsigned char)*at > ' ' && *at != 0x7f;
    }
    if (!clean) {
        error_set(error, STATUS_INVALID, "%s is not a usable address", what);
        return error_code(error, "bad_value", what);
    }
    return STATUS_OK;
}

enum status fetch_check_header(const char *line, size_t length, struct error *error)
{
    size_t name = 0;
    while (name < length && line[name] > ' ' && line[name] < 0x7f && line[name] != ':') {
        name++;
    }
    bool clean = name > 0 && name < length && line[name] == ':' && length < FETCH_SECRET_MAX;
    for (size_t i = name; i < length; i++) {
        clean = clean && ((unsigned char)line[i] >= ' ' || line[i] == '\t') && line[i] != 0x7f;
    }
    return clean ? STATUS_OK : error_set(error, STATUS_INVALID, "a header is not 'Name: value'");
}

static enum status read_small(const char *path, char *bytes, size_t capacity, size_t *length,
                              struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum status status = STATUS_OK;
    *length = 0;
    if (fd < 0) {
        return error_set(error, STATUS_IO, "could not open '%s': %s", path, strerror(errno));
    }
    while (*length < capacity) {
        ssize_t got = read(fd, bytes + *length, capacity - *length);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            status = error_set(error, STATUS_IO, "could not read '%s': %s", path, strerror(errno));
        }
        if (got <= 0) {
            break;
        }
        *length += (size_t)got;
    }
    close(fd);
    if (*length == capacity) {
        status = error_set(error, STATUS_TOO_LARGE, "'%s' is too large for a secret", path);
    }
    return status;
}

enum status fetch_read_secret(const char *path, char out[FETCH_SECRET_MAX], struct error *error)
{
    size_t length = 0;
    enum status status = read_small(path, out, FETCH_SECRET_MAX, &length, error);
    if (status != STATUS_OK) {
        return status;
    }
    out[length] = '\0';
    length = strcspn(out, "\r\n");
    out[length] = '\0';
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)out[i] < ' ' || out[i] == 0x7f) {
            return error_set(error, STATUS_INVALID, "'%s' holds control characters", path);
        }
    }
    return length > 0 ? STATUS_OK
                      : error_set(error, STATUS_INVALID, "the first line of '%s' is empty", path);
}

enum status fetch_read_headers(const char *path, struct text *out, struct error *error)
{
    static const char what[] = "the headers";
    char bytes[SECRET_FILE_MAX];
    size_t length = 0;
    enum status status = read_small(path, bytes, sizeof(bytes), &length, error);
    for (size_t at = 0; status == STATUS_OK && at < length;) {
        const char *end = memchr(bytes + at, '\n', length - at);
        size_t line = end != NULL ? (size_t)(end - bytes) - at : length - at;
        size_t text = line > 0 && bytes[at + line - 1] == '\r' ? line - 1 : line;
        if (text > 0 && bytes[at] != '#') {
            status = fetch_check_header(bytes + at, text, error);
            if (status == STATUS_OK) {
                text_add(out, bytes + at, text);
                text_add_char(out, '\n');
            }
        }
        at += line + 1;
    }
    explicit_bzero(bytes, sizeof(bytes));
    if (status == STATUS_INVALID) {
        return error_wrap(error, "'%s'", path);
    }
    return status == STATUS_OK ? text_status(out, what, error) : status;
}
