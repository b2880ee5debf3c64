/* The one door to OpenBLAS.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The library is loaded at the first use. One that is linked starts a thread a core before main,
 * which spins for tens of milliseconds: more than all else of a start. Only a number of threads
 * that stands in the environment before it is loaded keeps it from that.
 */
#include "model/tape/blas.h"

#include "base/check.h"
#include "base/library.h"
#include "model/model.h"

#include <cblas.h>
#include <pthread.h>
#include <stdatomic.h>
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
#define BUFFERS_MAX   32u

#ifdef FORECASTD_DOUBLE
#define PRODUCT cblas_dgemm
#define VECTOR  cblas_dgemv
#else
#define PRODUCT cblas_sgemm
#define VECTOR  cblas_sgemv
#endif
#define TEXT_OF(name)  #name
#define NAME_OF(macro) TEXT_OF(macro)

/* The functions used of the library. */
static struct {
    __typeof__(PRODUCT) *product;
    __typeof__(VECTOR) *vector;
    __typeof__(openblas_set_num_threads) *set_num_threads;
    __typeof__(openblas_get_parallel) *get_parallel;
    __typeof__(openblas_get_config) *get_config;
    /* Its own way to a buffer, exported but in no header; where a library has none, products are
     * right all the same. */
    void *(*memory_alloc)(int position);
    void (*memory_free)(void *buffer);
} library;
static bool library_ready;
static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static void load_library(void)
{
    static const char *const names[] = {"libopenblas.so.0", NULL};
    static const struct library_symbol symbols[] = {
        {NAME_OF(PRODUCT), &library.product, false},
        {NAME_OF(VECTOR), &library.vector, false},
        {"openblas_set_num_threads", &library.set_num_threads, false},
        {"openblas_get_parallel", &library.get_parallel, false},
        {"openblas_get_config", &library.get_config, false},
        {"blas_memory_alloc", &library.memory_alloc, true},
        {"blas_memory_free", &library.memory_free, true},
    };
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    library_ready = library_load(names, symbols, ARRAY_COUNT(symbols));
    if (library_ready) {
        library.set_num_threads(1);
    }
}

enum status model_prepare(struct error *error)
{
    pthread_once(&library_once, load_library);
    if (!library_ready) {
        (void)error_set(error, STATUS_UNSUPPORTED, "cannot multiply: OpenBLAS is not installed");
        return error_hint(error, "On Debian: apt-get install libopenblas0-pthread.");
    }
    return STATUS_OK;
}

/* As many buffers as lanes, and as many again for forecasts beside them: products get the first
 * that is free. */
static void touch_buffers(unsigned lanes)
{
    static atomic_uint touched;
    void *buffers[BUFFERS_MAX];
    unsigned count = lanes < BUFFERS_MAX / 2 ? 2 * lanes : BUFFERS_MAX;
    if (library.memory_alloc == NULL || library.memory_free == NULL ||
        atomic_load(&touched) >= count) {
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        buffers[i] = library.memory_alloc(0);
        memset(buffers[i], 0, TOUCHED_BYTES);
    }
    for (unsigned i = 0; i < count; i++) {
        library.memory_free(buffers[i]);
    }
    atomic_store(&touched, count);
}

enum status blas_check(unsigned lanes, struct error *error)
{
    if (model_prepare(error) != STATUS_OK) {
        return error->status;
    }
    touch_buffers(lanes);
    int build = library.get_parallel();
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
    pthread_once(&library_once, load_library);
    return library_ready ? library.get_config() : "no OpenBLAS";
}

void blas_product(size_t rows, size_t columns, size_t inner, real alpha, struct matrix a,
                  struct matrix b, real beta, real *c, size_t c_step)
{
    pthread_once(&library_once, load_library);
    CHECK(library_ready);
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
        library.vector(CblasRowMajor, CblasNoTrans, (blasint)columns, (blasint)inner, alpha, b.data,
                       (blasint)b.step, a.data, 1, beta, c, 1);
        return;
    }
    library.product(CblasRowMajor, a_side, b_side, (blasint)rows, (blasint)columns, (blasint)inner,
                    alpha, a.data, (blasint)a.step, b.data, (blasint)b.step, beta, c,
                    (blasint)c_step);
}
