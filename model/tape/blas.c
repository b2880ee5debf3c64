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

/* Before main, so that no product of any program ever runs on OpenBLAS's own threads: they would
 * spin beside the lanes. */
__attribute__((constructor)) static void one_thread(void)
{
    openblas_set_num_threads(1);
}

enum status blas_check(unsigned lanes, struct error *error)
{
    one_thread();
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
