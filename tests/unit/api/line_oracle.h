/* A slow and obvious reader of line protocol in nanoseconds, to hold the fast one against.
 * SPDX-License-Identifier: Apache-2.0
 *
 * It cuts the body into lines first, then each line into copied parts, knows numbers by regular
 * expressions and reads them with the C library. Bodies hold no zero bytes.
 */
#ifndef TESTS_API_LINE_ORACLE_H
#define TESTS_API_LINE_ORACLE_H

#include "api/points_reader.h"

void line_oracle(const char *body, size_t length, int64_t now_ms,
                 const struct points_visitor *visitor);

#endif
