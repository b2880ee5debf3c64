/* safetensors files: named float tensors with text metadata; hostile files are refused.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/checkpoint.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/json_reader.h"
#include "base/memory.h"
#include "base/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PREFIX_BYTES 8

void checkpoint_init(struct checkpoint *checkpoint)
{
    *checkpoint = (struct checkpoint){0};
}

void checkpoint_release(struct checkpoint *checkpoint)
{
    for (size_t i = 0; i < checkpoint->key_count; i++) {
        mem_free(checkpoint->keys[i].name);
        mem_free(checkpoint->keys[i].text);
    }
    mem_free(checkpoint->keys);
    mem_free(checkpoint->tensors);
    mem_free(checkpoint->file);
    *checkpoint = (struct checkpoint){0};
}

/* ---------------------------------------------------------------- building */

static void *grown(void *items, size_t *capacity, size_t count, size_t maximum, size_t size)
{
    if (count < *capacity) {
        return items;
    }
    size_t wanted = *capacity * 2 + 16;
    void *more = count < maximum ? mem_resize(items, wanted, size) : NULL;
    if (more != NULL) {
        *capacity = wanted;
    }
    return more;
}

static enum status add_key(struct checkpoint *checkpoint, const char *name, size_t name_length,
                           const char *text, size_t text_length)
{
    struct checkpoint_key *keys = grown(checkpoint->keys, &checkpoint->key_capacity,
                                        checkpoint->key_count, CHECKPOINT_KEYS_MAX, sizeof(*keys));
    if (keys == NULL) {
        return checkpoint->key_count >= CHECKPOINT_KEYS_MAX ? STATUS_TOO_LARGE : STATUS_NO_MEMORY;
    }
    checkpoint->keys = keys;
    struct checkpoint_key *key = &keys[checkpoint->key_count];
    key->name = mem_copy_text(name, name_length);
    key->text = mem_copy_text(text, text_length);
    checkpoint->key_count++;
    return key->name != NULL && key->text != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void checkpoint_set(struct checkpoint *checkpoint, const char *key, const char *text)
{
    enum status status = add_key(checkpoint, key, strlen(key), text, strlen(text));
    checkpoint->failed = checkpoint->failed != STATUS_OK ? checkpoint->failed : status;
}

void checkpoint_set_format(struct checkpoint *checkpoint, const char *key, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    CHECK(length >= 0 && length < (int)sizeof(text));
    checkpoint_set(checkpoint, key, text);
}

void checkpoint_add(struct checkpoint *checkpoint, const char *name, const size_t *shape,
                    unsigned axes, const float *data)
{
    CHECK(axes <= 4 && strlen(name) < CHECKPOINT_NAME_MAX);
    struct checkpoint_tensor *tensors =
        grown(checkpoint->tensors, &checkpoint->tensor_capacity, checkpoint->tensor_count,
              CHECKPOINT_TENSORS_MAX, sizeof(*tensors));
    if (tensors == NULL) {
        checkpoint->failed = STATUS_NO_MEMORY;
        return;
    }
    checkpoint->tensors = tensors;
    struct checkpoint_tensor *tensor = &tensors[checkpoint->tensor_count];
    *tensor = (struct checkpoint_tensor){.axes = axes, .size = 1, .data = data};
    snprintf(tensor->name, sizeof(tensor->name), "%s", name);
    for (unsigned i = 0; i < 4; i++) {
        tensor->shape[i] = i < axes ? shape[i] : 1;
        tensor->size *= tensor->shape[i];
    }
    checkpoint->tensor_count++;
}

const char *checkpoint_text(const struct checkpoint *checkpoint, const char *key)
{
    for (size_t i = 0; i < checkpoint->key_count; i++) {
        if (strcmp(checkpoint->keys[i].name, key) == 0) {
            return checkpoint->keys[i].text;
        }
    }
    return NULL;
}

const struct checkpoint_tensor *checkpoint_find(const struct checkpoint *checkpoint,
                                                const char *name)
{
    for (size_t i = 0; i < checkpoint->tensor_count; i++) {
        if (strcmp(checkpoint->tensors[i].name, name) == 0) {
            return &checkpoint->tensors[i];
        }
    }
    return NULL;
}

/* ---------------------------------------------------------------- parsing */

struct parser {
    struct json_reader reader;
    struct checkpoint *out;
    struct error *error;
    size_t data_bytes; /* behind the header */
    size_t next;       /* where the next tensor has to begin */
    const unsigned char *data;
};

static enum status corrupt(struct parser *parser, const char *what)
{
    return error_set(parser->error, STATUS_CORRUPT, "cannot use the model file: %s", what);
}

static bool is_key(const struct json_reader *reader, const char *name)
{
    return reader->text_length == strlen(name) &&
           memcmp(reader->text, name, reader->text_length) == 0;
}

static enum status parse_metadata(struct parser *parser)
{
    struct json_reader *reader = &parser->reader;
    if (json_next(reader) != JSON_OBJECT_BEGIN) {
        return corrupt(parser, "the metadata is no object");
    }
    for (;;) {
        enum json_token token = json_next(reader);
        if (token == JSON_OBJECT_END) {
            return STATUS_OK;
        }
        char name[CHECKPOINT_NAME_MAX];
        if (token != JSON_KEY || reader->text_length >= sizeof(name)) {
            return corrupt(parser, "the metadata is no object of texts");
        }
        size_t length = reader->text_length;
        memcpy(name, reader->text, length);
        name[length] = '\0';
        if (checkpoint_text(parser->out, name) != NULL) {
            return corrupt(parser, "a key of the metadata is there twice");
        }
        if (json_next(reader) != JSON_STRING) {
            return corrupt(parser, "the metadata is no object of texts");
        }
        enum status status = add_key(parser->out, name, length, reader->text, reader->text_length);
        if (status == STATUS_TOO_LARGE) {
            return corrupt(parser, "the metadata has too many keys");
        }
        if (status != STATUS_OK) {
            return error_set(parser->error, status, "could not read the model file's metadata");
        }
    }
}

/* An array of non-negative integers, at most `maximum`; *count receives how many. */
static enum status parse_sizes(struct parser *parser, size_t *sizes, unsigned maximum,
                               unsigned *count)
{
    struct json_reader *reader = &parser->reader;
    if (json_next(reader) != JSON_ARRAY_BEGIN) {
        return corrupt(parser, "a shape or offset is no array");
    }
    *count = 0;
    for (;;) {
        enum json_token token = json_next(reader);
        if (token == JSON_ARRAY_END) {
            return STATUS_OK;
        }
        bool good = token == JSON_NUMBER && reader->is_integer && reader->integer >= 0 &&
                    (uint64_t)reader->integer <= CHECKPOINT_BYTES_MAX && *count < maximum;
        if (!good) {
            return corrupt(parser, "a shape or offset is out of bounds");
        }
        sizes[*count] = (size_t)reader->integer;
        *count += 1;
    }
}

static enum status check_tensor(struct parser *parser, struct checkpoint_tensor *tensor,
                                const size_t offsets[2])
{
    tensor->size = 1;
    for (unsigned i = 0; i < 4; i++) {
        tensor->shape[i] = i < tensor->axes ? tensor->shape[i] : 1;
        if (size_mul(tensor->size, tensor->shape[i], &tensor->size) ||
            tensor->size > CHECKPOINT_BYTES_MAX / sizeof(float)) {
            return corrupt(parser, "a tensor is larger than the file may be");
        }
    }
    if (offsets[0] != parser->next || offsets[1] < offsets[0] || offsets[1] > parser->data_bytes) {
        return corrupt(parser, "tensors are out of order, overlap, leave gaps or pass the end");
    }
    if (offsets[1] - offsets[0] != tensor->size * sizeof(float)) {
        return corrupt(parser, "a tensor's bytes do not match its shape");
    }
    parser->next = offsets[1];
    const unsigned char *bytes = parser->data + offsets[0];
    tensor->data = (const float *)(const void *)bytes; /* 4-aligned: header padded, offsets are */
    for (size_t i = 0; i < tensor->size; i++) {
        if (!isfinite(tensor->data[i])) {
            return corrupt(parser, "a tensor holds values that are not finite");
        }
    }
    return STATUS_OK;
}

static enum status parse_tensor(struct parser *parser, struct checkpoint_tensor *tensor)
{
    struct json_reader *reader = &parser->reader;
    size_t offsets[2] = {0, 0};
    bool has_type = false, has_shape = false, has_offsets = false;
    if (json_next(reader) != JSON_OBJECT_BEGIN) {
        return corrupt(parser, "a tensor's entry is no object");
    }
    enum json_token token;
    while ((token = json_next(reader)) == JSON_KEY) {
        enum status status = STATUS_OK;
        unsigned count = 0;
        if (is_key(reader, "dtype") && !has_type) {
            has_type = json_next(reader) == JSON_STRING && is_key(reader, "F32");
            if (!has_type) {
                return corrupt(parser, "a tensor's type is not F32");
            }
        } else if (is_key(reader, "shape") && !has_shape) {
            has_shape = true;
            status = parse_sizes(parser, tensor->shape, 4, &tensor->axes);
        } else if (is_key(reader, "data_offsets") && !has_offsets) {
            status = parse_sizes(parser, offsets, 2, &count);
            has_offsets = count == 2;
        } else {
            return corrupt(parser, "a tensor's entry has a key that is unknown or there twice");
        }
        if (status != STATUS_OK) {
            return status;
        }
    }
    if (token != JSON_OBJECT_END || !has_type || !has_shape || !has_offsets) {
        return corrupt(parser, "a tensor's entry is not complete");
    }
    return check_tensor(parser, tensor, offsets);
}

static enum status parse_entry(struct parser *parser)
{
    struct checkpoint *out = parser->out;
    struct json_reader *reader = &parser->reader;
    struct checkpoint_tensor tensor = {0};
    if (reader->text_length == 0 || reader->text_length >= sizeof(tensor.name)) {
        return corrupt(parser, "a tensor's name is too long or empty");
    }
    memcpy(tensor.name, reader->text, reader->text_length);
    if (strlen(tensor.name) != reader->text_length || checkpoint_find(out, tensor.name) != NULL) {
        return corrupt(parser, "a tensor's name is there twice or no text");
    }
    enum status status = parse_tensor(parser, &tensor);
    if (status != STATUS_OK) {
        return status;
    }
    struct checkpoint_tensor *tensors =
        grown(out->tensors, &out->tensor_capacity, out->tensor_count, CHECKPOINT_TENSORS_MAX,
              sizeof(*tensors));
    if (tensors == NULL) {
        return out->tensor_count >= CHECKPOINT_TENSORS_MAX
                   ? corrupt(parser, "it has too many tensors")
                   : error_set(parser->error, STATUS_NO_MEMORY, "could not read the model file");
    }
    out->tensors = tensors;
    tensors[out->tensor_count] = tensor;
    out->tensor_count++;
    return STATUS_OK;
}

static enum status parse_header(struct parser *parser)
{
    struct json_reader *reader = &parser->reader;
    if (json_next(reader) != JSON_OBJECT_BEGIN) {
        return corrupt(parser, "the header is no JSON object");
    }
    bool has_metadata = false;
    enum json_token token;
    while ((token = json_next(reader)) == JSON_KEY) {
        enum status status;
        if (is_key(reader, "__metadata__")) {
            if (has_metadata) {
                return corrupt(parser, "the metadata is there twice");
            }
            has_metadata = true;
            status = parse_metadata(parser);
        } else {
            status = parse_entry(parser);
        }
        if (status != STATUS_OK) {
            return status;
        }
    }
    if (token != JSON_OBJECT_END || json_next(reader) != JSON_END) {
        return corrupt(parser, "the header is no complete JSON object");
    }
    if (parser->next != parser->data_bytes) {
        return corrupt(parser, "there are bytes that belong to no tensor");
    }
    return STATUS_OK;
}

enum status checkpoint_parse_take(unsigned char *bytes, size_t length, struct checkpoint *out,
                                  struct error *error)
{
    checkpoint_init(out);
    out->file = bytes;
    struct parser parser = {.out = out, .error = error};
    enum status status;
    uint64_t header = 0;
    for (size_t i = 0; i < PREFIX_BYTES && length >= PREFIX_BYTES; i++) {
        header |= (uint64_t)bytes[i] << (8 * i);
    }
    if (length < PREFIX_BYTES) {
        status = corrupt(&parser, "it is too short");
    } else if (header > CHECKPOINT_HEADER_MAX || header > length - PREFIX_BYTES) {
        status = corrupt(&parser, "the header's length is out of bounds");
    } else if (header % sizeof(float) != 0) {
        status = corrupt(&parser, "the header is not padded to whole values");
    } else {
        parser.data = bytes + PREFIX_BYTES + header;
        parser.data_bytes = length - PREFIX_BYTES - (size_t)header;
        json_reader_init(&parser.reader, (const char *)bytes + PREFIX_BYTES, (size_t)header);
        status = parse_header(&parser);
    }
    if (status != STATUS_OK) {
        checkpoint_release(out);
    }
    return status;
}
