/* The table of functions that a storage back end fills in, with the contract of each.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The door (storage.c) is the only caller; it asserts the preconditions, so a driver need not. A
 * driver keeps entries and statistics in struct storage up to date (store.h has the locks). Adding
 * a member at the end raises DRIVER_VERSION; older members never change their meaning.
 *
 * Failures, for every writing function: after any status but STATUS_OK neither the disk nor the
 * memory holds anything of the attempt, and the store may be used on. STATUS_NO_SPACE and STATUS_IO
 * also clear counters.writable, and the first sets counters.full; the next success sets things
 * right, with a reserve (sqlite_reserve.c) only `recover` does.
 */
#ifndef STORAGE_DRIVER_H
#define STORAGE_DRIVER_H

#include "storage/storage.h"

struct write_group;
struct series_entry;

enum { DRIVER_VERSION = 3 };

enum driver_effort {
    DRIVER_SLICE, /* a few milliseconds of what is due */
    DRIVER_LOT, /* tens of milliseconds of what there is to do, due or not; called until there is no
                   more it does what DRIVER_ALL does, but for the last checkpoint */
    DRIVER_ALL, /* everything, and give back disk space: may take minutes */
};

struct storage_driver {
    int version;        /* DRIVER_VERSION */
    const char *scheme; /* "sqlite" of sqlite:DIRECTORY */
    size_t entry_bytes; /* of its struct, which begins with struct series_entry */

    /* Fills storage->state, the directory, the names and aged_ms with what is stored at `path`. On
     * failure everything is released again. */
    enum status (*open)(struct storage *storage, const char *path, struct error *error);
    /* No reader is open. Frees the state; entries are freed by the door (entry_release, then free).
     */
    void (*close)(struct storage *storage);

    /* A zeroed entry has just got its id and text; and before its memory goes. Neither can fail. */
    void (*entry_init)(struct series_entry *entry);
    void (*entry_release)(struct series_entry *entry);

    /* One transaction: all batches of the group that are not refused, in order, with durable effect
     * on STATUS_OK. Series are resolved (group_prepare). Fills the result of each batch, the
     * statistics of each entry and the group's list of touched entries; calls group_publish. */
    enum status (*commit)(struct storage *storage, struct write_group *group, struct error *error);

    /* Moves waiting data to its final place, checkpoints. `more`: there is more to do now. */
    enum status (*compact)(struct storage *storage, enum driver_effort effort, bool *more,
                           struct error *error);

    /* Drops points older than each series' retention at `now_ms`, a slice of the series a call,
     * round and round; `more` is false where the round is complete. Then storage->aged_ms is
     * `now_ms`, or was within HOLD_NOTE_MS of it before, and will be so after the next open; not so
     * where no series was ever there, or nothing can be written. */
    enum status (*retain)(struct storage *storage, int64_t now_ms, bool *more, struct error *error);

    /* After STATUS_IO or STATUS_NO_SPACE: tries whether writing works again, with fresh handles
     * after an I/O error, and verifies what the disk holds. */
    enum status (*recover)(struct storage *storage, struct error *error);

    /* Readers: any thread, each reader one thread at a time. The meaning is that of storage.h. */
    enum status (*reader_open)(struct storage *storage, void **out, struct error *error);
    void (*reader_close)(void *reader);
    enum status (*read)(void *reader, uint32_t id, int64_t start_ms, int64_t end_ms,
                        struct point *out, size_t maximum, size_t *count, struct error *error);
    enum status (*read_last)(void *reader, uint32_t id, struct point *out, size_t maximum,
                             size_t *count, struct error *error);
    enum status (*records)(void *reader, const char *kind, storage_record_visit visit,
                           void *context, struct error *error);

    /* Under storage->lock: newest points that are in memory; `complete` as for storage_tail. */
    size_t (*tail)(struct series_entry *entry, struct point *out, size_t maximum, bool *complete);

    /* Adds what only the driver knows (bytes on disk ...). Any thread. */
    void (*stats)(struct storage *storage, struct storage_stats *stats);
    enum status (*check)(struct storage *storage, storage_report report, void *context,
                         struct error *error);

    /* Since version 2. The meaning is that of storage.h; `retain` removes expired vintages too. */
    enum status (*vintages)(void *reader, uint32_t id, int64_t start_ms, int64_t end_ms,
                            storage_vintage_visit visit, void *context, struct error *error);

    /* Since version 3. Replaces old points as options.downsample says (downsample.h), a slice of
     * the series a call; DRIVER_SLICE may leave for later what is not worth it yet. Called only
     * where there are rules. */
    enum status (*downsample)(struct storage *storage, int64_t now_ms, enum driver_effort effort,
                              bool *more, struct error *error);
};

extern const struct storage_driver memory_driver;
extern const struct storage_driver sqlite_driver;

#endif
