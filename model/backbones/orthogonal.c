/* Random directions that are orthogonal in blocks.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Q of a QR decomposition of a normal matrix is uniform (Haar) only where the signs of R's diagonal
 * are fixed. Householder's method, as in LAPACK, leaves them to the data: then each direction leans
 * to one side, the features are biased, and with heads of 8 channels their error stops falling with
 * their number. Gram and Schmidt's method has a positive diagonal by construction, which is that
 * correction; each vector is projected twice, so that rounding does no harm.
 */
#include "model/backbones/orthogonal.h"

#include "base/check.h"

#include <math.h>

/* Takes the parts along earlier rows of the block out of x. */
static void project_out(const real *block, size_t earlier, size_t width, double *x)
{
    for (size_t r = 0; r < earlier; r++) {
        const real *row = block + r * width;
        double along = 0;
        for (size_t c = 0; c < width; c++) {
            along += (double)row[c] * x[c];
        }
        for (size_t c = 0; c < width; c++) {
            x[c] -= along * (double)row[c];
        }
    }
}

static double draw_normals(size_t width, struct random *random, double *x)
{
    double square = 0;
    for (size_t c = 0; c < width; c++) {
        x[c] = random_normal(random);
        square += x[c] * x[c];
    }
    return sqrt(square);
}

static double norm_of(const double *x, size_t width)
{
    double square = 0;
    for (size_t c = 0; c < width; c++) {
        square += x[c] * x[c];
    }
    return sqrt(square);
}

void orthogonal_draw(size_t count, size_t width, struct random *random, real *rows)
{
    double x[ORTHOGONAL_WIDTH_MAX];
    CHECK(width <= ORTHOGONAL_WIDTH_MAX);
    for (size_t start = 0; start < count; start += width) {
        real *block = rows + start * width;
        size_t size = count - start < width ? count - start : width;
        for (size_t r = 0; r < size; r++) {
            (void)draw_normals(width, random, x);
            project_out(block, r, width, x);
            project_out(block, r, width, x);
            double norm = norm_of(x, width);
            for (size_t c = 0; c < width; c++) {
                block[r * width + c] = (real)(x[c] / norm);
            }
        }
        for (size_t r = 0; r < size; r++) {
            double length = draw_normals(width, random, x);
            for (size_t c = 0; c < width; c++) {
                block[r * width + c] *= (real)length;
            }
        }
    }
}
