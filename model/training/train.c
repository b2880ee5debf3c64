/* Training of a whole model: group, plan, members one after another, calibration, record.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The newest origins of every series (recipe.held_back of them) are never trained on: they weigh
 * the members, calibrate the quantiles, fill the record's figures, and feed the gate.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "model/order.h"
#include "model/training/combine.h"
#include "model/training/lanes.h"
#include "model/training/recipe.h"
#include "model/training/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MEMORY_DEFAULT (512u << 20)
#define CLOSING_SHARE                                                                              \
    0.04 /* of the time: calibration and evaluation, before it is known better                     \
          */
#define CLOSING_MAX      15.0  /* seconds */
#define PLACES_A_SECOND  20.0  /* of the budget: held-back origins that are looked at, */
#define PLACES_MIN       128.0 /* at least */
#define LANE_SPEED       40e9  /* operations a second: about half of one core's peak */
#define SEASON_WITNESSES 64    /* series whose seasons are put to the vote of all */
#define SEASON_SUPPORT                                                                             \
    0.5 /* share of the series that must show a season that is not a usual one                     \
         */

struct training {
    const struct train_request *request;
    struct recipe recipe;
    struct recipe_data data;
    struct feature_plan plan;
    struct training_set set;
    struct snapshot *snapshot;
    size_t lanes;
    int64_t started_ns;
    double shares, shares_done; /* of the members */
    double first_cost;          /* operations in a step of the first member */
    char phase[48];
    uint64_t steps, windows;
    double loss;
};

static double seconds_since(int64_t started_ns)
{
    return (double)(clock_monotonic_ns() - started_ns) * 1e-9;
}

/* ---------------------------------------------------------------- the group */

static enum status check_request(const struct train_request *request, struct error *error)
{
    if (request->series_count == 0) {
        return error_set(error, STATUS_INVALID, "cannot train without series");
    }
    if (!(request->seconds > 0.0) && request->steps == 0) {
        return error_set(error, STATUS_INVALID, "cannot train without a budget");
    }
    for (size_t i = 0; i < request->series_count; i++) {
        if (request->series[i].step_ms != request->series[0].step_ms ||
            request->series[i].step_ms <= 0) {
            return error_set(error, STATUS_INVALID,
                             "cannot train series of different steps at once");
        }
    }
    return model_config_check(&request->config, error);
}

/* Length at a share of the series, sorted by length. */
static enum status typical_lengths(struct training *training, struct error *error)
{
    const struct train_request *request = training->request;
    double *lengths = mem_array(request->series_count, sizeof(double));
    if (lengths == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not look at the series");
    }
    for (size_t i = 0; i < request->series_count; i++) {
        lengths[i] = (double)request->series[i].count;
    }
    order_sort(lengths, request->series_count);
    training->data.typical_length = (size_t)order_quantile(lengths, request->series_count, 0.5);
    training->data.shorter_length = (size_t)order_quantile(lengths, request->series_count, 0.25);
    mem_free(lengths);
    return STATUS_OK;
}

/* Adds a season that many series show and that is not there yet, in order of length. */
static void add_season(uint32_t seasons[SEASONS_MAX], uint32_t season)
{
    for (size_t i = 0; i < SEASONS_MAX; i++) {
        if (seasons[i] == season) {
            return;
        }
    }
    for (size_t i = 0; i < SEASONS_MAX; i++) {
        if (seasons[i] == 0 || season < seasons[i]) {
            memmove(seasons + i + 1, seasons + i, (SEASONS_MAX - 1 - i) * sizeof(seasons[0]));
            seasons[i] = season;
            return;
        }
    }
}

/* The usual seasons of the step, and what most of the series agree on. */
static void group_seasons(struct training *training)
{
    const struct train_request *request = training->request;
    uint32_t *seasons = training->data.seasons;
    size_t length = training->data.typical_length;
    feature_usual_seasons(request->series[0].step_ms, length, seasons);
    size_t needed = (size_t)ceil(SEASON_SUPPORT * (double)request->series_count);
    for (size_t i = 0; i < request->series_count && i < SEASON_WITNESSES; i++) {
        for (size_t k = 0; k < SEASONS_MAX; k++) {
            uint32_t season = request->series[i].seasons[k];
            size_t support = 0;
            /* Counted once, at its first series; few distinct seasons make this short. */
            for (size_t j = 0; season > 1 && season * 3 <= length && j < request->series_count;
                 j++) {
                const uint32_t *other = request->series[j].seasons;
                bool has = other[0] == season || other[1] == season || other[2] == season;
                if (has && j < i) {
                    support = 0;
                    break;
                }
                support += has ? 1 : 0;
            }
            if (support >= needed && season <= PERIOD_LENGTH_MAX) {
                add_season(seasons, season);
            }
        }
    }
}

/* ---------------------------------------------------------------- progress */

static void report(struct training *training, double fraction)
{
    const struct train_request *request = training->request;
    if (request->report == NULL) {
        return;
    }
    double elapsed = seconds_since(training->started_ns);
    double left = request->seconds > 0.0 ? request->seconds - elapsed
                  : fraction > 0.01      ? elapsed * (1.0 - fraction) / fraction
                                         : 0.0;
    struct train_progress progress = {
        .fraction = fmin(1.0, fraction),
        .step = training->steps,
        .loss = training->loss,
        .seconds_left = fmax(0.0, left),
        .phase = training->phase,
    };
    request->report(request->report_context, &progress);
}

static void member_news(void *context, const struct trainer_news *news)
{
    struct training *training = context;
    uint64_t before = training->steps;
    double share = training->snapshot->members[training->snapshot->member_count - 1]->config.share;
    training->steps += news->step;
    training->loss = news->loss;
    double members = (training->shares_done + share * news->progress) / training->shares;
    report(training, (1.0 - CLOSING_SHARE) * members);
    training->steps = before;
}

/* ---------------------------------------------------------------- members */

static double closing_seconds(const struct training *training)
{
    return fmin(CLOSING_MAX, CLOSING_SHARE * training->request->seconds);
}

/* Operations of one step, forward and backward: 6 a weight and token. */
static double step_cost(const struct member *member)
{
    return 6.0 * (double)member->params.trained * (double)member->tokens *
           (double)member->config.batch;
}

/* The steps that a member is meant to take: by steps in proportion to its share of time and what a
 * step costs; by time a guess, for deciding whether windows will repeat. */
static uint64_t planned_steps(struct training *training, size_t index, const struct member *member,
                              double seconds)
{
    const struct train_request *request = training->request;
    const struct member_config *config = &training->recipe.members[index];
    double cost = step_cost(member);
    training->first_cost = index == 0 ? cost : training->first_cost;
    if (request->steps > 0) {
        double share = config->share / training->recipe.members[0].share;
        double steps = (double)request->steps * share * training->first_cost / cost;
        return index == 0 ? request->steps : (uint64_t)fmax(1.0, steps);
    }
    double most = (double)recipe_steps_max(config, training->set.windows);
    return (uint64_t)fmin(most, seconds * (double)training->lanes * LANE_SPEED / cost);
}

/* Makes the member; again with dropout and mixing where it will see its windows more than once. */
static enum status make_member(struct training *training, size_t index, double seconds,
                               struct member **member, uint64_t *steps, struct error *error)
{
    struct snapshot *snapshot = training->snapshot;
    struct member_config *config = &training->recipe.members[index];
    enum status status = member_new(config, &snapshot->plan, snapshot->seasons, member, error);
    if (status != STATUS_OK) {
        return status;
    }
    *steps = planned_steps(training, index, *member, seconds);
    if (recipe_repeats(config, training->set.windows, *steps)) {
        member_free(*member);
        *member = NULL;
        recipe_regularise(config);
        status = member_new(config, &snapshot->plan, snapshot->seasons, member, error);
    }
    return status;
}

static enum status train_member(struct training *training, size_t index, struct error *error)
{
    const struct train_request *request = training->request;
    struct snapshot *snapshot = training->snapshot;
    struct member_config *config = &training->recipe.members[index];
    double left =
        request->seconds - closing_seconds(training) - seconds_since(training->started_ns);
    double seconds = fmax(0.05, left * config->share / (training->shares - training->shares_done));
    struct member *member = NULL;
    uint64_t steps = 0;
    enum status status = make_member(training, index, seconds, &member, &steps, error);
    if (status != STATUS_OK) {
        return status;
    }
    snapshot->members[index] = member;
    snapshot->member_count = index + 1;
    snprintf(training->phase, sizeof(training->phase), "member %zu of %zu", index + 1,
             training->recipe.member_count);
    struct trainer_request run = {
        .set = &training->set,
        .member = member,
        .seed = request->seed * MEMBERS_MAX + index,
        .steps = request->steps > 0 ? steps : 0,
        .steps_max = recipe_steps_max(config, training->set.windows),
        .seconds = seconds,
        .lanes = training->lanes,
        .memory_max = request->memory_max > 0 ? request->memory_max : MEMORY_DEFAULT,
        .low_priority = request->low_priority,
        .cancel = request->cancel,
        .news = member_news,
        .context = training,
    };
    struct trainer_result result;
    status = trainer_run(&run, &result, error);
    if (status == STATUS_OK) {
        training->steps += result.steps;
        training->windows = result.windows > training->windows ? result.windows : training->windows;
        training->loss = result.loss;
        training->shares_done += config->share;
    }
    return status;
}

/* ---------------------------------------------------------------- the whole */

static enum status prepare(struct training *training, struct error *error)
{
    const struct train_request *request = training->request;
    training->plan.step_ms = request->series[0].step_ms;
    training->plan.horizon = request->config.horizon;
    training->data.horizon = request->config.horizon;
    training->data.series_count = request->series_count;
    training->data.seconds = request->steps > 0 ? 0.0 : request->seconds;
    enum status status = typical_lengths(training, error);
    if (status != STATUS_OK) {
        return status;
    }
    group_seasons(training);
    feature_plan_choose(&training->plan, training->data.seasons, training->data.typical_length);
    size_t held_back = recipe_held_back(&training->data);
    status =
        training_set_init(&training->set, &training->plan, request->series, request->series_count,
                          held_back * training->plan.horizon, training->data.seasons[0], error);
    if (status != STATUS_OK) {
        return status;
    }
    training->data.windows = training->set.windows;
    status = recipe_choose(&request->config, &training->data, &training->recipe, error);
    if (status == STATUS_OK) {
        status = snapshot_new(&training->plan, training->recipe.member_count, &training->snapshot,
                              error);
    }
    if (status != STATUS_OK) {
        return status;
    }
    memcpy(training->snapshot->seasons, training->data.seasons, sizeof(training->data.seasons));
    training->set.plan = &training->snapshot->plan; /* the one with phase tables */
    for (size_t i = 0; i < training->recipe.member_count; i++) {
        training->shares += training->recipe.members[i].share;
    }
    return STATUS_OK;
}

/* Which data: a checksum over grid and values of every series, in their order. */
static uint64_t data_generation(const struct train_request *request)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < request->series_count; i++) {
        const struct model_series *series = &request->series[i];
        crc = hash_crc32c(crc, &series->start_ms, sizeof(series->start_ms));
        crc = hash_crc32c(crc, &series->step_ms, sizeof(series->step_ms));
        crc = hash_crc32c(crc, series->values, series->count * sizeof(*series->values));
    }
    return crc;
}

static int64_t end_of(const struct model_series *series, size_t count)
{
    return series->start_ms + (int64_t)count * series->step_ms;
}

/* From when until when was learned, and what was held back. Series too short to hold anything back
 * do not count for the end, unless all are: the gate looks at what comes after. What a series held
 * back counts where it is as new as that of most, or nearly so: of older times others were learned
 * from. */
static enum status record_window(const struct training *training, struct snapshot_record *record,
                                 struct error *error)
{
    const struct training_set *set = &training->set;
    int64_t last_ms = INT64_MIN; /* of those that held nothing back, too */
    size_t found = 0;
    double *ends = mem_array(set->count, sizeof(double));
    if (ends == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not write the model's record");
    }
    record->window_start_ms = INT64_MAX;
    record->window_end_ms = record->data_end_ms = INT64_MIN;
    for (size_t i = 0; i < set->count; i++) {
        const struct model_series *series = set->items[i].series;
        int64_t end_ms = end_of(series, set->items[i].last);
        if (series->start_ms < record->window_start_ms) {
            record->window_start_ms = series->start_ms;
        }
        last_ms = end_ms > last_ms ? end_ms : last_ms;
        if (set->items[i].last < series->count) {
            record->window_end_ms = end_ms > record->window_end_ms ? end_ms : record->window_end_ms;
            ends[found++] = (double)end_ms;
        }
        end_ms = end_of(series, series->count);
        record->data_end_ms = end_ms > record->data_end_ms ? end_ms : record->data_end_ms;
    }
    order_sort(ends, found);
    int64_t slack_ms = (int64_t)training->plan.horizon * training->plan.step_ms;
    record->window_end_ms = found > 0 ? record->window_end_ms : last_ms;
    record->recent_ms =
        found > 0 ? (int64_t)order_quantile(ends, found, 0.5) - slack_ms : record->window_end_ms;
    record->held_back = found > 0 ? recipe_held_back(&training->data) : 0;
    mem_free(ends);
    return STATUS_OK;
}

static enum status fill_record(struct training *training, struct error *error)
{
    const struct train_request *request = training->request;
    struct snapshot *snapshot = training->snapshot;
    struct snapshot_record *record = &snapshot->record;
    record->trained_at_ms = clock_wall_ms();
    record->seed = request->seed;
    record->data_generation = data_generation(request);
    record->steps = training->steps;
    record->series = training->set.count;
    record->series_total =
        request->series_total > training->set.count ? request->series_total : training->set.count;
    record->windows = training->windows;
    record->windows_total = training->set.windows;
    snapshot_summarise(snapshot);
    return record_window(training, record, error);
}

/* Held-back origins that a short budget can look at. */
static size_t places_max(const struct train_request *request)
{
    double affordable = PLACES_A_SECOND * request->seconds;
    bool short_budget = request->steps == 0 && affordable < EVALUATED_MAX;
    return short_budget ? (size_t)fmax(PLACES_MIN, affordable) : EVALUATED_MAX;
}

/* Member weights, blend and calibration from the held-back origins; then the record's figures. */
static enum status close_model(struct training *training, struct error *error)
{
    const struct train_request *request = training->request;
    snprintf(training->phase, sizeof(training->phase), "calibrating");
    report(training, 1.0 - CLOSING_SHARE);
    size_t horizon = request->config.horizon, held_back = recipe_held_back(&training->data);
    struct evaluation_wanted wanted = {
        .series = request->series,
        .series_count = request->series_count,
        .origins = held_back,
        .history = 2,
        /* One that held nothing back was learned whole: models look better there than they are. */
        .longer_than = LEARNED_MIN(horizon) + held_back * horizon - 1,
        .places_max = places_max(request),
        .cancel = request->cancel,
    };
    enum status status = combine_members(training->snapshot, &wanted, &request->config, error);
    if (status == STATUS_OK) {
        snprintf(training->phase, sizeof(training->phase), "evaluating");
        report(training, 1.0);
    }
    return status;
}

enum status model_train(const struct train_request *request, struct snapshot **out,
                        struct error *error)
{
    enum status status = check_request(request, error);
    if (status != STATUS_OK) {
        return status;
    }
    struct training training = {.request = request,
                                .started_ns = clock_monotonic_ns(),
                                .loss = (double)NAN,
                                .phase = "preparing"};
    training.lanes = request->lanes > 0 ? request->lanes : lanes_default();
    training.lanes = training.lanes < SHARD_COUNT ? training.lanes : SHARD_COUNT;
    report(&training, 0.0);
    status = prepare(&training, error);
    for (size_t i = 0; i < training.recipe.member_count && status == STATUS_OK; i++) {
        status = train_member(&training, i, error);
    }
    if (status == STATUS_OK) {
        status = fill_record(&training, error);
    }
    if (status == STATUS_OK) {
        status = close_model(&training, error);
    }
    if (status == STATUS_OK) {
        training.snapshot->record.seconds = seconds_since(training.started_ns);
        *out = training.snapshot;
    } else {
        snapshot_release(training.snapshot);
    }
    training_set_release(&training.set);
    return status;
}
