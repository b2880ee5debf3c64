/* sum, avg, min, max and count of PromQL, by groups of labels.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/promql.h"

#include <math.h>
#include <stdlib.h>

static int compare_rows(const void *left, const void *right)
{
    return promql_labels_compare(promql_row_labels(left), promql_row_labels(right));
}

static void combine(enum promql_aggregation aggregation, double value, double *into)
{
    bool first = promql_is_absent(*into);
    switch (aggregation) {
    case PROMQL_SUM:
    case PROMQL_AVG:
        *into = first ? value : *into + value;
        return;
    case PROMQL_MIN:
        *into = first || value < *into || isnan(*into) ? value : *into;
        return;
    case PROMQL_MAX:
        *into = first || value > *into || isnan(*into) ? value : *into;
        return;
    case PROMQL_COUNT:
        *into = first ? 1.0 : *into + 1.0;
        return;
    }
}

/* The members of one group into a row of `out`. */
static enum status add_group(const struct promql_node *node, const struct promql_row *members,
                             size_t count, struct promql_matrix *out, struct error *error)
{
    struct promql_row *row = NULL;
    if (promql_matrix_add(out, promql_row_labels(members), &row, error) != STATUS_OK) {
        return error->status;
    }
    for (size_t i = 0; i < out->instants; i++) {
        size_t present = 0;
        for (size_t m = 0; m < count; m++) {
            double value = members[m].values[i];
            if (!promql_is_absent(value)) {
                combine(node->aggregation, value, &row->values[i]);
                present++;
            }
        }
        if (node->aggregation == PROMQL_AVG && present > 0) {
            row->values[i] /= (double)present;
        }
        if (promql_work(out->budget, count, error) != STATUS_OK) {
            return error->status;
        }
    }
    return STATUS_OK;
}

/* Leaves the rows of `in` with the labels of their groups. */
static enum status name_groups(const struct promql_grouping *grouping, struct promql_matrix *in,
                               struct error *error)
{
    for (size_t i = 0; i < in->count; i++) {
        struct promql_row *row = &in->rows[i];
        if (promql_row_pick(row, grouping->labels, grouping->count, grouping->keep, error) !=
            STATUS_OK) {
            return error->status;
        }
        if (!grouping->keep &&
            promql_row_pick(row, &promql_name_key, 1, false, error) != STATUS_OK) {
            return error->status;
        }
    }
    return STATUS_OK;
}

enum status promql_evaluate_aggregate(const struct promql_node *node, struct promql_matrix *in,
                                      struct promql_matrix *out, struct error *error)
{
    if (in->count == 0) {
        return STATUS_OK;
    }
    if (name_groups(&node->grouping, in, error) != STATUS_OK) {
        return error->status;
    }
    qsort(in->rows, in->count, sizeof(*in->rows), compare_rows);
    enum status status = STATUS_OK;
    for (size_t from = 0, to; from < in->count && status == STATUS_OK; from = to) {
        to = from + 1;
        while (to < in->count && compare_rows(&in->rows[from], &in->rows[to]) == 0) {
            to++;
        }
        status = add_group(node, in->rows + from, to - from, out, error);
    }
    return status;
}
