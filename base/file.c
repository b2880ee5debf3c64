/* The system's own files, and the pointer to whichever table is in use.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int system_open(const char *path, int flags, mode_t mode)
{
    return open(path, flags, mode);
}

static int system_allocate(int file, int64_t length)
{
    return posix_fallocate(file, 0, length);
}

static int64_t system_size(const char *path)
{
    struct stat about;
    if (stat(path, &about) != 0) {
        return -1;
    }
    if (!S_ISREG(about.st_mode)) {
        errno = EINVAL;
        return -1;
    }
    return (int64_t)about.st_size;
}

static int system_sync_folder(const char *path)
{
    int file = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0) {
        return -1;
    }
    int failed = fsync(file);
    int code = errno;
    close(file);
    errno = code;
    return failed;
}

/* Where the file system knows no such rename a second name does it, and where it knows no second
 * names (FAT) an empty file that nobody else made holds the place. */
static int system_rename_new(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP) {
        return -1;
    }
    if (link(from, to) == 0) {
        return unlink(from);
    }
    if (errno != EPERM && errno != ENOSYS && errno != ENOTSUP) {
        return -1;
    }
    int place = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (place < 0) {
        return -1;
    }
    close(place);
    if (rename(from, to) != 0) {
        int code = errno;
        (void)unlink(to);
        errno = code;
        return -1;
    }
    return 0;
}

/* What cannot be removed keeps the folder, and rmdir says so. */
static int system_remove_folder(const char *path)
{
    DIR *items = opendir(path);
    if (items == NULL) {
        return -1;
    }
    for (struct dirent *item; (item = readdir(items)) != NULL;) {
        (void)unlinkat(dirfd(items), item->d_name, 0);
    }
    closedir(items);
    return rmdir(path);
}

static const struct file_system own = {
    .open = system_open,
    .read = read,
    .write = write,
    .allocate = system_allocate,
    .sync = fsync,
    .close = close,
    .size = system_size,
    .make_folder = mkdir,
    .sync_folder = system_sync_folder,
    .rename = rename,
    .rename_new = system_rename_new,
    .remove = unlink,
    .remove_folder = system_remove_folder,
};

static const struct file_system *in_use = &own;

const struct file_system *file_system(void)
{
    return in_use;
}

void file_system_use(const struct file_system *other)
{
    in_use = other != NULL ? other : &own;
}

int file_sync(const char *path)
{
    int file = in_use->open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
    if (file < 0) {
        return errno;
    }
    int code = in_use->sync(file) == 0 ? 0 : errno;
    if (in_use->close(file) != 0 && code == 0) {
        code = errno;
    }
    return code;
}

int file_sync_parent(const char *path)
{
    char folder[PATH_MAX];
    int length = snprintf(folder, sizeof(folder), "%s", path);
    if (length < 0 || (size_t)length >= sizeof(folder)) {
        return ENAMETOOLONG;
    }
    char *slash = strrchr(folder, '/');
    if (slash == NULL) {
        snprintf(folder, sizeof(folder), ".");
    } else {
        slash[slash == folder ? 1 : 0] = '\0';
    }
    return in_use->sync_folder(folder) == 0 ? 0 : errno;
}
