/* Tokens of PromQL.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/promql_lexer.h"

#include "base/check.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DURATION_MAX_MS (INT64_C(100) * 365 * 86400000)

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static char peek(const struct promql_lexer *lexer, size_t ahead)
{
    return (size_t)(lexer->end - lexer->cursor) > ahead ? lexer->cursor[ahead] : '\0';
}

static enum status fail(const struct promql_lexer *lexer, const char *problem, struct error *error)
{
    error_set(error, STATUS_INVALID, "parse error at character %zu: %s",
              (size_t)(lexer->cursor - lexer->begin) + 1, problem);
    return error_code(error, "bad_promql", "query");
}

static void skip_blanks(struct promql_lexer *lexer)
{
    while (lexer->cursor < lexer->end) {
        char c = *lexer->cursor;
        if (c == '#') {
            const char *line = memchr(lexer->cursor, '\n', (size_t)(lexer->end - lexer->cursor));
            lexer->cursor = line ? line : lexer->end;
        } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            lexer->cursor++;
        } else {
            return;
        }
    }
}

/* Behind the closing quote; false where there is none. */
static bool skip_string(struct promql_lexer *lexer)
{
    char quote = *lexer->cursor++;
    while (lexer->cursor < lexer->end && *lexer->cursor != quote) {
        bool escape = *lexer->cursor == '\\' && quote != '`';
        lexer->cursor += escape && lexer->end - lexer->cursor > 1 ? 2 : 1;
    }
    if (lexer->cursor >= lexer->end) {
        return false;
    }
    lexer->cursor++;
    return true;
}

static bool skip_braces(struct promql_lexer *lexer)
{
    while (lexer->cursor < lexer->end && *lexer->cursor != '}') {
        char c = *lexer->cursor;
        if (c == '"' || c == '\'' || c == '`') {
            if (!skip_string(lexer)) {
                return false;
            }
        } else {
            lexer->cursor++;
        }
    }
    if (lexer->cursor == lexer->end) {
        return false;
    }
    lexer->cursor++;
    return true;
}

static enum status take_duration(struct promql_lexer *lexer, struct promql_token *token,
                                 struct error *error)
{
    const char *from = lexer->cursor;
    struct error cause = {0};
    while (is_digit(peek(lexer, 0)) || is_letter(peek(lexer, 0))) {
        lexer->cursor++;
    }
    token->kind = TOKEN_DURATION;
    if (clock_parse_duration(from, (size_t)(lexer->cursor - from), &token->duration_ms, &cause) ==
            STATUS_OK &&
        token->duration_ms <= DURATION_MAX_MS) {
        return STATUS_OK;
    }
    lexer->cursor = from;
    return fail(lexer, "bad number or duration", error);
}

static enum status take_number(struct promql_lexer *lexer, struct promql_token *token,
                               struct error *error)
{
    char digits[64];
    size_t length = 0;
    const char *from = lexer->cursor;
    bool hex = from[0] == '0' && (peek(lexer, 1) == 'x' || peek(lexer, 1) == 'X');
    size_t whole = 0;
    while (is_digit(peek(lexer, whole))) {
        whole++;
    }
    char unit = peek(lexer, whole);
    if (!hex && whole > 0 && unit != '\0' && strchr("smhdwy", unit)) {
        return take_duration(lexer, token, error);
    }
    for (char c = peek(lexer, 0); length < sizeof(digits) - 1; c = peek(lexer, 0)) {
        char before = length ? digits[length - 1] : '\0';
        bool sign = (c == '+' || c == '-') && !hex && (before == 'e' || before == 'E');
        if (!is_digit(c) && !is_letter(c) && c != '.' && !sign) {
            break;
        }
        digits[length++] = c;
        lexer->cursor++;
    }
    digits[length] = '\0';
    char *end = NULL;
    token->kind = TOKEN_NUMBER;
    token->number = strtod(digits, &end);
    if (*end != '\0' || length == sizeof(digits) - 1) {
        lexer->cursor = from;
        return fail(lexer, "bad number or duration", error);
    }
    return STATUS_OK;
}

static void take_name(struct promql_lexer *lexer)
{
    char c = peek(lexer, 0);
    while (is_letter(c) || is_digit(c) || c == ':' || c == '.') {
        lexer->cursor++;
        c = peek(lexer, 0);
    }
}

static bool take_symbol(struct promql_lexer *lexer)
{
    static const char *const symbols[] = {"==", "!=", ">=", "<=", "=~", "!~", "+",
                                          "-",  "*",  "/",  "%",  "^",  ">",  "<",
                                          "(",  ")",  ",",  "[",  "]",  ":",  "@"};
    for (size_t i = 0; i < ARRAY_COUNT(symbols); i++) {
        size_t length = strlen(symbols[i]);
        if ((size_t)(lexer->end - lexer->cursor) >= length &&
            memcmp(lexer->cursor, symbols[i], length) == 0) {
            lexer->cursor += length;
            return true;
        }
    }
    return false;
}

static enum status take(struct promql_lexer *lexer, struct promql_token *token, struct error *error)
{
    char c = peek(lexer, 0);
    if (is_digit(c) || (c == '.' && is_digit(peek(lexer, 1)))) {
        return take_number(lexer, token, error);
    }
    if (is_letter(c) || (c == ':' && is_letter(peek(lexer, 1)))) {
        token->kind = TOKEN_NAME;
        take_name(lexer);
        return STATUS_OK;
    }
    if (c == '{') {
        token->kind = TOKEN_BRACES;
        return skip_braces(lexer) ? STATUS_OK : fail(lexer, "{ or a quote is not closed", error);
    }
    if (c == '"' || c == '\'' || c == '`') {
        token->kind = TOKEN_STRING;
        return skip_string(lexer) ? STATUS_OK : fail(lexer, "a quote is not closed", error);
    }
    token->kind = TOKEN_SYMBOL;
    return take_symbol(lexer) ? STATUS_OK : fail(lexer, "unexpected character", error);
}

enum status promql_next(struct promql_lexer *lexer, struct promql_token *token, struct error *error)
{
    memset(token, 0, sizeof(*token));
    skip_blanks(lexer);
    token->text.bytes = lexer->cursor;
    if (lexer->cursor == lexer->end) {
        token->kind = TOKEN_END;
        return STATUS_OK;
    }
    enum status status = take(lexer, token, error);
    token->text.length = (size_t)(lexer->cursor - token->text.bytes);
    return status;
}

bool promql_token_is(const struct promql_token *token, const char *word)
{
    return (token->kind == TOKEN_NAME || token->kind == TOKEN_SYMBOL) &&
           token->text.length == strlen(word) &&
           strncasecmp(token->text.bytes, word, token->text.length) == 0;
}
