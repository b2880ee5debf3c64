/* Values of an expression: rows of a label set and one value an instant.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/promql_matrix.h"

#include "api/promql_selector.h"
#include "base/clock.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define ABSENT_BITS    UINT64_C(0x7ff0000000000002) /* Prometheus's stale marker */
#define WORK_PER_CLOCK ((size_t)1 << 18)
#define LABELS_MAX     ((size_t)4 * SERIES_TEXT_MAX)

double promql_absent(void)
{
    double value;
    uint64_t bits = ABSENT_BITS;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

bool promql_is_absent(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits == ABSENT_BITS;
}

enum status promql_work(struct promql_budget *budget, size_t amount, struct error *error)
{
    budget->work += amount;
    if (budget->work < WORK_PER_CLOCK) {
        return STATUS_OK;
    }
    budget->work = 0;
    if (clock_monotonic_ns() < budget->deadline_ns) {
        return STATUS_OK;
    }
    error_set(error, STATUS_TIMEOUT, "query timed out in expression evaluation");
    return error_code(error, "promql_timeout", NULL);
}

void promql_matrix_init(struct promql_matrix *matrix, size_t instants, struct promql_budget *budget)
{
    *matrix = (struct promql_matrix){.instants = instants, .budget = budget};
}

static void release_row(struct promql_matrix *matrix, struct promql_row *row)
{
    mem_free(row->labels);
    mem_free(row->values);
    matrix->budget->cells -= matrix->instants;
}

void promql_matrix_release(struct promql_matrix *matrix)
{
    while (matrix->count > 0) {
        promql_matrix_pop(matrix);
    }
    mem_free(matrix->rows);
    matrix->rows = NULL;
    matrix->capacity = 0;
}

void promql_matrix_pop(struct promql_matrix *matrix)
{
    release_row(matrix, &matrix->rows[--matrix->count]);
}

static enum status reserve(struct promql_matrix *matrix, struct error *error)
{
    if (matrix->budget->cells + matrix->instants > PROMQL_CELLS_MAX) {
        error_set(error, STATUS_TOO_LARGE, "the query needs more than %zu values at once in memory",
                  PROMQL_CELLS_MAX);
        return error_code(error, "promql_limit", NULL);
    }
    if (matrix->count == matrix->capacity) {
        size_t capacity = matrix->capacity ? 2 * matrix->capacity : 8;
        struct promql_row *rows = mem_resize(matrix->rows, capacity, sizeof(*rows));
        if (!rows) {
            return error_set(error, STATUS_NO_MEMORY, "no memory for a query");
        }
        matrix->rows = rows;
        matrix->capacity = capacity;
    }
    return STATUS_OK;
}

enum status promql_matrix_add(struct promql_matrix *matrix, struct slice labels,
                              struct promql_row **row, struct error *error)
{
    if (reserve(matrix, error) != STATUS_OK) {
        return error->status;
    }
    struct promql_row made = {
        .labels = mem_copy_text(labels.length ? labels.bytes : "", labels.length),
        .labels_length = labels.length,
        .values = mem_array(matrix->instants, sizeof(double)),
    };
    if (!made.labels || !made.values) {
        mem_free(made.labels);
        mem_free(made.values);
        return error_set(error, STATUS_NO_MEMORY, "no memory for a query");
    }
    for (size_t i = 0; i < matrix->instants; i++) {
        made.values[i] = promql_absent();
    }
    matrix->budget->cells += matrix->instants;
    *row = &matrix->rows[matrix->count++];
    **row = made;
    return STATUS_OK;
}

struct slice promql_row_labels(const struct promql_row *row)
{
    return (struct slice){row->labels, row->labels_length};
}

enum status promql_row_pick(struct promql_row *row, const struct slice *keys, size_t count,
                            bool keep, struct error *error)
{
    struct text text;
    text_init(&text, LABELS_MAX);
    promql_labels_pick(promql_row_labels(row), keys, count, keep, &text);
    if (text_status(&text, "a label set", error) != STATUS_OK) {
        text_release(&text);
        return error->status;
    }
    size_t length = 0;
    char *labels = text.length ? text_take(&text, &length) : mem_copy_text("", 0);
    text_release(&text);
    if (!labels) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for a query");
    }
    mem_free(row->labels);
    row->labels = labels;
    row->labels_length = length;
    return STATUS_OK;
}

static int compare_rows(const void *left, const void *right)
{
    return promql_labels_compare(promql_row_labels(left), promql_row_labels(right));
}

/* Moves the values of `from` into `to`. */
static enum status join_rows(const struct promql_matrix *matrix, struct promql_row *to,
                             const struct promql_row *from, struct error *error)
{
    for (size_t i = 0; i < matrix->instants; i++) {
        if (promql_is_absent(from->values[i])) {
            continue;
        }
        if (!promql_is_absent(to->values[i])) {
            error_set(error, STATUS_INVALID,
                      "vector cannot contain metrics with the same labelset");
            return error_code(error, "promql_conflict", NULL);
        }
        to->values[i] = from->values[i];
    }
    return promql_work(matrix->budget, matrix->instants, error);
}

enum status promql_matrix_join(struct promql_matrix *matrix, struct error *error)
{
    if (matrix->count < 2) {
        return STATUS_OK;
    }
    qsort(matrix->rows, matrix->count, sizeof(*matrix->rows), compare_rows);
    size_t kept = 1, count = matrix->count;
    enum status status = STATUS_OK;
    for (size_t i = 1; i < count; i++) {
        struct promql_row *last = &matrix->rows[kept - 1], *row = &matrix->rows[i];
        if (status == STATUS_OK && compare_rows(last, row) == 0) {
            status = join_rows(matrix, last, row, error);
            release_row(matrix, row);
        } else {
            matrix->rows[kept++] = *row;
        }
    }
    matrix->count = kept;
    return status;
}
