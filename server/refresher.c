/* The thread of live forecasts, its dirty bits and its share of the processor.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/refresher.h"

#include "base/background.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/memory.h"
#include "server/quoted.h"
#include "server/threads.h"

#include <stdlib.h>
#include <string.h>

#define BATCH        64
#define GATHER_MS    50 /* between the first dirty series and the round */
#define REST_FACTOR  4  /* rest this many times what was used: a fifth of one core */
#define REST_MS_MAX  2000
#define DUE_MS_MIN   500
#define NO_WORKER_MS 60000               /* without memory for one: until it is tried again */
#define IDS_MAX      ((uint32_t)1 << 26) /* 8 MiB of bits */
#define NICE         19
#define REST_MAX     1 /* while requests are in hand, times what it worked */

/* While points pour in, a backfill or a queue that is caught up with, series are not issued: each
 * would be due again a moment later, and its season would be looked for again as often. */
#define POURING_PER_SECOND 20000 /* series touched, summed over commits */
#define POSTPONED_MS_MAX   10000 /* but for no longer than this */

struct refresher {
    struct api_services *services;
    pthread_t thread;
    struct lock lock;
    struct condition woken;
    uint64_t *dirty; /* guarded by lock, as below: one bit an id */
    size_t words;
    size_t dirty_count;
    bool all, closed;
    uint64_t touched; /* series, summed over commits */
    uint64_t *owed;   /* its own thread's: ids to be issued when there is time */
    size_t owed_words, owed_count;
    _Atomic uint64_t refreshed, rounds;
    _Atomic int64_t busy_ns;
};

/* Under the lock. */
static void mark(struct refresher *refresher, uint32_t id)
{
    size_t word = id / 64;
    if (id >= IDS_MAX) {
        return; /* computed when asked for */
    }
    if (word >= refresher->words) {
        size_t words = (word + 1) * 2 < 64 ? 64 : (word + 1) * 2;
        uint64_t *grown = mem_resize(refresher->dirty, words, sizeof(*grown));
        if (grown == NULL) {
            return;
        }
        memset(grown + refresher->words, 0, (words - refresher->words) * sizeof(*grown));
        refresher->dirty = grown;
        refresher->words = words;
    }
    uint64_t bit = UINT64_C(1) << (id % 64);
    refresher->dirty_count += (refresher->dirty[word] & bit) == 0;
    refresher->dirty[word] |= bit;
}

/* The writer's observer. */
static void points_came(void *context, const uint32_t *ids, size_t count)
{
    struct refresher *refresher = context;
    lock_acquire(&refresher->lock);
    bool first = refresher->dirty_count == 0;
    refresher->touched += count;
    for (size_t i = 0; i < count; i++) {
        mark(refresher, ids[i]);
    }
    if (first) {
        condition_signal(&refresher->woken);
    }
    lock_release(&refresher->lock);
}

/* Up to BATCH dirty ids after *from, cleared; the search goes round once. */
static size_t take_batch(struct refresher *refresher, uint32_t *from, uint32_t *ids)
{
    size_t count = 0;
    lock_acquire(&refresher->lock);
    size_t words = refresher->words;
    for (size_t i = 0; i < words && count < BATCH && refresher->dirty_count > 0; i++) {
        size_t word = (*from / 64 + i) % words;
        while (refresher->dirty[word] != 0 && count < BATCH) {
            int bit = __builtin_ctzll(refresher->dirty[word]);
            refresher->dirty[word] &= refresher->dirty[word] - 1;
            refresher->dirty_count--;
            ids[count++] = (uint32_t)(word * 64 + (size_t)bit);
        }
    }
    if (count > 0) {
        *from = ids[count - 1] + 1;
    }
    lock_release(&refresher->lock);
    return count;
}

static void mark_all(struct refresher *refresher)
{
    uint32_t ids[BATCH], after = 0;
    for (size_t count; (count = storage_series_list(refresher->services->storage, NULL, after, ids,
                                                    BATCH)) > 0;) {
        lock_acquire(&refresher->lock);
        for (size_t i = 0; i < count; i++) {
            mark(refresher, ids[i]);
        }
        lock_release(&refresher->lock);
        after = ids[count - 1];
    }
}

/* Marks the series whose step has closed since their forecast, as the api tells; how long until the
 * next one closes. Not more often than DUE_MS_MIN: it walks all live forecasts, and tidies. */
static int64_t look_for_due(struct refresher *refresher, int64_t *next_look_ns)
{
    uint32_t due[BATCH];
    size_t count = 0;
    int64_t now_ns = clock_monotonic_ns();
    if (now_ns < *next_look_ns) {
        return (*next_look_ns - now_ns) / 1000000 + 1;
    }
    int64_t due_ms = api_refresh_due_ms(refresher->services, due, BATCH, &count);
    api_tidy(refresher->services);
    due_ms = due_ms < DUE_MS_MIN ? DUE_MS_MIN : due_ms;
    *next_look_ns = clock_monotonic_ns() + DUE_MS_MIN * 1000000;
    lock_acquire(&refresher->lock);
    for (size_t i = 0; i < count; i++) {
        mark(refresher, due[i]);
    }
    lock_release(&refresher->lock);
    return due_ms;
}

/* Waits for work: dirty series, or steps that close. False at the end. */
static bool wait_for_work(struct refresher *refresher, int64_t *next_look_ns)
{
    int64_t wait_ms = look_for_due(refresher, next_look_ns);
    lock_acquire(&refresher->lock);
    if (!refresher->closed && refresher->dirty_count == 0 && !refresher->all &&
        refresher->owed_count == 0) {
        condition_wait_for(&refresher->woken, &refresher->lock, wait_ms);
    }
    bool all = refresher->all, open = !refresher->closed;
    refresher->all = false;
    lock_release(&refresher->lock);
    if (all) {
        mark_all(refresher);
    }
    return open;
}

/* ---------------------------------------------------------------- issuing */

/* Remembers the series of a batch that are due to be issued, for quieter moments. */
static void owe(struct refresher *refresher, const uint32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t word = ids[i] / 64;
        if (!api_issue_due(refresher->services, ids[i], false)) {
            continue;
        }
        if (word >= refresher->owed_words) {
            size_t words = (word + 1) * 2;
            uint64_t *grown = mem_resize(refresher->owed, words, sizeof(*grown));
            if (grown == NULL) {
                return; /* their next point brings them here again */
            }
            memset(grown + refresher->owed_words, 0,
                   (words - refresher->owed_words) * sizeof(*grown));
            refresher->owed = grown;
            refresher->owed_words = words;
        }
        uint64_t bit = UINT64_C(1) << (ids[i] % 64);
        refresher->owed_count += (refresher->owed[word] & bit) == 0;
        refresher->owed[word] |= bit;
    }
}

/* How fast points come, between two looks. */
struct pouring {
    uint64_t touched;
    int64_t looked_ns, since_ns; /* since: 0 while they do not pour */
};

/* Whether what is owed can wait, because points pour in and have not done so for long. */
static bool postpone(struct refresher *refresher, struct pouring *pouring)
{
    int64_t now_ns = clock_monotonic_ns(), passed_ns = now_ns - pouring->looked_ns;
    lock_acquire(&refresher->lock);
    uint64_t touched = refresher->touched;
    lock_release(&refresher->lock);
    double per_second = (double)(touched - pouring->touched) * 1e9 / (double)(passed_ns + 1);
    pouring->touched = touched;
    pouring->looked_ns = now_ns;
    if (per_second < POURING_PER_SECOND) {
        pouring->since_ns = 0;
        return false;
    }
    pouring->since_ns = pouring->since_ns == 0 ? now_ns : pouring->since_ns;
    return now_ns - pouring->since_ns < POSTPONED_MS_MAX * INT64_C(1000000);
}

/* Up to API_ISSUE_MAX of them, from *from on, round and round. */
static size_t take_owed(struct refresher *refresher, size_t *from, uint32_t *ids)
{
    size_t count = 0;
    for (size_t i = 0; i < refresher->owed_words && count < API_ISSUE_MAX; i++) {
        size_t word = (*from + i) % refresher->owed_words;
        while (refresher->owed[word] != 0 && count < API_ISSUE_MAX) {
            int bit = __builtin_ctzll(refresher->owed[word]);
            refresher->owed[word] &= refresher->owed[word] - 1;
            refresher->owed_count--;
            ids[count++] = (uint32_t)(word * 64 + (size_t)bit);
        }
    }
    *from = count > 0 ? ids[count - 1] / 64 : *from;
    return count;
}

/* Series that somebody watches are issued before their answers are made anew, so that the vintage
 * is what the answer says. */
static void issue_live(struct refresher *refresher, struct api_worker *worker, const uint32_t *ids,
                       size_t count)
{
    uint32_t due[API_ISSUE_MAX];
    size_t due_count = 0;
    for (size_t i = 0; i < count && due_count < API_ISSUE_MAX; i++) {
        if (api_issue_due(refresher->services, ids[i], true)) {
            due[due_count++] = ids[i];
        }
    }
    if (due_count > 0) {
        api_issue(worker, due, due_count);
    }
}

/* Sleeps, but not beyond the end. */
static void rest(struct refresher *refresher, int64_t rest_ms)
{
    int64_t until_ns = clock_monotonic_ns() + rest_ms * 1000000;
    lock_acquire(&refresher->lock);
    for (int64_t left_ms = rest_ms; left_ms > 0 && !refresher->closed;) {
        condition_wait_for(&refresher->woken, &refresher->lock, left_ms);
        left_ms = (until_ns - clock_monotonic_ns()) / 1000000;
    }
    lock_release(&refresher->lock);
}

static bool has_work(struct refresher *refresher)
{
    lock_acquire(&refresher->lock);
    bool work = refresher->dirty_count > 0 || refresher->owed_count > 0;
    lock_release(&refresher->lock);
    return work;
}

static void *refresher_main(void *context)
{
    struct refresher *refresher = context;
    struct api_worker *worker = NULL;
    uint32_t ids[BATCH], from = 0;
    size_t owed_from = 0;
    int64_t next_look_ns = 0;
    struct pouring pouring = {.looked_ns = clock_monotonic_ns()};
    background_enter(NICE, REST_MAX);
    while (wait_for_work(refresher, &next_look_ns)) {
        struct error error = {0};
        if (!has_work(refresher)) {
            continue;
        }
        if (worker == NULL && api_worker_new(refresher->services, &worker, &error) != STATUS_OK) {
            log_error("refresher", "no worker", "reason=%s", QUOTED(error.text));
            rest(refresher, NO_WORKER_MS);
            continue;
        }
        rest(refresher, GATHER_MS);
        size_t count = take_batch(refresher, &from, ids);
        int64_t begin_ns = clock_processor_ns();
        if (count > 0) {
            issue_live(refresher, worker, ids, count);
            api_refresh(worker, ids, count);
            owe(refresher, ids, count);
        }
        uint32_t owed[API_ISSUE_MAX];
        size_t owed_now =
            postpone(refresher, &pouring) ? 0 : take_owed(refresher, &owed_from, owed);
        if (owed_now > 0) {
            api_issue(worker, owed, owed_now);
        }
        int64_t used_ns = clock_processor_ns() - begin_ns;
        atomic_fetch_add(&refresher->refreshed, count);
        atomic_fetch_add(&refresher->rounds, 1);
        atomic_fetch_add(&refresher->busy_ns, used_ns);
        int64_t rest_ms = used_ns * REST_FACTOR / 1000000;
        rest(refresher, rest_ms > REST_MS_MAX ? REST_MS_MAX : rest_ms);
    }
    api_worker_free(worker);
    return NULL;
}

enum status refresher_start(struct api_services *services, struct refresher **out,
                            struct error *error)
{
    struct refresher *refresher = mem_zeroed(1, sizeof(*refresher));
    if (refresher == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not start the refresher: out of memory");
    }
    refresher->services = services;
    refresher->all = storage_series_count(services->storage) > 0;
    lock_init(&refresher->lock);
    condition_init(&refresher->woken);
    enum status status =
        thread_start(&refresher->thread, "refresher", refresher_main, refresher, error);
    if (status != STATUS_OK) {
        condition_release_memory(&refresher->woken);
        lock_release_memory(&refresher->lock);
        mem_free(refresher);
        return status;
    }
    writer_observe(services->writer, points_came, refresher);
    *out = refresher;
    return STATUS_OK;
}

void refresher_all(struct refresher *refresher)
{
    lock_acquire(&refresher->lock);
    refresher->all = true;
    condition_signal(&refresher->woken);
    lock_release(&refresher->lock);
}

void refresher_stats(struct refresher *refresher, struct refresher_stats *stats)
{
    stats->refreshed = atomic_load(&refresher->refreshed);
    stats->rounds = atomic_load(&refresher->rounds);
    stats->busy_seconds = (double)atomic_load(&refresher->busy_ns) / 1e9;
}

void refresher_stop(struct refresher *refresher)
{
    if (refresher == NULL) {
        return;
    }
    writer_observe(refresher->services->writer, NULL, NULL);
    lock_acquire(&refresher->lock);
    refresher->closed = true;
    condition_broadcast(&refresher->woken);
    lock_release(&refresher->lock);
    pthread_join(refresher->thread, NULL);
    condition_release_memory(&refresher->woken);
    lock_release_memory(&refresher->lock);
    mem_free(refresher->dirty);
    mem_free(refresher->owed);
    mem_free(refresher);
}
