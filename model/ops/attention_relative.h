/* How big packed keys and distances are, for those who keep them: the decoding state.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MODEL_OPS_ATTENTION_RELATIVE_H
#define MODEL_OPS_ATTENTION_RELATIVE_H

#include "model/ops/kernels.h"
#include "model/ops/ops.h"

/* Reals of `count` rows of `width` in kernels()->relative_pack's form. */
size_t relative_packed_size(size_t count, size_t width);

/* h': a row's width in whole vectors. */
size_t relative_row_width(size_t width);

#endif
