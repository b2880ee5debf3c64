/* Fuzzes the heads of requests: framing, target, host, origin, encodings and request id.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first line is method, target, version; the others are headers, name and value apart by a
 * colon and blanks. The first byte says which hosts are allowed. Header lines come as the library
 * hands them on.
 *
 * Oracles: framing is judged again by a plain reading of the rules; splitting a target loses
 * nothing of its path and query; what is allowed is allowed in capitals, too; an id is harmless.
 */
#include "server/http_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEADERS_MAX ((size_t)64)
#define SPACES      " \t"

struct line {
    char *name, *value;
};

struct request {
    char *method, *target, *version;
    struct line lines[HEADERS_MAX];
    size_t count;
};

/* Cuts the text up to a separator; "" at the end of the input. */
static char *cut(char **rest, const char *separators)
{
    char *word = *rest;
    size_t length = strcspn(word, separators);
    *rest = word + length + (word[length] != '\0');
    word[length] = '\0';
    return word;
}

static void read_request(char *text, struct request *request)
{
    char *line = cut(&text, "\n");
    request->method = cut(&line, " ");
    request->target = cut(&line, " ");
    request->version = line;
    for (request->count = 0; *text != '\0' && request->count < HEADERS_MAX; request->count++) {
        struct line *header = &request->lines[request->count];
        line = cut(&text, "\n");
        header->name = cut(&line, ":");
        header->value = line + strspn(line, SPACES);
    }
}

/* ---------------------------------------------------------------- oracles */

static bool is_named(const struct line *line, const char *name)
{
    return strcasecmp(line->name, name) == 0;
}

static bool begins(const char *text, const char *with)
{
    return strncasecmp(text, with, strlen(with)) == 0;
}

static bool is_plain_name(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < length; i++) {
        unsigned char letter = (unsigned char)name[i];
        if (letter >= 0x80 || (!isalnum(letter) && !strchr("!#$%&'*+-.^_`|~", letter))) {
            return false;
        }
    }
    return length > 0;
}

static bool is_digits(const char *text)
{
    size_t length = strlen(text);
    return length > 0 && length < 19 && strspn(text, "0123456789") == length;
}

/* The rules one after the other, each over all lines. */
static bool is_sound(const struct request *request, const char *target)
{
    size_t hosts = 0, lengths = 0, codings = 0;
    for (size_t i = 0; i < request->count; i++) {
        const struct line *line = &request->lines[i];
        bool length = begins(line->name, "content-length");
        bool coding = begins(line->name, "transfer-encoding");
        if (!is_plain_name(line->name) || strchr(line->value, '\r') ||
            (length && (!is_named(line, "content-length") || !is_digits(line->value))) ||
            (coding &&
             (!is_named(line, "transfer-encoding") || strcasecmp(line->value, "chunked") != 0))) {
            return false;
        }
        hosts += is_named(line, "host");
        lengths += length;
        codings += coding;
    }
    for (const char *at = target; *at != '\0'; at++) {
        if ((unsigned char)*at <= ' ' || *at == 0x7f) {
            return false;
        }
    }
    const char *authority = strstr(target, "://");
    if ((begins(target, "http://") || begins(target, "https://")) &&
        strchr("/?", authority[3]) != NULL) {
        return false;
    }
    bool is_1_0 = strcmp(request->version, "HTTP/1.0") == 0;
    return hosts <= 1 && lengths + codings <= 1 && (is_1_0 ? codings == 0 : hosts == 1);
}

/* Path and query together are what stands behind the authority. */
static void check_target(const char *target, const struct head *head, const char *path,
                         const char *query)
{
    size_t scheme = begins(target, "http://") ? 7 : begins(target, "https://") ? 8 : 0;
    const char *rest = target + scheme;
    size_t authority = scheme > 0 ? strcspn(rest, "/?") : 0;
    if (scheme > 0 &&
        (strlen(head->host) != authority || memcmp(head->host, rest, authority) != 0)) {
        abort();
    }
    rest += authority;
    size_t length = strcspn(rest, "?");
    const char *asked = rest[length] == '?' ? rest + length + 1 : "";
    bool root = scheme > 0 && length == 0;
    if (strcmp(query, asked) != 0 || strlen(path) != (root ? 1 : length) ||
        memcmp(path, root ? "/" : rest, strlen(path)) != 0) {
        abort();
    }
}

/* Names have no case. */
static void check_host(const struct http *http, const char *host)
{
    char upper[300];
    size_t length = host != NULL ? strlen(host) : sizeof(upper);
    if (length >= sizeof(upper)) {
        return;
    }
    for (size_t i = 0; i <= length; i++) {
        upper[i] = (char)toupper((unsigned char)host[i]);
    }
    bool allowed = head_host_allowed(http, host);
    if (allowed != head_host_allowed(http, upper)) {
        abort();
    }
    if (allowed && http->loopback && begins(host, "evil")) {
        abort();
    }
}

static void check_id(struct http *http, const char *given)
{
    char id[40];
    head_request_id(http, given, id);
    size_t length = strnlen(id, sizeof(id));
    if (length == 0 || length == sizeof(id)) {
        abort();
    }
    for (size_t i = 0; i < length; i++) {
        unsigned char letter = (unsigned char)id[i];
        if (letter >= 0x80 || (!isalnum(letter) && !strchr("_.-", letter))) {
            abort();
        }
    }
}

/* What is told of a foreign page by its browser is believed first. */
static void check_origin(const struct head *head)
{
    bool foreign = head_is_cross_origin(head);
    bool same = head->fetch_site && strcasecmp(head->fetch_site, "same-origin") == 0;
    bool silent = head->fetch_site == NULL && head->origin == NULL;
    if (foreign && (same || silent)) {
        abort();
    }
    if (!foreign && head->fetch_site && begins(head->fetch_site, "cross")) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http http = {.id_next = size, .loopback = true};
    struct request request;
    struct head head = {0};
    const char *path, *query;
    if (size == 0 || memchr(data, '\0', size) != NULL) {
        return 0;
    }
    http.loopback = (data[0] & 1) == 0;
    http.id_next <<= data[0] & 48; /* short numbers and long ones */
    strcpy(http.hosts, data[0] & 2 ? "sensors.example, other" : "");
    char *text = malloc(size);
    if (text == NULL) {
        abort();
    }
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    read_request(text, &request);
    char *target = strdup(request.target);
    if (target == NULL) {
        abort();
    }
    head.version = request.version;
    for (size_t i = 0; i < request.count; i++) {
        head_add(&head, request.lines[i].name, request.lines[i].value);
    }
    head_split_target(target, &head, &path, &query);
    if (head_framing_is_sound(&head) != is_sound(&request, request.target)) {
        abort();
    }
    check_target(request.target, &head, path, query);
    check_host(&http, head.host);
    check_id(&http, head.request_id);
    check_origin(&head);
    (void)head_method(request.method);
    if (head_encoding(head.encoding) != API_UNKNOWN_ENCODING && head.encoding &&
        strlen(head.encoding) > strlen("identity")) {
        abort();
    }
    if (head_accepts_gzip(head.accept_encoding) && !strcasestr(head.accept_encoding, "gzip")) {
        abort();
    }
    free(target);
    free(text);
    return 0;
}
