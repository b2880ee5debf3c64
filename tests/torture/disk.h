/* A disk in memory that fails on command, has a size, and forgets at a power cut what was not
 * synced. SPDX-License-Identifier: Apache-2.0
 *
 * What a process sees is one thing (`now`), what the plates hold another (`durable`). Between two
 * syncs of a file its writes and truncations are kept one by one, and so are the creations,
 * deletions and renames between two syncs of a folder. disk_crash decides by the seed what of them
 * had reached the plates: nothing, everything, a prefix, or any set of 512-byte sectors, the last
 * ones torn in the middle; a grown file may show zeros or rubbish where its data were lost. A
 * synced byte stays. This is what a disk may do that honours syncs and reorders freely in between.
 *
 * Rules for names: those of POSIX, not of one file system. A new file's name is there for certain
 * once its folder was synced. A rename never shows a mixture.
 *
 * Threads: any; one lock. Nothing here goes through base/memory, so allocation faults and the
 * counting of leaks see the product alone.
 */
#ifndef TESTS_TORTURE_DISK_H
#define TESTS_TORTURE_DISK_H

#include "base/random.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DISK_SECTOR = 512, DISK_FILES_MAX = 64, DISK_PATH_MAX = 300, DISK_SHM_MAX = 64 };
enum { DISK_PATIENCE_S = 20 };

enum disk_fault {
    DISK_NO_FAULT,
    DISK_EIO,    /* every kind of operation fails with an I/O error */
    DISK_ENOSPC, /* what needs room fails for want of it; the rest fails with an I/O error */
    DISK_SHORT,  /* a write does its first half and fails for want of room; an own file is read by
                    halves */
    DISK_END,    /* a read finds the file to end: SQLite's half way, an own file's at once */
    DISK_CUT,    /* the power goes: this change may have begun, nothing works after it */
    DISK_DELAY,  /* every kind of operation waits, and is then done (disk_await_delay) */
};

struct disk_change; /* one unsynced write or truncation */

struct disk_bytes {
    unsigned char *bytes;
    int64_t length, capacity;
};

struct disk_file {
    int users; /* names and handles, durable ones too */
    struct disk_bytes now, durable;
    struct disk_change *changes, *last_change;
    bool name_needs_sync; /* the next sync of the file syncs the folder too (SQLite's logs) */
    char path[DISK_PATH_MAX];
    /* SQLite's locks and shared memory */
    int shared, reserved, pending, exclusive; /* numbers of holders */
    int shm_shared[8], shm_exclusive[8];
    unsigned char *shm[DISK_SHM_MAX];
    int shm_size, shm_users;
};

struct disk_name {
    char path[DISK_PATH_MAX];
    struct disk_file *file;
};

struct disk_names {
    struct disk_name items[DISK_FILES_MAX];
    size_t count;
};

struct disk_entry_change { /* of a folder: the name now means this file, or none */
    char path[DISK_PATH_MAX];
    struct disk_file *file;
    bool paired; /* with the next one: a rename */
};

struct disk {
    pthread_mutex_t lock;
    struct random random; /* of rubbish and of SQLite's salts; one seed, one history */
    struct disk_names now, durable;
    struct disk_entry_change entries[256];
    size_t entry_count;

    uint64_t operations; /* reads, locks and look-ups too */
    uint64_t reads;      /* of bytes */
    uint64_t changes;    /* what may change the plates: writes, syncs, names */
    uint64_t syncs;
    uint64_t fault_at; /* of operations, of DISK_CUT of changes, of DISK_END of reads; 0: none */
    enum disk_fault fault;
    bool persistent;
    bool struck;
    bool dead;                       /* the power is off */
    bool syncs_ignored;              /* the disk lies */
    int64_t quota;                   /* bytes of all files; 0: no limit */
    bool syncs_held;                 /* SQLite's wait, unlocked, until they are released */
    unsigned syncs_waiting;          /* how many do */
    bool delayed;                    /* an operation waits that DISK_DELAY met */
    bool delay_outlasted;            /* one was done after all, though nobody had let it go */
    pthread_cond_t changed;          /* something that is waited for: on the monotonic clock */
    char struck_path[DISK_PATH_MAX]; /* what the fault met last */
};

struct disk *disk_new(uint64_t seed);
void disk_free(struct disk *disk);

/* The nth operation from now on (1: the next) fails, with `persistent` all later ones too; 0: none.
 * For DISK_CUT the nth change is meant, for DISK_END the nth read. */
void disk_fault_set(struct disk *disk, uint64_t nth, enum disk_fault fault, bool persistent);

/* From now on a sync of SQLite's takes until they are released; how many wait. */
void disk_hold_syncs(struct disk *disk, bool hold);
unsigned disk_syncs_waiting(struct disk *disk);

/* Waits until DISK_DELAY has met its operation; false where the fault was taken back before. The
 * operation then waits, unlocked, until it is let go, or for DISK_PATIENCE_S: whoever should have
 * let it go was held up by it. */
bool disk_await_delay(struct disk *disk);
void disk_let_go(struct disk *disk);

/* After a cut, with every handle closed: the power comes back, and `now` is what survived. */
void disk_crash(struct disk *disk, struct random *random);

/* Bytes of all files. */
int64_t disk_used(struct disk *disk);

/* ---- for the two file systems on top (fault_vfs.c); under the lock */

/* Counts an operation; the fault that strikes it, if any. After a cut: DISK_CUT. */
enum disk_fault disk_strikes(struct disk *disk, const char *path, bool change);
/* Counts a read that nothing else struck; whether DISK_END does. */
bool disk_ends(struct disk *disk, const char *path);
struct disk_file *disk_find(struct disk *disk, const char *path);
/* NULL where there are too many. */
struct disk_file *disk_create(struct disk *disk, const char *path);
void disk_unlink(struct disk *disk, const char *path);
bool disk_rename(struct disk *disk, const char *from, const char *to);
void disk_release(struct disk_file *file); /* a handle's use */
/* False where the quota forbids it. */
bool disk_write(struct disk *disk, struct disk_file *file, int64_t at, const void *bytes,
                int64_t length);
bool disk_resize(struct disk *disk, struct disk_file *file, int64_t length);
int64_t disk_read(const struct disk_file *file, int64_t at, void *bytes, int64_t length);
void disk_wait_to_sync(struct disk *disk);
void disk_sync(struct disk *disk, struct disk_file *file);
void disk_sync_folder(struct disk *disk, const char *folder, size_t length);
void disk_sync_parent(struct disk *disk, const char *path);

#endif
