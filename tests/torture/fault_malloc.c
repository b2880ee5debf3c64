/* malloc with a countdown, on top of glibc's own.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/torture/fault_malloc.h"

#ifdef FORECASTD_SANITIZED

#include "base/memory.h"

void fault_malloc_set(uint64_t nth, bool persistent)
{
    mem_fault_set(nth, persistent);
}

bool fault_malloc_hit(void)
{
    return mem_fault_hit() != 0;
}

void fault_malloc_exempt(void)
{
    /* Nothing of base/memory is used there. */
}

void fault_malloc_resume(void)
{
}

int64_t fault_malloc_live(void)
{
    return 0;
}

#else

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *block, size_t size);
void *memalign(size_t alignment, size_t size);
void *aligned_alloc(size_t alignment, size_t size);
int posix_memalign(void **out, size_t alignment, size_t size);
void free(void *block);

static atomic_uint_fast64_t fault_at, seen;
static atomic_bool always, struck;
static atomic_int_fast64_t live;

static __thread int exempt;

static bool must_fail(void)
{
    uint64_t at = atomic_load_explicit(&fault_at, memory_order_relaxed);
    if (at == 0 || exempt > 0) {
        return false;
    }
    uint64_t count = atomic_fetch_add(&seen, 1) + 1;
    if (count == at || (count > at && atomic_load(&always))) {
        atomic_store(&struck, true);
        errno = ENOMEM;
        return true;
    }
    return false;
}

static void *counted(void *block)
{
    if (block != NULL) {
        atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
    }
    return block;
}

void *malloc(size_t size)
{
    return must_fail() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return must_fail() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *block, size_t size)
{
    if (must_fail()) {
        return NULL;
    }
    void *resized = __libc_realloc(block, size);
    if (block == NULL) {
        return counted(resized);
    }
    if (size == 0 && resized == NULL) {
        atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
    }
    return resized;
}

void *memalign(size_t alignment, size_t size)
{
    return must_fail() ? NULL : counted(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *block = memalign(alignment, size);
    if (block == NULL) {
        return ENOMEM;
    }
    *out = block;
    return 0;
}

void free(void *block)
{
    if (block != NULL) {
        atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
        __libc_free(block);
    }
}

void fault_malloc_set(uint64_t nth, bool persistent)
{
    atomic_store(&fault_at, 0);
    atomic_store(&seen, 0);
    atomic_store(&struck, false);
    atomic_store(&always, persistent);
    atomic_store(&fault_at, nth);
}

bool fault_malloc_hit(void)
{
    return atomic_load(&struck);
}

void fault_malloc_exempt(void)
{
    exempt++;
}

void fault_malloc_resume(void)
{
    exempt--;
}

int64_t fault_malloc_live(void)
{
    return atomic_load(&live);
}

#endif
