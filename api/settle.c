/* Learning: values that arrived against the vintages that foresaw them, and the start of a new
 * model. SPDX-License-Identifier: Apache-2.0
 */
#include "api/issue.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

#define SETTLED_HORIZONS 4 /* values older than this have nothing to say */
#define SIDE_UNKNOWN     2

/* ---------------------------------------------------------------- what arrived */

struct settling {
    struct issue *issue;
    struct conformal_lesson lesson;
    int64_t from_ms;    /* values after this time are new */
    signed char *sides; /* of each new value in its newest forecast */
};

static size_t index_of(const struct issue *issue, int64_t time_ms)
{
    return (size_t)((time_ms - issue->series.start_ms) / issue->series.step_ms);
}

/* Losses of one vintage on the new values of one window. */
struct window_scores {
    struct score champion, baseline, champion_again, rival;
};

static void tell_regret(struct issue *issue, int64_t window, struct window_scores *scores)
{
    if (scores->champion.count > 0) {
        struct regret_losses losses = {
            .window = window,
            .count = scores->champion.count,
            .champion = scores->champion.pinball / issue->scale,
            .baseline = scores->baseline.pinball / issue->scale,
            .rival_count = scores->rival.count,
            .champion_again = scores->champion_again.pinball / issue->scale,
            .rival = scores->rival.pinball / issue->scale,
        };
        regret_add(issue->desk->services->regret, issue->series.step_ms,
                   issue_model(issue->champion), issue_model(issue->previous), &losses);
    }
    memset(scores, 0, sizeof(*scores));
}

/* Champion against baseline and previous champion, on the values that are new. */
static void weigh_regret(struct settling *settling, const struct vintage *vintage)
{
    struct issue *issue = settling->issue;
    if (!issue->champion || strcmp(vintage->model, issue_model(issue->champion)) != 0 ||
        !(issue->scale > 0.0)) {
        return;
    }
    bool rival = issue->previous && strcmp(vintage->rival_model, issue_model(issue->previous)) == 0;
    struct window_scores scores = {0};
    int64_t window = INT64_MIN;
    for (size_t h = 0; h < vintage->baseline.horizon && h < vintage->served.horizon; h++) {
        int64_t time_ms = vintage->origin_ms + (int64_t)(h + 1) * vintage->step_ms;
        if (time_ms <= settling->from_ms || time_ms > issue->origin_ms) {
            continue;
        }
        int64_t at = regret_window_of(time_ms, vintage->step_ms, issue->horizon);
        if (at != window) {
            tell_regret(issue, window, &scores);
            window = at;
        }
        double actual = issue->values[index_of(issue, time_ms)];
        if (isnan(actual)) {
            continue;
        }
        score_add(&scores.champion, &vintage->served, h, actual, issue->scale);
        score_add(&scores.baseline, &vintage->baseline, h, actual, issue->scale);
        if (rival && h < vintage->rival.horizon) {
            score_add(&scores.champion_again, &vintage->served, h, actual, issue->scale);
            score_add(&scores.rival, &vintage->rival, h, actual, issue->scale);
        }
    }
    tell_regret(issue, window, &scores);
}

static bool settle_vintage(void *context, int64_t issued_ms, const unsigned char *bytes,
                           size_t length)
{
    struct settling *settling = context;
    struct issue *issue = settling->issue;
    struct forecast_desk *desk = issue->desk;
    struct conformal *state = &issue->track.calibration;
    struct vintage vintage;
    struct error ignored = {0};
    (void)issued_ms;
    if (vintage_decode(bytes, length, desk->floats, desk->floats_capacity, &vintage, &ignored) !=
            STATUS_OK ||
        !vintage_fits(&vintage, issue->series.step_ms, issue->facts.counter) ||
        !vintage_align(&vintage, issue->series.start_ms)) {
        return true; /* of an older step, phase or kind: it tells nothing about this one */
    }
    bool counts = vintage.origin_ms >= state->ignore_before_ms;
    for (size_t h = 0; h < vintage.served.horizon; h++) {
        int64_t time_ms = vintage.origin_ms + (int64_t)(h + 1) * vintage.step_ms;
        if (time_ms <= settling->from_ms || time_ms > issue->origin_ms) {
            continue;
        }
        double actual = issue->values[index_of(issue, time_ms)];
        if (isnan(actual)) {
            continue;
        }
        signed char *side = &settling->sides[(time_ms - settling->from_ms) / vintage.step_ms - 1];
        if (*side == SIDE_UNKNOWN) { /* the newest vintage comes first */
            *side = (signed char)conformal_side(&vintage.served, h, actual);
        }
        if (counts) {
            conformal_see(state, &vintage.served, &vintage.calibration, h, actual,
                          &settling->lesson);
        }
    }
    weigh_regret(settling, &vintage);
    return true;
}

void issue_settle(struct issue *issue)
{
    struct conformal *state = &issue->track.calibration;
    int64_t step_ms = issue->series.step_ms;
    int64_t oldest_ms = issue->origin_ms - (int64_t)(SETTLED_HORIZONS * issue->horizon) * step_ms;
    oldest_ms = oldest_ms < issue->series.start_ms ? issue->series.start_ms : oldest_ms;
    struct settling settling = {.issue = issue, .from_ms = state->settled_ms};
    if (settling.from_ms < oldest_ms) {
        settling.from_ms = oldest_ms;
    }
    /* Cells may lie elsewhere since then. */
    settling.from_ms = oldest_ms + (settling.from_ms - oldest_ms + step_ms / 2) / step_ms * step_ms;
    size_t cells = settling.from_ms < issue->origin_ms
                       ? (size_t)((issue->origin_ms - settling.from_ms) / step_ms)
                       : 0;
    struct error ignored = {0};
    if (state->horizon == 0 || cells == 0) {
        return;
    }
    settling.sides = mem_alloc(cells);
    if (!settling.sides) {
        return;
    }
    memset(settling.sides, SIDE_UNKNOWN, cells);
    int64_t first_ms = settling.from_ms - (int64_t)state->horizon * step_ms;
    if (desk_floats(issue->desk, VINTAGE_FLOATS(issue->horizon), &ignored) == STATUS_OK &&
        storage_vintages(issue->desk->reader, issue->id, first_ms, INT64_MAX, settle_vintage,
                         &settling, &ignored) == STATUS_OK) {
        conformal_learn(state, &settling.lesson);
        for (size_t i = 0; i < cells; i++) {
            if (settling.sides[i] != SIDE_UNKNOWN) {
                conformal_watch(state, settling.sides[i], issue->origin_ms, step_ms);
            }
        }
    }
    mem_free(settling.sides);
}

/* ---------------------------------------------------------------- a new model */

/* With the cells before those that were read, which say whether training held any of it back. */
static struct model_series whole_series(const struct issue *issue)
{
    struct model_series whole = issue->series;
    int64_t unread = (whole.start_ms - issue->info.first_ms) / whole.step_ms;
    if (unread > 0) {
        whole.start_ms -= unread * whole.step_ms;
        whole.count += (size_t)unread;
    }
    return whole;
}

/* What the model would have said at origins that it did not learn from, oldest first. */
static void learn_held_back(struct issue *issue, struct forecaster *forecaster)
{
    struct conformal *state = &issue->track.calibration;
    struct model_series cut[HELD_BACK];
    struct forecast out[HELD_BACK];
    struct error ignored = {0};
    struct model_series whole = whole_series(issue);
    size_t horizon = issue->horizon, used = 0;
    float *floats = issue->desk->floats;
    for (size_t k = HELD_BACK; k > 0; k--) {
        if (issue->series.count < (k + 2) * horizon ||
            !snapshot_unseen(issue->champion, &whole, whole.count - k * horizon)) {
            continue;
        }
        cut[used] = issue->series;
        cut[used].count -= k * horizon;
        out[used] = (struct forecast){horizon, floats, floats + horizon};
        floats += (QUANTILE_COUNT + 1) * horizon;
        used++;
    }
    if (used == 0 || forecaster_run(forecaster, cut, used, out, &ignored) != STATUS_OK) {
        return;
    }
    struct conformal pooled;
    conformal_init(&pooled, 0); /* they were made without a correction of this series */
    uint32_t count = state->count, inside80 = state->inside80, inside95 = state->inside95;
    for (size_t k = 0; k < used; k++) {
        struct conformal_lesson lesson = {0};
        for (size_t h = 0; h < horizon; h++) {
            double actual = issue->values[cut[k].count + h];
            if (!isnan(actual)) {
                conformal_see(state, &out[k], &pooled, h, actual, &lesson);
            }
        }
        conformal_learn(state, &lesson);
    }
    state->count = count; /* only what was issued is counted */
    state->inside80 = inside80;
    state->inside95 = inside95;
}

void issue_begin_model(struct issue *issue)
{
    struct conformal *state = &issue->track.calibration;
    struct forecaster *forecaster = NULL;
    struct error ignored = {0};
    uint64_t maker = issue->champion ? track_maker(issue_model(issue->champion), "") : 0;
    bool unknown = maker && maker != issue->track.maker;
    if (state->horizon == 0) {
        conformal_init(state, issue->horizon);
        track_pool(issue->desk->services->tracks, issue->series.step_ms, maker, state->shift);
        issue->track.maker = maker ? maker : issue->track.maker;
    } else {
        if (state->horizon != issue->horizon) {
            conformal_carry(state, issue->horizon);
        }
        unknown = maker && !track_turn(&issue->track, maker);
    }
    if (unknown &&
        desk_floats(issue->desk,
                    VINTAGE_FLOATS(issue->horizon) +
                        2 * HELD_BACK * issue->horizon * (QUANTILE_COUNT + 1),
                    &ignored) == STATUS_OK &&
        desk_forecaster(issue->desk, issue->champion, &forecaster, &ignored) == STATUS_OK) {
        learn_held_back(issue, forecaster);
    }
    state->settled_ms = issue->origin_ms;
}
