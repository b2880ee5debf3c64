/* SQLite's VFS and the product's file calls on top of the disk in memory.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/torture/fault_vfs.h"

#include "base/check.h"
#include "base/file.h"
#include "tests/torture/fault_malloc.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST_NUMBER = 1 << 20, HANDLES_MAX = 16 };

struct handle {
    sqlite3_file base;
    struct disk_file *file;
    int level; /* SQLITE_LOCK_* */
    unsigned shm_shared, shm_exclusive;
    bool mapped;
    bool delete_on_close;
};

static struct disk *mounted;

static void enter(void)
{
    pthread_mutex_lock(&mounted->lock);
    fault_malloc_exempt();
}

static bool begin(const char *path, bool change, enum disk_fault *fault)
{
    enter();
    *fault = disk_strikes(mounted, path, change);
    return *fault == DISK_NO_FAULT;
}

static int end(int code)
{
    fault_malloc_resume();
    pthread_mutex_unlock(&mounted->lock);
    return code;
}

/* What an operation without need of room answers to a fault. */
static int refuse(const char *path, bool change, int code)
{
    enum disk_fault fault;
    return begin(path, change, &fault) ? SQLITE_OK : code;
}

/* ---------------------------------------------------------------- a file of SQLite */

static int vfs_read(sqlite3_file *base, void *bytes, int amount, sqlite3_int64 at)
{
    struct handle *handle = (struct handle *)base;
    int code = refuse(handle->file->path, false, SQLITE_IOERR_READ);
    if (code == SQLITE_OK) {
        bool ends = disk_ends(mounted, handle->file->path);
        int64_t count = disk_read(handle->file, at, bytes, ends ? amount / 2 : amount);
        if (count < amount) {
            memset((unsigned char *)bytes + count, 0, (size_t)(amount - count));
            code = SQLITE_IOERR_SHORT_READ;
        }
    }
    return end(code);
}

static int vfs_write(sqlite3_file *base, const void *bytes, int amount, sqlite3_int64 at)
{
    struct handle *handle = (struct handle *)base;
    bool was_dead = mounted->dead;
    enum disk_fault fault;
    int code = SQLITE_OK;
    (void)begin(handle->file->path, true, &fault);
    int64_t length = fault == DISK_NO_FAULT || (fault == DISK_CUT && !was_dead) ? amount
                     : fault == DISK_SHORT                                      ? amount / 2
                                                                                : 0;
    if (length > 0 && !disk_write(mounted, handle->file, at, bytes, length)) {
        code = SQLITE_FULL;
    }
    if (fault != DISK_NO_FAULT) {
        code = fault == DISK_ENOSPC || fault == DISK_SHORT ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    }
    return end(code);
}

static int vfs_truncate(sqlite3_file *base, sqlite3_int64 length)
{
    struct handle *handle = (struct handle *)base;
    int code = refuse(handle->file->path, true, SQLITE_IOERR_TRUNCATE);
    if (code == SQLITE_OK && !disk_resize(mounted, handle->file, length)) {
        code = SQLITE_FULL;
    }
    return end(code);
}

static int vfs_sync(sqlite3_file *base, int flags)
{
    struct handle *handle = (struct handle *)base;
    (void)flags;
    enter();
    disk_wait_to_sync(mounted);
    (void)end(0);
    int code = refuse(handle->file->path, true, SQLITE_IOERR_FSYNC);
    if (code == SQLITE_OK) {
        disk_sync(mounted, handle->file);
    }
    return end(code);
}

static int vfs_size(sqlite3_file *base, sqlite3_int64 *size)
{
    struct handle *handle = (struct handle *)base;
    int code = refuse(handle->file->path, false, SQLITE_IOERR_FSTAT);
    *size = handle->file->now.length;
    return end(code);
}

/* ---------------------------------------------------------------- its locks */

static void level_count(struct disk_file *file, int level, int by)
{
    file->shared += level >= SQLITE_LOCK_SHARED ? by : 0;
    file->reserved += level >= SQLITE_LOCK_RESERVED ? by : 0;
    file->pending += level >= SQLITE_LOCK_PENDING ? by : 0;
    file->exclusive += level >= SQLITE_LOCK_EXCLUSIVE ? by : 0;
}

static int vfs_lock(sqlite3_file *base, int level)
{
    struct handle *handle = (struct handle *)base;
    struct disk_file *file = handle->file;
    int code = refuse(handle->file->path, false, SQLITE_IOERR_LOCK);
    if (code == SQLITE_OK && handle->level < level) {
        level_count(file, handle->level, -1); /* others only */
        bool free_ = level == SQLITE_LOCK_SHARED      ? file->pending == 0
                     : level == SQLITE_LOCK_EXCLUSIVE ? file->shared == 0
                                                      : file->reserved == 0;
        handle->level = free_ ? level : handle->level;
        level_count(file, handle->level, 1);
        code = free_ ? SQLITE_OK : SQLITE_BUSY;
    }
    return end(code);
}

/* Giving back never fails: a process that cannot unlock has bigger problems. */
static int vfs_unlock(sqlite3_file *base, int level)
{
    struct handle *handle = (struct handle *)base;
    enter();
    if (handle->level > level) {
        level_count(handle->file, handle->level, -1);
        level_count(handle->file, level, 1);
        handle->level = level;
    }
    return end(SQLITE_OK);
}

static int vfs_reserved(sqlite3_file *base, int *held)
{
    struct handle *handle = (struct handle *)base;
    int code = refuse(handle->file->path, false, SQLITE_IOERR_CHECKRESERVEDLOCK);
    *held = handle->file->reserved > 0;
    return end(code);
}

static int vfs_control(sqlite3_file *base, int operation, void *argument)
{
    (void)base, (void)operation, (void)argument;
    return SQLITE_NOTFOUND;
}

static int vfs_sector(sqlite3_file *base)
{
    (void)base;
    return 4096;
}

static int vfs_device(sqlite3_file *base)
{
    (void)base;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

/* ---------------------------------------------------------------- its shared memory */

static int vfs_shm_map(sqlite3_file *base, int region, int size, int extend, void volatile **out)
{
    struct handle *handle = (struct handle *)base;
    struct disk_file *file = handle->file;
    enum disk_fault fault;
    *out = NULL;
    if (!begin(handle->file->path, false, &fault)) {
        return end(fault == DISK_EIO || fault == DISK_CUT ? SQLITE_IOERR_SHMMAP
                                                          : SQLITE_IOERR_SHMSIZE);
    }
    CHECK(region < DISK_SHM_MAX && (file->shm_size == 0 || file->shm_size == size));
    file->shm_users += !handle->mapped;
    handle->mapped = true;
    file->shm_size = size;
    if (file->shm[region] == NULL && extend) {
        file->shm[region] = calloc(1, (size_t)size);
    }
    *out = file->shm[region];
    return end(SQLITE_OK);
}

static int vfs_shm_lock(sqlite3_file *base, int offset, int count, int flags)
{
    struct handle *handle = (struct handle *)base;
    struct disk_file *file = handle->file;
    unsigned mask = ((1U << count) - 1) << offset;
    bool exclusive = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
    if (flags & SQLITE_SHM_UNLOCK) {
        enter();
        unsigned *held = exclusive ? &handle->shm_exclusive : &handle->shm_shared;
        int *holders = exclusive ? file->shm_exclusive : file->shm_shared;
        for (int i = offset; i < offset + count; i++) {
            holders[i] -= (*held >> i & 1) != 0;
        }
        *held &= ~mask;
        return end(SQLITE_OK);
    }
    int code = refuse(handle->file->path, false, SQLITE_IOERR_SHMLOCK);
    for (int i = offset; code == SQLITE_OK && i < offset + count; i++) {
        int own = (int)(handle->shm_shared >> i & 1);
        if (file->shm_exclusive[i] > 0 || (exclusive && file->shm_shared[i] > own)) {
            code = SQLITE_BUSY;
        }
    }
    if (code == SQLITE_OK) {
        unsigned *held = exclusive ? &handle->shm_exclusive : &handle->shm_shared;
        int *holders = exclusive ? file->shm_exclusive : file->shm_shared;
        for (int i = offset; i < offset + count; i++) {
            holders[i] += (*held >> i & 1) == 0;
        }
        *held |= mask;
    }
    return end(code);
}

static void vfs_shm_barrier(sqlite3_file *base)
{
    (void)base;
    __sync_synchronize();
}

static int vfs_shm_unmap(sqlite3_file *base, int delete_it)
{
    struct handle *handle = (struct handle *)base;
    struct disk_file *file = handle->file;
    (void)delete_it;
    enter();
    if (handle->mapped) {
        handle->mapped = false;
        if (--file->shm_users == 0) { /* a new process would find it empty or rebuild it */
            for (int i = 0; i < DISK_SHM_MAX; i++) {
                free(file->shm[i]);
                file->shm[i] = NULL;
            }
            file->shm_size = 0;
        }
    }
    return end(SQLITE_OK);
}

static int vfs_close(sqlite3_file *base)
{
    struct handle *handle = (struct handle *)base;
    (void)vfs_shm_unmap(base, 0);
    (void)vfs_unlock(base, SQLITE_LOCK_NONE);
    enter();
    if (handle->delete_on_close && disk_find(mounted, handle->file->path) == handle->file) {
        disk_unlink(mounted, handle->file->path);
    }
    disk_release(handle->file);
    return end(SQLITE_OK);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = vfs_close,
    .xRead = vfs_read,
    .xWrite = vfs_write,
    .xTruncate = vfs_truncate,
    .xSync = vfs_sync,
    .xFileSize = vfs_size,
    .xLock = vfs_lock,
    .xUnlock = vfs_unlock,
    .xCheckReservedLock = vfs_reserved,
    .xFileControl = vfs_control,
    .xSectorSize = vfs_sector,
    .xDeviceCharacteristics = vfs_device,
    .xShmMap = vfs_shm_map,
    .xShmLock = vfs_shm_lock,
    .xShmBarrier = vfs_shm_barrier,
    .xShmUnmap = vfs_shm_unmap,
};

/* ---------------------------------------------------------------- SQLite's file system */

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *out)
{
    struct handle *handle = (struct handle *)base;
    static unsigned nameless;
    char own[64];
    enum disk_fault fault;
    (void)vfs;
    *handle = (struct handle){0};
    if (name == NULL) {
        snprintf(own, sizeof own, "/nameless/%u", nameless++);
        name = own;
    }
    if (!begin(name, (flags & SQLITE_OPEN_CREATE) != 0, &fault)) {
        return end(fault == DISK_EIO || fault == DISK_CUT ? SQLITE_CANTOPEN : SQLITE_FULL);
    }
    struct disk_file *file = disk_find(mounted, name);
    bool made = file == NULL && (flags & SQLITE_OPEN_CREATE) != 0;
    if (made) {
        file = disk_create(mounted, name);
    }
    if (file == NULL) {
        return end(SQLITE_CANTOPEN);
    }
    file->users++;
    file->name_needs_sync |=
        made &&
        (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL)) != 0;
    handle->file = file;
    handle->delete_on_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0;
    handle->base.pMethods = &methods;
    if (out != NULL) {
        *out = flags;
    }
    return end(SQLITE_OK);
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
    (void)vfs;
    bool was_dead = mounted->dead;
    enum disk_fault fault;
    (void)begin(name, true, &fault);
    if (fault == DISK_NO_FAULT || (fault == DISK_CUT && !was_dead)) {
        if (disk_find(mounted, name) == NULL) {
            return end(SQLITE_IOERR_DELETE_NOENT);
        }
        disk_unlink(mounted, name);
    }
    if (fault != DISK_NO_FAULT) {
        return end(SQLITE_IOERR_DELETE);
    }
    if (sync_folder) {
        disk_sync_parent(mounted, name);
    }
    return end(SQLITE_OK);
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *result)
{
    (void)vfs;
    int code = refuse(name, false, SQLITE_IOERR_ACCESS);
    const struct disk_file *file = disk_find(mounted, name);
    *result = file != NULL && (flags != SQLITE_ACCESS_EXISTS || file->now.length > 0);
    return end(code);
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *name, int size, char *out)
{
    (void)vfs;
    snprintf(out, (size_t)size, "%s", name);
    return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *vfs, int count, char *bytes)
{
    (void)vfs;
    enter();
    for (int i = 0; i < count; i++) {
        bytes[i] = (char)random_next(&mounted->random);
    }
    (void)end(0);
    return count;
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds)
{
    (void)vfs;
    enter();
    bool passes = mounted->delayed; /* what is waited for takes real time, too */
    (void)end(0);
    if (passes) {
        usleep((useconds_t)microseconds);
    }
    return microseconds;
}

static int vfs_time(sqlite3_vfs *vfs, sqlite3_int64 *now)
{
    (void)vfs;
    *now = INT64_C(212600000000000); /* nothing in the store asks SQLite for the time */
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int size, char *text)
{
    (void)vfs, (void)size, (void)text;
    return 0;
}

static sqlite3_vfs vfs = {
    .iVersion = 2,
    .szOsFile = sizeof(struct handle),
    .mxPathname = DISK_PATH_MAX - 16,
    .zName = "torture",
    .xOpen = vfs_open,
    .xDelete = vfs_delete,
    .xAccess = vfs_access,
    .xFullPathname = vfs_full_path,
    .xRandomness = vfs_randomness,
    .xSleep = vfs_sleep,
    .xGetLastError = vfs_last_error,
    .xCurrentTimeInt64 = vfs_time,
};

/* ---------------------------------------------------------------- the product's own files */

static struct {
    struct disk_file *file;
    int64_t at;
} handles[HANDLES_MAX]; /* under the disk's lock */

static int fail(int code)
{
    (void)end(0);
    errno = code;
    return -1;
}

static int code_of(enum disk_fault fault)
{
    return fault == DISK_ENOSPC || fault == DISK_SHORT ? ENOSPC : EIO;
}

static int own_open(const char *path, int flags, mode_t mode)
{
    enum disk_fault fault;
    (void)mode;
    if (!begin(path, (flags & O_CREAT) != 0, &fault)) {
        return fail(flags & O_CREAT ? code_of(fault) : EIO);
    }
    struct disk_file *file = disk_find(mounted, path);
    bool was_there = file != NULL;
    if (file == NULL && (flags & O_CREAT) != 0) {
        file = disk_create(mounted, path);
    }
    if (file == NULL) {
        return fail(ENOENT);
    }
    if (was_there && (flags & O_EXCL) != 0) {
        return fail(EEXIST);
    }
    if ((flags & O_TRUNC) != 0 && file->now.length > 0) {
        (void)disk_resize(mounted, file, 0);
    }
    for (int i = 0; i < HANDLES_MAX; i++) {
        if (handles[i].file == NULL) {
            file->users++;
            handles[i].file = file;
            handles[i].at = 0;
            return end(FIRST_NUMBER + i);
        }
    }
    return fail(EMFILE);
}

static ssize_t own_read(int number, void *bytes, size_t length)
{
    enum disk_fault fault;
    int i = number - FIRST_NUMBER;
    (void)begin(handles[number - FIRST_NUMBER].file->path, false, &fault);
    if (fault == DISK_SHORT) {
        length = length / 2 + length % 2; /* a part, never the end */
    } else if (fault != DISK_NO_FAULT) {
        return fail(EIO);
    }
    bool more = handles[i].at < handles[i].file->now.length; /* else it ends anyway */
    if (more && disk_ends(mounted, handles[i].file->path)) {
        length = 0;
    }
    int64_t count = disk_read(handles[i].file, handles[i].at, bytes, (int64_t)length);
    handles[i].at += count;
    (void)end(0);
    return (ssize_t)count;
}

static ssize_t own_write(int number, const void *bytes, size_t length)
{
    enum disk_fault fault;
    int i = number - FIRST_NUMBER;
    bool was_dead = mounted->dead;
    (void)begin(handles[number - FIRST_NUMBER].file->path, true, &fault);
    int64_t count = fault == DISK_NO_FAULT || (fault == DISK_CUT && !was_dead) ? (int64_t)length
                    : fault == DISK_SHORT                                      ? (int64_t)length / 2
                                                                               : 0;
    bool room = disk_write(mounted, handles[i].file, handles[i].at, bytes, count);
    if (fault != DISK_NO_FAULT && (fault != DISK_SHORT || count == 0)) {
        return fail(code_of(fault));
    }
    if (!room) {
        return fail(ENOSPC);
    }
    handles[i].at += count;
    (void)end(0);
    return (ssize_t)count; /* short: the next write will say why */
}

static int own_allocate(int number, int64_t length)
{
    enum disk_fault fault;
    struct disk_file *file = handles[number - FIRST_NUMBER].file;
    if (!begin(file->path, true, &fault)) {
        return end(code_of(fault));
    }
    bool room = length <= file->now.length || disk_resize(mounted, file, length);
    return end(room ? 0 : ENOSPC);
}

static int own_sync(int number)
{
    enum disk_fault fault;
    if (!begin(handles[number - FIRST_NUMBER].file->path, true, &fault)) {
        return fail(EIO);
    }
    disk_sync(mounted, handles[number - FIRST_NUMBER].file);
    return end(0);
}

static int own_close(int number)
{
    enum disk_fault fault;
    int i = number - FIRST_NUMBER;
    bool good = begin(handles[number - FIRST_NUMBER].file->path, false, &fault);
    disk_release(handles[i].file);
    handles[i].file = NULL;
    return good ? end(0) : fail(EIO);
}

static int64_t own_size(const char *path)
{
    enum disk_fault fault;
    if (!begin(path, false, &fault)) {
        return fail(EIO);
    }
    const struct disk_file *file = disk_find(mounted, path);
    if (file == NULL) {
        return fail(ENOENT);
    }
    int64_t size = file->now.length;
    (void)end(0);
    return size;
}

/* Folders are names of files only: one is there when something is in it, or on the real disk. */
static bool folder_holds(const char *folder, const char *path)
{
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && path[length] == '/';
}

static int own_make_folder(const char *path, mode_t mode)
{
    enum disk_fault fault;
    (void)mode;
    if (access(path, F_OK) == 0) {
        errno = EEXIST;
        return -1;
    }
    if (!begin(path, false, &fault)) {
        return fail(code_of(fault));
    }
    for (size_t i = 0; i < mounted->now.count; i++) {
        if (folder_holds(path, mounted->now.items[i].path)) {
            return fail(EEXIST);
        }
    }
    return end(0);
}

static int own_sync_folder(const char *path)
{
    enum disk_fault fault;
    if (!begin(path, true, &fault)) {
        return fail(EIO);
    }
    disk_sync_folder(mounted, path, strlen(path));
    return end(0);
}

/* All that is in a folder, one after the other: a power cut may leave some of it behind. */
static bool folder_rename(const char *from, const char *to)
{
    char old[DISK_PATH_MAX], new[DISK_PATH_MAX];
    size_t count = 0;
    for (size_t i = 0; i < mounted->now.count;) {
        snprintf(old, sizeof old, "%s", mounted->now.items[i].path);
        if (!folder_holds(from, old)) {
            i++;
            continue;
        }
        int length = snprintf(new, sizeof new, "%s%s", to, old + strlen(from));
        CHECK(length < DISK_PATH_MAX && disk_rename(mounted, old, new));
        count++;
        i = 0; /* names have moved */
    }
    return count > 0;
}

static int own_rename(const char *from, const char *to)
{
    enum disk_fault fault;
    bool was_dead = mounted->dead;
    (void)begin(to, true, &fault);
    if (fault == DISK_NO_FAULT || (fault == DISK_CUT && !was_dead)) {
        if (!disk_rename(mounted, from, to) && !folder_rename(from, to)) {
            return fail(ENOENT);
        }
    }
    return fault == DISK_NO_FAULT ? end(0) : fail(EIO);
}

static int own_rename_new(const char *from, const char *to)
{
    return disk_find(mounted, to) != NULL ? fail(EEXIST) : own_rename(from, to);
}

static int own_remove(const char *path)
{
    enum disk_fault fault;
    bool was_dead = mounted->dead;
    (void)begin(path, true, &fault);
    if (fault == DISK_NO_FAULT || (fault == DISK_CUT && !was_dead)) {
        if (disk_find(mounted, path) == NULL) {
            return fail(ENOENT);
        }
        disk_unlink(mounted, path);
    }
    return fault == DISK_NO_FAULT ? end(0) : fail(EIO);
}

static int own_remove_folder(const char *path)
{
    char file[DISK_PATH_MAX];
    for (size_t i = 0; i < mounted->now.count;) {
        snprintf(file, sizeof file, "%s", mounted->now.items[i].path);
        if (!folder_holds(path, file)) {
            i++;
        } else if (own_remove(file) != 0) {
            return -1;
        }
    }
    return 0;
}

static const struct file_system own_files = {
    .open = own_open,
    .read = own_read,
    .write = own_write,
    .allocate = own_allocate,
    .sync = own_sync,
    .close = own_close,
    .size = own_size,
    .make_folder = own_make_folder,
    .sync_folder = own_sync_folder,
    .rename = own_rename,
    .rename_new = own_rename_new,
    .remove = own_remove,
    .remove_folder = own_remove_folder,
};

void fault_vfs_mount(struct disk *disk)
{
    if (mounted != NULL) {
        sqlite3_vfs_unregister(&vfs);
    }
    mounted = disk;
    file_system_use(disk == NULL ? NULL : &own_files);
    if (disk != NULL) {
        CHECK(sqlite3_vfs_register(&vfs, 1) == SQLITE_OK);
        sqlite3_randomness(0, NULL); /* drawn anew from the disk's seed */
    }
}
