/* Fuzzes the file of access tokens: what can be read is written and read as the same.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first line is taken as a secret that somebody shows, and as a series that he asks for.
 */
#include "base/token.h"

#include <stdlib.h>
#include <string.h>

#define NOW_MS INT64_C(1795354740000)

static void compare(const struct token *token, const struct token *again)
{
    if (strcmp(token->name, again->name) != 0 || token->scopes != again->scopes ||
        strcmp(token->prefix, again->prefix) != 0 || token->created_ms != again->created_ms ||
        token->expires_ms != again->expires_ms || strcmp(token->hash, again->hash) != 0) {
        abort();
    }
}

static void write_again(const struct token_list *list)
{
    struct text text;
    struct token_list again;
    struct error error = {0};
    text_init(&text, 2 * TOKEN_FILE_BYTES_MAX);
    for (size_t i = 0; i < list->count; i++) {
        token_write(&list->items[i], &text);
    }
    if (token_list_read(&again, "again", text.bytes, text.length, &error) != STATUS_OK ||
        again.count != list->count) {
        abort();
    }
    for (size_t i = 0; i < list->count; i++) {
        compare(&list->items[i], &again.items[i]);
        if (token_list_named(&again, list->items[i].name) != &again.items[i]) {
            abort();
        }
    }
    token_list_release(&again);
    text_release(&text);
}

/* Nobody comes in by less than the bytes that were hashed, or after his time. */
static void show(const struct token_list *list, const char *secret, size_t length)
{
    const struct token *found = token_list_find(list, secret, length, NOW_MS);
    if (found && (found->expires_ms <= NOW_MS ||
                  token_list_find(list, secret, length ? length - 1 : 0, NOW_MS) == found)) {
        abort();
    }
    for (size_t i = 0; i < list->count; i++) {
        const char *prefix = list->items[i].prefix;
        size_t needed = strlen(prefix);
        if (token_prefix_allows(prefix, secret, length) && secret[0] != '{' &&
            (length < needed || memcmp(prefix, secret, needed) != 0)) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct token_list list;
    struct error error = {0};
    const char *bytes = (const char *)data;
    const char *feed = size > 0 ? memchr(bytes, '\n', size) : NULL;
    if (!feed) {
        return 0;
    }
    size_t first = (size_t)(feed - bytes);
    if (token_list_read(&list, "fuzz", feed + 1, size - first - 1, &error) != STATUS_OK) {
        if (error.status == STATUS_OK || error.text[0] == '\0') {
            abort();
        }
        return 0;
    }
    if (list.count > 0) {
        write_again(&list);
    }
    show(&list, bytes, first);
    token_list_release(&list);
    return 0;
}
