/* Loading shared libraries by name.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/library.h"

#include <dlfcn.h>
#include <string.h>

/* A library's own symbols come first: without that each of OpenBLAS's 14,000 references is looked
 * for in all libraries of the program, which takes 6.5 ms instead of 2.6. The sanitizers put
 * themselves before others' symbols and do not allow it. */
#ifdef FORECASTD_SANITIZED
#define BINDING (RTLD_NOW | RTLD_LOCAL)
#else
#define BINDING (RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND)
#endif

bool library_load(const char *const *names, const struct library_symbol *symbols, size_t count)
{
    void *handle = NULL;
    for (; *names != NULL && handle == NULL; names++) {
        handle = dlopen(*names, BINDING);
    }
    for (size_t i = 0; handle != NULL && i < count; i++) {
        void *symbol = dlsym(handle, symbols[i].name);
        if (symbol == NULL && !symbols[i].optional) {
            return false;
        }
        memcpy(symbols[i].place, &symbol, sizeof(symbol)); /* as POSIX has it for functions */
    }
    return handle != NULL;
}
