/* Fuzzes remote write: both messages, and the snappy block around them; known names must agree.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses the version, or that a line with the type of the body does, and whether
 * the rest is a snappy block or the message itself.
 */
#include "api/remote_write_reader.h"
#include "api/snappy_block.h"
#include "base/memory.h"
#include "tests/fuzz/visitor.h"

#define UNPACKED_MAX ((size_t)1 << 20)

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
        struct points_visitor visitor = {&sums[i],    sum_series, sum_point,
                                         sum_refusal, sum_end,    sum_declaration};
        struct remote_write request = {message, version, i ? cache : NULL};
        status[i] = remote_write_read(&request, &visitor, &skipped, &error);
    }
    if (status[0] != status[1] || status[1] != status[2] ||
        (status[0] == STATUS_OK && (sums[0] != sums[1] || sums[1] != sums[2]))) {
        abort();
    }
}

/* Takes the type of the body off the front; false where there is no such type. */
static bool take_type(struct slice *message, enum remote_write_version *version)
{
    const char *feed = message->length > 0 ? memchr(message->bytes, '\n', message->length) : NULL;
    size_t length = feed != NULL ? (size_t)(feed - message->bytes) : message->length;
    char *type = malloc(length + 1);
    if (type == NULL) {
        abort();
    }
    memcpy(type, message->bytes, length);
    type[length] = '\0';
    bool known = remote_write_version(type, version);
    bool protobuf = strcasestr(type, "application/x-protobuf") != NULL;
    if (known && !protobuf && type[strspn(type, " \t")] != '\0') {
        abort();
    }
    free(type);
    message->bytes += length + (feed != NULL);
    message->length -= length + (feed != NULL);
    return known;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    enum remote_write_version version = data[0] & 1 ? REMOTE_WRITE_2 : REMOTE_WRITE_1;
    struct slice message = {(const char *)data + 1, size - 1};
    if (data[0] & 4 && !take_type(&message, &version)) {
        return 0;
    }
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
