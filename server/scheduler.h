/* The clock of training: decides when a group is due, trains it, has the gate judge it, publishes
 * it. SPDX-License-Identifier: Apache-2.0
 *
 * One thread, one training at a time; everything it does is a job in the api's table, whoever asked
 * for it. A group (all series of one step) is trained
 *   - a first time, briefly, soon after it has enough data, and again in full some minutes later;
 *   - every train.every, give or take a tenth, if points have come since;
 *   - earlier, once the store has grown by half since its last training;
 *   - when somebody posts to /api/v1/train.
 * Between trainings it looks at live regret (api_regret) and rolls champions back that earn it.
 * A group with too little data is tried again when it has grown. Training runs at the lowest
 * priority. A job that does not stop when it is told to is given up: it has failed, and the others
 * wait until it ends after all, or the process does.
 */
#ifndef SERVER_SCHEDULER_H
#define SERVER_SCHEDULER_H

#include "server/catalogue.h"

struct scheduler;

/* What may change while running. */
struct training_settings {
    int64_t every_ms;
    double seconds;
    unsigned lanes; /* 0 = the cores */
    size_t memory_max;
    uint64_t seed;
    int64_t overdue_ms;     /* a job that takes longer is cancelled and failed; 0 = twice its budget
                               and OVERDUE_GRACE_MS, a day where it has none; a
                               backtest's is a day at least */
    int64_t grace_ms;       /* one that has not stopped so long after it was told to is given up;
                               0 = a minute */
    int64_t first_delay_ms; /* between a group's first sight and its first training */
};

struct scheduler_options {
    struct api_services *services;
    struct catalogue *catalogue;
    struct training_settings settings;
    void (*published)(
        void *context); /* a new model serves; may be NULL; on the scheduler's thread */
    void *context;
};

enum status scheduler_start(const struct scheduler_options *options, struct scheduler **out,
                            struct error *error) MUST_USE;

/* From the next training on. */
void scheduler_configure(struct scheduler *scheduler, const struct training_settings *settings);

struct scheduler_stats {
    bool training;
    bool stuck;            /* a job was given up, and its end is still waited for */
    int64_t group_step_ms; /* of the training now under way; 0 = none */
    uint64_t trained, promoted, kept_back, failed, rolled_back;
    int64_t last_ended_ms; /* wall clock; 0 = never */
    int64_t next_due_ms;   /* the first group's by the clock, if points come; 0 = none yet */
    double last_seconds;
    size_t last_series, last_series_total; /* trained on; of the group */
    uint64_t last_windows, last_windows_total;
    bool last_sampled;
};
void scheduler_stats(struct scheduler *scheduler, struct scheduler_stats *stats);

/* Cancels what runs. False where the thread has not ended by a moment of the monotonic clock: then
 * scheduler_stop would wait for it. NULL is fine. */
bool scheduler_ends_by(struct scheduler *scheduler, int64_t until_ns);

/* Cancels what runs and ends the thread. NULL is fine. */
void scheduler_stop(struct scheduler *scheduler);

/* ---------------------------------------------------------------- one training, without the clock
 */

struct train_outcome {
    char id[48]; /* of the new model */
    bool promoted;
    double seconds;
    char reason[160];
    size_t series, series_total;
    uint64_t windows, windows_total;
    bool sampled;
};

/* Of what one training may take (0 = 512 MiB), the values of the group get half, and 256 MiB at
 * most; the tapes get what they leave. */
size_t train_group_bytes(size_t memory_max);
size_t train_tape_bytes(size_t memory_max, const struct api_group *group);

/* Trains one group with `train` (its series fields are filled here, and its memory is for all of
 * it), judges and admits the result. Also what `forecastd train` runs. */
enum status train_group(struct api_worker *worker, struct registry *registry,
                        struct catalogue *catalogue, int64_t step_ms,
                        const struct train_request *train, struct train_outcome *outcome,
                        struct error *error) MUST_USE;

#endif
