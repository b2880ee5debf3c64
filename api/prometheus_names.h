/* A set of names that comes out in order: label names, label values.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_PROMETHEUS_NAMES_H
#define API_PROMETHEUS_NAMES_H

#include "base/series_name.h"

#define NAMES_MAX 200000 /* different ones */

struct names {
    char **items; /* owned, in order and different after names_sort */
    size_t count, capacity;
};

/* Adds a copy. STATUS_TOO_LARGE (promql_limit) beyond NAMES_MAX, STATUS_NO_MEMORY. Start with a
 * zeroed struct. */
enum status names_add(struct names *names, struct slice name, struct error *error) MUST_USE;
void names_sort(struct names *names);
void names_release(struct names *names);

#endif
