/* Access tokens: how one is made, what it may do, and the file that keeps hashes of them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A token is "fct_" and 64 hexadecimal digits: 256 bits from the operating system. Guessing is
 * hopeless, so a plain SHA-256 of it is enough to keep, and a slow hash would only help those who
 * want to keep the daemon busy.
 *
 * The file has one token a line, columns apart by blanks; what begins with # is a comment:
 *
 *     name scope prefix created expires sha256
 *     telegraf write plant. 2026-11-27T01:30:00Z - 9f86d08...
 *
 * A minus stands for no prefix and no expiry. Scopes are read, write, admin, with commas; admin
 * includes the others. A prefix limits a token to series whose name begins with it.
 */
#ifndef BASE_TOKEN_H
#define BASE_TOKEN_H

#include "base/text.h"

#define TOKEN_NAME_BYTES     40
#define TOKEN_PREFIX_BYTES   104
#define TOKEN_SECRET_BYTES   72
#define TOKENS_MAX           256
#define TOKEN_FILE_BYTES_MAX ((size_t)256 << 10)

enum token_scope { TOKEN_READ = 1, TOKEN_WRITE = 2, TOKEN_ADMIN = 4 };

struct token {
    char name[TOKEN_NAME_BYTES]; /* [A-Za-z0-9_.-]: safe in a log line */
    unsigned scopes;             /* of enum token_scope; admin has all three bits */
    char prefix[TOKEN_PREFIX_BYTES];
    int64_t created_ms, expires_ms; /* INT64_MAX = never */
    char hash[65];
};

struct token_list {
    struct token *items;
    size_t count;
};

/* Draws a secret and fills in its hash. The secret is shown once and kept nowhere. */
void token_draw(struct token *token, char secret[TOKEN_SECRET_BYTES]);

/* From what a user typed; STATUS_INVALID says what would be right. A prefix has letters, digits and
 * _ : . / - only, so that it never needs quoting in a series' text; an admin token has none. */
enum status token_set_name(struct token *token, const char *name, struct error *error) MUST_USE;
enum status token_set_scopes(struct token *token, const char *scopes, struct error *error) MUST_USE;
enum status token_set_prefix(struct token *token, const char *prefix, struct error *error) MUST_USE;

/* The line of the file, with its end. */
void token_write(const struct token *token, struct text *out);
void token_write_scopes(const struct token *token, struct text *out);

/* The file's text; `origin` and the line go into the error (STATUS_INVALID). */
enum status token_list_read(struct token_list *list, const char *origin, const char *bytes,
                            size_t length, struct error *error) MUST_USE;
void token_list_release(struct token_list *list);

/* NULL where there is none, or it has expired. Every token is compared in constant time, whether
 * one was found already or not. */
const struct token *token_list_find(const struct token_list *list, const char *secret,
                                    size_t length, int64_t now_ms);
const struct token *token_list_named(const struct token_list *list, const char *name);

/* Whether the prefix lets the series of this canonical text through. */
bool token_prefix_allows(const char *prefix, const char *canonical, size_t length);

#endif
