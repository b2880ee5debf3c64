/* The store: series, their points, and small JSON records; the only door to storage.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is kept
 *   series   a numeric id (1, 2, ...) for each canonical text (base/series_name.h), with settings,
 *            excluded spans and statistics. The index of all series lives in memory.
 *   points   (series, time) -> value; the last write wins; NaN is a point known to be missing.
 *   records  small JSON texts by (kind, key): model records, job history.
 *   vintages small blobs by (series, instant of issue), each with the time at which it expires.
 *
 * Who may write: the writer thread alone (storage/writer.h). Everything here that is not marked
 * "writer" only reads and may be called from any thread; a reader belongs to one thread.
 *
 * Promise: what writer_submit's callback reported with STATUS_OK is on disk (synchronous=FULL) and
 * survives kill -9 and power loss as far as the disk honours fsync; a batch is all there or not at
 * all.
 *
 * The newest points of each live series are in memory ("the tail") and rebuilt at start, within
 * `tail_bytes_max` for all series together; storage_read_last answers from there without I/O when
 * it can.
 */
#ifndef STORAGE_STORAGE_H
#define STORAGE_STORAGE_H

#include "base/point.h"
#include "base/series_name.h"
#include "base/status.h"
#include "base/time_span.h"
#include "storage/downsample.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct storage;
struct storage_reader;

struct storage_options {
    const char *url;       /* "memory:" or "sqlite:DIRECTORY" (made where it is missing) */
    bool relaxed;          /* storage.durability = relaxed: synchronous=NORMAL */
    bool read_only;        /* forecastd check, export: changes nothing; SQLite may add -wal, -shm */
    uint32_t series_max;   /* 0 = 100,000; further new series are refused (series_limit) */
    uint32_t tail_points;  /* 0 = 2,048: points of a series kept in memory, at most */
    size_t tail_bytes_max; /* 0 = 24 MiB: for the tails of all series together; up to half of it
                              holds points that wait for compaction, then commits flush */
    int64_t retention_ms;  /* 0 = for ever; a series that it has emptied leaves, too, unless
                              something was set of it */
    struct downsample downsample;
    bool counters_later;   /* downsampling waits for storage_counters_by */
    int64_t reserve_bytes; /* 0 = none: room set aside on the disk, given up when it is full so that
                              deleting, retention and checkpoints go on (sqlite_reserve.c) */
};

/* Opens, creates, migrates and replays the journal. STATUS_CONFLICT where another process holds the
 * directory; STATUS_UNSUPPORTED where a newer version wrote it; STATUS_CORRUPT; STATUS_IO. */
enum status storage_open(const struct storage_options *options, struct storage **out,
                         struct error *error) MUST_USE;

/* All readers closed and the writer stopped before. */
void storage_close(struct storage *storage);

/* Whether a series (canonical text) is a counter, of which these points are about to become one a
 * cell; none: by its text alone. Called by the writer thread, under no lock of the store. */
typedef bool (*storage_counter)(void *context, const char *text, size_t length,
                                const struct point *points, size_t count);

/* Who is asked about series whose user set no kind when old points are downsampled: a counter keeps
 * its last point of a cell, for the mean over a reset is a value that it never had. Function and
 * context live until the writer is stopped. Without it only what users set counts. */
void storage_counters_by(struct storage *storage, storage_counter is_counter, void *context);

/* The step of the cells to which points of that time may have been downsampled by now; 0: none. */
int64_t storage_thinned_ms(const struct storage *storage, int64_t now_ms, int64_t time_ms);

/* ---------------------------------------------------------------- series */

enum series_kind { SERIES_GAUGE, SERIES_COUNTER };

/* What a user may set with PATCH. A flag says that it was set; unset ones are inferred elsewhere.
 */
struct series_settings {
    bool has_step, has_season, has_minimum, has_maximum, has_integer, has_kind, has_retention;
    int64_t step_ms;
    int64_t season_steps;
    double minimum, maximum;
    bool integer;
    enum series_kind kind;
    int64_t retention_ms;
    char time_zone[48]; /* IANA name; empty = UTC */
};

struct series_info {
    uint32_t id;
    int64_t created_ms;
    uint64_t points;           /* stored */
    uint64_t late;             /* arrived behind a newer point */
    uint64_t updated;          /* overwrote an existing point */
    int64_t first_ms, last_ms; /* times of the oldest and newest point; 0 where points is 0 */
    double last_value;
    bool ended;          /* a stale marker was the newest thing heard */
    uint64_t generation; /* grows with each change of old data: late, update, delete, settings */
    struct series_settings settings;
    size_t excluded; /* spans that are not learned from: storage_series_excluded */
};

/* 0 where there is no such series. */
uint32_t storage_series_find(struct storage *storage, const char *text, size_t length);

/* STATUS_NOT_FOUND where the id is unknown or deleted. */
enum status storage_series_info(struct storage *storage, uint32_t id, struct series_info *info,
                                struct error *error) MUST_USE;

/* The spans of a series that are not to be learned from; none where the id is unknown. The store
 * only keeps them: its points are all there. */
void storage_series_excluded(struct storage *storage, uint32_t id, struct time_spans *out);

/* Canonical text of a series; returns its length, 0 where the id is unknown. */
size_t storage_series_text(struct storage *storage, uint32_t id, char out[SERIES_TEXT_MAX]);

/* Ids above `after` in rising order that match (NULL = all); returns how many were written. */
size_t storage_series_list(struct storage *storage, const struct selector *selector, uint32_t after,
                           uint32_t *ids, size_t maximum);

/* The first id above `after` of a series that there is; 0: there is none. */
uint32_t storage_series_next(struct storage *storage, uint32_t after);

uint32_t storage_series_count(struct storage *storage);

/* Another number whenever a series was made or has gone, for whoever keeps what is true of all: to
 * be asked before they are listed. */
uint64_t storage_series_changes(struct storage *storage);

/* ---------------------------------------------------------------- points */

/* One per thread; holds a read-only handle. */
enum status storage_reader_open(struct storage *storage, struct storage_reader **out,
                                struct error *error) MUST_USE;
void storage_reader_close(struct storage_reader *reader);

/* Points with start <= time < end in time order, at most `maximum` of them, the earliest first. */
enum status storage_read(struct storage_reader *reader, uint32_t id, int64_t start_ms,
                         int64_t end_ms, struct point *out, size_t maximum, size_t *count,
                         struct error *error) MUST_USE;

/* The newest `maximum` points in time order. From memory where the tail holds them. */
enum status storage_read_last(struct storage_reader *reader, uint32_t id, struct point *out,
                              size_t maximum, size_t *count, struct error *error) MUST_USE;

/* The same from memory only, never any I/O: returns how many newest points were there. `complete`
 * says whether they are all that was asked for or all that the series has. */
size_t storage_tail(struct storage *storage, uint32_t id, struct point *out, size_t maximum,
                    bool *complete);

/* ---------------------------------------------------------------- records */

/* Called for each record of a kind in key order; return false to stop. */
typedef bool (*storage_record_visit)(void *context, const char *key, const char *json,
                                     size_t length);
enum status storage_records(struct storage_reader *reader, const char *kind,
                            storage_record_visit visit, void *context,
                            struct error *error) MUST_USE;

/* ---------------------------------------------------------------- vintages */

/* Called for each vintage of a series with start <= issued < end, the newest first; return false to
 * stop. Its bytes are what was given to write_batch_vintage; one whose checksum fails is left out
 * (storage_check names it). Expired ones may still be there for a while. */
typedef bool (*storage_vintage_visit)(void *context, int64_t issued_ms, const unsigned char *bytes,
                                      size_t length);
enum status storage_vintages(struct storage_reader *reader, uint32_t id, int64_t start_ms,
                             int64_t end_ms, storage_vintage_visit visit, void *context,
                             struct error *error) MUST_USE;

/* ---------------------------------------------------------------- state of the store */

struct storage_stats {
    uint32_t series;
    uint64_t points;
    uint64_t bytes_on_disk; /* database and write-ahead log */
    uint64_t wal_bytes;
    uint64_t journal_points; /* acknowledged, not yet in chunks */
    uint64_t chunks;
    uint64_t tail_bytes, index_bytes;
    uint64_t commits, commit_points, commit_failures;
    int64_t last_commit_ns; /* duration of the newest commit */
    uint64_t expired;       /* series that left behind their last points, since the start */
    bool writable;          /* false after a failed sync or on a full disk, until it recovers */
    uint64_t damaged;       /* chunks and journal rows set aside since the start */
    uint64_t stuck;         /* series whose new points wait in the journal: a page is damaged */
    bool full;              /* the reason is the disk: only what frees room is taken */
};
void storage_stats(struct storage *storage, struct storage_stats *stats);

/* Reads everything and verifies it: checksums of chunks and journal rows, order, counts, SQLite's
 * own integrity check. Each finding is one line to `report`; returns STATUS_CORRUPT where there are
 * any. */
typedef void (*storage_report)(void *context, const char *line);
enum status storage_check(struct storage *storage, storage_report report, void *context,
                          struct error *error) MUST_USE;

/* The same of a SQLite store that nobody opened here, so of one too that cannot be opened. */
enum status storage_check_folder(const char *directory, int64_t retention_ms, storage_report report,
                                 void *context, struct error *error) MUST_USE;

#endif
