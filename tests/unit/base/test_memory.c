/* Tests of memory: accounting, overflow, alignment, injected faults, many threads at once.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/memory.h"
#include "tests/unit/base/test.h"

#include <pthread.h>
#include <string.h>

static void counts_what_is_out(UNUSED void **state)
{
    size_t before = mem_bytes_in_use();
    char *a = mem_alloc(1000);
    assert_non_null(a);
    assert_true(mem_bytes_in_use() >= before + 1000);
    a = mem_resize(a, 5000, 1);
    assert_true(mem_bytes_in_use() >= before + 5000);
    assert_true(mem_bytes_in_use() < before + 9000);
    char *b = mem_zeroed(10, 100);
    char *c = mem_alloc_aligned(1);
    char *d = mem_copy_text("text", 4);
    assert_true(mem_bytes_peak() >= mem_bytes_in_use());
    size_t high = mem_bytes_in_use();
    mem_free(a);
    mem_free(b);
    mem_free(c);
    mem_free(d);
    mem_free(NULL);
    assert_int_equal(mem_bytes_in_use(), before);
    assert_true(mem_bytes_peak() >= high);
}

static void contents_are_kept_and_zeroed(UNUSED void **state)
{
    unsigned char *zeroed = mem_zeroed(1000, 3);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(zeroed[i], 0);
        zeroed[i] = (unsigned char)i;
    }
    zeroed = mem_resize(zeroed, 100000, 1);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(zeroed[i], (unsigned char)i);
    }
    mem_free(zeroed);
    char *copy = mem_copy_text("abcdef", 3);
    assert_string_equal(copy, "abc");
    mem_free(copy);
    copy = mem_copy_text(NULL, 0);
    assert_string_equal(copy, "");
    mem_free(copy);
}

static void overflow_is_null(UNUSED void **state)
{
    volatile size_t huge = SIZE_MAX / 2;
    assert_null(mem_zeroed(huge, 3));
    assert_null(mem_array(huge, 3));
    assert_null(mem_array_aligned(huge, 3));
    assert_null(mem_resize(NULL, huge, 3));
    assert_null(mem_alloc_aligned(SIZE_MAX - 10 + (huge & 0)));
    assert_null(mem_copy_text("", SIZE_MAX + (huge & 0)));
    char *block = mem_alloc(10);
    memcpy(block, "still here", 10);
    assert_null(mem_resize(block, huge, 3));
    assert_memory_equal(block, "still here", 10);
    mem_free(block);
    size_t result;
    assert_int_equal(size_mul(SIZE_MAX, 2, &result), 1);
    assert_int_equal(size_mul(3, 4, &result), 0);
    assert_int_equal(result, 12);
    assert_int_equal(size_add(SIZE_MAX, 1, &result), 1);
    assert_int_equal(size_add(3, 4, &result), 0);
    assert_int_equal(result, 7);
}

static void nothing_is_a_block_too(UNUSED void **state)
{
    void *blocks[] = {mem_alloc(0), mem_zeroed(0, 8), mem_resize(NULL, 0, 8), mem_alloc_aligned(0)};
    for (size_t i = 0; i < 4; i++) {
        assert_non_null(blocks[i]);
        mem_free(blocks[i]);
    }
}

static void aligned_to_a_cache_line(UNUSED void **state)
{
    void *blocks[65];
    for (size_t i = 0; i < 65; i++) {
        blocks[i] = mem_alloc_aligned(i * 7);
        assert_int_equal((uintptr_t)blocks[i] % 64, 0);
    }
    for (size_t i = 0; i < 65; i++) {
        mem_free(blocks[i]);
    }
}

/* Allocates in five ways and tells which came back empty, as bits. */
static unsigned allocate_five(void)
{
    void *blocks[5] = {mem_alloc(8), mem_zeroed(2, 8), mem_resize(NULL, 2, 8), mem_alloc_aligned(8),
                       mem_copy_text("x", 1)};
    unsigned failed = 0;
    for (unsigned i = 0; i < 5; i++) {
        failed |= (blocks[i] == NULL) << i;
        mem_free(blocks[i]);
    }
    return failed;
}

static void the_nth_allocation_fails(UNUSED void **state)
{
    for (unsigned nth = 1; nth <= 5; nth++) {
        mem_fault_set(nth, 0);
        assert_false(mem_fault_hit());
        assert_int_equal(allocate_five(), 1u << (nth - 1));
        assert_true(mem_fault_hit());
        assert_int_equal(allocate_five(), 0);
        mem_fault_set(nth, 1);
        assert_int_equal(allocate_five(), 31u & ~((1u << (nth - 1)) - 1));
        assert_int_equal(allocate_five(), 31);
    }
    mem_fault_set(6, 0);
    assert_int_equal(allocate_five(), 0);
    assert_false(mem_fault_hit());
    mem_fault_set(0, 0);
    assert_int_equal(allocate_five(), 0);
    assert_int_equal(allocate_five(), 0);
}

static void *churn(void *argument)
{
    unsigned seed = *(unsigned *)argument;
    void *held[16] = {NULL};
    for (int i = 0; i < 20000; i++) {
        seed = seed * 1103515245u + 12345u;
        unsigned slot = seed >> 16 & 15;
        if (held[slot] == NULL) {
            held[slot] = mem_alloc(seed >> 8 & 1023);
        } else if (seed & 0x100000) {
            held[slot] = mem_resize(held[slot], seed >> 8 & 2047, 1);
        } else {
            mem_free(held[slot]);
            held[slot] = NULL;
        }
    }
    for (int i = 0; i < 16; i++) {
        mem_free(held[i]);
    }
    return NULL;
}

static void threads_leave_the_count_right(UNUSED void **state)
{
    size_t before = mem_bytes_in_use();
    pthread_t threads[4];
    unsigned seeds[4] = {1, 2, 3, 4};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, churn, &seeds[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(mem_bytes_in_use(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_what_is_out),
        cmocka_unit_test(contents_are_kept_and_zeroed),
        cmocka_unit_test(overflow_is_null),
        cmocka_unit_test(nothing_is_a_block_too),
        cmocka_unit_test(aligned_to_a_cache_line),
        cmocka_unit_test(the_nth_allocation_fails),
        cmocka_unit_test(threads_leave_the_count_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
