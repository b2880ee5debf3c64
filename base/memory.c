/* The only door to malloc: accounting, overflow-checked arrays, countdown fault injection.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Sizes are what the allocator really set aside (malloc_usable_size), so that no header of our own
 * is needed in front of each block and the numbers are what the process costs. All counters are
 * relaxed: they are statistics, nothing is ordered by them.
 */
#include "base/memory.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64

static atomic_size_t bytes_in_use;
static atomic_size_t bytes_peak;

static atomic_uint_fast64_t fault_nth; /* 0: no injection */
static atomic_uint_fast64_t fault_seen;
static atomic_int fault_persistent;
static atomic_int fault_struck;

static int must_fail(void)
{
    uint64_t nth = atomic_load_explicit(&fault_nth, memory_order_relaxed);
    if (__builtin_expect(nth == 0, 1)) {
        return 0;
    }
    uint64_t seen = atomic_fetch_add_explicit(&fault_seen, 1, memory_order_relaxed) + 1;
    int persistent = atomic_load_explicit(&fault_persistent, memory_order_relaxed);
    if (seen == nth || (persistent && seen > nth)) {
        atomic_store_explicit(&fault_struck, 1, memory_order_relaxed);
        return 1;
    }
    return 0;
}

static void *account(void *block)
{
    if (block == NULL) {
        return NULL;
    }
    size_t size = malloc_usable_size(block);
    size_t now = atomic_fetch_add_explicit(&bytes_in_use, size, memory_order_relaxed) + size;
    size_t peak = atomic_load_explicit(&bytes_peak, memory_order_relaxed);
    while (now > peak && !atomic_compare_exchange_weak_explicit(
                             &bytes_peak, &peak, now, memory_order_relaxed, memory_order_relaxed)) {
    }
    return block;
}

static void unaccount(size_t size)
{
    atomic_fetch_sub_explicit(&bytes_in_use, size, memory_order_relaxed);
}

void *mem_alloc(size_t size)
{
    if (must_fail()) {
        return NULL;
    }
    return account(malloc(size != 0 ? size : 1));
}

void *mem_array(size_t count, size_t size)
{
    size_t bytes;
    return size_mul(count, size, &bytes) ? NULL : mem_alloc(bytes);
}

void *mem_zeroed(size_t count, size_t size)
{
    size_t bytes;
    if (size_mul(count, size, &bytes) || must_fail()) {
        return NULL;
    }
    return account(calloc(bytes != 0 ? bytes : 1, 1));
}

void *mem_resize(void *block, size_t count, size_t size)
{
    size_t bytes;
    if (size_mul(count, size, &bytes) || must_fail()) {
        return NULL;
    }
    size_t before = block != NULL ? malloc_usable_size(block) : 0;
    void *resized = realloc(block, bytes != 0 ? bytes : 1);
    if (resized == NULL) {
        return NULL;
    }
    unaccount(before);
    return account(resized);
}

void *mem_alloc_aligned(size_t size)
{
    size_t rounded;
    if (size_add(size != 0 ? size : 1, ALIGNMENT - 1, &rounded) || must_fail()) {
        return NULL;
    }
    rounded &= ~(size_t)(ALIGNMENT - 1);
    return account(aligned_alloc(ALIGNMENT, rounded));
}

void *mem_array_aligned(size_t count, size_t size)
{
    size_t bytes;
    return size_mul(count, size, &bytes) ? NULL : mem_alloc_aligned(bytes);
}

char *mem_copy_text(const char *text, size_t length)
{
    size_t bytes;
    if (size_add(length, 1, &bytes)) {
        return NULL;
    }
    char *copy = mem_alloc(bytes);
    if (copy != NULL) {
        if (length != 0) {
            memcpy(copy, text, length);
        }
        copy[length] = '\0';
    }
    return copy;
}

void mem_free(void *block)
{
    if (block != NULL) {
        unaccount(malloc_usable_size(block));
        free(block);
    }
}

size_t mem_bytes_in_use(void)
{
    return atomic_load_explicit(&bytes_in_use, memory_order_relaxed);
}

size_t mem_bytes_peak(void)
{
    return atomic_load_explicit(&bytes_peak, memory_order_relaxed);
}

void mem_fault_set(uint64_t nth, int persistent)
{
    atomic_store_explicit(&fault_nth, 0, memory_order_relaxed);
    atomic_store_explicit(&fault_seen, 0, memory_order_relaxed);
    atomic_store_explicit(&fault_struck, 0, memory_order_relaxed);
    atomic_store_explicit(&fault_persistent, persistent, memory_order_relaxed);
    atomic_store_explicit(&fault_nth, nth, memory_order_relaxed);
}

int mem_fault_hit(void)
{
    return atomic_load_explicit(&fault_struck, memory_order_relaxed);
}
