/* The one door to OpenBLAS.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/tape/blas.h"

#include "base/check.h"

#include <cblas.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What openblas_get_parallel answers. */
enum { BUILD_SERIAL = 0, BUILD_PTHREAD = 1, BUILD_OPENMP = 2 };

/* OpenBLAS packs operands into a buffer a running product, of 32 MiB of which small products use
 * little. The single-precision kernel of Haswell and Zen prefetches the next columns of the second
 * operand, at the last columns beyond what was packed; where no page is there yet, each prefetch
 * walks the page tables in vain, and weight gradients (64 x 256 x 4,096) run at 10 instead of 31
 * GFLOP/s. So the part that small products come near is written once: 256 KiB are too few, 512 are
 * enough for 64 columns. */
#define TOUCHED_BYTES ((size_t)1 << 20)
#define BUFFERS_MAX   32

/* OpenBLAS's own way to a buffer, exported but in no header; where a library has none, products are
 * right all the same. */
extern void *blas_memory_alloc(int position) __attribute__((weak));
extern void blas_memory_free(void *buffer) __attribute__((weak));

/* As many buffers as products may run at once, and those that the library's own threads take for
 * themselves while they start: products get the first that is free. */
static void touch_buffers(unsigned products)
{
    void *buffers[BUFFERS_MAX];
    if (blas_memory_alloc == NULL || blas_memory_free == NULL) {
        return;
    }
    unsigned count = products + (unsigned)openblas_get_num_procs();
    count = count < BUFFERS_MAX ? count : BUFFERS_MAX;
    for (unsigned i = 0; i < count; i++) {
        buffers[i] = blas_memory_alloc(0);
        memset(buffers[i], 0, TOUCHED_BYTES);
    }
    for (unsigned i = 0; i < count; i++) {
        blas_memory_free(buffers[i]);
    }
}

/* Before main, so that no product of any program ever runs on OpenBLAS's own threads: they would
 * spin beside the lanes. */
__attribute__((constructor)) static void one_thread(void)
{
    openblas_set_num_threads(1);
    touch_buffers(1);
}

enum status blas_check(unsigned lanes, struct error *error)
{
    openblas_set_num_threads(1);
    touch_buffers(lanes);
    int build = openblas_get_parallel();
    const char *threads = getenv("OMP_NUM_THREADS");
    if (build == BUILD_OPENMP && (threads == NULL || strcmp(threads, "1") != 0)) {
        (void)error_set(error, STATUS_UNSUPPORTED,
                        "cannot keep this OpenMP build of OpenBLAS to one thread a lane");
        return error_hint(error, "Set OMP_NUM_THREADS=1, or install libopenblas0-pthread.");
    }
    if (build == BUILD_SERIAL && lanes > 1) {
        (void)error_set(
            error, STATUS_UNSUPPORTED,
            "cannot run %u lanes: this serial build of OpenBLAS gives wrong results when "
            "two threads call it",
            lanes);
        return error_hint(error, "Install libopenblas0-pthread, or train with one lane.");
    }
    return STATUS_OK;
}

const char *blas_description(void)
{
    return openblas_get_config();
}

void blas_product(size_t rows, size_t columns, size_t inner, real alpha, struct matrix a,
                  struct matrix b, real beta, real *c, size_t c_step)
{
    CHECK(rows <= INT32_MAX && columns <= INT32_MAX && inner <= INT32_MAX);
    CHECK(a.step <= INT32_MAX && b.step <= INT32_MAX && c_step <= INT32_MAX);
    enum CBLAS_TRANSPOSE a_side = a.side == BLAS_PLAIN ? CblasNoTrans : CblasTrans;
    enum CBLAS_TRANSPOSE b_side = b.side == BLAS_PLAIN ? CblasNoTrans : CblasTrans;
    if (rows == 1 && a.side == BLAS_PLAIN && b.side == BLAS_TRANSPOSED) {
        /* One step of decoding: a matrix times a vector packs nothing and runs at memory speed. The
         * zeros are for builds that multiply what was there by a beta of 0. */
        if (beta == 0) {
            memset(c, 0, columns * sizeof(real));
        }
#ifdef FORECASTD_DOUBLE
        cblas_dgemv(
#else
        cblas_sgemv(
#endif
            CblasRowMajor, CblasNoTrans, (blasint)columns, (blasint)inner, alpha, b.data,
            (blasint)b.step, a.data, 1, beta, c, 1);
        return;
    }
#ifdef FORECASTD_DOUBLE
    cblas_dgemm(
#else
    cblas_sgemm(
#endif
        CblasRowMajor, a_side, b_side, (blasint)rows, (blasint)columns, (blasint)inner, alpha,
        a.data, (blasint)a.step, b.data, (blasint)b.step, beta, c, (blasint)c_step);
}
