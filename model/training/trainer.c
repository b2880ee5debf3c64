/* Trains one member on a training set, for a number of steps or a time.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One step: (1) every lane runs its shards forward and backward; barrier; (2) every lane sums its
 * range of parameters over the shards; barrier; (3) every lane updates its range; lane 0 decides
 * about the next step; barrier.
 */
#include "model/training/trainer.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "model/tape/blas.h"
#include "model/training/lanes.h"
#include "model/training/optimizer.h"
#include "model/training/streams.h"

#include <math.h>
#include <string.h>

#define WARMUP_SHARE   0.05
#define WARMUP_STEPS   500
#define CLIP_NORM      1.0
#define LOSS_MEMORY    0.98 /* of the running mean */
#define RETRY_RATE     0.3  /* of the rate, after a divergence */
#define SKIP_WINDOWS   8192 /* that the skip's first weights come from */
#define SKIP_POWER     3.0  /* weights fall with the error to this power */
#define SKIP_ERROR_MAX 5.0  /* scaled errors are cut here */
#define NEWS_MS        100
#define STREAM_SKIP    UINT64_C(0x736b6970) /* random streams that no step uses */

struct trainer {
    const struct trainer_request *request;
    struct member *member;
    struct window_sampler sampler;
    struct streams streams; /* recurrent backbones only */
    struct optimizer optimizer;
    struct tape *tapes; /* [lanes] */
    size_t tape_count;
    size_t micro; /* windows on a tape at once */
    size_t tape_bytes;
    real *slabs[SHARD_COUNT];
    double losses[SHARD_COUNT];
    int64_t started_ns;
    uint64_t seed;

    /* Written by lane 0 between barriers, read by all after them. */
    uint64_t step; /* from 1 */
    double progress, rate;
    bool stop, diverged, cancelled;

    struct lock lock;
    struct trainer_news news; /* guarded by lock */
    int64_t news_ns;          /* polling thread only */
};

/* ---------------------------------------------------------------- sizes */

static size_t shard_windows(const struct member *member, size_t shard)
{
    size_t batch = (size_t)member->config.batch;
    return batch / SHARD_COUNT + (shard < batch % SHARD_COUNT ? 1 : 0);
}

static enum status measure(const struct member *member, size_t windows, struct tape_size *size,
                           struct error *error)
{
    struct tape tape;
    enum status status = tape_measure(&tape, TAPE_TRAIN, &member->params, error);
    if (status != STATUS_OK) {
        return status;
    }
    struct network_batch batch;
    network_inputs(member, &tape, windows, &batch);
    struct tensor *output = network_forward(member, &tape, &batch);
    tape_backward(&tape, network_loss(member, &tape, &batch, output, 1));
    *size = tape_size(&tape);
    tape_release(&tape);
    return STATUS_OK;
}

/* The largest micro-batch whose tapes fit, for SHARD_COUNT tapes whatever the lanes are: the result
 * must not depend on them. */
static enum status choose_micro_batch(struct trainer *trainer, struct tape_size *size,
                                      struct error *error)
{
    size_t windows = shard_windows(trainer->member, 0);
    for (;;) {
        enum status status = measure(trainer->member, windows, size, error);
        if (status != STATUS_OK) {
            return status;
        }
        size_t bytes = tape_size_bytes(size);
        if (bytes * SHARD_COUNT <= trainer->request->memory_max) {
            trainer->micro = windows;
            trainer->tape_bytes = bytes;
            return STATUS_OK;
        }
        if (windows == 1) {
            error_set(error, STATUS_NO_MEMORY,
                      "cannot train within %zu bytes: one window of %zu tokens needs %zu",
                      trainer->request->memory_max, trainer->member->tokens, bytes * SHARD_COUNT);
            return error_hint(error, "Raise train.memory or choose a smaller model.");
        }
        windows = (windows + 1) / 2;
    }
}

static void trainer_clear(struct trainer *trainer)
{
    for (size_t i = 0; i < trainer->tape_count; i++) {
        tape_release(&trainer->tapes[i]);
    }
    mem_free(trainer->tapes);
    for (size_t i = 0; i < SHARD_COUNT; i++) {
        mem_free(trainer->slabs[i]);
    }
    optimizer_release(&trainer->optimizer);
    streams_release(&trainer->streams);
    window_sampler_release(&trainer->sampler);
    lock_release_memory(&trainer->lock);
}

static enum status make_memory(struct trainer *trainer, struct error *error)
{
    const struct member_config *config = &trainer->member->config;
    struct tape_size size;
    enum status status = choose_micro_batch(trainer, &size, error);
    if (status != STATUS_OK) {
        return status;
    }
    size_t lanes = trainer->request->lanes;
    trainer->tapes = mem_zeroed(lanes, sizeof(struct tape));
    if (trainer->tapes == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not make the tapes of training");
    }
    for (; trainer->tape_count < lanes; trainer->tape_count++) {
        status = tape_init(&trainer->tapes[trainer->tape_count], &size, error);
        if (status != STATUS_OK) {
            return status;
        }
    }
    for (size_t i = 0; i < SHARD_COUNT; i++) {
        trainer->slabs[i] = params_slab_new(&trainer->member->params);
        if (trainer->slabs[i] == NULL) {
            return error_set(error, STATUS_NO_MEMORY, "could not make the gradients of training");
        }
    }
    struct optimizer_schedule schedule = {
        .rate = config->rate,
        .warmup_share = WARMUP_SHARE,
        .warmup_steps = WARMUP_STEPS,
        .decay = config->decay,
        .beta2 = config->beta2,
        .average = config->average,
        .clip = CLIP_NORM,
    };
    status = optimizer_init(&trainer->optimizer, &trainer->member->params, &schedule, error);
    if (status != STATUS_OK) {
        return status;
    }
    status = window_sampler_init(&trainer->sampler, trainer->request->set, trainer->member, error);
    if (status == STATUS_OK && trainer->member->backbone->recurrent) {
        status = streams_init(&trainer->streams, &trainer->sampler, SHARD_COUNT,
                              shard_windows(trainer->member, 0), error);
    }
    return status;
}

/* ---------------------------------------------------------------- the skip's first weights */

/* Absolute scaled errors of the candidates (last value, lags, means) at each step of the horizon.
 */
static void add_candidate_errors(const struct network_batch *batch, const struct member *member,
                                 double *errors, double *seen)
{
    size_t horizon = member->horizon;
    size_t candidates = member->skip_count + 1;
    size_t context = member->shape.context;
    for (size_t row = 0; row < batch->count; row++) {
        for (size_t h = 0; h < horizon; h++) {
            if (!(batch->weight->data[row * horizon + h] > 0)) {
                continue;
            }
            double target = (double)batch->target->data[row * horizon + h];
            seen[h] += 1.0;
            double last = (double)batch->context->data[row * context + context - 1];
            errors[h] += fmin(fabs(last - target), SKIP_ERROR_MAX);
            for (size_t n = 1; n < candidates; n++) {
                size_t at = (row * member->skip_count + n - 1) * horizon + h;
                double value = (double)batch->lags->data[at];
                errors[n * horizon + h] += fmin(fabs(value - target), SKIP_ERROR_MAX);
            }
        }
    }
}

/* Whether a candidate has a weight at first. A mean of seasons that is worse than one of the single
 * values would only take weight from them; training may still find one for it. */
static bool weighs_at_first(const struct member *member, const double *errors, size_t n, size_t h)
{
    double own = errors[n * member->horizon + h];
    for (size_t single = 0; single <= member->lag_count && n > member->lag_count; single++) {
        if (own >= errors[single * member->horizon + h]) {
            return false;
        }
    }
    return true;
}

static void set_skip(struct member *member, const double *errors, const double *seen)
{
    size_t horizon = member->horizon;
    size_t context = member->shape.context;
    real *from_context = member->weights + member->params.items[member->skip_context].offset;
    for (size_t h = 0; h < horizon; h++) {
        double total = 0.0;
        for (size_t pass = 0; pass < 2; pass++) {
            for (size_t n = 0; n <= member->skip_count; n++) {
                double error = errors[n * horizon + h] / fmax(1.0, seen[h]) + 1e-4;
                double weight =
                    weighs_at_first(member, errors, n, h) ? pow(error, -SKIP_POWER) : 0.0;
                if (pass == 0) {
                    total += weight;
                } else if (n == 0) {
                    from_context[h * context + context - 1] = (real)(weight / total);
                } else {
                    size_t offset = member->params.items[member->skip_lags].offset;
                    member->weights[offset + (n - 1) * horizon + h] = (real)(weight / total);
                }
            }
        }
    }
}

/* The linear skip begins as the mean of last value, lags and means, weighted by how well each did.
 */
static enum status start_skip(struct trainer *trainer, struct error *error)
{
    struct member *member = trainer->member;
    if (!member->config.skip || member->config.head != HEAD_QUANTILE) {
        return STATUS_OK;
    }
    size_t horizon = member->horizon;
    double *errors = mem_zeroed((member->skip_count + 2) * horizon, sizeof(double));
    if (errors == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not start the linear skip");
    }
    double *seen = errors + (member->skip_count + 1) * horizon;
    struct random random;
    random_init(&random, trainer->seed, STREAM_SKIP);
    struct tape *tape = &trainer->tapes[0];
    for (size_t done = 0; done < SKIP_WINDOWS; done += trainer->micro) {
        tape_begin(tape, TAPE_TRAIN, &member->params, member->weights, NULL, 0, 0);
        struct network_batch batch;
        network_inputs(member, tape, trainer->micro, &batch);
        for (size_t row = 0; row < trainer->micro; row++) {
            window_load(&trainer->sampler, window_draw(&trainer->sampler, &random), &batch, row);
        }
        add_candidate_errors(&batch, member, errors, seen);
    }
    set_skip(member, errors, seen);
    mem_free(errors);
    return STATUS_OK;
}

/* ---------------------------------------------------------------- lanes */

/* Fills a batch with rows done, done + 1 ... of a shard: windows drawn anew, or the next ones of
 * its streams. */
static void load_batch(struct trainer *trainer, size_t shard, size_t done, struct random *random,
                       struct network_batch *batch)
{
    const struct window_sampler *sampler = &trainer->sampler;
    if (!trainer->member->backbone->recurrent) {
        for (size_t row = 0; row < batch->count; row++) {
            window_load(sampler, window_draw(sampler, random), batch, row);
        }
        windows_mix(sampler, batch, random);
        return;
    }
    for (size_t row = 0; row < batch->count; row++) {
        struct window_place place = streams_next(&trainer->streams, shard, done + row, random);
        window_load(sampler, place, batch, row);
    }
    batch->memory = streams_memory(&trainer->streams, shard, done);
}

static void run_shard(struct trainer *trainer, struct tape *tape, size_t shard)
{
    struct member *member = trainer->member;
    size_t windows = shard_windows(member, shard);
    bool gaussian = member->config.head == HEAD_GAUSSIAN;
    double terms = (double)member->config.batch *
                   (gaussian ? (double)member->tokens : (double)(member->horizon * QUANTILE_COUNT));
    real factor = (real)((gaussian ? 1.0 : 2.0) / terms);
    struct random random;
    uint64_t stream = trainer->step * SHARD_COUNT + shard;
    random_init(&random, trainer->seed, stream);
    memset(trainer->slabs[shard], 0, member->params.size * sizeof(real));
    double loss = 0.0;
    for (size_t done = 0; done < windows;) {
        size_t part = windows - done < trainer->micro ? windows - done : trainer->micro;
        tape_begin(tape, TAPE_TRAIN, &member->params, member->weights, trainer->slabs[shard],
                   trainer->seed, stream * 4096 + done);
        struct network_batch batch;
        network_inputs(member, tape, part, &batch);
        load_batch(trainer, shard, done, &random, &batch);
        struct tensor *output = network_forward(member, tape, &batch);
        struct tensor *total = network_loss(member, tape, &batch, output, factor);
        loss += (double)total->data[0];
        tape_backward(tape, total);
        done += part;
    }
    trainer->losses[shard] = loss;
}

/* Lane 0: whether to stop, how far we are, and the rate of the step to come. */
static void decide(struct trainer *trainer)
{
    const struct trainer_request *request = trainer->request;
    double seconds = (double)(clock_monotonic_ns() - trainer->started_ns) * 1e-9;
    double progress = request->steps > 0 ? (double)trainer->step / (double)request->steps
                                         : seconds / request->seconds;
    if (request->steps == 0 && request->steps_max > 0) {
        progress = fmax(progress, (double)trainer->step / (double)request->steps_max);
    }
    trainer->progress = fmin(1.0, progress);
    trainer->cancelled = request->cancel != NULL && atomic_load(request->cancel);
    trainer->stop = trainer->cancelled || trainer->diverged || progress >= 1.0;
    trainer->step++;
    trainer->rate = optimizer_rate(&trainer->optimizer.schedule, trainer->step, trainer->progress);
}

/* Lane 0, after the shards: the batch's loss into the news. */
static void note_loss(struct trainer *trainer, double norm)
{
    double loss = 0.0;
    for (size_t i = 0; i < SHARD_COUNT; i++) {
        loss += trainer->losses[i];
    }
    trainer->diverged = !isfinite(loss) || !isfinite(norm);
    lock_acquire(&trainer->lock);
    double memory = trainer->step < 50 ? 1.0 - 1.0 / (double)trainer->step : LOSS_MEMORY;
    double before = isnan(trainer->news.loss) ? loss : trainer->news.loss;
    trainer->news.loss = memory * before + (1.0 - memory) * loss;
    trainer->news.step = trainer->step;
    trainer->news.progress = trainer->progress;
    lock_release(&trainer->lock);
}

/* Parameters [from, to) of one lane: about the same number of values each. */
static size_t range_start(const struct params *params, size_t lane, size_t lanes)
{
    size_t wanted = params->size / lanes * lane;
    size_t i = 0;
    while (i < params->count && params->items[i].offset < wanted) {
        i++;
    }
    return lane == lanes ? params->count : i;
}

static void work(void *context, struct lanes *lanes, size_t lane)
{
    struct trainer *trainer = context;
    const struct params *params = &trainer->member->params;
    const struct backbone_model *backbone = trainer->member->backbone;
    real *weights = trainer->member->weights;
    size_t from = range_start(params, lane, lanes->count);
    size_t to = range_start(params, lane + 1, lanes->count);
    for (;;) {
        if (lane == 0) {
            decide(trainer);
        }
        lanes_wait(lanes);
        if (trainer->stop) {
            break;
        }
        uint64_t step = trainer->step; /* lane 0 moves on while others still update */
        double rate = trainer->rate;
        if (backbone->backbone->refresh != NULL) {
            struct backbone_moment moment = {trainer->seed, step, trainer->progress};
            if (lane == 0) {
                backbone_refresh(backbone, params, weights, &moment);
            }
            lanes_wait(lanes);
        }
        for (size_t shard = lane; shard < SHARD_COUNT; shard += lanes->count) {
            run_shard(trainer, &trainer->tapes[lane], shard);
        }
        lanes_wait(lanes);
        optimizer_gather(&trainer->optimizer, trainer->slabs, SHARD_COUNT, from, to);
        lanes_wait(lanes);
        double norm = optimizer_norm(&trainer->optimizer);
        if (lane == 0) {
            note_loss(trainer, norm);
        }
        if (isfinite(norm)) {
            optimizer_step(&trainer->optimizer, weights, trainer->slabs[0], norm, step, rate, from,
                           to);
        }
        if (backbone->backbone->settle != NULL) {
            lanes_wait(lanes);
            if (lane == 0) {
                backbone_settle(backbone, params, weights);
            }
        }
    }
}

static void poll(void *context)
{
    struct trainer *trainer = context;
    int64_t now_ns = clock_monotonic_ns();
    if (trainer->request->news == NULL || now_ns - trainer->news_ns < NEWS_MS * INT64_C(1000000)) {
        return;
    }
    trainer->news_ns = now_ns;
    lock_acquire(&trainer->lock);
    struct trainer_news news = trainer->news;
    lock_release(&trainer->lock);
    trainer->request->news(trainer->request->context, &news);
}

/* ---------------------------------------------------------------- runs */

static enum status run_once(struct trainer *trainer, double rate_factor, struct error *error)
{
    struct member *member = trainer->member;
    member_initialise(member, trainer->seed);
    enum status status = start_skip(trainer, error);
    if (status != STATUS_OK) {
        return status;
    }
    optimizer_start(&trainer->optimizer, member->weights);
    streams_restart(&trainer->streams);
    trainer->optimizer.schedule.rate = member->config.rate * rate_factor;
    trainer->step = 0;
    trainer->stop = false;
    trainer->diverged = false;
    trainer->cancelled = false;
    trainer->news = (struct trainer_news){.loss = (double)NAN};
    struct lanes_job job = {
        .count = trainer->request->lanes,
        .low_priority = trainer->request->low_priority,
        .work = work,
        .poll = poll,
        .context = trainer,
    };
    status = lanes_run(&job, error);
    if (status == STATUS_OK && trainer->cancelled) {
        status = error_set(error, STATUS_CANCELLED, "training was cancelled");
    }
    return status;
}

static bool slab_finite(const struct params *params, const real *slab)
{
    for (size_t i = 0; i < params->size; i++) {
        if (!isfinite(slab[i])) {
            return false;
        }
    }
    return true;
}

enum status trainer_run(const struct trainer_request *request, struct trainer_result *result,
                        struct error *error)
{
    CHECK(request->lanes >= 1 && request->lanes <= LANES_MAX);
    CHECK(request->steps > 0 || request->seconds > 0.0);
    struct trainer trainer = {.request = request,
                              .member = request->member,
                              .seed = request->seed,
                              .started_ns = clock_monotonic_ns()};
    const struct params *params = &request->member->params;
    lock_init(&trainer.lock);
    enum status status = blas_check((unsigned)request->lanes, error);
    if (status == STATUS_OK && request->member->weights == NULL) {
        status = member_make_weights(request->member, error);
    }
    if (status == STATUS_OK) {
        status = make_memory(&trainer, error);
    }
    if (status == STATUS_OK) {
        status = run_once(&trainer, 1.0, error);
    }
    bool good =
        !trainer.diverged && status == STATUS_OK && slab_finite(params, trainer.optimizer.average);
    if (status == STATUS_OK && !good) {
        status = run_once(&trainer, RETRY_RATE, error);
        good = !trainer.diverged && status == STATUS_OK &&
               slab_finite(params, trainer.optimizer.average);
    }
    if (status == STATUS_OK && !good) {
        status = error_set(error, STATUS_INTERNAL,
                           "training diverged at step %llu: the loss is not finite",
                           (unsigned long long)trainer.step);
    }
    if (status == STATUS_OK) {
        memcpy(request->member->weights, trainer.optimizer.average, params->size * sizeof(real));
        /* The average has seen the weights before they were settled. */
        backbone_settle(request->member->backbone, params, request->member->weights);
        uint64_t steps = trainer.step - 1;
        *result = (struct trainer_result){
            .steps = steps,
            .windows = steps * (uint64_t)request->member->config.batch,
            .loss = trainer.news.loss,
            .seconds = (double)(clock_monotonic_ns() - trainer.started_ns) * 1e-9,
            .micro_batch = trainer.micro,
            .tape_bytes = trainer.tape_bytes,
        };
    }
    trainer_clear(&trainer);
    return status;
}
