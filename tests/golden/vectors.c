/* Reading and comparing golden vectors.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/golden/vectors.h"

#include "base/check.h"
#include "base/json_reader.h"
#include "base/memory.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX ((size_t)64 << 20)

static void copy_text(char *to, size_t capacity, const char *from, size_t length)
{
    size_t taken = length < capacity - 1 ? length : capacity - 1;
    memcpy(to, from, taken);
    to[taken] = '\0';
}

/* {"key": "text", ...} */
static bool read_notes(struct json_reader *reader, struct vectors *out)
{
    if (json_next(reader) != JSON_OBJECT_BEGIN) {
        return false;
    }
    enum json_token token;
    while ((token = json_next(reader)) == JSON_KEY && out->note_count < VECTORS_MAX) {
        struct note *note = &out->notes[out->note_count++];
        copy_text(note->name, sizeof(note->name), reader->text, reader->text_length);
        if (json_next(reader) != JSON_STRING) {
            return false;
        }
        copy_text(note->text, sizeof(note->text), reader->text, reader->text_length);
    }
    return token == JSON_OBJECT_END;
}

static bool read_numbers(struct json_reader *reader, size_t *numbers, size_t most, size_t *count)
{
    *count = 0;
    if (json_next(reader) != JSON_ARRAY_BEGIN) {
        return false;
    }
    enum json_token token;
    while ((token = json_next(reader)) == JSON_NUMBER && *count < most && reader->integer >= 0) {
        numbers[(*count)++] = (size_t)reader->integer;
    }
    return token == JSON_ARRAY_END;
}

/* {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]} */
static bool read_vector(struct json_reader *reader, struct vector *vector,
                        const unsigned char *data, size_t length)
{
    size_t axes = 0;
    size_t two = 0;
    size_t range[2] = {0};
    char type[8] = "";
    enum json_token token = json_next(reader);
    if (token != JSON_OBJECT_BEGIN) {
        return false;
    }
    while ((token = json_next(reader)) == JSON_KEY) {
        char key[16];
        copy_text(key, sizeof(key), reader->text, reader->text_length);
        if (strcmp(key, "dtype") == 0 && json_next(reader) == JSON_STRING) {
            copy_text(type, sizeof(type), reader->text, reader->text_length);
        } else if (strcmp(key, "shape") == 0 &&
                   read_numbers(reader, vector->shape, TENSOR_AXES_MAX, &axes)) {
            continue;
        } else if (strcmp(key, "data_offsets") != 0 || !read_numbers(reader, range, 2, &two)) {
            return false;
        }
    }
    vector->size = 1;
    for (size_t i = 0; i < axes; i++) {
        vector->size *= vector->shape[i];
    }
    if (token != JSON_OBJECT_END || range[1] > length || range[0] > range[1] ||
        range[1] - range[0] != vector->size * sizeof(float)) {
        return false;
    }
    if (strcmp(type, "F32") == 0) {
        vector->values = (const float *)(const void *)(data + range[0]);
    } else if (strcmp(type, "I32") == 0) {
        vector->wholes = (const int32_t *)(const void *)(data + range[0]);
    }
    return vector->values != NULL || vector->wholes != NULL;
}

/* bytes: 8 of header length, the header, the data (moved to an aligned place). */
static bool read_header(struct vectors *out, size_t length)
{
    uint64_t header;
    memcpy(&header, out->bytes, sizeof(header));
    if (length < 8 || header > length - 8) {
        return false;
    }
    char *text = mem_copy_text((const char *)out->bytes + 8, (size_t)header);
    size_t data_bytes = length - 8 - (size_t)header;
    memmove(out->bytes, out->bytes + 8 + header, data_bytes);
    struct json_reader reader;
    json_reader_init(&reader, text, (size_t)header);
    bool good = json_next(&reader) == JSON_OBJECT_BEGIN;
    enum json_token token = JSON_BROKEN;
    while (good && (token = json_next(&reader)) == JSON_KEY && out->count < VECTORS_MAX) {
        if (reader.text_length == 12 && memcmp(reader.text, "__metadata__", 12) == 0) {
            good = read_notes(&reader, out);
            continue;
        }
        struct vector *vector = &out->vectors[out->count++];
        copy_text(vector->name, sizeof(vector->name), reader.text, reader.text_length);
        good = read_vector(&reader, vector, out->bytes, data_bytes);
    }
    mem_free(text);
    return good && token == JSON_OBJECT_END;
}

enum status vectors_read(const char *path, struct vectors *out, struct error *error)
{
    *out = (struct vectors){0};
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return error_set(error, STATUS_NOT_FOUND, "cannot open \"%.200s\"", path);
    }
    out->bytes = mem_alloc_aligned(FILE_MAX);
    CHECK(out->bytes != NULL);
    memset(out->bytes, 0, 8);
    size_t length = fread(out->bytes, 1, FILE_MAX, file);
    (void)fclose(file);
    if (length == FILE_MAX || !read_header(out, length)) {
        vectors_release(out);
        return error_set(error, STATUS_CORRUPT, "\"%.200s\" is no safetensors file of F32 and I32",
                         path);
    }
    return STATUS_OK;
}

void vectors_release(struct vectors *vectors)
{
    mem_free(vectors->bytes);
    *vectors = (struct vectors){0};
}

struct vector *vectors_find(struct vectors *vectors, const char *name)
{
    for (size_t i = 0; i < vectors->count; i++) {
        if (strcmp(vectors->vectors[i].name, name) == 0) {
            return &vectors->vectors[i];
        }
    }
    return NULL;
}

const char *vectors_text(const struct vectors *vectors, const char *name, const char *preset)
{
    for (size_t i = 0; i < vectors->note_count; i++) {
        if (strcmp(vectors->notes[i].name, name) == 0) {
            return vectors->notes[i].text;
        }
    }
    return preset;
}

double vectors_number(const struct vectors *vectors, const char *name, double preset)
{
    const char *text = vectors_text(vectors, name, NULL);
    return text != NULL ? strtod(text, NULL) : preset;
}

bool vectors_fail(struct vectors *vectors, const char *format, ...)
{
    vectors->off++;
    if (vectors->problem[0] == '\0') {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(vectors->problem, sizeof(vectors->problem), format, arguments);
        va_end(arguments);
    }
    return false;
}

/* float32 code: max(2e-6 + 1e-5 largest, 4 f32diff); the double flavour: rounding of the storage.
 */
static double allowed_difference(const struct vectors *vectors, const struct vector *vector)
{
    double largest = 0;
    for (size_t i = 0; i < vector->size; i++) {
        largest = fmax(largest, fabs((double)vector->values[i]));
    }
    if (sizeof(real) == sizeof(double)) {
        return 2e-7 + 3e-7 * largest;
    }
    char name[2 * VECTOR_NAME_MAX];
    (void)snprintf(name, sizeof(name), "f32diff.%s", vector->name);
    return fmax(2e-6 + 1e-5 * largest, 4 * vectors_number(vectors, name, 0));
}

void vectors_compare(struct vectors *vectors, const char *name, const real *values, size_t count,
                     size_t stride)
{
    struct vector *vector = vectors_find(vectors, name);
    if (vector == NULL || vector->values == NULL || vector->size != count) {
        (void)vectors_fail(vectors, "%s: not in the file, or not of %zu values", name, count);
        return;
    }
    double allowed = allowed_difference(vectors, vector);
    double worst = 0;
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)values[i * stride] - (double)vector->values[i]);
        if (!(difference <= worst)) {
            worst = isnan(difference) ? (double)INFINITY : difference;
            at = i;
        }
    }
    vector->compared = true;
    vectors->compared++;
    vectors->worst = fmax(vectors->worst, worst / allowed);
    if (!(worst <= allowed)) {
        (void)vectors_fail(vectors, "%s[%zu]: %.9g instead of %.9g, off by %.3g, allowed %.3g",
                           name, at, (double)values[at * stride], (double)vector->values[at], worst,
                           allowed);
    }
}

bool vectors_complete(struct vectors *vectors)
{
    for (size_t i = 0; i < vectors->count; i++) {
        const struct vector *vector = &vectors->vectors[i];
        bool result = strncmp(vector->name, "out.", 4) == 0 || strncmp(vector->name, "g.", 2) == 0;
        if (result && !vector->compared) {
            (void)vectors_fail(vectors, "%s: not computed", vector->name);
        }
    }
    return vectors->off == 0;
}

struct tensor *vectors_input(struct vectors *vectors, struct tape *tape, const char *name)
{
    struct vector *vector = vectors_find(vectors, name);
    if (vector == NULL || vector->values == NULL) {
        (void)vectors_fail(vectors, "%s: not in the file", name);
        return NULL;
    }
    struct tensor *tensor = tape_input(tape, vector->shape);
    tensor->wants_grad = strncmp(name, "in.", 3) == 0 || strncmp(name, "p.", 2) == 0;
    for (size_t i = 0; i < vector->size; i++) {
        tensor->data[i] = (real)vector->values[i];
    }
    return tensor;
}

enum status vectors_tape(const struct vectors *vectors, struct tape *tape, struct error *error)
{
    size_t reals = 0;
    for (size_t i = 0; i < vectors->count; i++) {
        reals += vectors->vectors[i].size + 4096;
    }
    size_t bytes = 64 * reals * sizeof(real);
    return tape_init(tape, &(struct tape_size){bytes, bytes, 4096}, error);
}
