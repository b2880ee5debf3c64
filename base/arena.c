/* Bump allocator: many small allocations with one common end of life.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/arena.h"

#include "base/check.h"
#include "base/memory.h"

#include <string.h>

#define ALIGNMENT ((size_t)64)

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISONED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_POISONED
#endif

#if defined(ARENA_POISONED)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size)   ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

enum status arena_init(struct arena *arena, size_t capacity, struct error *error)
{
    *arena = (struct arena){0};
    size_t rounded;
    if (size_add(capacity, ALIGNMENT - 1, &rounded)) {
        return error_set(error, STATUS_NO_MEMORY, "could not reserve an arena of %zu bytes",
                         capacity);
    }
    rounded &= ~(ALIGNMENT - 1);
    unsigned char *base = mem_alloc_aligned(rounded);
    if (base == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not reserve an arena of %zu bytes",
                         rounded);
    }
    arena->base = base;
    arena->capacity = rounded;
    ASAN_POISON_MEMORY_REGION(base, rounded);
    return STATUS_OK;
}

void arena_release(struct arena *arena)
{
    if (arena->base != NULL) {
        ASAN_UNPOISON_MEMORY_REGION(arena->base, arena->capacity);
        mem_free(arena->base);
    }
    *arena = (struct arena){0};
}

void *arena_alloc(struct arena *arena, size_t size)
{
    /* An empty allocation takes a line too, so that no two pointers are equal. */
    size_t wanted = size != 0 ? size : 1;
    size_t room = arena->capacity - arena->used;
    if (wanted > room) {
        return NULL;
    }
    /* The room is a multiple of the alignment, so rounding up cannot leave it. */
    size_t taken = (wanted + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    void *block = arena->base + arena->used;
    arena->used += taken;
    if (arena->used > arena->peak) {
        arena->peak = arena->used;
    }
    ASAN_UNPOISON_MEMORY_REGION(block, size);
    return block;
}

void *arena_zeroed(struct arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (size_mul(count, size, &bytes)) {
        return NULL;
    }
    void *block = arena_alloc(arena, bytes);
    if (block != NULL) {
        memset(block, 0, bytes);
    }
    return block;
}

size_t arena_mark(const struct arena *arena)
{
    return arena->used;
}

void arena_rewind(struct arena *arena, size_t mark)
{
    CHECK(mark <= arena->used);
    CHECK(mark % ALIGNMENT == 0);
    if (mark < arena->used) {
        ASAN_POISON_MEMORY_REGION(arena->base + mark, arena->used - mark);
    }
    arena->used = mark;
}
