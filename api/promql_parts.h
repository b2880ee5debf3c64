/* Inside of the PromQL parser: its state, and what its two halves share.
 * SPDX-License-Identifier: Apache-2.0
 *
 * promql_parser.c has the operators and the door, promql_operand.c what stands between operators.
 * All functions return STATUS_INVALID (bad_promql) for what they cannot take.
 */
#ifndef API_PROMQL_PARTS_H
#define API_PROMQL_PARTS_H

#include "api/promql_lexer.h"
#include "api/promql_parser.h"

struct promql_parser {
    struct promql *promql;
    struct promql_lexer lexer;
    struct promql_token token; /* the next one */
    size_t depth;
};

/* How strongly operators bind; unary minus stands between * and ^. */
enum { PROMQL_BINDS_COMPARISON = 1, PROMQL_BINDS_SUM, PROMQL_BINDS_PRODUCT, PROMQL_BINDS_POWER };

/* Fills the error: what is wrong at the next token; what is not supported, with its name if any. */
enum status promql_refuse(const struct promql_parser *parser, const char *problem,
                          struct error *error);
enum status promql_unsupported(const char *what, struct slice name, struct error *error);

/* On to the next token; `expect` only over this symbol. */
enum status promql_advance(struct promql_parser *parser, struct error *error) MUST_USE;
enum status promql_expect(struct promql_parser *parser, const char *symbol, const char *problem,
                          struct error *error) MUST_USE;

/* A copy of the node in the tree; promql_refuse where that is full. */
enum status promql_add_node(struct promql_parser *parser, const struct promql_node *node,
                            struct promql_node **out, struct error *error) MUST_USE;

/* Whether a name, or the next token, is one of these words (separated by blanks), in any case. */
bool promql_is_among(const char *words, struct slice name);
bool promql_at_word(const struct promql_parser *parser, const char *words);

/* "(a, b)" behind by, without, on or ignoring. */
enum status promql_take_labels(struct promql_parser *parser, struct promql_grouping *grouping,
                               struct error *error) MUST_USE;

/* An operand with its signs and suffixes. */
enum status promql_take_unary(struct promql_parser *parser, struct promql_node **out,
                              struct error *error) MUST_USE;

/* As far as operators bind at least as strongly; bounded in depth. */
enum status promql_take_expression(struct promql_parser *parser, int binds,
                                   struct promql_node **out, struct error *error) MUST_USE;

#endif
