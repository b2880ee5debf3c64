/* Live forecasts: finished answers by query string, forecasts, and what was inferred about each
 * series. SPDX-License-Identifier: Apache-2.0
 *
 * An answer is kept as the bytes that go out. It is good as long as nothing it came from has
 * changed: for each series of it the generation (late points, updates, deletes, settings) and the
 * grid cell of the newest point (a new cell closes the step before), for all the registry's
 * generation, the limits, the instant at which a state changes by time alone and, for selectors,
 * which series there are. Only the age of the data changes with each request: it is written into
 * room that the answer has for it.
 *
 * A live series is one that such an answer, asked for in the last ten minutes, speaks of. When its
 * step closes the scheduler has the answer made anew (api_refresh), so that the next client finds
 * it. All answers together stay below limits->live_bytes_max; the ones asked for longest ago make
 * room.
 *
 * Threads: any. One lock for answers, one for facts, one for forecasts, never two of them.
 */
#ifndef API_LIVE_H
#define API_LIVE_H

#include "api/api.h"

#define LIVE_WATCHED_MAX 8      /* series of an answer that each request checks itself */
#define LIVE_AGE_WIDTH   14     /* characters of room for data_age_ms */
#define LIVE_ASKED_MS    600000 /* an answer asked for within this time is kept fresh */

enum status live_new(struct live **out, struct error *error) MUST_USE;
void live_free(struct live *live);

/* ---------------------------------------------------------------- answers */

/* One series that an answer speaks of. */
struct live_series {
    uint32_t id;
    uint64_t generation;
    struct grid_cells cells;
    int64_t last_ms; /* of the newest point: data_age_ms counts from here */
    size_t age_at;   /* where the room for data_age_ms is in the bytes; 0: none */
    bool skipped;    /* it had too few values */
};

struct live_answer {
    char *bytes; /* mem_alloc; the table's after live_put */
    size_t length;
    const char *content_type;
    struct live_series *series; /* mem_alloc; likewise */
    size_t series_count;
    bool open;               /* a selector: a series that comes or goes ends it */
    uint64_t series_changes; /* storage_series_changes then */
    uint64_t registry_generation;
    const struct api_limits *limits;
    int64_t asked_ms;      /* wall clock; an answer that replaces another keeps the other's */
    int64_t good_until_ms; /* wall clock */
};

/* Stores the answer of a query; takes bytes and series in any case. Does nothing without memory. */
void live_put_take(struct live *live, const char *query, struct live_answer *answer,
                   size_t bytes_max);

/* The answer of a query is gone, for example because its series is. */
void live_forget(struct live *live, const char *query);

/* A copy of the answer with the age of its data, where there is one that is still good. */
bool live_get(struct api_services *services, const char *query, int64_t now_ms,
              struct api_response *response);

/* The same to the end of a text, as it was kept. */
bool live_add(struct api_services *services, const char *query, int64_t now_ms, struct text *out);

/* Queries, asked for lately, whose answers are no longer good: up to `maximum` copies, each freed
 * by the caller with mem_free. `ids` limits them to answers that speak of one of these (sorted). */
size_t live_outdated(struct api_services *services, const uint32_t *ids, size_t id_count,
                     int64_t now_ms, char **queries, size_t maximum);

/* Series of live answers that are no longer good, and the milliseconds until one may be (at most
 * 1,000; 0 where there were more than `maximum`). */
int64_t live_due(struct api_services *services, int64_t now_ms, uint32_t *ids, size_t maximum,
                 size_t *count);

struct live_stats {
    size_t answers, bytes, series;
};
void live_stats(struct live *live, struct live_stats *stats);

/* Writes the age into its room, right-aligned. */
void live_write_age(char *room, int64_t age_ms);

/* ---------------------------------------------------------------- facts */

/* Whether of a stretch of ids no series is left, and none will come: there is one behind it. */
bool live_ids_gone(struct storage *storage, size_t first, size_t count);

/* What was inferred from the points of a series. */
struct series_facts {
    int64_t native_ms;         /* grid interval of the points themselves; 0: fewer than two */
    int64_t step_ms;           /* the one in use: set by the user, or native */
    int64_t phase_ms, lead_ms; /* of its cells, as of struct grid_cells */
    uint32_t seasons[SEASONS_MAX];
    uint64_t generation, points; /* of the series when they were found out */
    uint64_t families;           /* families_version then */
    uint64_t checked;            /* points when it was last looked whether the step is the same */
    bool with_seasons;
    bool negative; /* at some time, as desk_negative has it; known with the seasons */
    bool months;   /* of the calendar: see grid_of_months */
    bool counter;  /* declared, or known by name and shape: forecast by its rise per second */
};

/* Readings that make one cell, rounded up. */
size_t live_points_per_cell(const struct series_facts *facts);
/* Where the cells of a series lie, and what the time of one is called. */
struct grid_cells live_cells(const struct series_facts *facts);
int64_t live_label_ms(const struct series_facts *facts, int64_t cell_ms);
/* Whether an answer is as good for a newest reading as it was for the one then. A second reading in
 * a cell that is called exactly as its only one comes says that cells may have moved. */
bool live_same_cell(const struct grid_cells *cells, int64_t then_ms, int64_t now_ms);

/* False where there are none, or the series has changed or grown by an eighth since. */
bool live_facts(struct live *live, const struct series_info *info, struct series_facts *facts);

/* Remembers them; forgets silently without memory. */
void live_facts_put(struct live *live, uint32_t id, const struct series_facts *facts);

/* Forgets those of series that are gone, a piece a call, round and round. One caller at a time. */
void live_facts_tidy(struct live *live, struct storage *storage);

/* ---------------------------------------------------------------- forecasts */

struct forecast_made;
struct forecast_order;
struct track;

/* What a forecast answers and came from, besides the points; taken before these are read. */
struct live_made_key {
    uint32_t id;
    bool as_many, coarser, from_now, late;
    bool crossings; /* one that was made with them serves orders without as well */
    size_t steps, steps_max;
    int64_t horizon_ms;
    uint64_t registry_generation, families;
    const struct api_limits *limits;
    uint64_t maker;                /* calibration: see struct track */
    int64_t issued_ms, settled_ms; /* likewise */
};

/* All but the id, which the caller has set. `track`: of zeros where there is none. */
void live_made_key(struct api_services *services, const struct forecast_order *order,
                   const struct track *track, struct live_made_key *key);

/* A copy of the forecast that was made under this key, to be released as any other, where the same
 * one would come out again: nothing has changed and no step has closed since. Its info is today's,
 * its issued_ms the moment when it was made. */
bool live_made_find(struct api_services *services, const struct live_made_key *key, int64_t now_ms,
                    struct forecast_made *made);

/* Keeps a copy, in the place of another; not where it is long, or without memory. */
void live_made_put(struct live *live, const struct live_made_key *key,
                   const struct forecast_made *made);

#endif
