/* Bump allocator: many small allocations with one common end of life.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One block of fixed capacity. Alignment 64 bytes. Unused space is poisoned under AddressSanitizer,
 * so overruns inside an arena are caught. Not thread safe: an arena has one owner.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/status.h"

#include <stddef.h>

struct arena {
    unsigned char *base;
    size_t capacity;
    size_t used;
    size_t peak;
};

/* Allocates the block; `capacity` is rounded up to 64. */
enum status arena_init(struct arena *arena, size_t capacity, struct error *error) MUST_USE;

/* Gives the block back; the struct may be initialised again. Harmless on a zeroed struct. */
void arena_release(struct arena *arena);

/* Uninitialised bytes, 64-byte aligned; NULL where the arena is full (the caller decides whether that
 * is a bug or an error). */
void *arena_alloc(struct arena *arena, size_t size);

/* As arena_alloc for count * size bytes, zeroed; NULL on overflow too. */
void *arena_zeroed(struct arena *arena, size_t count, size_t size);

/* Where the arena stands now, and back to an earlier stand: everything allocated since is gone. */
size_t arena_mark(const struct arena *arena);
void arena_rewind(struct arena *arena, size_t mark);

#endif
