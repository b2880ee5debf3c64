/* Fuzzes remote write: both messages, and the snappy block around them; known names must agree.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses the version and whether the rest is a snappy block or the message itself.
 */
#include "api/remote_write_reader.h"
#include "api/snappy_block.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define UNPACKED_MAX ((size_t)1 << 20)

static void add(uint64_t *sum, uint64_t value)
{
    *sum = (*sum ^ value) * UINT64_C(0x100000001B3);
}

static enum status visit_series(void *context, struct slice text, uint64_t *handle, uint32_t *number,
                                struct error *error)
{
    (void)handle;
    uint32_t hash = 17;
    (void)context;
    if (text.length == 3) {
        error_set(error, STATUS_TOO_LARGE, "refused here so that this is tried too");
        return error_code(error, "series_limit", NULL);
    }
    for (size_t i = 0; i < text.length; i++) {
        hash = hash * 31 + (unsigned char)text.bytes[i];
    }
    *number = hash;
    return STATUS_OK;
}

static enum status visit_point(void *context, uint32_t number, struct point point,
                               struct error *error)
{
    uint64_t bits = 0;
    (void)error;
    if (isinf(point.value)) {
        abort();
    }
    if (!isnan(point.value)) {
        memcpy(&bits, &point.value, sizeof(bits));
    }
    add(context, number);
    add(context, (uint64_t)point.time_ms);
    add(context, bits);
    return STATUS_OK;
}

static enum status visit_end(void *context, uint32_t number, int64_t time_ms, struct error *error)
{
    (void)error;
    add(context, ~(uint64_t)number);
    add(context, (uint64_t)time_ms);
    return STATUS_OK;
}

static void visit_refusal(void *context, uint64_t position, const struct error *error)
{
    if (error->status == STATUS_OK || !error->code) {
        abort();
    }
    add(context, ~position);
}

static enum status visit_declaration(void *context, struct slice family, enum family_type type,
                                     struct error *error)
{
    (void)error;
    add(context, family.length);
    add(context, (uint64_t)type);
    return STATUS_OK;
}

static void read_message(struct slice message, enum remote_write_version version)
{
    static struct points_cache *cache; /* kept, so that later inputs meet names of earlier ones */
    struct error error = {0};
    uint64_t sums[3] = {1, 1, 1};
    enum status status[3];
    if (!cache && points_cache_new(&cache, &error) != STATUS_OK) {
        return;
    }
    for (int i = 0; i < 3; i++) { /* without a cache, then twice with it: unknown and known names */
        struct remote_write_skipped skipped = {0};
        struct points_visitor visitor = {&sums[i],      visit_series, visit_point,
                                         visit_refusal, visit_end,    visit_declaration};
        struct remote_write request = {message, version, i ? cache : NULL};
        status[i] = remote_write_read(&request, &visitor, &skipped, &error);
    }
    if (status[0] != status[1] || status[1] != status[2] ||
        (status[0] == STATUS_OK && (sums[0] != sums[1] || sums[1] != sums[2]))) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    enum remote_write_version version = data[0] & 1 ? REMOTE_WRITE_2 : REMOTE_WRITE_1;
    struct slice message = {(const char *)data + 1, size - 1};
    char *unpacked = NULL;
    struct error error = {0};
    if (data[0] & 2) {
        size_t length = 0;
        if (snappy_block_unpack(message.bytes, message.length, UNPACKED_MAX, &unpacked, &length,
                                &error) != STATUS_OK) {
            return 0;
        }
        message = (struct slice){unpacked, length};
    }
    read_message(message, version);
    mem_free(unpacked);
    return 0;
}
