/* The head of a request: headers gathered in one pass, framing, host and request id checked.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/http_internal.h"

#include "base/check.h"

#include <microhttpd.h>
#include <string.h>
#include <strings.h>

static bool is_token(const char *name)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (const char *at = name; *at != '\0'; at++) {
        char letter = (char)(*at | 0x20);
        if (!((letter >= 'a' && letter <= 'z') || (*at >= '0' && *at <= '9') ||
              strchr(marks, *at) != NULL)) {
            return false;
        }
    }
    return name[0] != '\0';
}

/* The library appends a folded line (a blank at its begin) to the name of the header before it
 * instead of to its value: "Content-Length: 2", folded with 7, comes as a header Content-Length7.
 * Overlooked, its body would be read as the next request. No header that we know begins so. */
static bool is_folded_length(const char *name)
{
    static const char length[] = "content-length", transfer[] = "transfer-encoding";
    return (strncasecmp(name, length, sizeof(length) - 1) == 0 &&
            name[sizeof(length) - 1] != '\0') ||
           (strncasecmp(name, transfer, sizeof(transfer) - 1) == 0 &&
            name[sizeof(transfer) - 1] != '\0');
}

void head_add(struct head *head, const char *key, const char *value)
{
    if (!is_token(key) || is_folded_length(key) ||
        (value != NULL && strpbrk(value, "\r\n") != NULL)) {
        head->malformed = true;
        return;
    }
    if (value == NULL) {
        return;
    }
    switch (key[0] | 0x20) {
    case 'c':
        if (strcasecmp(key, "content-type") == 0) {
            head->content_type = value;
        } else if (strcasecmp(key, "content-length") == 0) {
            head->length = value;
            head->lengths++;
        } else if (strcasecmp(key, "content-encoding") == 0) {
            head->encoding = value;
        }
        break;
    case 't':
        if (strcasecmp(key, "transfer-encoding") == 0) {
            head->transfer = value;
            head->transfers++;
        }
        break;
    case 'x':
        if (strcasecmp(key, "x-request-id") == 0) {
            head->request_id = value;
        }
        break;
    case 'a':
        if (strcasecmp(key, "accept") == 0) {
            head->accept = value;
        } else if (strcasecmp(key, "authorization") == 0) {
            head->authorization = value;
        } else if (strcasecmp(key, "accept-encoding") == 0) {
            head->accept_encoding = value;
        }
        break;
    case 'i':
        if (strcasecmp(key, "if-none-match") == 0) {
            head->if_none_match = value;
        }
        break;
    case 'o':
        if (strcasecmp(key, "origin") == 0) {
            head->origin = value;
        }
        break;
    case 's':
        if (strcasecmp(key, "sec-fetch-site") == 0) {
            head->fetch_site = value;
        }
        break;
    case 'h':
        if (strcasecmp(key, "host") == 0) {
            head->host = value;
            head->hosts++;
        }
        break;
    case 'e':
        if (strcasecmp(key, "expect") == 0) {
            head->expect = value;
        }
        break;
    default:
        break;
    }
}

static enum MHD_Result gather_header(void *context, enum MHD_ValueKind kind, const char *key,
                                     const char *value)
{
    (void)kind;
    head_add(context, key, value);
    return MHD_YES;
}

void head_gather(struct MHD_Connection *connection, const char *version, struct head *head)
{
    *head = (struct head){.version = version};
    MHD_get_connection_values(connection, MHD_HEADER_KIND, gather_header, head);
}

/* Behind "http://" or "https://"; NULL where neither is there. */
static char *behind_scheme(char *uri)
{
    size_t scheme = strncasecmp(uri, "https", 5) == 0 ? 5 : 4;
    bool absolute = strncasecmp(uri, "http", 4) == 0 && strncmp(uri + scheme, "://", 3) == 0;
    return absolute ? uri + scheme + 3 : NULL;
}

void head_split_target(char *uri, struct head *head, const char **path, const char **query)
{
    for (const char *at = uri; *at != '\0'; at++) {
        head->malformed = head->malformed || (unsigned char)*at <= ' ' || *at == 0x7f;
    }
    char *authority = uri[0] != '/' ? behind_scheme(uri) : NULL;
    *path = uri;
    if (authority != NULL) {
        size_t length = strcspn(authority, "/?");
        char *rest = authority + length;
        memmove(uri, authority, length); /* to have room for its end */
        *path = rest[0] == '/' ? rest : "/";
        uri[length] = '\0';
        head->malformed = head->malformed || length == 0;
        head->host = uri;
        uri = rest;
    }
    char *mark = strchr(uri, '?');
    *query = mark != NULL ? mark + 1 : "";
    if (mark != NULL) {
        *mark = '\0';
    }
}

enum api_method head_method(const char *method)
{
    static const struct {
        const char *name;
        enum api_method method;
    } methods[] = {{"GET", API_GET},
                   {"HEAD", API_HEAD},
                   {"POST", API_POST},
                   {"PATCH", API_PATCH},
                   {"DELETE", API_DELETE}};
    for (size_t i = 0; i < ARRAY_COUNT(methods); i++) {
        if (strcmp(method, methods[i].name) == 0) {
            return methods[i].method;
        }
    }
    return API_OTHER;
}

enum api_encoding head_encoding(const char *encoding)
{
    if (encoding == NULL || encoding[0] == '\0' || strcasecmp(encoding, "identity") == 0) {
        return API_IDENTITY;
    }
    if (strcasecmp(encoding, "gzip") == 0 || strcasecmp(encoding, "x-gzip") == 0) {
        return API_GZIP;
    }
    if (strcasecmp(encoding, "snappy") == 0) {
        return API_SNAPPY;
    }
    return strcasecmp(encoding, "zstd") == 0 ? API_ZSTD : API_UNKNOWN_ENCODING;
}

bool head_accepts_gzip(const char *accept)
{
    for (const char *word = accept; word != NULL && *word != '\0';) {
        word += strspn(word, " \t,");
        size_t length = strcspn(word, " \t,;");
        size_t whole = strcspn(word, ",");
        if (length == strlen("gzip") && strncasecmp(word, "gzip", length) == 0) {
            const char *weight = word + length + strspn(word + length, " \t;");
            bool refused = strncasecmp(weight, "q=0", 3) == 0 &&
                           strspn(weight + 3, ".0") == strcspn(weight + 3, " \t,;");
            return !refused;
        }
        word += whole;
    }
    return false;
}

void head_request_id(struct http *http, const char *given, char out[40])
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    if (given != NULL) {
        size_t length = strlen(given);
        if (length > 0 && length < 40 && strspn(given, allowed) == length) {
            memcpy(out, given, length + 1);
            return;
        }
    }
    static const char digits[] = "0123456789abcdef";
    uint64_t prefix = http->id_prefix, number = http->id_next++;
    for (int i = 0; i < 8; i++) {
        out[i] = digits[(prefix >> (4 * i)) & 15];
    }
    out[8] = '-';
    size_t length = 9;
    int shift = 60;
    while (shift > 0 && (number >> shift) == 0) {
        shift -= 4;
    }
    for (; shift >= 0; shift -= 4) {
        out[length++] = digits[(number >> shift) & 15];
    }
    out[length] = '\0';
}

bool head_host_allowed(const struct http *http, const char *host)
{
    bool any = !http->loopback && http->hosts[0] == '\0';
    if (any || host == NULL || host[0] == '[' || strspn(host, "0123456789.:") == strlen(host)) {
        return true;
    }
    size_t length = strcspn(host, ":");
    if (length == strlen("localhost") && strncasecmp(host, "localhost", length) == 0) {
        return true;
    }
    for (const char *name = http->hosts; *name != '\0';) {
        size_t name_length = strcspn(name, ", ");
        if (name_length == length && strncasecmp(name, host, length) == 0) {
            return true;
        }
        name += name_length;
        name += strspn(name, ", ");
    }
    return false;
}

bool head_is_cross_origin(const struct head *head)
{
    if (head->fetch_site != NULL) {
        return strcasecmp(head->fetch_site, "same-origin") != 0 &&
               strcasecmp(head->fetch_site, "none") != 0;
    }
    if (head->origin == NULL) {
        return false;
    }
    const char *authority = strstr(head->origin, "://");
    return authority == NULL || head->host == NULL || strcasecmp(authority + 3, head->host) != 0;
}

bool head_framing_is_sound(const struct head *head)
{
    bool is_1_0 = strcmp(head->version, "HTTP/1.0") == 0;
    if (head->malformed || head->hosts > 1 || head->lengths > 1 || head->transfers > 1 ||
        (head->lengths > 0 && head->transfers > 0)) {
        return false;
    }
    if (is_1_0 ? head->transfers > 0 : head->hosts == 0) {
        return false;
    }
    if (head->transfers == 1 && strcasecmp(head->transfer, "chunked") != 0) {
        return false;
    }
    return head->lengths == 0 || (head->length[0] != '\0' && strlen(head->length) < 19 &&
                                  strspn(head->length, "0123456789") == strlen(head->length));
}
