/* Inside of the PromQL parser: what its two halves share.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/promql_parts.h"

#include <string.h>
#include <strings.h>

#define SUPPORTED                                                                                  \
    "Supported are numbers, selectors with offset, arithmetic and comparison, sum, avg, min, max " \
    "and count by, rate, increase and the avg, min, max, sum, count and last _over_time "          \
    "functions."

enum status promql_refuse(const struct promql_parser *parser, const char *problem,
                          struct error *error)
{
    const struct promql_token *token = &parser->token;
    size_t at = (size_t)(token->text.bytes - parser->lexer.begin) + 1;
    if (token->kind == TOKEN_END) {
        error_set(error, STATUS_INVALID, "parse error at the end: %s", problem);
    } else {
        error_set(error, STATUS_INVALID, "parse error at character %zu, \"%.*s\": %s", at,
                  (int)(token->text.length < 60 ? token->text.length : 60), token->text.bytes,
                  problem);
    }
    return error_code(error, "bad_promql", "query");
}

enum status promql_unsupported(const char *what, struct slice name, struct error *error)
{
    error_set(error, STATUS_INVALID, "%s%s%.*s%s is not supported", what, name.length ? " \"" : "",
              (int)(name.length < 60 ? name.length : 60), name.length ? name.bytes : "",
              name.length ? "\"" : "");
    error_code(error, "bad_promql", "query");
    return error_hint(error, SUPPORTED);
}

enum status promql_advance(struct promql_parser *parser, struct error *error)
{
    return promql_next(&parser->lexer, &parser->token, error);
}

enum status promql_expect(struct promql_parser *parser, const char *symbol, const char *problem,
                          struct error *error)
{
    if (!promql_token_is(&parser->token, symbol)) {
        return promql_refuse(parser, problem, error);
    }
    return promql_advance(parser, error);
}

enum status promql_add_node(struct promql_parser *parser, const struct promql_node *node,
                            struct promql_node **out, struct error *error)
{
    struct promql *promql = parser->promql;
    if (promql->node_count == PROMQL_NODES_MAX) {
        return promql_refuse(parser, "the expression has too many parts", error);
    }
    *out = &promql->nodes[promql->node_count++];
    **out = *node;
    return STATUS_OK;
}

bool promql_is_among(const char *words, struct slice name)
{
    for (const char *at = words; *at; at += strspn(at, " ")) {
        size_t length = strcspn(at, " ");
        if (length == name.length && strncasecmp(at, name.bytes, length) == 0) {
            return true;
        }
        at += length;
    }
    return false;
}

bool promql_at_word(const struct promql_parser *parser, const char *words)
{
    return parser->token.kind == TOKEN_NAME && promql_is_among(words, parser->token.text);
}

enum status promql_take_labels(struct promql_parser *parser, struct promql_grouping *grouping,
                               struct error *error)
{
    struct promql *promql = parser->promql;
    grouping->labels = promql->labels + promql->label_count;
    grouping->count = 0;
    if (promql_expect(parser, "(", "expected ( and labels", error) != STATUS_OK) {
        return error->status;
    }
    while (parser->token.kind == TOKEN_NAME) {
        if (promql->label_count == PROMQL_LABELS_MAX) {
            return promql_refuse(parser, "too many labels", error);
        }
        promql->labels[promql->label_count++] = parser->token.text;
        grouping->count++;
        if (promql_advance(parser, error) != STATUS_OK) {
            return error->status;
        }
        if (!promql_token_is(&parser->token, ",")) {
            break;
        }
        if (promql_advance(parser, error) != STATUS_OK) {
            return error->status;
        }
    }
    return promql_expect(parser, ")", "expected a label or )", error);
}
