/* What stands between the operators of PromQL: numbers, selectors, calls, parentheses.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/promql_parts.h"

#include "base/check.h"

#include <math.h>
#include <string.h>
#include <strings.h>

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

/* by(...) or without(...), where they stand here. */
static enum status take_grouping(struct promql_parser *parser, bool *given,
                                 struct promql_grouping *grouping, struct error *error)
{
    if (!promql_at_word(parser, "by without")) {
        return STATUS_OK;
    }
    if (*given) {
        return promql_refuse(parser, "by or without is given twice", error);
    }
    *given = true;
    grouping->keep = promql_token_is(&parser->token, "by");
    return promql_advance(parser, error) == STATUS_OK ? promql_take_labels(parser, grouping, error)
                                                      : error->status;
}

/* ---------------------------------------------------------------- selectors */

static enum status take_range(struct promql_parser *parser, struct promql_node *node,
                              struct error *error)
{
    if (promql_advance(parser, error) != STATUS_OK) {
        return error->status;
    }
    if (parser->token.kind != TOKEN_DURATION || parser->token.duration_ms <= 0) {
        return promql_refuse(parser, "expected a duration such as 5m", error);
    }
    node->range_ms = parser->token.duration_ms;
    node->type = PROMQL_RANGE;
    if (promql_advance(parser, error) != STATUS_OK) {
        return error->status;
    }
    if (promql_token_is(&parser->token, ":")) {
        return promql_unsupported("a subquery", (struct slice){NULL, 0}, error);
    }
    return promql_expect(parser, "]", "expected ]", error);
}

static enum status take_offset(struct promql_parser *parser, struct promql_node *node,
                               struct error *error)
{
    if (promql_advance(parser, error) != STATUS_OK) {
        return error->status;
    }
    bool negative = promql_token_is(&parser->token, "-");
    if (negative && promql_advance(parser, error) != STATUS_OK) {
        return error->status;
    }
    if (parser->token.kind != TOKEN_DURATION) {
        return promql_refuse(parser, "expected a duration such as 5m", error);
    }
    node->offset_ms = negative ? -parser->token.duration_ms : parser->token.duration_ms;
    return promql_advance(parser, error);
}

/* [5m], offset and what else may stand behind an operand. */
static enum status take_suffix(struct promql_parser *parser, struct promql_node *node,
                               struct error *error)
{
    bool selector = node->kind == PROMQL_SELECTOR;
    if (promql_token_is(&parser->token, "[")) {
        if (!selector) {
            return promql_unsupported("a subquery", (struct slice){NULL, 0}, error);
        }
        if (take_range(parser, node, error) != STATUS_OK) {
            return error->status;
        }
    }
    if (promql_token_is(&parser->token, "@")) {
        return promql_unsupported("the modifier", parser->token.text, error);
    }
    if (promql_at_word(parser, "offset")) {
        if (!selector) {
            return promql_refuse(parser, "offset must follow a selector", error);
        }
        if (take_offset(parser, node, error) != STATUS_OK) {
            return error->status;
        }
    }
    return promql_token_is(&parser->token, "@")
               ? promql_unsupported("the modifier", parser->token.text, error)
               : STATUS_OK;
}

/* `name` (may be empty) has been taken; braces may be next. */
static enum status take_selector(struct promql_parser *parser, struct slice name,
                                 struct promql_node **out, struct error *error)
{
    struct promql_node node = {.kind = PROMQL_SELECTOR, .type = PROMQL_VECTOR};
    struct slice text = name;
    if (parser->token.kind == TOKEN_BRACES) {
        const char *end = parser->token.text.bytes + parser->token.text.length;
        text.bytes = name.length ? name.bytes : parser->token.text.bytes;
        text.length = (size_t)(end - text.bytes);
        if (promql_advance(parser, error) != STATUS_OK) {
            return error->status;
        }
    }
    if (promql_add_node(parser, &node, out, error) != STATUS_OK) {
        return error->status;
    }
    return promql_selector_new(text.bytes, text.length, &(*out)->selector, error);
}

/* ---------------------------------------------------------------- calls */

static enum status take_argument(struct promql_parser *parser, struct promql_node **out,
                                 struct error *error)
{
    if (promql_expect(parser, "(", "expected (", error) != STATUS_OK ||
        promql_take_expression(parser, PROMQL_BINDS_COMPARISON, out, error) != STATUS_OK) {
        return error->status;
    }
    return promql_expect(parser, ")", "expected )", error);
}

static enum status take_call(struct promql_parser *parser, struct slice name,
                             struct promql_node **out, struct error *error)
{
    struct promql_node node = {.kind = PROMQL_CALL, .type = PROMQL_VECTOR}, *argument = NULL;
    int function = 0;
    if (promql_is_among(refused_aggregations, name)) {
        return promql_unsupported("the aggregation", name, error);
    }
    if (!find_word(functions, ARRAY_COUNT(functions), name, &function)) {
        return promql_unsupported("the function", name, error);
    }
    if (take_argument(parser, &argument, error) != STATUS_OK) {
        return error->status;
    }
    if (argument->type != PROMQL_RANGE) {
        return promql_refuse(parser, "the function before it wants a range such as m[5m]", error);
    }
    node.function = (enum promql_function)function;
    node.left = argument;
    return promql_add_node(parser, &node, out, error);
}

static enum status take_aggregate(struct promql_parser *parser, int aggregation,
                                  struct promql_node **out, struct error *error)
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
        return promql_refuse(parser, "the aggregation before it wants an instant vector", error);
    }
    node.left = argument;
    return promql_add_node(parser, &node, out, error);
}

/* ---------------------------------------------------------------- operands */

static enum status take_number(struct promql_parser *parser, double number,
                               struct promql_node **out, struct error *error)
{
    struct promql_node node = {.kind = PROMQL_NUMBER, .type = PROMQL_SCALAR, .number = number};
    return promql_add_node(parser, &node, out, error);
}

static enum status take_named(struct promql_parser *parser, struct promql_node **out,
                              struct error *error)
{
    struct slice name = parser->token.text;
    int aggregation = 0;
    if (promql_advance(parser, error) != STATUS_OK) {
        return error->status;
    }
    bool call = promql_token_is(&parser->token, "(");
    bool grouped = promql_at_word(parser, "by without");
    if ((call || grouped) &&
        find_word(aggregations, ARRAY_COUNT(aggregations), name, &aggregation)) {
        return take_aggregate(parser, aggregation, out, error);
    }
    if (call || (grouped && promql_is_among(refused_aggregations, name))) {
        return take_call(parser, name, out, error);
    }
    if (parser->token.kind != TOKEN_BRACES && promql_is_among("inf", name)) {
        return take_number(parser, (double)INFINITY, out, error);
    }
    if (parser->token.kind != TOKEN_BRACES && promql_is_among("nan", name)) {
        return take_number(parser, (double)NAN, out, error);
    }
    return take_selector(parser, name, out, error);
}

static enum status take_operand(struct promql_parser *parser, struct promql_node **out,
                                struct error *error)
{
    enum status status = STATUS_OK;
    double number = parser->token.number;
    switch (parser->token.kind) {
    case TOKEN_NUMBER:
        status = promql_advance(parser, error);
        status = status == STATUS_OK ? take_number(parser, number, out, error) : status;
        break;
    case TOKEN_NAME:
        status = take_named(parser, out, error);
        break;
    case TOKEN_BRACES:
        status = take_selector(parser, (struct slice){NULL, 0}, out, error);
        break;
    case TOKEN_STRING:
        return promql_unsupported("the string literal", parser->token.text, error);
    case TOKEN_DURATION:
    case TOKEN_SYMBOL:
    case TOKEN_END:
        if (!promql_token_is(&parser->token, "(")) {
            return promql_refuse(parser, "expected a number, a selector, a function or (", error);
        }
        status = take_argument(parser, out, error);
        break;
    }
    return status == STATUS_OK ? take_suffix(parser, *out, error) : status;
}

enum status promql_take_unary(struct promql_parser *parser, struct promql_node **out,
                              struct error *error)
{
    bool minus = promql_token_is(&parser->token, "-");
    if (!minus && !promql_token_is(&parser->token, "+")) {
        return take_operand(parser, out, error);
    }
    if (promql_advance(parser, error) != STATUS_OK ||
        promql_take_expression(parser, PROMQL_BINDS_POWER, out, error) != STATUS_OK) {
        return error->status;
    }
    if ((*out)->type == PROMQL_RANGE) {
        return promql_refuse(parser, "a range has no sign", error);
    }
    struct promql_node node = {.kind = PROMQL_NEGATE, .type = (*out)->type, .left = *out};
    return minus ? promql_add_node(parser, &node, out, error) : STATUS_OK;
}
