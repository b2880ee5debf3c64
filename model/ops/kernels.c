/* Chooses the table of vector kernels that this processor can run.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/kernels.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

extern const struct kernels kernel_table_base;
#if defined(__x86_64__)
extern const struct kernels kernel_table_v3;
extern const struct kernels kernel_table_v4;
#endif

/* Fills `tables` with what runs here, the best first; returns how many. */
static size_t runnable(const struct kernels *tables[3])
{
    size_t count = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    int v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    int v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl");
    if (v4) {
        tables[count++] = &kernel_table_v4;
    }
    if (v3) {
        tables[count++] = &kernel_table_v3;
    }
#endif
    tables[count++] = &kernel_table_base;
    return count;
}

const struct kernels *kernels_level(size_t index)
{
    const struct kernels *tables[3];
    return index < runnable(tables) ? tables[index] : NULL;
}

const struct kernels *kernels(void)
{
    /* Two threads may both choose; they choose the same. */
    static const struct kernels *_Atomic chosen;
    const struct kernels *table = atomic_load_explicit(&chosen, memory_order_acquire);
    if (table != NULL) {
        return table;
    }
    const struct kernels *tables[3];
    size_t count = runnable(tables);
    table = tables[0];
    const char *wanted = getenv("FORECASTD_KERNEL");
    for (size_t i = 0; wanted != NULL && i < count; i++) {
        if (strcmp(tables[i]->level, wanted) == 0) {
            table = tables[i];
        }
    }
    atomic_store_explicit(&chosen, table, memory_order_release);
    return table;
}
