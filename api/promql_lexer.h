/* Tokens of PromQL, one after the other, without allocation.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A name may hold dots ("boiler.temp"), which Prometheus would want quoted. What stands in braces
 * is one token, for base/series_scan reads it; so is a number with a unit ("1h30m"). Comments run
 * from # to the end of the line.
 */
#ifndef API_PROMQL_LEXER_H
#define API_PROMQL_LEXER_H

#include "base/series_name.h"

#include <stdint.h>

enum promql_token_kind {
    TOKEN_END,
    TOKEN_NUMBER,
    TOKEN_DURATION,
    TOKEN_NAME,
    TOKEN_BRACES, /* from { to } */
    TOKEN_STRING,
    TOKEN_SYMBOL, /* an operator, a parenthesis, comma, [ ] : @ */
};

struct promql_token {
    enum promql_token_kind kind;
    struct slice text; /* as it stands in the query */
    double number;
    int64_t duration_ms;
};

struct promql_lexer {
    const char *begin, *cursor, *end;
};

/* STATUS_INVALID (bad_promql) where the text cannot be cut into tokens. */
enum status promql_next(struct promql_lexer *lexer, struct promql_token *token,
                        struct error *error) MUST_USE;

/* Whether a token is this word (in any case) or symbol. */
bool promql_token_is(const struct promql_token *token, const char *word);

#endif
