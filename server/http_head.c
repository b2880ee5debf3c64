/* The head of a request: headers gathered in one pass, framing, host and request id checked.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/http_internal.h"

#include "base/check.h"

#include <microhttpd.h>
#include <string.h>
#include <strings.h>

static enum MHD_Result gather_header(void *context, enum MHD_ValueKind kind, const char *key,
                                     const char *value)
{
    struct head *head = context;
    (void)kind;
    if (value == NULL) {
        return MHD_YES;
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
    return MHD_YES;
}

void head_gather(struct MHD_Connection *connection, struct head *head)
{
    memset(head, 0, sizeof(*head));
    MHD_get_connection_values(connection, MHD_HEADER_KIND, gather_header, head);
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
    if (head->hosts > 1 || head->lengths > 1 || head->transfers > 1 ||
        (head->lengths > 0 && head->transfers > 0)) {
        return false;
    }
    if (head->transfers == 1 && strcasecmp(head->transfer, "chunked") != 0) {
        return false;
    }
    return head->lengths == 0 || (head->length[0] != '\0' && strlen(head->length) < 19 &&
                                  strspn(head->length, "0123456789") == strlen(head->length));
}
