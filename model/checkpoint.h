/* safetensors files: named float tensors with text metadata; hostile files are refused.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Form: 8 bytes little-endian header length n (at most 1 MiB), n bytes of JSON (padded with
 * blanks), then raw little-endian data.
 * {"__metadata__":{"key":"text",...},"name":{"dtype":"F32","shape":[2,3],
 * "data_offsets":[0,24]},...}. Only F32 is written and read. Offsets are sorted, without gap or
 * overlap, and end at the end of the file; sizes match the shapes; every value is finite.
 */
#ifndef MODEL_CHECKPOINT_H
#define MODEL_CHECKPOINT_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

#define CHECKPOINT_HEADER_MAX  (1u << 20)
#define CHECKPOINT_BYTES_MAX   (size_t)(1u << 30)
#define CHECKPOINT_TENSORS_MAX 8192
#define CHECKPOINT_KEYS_MAX    256
#define CHECKPOINT_NAME_MAX    96

struct checkpoint_tensor {
    char name[CHECKPOINT_NAME_MAX];
    size_t shape[4]; /* axes beyond `axes` are 1 */
    unsigned axes;
    size_t size;       /* values */
    const float *data; /* borrowed: of the writer, or inside the file that was read */
};

struct checkpoint_key {
    char *name, *text; /* owned */
};

struct checkpoint {
    struct checkpoint_tensor *tensors;
    size_t tensor_count, tensor_capacity;
    struct checkpoint_key *keys;
    size_t key_count, key_capacity;
    unsigned char *file; /* owned, of a file that was read */
    enum status failed;  /* sticky, of the building functions */
};

void checkpoint_init(struct checkpoint *checkpoint);
void checkpoint_release(struct checkpoint *checkpoint);

/* Building one. Texts are copied, data is borrowed. Failures stick until checkpoint_write. */
void checkpoint_set(struct checkpoint *checkpoint, const char *key, const char *text);
void checkpoint_set_format(struct checkpoint *checkpoint, const char *key, const char *format, ...)
    PRINTF_LIKE(3, 4);
void checkpoint_add(struct checkpoint *checkpoint, const char *name, const size_t *shape,
                    unsigned axes, const float *data);

/* Temporary file, sync, read back and compare, rename, sync of the folder. The SHA-256 of the whole
 * file goes out. STATUS_IO, NO_SPACE, NO_MEMORY; the file at `path` is then what it was before. */
enum status checkpoint_write(const struct checkpoint *checkpoint, const char *path, char sha256[65],
                             struct error *error) MUST_USE;

/* Reads and verifies. `sha256` of the whole file, or NULL. STATUS_NOT_FOUND, IO, CORRUPT,
 * NO_MEMORY. */
enum status checkpoint_read(const char *path, const char *sha256, struct checkpoint *out,
                            struct error *error) MUST_USE;

/* The same from memory, which is taken over (also on failure); made by mem_alloc_aligned. */
enum status checkpoint_parse_take(unsigned char *bytes, size_t length, struct checkpoint *out,
                                  struct error *error) MUST_USE;

/* NULL where there is none. */
const char *checkpoint_text(const struct checkpoint *checkpoint, const char *key);
const struct checkpoint_tensor *checkpoint_find(const struct checkpoint *checkpoint,
                                                const char *name);

#endif
