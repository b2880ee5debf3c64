/* Evaluation of a PromQL expression: one function a kind of node.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The recursion is as deep as the tree, at most PROMQL_NODES_MAX, with small frames.
 */
#include "api/promql.h"

static enum status evaluate_number(const struct promql_node *node, struct promql_matrix *out,
                                   struct error *error)
{
    struct promql_row *row = NULL;
    if (promql_matrix_add(out, (struct slice){"", 0}, &row, error) != STATUS_OK) {
        return error->status;
    }
    for (size_t i = 0; i < out->instants; i++) {
        row->values[i] = node->number;
    }
    return STATUS_OK;
}

/* In place; `out` holds the operand. */
static enum status negate(const struct promql_node *node, struct promql_matrix *out,
                          struct error *error)
{
    for (size_t r = 0; r < out->count; r++) {
        struct promql_row *row = &out->rows[r];
        for (size_t i = 0; i < out->instants; i++) {
            if (!promql_is_absent(row->values[i])) {
                row->values[i] = -row->values[i];
            }
        }
        if (promql_work(out->budget, out->instants, error) != STATUS_OK ||
            promql_row_pick(row, &promql_name_key, 1, false, error) != STATUS_OK) {
            return error->status;
        }
    }
    return node->type == PROMQL_VECTOR ? promql_matrix_join(out, error) : STATUS_OK;
}

static enum status evaluate_aggregate(struct promql_evaluation *evaluation,
                                      const struct promql_node *node, struct promql_matrix *out,
                                      struct error *error)
{
    struct promql_matrix in;
    promql_matrix_init(&in, evaluation->instants, &evaluation->budget);
    enum status status = promql_evaluate(evaluation, node->left, &in, error);
    if (status == STATUS_OK) {
        status = promql_evaluate_aggregate(node, &in, out, error);
    }
    promql_matrix_release(&in);
    return status;
}

static enum status evaluate_binary(struct promql_evaluation *evaluation,
                                   const struct promql_node *node, struct promql_matrix *out,
                                   struct error *error)
{
    struct promql_matrix left, right;
    promql_matrix_init(&left, evaluation->instants, &evaluation->budget);
    promql_matrix_init(&right, evaluation->instants, &evaluation->budget);
    enum status status = promql_evaluate(evaluation, node->left, &left, error);
    if (status == STATUS_OK) {
        status = promql_evaluate(evaluation, node->right, &right, error);
    }
    if (status == STATUS_OK) {
        status = promql_evaluate_binary(node, &left, &right, out, error);
    }
    promql_matrix_release(&left);
    promql_matrix_release(&right);
    return status;
}

enum status promql_evaluate(struct promql_evaluation *evaluation, const struct promql_node *node,
                            struct promql_matrix *out, struct error *error)
{
    promql_matrix_init(out, evaluation->instants, &evaluation->budget);
    switch (node->kind) {
    case PROMQL_NUMBER:
        return evaluate_number(node, out, error);
    case PROMQL_SELECTOR:
        return promql_evaluate_selector(evaluation, node, PROMQL_LAST_OVER_TIME, out, error);
    case PROMQL_CALL:
        return promql_evaluate_selector(evaluation, node->left, node->function, out, error);
    case PROMQL_NEGATE:
        break;
    case PROMQL_AGGREGATE:
        return evaluate_aggregate(evaluation, node, out, error);
    case PROMQL_BINARY:
        return evaluate_binary(evaluation, node, out, error);
    }
    enum status status = promql_evaluate(evaluation, node->left, out, error);
    return status == STATUS_OK ? negate(node, out, error) : status;
}
