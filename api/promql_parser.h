/* From the text of a PromQL expression to its tree, and everything that is refused on the way.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Understood: number literals; selectors with offset; [range]; - and + before an operand;
 * + - * / % ^ and the comparisons, with bool, on(...) and ignoring(...) for one-to-one matching;
 * sum, avg, min, max, count with by(...) or without(...); rate, increase and avg, min, max, sum,
 * count and last_over_time; parentheses. Precedence and types are Prometheus's. What is not
 * understood (other functions and aggregations, and, or, unless, group_left, subqueries, @,
 * strings) is refused by name.
 *
 * Bounds: PROMQL_BYTES_MAX, PROMQL_NODES_MAX, parentheses PROMQL_DEPTH_MAX deep; the depth of a
 * tree is never above its number of nodes. Time: linear in the text.
 */
#ifndef API_PROMQL_PARSER_H
#define API_PROMQL_PARSER_H

#include "api/promql_selector.h"

#define PROMQL_BYTES_MAX  8192
#define PROMQL_NODES_MAX  256
#define PROMQL_LABELS_MAX 256 /* named by by, without, on and ignoring in all */
#define PROMQL_DEPTH_MAX  48

enum promql_type { PROMQL_SCALAR, PROMQL_VECTOR, PROMQL_RANGE };

enum promql_kind {
    PROMQL_NUMBER,
    PROMQL_SELECTOR,
    PROMQL_CALL,      /* of a function over the range selector in `left` */
    PROMQL_NEGATE,    /* of `left` */
    PROMQL_AGGREGATE, /* of `left` */
    PROMQL_BINARY,    /* of `left` and `right` */
};

enum promql_function {
    PROMQL_LAST_OVER_TIME, /* an instant selector, too, is the last value within the lookback */
    PROMQL_AVG_OVER_TIME,
    PROMQL_MIN_OVER_TIME,
    PROMQL_MAX_OVER_TIME,
    PROMQL_SUM_OVER_TIME,
    PROMQL_COUNT_OVER_TIME,
    PROMQL_RATE,
    PROMQL_INCREASE,
};

enum promql_aggregation { PROMQL_SUM, PROMQL_AVG, PROMQL_MIN, PROMQL_MAX, PROMQL_COUNT };

enum promql_operator {
    PROMQL_ADD,
    PROMQL_SUBTRACT,
    PROMQL_MULTIPLY,
    PROMQL_DIVIDE,
    PROMQL_MODULO,
    PROMQL_POWER,
    PROMQL_EQUAL, /* the comparisons from here on */
    PROMQL_NOT_EQUAL,
    PROMQL_GREATER,
    PROMQL_LESS,
    PROMQL_GREATER_EQUAL,
    PROMQL_LESS_EQUAL,
};

/* by(...) and on(...) keep the labels named, without(...) and ignoring(...) all others. */
struct promql_grouping {
    bool keep;
    const struct slice *labels; /* of the query */
    size_t count;
};

struct promql_node {
    enum promql_kind kind;
    enum promql_type type;
    double number;
    struct promql_selector *selector;
    int64_t range_ms, offset_ms; /* of a selector; range 0: an instant selector */
    enum promql_function function;
    enum promql_aggregation aggregation;
    enum promql_operator operator;
    bool returns_bool;
    struct promql_grouping grouping; /* of an aggregation, or of a match of two vectors */
    const struct promql_node *left, *right;
};

/* Large: to be allocated. */
struct promql {
    struct promql_node nodes[PROMQL_NODES_MAX];
    size_t node_count;
    struct slice labels[PROMQL_LABELS_MAX];
    size_t label_count;
    const struct promql_node *root; /* scalar or vector, never a range */
    char text[PROMQL_BYTES_MAX];
};

/* STATUS_INVALID (bad_promql) with what is wrong or not supported. Free with promql_free. */
enum status promql_parse(const char *text, struct promql **out, struct error *error) MUST_USE;
void promql_free(struct promql *promql);

#endif
