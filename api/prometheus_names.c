/* A set of names that comes out in order.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Names are collected with repetitions; a full array is sorted and thinned before it grows.
 */
#include "api/prometheus_names.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

void names_sort(struct names *names)
{
    size_t kept = 0;
    if (names->count == 0) {
        return;
    }
    qsort(names->items, names->count, sizeof(*names->items), compare);
    for (size_t i = 1; i < names->count; i++) {
        if (strcmp(names->items[kept], names->items[i]) == 0) {
            mem_free(names->items[i]);
        } else {
            names->items[++kept] = names->items[i];
        }
    }
    names->count = kept + 1;
}

static enum status make_room(struct names *names, struct error *error)
{
    names_sort(names);
    if (names->count > NAMES_MAX) {
        error_set(error, STATUS_TOO_LARGE, "the answer has more than %d names", NAMES_MAX);
        return error_code(error, "promql_limit", NULL);
    }
    if (names->capacity == 0 || names->count > names->capacity / 2) {
        size_t capacity = names->capacity ? 2 * names->capacity : 64;
        char **bigger = mem_resize(names->items, capacity, sizeof(*bigger));
        if (!bigger) {
            return error_set(error, STATUS_NO_MEMORY, "no memory for names");
        }
        names->items = bigger;
        names->capacity = capacity;
    }
    return STATUS_OK;
}

enum status names_add(struct names *names, struct slice name, struct error *error)
{
    if (names->count == names->capacity && make_room(names, error) != STATUS_OK) {
        return error->status;
    }
    char *copy = mem_copy_text(name.bytes, name.length);
    if (!copy) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for names");
    }
    names->items[names->count++] = copy;
    return STATUS_OK;
}

void names_release(struct names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        mem_free(names->items[i]);
    }
    mem_free(names->items);
    *names = (struct names){NULL, 0, 0};
}
