/* Shared libraries that are loaded when they are needed, because loading them costs what most runs
 * do not use. SPDX-License-Identifier: Apache-2.0
 *
 * Nothing is unloaded: the functions stay valid until the process ends.
 */
#ifndef BASE_LIBRARY_H
#define BASE_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

struct library_symbol {
    const char *name;
    void *place; /* of the pointer to the function; NULL goes there where an optional one is missing
                  */
    bool optional;
};

/* Loads the first of `names` (ending with NULL) that is there, every function bound at once, and
 * fills the places. False: none is there, or a symbol is not. */
bool library_load(const char *const *names, const struct library_symbol *symbols, size_t count);

#endif
