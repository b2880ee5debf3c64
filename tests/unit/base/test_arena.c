/* Tests of arena: alignment, exhaustion, marks, the peak, and poisoning under AddressSanitizer.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/arena.h"
#include "base/memory.h"
#include "tests/unit/base/test.h"

#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

static void fills_up_and_refuses(UNUSED void **state)
{
    struct arena arena;
    struct error error;
    assert_ok(arena_init(&arena, 1000, &error));
    assert_int_equal(arena.capacity, 1024);
    unsigned char *previous = NULL;
    for (int i = 0; i < 16; i++) {
        unsigned char *block = arena_alloc(&arena, (size_t)(64 - i));
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 64, 0);
        assert_true(previous == NULL || block == previous + 64);
        memset(block, i, (size_t)(64 - i));
        previous = block;
    }
    assert_null(arena_alloc(&arena, 1));
    assert_null(arena_alloc(&arena, 0));
    assert_int_equal(arena.used, 1024);
    assert_int_equal(arena.peak, 1024);
    arena_release(&arena);
    arena_release(&arena);
}

static void sizes_near_the_top_do_not_wrap(UNUSED void **state)
{
    struct arena arena;
    struct error error;
    assert_ok(arena_init(&arena, 128, &error));
    for (size_t below = 0; below < 130; below++) {
        assert_null(arena_alloc(&arena, SIZE_MAX - below));
    }
    assert_null(arena_zeroed(&arena, SIZE_MAX / 2, 3));
    assert_null(arena_alloc(&arena, 129));
    assert_non_null(arena_alloc(&arena, 128));
    arena_release(&arena);
    assert_int_equal(arena_init(&arena, SIZE_MAX, &error), STATUS_NO_MEMORY);
    assert_null(arena.base);
}

static void rewinding_reuses_the_space(UNUSED void **state)
{
    struct arena arena;
    struct error error;
    assert_ok(arena_init(&arena, 4096, &error));
    char *kept = arena_alloc(&arena, 100);
    memset(kept, 'k', 100);
    size_t mark = arena_mark(&arena);
    for (int round = 0; round < 100; round++) {
        unsigned char *scratch = arena_zeroed(&arena, 10, 300);
        assert_non_null(scratch);
        for (int i = 0; i < 3000; i++) {
            assert_int_equal(scratch[i], 0);
        }
        memset(scratch, 0xFF, 3000);
        arena_rewind(&arena, mark);
        assert_int_equal(arena_mark(&arena), mark);
    }
    assert_int_equal(kept[99], 'k');
    assert_int_equal(arena.peak, 128 + 3008);
    arena_rewind(&arena, 0);
    assert_int_equal(arena.used, 0);
    arena_release(&arena);
}

static void unused_space_is_poisoned(UNUSED void **state)
{
#if defined(__SANITIZE_ADDRESS__)
    struct arena arena;
    struct error error;
    assert_ok(arena_init(&arena, 1024, &error));
    assert_true(__asan_address_is_poisoned(arena.base));
    size_t mark = arena_mark(&arena);
    unsigned char *block = arena_alloc(&arena, 100);
    assert_false(__asan_address_is_poisoned(block + 99));
    assert_true(__asan_address_is_poisoned(block + 104));
    arena_rewind(&arena, mark);
    assert_true(__asan_address_is_poisoned(block));
    arena_release(&arena);
#else
    skip();
#endif
}

static void no_memory_is_a_status(UNUSED void **state)
{
    size_t before = mem_bytes_in_use();
    struct arena arena;
    struct error error = {0};
    mem_fault_set(1, 0);
    assert_int_equal(arena_init(&arena, 1000, &error), STATUS_NO_MEMORY);
    mem_fault_set(0, 0);
    assert_int_equal(error.status, STATUS_NO_MEMORY);
    assert_null(arena_alloc(&arena, 1));
    arena_release(&arena);
    assert_int_equal(mem_bytes_in_use(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fills_up_and_refuses),
        cmocka_unit_test(sizes_near_the_top_do_not_wrap),
        cmocka_unit_test(rewinding_reuses_the_space),
        cmocka_unit_test(unused_space_is_poisoned),
        cmocka_unit_test(no_memory_is_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
