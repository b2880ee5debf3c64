/* Files and folders that are not SQLite's: the few system calls, behind one replaceable table.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Whatever must survive a crash goes through here (model files, the reserve of the store, the
 * folders of both), so that tests can put a disk below it that fails, fills up and loses what was
 * not synced. Everything works like the call of the same name and sets errno; what is added is
 * said here.
 *
 * Threads: any; file_system_use only while nobody else uses files.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct file_system {
    int (*open)(const char *path, int flags, mode_t mode);
    ssize_t (*read)(int file, void *bytes, size_t length);
    ssize_t (*write)(int file, const void *bytes, size_t length);
    /* Bytes that are really set aside, from the front; 0 or an errno (as posix_fallocate). */
    int (*allocate)(int file, int64_t length);
    int (*sync)(int file);
    int (*close)(int file);
    int64_t (*size)(const char *path); /* of a regular file; -1 with errno */
    int (*make_folder)(const char *path, mode_t mode);
    int (*sync_folder)(const char *path);
    int (*rename)(const char *from, const char *to);
    /* Of a plain file, and never in the place of another: EEXIST. */
    int (*rename_new)(const char *from, const char *to);
    int (*remove)(const char *path);
    int (*remove_folder)(const char *path); /* with the plain files in it */
};

/* The one in use. */
const struct file_system *file_system(void);

/* Tests: replaces it (NULL restores the system's own). */
void file_system_use(const struct file_system *other);

/* Syncs a file by its path; 0 or an errno. */
int file_sync(const char *path);

/* Syncs the folder in which `path` is an entry; 0 or an errno. */
int file_sync_parent(const char *path);

#endif
