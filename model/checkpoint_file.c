/* Model files on disk: written to a temporary name, synced, read back, renamed; read and verified.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A crash at any point leaves either the old file or the new one under the name. The temporary file
 * that a crash may leave behind has the suffix ".tmp" and is overwritten by the next attempt.
 */
#include "model/checkpoint.h"

#include "base/check.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define PREFIX_BYTES 8
#define PADDING      64 /* the data begins at a multiple of this */

static enum status io_error(struct error *error, const char *doing, const char *path, int code)
{
    enum status status = code == ENOENT   ? STATUS_NOT_FOUND
                         : code == ENOSPC ? STATUS_NO_SPACE
                         : code == EDQUOT ? STATUS_NO_SPACE
                                          : STATUS_IO;
    return error_set(error, status, "could not %s model file \"%s\": %s", doing, path,
                     strerror(code));
}

/* ---------------------------------------------------------------- writing */

static void header_text(const struct checkpoint *checkpoint, struct text *header)
{
    text_add_string(header, "{\"__metadata__\":{");
    for (size_t i = 0; i < checkpoint->key_count; i++) {
        const struct checkpoint_key *key = &checkpoint->keys[i];
        text_add_string(header, i > 0 ? "," : "");
        text_add_json_string(header, key->name, strlen(key->name));
        text_add_char(header, ':');
        text_add_json_string(header, key->text, strlen(key->text));
    }
    text_add_char(header, '}');
    size_t offset = 0;
    for (size_t i = 0; i < checkpoint->tensor_count; i++) {
        const struct checkpoint_tensor *tensor = &checkpoint->tensors[i];
        text_add_char(header, ',');
        text_add_json_string(header, tensor->name, strlen(tensor->name));
        text_add_string(header, ":{\"dtype\":\"F32\",\"shape\":[");
        for (unsigned axis = 0; axis < tensor->axes; axis++) {
            text_add_format(header, axis > 0 ? ",%zu" : "%zu", tensor->shape[axis]);
        }
        size_t end = offset + tensor->size * sizeof(float);
        text_add_format(header, "],\"data_offsets\":[%zu,%zu]}", offset, end);
        offset = end;
    }
    text_add_char(header, '}');
    while ((header->length + PREFIX_BYTES) % PADDING != 0 && header->failed == STATUS_OK) {
        text_add_char(header, ' ');
    }
}

struct sink {
    int file;
    struct sha256 hash;
    size_t bytes;
};

static int put(struct sink *sink, const void *bytes, size_t length)
{
    sha256_add(&sink->hash, bytes, length);
    sink->bytes += length;
    const char *from = bytes;
    while (length > 0) {
        ssize_t written = file_system()->write(sink->file, from, length);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return written < 0 ? errno : EIO;
        }
        from += written;
        length -= (size_t)written;
    }
    return 0;
}

static int put_all(struct sink *sink, const struct checkpoint *checkpoint,
                   const struct text *header)
{
    unsigned char prefix[PREFIX_BYTES];
    for (size_t i = 0; i < PREFIX_BYTES; i++) {
        prefix[i] = (unsigned char)((uint64_t)header->length >> (8 * i));
    }
    int code = put(sink, prefix, sizeof(prefix));
    code = code != 0 ? code : put(sink, header->bytes, header->length);
    for (size_t i = 0; i < checkpoint->tensor_count && code == 0; i++) {
        const struct checkpoint_tensor *tensor = &checkpoint->tensors[i];
        code = put(sink, tensor->data, tensor->size * sizeof(float));
    }
    return code;
}

/* Reads the temporary file back and compares length and hash. */
static enum status verify(const char *path, size_t bytes, const char sha256[65],
                          struct error *error)
{
    struct checkpoint copy;
    enum status status = checkpoint_read(path, sha256, &copy, error);
    if (status != STATUS_OK) {
        return error_wrap(error, "after writing %zu bytes", bytes);
    }
    checkpoint_release(&copy);
    return STATUS_OK;
}

static enum status sync_folder(const char *path, struct error *error)
{
    int code = file_sync_parent(path);
    return code == 0 ? STATUS_OK : io_error(error, "sync the folder of", path, code);
}

static enum status write_temporary(const struct checkpoint *checkpoint, const struct text *header,
                                   const char *path, char sha256[65], struct error *error)
{
    const struct file_system *files = file_system();
    struct sink sink = {.file = files->open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)};
    if (sink.file < 0) {
        return io_error(error, "create", path, errno);
    }
    sha256_init(&sink.hash);
    int code = put_all(&sink, checkpoint, header);
    if (code == 0 && files->sync(sink.file) != 0) {
        code = errno;
    }
    if (files->close(sink.file) != 0 && code == 0) {
        code = errno;
    }
    sha256_hex(&sink.hash, sha256);
    if (code != 0) {
        return io_error(error, "write", path, code);
    }
    return verify(path, sink.bytes, sha256, error);
}

enum status checkpoint_write(const struct checkpoint *checkpoint, const char *path, char sha256[65],
                             struct error *error)
{
    char temporary[PATH_MAX];
    if (snprintf(temporary, sizeof(temporary), "%s.tmp", path) >= (int)sizeof(temporary)) {
        return error_set(error, STATUS_INVALID, "cannot write a model file: the path is too long");
    }
    if (checkpoint->failed != STATUS_OK) {
        return error_set(error, checkpoint->failed, "could not put the model file together");
    }
    struct text header;
    text_init(&header, CHECKPOINT_HEADER_MAX);
    header_text(checkpoint, &header);
    enum status status = text_status(&header, "the model file's header", error);
    if (status == STATUS_OK) {
        status = write_temporary(checkpoint, &header, temporary, sha256, error);
        if (status == STATUS_OK && file_system()->rename(temporary, path) != 0) {
            status = io_error(error, "rename to", path, errno);
        }
        if (status != STATUS_OK) {
            (void)file_system()->remove(temporary);
        } else {
            status = sync_folder(path, error);
        }
    }
    text_release(&header);
    return status;
}

/* ---------------------------------------------------------------- reading */

static int read_bytes(int file, unsigned char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t got = file_system()->read(file, bytes, length);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got < 0 ? errno : EIO;
        }
        bytes += got;
        length -= (size_t)got;
    }
    return 0;
}

static enum status read_file(const char *path, unsigned char **bytes, size_t *length,
                             struct error *error)
{
    const struct file_system *files = file_system();
    int64_t size = files->size(path);
    if (size < 0 && errno != EINVAL) {
        return io_error(error, "inspect", path, errno);
    }
    if (size < 0 || (uint64_t)size > CHECKPOINT_BYTES_MAX) {
        return error_set(error, STATUS_CORRUPT,
                         "cannot use model file \"%s\": no regular file of at most 1 GiB", path);
    }
    int file = files->open(path, O_RDONLY | O_CLOEXEC, 0);
    if (file < 0) {
        return io_error(error, "open", path, errno);
    }
    enum status status = STATUS_OK;
    *length = (size_t)size;
    *bytes = mem_alloc_aligned(*length > 0 ? *length : 1);
    int code = *bytes == NULL ? 0 : read_bytes(file, *bytes, *length);
    if (*bytes == NULL) {
        status = error_set(error, STATUS_NO_MEMORY, "could not read model file \"%s\"", path);
    } else if (code != 0) {
        mem_free(*bytes);
        status = io_error(error, "read", path, code);
    }
    (void)files->close(file);
    return status;
}

enum status checkpoint_read(const char *path, const char *sha256, struct checkpoint *out,
                            struct error *error)
{
    checkpoint_init(out);
    unsigned char *bytes = NULL;
    size_t length = 0;
    enum status status = read_file(path, &bytes, &length, error);
    if (status != STATUS_OK) {
        return status;
    }
    if (sha256 != NULL) {
        char found[65];
        struct sha256 hash;
        sha256_init(&hash);
        sha256_add(&hash, bytes, length);
        sha256_hex(&hash, found);
        if (strcmp(found, sha256) != 0) {
            mem_free(bytes);
            return error_set(error, STATUS_CORRUPT,
                             "cannot use model file \"%s\": its SHA-256 is not the recorded one",
                             path);
        }
    }
    status = checkpoint_parse_take(bytes, length, out, error);
    if (status == STATUS_CORRUPT && sha256 != NULL) {
        error->status = STATUS_UNSUPPORTED;
    }
    return status == STATUS_OK ? status : error_wrap(error, "%s", path);
}
