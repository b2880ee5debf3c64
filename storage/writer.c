/* The writer thread: takes what is queued, commits it as one transaction, tells everybody, tidies.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Design. While one commit waits for the disk the next one gathers in the queue, so the number of
 * requests a sync grows with the load by itself; there is no timer and no waiting "for more". A
 * single client sees one sync per request.
 *
 * Rules of order
 *     1. A callback runs after its commit is on disk, before anything that comes later is begun.
 *     2. Batches are committed in the order of submission; a group is a stretch of the queue.
 *     3. A batch that deletes a series is a group of its own (batch.h).
 *     4. Background batches go last, one a group, so that no request waits behind them (writer.h).
 *     5. Compaction, checkpoints and retention run between commits, a few milliseconds at a time
 *        while anybody waits, and only here: one thread, one connection (sqlite.c says why).
 *
 * Failure: when a transaction fails, every batch in it gets the error and nothing of it exists. The
 * store is then "not writable": each further group first asks the driver whether it works again,
 * and an idle writer asks once a second.
 */
#include "storage/writer.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "storage/batch.h"
#include "storage/hold.h"
#include "storage/store.h"

#include <pthread.h>
#include <signal.h>

enum {
    QUEUE_MAX = 4096,
    QUEUE_BYTES_MAX = 64 << 20,
    GROUP_POINTS_MAX = 65536, /* bounds the journal record, and how long one commit takes */
    GROUP_BATCHES_MAX = 4096,
    TICK_MS = 1000,
    RETAIN_EVERY_MS = 60000,
};

/* What age does, one after the other. */
enum ageing { AGE_POINTS, AGE_SERIES, AGE_CELLS };

struct writer {
    struct storage *storage;
    size_t queue_max, queue_bytes_max;
    pthread_t thread;
    struct write_group group; /* writer thread only */
    struct hold hold;         /* writer thread only, as the next four */
    int64_t retain_due_ns;
    bool more;          /* maintenance has more to do */
    enum ageing ageing; /* whose round is under way */
    bool was_full;
    bool stepped;

    struct lock lock;
    struct condition changed; /* something for the thread to do */
    struct condition compacted, observed;
    struct write_batch *head, *last; /* guarded by lock, as all below */
    size_t queued, queued_points, queued_bytes;
    struct write_batch *background, *background_last;
    size_t background_queued;
    unsigned background_passed; /* groups that went before it */
    bool stopping;
    uint64_t compact_asked, compact_done;
    int64_t compact_until_ns; /* INT64_MAX: as long as it takes */
    struct error compact_error;
    write_observer observer;
    void *observer_context;
    bool observing; /* the observer is being told */
};

/* ---------------------------------------------------------------- the thread */

/* Adds a background batch to a group, where one's turn has come. Under the lock. */
static void background_take(struct writer *writer)
{
    struct write_group *group = &writer->group;
    struct write_batch *batch = writer->background;
    if (batch == NULL) {
        return;
    }
    bool alone = group->count == 0;
    bool room =
        group->count < GROUP_BATCHES_MAX && !(group->count > 0 && group->batches[0]->has_delete);
    if (!alone && (++writer->background_passed < WRITER_BACKGROUND_TURNS || !room)) {
        return;
    }
    writer->background = batch->next;
    writer->background_last = batch->next == NULL ? NULL : writer->background_last;
    writer->background_queued--;
    writer->background_passed = 0;
    batch->next = NULL;
    group->batches[group->count++] = batch;
}

/* Moves a stretch of the queue into the group. Under the lock. */
static void group_take(struct writer *writer)
{
    struct write_group *group = &writer->group;
    size_t points = 0, bytes = 0;
    group->count = 0;
    while (writer->head != NULL && group->count < GROUP_BATCHES_MAX) {
        struct write_batch *batch = writer->head;
        if (group->count > 0 &&
            (batch->has_delete || points + batch->op_count > GROUP_POINTS_MAX)) {
            break;
        }
        points += batch->op_count;
        bytes += batch->queued_bytes;
        writer->head = batch->next;
        batch->next = NULL;
        group->batches[group->count++] = batch;
        if (batch->has_delete) {
            break;
        }
    }
    writer->last = writer->head == NULL ? NULL : writer->last;
    writer->queued -= group->count;
    writer->queued_points -= points;
    writer->queued_bytes -= bytes;
    background_take(writer);
}

static bool store_writable(struct storage *storage)
{
    lock_acquire(&storage->lock);
    bool writable = storage->counters.writable;
    lock_release(&storage->lock);
    return writable;
}

static void commit_count(struct storage *storage, uint64_t points, int64_t duration_ns, bool good)
{
    lock_acquire(&storage->lock);
    storage->counters.commits += good;
    storage->counters.commit_points += points;
    storage->counters.commit_failures += !good;
    storage->counters.last_commit_ns = duration_ns;
    lock_release(&storage->lock);
}

/* On a full disk only what frees room is taken. */
static bool batch_frees(const struct write_batch *batch)
{
    for (size_t i = 0; i < batch->change_count; i++) {
        const struct batch_change *change = &batch->changes[i];
        bool clears = change->kind == CHANGE_EXCLUDED && change->excluded_count == 0;
        if (change->kind != CHANGE_DELETE && change->kind != CHANGE_SETTINGS && !clears) {
            return false;
        }
    }
    return batch->op_count == 0;
}

/* Refuses the batches that need room; returns whether others are left. */
static bool group_refuse(struct write_group *group, const struct error *error)
{
    bool left = false;
    for (size_t i = 0; i < group->count; i++) {
        struct write_batch *batch = group->batches[i];
        batch->refused = !batch_frees(batch);
        left = left || !batch->refused;
        if (batch->refused) {
            batch->result = (struct write_result){.error = *error};
        }
    }
    return left;
}

/* Not under the lock, so that it says when it is over: see writer_observe. */
static void observe(struct writer *writer)
{
    const struct write_group *group = &writer->group;
    if (group->touched_id_count == 0) {
        return;
    }
    lock_acquire(&writer->lock);
    write_observer observer = writer->observer;
    void *context = writer->observer_context;
    writer->observing = observer != NULL;
    lock_release(&writer->lock);
    if (observer == NULL) {
        return;
    }
    observer(context, group->touched_ids, group->touched_id_count);
    lock_acquire(&writer->lock);
    writer->observing = false;
    condition_broadcast(&writer->observed);
    lock_release(&writer->lock);
}

static void group_commit(struct writer *writer)
{
    struct storage *storage = writer->storage;
    struct write_group *group = &writer->group;
    struct error error = {0};
    int64_t start = clock_monotonic_ns();
    enum status status = STATUS_OK;
    if (!store_writable(storage)) {
        status = store_recover(storage, &error);
    }
    if (status == STATUS_OK || (status == STATUS_NO_SPACE && group_refuse(group, &error))) {
        status = store_commit(storage, group, &error);
    }
    if (status != STATUS_OK) {
        log_error("writer", "commit failed", "batches=%zu error=\"%s\"", group->count, error.text);
        group->touched_id_count = 0;
    }
    uint64_t points = 0;
    for (size_t i = 0; i < group->count; i++) {
        struct write_batch *batch = group->batches[i];
        if (status != STATUS_OK && !batch->refused) {
            batch->result = (struct write_result){.error = error};
        }
        points += batch->result.accepted;
        batch_promise_release(batch);
    }
    commit_count(storage, points, clock_monotonic_ns() - start, status == STATUS_OK);
    for (size_t i = 0; i < group->count; i++) {
        struct write_batch *batch = group->batches[i];
        if (batch->done != NULL) {
            batch->done(batch->context, &batch->result);
        }
        write_batch_free(batch);
    }
    observe(writer);
    group->count = group->touched_id_count = 0;
}

/* Whether maintenance makes sense; a disk that has just become full wants retention at once. */
static bool store_tidies(struct writer *writer)
{
    struct storage *storage = writer->storage;
    lock_acquire(&storage->lock);
    bool writable = storage->counters.writable, full = storage->counters.full;
    lock_release(&storage->lock);
    writer->retain_due_ns = full && !writer->was_full ? 0 : writer->retain_due_ns;
    writer->was_full = full;
    return writable || full;
}

/* A slice of what age does: retention first, then series that it has emptied, then downsampling;
 * true where there is more. Of a disk that is full only retention. */
static bool age(struct writer *writer, int64_t now_ms)
{
    struct storage *storage = writer->storage;
    struct error error = {0};
    bool more = false;
    writer->ageing = store_writable(storage) ? writer->ageing : AGE_POINTS;
    if (writer->ageing == AGE_POINTS) {
        if (store_retain(storage, now_ms, &more, &error) != STATUS_OK) {
            log_error("writer", "retention failed", "error=\"%s\"", error.text);
            return false;
        }
        if (more || !store_writable(storage)) {
            return more;
        }
        writer->ageing = AGE_SERIES;
    }
    if (writer->ageing == AGE_SERIES) {
        if (store_expire(storage, now_ms, &more, &error) != STATUS_OK) {
            log_error("writer", "series that are over stay", "error=\"%s\"", error.text);
            more = false;
        }
        if (more || !store_writable(storage)) {
            return more;
        }
        writer->ageing = AGE_CELLS;
    }
    if (store_downsample(storage, now_ms, DRIVER_SLICE, &more, &error) != STATUS_OK) {
        log_error("writer", "downsampling failed", "error=\"%s\"", error.text);
        more = false;
    }
    writer->ageing = more ? AGE_CELLS : AGE_POINTS;
    return more;
}

/* A slice of what is due besides commits; true where there is more. */
static bool maintain(struct writer *writer)
{
    struct error error = {0};
    bool more = false, retain_more = false;
    if (!store_tidies(writer)) {
        return false;
    }
    if (store_compact(writer->storage, DRIVER_SLICE, &more, &error) != STATUS_OK) {
        log_error("writer", "compaction failed", "error=\"%s\"", error.text);
        return false;
    }
    int64_t now = clock_monotonic_ns(), now_ms = 0;
    if (now >= writer->retain_due_ns && hold_allows(&writer->hold, &now_ms)) {
        retain_more = age(writer, now_ms);
        if (!retain_more) {
            writer->retain_due_ns = now + RETAIN_EVERY_MS * INT64_C(1000000);
        }
    }
    return more || retain_more;
}

/* Lot by lot, as far as the time goes. */
static enum status compact_in_time(struct writer *writer, int64_t until_ns, struct error *error)
{
    bool more = until_ns < INT64_MAX;
    while (more) {
        if (clock_monotonic_ns() >= until_ns) {
            return error_set(error, STATUS_TIMEOUT, "could not tidy everything in time");
        }
        if (store_compact(writer->storage, DRIVER_LOT, &more, error) != STATUS_OK) {
            return error->status;
        }
    }
    return store_compact(writer->storage, DRIVER_ALL, &more, error);
}

/* All that age does, as far as the time goes; nothing while the clock is not believed. */
static enum status age_in_time(struct writer *writer, int64_t until_ns, struct error *error)
{
    struct storage *storage = writer->storage;
    enum driver_effort effort = until_ns < INT64_MAX ? DRIVER_LOT : DRIVER_ALL;
    int64_t now_ms = 0;
    bool more = true;
    while (more && clock_monotonic_ns() < until_ns && hold_allows(&writer->hold, &now_ms)) {
        if (store_retain(storage, now_ms, &more, error) != STATUS_OK) {
            return error->status;
        }
    }
    more = store_writable(storage);
    while (more && clock_monotonic_ns() < until_ns && hold_allows(&writer->hold, &now_ms)) {
        if (store_expire(storage, now_ms, &more, error) != STATUS_OK) {
            return error->status;
        }
    }
    more = true;
    while (more && clock_monotonic_ns() < until_ns && hold_allows(&writer->hold, &now_ms)) {
        if (store_downsample(storage, now_ms, effort, &more, error) != STATUS_OK) {
            return error->status;
        }
    }
    return STATUS_OK;
}

static void compact_all(struct writer *writer, uint64_t ticket, int64_t until_ns)
{
    struct error error = {0};
    enum status status = STATUS_OK;
    if (!store_writable(writer->storage)) {
        status = store_recover(writer->storage, &error);
    }
    if (status == STATUS_OK || status == STATUS_NO_SPACE) { /* it may be what makes room */
        status = compact_in_time(writer, until_ns, &error);
    }
    if (status == STATUS_OK) {
        status = age_in_time(writer, until_ns, &error);
    }
    error.status = status;
    lock_acquire(&writer->lock);
    writer->compact_done = ticket;
    writer->compact_error = error;
    condition_broadcast(&writer->compacted);
    lock_release(&writer->lock);
}

static void idle_probe(struct writer *writer)
{
    struct error error = {0};
    if (!store_writable(writer->storage) && store_recover(writer->storage, &error) == STATUS_OK) {
        log_info("writer", "the store can be written again", "commits=resumed");
    }
}

/* One round: a group or a look around, then maintenance. False: it is time to stop. */
static bool round_run(struct writer *writer)
{
    lock_acquire(&writer->lock);
    bool idle = !writer->more && writer->head == NULL && writer->background == NULL &&
                !writer->stopping && writer->compact_asked == writer->compact_done;
    if (idle && !writer->stepped) {
        condition_wait_for(&writer->changed, &writer->lock, TICK_MS);
    }
    group_take(writer);
    uint64_t ticket = writer->compact_asked;
    int64_t until_ns = writer->compact_until_ns;
    bool compact = writer->group.count == 0 && ticket != writer->compact_done;
    bool stop = writer->group.count == 0 && !compact && writer->stopping;
    lock_release(&writer->lock);
    if (stop) {
        return false;
    }
    if (writer->group.count > 0) {
        group_commit(writer);
    } else {
        idle_probe(writer);
    }
    if (compact) {
        compact_all(writer, ticket, until_ns);
    }
    writer->more = maintain(writer);
    return true;
}

static void *writer_run(void *context)
{
    struct writer *writer = context;
    while (round_run(writer)) {
    }
    (void)maintain(writer);
    return NULL;
}

bool writer_step(struct writer *writer)
{
    CHECK(writer->stepped);
    (void)round_run(writer);
    lock_acquire(&writer->lock);
    bool more = writer->more || writer->head != NULL || writer->background != NULL;
    lock_release(&writer->lock);
    return more;
}

/* ---------------------------------------------------------------- submitting */

/* Under the lock. More than a group waits, and has done so for too long or takes too much. Half of
 * the room is left to those whose bodies are being read. */
static bool is_behind(const struct writer *writer, int64_t now_ns)
{
    return writer->queued_points > GROUP_POINTS_MAX &&
           (writer->queued_bytes > writer->queue_bytes_max / 2 ||
            now_ns - writer->head->queued_ns > WRITER_WAIT_MAX_MS * INT64_C(1000000));
}

bool writer_is_behind(struct writer *writer)
{
    int64_t now_ns = clock_monotonic_ns();
    lock_acquire(&writer->lock);
    bool behind = is_behind(writer, now_ns);
    lock_release(&writer->lock);
    return behind;
}

static enum status submit_take(struct writer *writer, struct write_batch *batch, bool patient,
                               struct error *error)
{
    batch->queued_ns = clock_monotonic_ns();
    batch->queued_bytes = write_batch_bytes(batch);
    batch->next = NULL;
    CHECK(batch->storage == writer->storage);
    lock_acquire(&writer->lock);
    bool closed = writer->stopping;
    bool busy = writer->queued >= writer->queue_max ||
                (writer->queued > 0 &&
                 writer->queued_bytes + batch->queued_bytes > writer->queue_bytes_max);
    busy = busy || (!patient && is_behind(writer, batch->queued_ns));
    if (!closed && !busy) {
        if (writer->last == NULL) {
            writer->head = batch;
            condition_signal(&writer->changed);
        } else {
            writer->last->next = batch;
        }
        writer->last = batch;
        writer->queued++;
        writer->queued_points += batch->op_count;
        writer->queued_bytes += batch->queued_bytes;
    }
    lock_release(&writer->lock);
    if (closed || busy) {
        write_batch_free(batch);
        return error_set(error, closed ? STATUS_NOT_READY : STATUS_BUSY,
                         closed ? "cannot write: the store is stopping"
                                : "could not queue the points: too many are waiting");
    }
    return STATUS_OK;
}

enum status writer_submit_take(struct writer *writer, struct write_batch *batch, write_done done,
                               void *context, struct error *error)
{
    batch->done = done;
    batch->context = context;
    return submit_take(writer, batch, false, error);
}

enum status writer_submit_background_take(struct writer *writer, struct write_batch *batch,
                                          write_done done, void *context, struct error *error)
{
    batch->done = done;
    batch->context = context;
    batch->next = NULL;
    CHECK(batch->storage == writer->storage && !batch->has_delete);
    lock_acquire(&writer->lock);
    bool closed = writer->stopping;
    bool busy = writer->background_queued >= WRITER_BACKGROUND_MAX;
    if (!closed && !busy) {
        if (writer->background_last == NULL) {
            writer->background = batch;
            condition_signal(&writer->changed);
        } else {
            writer->background_last->next = batch;
        }
        writer->background_last = batch;
        writer->background_queued++;
    }
    lock_release(&writer->lock);
    if (closed || busy) {
        write_batch_free(batch);
        return error_set(error, closed ? STATUS_NOT_READY : STATUS_BUSY,
                         closed ? "cannot write: the store is stopping"
                                : "could not queue background work: too much is waiting");
    }
    return STATUS_OK;
}

struct waiting {
    struct lock lock;
    struct condition answered;
    bool is_answered; /* guarded by lock */
    struct write_result *result;
};

static void waiting_done(void *context, const struct write_result *result)
{
    struct waiting *waiting = context;
    lock_acquire(&waiting->lock);
    *waiting->result = *result;
    waiting->is_answered = true;
    condition_signal(&waiting->answered);
    lock_release(&waiting->lock);
}

enum status writer_write_take(struct writer *writer, struct write_batch *batch,
                              struct write_result *result, struct error *error)
{
    struct write_result own;
    struct waiting waiting = {.result = result == NULL ? &own : result};
    lock_init(&waiting.lock);
    condition_init(&waiting.answered);
    batch->done = waiting_done;
    batch->context = &waiting;
    enum status status = submit_take(writer, batch, true, error);
    while (status == STATUS_OK && writer->stepped && !waiting.is_answered) {
        (void)writer_step(writer);
    }
    if (status == STATUS_OK) {
        lock_acquire(&waiting.lock);
        while (!waiting.is_answered) {
            condition_wait(&waiting.answered, &waiting.lock);
        }
        lock_release(&waiting.lock);
        status = waiting.result->error.status;
        if (status != STATUS_OK) {
            *error = waiting.result->error;
        }
    }
    condition_release_memory(&waiting.answered);
    lock_release_memory(&waiting.lock);
    return status;
}

enum status writer_compact_until(struct writer *writer, int64_t until_ns, struct error *error)
{
    lock_acquire(&writer->lock);
    uint64_t ticket = ++writer->compact_asked;
    writer->compact_until_ns = until_ns;
    condition_signal(&writer->changed);
    while (writer->stepped && writer->compact_done < ticket) {
        lock_release(&writer->lock);
        (void)writer_step(writer);
        lock_acquire(&writer->lock);
    }
    while (writer->compact_done < ticket) {
        condition_wait(&writer->compacted, &writer->lock);
    }
    enum status status = writer->compact_error.status;
    if (status != STATUS_OK) {
        *error = writer->compact_error;
    }
    lock_release(&writer->lock);
    return status;
}

enum status writer_compact(struct writer *writer, struct error *error)
{
    return writer_compact_until(writer, INT64_MAX, error);
}

void writer_observe(struct writer *writer, write_observer observer, void *context)
{
    lock_acquire(&writer->lock);
    while (writer->observing) {
        condition_wait(&writer->observed, &writer->lock);
    }
    writer->observer = observer;
    writer->observer_context = context;
    lock_release(&writer->lock);
}

size_t writer_queue_length(struct writer *writer)
{
    lock_acquire(&writer->lock);
    size_t queued = writer->queued;
    lock_release(&writer->lock);
    return queued;
}

/* ---------------------------------------------------------------- start and stop */

static void writer_free(struct writer *writer)
{
    write_group_release(&writer->group);
    condition_release_memory(&writer->changed);
    condition_release_memory(&writer->compacted);
    condition_release_memory(&writer->observed);
    lock_release_memory(&writer->lock);
    mem_free(writer);
}

enum status writer_start(struct storage *storage, const struct writer_options *options,
                         struct writer **out, struct error *error)
{
    CHECK(!storage->options.read_only);
    struct writer *writer = mem_zeroed(1, sizeof *writer);
    if (writer == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate the writer");
    }
    writer->storage = storage;
    hold_start(&writer->hold, storage);
    writer->queue_max = options->queue_max == 0 ? QUEUE_MAX : options->queue_max;
    writer->queue_bytes_max =
        options->queue_bytes_max == 0 ? QUEUE_BYTES_MAX : options->queue_bytes_max;
    writer->observer = options->observer;
    writer->observer_context = options->observer_context;
    lock_init(&writer->lock);
    condition_init(&writer->changed);
    condition_init(&writer->compacted);
    condition_init(&writer->observed);
    writer->group.batches = mem_zeroed(GROUP_BATCHES_MAX, sizeof(struct write_batch *));
    writer->group.capacity = GROUP_BATCHES_MAX;
    if (writer->group.batches == NULL) {
        writer_free(writer);
        return error_set(error, STATUS_NO_MEMORY, "could not allocate the writer");
    }
    writer->stepped = options->stepped;
    if (writer->stepped) {
        *out = writer;
        return STATUS_OK;
    }
    /* Signals are the main thread's: block them while the new thread inherits the mask. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&writer->thread, NULL, writer_run, writer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        writer_free(writer);
        return error_set(error, STATUS_NO_MEMORY, "could not start the writer thread");
    }
    *out = writer;
    return STATUS_OK;
}

void writer_stop(struct writer *writer)
{
    if (writer == NULL) {
        return;
    }
    lock_acquire(&writer->lock);
    writer->stopping = true;
    condition_signal(&writer->changed);
    lock_release(&writer->lock);
    if (writer->stepped) {
        (void)writer_run(writer);
    } else {
        pthread_join(writer->thread, NULL);
    }
    writer_free(writer);
}
