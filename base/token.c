/* Access tokens: how one is made, what it may do, and the file that keeps hashes of them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/token.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"

#include <stdio.h>
#include <string.h>

#define SECRET_PREFIX "fct_"
#define COLUMNS       6

static const char name_characters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
static const char prefix_characters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:./-";

static const struct {
    const char *name;
    unsigned scopes;
} scope_names[] = {{"read", TOKEN_READ},
                   {"write", TOKEN_WRITE},
                   {"admin", TOKEN_READ | TOKEN_WRITE | TOKEN_ADMIN}};

static void hash_secret(const char *secret, size_t length, char hex[65])
{
    struct sha256 hash;
    sha256_init(&hash);
    sha256_add(&hash, secret, length);
    sha256_hex(&hash, hex);
}

void token_draw(struct token *token, char secret[TOKEN_SECRET_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char random[32];
    size_t at = strlen(SECRET_PREFIX);
    random_secret(random, sizeof(random));
    memcpy(secret, SECRET_PREFIX, at);
    for (size_t i = 0; i < sizeof(random); i++) {
        secret[at++] = digits[random[i] >> 4];
        secret[at++] = digits[random[i] & 15];
    }
    secret[at] = '\0';
    hash_secret(secret, at, token->hash);
}

enum status token_set_name(struct token *token, const char *name, struct error *error)
{
    size_t length = strlen(name);
    if (length == 0 || length >= sizeof(token->name) || strspn(name, name_characters) != length) {
        error_set(error, STATUS_INVALID, "a token cannot be called '%.60s'", name);
        error_code(error, "bad_value", "name");
        return error_hint(error, "Names have up to 39 letters, digits, points, _ and -.");
    }
    memcpy(token->name, name, length + 1);
    return STATUS_OK;
}

static enum status scopes_of(const char *scopes, size_t length, unsigned *out, struct error *error)
{
    *out = 0;
    for (size_t at = 0; at < length;) {
        size_t one = 0, found = 0;
        while (at + one < length && scopes[at + one] != ',') {
            one++;
        }
        for (size_t i = 0; i < ARRAY_COUNT(scope_names); i++) {
            if (strlen(scope_names[i].name) == one &&
                memcmp(scopes + at, scope_names[i].name, one) == 0) {
                *out |= scope_names[i].scopes;
                found++;
            }
        }
        if (found == 0) {
            *out = 0;
            break;
        }
        at += one + 1;
    }
    if (*out == 0) {
        error_set(error, STATUS_INVALID, "there is no scope '%.*s'",
                  (int)(length < 60 ? length : 60), scopes);
        error_code(error, "bad_value", "scope");
        return error_hint(error, "Scopes are read, write and admin; join several with commas.");
    }
    return STATUS_OK;
}

enum status token_set_scopes(struct token *token, const char *scopes, struct error *error)
{
    return scopes_of(scopes, strlen(scopes), &token->scopes, error);
}

enum status token_set_prefix(struct token *token, const char *prefix, struct error *error)
{
    size_t length = strlen(prefix);
    if (length == 0 || length >= sizeof(token->prefix) ||
        strspn(prefix, prefix_characters) != length || strcmp(prefix, "-") == 0) {
        error_set(error, STATUS_INVALID, "a prefix cannot be '%.60s'", prefix);
        error_code(error, "bad_value", "prefix");
        return error_hint(error, "Prefixes have up to 103 letters, digits and _ : . / -.");
    }
    if (token->scopes & TOKEN_ADMIN) {
        error_set(error, STATUS_INVALID, "an admin token cannot have a prefix");
        error_code(error, "bad_value", "prefix");
        return error_hint(error, "Training and models concern all series; use read or write.");
    }
    memcpy(token->prefix, prefix, length + 1);
    return STATUS_OK;
}

/* ---------------------------------------------------------------- the file */

void token_write_scopes(const struct token *token, struct text *out)
{
    if (token->scopes & TOKEN_ADMIN) {
        text_add_string(out, "admin");
        return;
    }
    text_add_format(out, "%s%s%s", token->scopes & TOKEN_READ ? "read" : "",
                    token->scopes == (TOKEN_READ | TOKEN_WRITE) ? "," : "",
                    token->scopes & TOKEN_WRITE ? "write" : "");
}

void token_write(const struct token *token, struct text *out)
{
    text_add_format(out, "%s ", token->name);
    token_write_scopes(token, out);
    text_add_format(out, " %s ", token->prefix[0] ? token->prefix : "-");
    text_add_time(out, token->created_ms);
    text_add_char(out, ' ');
    if (token->expires_ms == INT64_MAX) {
        text_add_char(out, '-');
    } else {
        text_add_time(out, token->expires_ms);
    }
    text_add_format(out, " %s\n", token->hash);
}

static enum status read_columns(char *column[COLUMNS], struct token *token, struct error *error)
{
    bool has_prefix = strcmp(column[2], "-") != 0, expires = strcmp(column[4], "-") != 0;
    token->expires_ms = INT64_MAX;
    if (token_set_name(token, column[0], error) != STATUS_OK ||
        token_set_scopes(token, column[1], error) != STATUS_OK ||
        (has_prefix && token_set_prefix(token, column[2], error) != STATUS_OK) ||
        clock_parse(column[3], strlen(column[3]), 1, &token->created_ms, error) != STATUS_OK ||
        (expires &&
         clock_parse(column[4], strlen(column[4]), 1, &token->expires_ms, error) != STATUS_OK)) {
        return error->status;
    }
    if (strlen(column[5]) != 64 || strspn(column[5], "0123456789abcdef") != 64) {
        return error_set(error, STATUS_INVALID, "the hash is not 64 hexadecimal digits");
    }
    memcpy(token->hash, column[5], 65);
    return STATUS_OK;
}

/* One line without its end, as text that may be cut up. */
static enum status read_line(struct token_list *list, char *line, struct error *error)
{
    char *column[COLUMNS];
    size_t count = 0;
    for (char *at = line; *at != '\0';) {
        at += strspn(at, " \t\r");
        size_t length = strcspn(at, " \t\r");
        if (length == 0) {
            break;
        }
        if (count == COLUMNS) {
            count++;
            break;
        }
        column[count++] = at;
        at += length;
        if (*at != '\0') {
            *at++ = '\0';
        }
    }
    if (count == 0 || (count > 0 && column[0][0] == '#')) {
        return STATUS_OK;
    }
    if (count != COLUMNS) {
        return error_set(error, STATUS_INVALID, "a line has %d columns: %s", COLUMNS,
                         "name scope prefix created expires sha256");
    }
    if (list->count == TOKENS_MAX) {
        return error_set(error, STATUS_TOO_LARGE, "more than %d tokens", TOKENS_MAX);
    }
    struct token *token = &list->items[list->count];
    if (read_columns(column, token, error) != STATUS_OK) {
        return error->status;
    }
    if (token_list_named(list, token->name) != NULL) {
        return error_set(error, STATUS_INVALID, "two tokens are called '%s'", token->name);
    }
    list->count++;
    return STATUS_OK;
}

enum status token_list_read(struct token_list *list, const char *origin, const char *bytes,
                            size_t length, struct error *error)
{
    char line[1024];
    enum status status = STATUS_OK;
    size_t number = 0;
    *list = (struct token_list){mem_zeroed(TOKENS_MAX, sizeof(struct token)), 0};
    if (list->items == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not read '%s': out of memory", origin);
    }
    for (size_t at = 0; at < length && status == STATUS_OK;) {
        const char *end = memchr(bytes + at, '\n', length - at);
        size_t line_length = end != NULL ? (size_t)(end - bytes) - at : length - at;
        number++;
        if (line_length >= sizeof(line) || memchr(bytes + at, '\0', line_length) != NULL) {
            status = error_set(error, STATUS_INVALID, "the line is too long or no text");
        } else {
            memcpy(line, bytes + at, line_length);
            line[line_length] = '\0';
            status = read_line(list, line, error);
        }
        at += line_length + 1;
    }
    if (status != STATUS_OK) {
        error_wrap(error, "%s:%zu", origin, number);
        token_list_release(list);
    }
    return status;
}

void token_list_release(struct token_list *list)
{
    mem_free(list->items);
    *list = (struct token_list){NULL, 0};
}

const struct token *token_list_find(const struct token_list *list, const char *secret,
                                    size_t length, int64_t now_ms)
{
    const struct token *found = NULL;
    char hash[65];
    hash_secret(secret, length, hash);
    for (size_t i = 0; i < list->count; i++) {
        if (hash_equal(list->items[i].hash, hash, 64)) {
            found = &list->items[i];
        }
    }
    return found != NULL && found->expires_ms > now_ms ? found : NULL;
}

const struct token *token_list_named(const struct token_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].name, name) == 0) {
            return &list->items[i];
        }
    }
    return NULL;
}

bool token_prefix_allows(const char *prefix, const char *canonical, size_t length)
{
    /* A name that needs quoting stands as {"the name",...}; a prefix never holds what ends a name.
     */
    size_t skip = length > 1 && canonical[0] == '{' ? 2 : 0, wanted = strlen(prefix);
    return wanted <= length - skip && memcmp(canonical + skip, prefix, wanted) == 0;
}
