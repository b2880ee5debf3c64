/* The file of access tokens on disk: read, added to, taken from.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/token_file.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODE_NEW   0644 /* hashes only, and the daemon is another user than whoever makes it */
#define FIRST_LINE "# Access tokens of forecastd; made by: forecastd token create\n"

/* A file opened and read; `bytes` end in a zero byte. */
struct content {
    int fd;
    struct stat about;
    char *bytes;
    size_t length;
};

static void content_release(struct content *content)
{
    if (content->fd >= 0) {
        close(content->fd);
    }
    mem_free(content->bytes);
    *content = (struct content){.fd = -1};
}

static enum status failed(const char *what, const char *path, struct error *error)
{
    error_set(error, STATUS_IO, "auth.tokens: could not %s '%s': %s", what, path, strerror(errno));
    return error_code(error, "bad_value", "auth.tokens");
}

static enum status read_open(const char *path, struct content *content, struct error *error)
{
    if (fstat(content->fd, &content->about) != 0) {
        return failed("read", path, error);
    }
    if (!S_ISREG(content->about.st_mode) || (size_t)content->about.st_size > TOKEN_FILE_BYTES_MAX) {
        error_set(error, STATUS_INVALID, "auth.tokens: '%s' is not a plain file of at most 256 KiB",
                  path);
        return error_code(error, "bad_value", "auth.tokens");
    }
    if (content->about.st_mode & S_IWOTH) {
        error_set(error, STATUS_INVALID, "auth.tokens: '%s' can be written by everybody", path);
        error_code(error, "bad_value", "auth.tokens");
        return error_hint(error, "Whoever writes there lets himself in: chmod o-w '%s'.", path);
    }
    size_t size = (size_t)content->about.st_size;
    content->bytes = mem_alloc(size + 1);
    if (content->bytes == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not read '%s': out of memory", path);
    }
    while (content->length < size) {
        ssize_t got = read(content->fd, content->bytes + content->length, size - content->length);
        if (got < 0 && errno != EINTR) {
            return failed("read", path, error);
        }
        if (got == 0) {
            break;
        }
        content->length += got > 0 ? (size_t)got : 0;
    }
    content->bytes[content->length] = '\0';
    return STATUS_OK;
}

enum status token_file_read(const char *path, struct token_list *list, struct error *error)
{
    struct content content = {.fd = open(path, O_RDONLY | O_CLOEXEC)};
    enum status status = STATUS_OK;
    if (content.fd < 0) {
        bool is_kept_out = errno == EACCES;
        failed("open", path, error);
        return is_kept_out
                   ? error_hint(error,
                                "The daemon's user must be let in: chmod o+r '%.100s' (it holds "
                                "hashes only), and o+x for its folders.",
                                path)
                   : error_hint(error,
                                "forecastd token create --tokens '%.100s' --scope read makes it.",
                                path);
    }
    status = read_open(path, &content, error);
    if (status == STATUS_OK) {
        status = token_list_read(list, path, content.bytes, content.length, error);
    }
    content_release(&content);
    return status;
}

/* ---------------------------------------------------------------- changes */

/* Whatever the umask, the mode of a new file is the same. */
static int open_or_make(const char *path, bool create)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && create) {
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 && errno == EEXIST) { /* somebody else's, just now */
            return open(path, O_RDWR | O_CLOEXEC);
        }
        if (fd >= 0 && fchmod(fd, MODE_NEW) != 0) {
            close(fd);
            return -1;
        }
    }
    return fd;
}

/* Opens the file, made where it is missing, and holds it against another command. */
static enum status open_locked(const char *path, bool create, struct content *content,
                               struct error *error)
{
    for (;;) {
        struct stat now;
        content->fd = open_or_make(path, create);
        if (content->fd < 0 || flock(content->fd, LOCK_EX) != 0) {
            return failed("open", path, error);
        }
        /* Another command may have replaced what we opened while we waited. */
        if (fstat(content->fd, &content->about) == 0 && stat(path, &now) == 0 &&
            now.st_ino == content->about.st_ino && now.st_dev == content->about.st_dev) {
            return read_open(path, content, error);
        }
        close(content->fd);
        content->fd = -1;
    }
}

static bool write_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t wrote = write(fd, bytes, length);
        if (wrote < 0 && errno != EINTR) {
            return false;
        }
        bytes += wrote > 0 ? wrote : 0;
        length -= wrote > 0 ? (size_t)wrote : 0;
    }
    return true;
}

static void sync_folder(const char *path)
{
    char folder[1024];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof(folder), "%.*s", slash != NULL ? (int)(slash - path + 1) : 1,
             slash != NULL ? path : ".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

static enum status replace(const char *path, const struct stat *like, const struct text *text,
                           struct error *error)
{
    char temporary[1024];
    if (text_status(text, "the token file", error) != STATUS_OK) {
        return error->status;
    }
    int length = snprintf(temporary, sizeof(temporary), "%s.new", path);
    if (length < 0 || (size_t)length >= sizeof(temporary)) {
        return error_set(error, STATUS_INVALID, "the path of the token file is too long");
    }
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return failed("write beside", path, error);
    }
    /* Only root can give it to the daemon's user; anybody else owns what he may replace. */
    bool kept = fchown(fd, like->st_uid, like->st_gid) == 0 || geteuid() != 0;
    bool fine = kept && fchmod(fd, like->st_mode & 07777) == 0 &&
                write_all(fd, text->bytes, text->length) && fsync(fd) == 0;
    fine = close(fd) == 0 && fine && rename(temporary, path) == 0;
    if (!fine) {
        failed("write", path, error);
        unlink(temporary);
        return error->status;
    }
    sync_folder(path);
    return STATUS_OK;
}

enum status token_file_add(const char *path, const struct token *token, struct error *error)
{
    struct content content = {.fd = -1};
    struct token_list list = {NULL, 0};
    struct text text;
    text_init(&text, TOKEN_FILE_BYTES_MAX);
    enum status status = open_locked(path, true, &content, error);
    if (status == STATUS_OK) {
        status = token_list_read(&list, path, content.bytes, content.length, error);
    }
    if (status == STATUS_OK && token_list_named(&list, token->name) != NULL) {
        status = error_set(error, STATUS_CONFLICT, "there is a token '%s' already", token->name);
    }
    if (status == STATUS_OK && list.count == TOKENS_MAX) {
        status = error_set(error, STATUS_TOO_LARGE, "there are %d tokens already", TOKENS_MAX);
    }
    if (status == STATUS_OK) {
        bool ends = content.length == 0 || content.bytes[content.length - 1] == '\n';
        text_add_string(&text, content.length == 0 ? FIRST_LINE : "");
        text_add(&text, content.bytes, content.length);
        text_add_string(&text, ends ? "" : "\n");
        token_write(token, &text);
        status = replace(path, &content.about, &text, error);
    }
    text_release(&text);
    token_list_release(&list);
    content_release(&content);
    return status;
}

enum status token_file_remove(const char *path, const char *name, struct error *error)
{
    struct content content = {.fd = -1};
    struct text text;
    size_t removed = 0, name_length = strlen(name);
    text_init(&text, TOKEN_FILE_BYTES_MAX);
    enum status status = open_locked(path, false, &content, error);
    for (size_t at = 0; status == STATUS_OK && at < content.length;) {
        const char *line = content.bytes + at;
        size_t length = strcspn(line, "\n"), indent = strspn(line, " \t");
        bool is_it = strncmp(line + indent, name, name_length) == 0 &&
                     strchr(" \t", line[indent + name_length]) != NULL && line[indent] != '#';
        if (is_it && line[indent + name_length] != '\0') {
            removed++;
        } else {
            text_add(&text, line, length);
            text_add_char(&text, '\n');
        }
        at += length + 1;
    }
    if (status == STATUS_OK && removed == 0) {
        status = error_set(error, STATUS_NOT_FOUND, "there is no token '%s' in '%s'", name, path);
    }
    if (status == STATUS_OK) {
        status = replace(path, &content.about, &text, error);
    }
    text_release(&text);
    content_release(&content);
    return status;
}
