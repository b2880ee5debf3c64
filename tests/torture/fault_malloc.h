/* The nth allocation of the whole process fails: the product's, SQLite's, jansson's, everybody's.
 * SPDX-License-Identifier: Apache-2.0
 *
 * malloc and its relatives are replaced in the program that links this. Under a sanitizer, which
 * replaces them itself, only base/memory is made to fail.
 */
#ifndef TESTS_TORTURE_FAULT_MALLOC_H
#define TESTS_TORTURE_FAULT_MALLOC_H

#include <stdbool.h>
#include <stdint.h>

/* The nth allocation from now on (1: the next) fails, with `persistent` all later ones too; 0:
 * none. What libc allocates for itself counts as well. */
void fault_malloc_set(uint64_t nth, bool persistent);
bool fault_malloc_hit(void);

/* Between the two nothing of this thread fails: for what stands in place of the kernel. They nest.
 */
void fault_malloc_exempt(void);
void fault_malloc_resume(void);

/* Blocks that are not freed yet; 0 where this cannot be counted. */
int64_t fault_malloc_live(void);

#endif
