/* One seeded history of a store on the disk in memory, and the truth to compare it with.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A single thread drives everything through the doors that the daemon uses: batches go into the
 * writer's queue and are committed in groups (writer_step), series get late points, overwrites, end
 * markers, settings and vintages, are deleted and made anew; chunks are compacted, the log is
 * checkpointed, retention runs, models are admitted to the catalogue. Clock, randomness and disk
 * come from the seed, so a seed is a history, to the last byte.
 *
 * Truth. Each batch carries a point of the series "marker" whose time is the batch's number. A
 * batch that was acknowledged must be there. One that was answered by an error, or not at all,
 * must be there whole or not at all: its marker says which. So the contents of every series are
 * known exactly, but for points that retention may have removed by now, and series that may have
 * left with them.
 */
#ifndef TESTS_TORTURE_HISTORY_H
#define TESTS_TORTURE_HISTORY_H

#include "server/catalogue.h"
#include "tests/torture/fault_vfs.h"

enum { HISTORY_SERIES = 6, HISTORY_SLOTS = 2048, HISTORY_BATCHES = 1024, HISTORY_OPS = 24 };

enum phase {
    PHASE_OPEN,
    PHASE_INGEST,
    PHASE_DELETE,
    PHASE_COMPACTION,
    PHASE_CHECKPOINT,
    PHASE_RETENTION,
    PHASE_PUBLICATION,
    PHASE_CLOSE,
    PHASES
};
extern const char *const phase_names[PHASES];

struct cell {
    double value;
    bool there;
};

struct truth {
    bool exists;
    int64_t keep_ms;       /* retention; 0 = for ever */
    int64_t gone_until_ms; /* points before it may be gone: some retention asked for it */
    struct cell cells[HISTORY_SLOTS];
};

struct attempt_op {
    int series, slot;
    double value;
};

struct attempt {  /* a batch */
    int deletes;  /* this series, before the points; -1: none */
    int settings; /* of this series: retention keep_ms, and excluded spans; -1: none */
    int64_t keep_ms, now_ms;
    size_t count;
    struct attempt_op ops[HISTORY_OPS];
    bool answered;
    enum status status;
};

struct history {
    struct disk *disk;
    struct random random;
    const char *directory;  /* a real, empty folder: the lock of the store lies there */
    struct snapshot *model; /* borrowed; NULL: nothing is published */
    struct storage_options options;
    struct storage *storage;
    struct writer *writer;
    struct storage_reader *reader;
    struct registry *registry;
    struct catalogue *catalogue;
    enum phase phase;
    int head;                      /* the newest slot */
    int64_t marker_ms;             /* time of the first marker; 0, or where retention never comes */
    struct attempt *attempts;      /* HISTORY_BATCHES */
    size_t attempt_count, settled; /* those before `settled` are in the truth for good */
    struct truth *truth;           /* HISTORY_SERIES */
    uint64_t acknowledged;         /* points */
    uint64_t left;                 /* series, behind their last points; of stores that are closed */
    unsigned refusals;             /* of what was asked for, batches left out */
    char refusal[200];             /* the first of them */
    char why[400];                 /* the first thing that was wrong */
};

/* Notes the first thing that was wrong; false, always. */
bool history_wrong(struct history *history, const char *format, ...) PRINTF_LIKE(2, 3);
/* The same, as a check reports it. */
void history_finding(void *history, const char *line);

/* Counts a refusal; whether it was none. What is done with it is up to the caller: with a fault at
 * work it is no finding. */
bool history_done(struct history *history, enum status status, const struct error *error);

/* Mounts a new disk for the seed. */
void history_init(struct history *history, uint64_t seed, const char *directory);
void history_release(struct history *history);

/* Of a history that is not open yet: its store has a retention, and its series fall silent in turns
 * for longer than that, so that they leave. */
void history_leaving(struct history *history);

/* Sets the wall clock, and lets monotonic time pass. Between history_init and history_release both
 * are the history's. */
void history_clock(int64_t wall_ms, int64_t pass_ms);
int64_t history_now(void);

/* Opens store, writer, reader and catalogue; false with error. Everything is closed on failure. */
bool history_open(struct history *history, struct error *error);
/* Closes what is open, with or without power. */
void history_close(struct history *history);

/* Random batches, then steps until nothing is queued. */
void history_ingest(struct history *history);
/* A series' deletion, or its retention. */
void history_delete(struct history *history);
void history_retention(struct history *history);
/* All that age takes now, whatever the writer holds of the clock. */
void history_age(struct history *history);
void history_compact(struct history *history);
/* The log is made to look long, and a step taken. */
void history_checkpoint(struct history *history);
/* A forecast is kept as it was issued, in the background. */
void history_vintage(struct history *history);
void history_publish(struct history *history);
/* One of the above at random, in the proportions of a busy day. */
void history_act(struct history *history);

/* With the store open: every series holds what the truth says, statistics agree, storage_check and
 * the catalogue's check find nothing. False: history->why. */
bool history_verify(struct history *history);

/* A hash over all points; false where reading failed. */
bool history_read(struct history *history, uint32_t *digest);

/* The same with statistics and the number of disk operations, for comparing two runs. */
uint32_t history_digest(struct history *history);

#endif
