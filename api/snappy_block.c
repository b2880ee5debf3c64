/* snappy's block format, unpacked under a bound that is checked before anything is allocated.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/snappy_block.h"

#include "base/memory.h"

#include <snappy-c.h>

/* The densest element copies 64 bytes and takes three. */
#define RATIO_MAX 22u

static enum status bad_block(const char *what, struct error *error)
{
    error_set(error, STATUS_INVALID, "cannot unpack the body: %s", what);
    return error_code(error, "bad_snappy", NULL);
}

enum status snappy_block_unpack(const char *bytes, size_t length, size_t maximum, char **out,
                                size_t *out_length, struct error *error)
{
    size_t stated = 0;
    *out = NULL;
    *out_length = 0;
    if (snappy_uncompressed_length(bytes, length, &stated) != SNAPPY_OK) {
        return bad_block("it does not begin with a length, as a snappy block does", error);
    }
    if (stated > maximum) {
        error_set(error, STATUS_TOO_LARGE,
                  "the unpacked body of %zu bytes is over the limit of %zu", stated, maximum);
        return error_code(error, "body_too_large", NULL);
    }
    if (stated / RATIO_MAX > length) {
        return bad_block("it states a length that its bytes cannot hold", error);
    }
    char *room = mem_alloc(stated + 1);
    if (!room) {
        return error_set(error, STATUS_NO_MEMORY, "no memory to unpack the body");
    }
    size_t used = stated;
    if (snappy_uncompress(bytes, length, room, &used) != SNAPPY_OK || used != stated) {
        mem_free(room);
        return bad_block("it is no snappy block (the framed format is another one)", error);
    }
    *out = room;
    *out_length = used;
    return STATUS_OK;
}
