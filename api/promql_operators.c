/* Operators of PromQL: scalars, a vector and a scalar, and two vectors matched one to one.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/promql.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>

static bool is_comparison(const struct promql_node *node)
{
    return node->operator>= PROMQL_EQUAL;
}

/* Whether what comes out is another quantity than what went in. */
static bool drops_name(const struct promql_node *node)
{
    return !is_comparison(node) || node->returns_bool;
}

/* The result of an arithmetic operator, or 1 or 0 of a comparison. */
static double compute(enum promql_operator operator, double a, double b)
{
    switch (operator) {
    case PROMQL_ADD:
        return a + b;
    case PROMQL_SUBTRACT:
        return a - b;
    case PROMQL_MULTIPLY:
        return a * b;
    case PROMQL_DIVIDE:
        return a / b;
    case PROMQL_MODULO:
        return fmod(a, b);
    case PROMQL_POWER:
        return pow(a, b);
    case PROMQL_EQUAL:
        return a == b;
    case PROMQL_NOT_EQUAL:
        return a != b;
    case PROMQL_GREATER:
        return a > b;
    case PROMQL_LESS:
        return a < b;
    case PROMQL_GREATER_EQUAL:
        return a >= b;
    case PROMQL_LESS_EQUAL:
        return a <= b;
    }
    return promql_absent();
}

/* Of two present values; a comparison without bool lets `kept` through, or nothing. */
static double combine(const struct promql_node *node, double a, double b, double kept)
{
    double result = compute(node->operator, a, b);
    if (!is_comparison(node) || node->returns_bool) {
        return result;
    }
    return result > 0.0 ? kept : promql_absent();
}

/* Moves the rows of `from` to `out`, which is empty and of the same shape. */
static void move_rows(struct promql_matrix *from, struct promql_matrix *out)
{
    mem_free(out->rows);
    *out = *from;
    promql_matrix_init(from, from->instants, from->budget);
}

/* One side is a scalar; the other (or the left of two scalars) is changed in place. */
static enum status with_scalar(const struct promql_node *node, struct promql_matrix *vector,
                               const double *scalar, bool scalar_left, struct error *error)
{
    for (size_t r = 0; r < vector->count; r++) {
        struct promql_row *row = &vector->rows[r];
        for (size_t i = 0; i < vector->instants; i++) {
            double value = row->values[i];
            if (!promql_is_absent(value)) {
                double a = scalar_left ? scalar[i] : value, b = scalar_left ? value : scalar[i];
                row->values[i] = combine(node, a, b, value);
            }
        }
        if (promql_work(vector->budget, vector->instants, error) != STATUS_OK) {
            return error->status;
        }
        if (drops_name(node) &&
            promql_row_pick(row, &promql_name_key, 1, false, error) != STATUS_OK) {
            return error->status;
        }
    }
    return STATUS_OK;
}

/* ---------------------------------------------------------------- two vectors */

/* A row beside the labels by which it is matched. */
struct side {
    struct promql_row *row;
    struct promql_row key; /* owns labels, has no values */
};

/* One match: rows of equal keys. */
struct match {
    const struct side *left, *right;
    size_t left_count, right_count;
};

static int compare_sides(const void *left, const void *right)
{
    const struct side *a = left, *b = right;
    return promql_labels_compare(promql_row_labels(&a->key), promql_row_labels(&b->key));
}

static void free_sides(struct side *sides, size_t count)
{
    for (size_t i = 0; sides && i < count; i++) {
        mem_free(sides[i].key.labels);
    }
    mem_free(sides);
}

/* ignoring() with nothing stands for no modifier: all labels but the name. */
static enum status pick_key(const struct promql_grouping *grouping, struct promql_row *row,
                            struct error *error)
{
    if (promql_row_pick(row, grouping->labels, grouping->count, grouping->keep, error) !=
        STATUS_OK) {
        return error->status;
    }
    return grouping->keep ? STATUS_OK : promql_row_pick(row, &promql_name_key, 1, false, error);
}

static enum status make_sides(const struct promql_node *node, struct promql_matrix *matrix,
                              struct side **out, struct error *error)
{
    struct side *sides = mem_zeroed(matrix->count, sizeof(*sides));
    if (!sides) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for a query");
    }
    *out = sides;
    for (size_t i = 0; i < matrix->count; i++) {
        struct promql_row *row = &matrix->rows[i];
        sides[i].row = row;
        sides[i].key.labels = mem_copy_text(row->labels, row->labels_length);
        sides[i].key.labels_length = row->labels_length;
        if (!sides[i].key.labels) {
            return error_set(error, STATUS_NO_MEMORY, "no memory for a query");
        }
        if (pick_key(&node->grouping, &sides[i].key, error) != STATUS_OK) {
            return error->status;
        }
    }
    qsort(sides, matrix->count, sizeof(*sides), compare_sides);
    return STATUS_OK;
}

/* The one row of `sides` that has a value at an instant; NULL where none has. */
static enum status find_present(const struct side *sides, size_t count, size_t instant,
                                const struct promql_row **found, struct error *error)
{
    *found = NULL;
    for (size_t i = 0; i < count; i++) {
        if (promql_is_absent(sides[i].row->values[instant])) {
            continue;
        }
        if (*found) {
            error_set(error, STATUS_INVALID,
                      "found duplicate series for a match group: many-to-one matching is not "
                      "supported");
            error_code(error, "promql_conflict", NULL);
            return error_hint(error, "Aggregate one side, or match on more labels.");
        }
        *found = sides[i].row;
    }
    return STATUS_OK;
}

/* Leaves the values of a match in its left rows; those of unmatched instants become absent. */
static enum status match_values(const struct promql_node *node, const struct match *match,
                                struct promql_budget *budget, size_t instants, struct error *error)
{
    for (size_t i = 0; i < instants; i++) {
        const struct promql_row *right = NULL, *left = NULL;
        if (find_present(match->right, match->right_count, i, &right, error) != STATUS_OK) {
            return error->status;
        }
        if (right && find_present(match->left, match->left_count, i, &left, error) != STATUS_OK) {
            return error->status;
        }
        for (size_t l = 0; l < match->left_count; l++) {
            double *value = &match->left[l].row->values[i];
            bool both = right && match->left[l].row == left;
            *value = both ? combine(node, *value, right->values[i], *value) : promql_absent();
        }
        if (promql_work(budget, match->left_count + match->right_count, error) != STATUS_OK) {
            return error->status;
        }
    }
    return STATUS_OK;
}

/* Labels of a result: those of the left side that were matched by. */
static enum status name_results(const struct promql_node *node, struct promql_row *row,
                                struct error *error)
{
    const struct promql_grouping *grouping = &node->grouping;
    if (drops_name(node) && promql_row_pick(row, &promql_name_key, 1, false, error) != STATUS_OK) {
        return error->status;
    }
    return promql_row_pick(row, grouping->labels, grouping->count, grouping->keep, error);
}

/* Both sides in order of keys, match by match; left rows without a partner lose their values. */
static enum status match_sides(const struct promql_node *node, struct side *left,
                               struct promql_matrix *left_rows, struct side *right,
                               size_t right_count, struct error *error)
{
    size_t at = 0;
    for (size_t from = 0, to; from < left_rows->count; from = to) {
        for (to = from + 1; to < left_rows->count && compare_sides(&left[from], &left[to]) == 0;) {
            to++;
        }
        while (at < right_count && compare_sides(&right[at], &left[from]) < 0) {
            at++;
        }
        size_t end = at;
        while (end < right_count && compare_sides(&right[end], &left[from]) == 0) {
            end++;
        }
        struct match match = {left + from, right + at, to - from, end - at};
        if (match_values(node, &match, left_rows->budget, left_rows->instants, error) !=
            STATUS_OK) {
            return error->status;
        }
        at = end;
    }
    for (size_t i = 0; i < left_rows->count; i++) {
        if (name_results(node, &left_rows->rows[i], error) != STATUS_OK) {
            return error->status;
        }
    }
    return STATUS_OK;
}

static enum status two_vectors(const struct promql_node *node, struct promql_matrix *left,
                               struct promql_matrix *right, struct error *error)
{
    struct side *left_sides = NULL, *right_sides = NULL;
    enum status status = make_sides(node, left, &left_sides, error);
    if (status == STATUS_OK) {
        status = make_sides(node, right, &right_sides, error);
    }
    if (status == STATUS_OK) {
        status = match_sides(node, left_sides, left, right_sides, right->count, error);
    }
    free_sides(left_sides, left->count);
    free_sides(right_sides, right->count);
    return status;
}

/* Takes out rows without a value. */
static void drop_empty(struct promql_matrix *matrix)
{
    size_t kept = 0;
    for (size_t r = 0; r < matrix->count; r++) {
        bool any = false;
        for (size_t i = 0; i < matrix->instants && !any; i++) {
            any = !promql_is_absent(matrix->rows[r].values[i]);
        }
        struct promql_row row = matrix->rows[r];
        if (any) {
            matrix->rows[r] = matrix->rows[kept];
            matrix->rows[kept++] = row;
        }
    }
    while (matrix->count > kept) {
        promql_matrix_pop(matrix);
    }
}

enum status promql_evaluate_binary(const struct promql_node *node, struct promql_matrix *left,
                                   struct promql_matrix *right, struct promql_matrix *out,
                                   struct error *error)
{
    bool left_scalar = node->left->type == PROMQL_SCALAR;
    bool right_scalar = node->right->type == PROMQL_SCALAR;
    struct promql_matrix *changed = left_scalar && !right_scalar ? right : left;
    enum status status = STATUS_OK;
    if (right_scalar) {
        status = with_scalar(node, left, right->rows[0].values, false, error);
    } else if (left_scalar) {
        status = with_scalar(node, right, left->rows[0].values, true, error);
    } else {
        status = two_vectors(node, left, right, error);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (node->type == PROMQL_VECTOR) {
        drop_empty(changed);
        status = promql_matrix_join(changed, error);
    }
    move_rows(changed, out);
    return status;
}
