/* From the text of a PromQL expression to its tree: precedence climbing.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/promql_parser.h"

#include "api/promql_lexer.h"
#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#define SUPPORTED                                                                                  \
    "Supported are numbers, selectors with offset, arithmetic and comparison, sum, avg, min, max " \
    "and count by, rate, increase and the avg, min, max, sum, count and last _over_time "          \
    "functions."

struct parser {
    struct promql *promql;
    struct promql_lexer lexer;
    struct promql_token token; /* the next one */
    size_t depth;
};

struct word {
    const char *name;
    int value;
};

static const struct word functions[] = {
    {"rate", PROMQL_RATE},
    {"increase", PROMQL_INCREASE},
    {"avg_over_time", PROMQL_AVG_OVER_TIME},
    {"min_over_time", PROMQL_MIN_OVER_TIME},
    {"max_over_time", PROMQL_MAX_OVER_TIME},
    {"sum_over_time", PROMQL_SUM_OVER_TIME},
    {"count_over_time", PROMQL_COUNT_OVER_TIME},
    {"last_over_time", PROMQL_LAST_OVER_TIME},
};

static const struct word aggregations[] = {
    {"sum", PROMQL_SUM}, {"avg", PROMQL_AVG},     {"min", PROMQL_MIN},
    {"max", PROMQL_MAX}, {"count", PROMQL_COUNT},
};

static const char refused_aggregations[] =
    "topk bottomk quantile stddev stdvar group count_values limitk limit_ratio";
static const char refused_operators[] = "and or unless atan2";

/* The operators by how strongly they bind; unary minus stands between * and ^. */
enum { BINDS_COMPARISON = 1, BINDS_SUM, BINDS_PRODUCT, BINDS_POWER };
static const struct {
    const char *symbol;
    enum promql_operator operator;
    int binds;
} operators[] = {
    {"+", PROMQL_ADD, BINDS_SUM},
    {"-", PROMQL_SUBTRACT, BINDS_SUM},
    {"*", PROMQL_MULTIPLY, BINDS_PRODUCT},
    {"/", PROMQL_DIVIDE, BINDS_PRODUCT},
    {"%", PROMQL_MODULO, BINDS_PRODUCT},
    {"^", PROMQL_POWER, BINDS_POWER},
    {"==", PROMQL_EQUAL, BINDS_COMPARISON},
    {"!=", PROMQL_NOT_EQUAL, BINDS_COMPARISON},
    {">", PROMQL_GREATER, BINDS_COMPARISON},
    {"<", PROMQL_LESS, BINDS_COMPARISON},
    {">=", PROMQL_GREATER_EQUAL, BINDS_COMPARISON},
    {"<=", PROMQL_LESS_EQUAL, BINDS_COMPARISON},
};

/* ---------------------------------------------------------------- parts */

static enum status refuse(const struct parser *parser, const char *problem, struct error *error)
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

static enum status unsupported(const char *what, struct slice name, struct error *error)
{
    error_set(error, STATUS_INVALID, "%s%s%.*s%s is not supported", what, name.length ? " \"" : "",
              (int)(name.length < 60 ? name.length : 60), name.length ? name.bytes : "",
              name.length ? "\"" : "");
    error_code(error, "bad_promql", "query");
    return error_hint(error, SUPPORTED);
}

static enum status advance(struct parser *parser, struct error *error)
{
    return promql_next(&parser->lexer, &parser->token, error);
}

static enum status expect(struct parser *parser, const char *symbol, const char *problem,
                          struct error *error)
{
    if (!promql_token_is(&parser->token, symbol)) {
        return refuse(parser, problem, error);
    }
    return advance(parser, error);
}

static enum status add_node(struct parser *parser, const struct promql_node *node,
                            struct promql_node **out, struct error *error)
{
    struct promql *promql = parser->promql;
    if (promql->node_count == PROMQL_NODES_MAX) {
        return refuse(parser, "the expression has too many parts", error);
    }
    *out = &promql->nodes[promql->node_count++];
    **out = *node;
    return STATUS_OK;
}

static bool find_word(const struct word *words, size_t count, struct slice name, int *value)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(words[i].name) == name.length &&
            strncasecmp(words[i].name, name.bytes, name.length) == 0) {
            *value = words[i].value;
            return true;
        }
    }
    return false;
}

static bool is_among(const char *words, struct slice name)
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

static bool at_word(const struct parser *parser, const char *words)
{
    return parser->token.kind == TOKEN_NAME && is_among(words, parser->token.text);
}

/* "(a, b)" behind by, without, on or ignoring. */
static enum status take_labels(struct parser *parser, struct promql_grouping *grouping,
                               struct error *error)
{
    struct promql *promql = parser->promql;
    grouping->labels = promql->labels + promql->label_count;
    grouping->count = 0;
    if (expect(parser, "(", "expected ( and labels", error) != STATUS_OK) {
        return error->status;
    }
    while (parser->token.kind == TOKEN_NAME) {
        if (promql->label_count == PROMQL_LABELS_MAX) {
            return refuse(parser, "too many labels", error);
        }
        promql->labels[promql->label_count++] = parser->token.text;
        grouping->count++;
        if (advance(parser, error) != STATUS_OK) {
            return error->status;
        }
        if (!promql_token_is(&parser->token, ",")) {
            break;
        }
        if (advance(parser, error) != STATUS_OK) {
            return error->status;
        }
    }
    return expect(parser, ")", "expected a label or )", error);
}

/* by(...) or without(...), where they stand here. */
static enum status take_grouping(struct parser *parser, bool *given,
                                 struct promql_grouping *grouping, struct error *error)
{
    if (!at_word(parser, "by without")) {
        return STATUS_OK;
    }
    if (*given) {
        return refuse(parser, "by or without is given twice", error);
    }
    *given = true;
    grouping->keep = promql_token_is(&parser->token, "by");
    return advance(parser, error) == STATUS_OK ? take_labels(parser, grouping, error)
                                               : error->status;
}

/* ---------------------------------------------------------------- selectors */

static enum status take_range(struct parser *parser, struct promql_node *node, struct error *error)
{
    if (advance(parser, error) != STATUS_OK) {
        return error->status;
    }
    if (parser->token.kind != TOKEN_DURATION || parser->token.duration_ms <= 0) {
        return refuse(parser, "expected a duration such as 5m", error);
    }
    node->range_ms = parser->token.duration_ms;
    node->type = PROMQL_RANGE;
    if (advance(parser, error) != STATUS_OK) {
        return error->status;
    }
    if (promql_token_is(&parser->token, ":")) {
        return unsupported("a subquery", (struct slice){NULL, 0}, error);
    }
    return expect(parser, "]", "expected ]", error);
}

static enum status take_offset(struct parser *parser, struct promql_node *node, struct error *error)
{
    if (advance(parser, error) != STATUS_OK) {
        return error->status;
    }
    bool negative = promql_token_is(&parser->token, "-");
    if (negative && advance(parser, error) != STATUS_OK) {
        return error->status;
    }
    if (parser->token.kind != TOKEN_DURATION) {
        return refuse(parser, "expected a duration such as 5m", error);
    }
    node->offset_ms = negative ? -parser->token.duration_ms : parser->token.duration_ms;
    return advance(parser, error);
}

/* [5m], offset and what else may stand behind an operand. */
static enum status take_suffix(struct parser *parser, struct promql_node *node, struct error *error)
{
    bool selector = node->kind == PROMQL_SELECTOR;
    if (promql_token_is(&parser->token, "[")) {
        if (!selector) {
            return unsupported("a subquery", (struct slice){NULL, 0}, error);
        }
        if (take_range(parser, node, error) != STATUS_OK) {
            return error->status;
        }
    }
    if (promql_token_is(&parser->token, "@")) {
        return unsupported("the modifier", parser->token.text, error);
    }
    if (at_word(parser, "offset")) {
        if (!selector) {
            return refuse(parser, "offset must follow a selector", error);
        }
        if (take_offset(parser, node, error) != STATUS_OK) {
            return error->status;
        }
    }
    return promql_token_is(&parser->token, "@")
               ? unsupported("the modifier", parser->token.text, error)
               : STATUS_OK;
}

/* `name` (may be empty) has been taken; braces may be next. */
static enum status take_selector(struct parser *parser, struct slice name, struct promql_node **out,
                                 struct error *error)
{
    struct promql_node node = {.kind = PROMQL_SELECTOR, .type = PROMQL_VECTOR};
    struct slice text = name;
    if (parser->token.kind == TOKEN_BRACES) {
        const char *end = parser->token.text.bytes + parser->token.text.length;
        text.bytes = name.length ? name.bytes : parser->token.text.bytes;
        text.length = (size_t)(end - text.bytes);
        if (advance(parser, error) != STATUS_OK) {
            return error->status;
        }
    }
    if (add_node(parser, &node, out, error) != STATUS_OK) {
        return error->status;
    }
    return promql_selector_new(text.bytes, text.length, &(*out)->selector, error);
}

/* ---------------------------------------------------------------- calls */

static enum status take_expression(struct parser *parser, int binds, struct promql_node **out,
                                   struct error *error);

static enum status take_argument(struct parser *parser, struct promql_node **out,
                                 struct error *error)
{
    if (expect(parser, "(", "expected (", error) != STATUS_OK ||
        take_expression(parser, BINDS_COMPARISON, out, error) != STATUS_OK) {
        return error->status;
    }
    return expect(parser, ")", "expected )", error);
}

static enum status take_call(struct parser *parser, struct slice name, struct promql_node **out,
                             struct error *error)
{
    struct promql_node node = {.kind = PROMQL_CALL, .type = PROMQL_VECTOR}, *argument = NULL;
    int function = 0;
    if (is_among(refused_aggregations, name)) {
        return unsupported("the aggregation", name, error);
    }
    if (!find_word(functions, ARRAY_COUNT(functions), name, &function)) {
        return unsupported("the function", name, error);
    }
    if (take_argument(parser, &argument, error) != STATUS_OK) {
        return error->status;
    }
    if (argument->type != PROMQL_RANGE) {
        return refuse(parser, "the function before it wants a range such as m[5m]", error);
    }
    node.function = (enum promql_function)function;
    node.left = argument;
    return add_node(parser, &node, out, error);
}

static enum status take_aggregate(struct parser *parser, int aggregation, struct promql_node **out,
                                  struct error *error)
{
    struct promql_node node = {.kind = PROMQL_AGGREGATE,
                               .type = PROMQL_VECTOR,
                               .aggregation = (enum promql_aggregation)aggregation,
                               .grouping = {.keep = true}};
    struct promql_node *argument = NULL;
    bool given = false;
    if (take_grouping(parser, &given, &node.grouping, error) != STATUS_OK ||
        take_argument(parser, &argument, error) != STATUS_OK ||
        take_grouping(parser, &given, &node.grouping, error) != STATUS_OK) {
        return error->status;
    }
    if (argument->type != PROMQL_VECTOR) {
        return refuse(parser, "the aggregation before it wants an instant vector", error);
    }
    node.left = argument;
    return add_node(parser, &node, out, error);
}

/* ---------------------------------------------------------------- operands */

static enum status take_number(struct parser *parser, double number, struct promql_node **out,
                               struct error *error)
{
    struct promql_node node = {.kind = PROMQL_NUMBER, .type = PROMQL_SCALAR, .number = number};
    return add_node(parser, &node, out, error);
}

static enum status take_named(struct parser *parser, struct promql_node **out, struct error *error)
{
    struct slice name = parser->token.text;
    int aggregation = 0;
    if (advance(parser, error) != STATUS_OK) {
        return error->status;
    }
    bool call = promql_token_is(&parser->token, "(");
    bool grouped = at_word(parser, "by without");
    if ((call || grouped) &&
        find_word(aggregations, ARRAY_COUNT(aggregations), name, &aggregation)) {
        return take_aggregate(parser, aggregation, out, error);
    }
    if (call || (grouped && is_among(refused_aggregations, name))) {
        return take_call(parser, name, out, error);
    }
    if (parser->token.kind != TOKEN_BRACES && is_among("inf", name)) {
        return take_number(parser, (double)INFINITY, out, error);
    }
    if (parser->token.kind != TOKEN_BRACES && is_among("nan", name)) {
        return take_number(parser, (double)NAN, out, error);
    }
    return take_selector(parser, name, out, error);
}

static enum status take_operand(struct parser *parser, struct promql_node **out,
                                struct error *error)
{
    enum status status = STATUS_OK;
    double number = parser->token.number;
    switch (parser->token.kind) {
    case TOKEN_NUMBER:
        status = advance(parser, error);
        status = status == STATUS_OK ? take_number(parser, number, out, error) : status;
        break;
    case TOKEN_NAME:
        status = take_named(parser, out, error);
        break;
    case TOKEN_BRACES:
        status = take_selector(parser, (struct slice){NULL, 0}, out, error);
        break;
    case TOKEN_STRING:
        return unsupported("the string literal", parser->token.text, error);
    case TOKEN_DURATION:
    case TOKEN_SYMBOL:
    case TOKEN_END:
        if (!promql_token_is(&parser->token, "(")) {
            return refuse(parser, "expected a number, a selector, a function or (", error);
        }
        status = take_argument(parser, out, error);
        break;
    }
    return status == STATUS_OK ? take_suffix(parser, *out, error) : status;
}

static enum status take_unary(struct parser *parser, struct promql_node **out, struct error *error)
{
    bool minus = promql_token_is(&parser->token, "-");
    if (!minus && !promql_token_is(&parser->token, "+")) {
        return take_operand(parser, out, error);
    }
    if (advance(parser, error) != STATUS_OK ||
        take_expression(parser, BINDS_POWER, out, error) != STATUS_OK) {
        return error->status;
    }
    if ((*out)->type == PROMQL_RANGE) {
        return refuse(parser, "a range has no sign", error);
    }
    struct promql_node node = {.kind = PROMQL_NEGATE, .type = (*out)->type, .left = *out};
    return minus ? add_node(parser, &node, out, error) : STATUS_OK;
}

/* ---------------------------------------------------------------- operators */

/* bool, on(...) and ignoring(...) behind an operator. */
static enum status take_modifiers(struct parser *parser, struct promql_node *node, bool *matching,
                                  struct error *error)
{
    if (at_word(parser, "bool")) {
        if (node->operator<PROMQL_EQUAL) {
            return refuse(parser, "only comparisons take bool", error);
        }
        node->returns_bool = true;
        if (advance(parser, error) != STATUS_OK) {
            return error->status;
        }
    }
    *matching = at_word(parser, "on ignoring");
    if (*matching) {
        node->grouping.keep = promql_token_is(&parser->token, "on");
        if (advance(parser, error) != STATUS_OK ||
            take_labels(parser, &node->grouping, error) != STATUS_OK) {
            return error->status;
        }
    }
    if (at_word(parser, "group_left group_right")) {
        return unsupported("the modifier", parser->token.text, error);
    }
    return STATUS_OK;
}

static enum status check_operands(const struct parser *parser, struct promql_node *node,
                                  bool matching, struct error *error)
{
    enum promql_type left = node->left->type, right = node->right->type;
    if (left == PROMQL_RANGE || right == PROMQL_RANGE) {
        return refuse(parser, "an operator before it cannot take a range", error);
    }
    bool scalars = left == PROMQL_SCALAR && right == PROMQL_SCALAR;
    if (scalars && node->operator>= PROMQL_EQUAL && !node->returns_bool) {
        return refuse(parser, "comparisons between scalars must use bool", error);
    }
    if (matching && (left == PROMQL_SCALAR || right == PROMQL_SCALAR)) {
        return refuse(parser, "on and ignoring stand between two vectors", error);
    }
    node->type = scalars ? PROMQL_SCALAR : PROMQL_VECTOR;
    return STATUS_OK;
}

/* The operator at hand, where it binds strongly enough. */
static enum status take_operator(struct parser *parser, int binds, size_t *index, bool *found,
                                 struct error *error)
{
    *found = false;
    if (at_word(parser, refused_operators)) {
        return unsupported("the operator", parser->token.text, error);
    }
    for (size_t i = 0; i < ARRAY_COUNT(operators) && !*found; i++) {
        *found =
            promql_token_is(&parser->token, operators[i].symbol) && operators[i].binds >= binds;
        *index = i;
    }
    return *found ? advance(parser, error) : STATUS_OK;
}

static enum status take_binary(struct parser *parser, int binds, struct promql_node **out,
                               struct error *error)
{
    size_t index = 0;
    bool found = false, matching = false;
    while (take_operator(parser, binds, &index, &found, error) == STATUS_OK && found) {
        struct promql_node node = {
            .kind = PROMQL_BINARY, .operator= operators[index].operator, .left = * out };
        struct promql_node *right = NULL;
        int next = operators[index].binds == BINDS_POWER ? BINDS_POWER : operators[index].binds + 1;
        if (take_modifiers(parser, &node, &matching, error) != STATUS_OK ||
            take_expression(parser, next, &right, error) != STATUS_OK) {
            return error->status;
        }
        node.right = right;
        if (check_operands(parser, &node, matching, error) != STATUS_OK ||
            add_node(parser, &node, out, error) != STATUS_OK) {
            return error->status;
        }
    }
    return error->status;
}

static enum status take_expression(struct parser *parser, int binds, struct promql_node **out,
                                   struct error *error)
{
    if (parser->depth == PROMQL_DEPTH_MAX) {
        return refuse(parser, "the expression is nested too deeply", error);
    }
    parser->depth++;
    enum status status = take_unary(parser, out, error);
    if (status == STATUS_OK) {
        status = take_binary(parser, binds, out, error);
    }
    parser->depth--;
    return status;
}

static enum status parse_all(struct parser *parser, struct error *error)
{
    struct promql_node *root = NULL;
    if (advance(parser, error) != STATUS_OK ||
        take_expression(parser, BINDS_COMPARISON, &root, error) != STATUS_OK) {
        return error->status;
    }
    if (parser->token.kind != TOKEN_END) {
        return refuse(parser, "unexpected", error);
    }
    if (root->type == PROMQL_RANGE) {
        return unsupported("a range selector outside of a function", (struct slice){NULL, 0},
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
    struct parser parser = {.promql = promql,
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
