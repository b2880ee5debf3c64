/* Loading shared libraries by name.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/library.h"

#include <dlfcn.h>
#include <string.h>

bool library_load(const char *const *names, const struct library_symbol *symbols, size_t count)
{
    void *handle = NULL;
    for (; *names != NULL && handle == NULL; names++) {
        handle = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
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
