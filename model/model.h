/* The model's public door: prepare series, train, evaluate, forecast, keep snapshots.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Words (api.md): step = grid interval; group = all series of one step, served by one global model;
 * snapshot = one immutable trained model; champion = the one that serves; challenger = a new one
 * before the gate. T time, H horizon steps, Q quantile levels.
 *
 * Threads: functions without a workspace argument are pure or take short locks and may be called
 * from any thread. A workspace belongs to one thread. Snapshots are immutable and counted.
 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "base/options.h"
#include "base/point.h"
#include "base/status.h"
#include "base/text.h"
#include "base/time_span.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Loads the library of matrix products. Training and forecasting do it themselves; but it reads
 * files and makes memory executable, so whoever gives that up calls it before, and it sets a
 * variable of the environment, so before other threads look there. STATUS_UNSUPPORTED with a hint
 * where the library is not installed. */
enum status model_prepare(struct error *error) MUST_USE;

/* ---------------------------------------------------------------- series on a grid */

#define SEASONS_MAX       3
#define SERIES_VALUES_MAX ((size_t)32768) /* newest ones that trainings and forecasts look at */

/* One series on its grid, as the model sees it. Values are borrowed. NaN = missing. */
struct model_series {
    const double *values;
    size_t count;
    int64_t start_ms; /* time of values[0] */
    int64_t step_ms;
    uint32_t seasons[SEASONS_MAX]; /* in steps, shortest first; 0 = none */
    double minimum, maximum;       /* declared bounds; -INFINITY and INFINITY where none */
    bool integer;
    bool was_negative;     /* at some time before values[0]; false: not, or not known */
    const char *time_zone; /* NULL = UTC */
    uint64_t key;          /* of the series' name, series_key; 0 = not known by name */
};

/* The same for the same name always and everywhere; never 0. */
uint64_t series_key(const char *name, size_t length);

/* The grid interval of sorted points: median gap (or the shorter one that nearly all gaps are
 * multiples of, where points are missing) snapped to a canonical interval (100, 200, 250, 500 ms,
 * 1, 2, 5, 10, 15, 20, 30 s, 1 ... 30 min, 1, 2, 3, 4, 6, 8, 12 h, 1 d, 7 d) where it is within
 * 10 %; 0 below two distinct times. Right with up to two thirds of the points missing here and
 * there, and outages besides; where more are, a sparse series is one of a longer step.
 *
 * Gaps of months have the mean month. Gaps that are mostly no multiples of anything have the
 * canonical interval that is nearest on the log scale. Where the newest 48 gaps or more agree with
 * each other and not with the older ones, they decide. The step that an irregular series had,
 * `before_ms` (0: none), stays while its gaps are about that long. A longer step than the one
 * before is none where the day before the gaps that have it had such a stretch, a night, until they
 * last a day: for that as many points are to be given as last two days, or all, or
 * GRID_STEP_POINTS. */
#define GRID_MONTH_MS    INT64_C(2629746000) /* a twelfth of the mean Gregorian year */
#define GRID_STEP_POINTS 32768
int64_t grid_step(const struct point *points, size_t count, int64_t before_ms);

/* Whether the newest 48 gaps agree on another step than this: time to look again. */
bool grid_step_left(const struct point *points, size_t count, int64_t step_ms);

/* The shortest canonical interval up to a day that is a multiple of `step_ms` and at least
 * `least_ms`; 0 where there is none. */
int64_t grid_coarser(int64_t step_ms, int64_t least_ms);

/* Where the cells of a series lie: one has the time phase + k * step, and holds what came from
 * `lead` before that on, for a step. 0 <= phase < step. */
struct grid_cells {
    int64_t step_ms, phase_ms, lead_ms;
};

/* For a step that has one reading a cell, from sorted points. Cells are labelled where the newest
 * readings are, exactly where nearly all of these have one place in the step; and where readings
 * scatter around a place it is the middle of the cell, to a twelfth of the step. Where they are
 * anywhere, or on multiples of the step since the epoch, so are the cells: phase and lead 0. Cells
 * of `before` (NULL: none) that have the same step keep their phase while most of the newest
 * readings have it, or the middle of those that scatter is within an eighth of the step of it. */
struct grid_cells grid_cells(const struct point *points, size_t count, int64_t step_ms,
                             const struct grid_cells *before);

/* Whether nearly all of the newest points are of the first of a month, midnight UTC, and the first
 * that is nearest to a moment: cells of months are all of one length, but called by the calendar.
 */
bool grid_of_months(const struct point *points, size_t count);
int64_t grid_month_ms(int64_t time_ms);

/* What is left of the times of a series when whole steps since the epoch are taken away; before the
 * epoch it is negative. */
int64_t grid_phase(const struct model_series *series);

/* The time of the cell that a moment lies in. */
int64_t grid_cell_ms(const struct grid_cells *cells, int64_t time_ms);

/* How points become cells. A point in an excluded span is one without a value, and what a counter
 * rose by between two readings is unknown where such a span holds one of them or lies between. */
struct grid_rule {
    int64_t step_ms, phase_ms, lead_ms; /* as of struct grid_cells */
    bool counter;
    int64_t now_ms;                    /* cells that are closed by then; INT64_MAX: all */
    const struct time_spans *excluded; /* NULL: none */
};

/* Mean of the points in each cell, counters turned into non-negative per-second rates first; NaN in
 * empty cells. The grid ends at the last cell that is closed and starts at most `maximum` cells
 * earlier, never before the first point. Returns the number of cells; *start_ms is the time of the
 * first. */
size_t grid_fill(const struct point *points, size_t count, const struct grid_rule *rule,
                 double *values, size_t maximum, int64_t *start_ms);

/* Points whose distance from the one before is no multiple of the step, within a tenth of it, nor
 * divides it as that of quicker readings does: how irregular a series is. */
size_t grid_off_step(const struct point *points, size_t count, int64_t step_ms);

/* Whether sorted points only rise, but for falls that land near zero: a counter. False below ten
 * values, where nothing rises, and for anything negative. Monotone gauges look the same, so ask for
 * the name too. What lies in `excluded` (NULL: nothing) does not count, unless fewer than ten are
 * left.
 */
bool counter_shape(const struct point *points, size_t count, const struct time_spans *excluded);

/* Whether sorted points, however few, can be those of a counter: nothing negative, and falls land
 * near zero. What lies in `excluded` (NULL: nothing) does not count. */
bool counter_possible(const struct point *points, size_t count, const struct time_spans *excluded);

/* Whether a canonical series text is named like a counter: _total, _count, _sum, _bucket. */
bool counter_name(const char *name, size_t length);

/* Seasons by autocorrelation among the canonical ones of the step (hour, day, week, year) and by
 * the spectrum, exact to the step where a dozen cycles or more are there. The strongest are kept
 * and returned shortest first. Returns how many (0 to SEASONS_MAX). */
size_t season_detect(const double *values, size_t count, int64_t step_ms,
                     uint32_t seasons[SEASONS_MAX]);

/* ---------------------------------------------------------------- level shifts, outages */

/* Whether a series has lately moved to another level, and its past brought there.
 *
 * A shift is a change after which the values, less their season, stay away from where they were:
 * by four times the usual spread, nine in ten of them on the far side, and further than any earlier
 * stretch of that length went. So bursts of a bursty series are none, and a random walk rarely is.
 * LEVEL_SHIFT_AFTER values at the new level are enough.
 *
 * Models and baselines scale by their context: a context of two levels fits neither. So the past is
 * moved to the new level, by the difference, or by the ratio where a jump of ten times says that
 * the unit was changed.
 */
#define LEVEL_SHIFT_AFTER 8

struct level_shift {
    size_t at; /* first value of the new level */
    double before, after;
    bool unit; /* ten times or more, both levels positive: another unit */
};

/* `seasons` as in struct model_series; `scratch` has 3 * count doubles. Pure. */
bool level_shift_find(const double *values, size_t count, const uint32_t *seasons, double *scratch,
                      struct level_shift *out);

/* Moves values[0 .. at) to the new level. What never was negative stays so. */
void level_shift_apply(const struct level_shift *shift, double *values, size_t count);

/* By how much bands widen, because little is known of the new level yet. */
double level_shift_widening(const struct level_shift *shift, size_t count);

/* Whether so little of the newest values is there that it is an outage; *missing: the share that is
 * not. What is missing each night, weekend or season is as if it were no cell at all. Pure. */
bool outage_find(const struct model_series *series, double *missing);

/* ---------------------------------------------------------------- unrest */

/* Whether the newest errors of a series are far larger than those before them.
 *
 * A sensor that comes alive behind a thousand equal values makes a few errors among a thousand of
 * nothing: no quantile of them all shows it before there are many. So the newest 4, 8, 16 ... 128
 * are looked at by themselves. What they say of an ordinary series is chance, so it counts only
 * where it is far beyond that; and a lone spike, with what follows it, or a burst that is over,
 * says nothing.
 */
struct unrest {
    double deviation; /* of the newest errors */
    double share;     /* of it that is believed, 0 to 1; 0: they are as large as ever */
};

/* `errors` oldest first, of either sign; NaN = missing. Pure. */
struct unrest unrest_find(const double *errors, size_t count);

/* ---------------------------------------------------------------- forecasts */

/* The levels that every model and baseline produces; others are interpolated between them. */
#define QUANTILE_COUNT 11
extern const double quantile_levels[QUANTILE_COUNT]; /* 0.025, 0.1, 0.2 ... 0.9, 0.975 */

/* Monotone, finite, inside the series' bounds. Arrays are the caller's. The point forecast is the
 * median, which has the least absolute error; `mean` is what files and figures call it. The mean of
 * the distribution is forecast_mean's. */
struct forecast {
    size_t horizon;
    float *mean;      /* [H] the point forecast */
    float *quantiles; /* [Q][H] */
};

bool forecast_is_finite(const struct forecast *forecast);

/* One level in (0,1) at one step: monotone interpolation between the levels, tails extrapolated
 * from the outer spread. */
double forecast_quantile(const struct forecast *forecast, size_t step, double level);

/* The inverse: the probability that a step's value is smaller than `value`, or with `or_equal` at
 * most that. */
double forecast_share(const struct forecast *forecast, size_t step, double value, bool or_equal);

/* The normal score of that probability; infinite where it is 0 or 1. */
double forecast_score(const struct forecast *forecast, size_t step, double value, bool or_equal);

/* The mean of a step's distribution as forecast_quantile has it, tails included, of which what lies
 * beyond `minimum` or `maximum` (or -INFINITY and INFINITY) counts as lying there. */
double forecast_mean(const struct forecast *forecast, size_t step, double minimum, double maximum);

/* The width of the outer band that no forecast about `value` goes below, so that a constant's is
 * one too. It says nothing of where the constant may go. */
double forecast_least_spread(double value);

/* Multiplies the distance of all levels from the median, then bounds them as before. */
void forecast_widen(const struct model_series *series, double factor, struct forecast *forecast);

enum baseline {
    BASELINE_LAST_VALUE,
    BASELINE_DRIFT,
    BASELINE_SEASONAL_NAIVE,
    BASELINE_DAMPED_TREND,   /* exponential smoothing with damped trend and season */
    BASELINE_SEASONAL_DRIFT, /* seasonal means with damped drift, many averaged by their errors */
    BASELINE_COUNT
};
const char *baseline_name(enum baseline baseline); /* "last_value", "damped_trend" ... */

/* Needs at least two observed values, the drift three, the seasonal naive one full season, the
 * damped trend eight values and a few errors, the seasonal drift a horizon and two seasons: false
 * where it cannot. The damped trend of a series without a season that mostly has one value is what
 * its values say. Spread from the empirical errors of the method on the series itself, of the
 * seasonal naive over as many seasons as it looks ahead (yardstick.h has the published one). No
 * allocation: `scratch` has 4 * series->count doubles. */
bool baseline_forecast(enum baseline baseline, const struct model_series *series, double *scratch,
                       struct forecast *out);

/* ---------------------------------------------------------------- what a series returns to */

/* The fan that thresholds are held against where the forecast's is wide.
 *
 * The bands of a baseline, or of a young model, are honest about its errors, but its centre is made
 * of a few noisy values: the last season, the last level. Bands of the right coverage about a noisy
 * centre lie beyond a threshold far more often than the series does, because the noise counts
 * twice; coverage is not calibration of exceedance (Gneiting, Balabdaoui and Raftery 2007, section
 * 2). So a series that returns to its season and trend, as noise, ramps, daily curves and
 * autoregressions do, has the fan of its return beside its forecast; of two fans that are honest
 * about their errors, the narrower one knows more. A walk has none.
 */
struct reversion {
    size_t horizon;              /* 0: none */
    float *centre, *deviation;   /* [H], the caller's */
    float shape[QUANTILE_COUNT]; /* quantiles at quantile_levels for deviation 1 */
};

/* Writes shape, and centre and deviation of `horizon` steps into the arrays that are set. `scratch`
 * has 3 * series->count doubles. False, and a horizon of 0, where the series does not return or has
 * too few values to tell. Pure. */
bool reversion_find(const struct model_series *series, size_t horizon, double *scratch,
                    struct reversion *out);

/* Whether its bands are narrower, on average over the horizon, than those of a forecast. */
bool reversion_is_narrower(const struct reversion *reversion, const struct forecast *forecast);

/* As forecast_score. */
double reversion_score(const struct reversion *reversion, size_t step, double value, bool or_equal);

/* ---------------------------------------------------------------- configuration */

#define BACKBONE_OPTIONS_MAX 16

struct model_config {
    char backbone[24]; /* a name from the backbone table; default "logsparse" */
    char head[16];     /* "quantile" (direct, default) or "gaussian" (autoregressive) */
    size_t horizon;    /* steps; default 48 */
    /* Options of the backbone that differ from their presets, "window=32 kernel=3" */
    char options[256];
    /* Parts of the default recipe, for experiments; empty and false leave it whole. */
    char members[32];         /* "1" or "1,3": only these of its members */
    char member_options[160]; /* "skip=false rate=0.001": for every member, after its own */
    bool without_blend, without_calibration;
};

/* Names, options with presets and bounds, for GET /api/v1/backbones. */
struct backbone_info {
    const char *name, *paper, *help;
    const struct option *options;
    size_t option_count;
    bool causal, streaming;
};
size_t backbone_count(void);
struct backbone_info backbone_info(size_t index);

/* STATUS_INVALID (unknown_backbone, unknown_option) where there is none of the name, with a hint
 * that lists those that there are. backbone_check_option wants a backbone that there is. */
enum status backbone_check(const char *name, struct error *error) MUST_USE;
enum status backbone_check_option(const char *backbone, const char *option,
                                  struct error *error) MUST_USE;

/* STATUS_INVALID with the option's name and bounds. */
enum status model_config_check(const struct model_config *config, struct error *error) MUST_USE;

/* ---------------------------------------------------------------- training */

/* Seeds are 1 to this, wherever one is given: exact in JSON, whose numbers may be read as doubles.
 */
#define SEED_MAX INT64_C(9000000000000000)

struct train_progress {
    double fraction; /* of the budget, 0 to 1 */
    uint64_t step;
    double loss; /* running mean; NaN before the first step */
    double seconds_left;
    const char *phase; /* "preparing", "member 2 of 4", "calibrating", "evaluating" */
};
typedef void (*train_report)(void *context, const struct train_progress *progress);

struct train_request {
    const struct model_series *series;
    size_t series_count;
    size_t series_total; /* of the group, with those that were left out; 0 = series_count */
    struct model_config config;
    double seconds; /* wall-clock budget for everything; 0 = by steps only */
    uint64_t steps; /* optimiser steps of the first member, others in proportion; 0 = by seconds */
    uint64_t seed;
    unsigned lanes;    /* 0 = the cores; results do not depend on it when trained by steps */
    size_t memory_max; /* bytes for tapes; 0 = 512 MiB: the micro-batch is chosen to fit */
    const atomic_bool *cancel; /* looked at once per step, and per held-back origin; may be NULL */
    bool low_priority;         /* lanes run at nice 19, and give way (base/background.h) */
    train_report report;       /* at most ten times a second, on the calling thread; may be NULL */
    void *report_context;
};

struct snapshot;

/* Trains the default recipe (an ensemble of small members, calibrated on held-back origins). The
 * result has one reference, the caller's. STATUS_INVALID (too little data: says what is needed),
 * CANCELLED, NO_MEMORY, INTERNAL (diverged). */
enum status model_train(const struct train_request *request, struct snapshot **out,
                        struct error *error) MUST_USE;

/* ---------------------------------------------------------------- snapshots */

struct snapshot_record {
    char id[48]; /* "1h-142"; set by the registry at publication */
    char backbone[24];
    int64_t step_ms;
    size_t horizon;
    int64_t trained_at_ms, window_start_ms, window_end_ms;
    /* What was left out: so many newest origins of a series, none before recent_ms; and the end of
     * all there was. See snapshot_unseen. */
    size_t held_back;
    int64_t recent_ms, data_end_ms;
    uint64_t seed, steps, parameters, bytes;
    uint64_t data_generation; /* CRC-32C over the series trained on: same data, same number */
    size_t series, members;
    size_t series_total;             /* of the group: more than `series` where these are a sample */
    uint64_t windows, windows_total; /* drawn by the busiest member; that there were */
    double seconds;
    double sparse_share; /* largest share of causal pairs that a member's pattern leaves out */
    double mase, wql, coverage80, baseline_mase,
        baseline_wql;   /* on held-back origins; NaN where unknown */
    uint64_t evaluated; /* points behind these */
    char baseline[24];  /* which one these figures are of: the best; empty where unknown */
    char sha256[65];    /* of the file; empty before it is saved */
    char decision[160]; /* why it was promoted or kept back */
};

struct snapshot *snapshot_acquire(struct snapshot *snapshot);
void snapshot_release(struct snapshot *snapshot); /* NULL is fine */
const struct snapshot_record *snapshot_record(const struct snapshot *snapshot);

/* Whether training looked at held-back origins of this series: then it is blended by its own. */
bool snapshot_weighed(const struct snapshot *snapshot, uint64_t key);

/* Whether nothing from an origin on was learned; `series` is whole, its values do not matter. */
bool snapshot_unseen(const struct snapshot *snapshot, const struct model_series *series,
                     size_t origin);

/* Whether it learned from a part of the group only: of its series, or of their windows. */
bool snapshot_sampled(const struct snapshot_record *record);

/* Name and fate, before publication and by the owner alone: a snapshot that is saved under its id
 * before it is published needs the id first. The registry keeps an id that is there, and numbers on
 * from it. */
void snapshot_set_id(struct snapshot *snapshot, const char *id);
void snapshot_set_decision(struct snapshot *snapshot, const char *decision);

/* The record with members (pattern, window, tokens, share of pairs left out, parameters) as JSON.
 */
void snapshot_describe(const struct snapshot *snapshot, struct text *json);

/* One safetensors file: written to a temporary name, synced, read back and verified, renamed,
 * folder synced. Load verifies the SHA-256 (`sha256` NULL: only the structure), bounds, order,
 * finiteness: STATUS_CORRUPT names what is wrong. What cannot be read although its SHA-256 is the
 * given one is no damage but the work of another release: STATUS_UNSUPPORTED. */
enum status snapshot_save(struct snapshot *snapshot, const char *path,
                          struct error *error) MUST_USE;
enum status snapshot_load(const char *path, const char *sha256, struct snapshot **out,
                          struct error *error) MUST_USE;

/* ---------------------------------------------------------------- forecasting with a snapshot */

struct forecaster;

/* A workspace for up to `batch_max` series at once; allocates once, nothing per forecast. The
 * caller's reference to the snapshot must outlive it. */
enum status forecaster_new(const struct snapshot *snapshot, size_t batch_max,
                           struct forecaster **out, struct error *error) MUST_USE;
void forecaster_free(struct forecaster *forecaster);

/* Values that one series must offer for a full context (fewer are padded as missing). */
size_t snapshot_context(const struct snapshot *snapshot);

/* Newest values that a forecast looks at: full contexts, and what the baselines of the blend see.
 */
size_t snapshot_values(const struct snapshot *snapshot);

/* Forecasts `count` series; out[i].horizon may differ from the trained one: shorter is cut, longer
 * rolls on in blocks. Works with holes and short series. Where the model's numbers for a series are
 * not all finite its forecast is NaN everywhere. STATUS_INVALID below two observed values. */
enum status forecaster_run(struct forecaster *forecaster, const struct model_series *series,
                           size_t count, struct forecast *out, struct error *error) MUST_USE;

/* ---------------------------------------------------------------- calibration in service */

#define CONFORMAL_PAIRS 5 /* of levels k and 1 - k: 0.6, 0.7, 0.8, 0.9, 0.975 */
#define CONFORMAL_PARTS 3 /* thirds of the horizon */

/* What one series has taught about its bands: the half-width of a pair of levels is multiplied by
 * exp(shift). Small, plain data: it is copied freely and kept with each vintage. */
struct conformal {
    uint16_t horizon;                  /* steps that the thirds divide; 0 = nothing is known */
    uint16_t lessons[CONFORMAL_PARTS]; /* since it began or was shaken */
    float shift[CONFORMAL_PAIRS][CONFORMAL_PARTS];
    uint32_t count, inside80, inside95; /* issued against arrived; halved together when large */
    int64_t settled_ms;                 /* values up to this time have been learned from */
    int64_t ignore_before_ms; /* forecasts of earlier origins are not: the level shifted */
    int16_t run;              /* newest values in a row above (or, negative, below) */
};

/* What arrived since the last lesson. */
struct conformal_lesson {
    double missed[CONFORMAL_PAIRS][CONFORMAL_PARTS];
    unsigned seen[CONFORMAL_PARTS];
    unsigned inside80, inside95;
};

void conformal_init(struct conformal *state, size_t horizon);

/* Scales the quantiles about the median, then makes them monotone and bounded again. `series` gives
 * the bounds. Does nothing where state->horizon is 0. */
void conformal_apply(const struct conformal *state, const struct model_series *series,
                     struct forecast *forecast);

/* One value that arrived for step `h` of a forecast that was issued under `issued`. */
void conformal_see(const struct conformal *state, const struct forecast *forecast,
                   const struct conformal *issued, size_t h, double actual,
                   struct conformal_lesson *lesson);

/* Ends a lesson: one bounded step on each pair and third that saw something. */
void conformal_learn(struct conformal *state, const struct conformal_lesson *lesson);

/* Whether a value lies above (1), below (-1) or inside (0) the 95 % band of a step. */
int conformal_side(const struct forecast *forecast, size_t h, double actual);

/* In order of time, the side of the newest value in the newest forecast of it. True where the level
 * has shifted: forecasts before `now_ms` will not be learned from and the next lessons weigh more.
 */
bool conformal_watch(struct conformal *state, int side, int64_t now_ms, int64_t step_ms);

/* Another model serves: half of what was learned stays, and lessons weigh more again. What was
 * counted stays: it is about the answers, whoever made them. */
void conformal_carry(struct conformal *state, size_t horizon);

/* The one before serves again, and `kept` is what its bands had been taught until then. */
void conformal_resume(struct conformal *state, const struct conformal *kept);

/* ---------------------------------------------------------------- scores of issued forecasts */

/* Sums over (forecast, step) pairs whose value has arrived; errors are those of the median. Plain
 * data: sums may be added up. */
struct score {
    uint64_t count, scaled, inside80, inside95;
    double absolute, absolute_error, error, scaled_error, smape;
    double pinball; /* mean over 0.1 ... 0.9, doubled: wQL is its sum over that of |y| */
};

/* NaN where there is nothing to tell from. */
struct score_figures {
    double mase, smape, wql, pinball, coverage80, coverage95, bias;
};

/* Mean absolute seasonal difference; NaN where there is none. */
double score_scale(const double *values, size_t count, size_t season);

/* `scale` NaN or 0: left out of MASE. */
void score_add(struct score *score, const struct forecast *forecast, size_t h, double actual,
               double scale);
void score_merge(struct score *score, const struct score *other);
void score_figures(const struct score *score, struct score_figures *out);

/* How much smaller losses are than a rival's on the same targets, in units that share their weather
 * (origins, windows of time): 1 - sum of own / sum of rival's, with the standard error from the
 * paired differences of the units. NaN where there are no losses; the error is NaN below two units.
 */
struct skill {
    size_t units;
    double value, error;
};
void skill_of(const double *own, const double *rival, size_t count, struct skill *out);

/* ---------------------------------------------------------------- vintages */

/* A forecast as it was issued, beside those that it is to be compared with. */
struct vintage {
    int64_t issued_ms, origin_ms, step_ms, data_age_ms;
    unsigned state; /* the caller's */
    char served_by[24], fallback_reason[48];
    char model[48]; /* empty: a baseline served, and the next four hold nothing */
    int64_t trained_at_ms, window_start_ms, window_end_ms;
    uint64_t seed;
    char baseline_name[24], rival_model[48];
    struct conformal calibration;            /* as applied */
    struct forecast served, baseline, rival; /* horizon 0: none; rival: the previous champion */
};

#define VINTAGE_FORECASTS       3
#define VINTAGE_FLOATS(horizon) ((size_t)VINTAGE_FORECASTS * (QUANTILE_COUNT + 1) * (horizon))

/* At most these many bytes for a vintage of that horizon; a few hundred for 48 steps in practice.
 */
#define VINTAGE_BYTES_MAX(horizon) ((size_t)512 + (size_t)VINTAGE_FORECASTS * (32 + 24 * (horizon)))

/* Quantised to 1/64 of the mean 80 % band, or a bit more: seven levels and the mean, others are
 * interpolated; zero stays zero. `bytes` has VINTAGE_BYTES_MAX of the horizon. Returns the length.
 */
size_t vintage_encode(const struct vintage *vintage, unsigned char *bytes);

/* The forecasts get their arrays in `room`, of `room_floats` floats (VINTAGE_FLOATS).
 * STATUS_CORRUPT for anything that vintage_encode does not write, whatever the bytes. */
enum status vintage_decode(const unsigned char *bytes, size_t length, float *room,
                           size_t room_floats, struct vintage *vintage,
                           struct error *error) MUST_USE;

/* ---------------------------------------------------------------- gate and registry */

struct gate_request {
    const struct snapshot *challenger, *champion; /* champion NULL: none */
    const struct model_series *series;
    size_t series_count;
    const atomic_bool *cancel; /* looked at between held-back origins; may be NULL */
};

struct gate_result {
    bool promote;
    double challenger, champion,
        baseline; /* wQL on the held-back origins; champion NaN where none */
    struct skill over_champion, over_baseline;
    uint64_t points;
    char reason[160];
};

/* Challenger against champion and the best baseline, on each series' newest origins that the
 * challenger did not learn from. It is promoted where it is better than both beyond what chance
 * explains: its skill is above its standard error (gate.c). STATUS_CANCELLED where somebody has
 * cancelled: there is no verdict then. */
enum status model_gate(const struct gate_request *request, struct gate_result *result,
                       struct error *error) MUST_USE;

struct registry;
enum status registry_new(struct registry **out, struct error *error) MUST_USE;
void registry_free(struct registry *registry);

/* The champion (or the one before it) of a step group, with a reference for the caller; NULL if
 * none. */
struct snapshot *registry_acquire(struct registry *registry, int64_t step_ms);
struct snapshot *registry_acquire_previous(struct registry *registry, int64_t step_ms);

/* Whether a snapshot is champion or previous of its group. One that is not may still be in use by
 * whoever holds a reference, but nobody gets it from here any more. */
bool registry_serves(struct registry *registry, const struct snapshot *snapshot);

/* Takes the champion out of service: the group is served by baselines until the next publication.
 * The previous one goes with it. STATUS_NOT_FOUND where there is no champion. */
enum status registry_withdraw(struct registry *registry, int64_t step_ms,
                              struct error *error) MUST_USE;

/* Makes room for a champion of a step group: a publication of one cannot fail then. */
enum status registry_reserve(struct registry *registry, int64_t step_ms,
                             struct error *error) MUST_USE;

/* Swaps the champion (takes a reference of its own); the old one becomes the previous.
 * STATUS_NO_MEMORY where its group is new and no room was reserved. */
enum status registry_publish(struct registry *registry, struct snapshot *snapshot,
                             struct error *error) MUST_USE;
/* Reserves the next id of a step group ("1h-143") for a snapshot that is saved before it is
 * published. */
enum status registry_next_id(struct registry *registry, int64_t step_ms, char id[48],
                             struct error *error) MUST_USE;

/* Back to the previous one; STATUS_NOT_FOUND where there is none. */
enum status registry_rollback(struct registry *registry, int64_t step_ms,
                              struct error *error) MUST_USE;

/* How old the champions are, for metrics: up to `maximum` of them are written. Returns how many
 * there are. */
struct champion_age {
    int64_t step_ms;                  /* of the group */
    char step[24];                    /* the same as text: "1h" */
    int64_t trained_at_ms, newest_ms; /* of the newest step trained on */
    bool is_deserted;                 /* it forecasts nothing any more: see registry_note_groups */
};
size_t registry_ages(struct registry *registry, struct champion_age *ages, size_t maximum);

/* Which groups have series, all of them: a champion of another is one that nothing replaces. */
void registry_note_groups(struct registry *registry, const int64_t *steps_ms, size_t count);

/* Grows with each publish and rollback of any group: a cheap test for "is my cache still good". */
uint64_t registry_generation(struct registry *registry);

#endif
