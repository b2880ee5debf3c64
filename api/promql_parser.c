/* From the text of a PromQL expression to its tree: precedence climbing.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/promql_parts.h"

#include "base/check.h"
#include "base/memory.h"

#include <string.h>

static const char refused_operators[] = "and or unless atan2";

static const struct {
    const char *symbol;
    enum promql_operator operator;
    int binds;
} operators[] = {
    {"+", PROMQL_ADD, PROMQL_BINDS_SUM},
    {"-", PROMQL_SUBTRACT, PROMQL_BINDS_SUM},
    {"*", PROMQL_MULTIPLY, PROMQL_BINDS_PRODUCT},
    {"/", PROMQL_DIVIDE, PROMQL_BINDS_PRODUCT},
    {"%", PROMQL_MODULO, PROMQL_BINDS_PRODUCT},
    {"^", PROMQL_POWER, PROMQL_BINDS_POWER},
    {"==", PROMQL_EQUAL, PROMQL_BINDS_COMPARISON},
    {"!=", PROMQL_NOT_EQUAL, PROMQL_BINDS_COMPARISON},
    {">", PROMQL_GREATER, PROMQL_BINDS_COMPARISON},
    {"<", PROMQL_LESS, PROMQL_BINDS_COMPARISON},
    {">=", PROMQL_GREATER_EQUAL, PROMQL_BINDS_COMPARISON},
    {"<=", PROMQL_LESS_EQUAL, PROMQL_BINDS_COMPARISON},
};

/* bool, on(...) and ignoring(...) behind an operator. */
static enum status take_modifiers(struct promql_parser *parser, struct promql_node *node,
                                  bool *matching, struct error *error)
{
    if (promql_at_word(parser, "bool")) {
        if (node->operator<PROMQL_EQUAL) {
            return promql_refuse(parser, "only comparisons take bool", error);
        }
        node->returns_bool = true;
        if (promql_advance(parser, error) != STATUS_OK) {
            return error->status;
        }
    }
    *matching = promql_at_word(parser, "on ignoring");
    if (*matching) {
        node->grouping.keep = promql_token_is(&parser->token, "on");
        if (promql_advance(parser, error) != STATUS_OK ||
            promql_take_labels(parser, &node->grouping, error) != STATUS_OK) {
            return error->status;
        }
    }
    if (promql_at_word(parser, "group_left group_right")) {
        return promql_unsupported("the modifier", parser->token.text, error);
    }
    return STATUS_OK;
}

static enum status check_operands(const struct promql_parser *parser, struct promql_node *node,
                                  bool matching, struct error *error)
{
    enum promql_type left = node->left->type, right = node->right->type;
    if (left == PROMQL_RANGE || right == PROMQL_RANGE) {
        return promql_refuse(parser, "an operator before it cannot take a range", error);
    }
    bool scalars = left == PROMQL_SCALAR && right == PROMQL_SCALAR;
    if (scalars && node->operator>= PROMQL_EQUAL && !node->returns_bool) {
        return promql_refuse(parser, "comparisons between scalars must use bool", error);
    }
    if (matching && (left == PROMQL_SCALAR || right == PROMQL_SCALAR)) {
        return promql_refuse(parser, "on and ignoring stand between two vectors", error);
    }
    node->type = scalars ? PROMQL_SCALAR : PROMQL_VECTOR;
    return STATUS_OK;
}

/* The operator at hand, where it binds strongly enough. */
static enum status take_operator(struct promql_parser *parser, int binds, size_t *index,
                                 bool *found, struct error *error)
{
    *found = false;
    if (promql_at_word(parser, refused_operators)) {
        return promql_unsupported("the operator", parser->token.text, error);
    }
    for (size_t i = 0; i < ARRAY_COUNT(operators) && !*found; i++) {
        *found =
            promql_token_is(&parser->token, operators[i].symbol) && operators[i].binds >= binds;
        *index = i;
    }
    return *found ? promql_advance(parser, error) : STATUS_OK;
}

static enum status take_binary(struct promql_parser *parser, int binds, struct promql_node **out,
                               struct error *error)
{
    size_t index = 0;
    bool found = false, matching = false;
    while (take_operator(parser, binds, &index, &found, error) == STATUS_OK && found) {
        struct promql_node node = {
            .kind = PROMQL_BINARY, .operator= operators[index].operator, .left = * out };
        struct promql_node *right = NULL;
        int next = operators[index].binds == PROMQL_BINDS_POWER ? PROMQL_BINDS_POWER
                                                                : operators[index].binds + 1;
        if (take_modifiers(parser, &node, &matching, error) != STATUS_OK ||
            promql_take_expression(parser, next, &right, error) != STATUS_OK) {
            return error->status;
        }
        node.right = right;
        if (check_operands(parser, &node, matching, error) != STATUS_OK ||
            promql_add_node(parser, &node, out, error) != STATUS_OK) {
            return error->status;
        }
    }
    return error->status;
}

enum status promql_take_expression(struct promql_parser *parser, int binds,
                                   struct promql_node **out, struct error *error)
{
    if (parser->depth == PROMQL_DEPTH_MAX) {
        return promql_refuse(parser, "the expression is nested too deeply", error);
    }
    parser->depth++;
    enum status status = promql_take_unary(parser, out, error);
    if (status == STATUS_OK) {
        status = take_binary(parser, binds, out, error);
    }
    parser->depth--;
    return status;
}

static enum status parse_all(struct promql_parser *parser, struct error *error)
{
    struct promql_node *root = NULL;
    if (promql_advance(parser, error) != STATUS_OK ||
        promql_take_expression(parser, PROMQL_BINDS_COMPARISON, &root, error) != STATUS_OK) {
        return error->status;
    }
    if (parser->token.kind != TOKEN_END) {
        return promql_refuse(parser, "unexpected", error);
    }
    if (root->type == PROMQL_RANGE) {
        return promql_unsupported("a range selector outside of a function", (struct slice){NULL, 0},
                                  error);
    }
    parser->promql->root = root;
    return STATUS_OK;
}

enum status promql_parse(const char *text, struct promql **out, struct error *error)
{
    size_t length = strlen(text);
    if (length >= PROMQL_BYTES_MAX) {
        error_set(error, STATUS_INVALID, "the expression is longer than %d bytes",
                  PROMQL_BYTES_MAX - 1);
        return error_code(error, "bad_promql", "query");
    }
    struct promql *promql = mem_zeroed(1, sizeof(*promql));
    if (!promql) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for a query");
    }
    memcpy(promql->text, text, length + 1);
    struct promql_parser parser = {.promql = promql,
                                   .lexer = {promql->text, promql->text, promql->text + length}};
    error->status = STATUS_OK;
    enum status status = parse_all(&parser, error);
    if (status != STATUS_OK) {
        promql_free(promql);
        return status;
    }
    *out = promql;
    return STATUS_OK;
}

void promql_free(struct promql *promql)
{
    if (promql) {
        for (size_t i = 0; i < promql->node_count; i++) {
            promql_selector_free(promql->nodes[i].selector);
        }
        mem_free(promql);
    }
}
