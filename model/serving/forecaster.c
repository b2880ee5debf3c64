/* Forecasts from a snapshot: members run in batches, are averaged, calibrated and bounded.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Everything is allocated when the workspace is made. Series are taken in chunks; for each chunk
 * every member runs once on the tape, its quantiles are brought back to the series' units and
 * sorted; then comes the trimmed mean of the members, the blend with baselines where the snapshot
 * has any, the rule for flat stretches, and the calibrated spread around the median. Beyond the
 * trained horizon the median is appended to the history and the next block is forecast from there;
 * its spread grows with the root of the number of blocks, because the error of the blocks before is
 * carried on.
 *
 * A recurrent member first runs over the windows before the newest one, oldest first, in the newest
 * one's scale, so that its memory is full where the history reaches that far.
 */
#include "base/check.h"
#include "base/memory.h"
#include "model/forecast.h"
#include "model/serving/flat.h"
#include "model/serving/paths.h"
#include "model/snapshot.h"
#include "model/tape/blas.h"

#include <math.h>
#include <string.h>

#define CHUNK_MAX           32    /* series on the tape at once */
#define BASELINE_VALUES_MIN 1024  /* newest values that a blended baseline sees, at least, */
#define BASELINE_SEASONS    18    /* or so many of its seasons, */
#define BASELINE_VALUES_MAX 65536 /* at most */
#define STATISTICS_MIN      8192 /* newest values that a series' own spread is taken from, at least */

#define PRIMED_MIN 2 /* values that a window before the newest one must reach */

struct forecaster {
    const struct snapshot *snapshot;
    size_t chunk;
    size_t reach; /* values of history that a block needs */
    struct tape tape;
    double *history;        /* [chunk][reach + H]: for blocks after the first */
    double *sums;           /* [chunk][H][Q] in the series' units */
    double *levels;         /* [members][chunk][H][Q] */
    size_t baseline_values; /* newest values that a blended baseline looks at */
    double *scratch;        /* [4 * baseline_values] */
    struct forecast baseline;
    double *mixed; /* [H][Q] of the row's baselines, by their shares */
    struct paths paths[MEMBERS_MAX];
    struct window_source sources[CHUNK_MAX];
    struct window_scale scales[CHUNK_MAX];
    struct flat_stretch flats[CHUNK_MAX];
    bool alone[CHUNK_MAX]; /* baselines forecast the row: the band is theirs */
    unsigned char *memory; /* of recurrent members, [chunk] */
};

/* ---------------------------------------------------------------- memory */

static enum status measure_member(const struct member *member, size_t rows, struct tape_size *size,
                                  struct error *error)
{
    if (member->config.head == HEAD_GAUSSIAN) {
        return paths_measure(member, size, error);
    }
    struct tape tape;
    enum status status = tape_measure(&tape, TAPE_INFER, &member->params, error);
    if (status != STATUS_OK) {
        return status;
    }
    struct network_batch batch;
    network_inputs(member, &tape, rows, &batch);
    (void)network_forward(member, &tape, &batch);
    *size = tape_size(&tape);
    tape_release(&tape);
    return STATUS_OK;
}

static enum status make_tape(struct forecaster *forecaster, struct error *error)
{
    struct tape_size largest = {0, 0, 0};
    size_t memory = 0;
    for (size_t i = 0; i < forecaster->snapshot->member_count; i++) {
        const struct member *member = forecaster->snapshot->members[i];
        struct tape_size size;
        enum status status = measure_member(member, forecaster->chunk, &size, error);
        if (status != STATUS_OK) {
            return status;
        }
        largest = tape_size_max(largest, size);
        size_t bytes = member_primes(member) > 0 ? backbone_memory_bytes(member->backbone) : 0;
        memory = bytes > memory ? bytes : memory;
    }
    if (memory > 0) {
        forecaster->memory = mem_array_aligned(forecaster->chunk, memory);
        if (forecaster->memory == NULL) {
            return error_set(error, STATUS_NO_MEMORY, "could not make a forecaster's memory");
        }
    }
    return tape_init(&forecaster->tape, &largest, error);
}

void forecaster_free(struct forecaster *forecaster)
{
    if (forecaster == NULL) {
        return;
    }
    tape_release(&forecaster->tape);
    mem_free(forecaster->memory);
    for (size_t i = 0; i < MEMBERS_MAX; i++) {
        paths_release(&forecaster->paths[i]);
    }
    mem_free(forecaster->history);
    mem_free(forecaster->sums);
    mem_free(forecaster->levels);
    mem_free(forecaster->scratch);
    mem_free(forecaster->mixed);
    mem_free(forecaster->baseline.quantiles);
    mem_free(forecaster->baseline.mean);
    mem_free(forecaster);
}

static size_t baseline_values(const struct snapshot *snapshot)
{
    size_t longest = blend_longest_season(&snapshot->blend);
    for (size_t i = 0; i < SEASONS_MAX; i++) {
        longest = snapshot->seasons[i] > longest ? snapshot->seasons[i] : longest;
    }
    size_t wanted = BASELINE_SEASONS * longest;
    wanted = wanted < BASELINE_VALUES_MAX ? wanted : BASELINE_VALUES_MAX;
    return wanted > BASELINE_VALUES_MIN ? wanted : BASELINE_VALUES_MIN;
}

size_t snapshot_values(const struct snapshot *snapshot)
{
    size_t context = snapshot_context(snapshot), baseline = baseline_values(snapshot);
    return context > baseline ? context : baseline;
}

enum status forecaster_new(const struct snapshot *snapshot, size_t batch_max,
                           struct forecaster **out, struct error *error)
{
    CHECK(batch_max > 0);
    /* Forecasters of several threads run at once. */
    enum status status = blas_check(2, error);
    if (status != STATUS_OK) {
        return status;
    }
    struct forecaster *forecaster = mem_zeroed(1, sizeof(*forecaster));
    if (forecaster == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not make a forecaster");
    }
    size_t horizon = snapshot->plan.horizon;
    forecaster->snapshot = snapshot;
    forecaster->chunk = batch_max < CHUNK_MAX ? batch_max : CHUNK_MAX;
    forecaster->reach = snapshot_context(snapshot);
    forecaster->history =
        mem_zeroed(forecaster->chunk * (forecaster->reach + horizon), sizeof(double));
    forecaster->sums = mem_zeroed(forecaster->chunk * horizon * QUANTILE_COUNT, sizeof(double));
    forecaster->levels = mem_zeroed(
        snapshot->member_count * forecaster->chunk * horizon * QUANTILE_COUNT, sizeof(double));
    forecaster->baseline_values = baseline_values(snapshot);
    forecaster->scratch = mem_zeroed(4 * forecaster->baseline_values, sizeof(double));
    forecaster->mixed = mem_zeroed(horizon * QUANTILE_COUNT, sizeof(double));
    forecaster->baseline.horizon = horizon;
    forecaster->baseline.mean = mem_zeroed(horizon, sizeof(float));
    forecaster->baseline.quantiles = mem_zeroed(horizon * QUANTILE_COUNT, sizeof(float));
    if (forecaster->history == NULL || forecaster->sums == NULL || forecaster->levels == NULL ||
        forecaster->scratch == NULL || forecaster->mixed == NULL ||
        forecaster->baseline.mean == NULL || forecaster->baseline.quantiles == NULL) {
        status = error_set(error, STATUS_NO_MEMORY, "could not make a forecaster");
    }
    for (size_t i = 0; i < snapshot->member_count && status == STATUS_OK; i++) {
        if (snapshot->members[i]->config.head == HEAD_GAUSSIAN) {
            status = paths_init(&forecaster->paths[i], snapshot->members[i], error);
        }
    }
    if (status == STATUS_OK) {
        status = make_tape(forecaster, error);
    }
    if (status != STATUS_OK) {
        forecaster_free(forecaster);
        return status;
    }
    *out = forecaster;
    return STATUS_OK;
}

/* ---------------------------------------------------------------- one block */

/* Ascending, in place: quantiles of a trained network cross now and then. */
static void sort_levels(double level[QUANTILE_COUNT])
{
    for (size_t i = 1; i < QUANTILE_COUNT; i++) {
        double moving = level[i];
        size_t at = i;
        for (; at > 0 && level[at - 1] > moving; at--) {
            level[at] = level[at - 1];
        }
        level[at] = moving;
    }
}

/* The levels of one member at one row and step, in the series' units. */
static double *levels_of(struct forecaster *forecaster, size_t index, size_t row, size_t step)
{
    size_t horizon = forecaster->snapshot->plan.horizon;
    return forecaster->levels +
           ((index * forecaster->chunk + row) * horizon + step) * QUANTILE_COUNT;
}

/* The windows that end `back` steps before the origins, over the member's memory: [B, H, Q]. */
static const struct tensor *run_windows(struct forecaster *forecaster, const struct member *member,
                                        size_t rows, size_t back)
{
    struct tape *tape = &forecaster->tape;
    tape_begin(tape, TAPE_INFER, &member->params, member->weights, NULL, 0, 0);
    struct network_batch batch;
    network_inputs(member, tape, rows, &batch);
    batch.memory = member_primes(member) > 0 ? forecaster->memory : NULL;
    for (size_t row = 0; row < rows; row++) {
        struct window_source source = forecaster->sources[row];
        size_t moved = back < source.origin ? back : source.origin;
        source.origin -= moved;
        source.known -= moved;
        source.origin_step -= (int64_t)moved;
        struct window_inputs inputs = network_row(member, &batch, row);
        window_fill(&forecaster->snapshot->plan, &member->shape, &source, &forecaster->scales[row],
                    &inputs);
    }
    return network_forward(member, tape, &batch);
}

/* Fills the memory from the windows before the newest ones. A row whose history does not reach into
 * a window forgets what that window was: its memory stays empty, as at the start of a stream. */
static void prime_memory(struct forecaster *forecaster, const struct member *member, size_t rows)
{
    size_t bytes = backbone_memory_bytes(member->backbone);
    memset(forecaster->memory, 0, rows * bytes);
    for (size_t before = member_primes(member); before > 0; before--) {
        size_t back = before * member->shape.context;
        (void)run_windows(forecaster, member, rows, back);
        for (size_t row = 0; row < rows; row++) {
            if (forecaster->sources[row].origin < back + PRIMED_MIN) {
                memset(forecaster->memory + row * bytes, 0, bytes);
            }
        }
    }
}

static void run_direct(struct forecaster *forecaster, size_t index, size_t rows)
{
    const struct snapshot *snapshot = forecaster->snapshot;
    const struct member *member = snapshot->members[index];
    size_t horizon = snapshot->plan.horizon;
    for (size_t row = 0; row < rows; row++) {
        forecaster->scales[row] = window_scale(&member->shape, &forecaster->sources[row]);
    }
    if (member_primes(member) > 0) {
        prime_memory(forecaster, member, rows);
    }
    const struct tensor *output = run_windows(forecaster, member, rows, 0);
    for (size_t row = 0; row < rows; row++) {
        for (size_t h = 0; h < horizon; h++) {
            const real *scaled = output->data + (row * horizon + h) * QUANTILE_COUNT;
            double *level = levels_of(forecaster, index, row, h);
            for (size_t q = 0; q < QUANTILE_COUNT; q++) {
                level[q] = window_restored(&forecaster->scales[row], (double)scaled[q]);
            }
            sort_levels(level);
        }
    }
}

/* Mean of the members' values of one level: without the smallest and the largest where there are
 * three or more, so that one member gone wrong does no harm. */
static double trimmed_mean(const double *values, size_t count)
{
    double sum = 0.0;
    double low = values[0];
    double high = values[0];
    for (size_t i = 0; i < count; i++) {
        sum += values[i];
        low = fmin(low, values[i]);
        high = fmax(high, values[i]);
    }
    return count < 3 ? sum / (double)count : (sum - low - high) / (double)(count - 2);
}

static void combine_row(struct forecaster *forecaster, size_t row)
{
    size_t horizon = forecaster->snapshot->plan.horizon;
    size_t count = forecaster->snapshot->member_count;
    double floor = forecaster->sources[row].statistics.non_negative ? 0.0 : -HUGE_VAL;
    for (size_t h = 0; h < horizon; h++) {
        double *out = forecaster->sums + (row * horizon + h) * QUANTILE_COUNT;
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            double values[MEMBERS_MAX];
            for (size_t i = 0; i < count; i++) {
                double value = levels_of(forecaster, i, row, h)[q];
                values[i] = value < floor ? floor : value; /* NaN stays, and is seen */
            }
            out[q] = trimmed_mean(values, count);
        }
        sort_levels(out);
    }
}

/* One part's quantiles from the newest part of the history, by its share into `mixed`; false where
 * the baseline cannot. */
static bool add_part(struct forecaster *forecaster, const struct blend_part *part,
                     const struct model_series *newest)
{
    struct model_series seen = *newest;
    if (part->season > 0) {
        memset(seen.seasons, 0, sizeof(seen.seasons));
        seen.seasons[0] = part->season;
    }
    struct forecast *out = &forecaster->baseline;
    if (!baseline_forecast(part->baseline, &seen, forecaster->scratch, out)) {
        return false;
    }
    for (size_t h = 0; h < out->horizon; h++) {
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            double value = (double)out->quantiles[q * out->horizon + h];
            forecaster->mixed[h * QUANTILE_COUNT + q] += (double)part->share * value;
        }
    }
    return true;
}

/* Mixes baselines in; the share of one that cannot stays with the model. */
static void add_baselines(struct forecaster *forecaster, const struct model_series *series,
                          size_t row)
{
    const struct blend_mixture *mixture = blend_of(&forecaster->snapshot->blend, series->key);
    const struct window_source *source = &forecaster->sources[row];
    size_t values = forecaster->snapshot->plan.horizon * QUANTILE_COUNT;
    size_t used = forecaster->baseline_values;
    used = source->origin < used ? source->origin : used;
    struct model_series newest = *series;
    newest.values = source->values + source->origin - used;
    newest.count = used;
    newest.start_ms =
        (source->origin_step - (int64_t)used) * series->step_ms + source->phase_ms; /* local time */
    double share = 0.0;
    memset(forecaster->mixed, 0, values * sizeof(double));
    for (size_t i = 0; i < BLEND_PARTS && mixture->parts[i].share > 0.0f; i++) {
        bool made = add_part(forecaster, &mixture->parts[i], &newest);
        share += made ? (double)mixture->parts[i].share : 0.0;
    }
    forecaster->alone[row] = share >= BLEND_ALONE;
    double own = forecaster->alone[row] ? 0.0 : 1.0 - share;
    double *sums = forecaster->sums + row * values;
    for (size_t i = 0; i < values; i++) {
        sums[i] = own * sums[i] + forecaster->mixed[i];
    }
}

/* What stands still goes on so; but where baselines alone were best, they know what comes. */
static void stand_still(struct forecaster *forecaster, size_t row)
{
    size_t horizon = forecaster->snapshot->plan.horizon;
    for (size_t h = 0; h < horizon; h++) {
        flat_levels(&forecaster->flats[row],
                    forecaster->sums + (row * horizon + h) * QUANTILE_COUNT);
    }
}

static void run_block(struct forecaster *forecaster, const struct model_series *series, size_t rows)
{
    const struct snapshot *snapshot = forecaster->snapshot;
    for (size_t i = 0; i < snapshot->member_count; i++) {
        if (snapshot->members[i]->config.head == HEAD_QUANTILE) {
            run_direct(forecaster, i, rows);
            continue;
        }
        for (size_t row = 0; row < rows; row++) {
            paths_run(&forecaster->paths[i], &forecaster->tape, &snapshot->plan,
                      &forecaster->sources[row], levels_of(forecaster, i, row, 0));
        }
    }
    for (size_t row = 0; row < rows; row++) {
        combine_row(forecaster, row);
        add_baselines(forecaster, &series[row], row);
        if (!forecaster->alone[row]) {
            stand_still(forecaster, row);
        }
    }
}

/* One row of a block into the caller's forecast, spread calibrated and widened. */
static void write_block(const struct forecaster *forecaster, size_t row, size_t block,
                        struct forecast *out)
{
    const struct snapshot *snapshot = forecaster->snapshot;
    size_t horizon = snapshot->plan.horizon;
    size_t from = block * horizon;
    double widening = sqrt(1.0 + (double)block);
    for (size_t h = 0; h < horizon && from + h < out->horizon; h++) {
        const double *level = forecaster->sums + (row * horizon + h) * QUANTILE_COUNT;
        double median = level[QUANTILE_MEDIAN];
        float *column = out->quantiles + from + h;
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            double trained = (double)snapshot->spread[q * horizon + h];
            double spread = widening * (forecaster->alone[row] ? 1.0 : trained);
            column[q * out->horizon] = (float)(median + spread * (level[q] - median));
        }
        out->mean[from + h] = column[QUANTILE_MEDIAN * out->horizon];
    }
}

/* ---------------------------------------------------------------- blocks beyond the first */

/* History of a row for block 1: the newest `reach` values, then the medians of block 0; for later
 * blocks everything moves up by one horizon. */
static void extend_history(struct forecaster *forecaster, const struct model_series *series,
                           size_t row, size_t block)
{
    size_t horizon = forecaster->snapshot->plan.horizon;
    size_t reach = forecaster->reach;
    double *history = forecaster->history + row * (reach + horizon);
    struct window_source *source = &forecaster->sources[row];
    if (block == 0) {
        size_t used = series->count < reach ? series->count : reach;
        for (size_t i = 0; i < reach - used; i++) {
            history[i] = (double)NAN;
        }
        memcpy(history + reach - used, series->values + series->count - used,
               used * sizeof(double));
    } else {
        memmove(history, history + horizon, reach * sizeof(double));
    }
    const double *sums = forecaster->sums + row * horizon * QUANTILE_COUNT;
    for (size_t h = 0; h < horizon; h++) {
        history[reach + h] = sums[h * QUANTILE_COUNT + QUANTILE_MEDIAN];
    }
    source->values = history;
    source->origin = reach + horizon;
    source->known = reach + horizon;
    source->origin_step += (int64_t)horizon;
}

/* ---------------------------------------------------------------- chunks */

static enum status start_row(struct forecaster *forecaster, const struct model_series *series,
                             size_t row, struct error *error)
{
    size_t seen = 0;
    for (size_t i = series->count; i > 0 && seen < 2; i--) {
        seen += isnan(series->values[i - 1]) ? 0 : 1;
    }
    if (seen < 2) {
        error_set(error, STATUS_INVALID, "cannot forecast a series with fewer than two values");
        return error_code(error, "insufficient_history", NULL);
    }
    if (series->step_ms != forecaster->snapshot->plan.step_ms) {
        return error_set(error, STATUS_INVALID,
                         "cannot forecast a series of step %lld ms with a model of step %lld ms",
                         (long long)series->step_ms, (long long)forecaster->snapshot->plan.step_ms);
    }
    size_t used = forecaster->reach > STATISTICS_MIN ? forecaster->reach : STATISTICS_MIN;
    used = used < series->count ? used : series->count;
    forecaster->sources[row] = (struct window_source){
        .values = series->values,
        .known = series->count,
        .origin = series->count,
        .origin_step = series->start_ms / series->step_ms + (int64_t)series->count,
        .phase_ms = grid_phase(series),
        .zone = time_zone_or_utc(series->time_zone),
        .statistics = series_statistics(series->values + series->count - used, used),
    };
    /* What the model sees is a part of what is known: a mild week says nothing of a winter. */
    struct series_statistics *statistics = &forecaster->sources[row].statistics;
    bool negative = series->was_negative;
    for (size_t i = 0; statistics->non_negative && !negative && i < series->count; i++) {
        negative = series->values[i] < 0.0;
    }
    statistics->non_negative = statistics->non_negative && !negative;
    flat_find(series, forecaster->snapshot->plan.horizon, &forecaster->flats[row]);
    return STATUS_OK;
}

/* A model whose numbers are not finite must not look like one that says "the last value". */
static void finish_row(const struct model_series *series, const struct window_source *source,
                       struct forecast *out)
{
    if (!forecast_is_finite(out)) {
        forecast_unknown(out);
        return;
    }
    struct model_series bounds = *series;
    if (source->statistics.non_negative && bounds.minimum < 0.0) {
        bounds.minimum = fmin(0.0, bounds.maximum); /* what never was negative stays so */
    }
    forecast_finish(&bounds, 0.0, out);
}

static enum status run_chunk(struct forecaster *forecaster, const struct model_series *series,
                             size_t rows, struct forecast *out, struct error *error)
{
    size_t horizon = forecaster->snapshot->plan.horizon;
    size_t longest = 0;
    for (size_t row = 0; row < rows; row++) {
        enum status status = start_row(forecaster, &series[row], row, error);
        if (status != STATUS_OK) {
            return status;
        }
        longest = out[row].horizon > longest ? out[row].horizon : longest;
    }
    size_t blocks = (longest + horizon - 1) / horizon;
    for (size_t block = 0; block < blocks; block++) {
        run_block(forecaster, series, rows);
        for (size_t row = 0; row < rows; row++) {
            write_block(forecaster, row, block, &out[row]);
            if (block + 1 < blocks) {
                extend_history(forecaster, &series[row], row, block);
            }
        }
    }
    for (size_t row = 0; row < rows; row++) {
        finish_row(&series[row], &forecaster->sources[row], &out[row]);
    }
    return STATUS_OK;
}

enum status forecaster_run(struct forecaster *forecaster, const struct model_series *series,
                           size_t count, struct forecast *out, struct error *error)
{
    enum status status = STATUS_OK;
    for (size_t done = 0; done < count && status == STATUS_OK;) {
        size_t rows = count - done < forecaster->chunk ? count - done : forecaster->chunk;
        status = run_chunk(forecaster, series + done, rows, out + done, error);
        done += rows;
    }
    return status;
}
