/* The only door to malloc: accounting, overflow-checked arrays, countdown fault injection.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Threads: every function may be called from any thread.
 * Failure: NULL, which the caller turns into STATUS_NO_MEMORY. Sizes of zero return a pointer that
 * can be freed.
 */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* Uninitialised bytes, aligned for any type. */
void *mem_alloc(size_t size) __attribute__((malloc));

/* Uninitialised array; NULL where count * size overflows. Products go through here or mem_zeroed,
 * never into mem_alloc: lint holds that. */
void *mem_array(size_t count, size_t size) __attribute__((malloc));

/* Zeroed array; NULL where count * size overflows. */
void *mem_zeroed(size_t count, size_t size) __attribute__((malloc));

/* Resize an array (old contents kept); on NULL the old block is still valid and still owned. */
void *mem_resize(void *block, size_t count, size_t size);

/* Uninitialised bytes aligned to 64 (a cache line and the widest vector); free with mem_free. */
void *mem_alloc_aligned(size_t size) __attribute__((malloc));
void *mem_array_aligned(size_t count, size_t size) __attribute__((malloc)); /* checked, too */

/* A copy of `length` bytes with a zero byte behind them. */
char *mem_copy_text(const char *text, size_t length) __attribute__((malloc));

void mem_free(void *block);

/* Bytes handed out and not yet freed, as the allocator rounds them, and the highest value so far. */
size_t mem_bytes_in_use(void);
size_t mem_bytes_peak(void);

/* Tests only: the nth allocation from now on (1 = the next) fails; with `persistent` all later ones
 * too. 0 switches the injection off. mem_fault_hit says whether it has struck. */
void mem_fault_set(uint64_t nth, int persistent);
int mem_fault_hit(void);

/* *result = a * b or a + b; returns 1 on overflow, else 0. */
static inline int size_mul(size_t a, size_t b, size_t *result)
{
    return __builtin_mul_overflow(a, b, result);
}

static inline int size_add(size_t a, size_t b, size_t *result)
{
    return __builtin_add_overflow(a, b, result);
}

#endif
