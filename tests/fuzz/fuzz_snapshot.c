/* Fuzzes model files: safetensors whose metadata describes a snapshot.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses: a file as it is; or two bytes, how many values it holds, a header up to a
 * zero byte, and what the values repeat. It also chooses what the disk fails at, which is a few
 * blocks of memory here.
 *
 * Oracles: what loads is saved, that loads as a snapshot of the same numbers, and is saved as the
 * same bytes; where the disk fails nothing is loaded, and the file is what it was.
 */
#include "base/file.h"
#include "model/checkpoint.h"
#include "model/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX  ((size_t)1 << 20)
#define PATH      "model"
#define TEMPORARY "model.tmp"

/* ---------------------------------------------------------------- the disk */

enum fault {
    FAULT_NONE,
    FAULT_SIZE,
    FAULT_FOLDER, /* no regular file */
    FAULT_OPEN,
    FAULT_READ,
    FAULT_SHORT,
    FAULT_LAST_READ, /* all these at loading */
    FAULT_CREATE = FAULT_LAST_READ,
    FAULT_WRITE,
    FAULT_FULL,
    FAULT_SYNC,
    FAULT_CLOSE,
    FAULT_RENAME,
    FAULT_SYNC_FOLDER,
    FAULT_COUNT
};
static enum fault fault;

/* -1 with the error where the disk fails at that. */
static int result(enum fault at, int code)
{
    errno = code;
    return fault == at ? -1 : 0;
}

static struct {
    unsigned char bytes[FILE_MAX];
    size_t length;
    bool there;
} disk[2]; /* the file and the temporary one */
static size_t position;

static size_t place_of(const char *path)
{
    return strcmp(path, TEMPORARY) == 0;
}

static int disk_open(const char *path, int flags, mode_t mode)
{
    size_t place = place_of(path);
    (void)mode;
    if (flags & O_CREAT) {
        disk[place].there = true;
        disk[place].length = 0;
    }
    if (!disk[place].there) {
        errno = ENOENT;
        return -1;
    }
    position = 0;
    return result(flags & O_CREAT ? FAULT_CREATE : FAULT_OPEN, EACCES) != 0 ? -1 : (int)place;
}

static ssize_t disk_read(int file, void *bytes, size_t length)
{
    static unsigned calls;
    size_t left = disk[file].length - position;
    length = length < left ? length : left;
    if (calls++ % 3 == 0 || fault == FAULT_READ || fault == FAULT_SHORT) {
        errno = fault == FAULT_READ ? EIO : EINTR;
        return fault == FAULT_SHORT ? 0 : -1;
    }
    length = length > 8 ? length / 2 : length;
    memcpy(bytes, disk[file].bytes + position, length);
    position += length;
    return (ssize_t)length;
}

static ssize_t disk_write(int file, const void *bytes, size_t length)
{
    static unsigned calls;
    if (calls++ % 5 == 0 || fault == FAULT_WRITE || fault == FAULT_FULL) {
        errno = fault == FAULT_FULL ? ENOSPC : EINTR;
        return fault == FAULT_WRITE ? 0 : -1;
    }
    length = length > 8 ? length / 2 : length;
    if (length > FILE_MAX - disk[file].length) {
        abort(); /* what was read was no longer */
    }
    memcpy(disk[file].bytes + disk[file].length, bytes, length);
    disk[file].length += length;
    return (ssize_t)length;
}

static int disk_sync(int file)
{
    (void)file;
    return result(FAULT_SYNC, EIO);
}

static int disk_close(int file)
{
    (void)file;
    return result(FAULT_CLOSE, EDQUOT);
}

static int64_t disk_size(const char *path)
{
    size_t place = place_of(path);
    errno = fault == FAULT_SIZE ? EACCES : fault == FAULT_FOLDER ? EINVAL : ENOENT;
    bool fails = fault == FAULT_SIZE || fault == FAULT_FOLDER || !disk[place].there;
    return fails ? -1 : (int64_t)disk[place].length;
}

static int disk_sync_folder(const char *path)
{
    (void)path;
    return result(FAULT_SYNC_FOLDER, EIO);
}

static int disk_rename(const char *from, const char *to)
{
    size_t source = place_of(from), target = place_of(to);
    if (result(FAULT_RENAME, EIO) != 0) {
        return -1;
    }
    memcpy(disk[target].bytes, disk[source].bytes, disk[source].length);
    disk[target].length = disk[source].length;
    disk[target].there = true;
    disk[source].there = false;
    return 0;
}

static int disk_remove(const char *path)
{
    disk[place_of(path)].there = false;
    return 0;
}

static const struct file_system memory = {.open = disk_open,
                                          .read = disk_read,
                                          .write = disk_write,
                                          .sync = disk_sync,
                                          .close = disk_close,
                                          .size = disk_size,
                                          .sync_folder = disk_sync_folder,
                                          .rename = disk_rename,
                                          .remove = disk_remove};

/* ---------------------------------------------------------------- the oracle */

static bool same_plan(const struct feature_plan *one, const struct feature_plan *other)
{
    return one->step_ms == other->step_ms && one->horizon == other->horizon &&
           one->lag_count == other->lag_count && one->mean_count == other->mean_count &&
           one->period_count == other->period_count &&
           memcmp(one->lags, other->lags, sizeof(one->lags)) == 0 &&
           memcmp(one->folds, other->folds, sizeof(one->folds)) == 0 &&
           memcmp(one->means, other->means, sizeof(one->means)) == 0 &&
           memcmp(one->depths, other->depths, sizeof(one->depths)) == 0 &&
           memcmp(one->periods, other->periods, sizeof(one->periods)) == 0;
}

static void compare(const struct snapshot *one, const struct snapshot *other)
{
    if (one->member_count != other->member_count ||
        memcmp(one->seasons, other->seasons, sizeof(one->seasons)) != 0 ||
        !same_plan(&one->plan, &other->plan) || one->blend.count != other->blend.count ||
        memcmp(&one->blend.group, &other->blend.group, sizeof(one->blend.group)) != 0 ||
        memcmp(one->spread, other->spread, QUANTILE_COUNT * one->plan.horizon * sizeof(float)) !=
            0) {
        abort();
    }
    for (size_t i = 0; i < one->member_count; i++) {
        const struct member *member = one->members[i], *again = other->members[i];
        if (member->params.size != again->params.size ||
            memcmp(member->weights, again->weights, member->params.size * sizeof(real)) != 0) {
            abort();
        }
    }
}

static void save_again(struct snapshot *snapshot)
{
    static unsigned char first[FILE_MAX];
    struct snapshot *again = NULL;
    struct error error = {0};
    if (snapshot_save(snapshot, PATH, &error) != STATUS_OK) {
        abort();
    }
    size_t length = disk[0].length;
    memcpy(first, disk[0].bytes, length);
    if (snapshot_load(PATH, snapshot->record.sha256, &again, &error) != STATUS_OK) {
        abort();
    }
    compare(snapshot, again);
    if (snapshot_save(again, PATH, &error) != STATUS_OK || disk[0].length != length ||
        memcmp(first, disk[0].bytes, length) != 0) {
        abort();
    }
    snapshot_release(again);
}

/* Saves to a disk that fails; what was there before is there after. */
static void save_failing(struct snapshot *snapshot, enum fault at)
{
    static const char other[65] = "0";
    struct snapshot *again = NULL;
    struct error error = {0};
    if (snapshot_load(PATH, other, &again, &error) != STATUS_CORRUPT) {
        abort(); /* its hash is another */
    }
    fault = at;
    enum status status = snapshot_save(snapshot, PATH, &error);
    fault = FAULT_NONE;
    if (status != (at == FAULT_FULL || at == FAULT_CLOSE ? STATUS_NO_SPACE : STATUS_IO) ||
        disk[1].there ||
        snapshot_load(PATH, snapshot->record.sha256, &again, &error) != STATUS_OK) {
        abort();
    }
    snapshot_release(again);
}

/* ---------------------------------------------------------------- inputs */

/* Length, header with blanks behind it, values. False where that is too long. */
static bool put_together(const uint8_t *data, size_t size)
{
    static const unsigned char zero[sizeof(float)];
    unsigned char *bytes = disk[0].bytes;
    const uint8_t *end = size > 2 ? memchr(data + 2, 0, size - 2) : NULL;
    if (end == NULL) {
        return false;
    }
    size_t header = (size_t)(end - data) - 2, padded = (header + 8 + 63) / 64 * 64 - 8;
    size_t values = (data[0] + 256u * data[1]) * sizeof(float);
    size_t pattern = (size_t)(data + size - end) - 1;
    const unsigned char *from = pattern > 0 ? end + 1 : zero;
    pattern = pattern > 0 ? pattern : sizeof(zero);
    if (padded + values + 8 > FILE_MAX) {
        return false;
    }
    for (size_t i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(padded >> (8 * i));
    }
    memset(bytes + 8, ' ', padded);
    memcpy(bytes + 8, data + 2, header);
    for (size_t i = 0; i < values; i++) {
        bytes[8 + padded + i] = from[i % pattern];
    }
    disk[0].length = 8 + padded + values;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct snapshot *snapshot = NULL;
    struct error error = {0};
    if (size == 0 || size > FILE_MAX) {
        return 0;
    }
    file_system_use(&memory);
    disk[0].there = data[0] % 2 == 0 || put_together(data + 1, size - 1);
    disk[1].there = false;
    if (data[0] % 2 == 0) {
        memcpy(disk[0].bytes, data + 1, size - 1);
        disk[0].length = size - 1;
    }
    enum fault wanted = data[0] / 2 % FAULT_COUNT;
    fault = wanted < FAULT_LAST_READ ? wanted : FAULT_NONE;
    enum status status = snapshot_load(PATH, NULL, &snapshot, &error);
    if (status == STATUS_OK) {
        if (fault != FAULT_NONE) {
            abort();
        }
        save_again(snapshot);
        if (wanted != FAULT_NONE) {
            save_failing(snapshot, wanted);
        }
        snapshot_release(snapshot);
    } else if (snapshot != NULL ||
               (fault == FAULT_NONE && disk[0].there && status != STATUS_CORRUPT)) {
        abort();
    }
    fault = FAULT_NONE;
    file_system_use(NULL);
    return 0;
}
