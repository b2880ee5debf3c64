/* Who asks, and what the route wants: tokens checked when the head is there, and once more before a
 * handler. SPDX-License-Identifier: Apache-2.0
 */
#include "api/access.h"

#include "api/influx.h"
#include "api/query.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/token.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SECRET_MAX     256
#define PARAMETERS_MAX 16
#define QUERY_MAX      1024

/* Swapped as a whole; the lock is held for a look-up, never across anything that waits. */
struct access {
    struct lock lock;
    struct token_list tokens;
};

enum status access_new(struct access **out, struct error *error)
{
    struct access *access = mem_zeroed(1, sizeof(*access));
    if (!access) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the tokens");
    }
    lock_init(&access->lock);
    *out = access;
    return STATUS_OK;
}

void access_free(struct access *access)
{
    if (access) {
        token_list_release(&access->tokens);
        lock_release_memory(&access->lock);
        mem_free(access);
    }
}

void access_replace_take(struct access *access, struct token_list *tokens)
{
    lock_acquire(&access->lock);
    struct token_list before = access->tokens;
    access->tokens = *tokens;
    lock_release(&access->lock);
    token_list_release(&before);
    *tokens = (struct token_list){NULL, 0};
}

/* ---------------------------------------------------------------- where a token stands */

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* The password of Basic credentials; false where they are none. */
static bool read_basic(const char *text, char secret[SECRET_MAX])
{
    char plain[SECRET_MAX];
    size_t length = 0;
    unsigned bits = 0, held = 0;
    for (; base64_digit(*text) >= 0; text++) {
        bits = (bits << 6 | (unsigned)base64_digit(*text)) & 0xFFFFFu;
        held += 6;
        if (held >= 8) {
            held -= 8;
            if (length == sizeof(plain) - 1) {
                return false;
            }
            plain[length++] = (char)(bits >> held & 0xFF);
        }
    }
    plain[length] = '\0';
    const char *colon = memchr(plain, ':', length);
    if (!colon || text[strspn(text, "=")] != '\0') {
        return false;
    }
    snprintf(secret, SECRET_MAX, "%s", colon + 1);
    return true;
}

/* The word behind a scheme, whatever its case; NULL where the header has another one. */
static const char *after_scheme(const char *header, const char *scheme)
{
    size_t length = strlen(scheme);
    if (strncasecmp(header, scheme, length) != 0 || header[length] != ' ') {
        return NULL;
    }
    return header + length + strspn(header + length, " ");
}

/* The parameter p of InfluxDB 1.x. */
static bool read_parameter(const char *text, char secret[SECRET_MAX])
{
    char bytes[QUERY_MAX];
    struct query_parameter parameters[PARAMETERS_MAX];
    struct query query = {parameters, 0, PARAMETERS_MAX, bytes, sizeof(bytes), false};
    struct error ignored = {0};
    if (query_parse(&query, text, &ignored) != STATUS_OK || !query_value(&query, "p")) {
        return false;
    }
    snprintf(secret, SECRET_MAX, "%s", query_value(&query, "p"));
    return true;
}

static bool find_secret(const struct api_request *request, char secret[SECRET_MAX])
{
    const char *header = request->authorization;
    bool influx = influx_owns(request->path);
    if (!header) {
        return influx && read_parameter(request->query, secret);
    }
    const char *word = after_scheme(header, "Bearer");
    if (!word && influx) {
        const char *basic = after_scheme(header, "Basic");
        if (basic) {
            return read_basic(basic, secret);
        }
        word = after_scheme(header, "Token");
    }
    if (!word || strlen(word) >= SECRET_MAX) {
        return false;
    }
    snprintf(secret, SECRET_MAX, "%s", word);
    secret[strcspn(secret, " \t")] = '\0';
    return true;
}

/* ---------------------------------------------------------------- the decision */

static enum status refuse_stranger(bool has_secret, struct error *error)
{
    error_set(error, STATUS_INVALID, "%s",
              has_secret ? "the token is not known, or has expired" : "the request has no token");
    error_code(error, "unauthorized", "Authorization");
    return error_hint(error, "Send Authorization: Bearer TOKEN; forecastd token create makes one.");
}

static enum status refuse_caller(const struct route *route, const struct api_caller *caller,
                                 struct error *error)
{
    bool whole = caller->scopes & route->scope;
    error_set(error, STATUS_INVALID, "the token '%s' %s", caller->name,
              whole ? "is limited to a prefix, and this concerns all series"
                    : "does not have the scope that this needs");
    error_code(error, "forbidden", "Authorization");
    return error_hint(error, "This needs a token %s%s.",
                      whole                        ? "without a prefix"
                      : route->scope & SCOPE_WRITE ? "that may write"
                      : route->scope & SCOPE_READ  ? "that may read"
                                                   : "that may administer",
                      route->scope & SCOPE_WHOLE && !whole ? ", without a prefix" : "");
}

static bool is_open(const struct api_services *services, const struct route *route,
                    const struct api_request *request)
{
    return !services->access || route->scope & SCOPE_OPEN || request->probe;
}

bool access_granted(const struct api_services *services, const struct route *route,
                    const struct api_request *request)
{
    const struct api_caller *caller = &request->caller;
    if (is_open(services, route, request)) {
        return true;
    }
    return caller->known && (caller->scopes & route->scope) &&
           !(caller->prefix[0] && route->scope & SCOPE_WHOLE);
}

enum status access_check(struct api_services *services, const struct route *route,
                         struct api_request *request, struct error *error)
{
    struct api_caller *caller = &request->caller;
    char secret[SECRET_MAX] = "";
    caller->known = false;
    caller->scopes = 0;
    caller->name[0] = caller->prefix[0] = '\0';
    struct access *access = services->access;
    if (is_open(services, route, request)) {
        return STATUS_OK;
    }
    bool has_secret = find_secret(request, secret);
    if (has_secret) {
        int64_t now_ms = clock_wall_ms();
        lock_acquire(&access->lock);
        const struct token *token =
            token_list_find(&access->tokens, secret, strlen(secret), now_ms);
        if (token) {
            caller->known = true;
            caller->scopes = token->scopes;
            memcpy(caller->name, token->name, sizeof(caller->name));
            memcpy(caller->prefix, token->prefix, sizeof(caller->prefix));
        }
        lock_release(&access->lock);
        explicit_bzero(secret, sizeof(secret));
    }
    if (!caller->known) {
        return refuse_stranger(has_secret, error);
    }
    return access_granted(services, route, request) ? STATUS_OK
                                                    : refuse_caller(route, caller, error);
}
