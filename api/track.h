/* What service has taught about each series: its calibration, and when it was issued last.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The lasting copy is in the newest vintage of the series; this table is read from there at the
 * first use. Also the rules of issuing: how often a series is, and how long each vintage is kept.
 *
 * Vintages are thinned as they age. Origins are counted in units of the step, or as many steps as
 * make a minute. A vintage has the rank of the highest power of two of units that was passed since
 * the one before; each rank doubles how long it is kept. So the newest are as dense as they were
 * issued, and at an age of a the next ones are about a/16 apart: "what did we say yesterday" is
 * answered within an hour and a half, whatever the step, by less than two hundred vintages.
 *
 * Threads: any; one lock for the table, nothing is called under it.
 */
#ifndef API_TRACK_H
#define API_TRACK_H

#include "api/api.h"
#include "base/lock.h"

struct track {
    struct conformal calibration;
    struct conformal kept; /* what the maker before had taught when it ceased to serve */
    uint64_t kept_maker;   /* 0 = none */
    uint64_t maker;        /* who made the newest vintage: track_maker; 0 = none */
    int64_t origin_ms;     /* of the newest vintage; INT64_MIN: none */
    int64_t asked_ms;      /* wall clock: an answer about it was made then */
    bool loaded;
};

struct tracks;
enum status tracks_new(struct tracks **out, struct error *error) MUST_USE;
void tracks_free(struct tracks *tracks);

/* False where it was not loaded yet. */
bool track_find(struct tracks *tracks, uint32_t id, struct track *track);
/* Keeps asked_ms as it is. Forgets silently without memory. */
void track_put(struct tracks *tracks, uint32_t id, const struct track *track);
void track_asked(struct tracks *tracks, uint32_t id, int64_t now_ms);
int64_t track_asked_ms(struct tracks *tracks, uint32_t id); /* 0: never */

/* Forgets those of series that are gone, a piece a call, round and round. One caller at a time. */
void tracks_tidy(struct tracks *tracks, struct storage *storage);

/* The pool of a step group under one maker: a running mean of what its series have learned, so that
 * a series of short history begins where the others are. Forgotten with the process; it fills again
 * as series are issued. False, and `shift` zeroed, below TRACK_POOL_MIN series' worth of issues. */
#define TRACK_POOL_MIN 8
void track_pool_add(struct tracks *tracks, int64_t step_ms, uint64_t maker,
                    const struct conformal *calibration);
bool track_pool(struct tracks *tracks, int64_t step_ms, uint64_t maker,
                float shift[CONFORMAL_PAIRS][CONFORMAL_PARTS]);

/* Identifies a maker within this process: the id of a model, or the name of a baseline. */
uint64_t track_maker(const char *model, const char *served_by);

/* Another one makes the forecasts from now on: the calibration is what the one before last had
 * taught, where that is `maker`, else half of what it was; and it is kept for the one that made
 * them so far. So a baseline may stand in for a model, through an outage say, and neither of them
 * forgets or is taught by the other. False where nothing was known of `maker` yet. */
bool track_turn(struct track *track, uint64_t maker);

/* ---------------------------------------------------------------- what a vintage is of */

/* What stands in a vintage's `state`: the state of its series, and whether its numbers are a
 * counter's rises. Vintages of older releases do not say the second. */
unsigned vintage_state(enum series_state state, bool counter);
enum series_state vintage_series_state(const struct vintage *vintage);

/* Whether a vintage can be held against values of that step and kind: not after either has changed,
 * be it by a user, by what a sender states or by the points. One that does not say its kind can. */
bool vintage_fits(const struct vintage *vintage, int64_t step_ms, bool counter);
/* Moves a vintage onto the cells of a series, of which `start_ms` is one. False where it was issued
 * when these lay elsewhere, further away than the rounding of their phase: it tells nothing then.
 * Nor does one on multiples of the step that would have to move back. */
bool vintage_align(struct vintage *vintage, int64_t start_ms);
/* What it says, or where it says nothing `otherwise`. */
bool vintage_of_counter(const struct vintage *vintage, bool otherwise);

/* ---------------------------------------------------------------- rules of issuing */

#define VINTAGE_UNIT_MS      60000 /* origins are at least this far apart */
#define VINTAGES_PER_RANK    16
#define VINTAGES_PER_HORIZON 12 /* of a series that nobody asks for */

/* The unit of a step: the step, or the steps that make a minute. */
int64_t vintage_unit_ms(int64_t step_ms);

/* Whether a series is to be issued at `origin_ms` when its newest vintage has `last_ms` (INT64_MIN:
 * none): `live` at each unit, others at each power of two of units that lies below a twelfth of the
 * horizon. */
bool vintage_due(int64_t step_ms, size_t horizon, bool live, int64_t last_ms, int64_t origin_ms);

/* How long the vintage issued then is kept, at most `age_max_ms`. */
int64_t vintage_lifetime_ms(int64_t step_ms, size_t horizon, int64_t last_ms, int64_t origin_ms,
                            int64_t age_max_ms);

#endif
