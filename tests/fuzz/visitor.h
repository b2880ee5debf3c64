/* The visitor that harnesses give to readers of points: it adds up what it is told, in order.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Two readings of one input must come to the same sum. Each answer that a reader may get is given,
 * by what it asks, so that all readings of an input meet the same: a series whose text has 3 bytes
 * is refused and one of 4 bytes fails; a point or an end at 333 ms behind a second is refused, and
 * fails at 444; a family of 4 bytes fails.
 */
#ifndef TESTS_FUZZ_VISITOR_H
#define TESTS_FUZZ_VISITOR_H

#include "api/points_reader.h"
#include "base/series_name.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static inline void sum_add(uint64_t *sum, uint64_t value)
{
    *sum = (*sum ^ value) * UINT64_C(0x100000001B3);
}

/* A name that is handed on has to be one that can be read back. */
static enum status sum_series(void *context, struct slice text, uint64_t *handle, uint32_t *number,
                              struct error *error)
{
    char again[SERIES_TEXT_MAX];
    size_t again_length = 0;
    uint32_t hash = 17;
    (void)context;
    (void)handle;
    if (series_name_parse(text.bytes, text.length, again, &again_length, error) != STATUS_OK ||
        again_length != text.length || memcmp(text.bytes, again, text.length) != 0) {
        abort();
    }
    if (text.length == 3) {
        error_set(error, STATUS_TOO_LARGE, "refused here so that this is tried too");
        return error_code(error, "series_limit", NULL);
    }
    if (text.length == 4) {
        return error_set(error, STATUS_NO_MEMORY, "failed here so that this is tried too");
    }
    for (size_t i = 0; i < text.length; i++) {
        hash = hash * 31 + (unsigned char)text.bytes[i];
    }
    *number = hash;
    return STATUS_OK;
}

static enum status sum_moment(uint64_t *sum, uint32_t number, int64_t time_ms, struct error *error)
{
    if (time_ms % 1000 == 333) {
        error_set(error, STATUS_INVALID, "refused here so that this is tried too");
        return error_code(error, "bad_timestamp", NULL);
    }
    if (time_ms % 1000 == 444) {
        return error_set(error, STATUS_NO_MEMORY, "failed here so that this is tried too");
    }
    sum_add(sum, number);
    sum_add(sum, (uint64_t)time_ms);
    return STATUS_OK;
}

static enum status sum_point(void *context, uint32_t number, struct point point,
                             struct error *error)
{
    uint64_t bits = 0;
    if (isinf(point.value)) {
        abort();
    }
    if (!isnan(point.value)) {
        memcpy(&bits, &point.value, sizeof(bits));
    }
    sum_add(context, bits);
    return sum_moment(context, number, point.time_ms, error);
}

static inline enum status sum_end(void *context, uint32_t number, int64_t time_ms,
                                  struct error *error)
{
    sum_add(context, 1);
    return sum_moment(context, number, time_ms, error);
}

static inline void sum_refusal(void *context, uint64_t position, const struct error *error)
{
    if (error->status == STATUS_OK || error->code == NULL || error->text[0] == '\0') {
        abort();
    }
    sum_add(context, ~position);
}

static inline enum status sum_declaration(void *context, struct slice family, enum family_type type,
                                          struct error *error)
{
    if (family.length == 4) {
        return error_set(error, STATUS_NO_MEMORY, "failed here so that this is tried too");
    }
    sum_add(context, family.length);
    sum_add(context, (uint64_t)type);
    return STATUS_OK;
}

#endif
