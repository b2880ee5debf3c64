/* Values of an expression: rows of a label set and one value an instant.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A cell without a value is PROMQL_ABSENT, a NaN of its own bits, which is another thing than the
 * NaN of 0/0. A scalar is one row without labels. All matrices of one query share a budget of cells
 * and a deadline, and every loop over them counts its work there.
 */
#ifndef API_PROMQL_MATRIX_H
#define API_PROMQL_MATRIX_H

#include "base/series_name.h"

#include <stdint.h>

#define PROMQL_CELLS_MAX  ((size_t)4 << 20) /* of all matrices alive in a query: 32 MiB */
#define PROMQL_SERIES_MAX 10000             /* of one selector */

struct promql_budget {
    size_t cells;        /* alive */
    size_t work;         /* since the clock was looked at */
    int64_t deadline_ns; /* monotonic */
};

struct promql_row {
    char *labels; /* owned; see promql_selector.h */
    size_t labels_length;
    double *values; /* owned, `count` of the matrix's instants */
};

struct promql_matrix {
    struct promql_row *rows;
    size_t count, capacity;
    size_t instants;
    struct promql_budget *budget;
};

double promql_absent(void);
bool promql_is_absent(double value);

/* STATUS_TIMEOUT (promql_timeout) once the deadline is over. */
enum status promql_work(struct promql_budget *budget, size_t amount, struct error *error) MUST_USE;

void promql_matrix_init(struct promql_matrix *matrix, size_t instants,
                        struct promql_budget *budget);
void promql_matrix_release(struct promql_matrix *matrix);

/* A further row of absent cells with a copy of the labels. STATUS_TOO_LARGE (promql_limit) beyond
 * the budget. The row is valid until the next one is added. */
enum status promql_matrix_add(struct promql_matrix *matrix, struct slice labels,
                              struct promql_row **row, struct error *error) MUST_USE;

/* Takes the newest row back. */
void promql_matrix_pop(struct promql_matrix *matrix);

/* Replaces the labels of a row by those whose key is (`keep`) or is not among `keys`. */
enum status promql_row_pick(struct promql_row *row, const struct slice *keys, size_t count,
                            bool keep, struct error *error) MUST_USE;

/* Sorts the rows by their labels and joins those of equal labels; STATUS_INVALID
 * (promql_conflict) where two of them have a value at the same instant. */
enum status promql_matrix_join(struct promql_matrix *matrix, struct error *error) MUST_USE;

struct slice promql_row_labels(const struct promql_row *row);

#endif
