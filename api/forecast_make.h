/* From stored points to a forecast: grid, seasons, and the best method that there is.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The chain is champion, previous champion, and the baseline that the newest past of the series
 * speaks for (trial.h), mostly the damped trend; where it cannot, seasonal naive, drift, last
 * value. A method that cannot hands over to the next, as does a model whose numbers are not finite;
 * the result says who served it and why.
 *
 * A series whose level has lately shifted is forecast from a past that was moved to the new level
 * (level_shift_find). After a long outage the baselines serve, the seasonal naive first, until half
 * of the newest values are there again (outage_find). Bands widen with the share of gaps and for a
 * young level.
 *
 * Origin: the newest grid cell whose value is complete. Where the series brings one point a cell
 * (its own interval is the step) that is the cell of the newest point; where several points make a
 * cell it is the newest cell that is over.
 */
#ifndef API_FORECAST_MAKE_H
#define API_FORECAST_MAKE_H

#include "api/api.h"
#include "api/crossing.h"
#include "api/live.h"
#include "api/track.h"

#define DESK_SERIES_MAX 16 /* made in one go */

/* Workspaces for forecasts; belongs to one thread. */
struct forecast_desk;

enum status forecast_desk_new(struct api_services *services, struct storage_reader *reader,
                              struct forecast_desk **out, struct error *error) MUST_USE;
void forecast_desk_free(struct forecast_desk *desk);

enum forecast_warning {
    WARNING_BEYOND_HORIZON = 1,   /* rolled on beyond what the model was trained for */
    WARNING_STALE = 2,            /* no point for many steps */
    WARNING_SHORT_HISTORY = 4,    /* fewer than SHORT_HISTORY values */
    WARNING_GAPS = 8,             /* more than a tenth of the values are missing */
    WARNING_RATE = 16,            /* of a counter: values are its rise per second */
    WARNING_LEVEL_SHIFT = 32,     /* the level moved: the past was brought to the new one */
    WARNING_UNIT = 64,            /* it moved ten times or more: perhaps another unit */
    WARNING_OFF_STEP = 128,       /* more than a tenth of the points are not on the step */
    WARNING_ISSUED_SHORTER = 256, /* a vintage has fewer steps than were asked for */
    WARNING_COARSER = 512,        /* on a coarser grid than the step, for the horizon's sake */
};
#define SHORT_HISTORY 10

/* The model behind a forecast; an empty id where a baseline serves. */
struct forecast_model {
    char id[48];
    int64_t trained_at_ms, window_start_ms, window_end_ms;
    uint64_t seed;
};

/* Share of values inside of the 80 % band, and error against the seasonal naive; NaN: unknown. */
#define LIVE_COUNT_MIN 200 /* values that make the coverage of issued forecasts worth telling */
struct forecast_evidence {
    double observed80;
    uint64_t count;
    bool live; /* from forecasts that were issued; else from held-back data of the training */
    double mase, relative;
    char baseline[24]; /* that relative is against */
};

struct forecast_made {
    uint32_t id;
    struct series_info info;
    struct series_facts facts; /* of the grid that was forecast on */
    struct grid_cells own;     /* of the series; shorter where the grid is a coarser one */
    enum series_state state;
    int64_t origin_ms, issued_ms, good_until_ms;
    const char *served_by;
    char fallback_reason[48];  /* empty: none */
    struct snapshot *snapshot; /* counted; NULL where a baseline serves, and of a vintage */
    struct forecast_model model;
    struct conformal calibration; /* as applied */
    struct forecast_evidence evidence;
    struct forecast forecast;
    double minimum, maximum; /* that no number of the answer leaves: see forecast_bounds */
    double declared_minimum, declared_maximum; /* or infinite: an alarm for what never was is not
                                                * ruled out */
    size_t observed, missing, excluded, resets, off_step; /* missing: without what is excluded */
    int64_t shifted_ms; /* the first cell of the new level, with WARNING_LEVEL_SHIFT */
    double widening;    /* of the bands, for gaps and a young level; 1 = none */
    bool outage;        /* too little of the newest values is there for a model */
    double newest;      /* value at the origin; NaN: missing */
    struct crossing_roughness roughness; /* of the values */
    struct reversion reversion;          /* of a baseline; its arrays are in the block */
    size_t trained_horizon, default_steps;
    unsigned warnings;
    bool kept;      /* a copy of one that was made before */
    bool skipped;   /* too few values, and the order allows that: nothing but id and info holds */
    void *block;    /* holds the arrays of `forecast` and `reversion` */
    double *values; /* the grid; only while it is made */
};
void forecast_made_release(struct forecast_made *made);

/* The arrays of a forecast that was made: mean, quantiles, centre and deviation of the reversion.
 * Lays them out in a block of FORECAST_ROWS * horizon floats. */
#define FORECAST_ROWS (1 + QUANTILE_COUNT + 2)
void forecast_lay_out(struct forecast_made *made, float *block, size_t horizon);

/* The time of a step, counted from 1; that of the origin for 0. */
int64_t forecast_time_ms(const struct forecast_made *made, size_t step);

/* When the cell of a step ends. Until then the step is not over, even where its time has passed: a
 * cell of several readings is called by its begin, and the only reading of one may come late. */
int64_t forecast_end_ms(const struct forecast_made *made, size_t step);

/* How many steps were over when the forecast was made: none unless readings are late. */
size_t forecast_over(const struct forecast_made *made);

/* When a series first crosses a threshold, out of a forecast that was ordered with `crossings`. The
 * mean of several readings stands for the middle of its cell, and the times count from the begin of
 * the origin's: they are half a step later than those of single readings. */
void forecast_crossing(const struct forecast_made *made, double threshold, bool above,
                       struct crossing *out);

/* Forecasts of up to DESK_SERIES_MAX series. `horizon_ms` 0: `steps` for each. STATUS_INVALID with
 * insufficient_history, or bad_parameter where a horizon has more than `steps_max` steps; the error
 * names the series. With `skip_short` a series of too few values is marked as skipped instead. On
 * failure nothing is left to release. */
struct forecast_order {
    const uint32_t *ids;
    size_t count;
    int64_t horizon_ms;
    size_t steps, steps_max;
    bool skip_short;
    bool coarser; /* where horizon_ms has more than `steps_max` steps: on the finest canonical grid
                   * on which it has COARSER_STEPS at most, without calibration */
    bool anew;    /* not a copy of one that was made before (live_made_find) */
    bool as_many; /* not refused where horizon_ms is too long: as many steps as there may be, and at
                   * least `steps` */
    bool from_now;  /* horizon_ms counts from now, not from the origin: as many steps more as the
                     * origin lies back, and at least the first that is not over; up to `steps_max`
                     * in all */
    bool late;      /* steps that are over come on top: see forecast_over */
    bool crossings; /* forecast_crossing will be asked; its fan takes as long as a baseline */
};
enum status forecast_make(struct forecast_desk *desk, const struct forecast_order *order,
                          struct forecast_made *made, struct error *error) MUST_USE;

/* The same for up to DESK_SERIES_MAX series that are given, not stored: what models, baselines and
 * the rules for gaps and level shifts make of them, without calibration. `series` is changed.
 * STATUS_INVALID with insufficient_history. */
enum status forecast_make_values(struct forecast_desk *desk, struct model_series *series,
                                 size_t count, size_t horizon, struct forecast_made *made,
                                 struct error *error) MUST_USE;

/* What is known of a series' calibration, read from its newest vintage at the first use. False
 * where vintages are switched off or the store cannot be read. */
bool forecast_track(struct forecast_desk *desk, uint32_t id, struct track *track);

/* From the live counts where there are enough, else from the record of the model (may be NULL). */
struct forecast_evidence forecast_evidence_of(const struct conformal *calibration,
                                              const struct snapshot_record *record);

/* The series with the bounds of its forecasts, declared or not: what never was negative stays so,
 * and what goes to and fro between two values does not leave them. */
struct model_series forecast_bounds(const struct model_series *series);

/* Moves the past in `values`, those of the series, to the level of the newest ones where that has
 * shifted; shift->at is 0 where it has not. Uses desk->scratch. */
enum status forecast_follow_shift(struct forecast_desk *desk, const struct model_series *series,
                                  double *values, struct level_shift *shift,
                                  struct error *error) MUST_USE;

/* The last touch on a forecast: widened for gaps and a young level, then settled. */
void forecast_complete(const struct model_series *series, double widening,
                       struct forecast *forecast);

/* Numbers far below anything that the series has become zero, but where the whole band is so small:
 * no forecast is without one. */
void forecast_settle(const struct model_series *series, struct forecast *forecast);

/* Any level of a step, within the bounds and whole where the series is declared so: what answers
 * tell. */
double forecast_level(const struct forecast_made *made, size_t step, double level);

/* Newest values of a series that a forecast is made from, at most SERIES_VALUES_MAX: what the model
 * of its step sees, and three seasons. */
size_t forecast_values(struct api_services *services, const struct series_facts *facts);

/* The forecasts as they stood at `at_ms`, from the vintages; `steps` and the rest as for
 * forecast_make. STATUS_NOT_FOUND with no_vintage where a series has none, or with `skip_short`
 * marked as skipped. */
enum status forecast_recall(struct forecast_desk *desk, const struct forecast_order *order,
                            int64_t at_ms, struct forecast_made *made,
                            struct error *error) MUST_USE;

/* Step, seasons and state of a series, found out now where they are not known. With `cheap` only
 * the step, from a few points. */
enum status forecast_facts(struct forecast_desk *desk, const struct series_info *info, bool cheap,
                           struct series_facts *facts, struct error *error) MUST_USE;

/* What `facts` are on the coarser grid of `step_ms`: seasons are looked for anew, in as many values
 * as go to *cells, the most that may be read of it: COARSER_CELLS, of COARSER_POINTS points. */
#define COARSER_STEPS  256
#define COARSER_CELLS  1024
#define COARSER_POINTS (1u << 18)
enum status forecast_facts_coarser(struct forecast_desk *desk, const struct series_info *info,
                                   int64_t step_ms, struct series_facts *facts, size_t *cells,
                                   struct error *error) MUST_USE;

/* The origin that a forecast made at `now_ms` has, from what is known without reading points. A
 * cell that is being filled may leave it one step earlier. */
int64_t forecast_origin_ms(const struct series_info *info, const struct series_facts *facts,
                           int64_t now_ms);

enum series_state series_state_of(struct api_services *services, const struct series_info *info,
                                  const struct series_facts *facts, int64_t now_ms);
const char *series_state_name(enum series_state state);

/* After this long without a point a series of the step counts as stale. */
int64_t stale_after_ms(int64_t step_ms);

/* The newest points of a series on its grid: at most `maximum` values to *values (the caller frees
 * them with mem_free). With `cheap` seasons are not looked for where they are not known; `facts`,
 * where given, are taken instead of the series' own. Seasons,
 * bounds and time zone (borrowed from `info`) are filled in; without values where there are fewer
 * than two points. STATUS_BUSY where the zone cannot be read now: no forecast by a wrong clock. */
struct grid_order {
    size_t maximum;
    bool cheap;
    const struct series_facts *facts; /* may be NULL */
};
enum status forecast_grid(struct forecast_desk *desk, const struct series_info *info,
                          const struct grid_order *order, double **values,
                          struct model_series *series, struct series_facts *facts,
                          struct error *error) MUST_USE;

#endif
