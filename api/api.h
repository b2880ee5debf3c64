/* What the outside may ask, as plain functions request -> response: no sockets, no threads.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The server fills an api_request, calls api_fast on its network thread and, where that declines,
 * api_handle on a worker. Everything is a function of data, so nearly all HTTP behaviour can be
 * tested and fuzzed without opening a port.
 *
 * Order of one request
 *   1. api_begin    when the head has been read: route known? method allowed? body size and type
 *                   acceptable? A refusal here spares the client the upload.
 *   2. api_fast     body complete, on the network thread: answers from memory alone (health,
 * metrics, a live forecast), and parses and submits small ingest bodies. Never any I/O, never a
 * model run, never blocks.
 *   3. api_handle   on a worker thread with its own reader and arena: everything else.
 *   4. Either may return API_PENDING: `request->resume` is then called exactly once, later, from
 *      another thread, when the response is filled (an ingest after its commit).
 */
#ifndef API_API_H
#define API_API_H

#include "base/token.h"
#include "model/model.h"
#include "storage/writer.h"

#include <stdatomic.h>

/* ---------------------------------------------------------------- request and response */

enum api_method { API_GET, API_HEAD, API_POST, API_PATCH, API_DELETE, API_OTHER };

enum api_encoding { API_IDENTITY, API_GZIP, API_SNAPPY, API_ZSTD, API_UNKNOWN_ENCODING };

/* Who asks: filled by api_begin. Its name is safe in a log line. */
struct api_caller {
    bool known;
    unsigned scopes; /* of base/token.h */
    char name[TOKEN_NAME_BYTES];
    char prefix[TOKEN_PREFIX_BYTES]; /* empty: all series */
};

struct api_request {
    enum api_method method;
    const char *path;          /* percent-encoded, as sent, without the query */
    const char *query;         /* as sent, without '?'; empty where there is none */
    const char *content_type;  /* empty where absent */
    const char *authorization; /* as sent, during api_begin; NULL where absent */
    struct api_caller caller;  /* api_begin's */
    bool probe; /* it came by the port for probes: health and metrics want no token */
    enum api_encoding encoding;
    const char *body;
    size_t body_length;
    char request_id[40]; /* [A-Za-z0-9_.-], the client's or a new one */
    bool accept_openmetrics;
    bool accept_gzip;
    const char *if_none_match;                   /* as sent; NULL where absent */
    void (*resume)(struct api_request *request); /* the server's; see API_PENDING */
    void *server_context;
    struct api_response *response; /* set by the server before api_fast */
    void *pending;                 /* api's own state between submit and commit */
};

#define API_HEADERS_MAX         8
#define API_HEADERS_BYTES       384 /* values of one response with their zeros */
#define API_HEADER_VALUE_LENGTH 159

/* One lies in each connection that has begun a request, so it is small. */
struct api_response {
    int status;               /* 200, 404 ... */
    const char *content_type; /* static string */
    struct {
        const char *name;       /* static string */
        size_t value_at;        /* in header_values: see api_header_value */
    } headers[API_HEADERS_MAX]; /* Location, Retry-After, Allow, ETag, Cache-Control ...; the server
                                 * adds X-Request-Id */
    size_t header_count, header_bytes;
    char header_values[API_HEADERS_BYTES];
    char *body; /* api allocates with mem_alloc; the server frees with mem_free ... */
    size_t body_length;
    bool body_static; /* ... unless this is set (compiled-in assets) */
};

void api_response_release(struct api_response *response);

/* The value of headers[index]. */
const char *api_header_value(const struct api_response *response, size_t index);

enum api_outcome { API_DONE, API_PENDING, API_DECLINED /* api_fast only: call api_handle */ };

/* ---------------------------------------------------------------- services */

/* The daemon's own counters and gauges; each module adds with api_count. Rendered by GET /metrics.
 */
struct api_metrics;

/* Jobs: what runs or ran in the background (train, backtest). Owned by api, run by the scheduler.
 */
enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_DONE, JOB_FAILED, JOB_CANCELLED };

struct job_detail; /* a long result; api/jobs.c's */

#define JOB_SELECTOR_MAX 1024
#define JOB_RESULT_MAX   ((size_t)512 << 10) /* bytes of a result */

struct job {
    char id[24];
    char kind[16];
    enum job_state state;
    int64_t created_ms, started_ms, ended_ms;
    double progress, loss, seconds_left; /* loss NaN = null */
    uint64_t step;
    char phase[48];
    char result[512]; /* JSON, or empty: also where it is longer, then it is in `detail` */
    struct job_detail *detail;
    char error[320];
    /* what to do */
    double seconds; /* 0 = the configuration's */
    uint64_t steps;
    uint64_t seed; /* 0 = the configuration's */
    size_t seeds;  /* of a backtest: so many trainings, from `seed` on; 0 = 1 */
    char backbone[24];
    int64_t step_ms;                 /* group; 0 = all that are due */
    char selector[JOB_SELECTOR_MAX]; /* of a backtest: its series; empty = all */
    size_t horizon, windows;         /* of a backtest; horizon 0: horizon_ms, or the configured */
    int64_t horizon_ms;
    atomic_bool cancel;
    bool given_up; /* it has failed, and whoever runs it is still at it */
};

struct job_table;
enum status job_table_new(struct job_table **out, struct error *error) MUST_USE;
void job_table_free(struct job_table *table);
/* STATUS_CONFLICT where one of the kind is queued already. Copies `request`; fills its id. */
enum status job_add(struct job_table *table, struct job *request, struct error *error) MUST_USE;
/* The oldest queued job is marked running; NULL where there is none. Stays valid until job_end. */
struct job *job_take(struct job_table *table);
void job_progress(struct job_table *table, struct job *job, const struct train_progress *progress);
/* A result beyond JOB_RESULT_MAX, or for which memory is short, is lost: the job's error says so.
 */
void job_end(struct job_table *table, struct job *job, enum job_state state,
             const char *result_json, const char *error);
/* It has failed, for good, and its address stays valid until job_end, which only ends that. Any
 * thread, while it runs. */
void job_give_up(struct job_table *table, struct job *job, const char *error);
/* Blocks until a job is queued, the table is closed, or the time is over; false on timeout or
 * close. */
bool job_wait(struct job_table *table, int64_t timeout_ms);
void job_close(struct job_table *table);     /* cancels what runs, wakes waiters */
bool job_is_closed(struct job_table *table); /* and then no job comes any more */

/* Limits and settings that requests need; the server fills them from the configuration and may swap
 * the struct on reload. */
struct api_limits {
    size_t body_max;       /* ingest.max_body, bytes */
    int64_t max_future_ms; /* ingest.max_future */
    uint32_t series_max;   /* ingest.max_series */
    int64_t retention_ms;
    size_t points_per_request;  /* 100,000 */
    size_t forecast_series_max; /* 500 */
    size_t horizon_default;     /* steps */
    size_t horizon_max;         /* 1,024 */
    char quantiles[128];        /* forecast.quantiles, "0.1,0.5,0.9" */
    size_t live_bytes_max;      /* memory for live forecasts, 32 MiB */
    int64_t vintage_age_max_ms; /* forecast.vintages; 0 = none are kept */
    size_t metrics_series_max;  /* forecast.metrics_max: of GET /forecast/metrics; 0 = off */
};

/* STATUS_INVALID where `text` is not a list of levels in (0,1) as forecast.quantiles wants it. */
enum status api_quantiles_check(const char *text, struct error *error) MUST_USE;

/* Whether the store may have a point of this time: too_far_future, too_old. */
enum status api_check_time(const struct api_limits *limits, int64_t now_ms, int64_t time_ms,
                           struct error *error) MUST_USE;

struct access;       /* tokens: api/access.h */
struct live;         /* live forecasts: api/live.h */
struct tracks;       /* calibration by series: api/track.h */
struct regret;       /* champions against those they replaced: api/regret.h */
struct families;     /* types of metrics by name: api/families.h */
struct points_cache; /* api/points_reader.h */

/* What the process knows of itself, for metrics. */
struct api_measures {
    uint64_t promoted, kept_back, failed; /* trainings, by how they ended */
    bool has_broker, broker_connected;
    int64_t free_bytes;  /* on the disk of the store; below zero: not known */
    bool reloaded;       /* the last reload took everything, or there was none */
    int64_t reloaded_ms; /* when that was last so; the start counts */
};

struct api_services {
    struct storage *storage;
    struct writer *writer;
    struct registry *registry;
    struct job_table *jobs;
    struct access *access; /* set by the server; NULL: everybody may do everything */
    struct live *live;
    struct tracks *tracks;
    struct trials *trials;
    struct regret *regret;
    struct families *families;
    struct api_metrics *metrics;
    _Atomic(struct points_cache *) points_cache; /* names seen in bodies, for the network thread */
    _Atomic(const struct api_limits *) limits;
    struct model_config model_config;
    int64_t started_ms;
    atomic_bool draining; /* readyz: shutting down */
    /* upward calls, set by the server; may be NULL */
    void (*describe)(void *context, struct text *json); /* adds members to GET /api/v1/status */
    /* models/{id}/promote and models/rollback (step_ms 0: the only group there is); block on disk
     */
    enum status (*promote)(void *context, const char *model_id, struct error *error);
    enum status (*rollback)(void *context, int64_t step_ms, struct error *error);
    atomic_int_fast64_t train_every_ms;        /* for metrics, set by the server; 0: not known */
    uint64_t (*models_damaged)(void *context); /* files set aside since the start, for metrics */
    void (*measure)(void *context, struct api_measures *measures); /* likewise; short locks only */
    void *context;
};

/* Makes metrics, the live table and the cache of names in `services` (storage, writer, registry,
 * jobs and limits are set), and reads what senders said of their metrics. */
enum status api_services_init(struct api_services *services, struct error *error) MUST_USE;
void api_services_release(struct api_services *services);

/* ---------------------------------------------------------------- handling */

/* One a worker thread: reader, scratch, forecaster workspaces. */
struct api_worker;
enum status api_worker_new(struct api_services *services, struct api_worker **out,
                           struct error *error) MUST_USE;
void api_worker_free(struct api_worker *worker);

/* 1: head only; content_length UINT64_MAX where it is not known. API_DONE: answer `response` now;
 * API_DECLINED: read the body and go on. */
enum api_outcome api_begin(struct api_services *services, struct api_request *request,
                           uint64_t content_length, struct api_response *response);
/* 2 */
enum api_outcome api_fast(struct api_services *services, struct api_request *request,
                          struct api_response *response);
/* 3: API_DONE or API_PENDING */
enum api_outcome api_handle(struct api_worker *worker, struct api_request *request,
                            struct api_response *response);

/* Fills the answer to a failure the server itself met (413, 503 queue full with Retry-After ...).
 */
void api_problem(const struct api_request *request, const struct error *error,
                 struct api_response *response);

/* Tokens in memory: none at first, so nobody gets in. Replacing them takes the list; any thread. */
enum status access_new(struct access **out, struct error *error) MUST_USE;
void access_replace_take(struct access *access, struct token_list *tokens);
void access_free(struct access *access); /* NULL is fine */

/* Whether the request is one for the audit log: its route is an administrator's alone. */
bool api_is_audited(const struct api_request *request);

/* Whether a request that reached the port for probes may be answered there: health and metrics. */
bool api_is_probe(const struct api_request *request);

/* Counts a finished request for /metrics: route template, status, seconds. Any thread. */
void api_observe(struct api_services *services, const struct api_request *request, int status,
                 int64_t duration_ns);

/* ---------------------------------------------------------------- live forecasts */

/* The scheduler calls this when a series' step has closed or new points came: reads the newest
 * points, fills the grid, forecasts with the champion (or the next best) and stores the answer for
 * api_fast. Ids beyond the memory bound are skipped; they are computed when asked for. */
void api_refresh(struct api_worker *worker, const uint32_t *ids, size_t count);

/* When the next step of any live series closes (monotonic milliseconds from now), for the
 * scheduler. */
int64_t api_refresh_due_ms(struct api_services *services, uint32_t *ids, size_t maximum,
                           size_t *count);

/* What was learned about series that are gone is forgotten, a piece a call. One caller at a time.
 */
void api_tidy(struct api_services *services);

/* ---------------------------------------------------------------- issued forecasts */

/* Whether a forecast of the series is due to be issued: kept as a vintage, after learning from the
 * values that have arrived for earlier ones. `live`: only if somebody asked about it lately. Memory
 * only. */
bool api_issue_due(struct api_services *services, uint32_t id, bool live);

/* Issues forecasts of up to API_ISSUE_MAX series that are due; others are left out. The vintages go
 * to the writer as background work, nobody waits. */
#define API_ISSUE_MAX 16
void api_issue(struct api_worker *worker, const uint32_t *ids, size_t count);

/* Whether the champion of a group has done so much worse than the previous one or than the baseline
 * that it must go; the scheduler asks and acts. */
struct regret_verdict {
    bool to_previous; /* else to the baseline */
    char champion[48];
    char reason[160];
};
bool api_regret(struct api_services *services, int64_t step_ms, struct regret_verdict *verdict);
void api_regret_forget(struct api_services *services, int64_t step_ms); /* once it was acted upon */

/* ---------------------------------------------------------------- alert rules */

enum alert_measure {
    ALERT_QUANTILE, /* a quantile of the forecast is beyond the threshold at a step within the time
                     */
    ALERT_CROSSING  /* the first crossing has come within the time, with a given chance */
};

struct alert_condition {
    enum alert_measure measure;
    bool above; /* else below */
    double threshold;
    int64_t within_ms; /* from now; beyond the longest horizon it is cut there */
    double level;      /* the quantile, or the chance: 0.1, 0.5 or 0.9 */
};

struct alert_finding {
    bool usable; /* false: too few values, or the series is gone; then nothing else is set */
    bool holds;
    bool stale;      /* no point for many steps: holds is false */
    double figure;   /* the quantile that is farthest beyond; or the chance within the time */
    int64_t when_ms; /* of the first step beyond, or of the crossing; INT64_MIN: there is none */
    int64_t origin_ms;
};

/* Whether the condition holds for a series now: a forecast is made, as an answer would be. */
enum status api_alert_find(struct api_worker *worker, const struct alert_condition *condition,
                           uint32_t id, struct alert_finding *finding,
                           struct error *error) MUST_USE;

/* Deliveries to webhooks by result, for /metrics. */
enum webhook_result { WEBHOOK_SENT, WEBHOOK_FAILED, WEBHOOK_DROPPED };
void api_count_webhook(struct api_services *services, enum webhook_result result);

/* What is known of a series beyond the store: step and seasons inferred, state, last forecast. */
enum series_state { SERIES_WARMING, SERIES_BASELINE, SERIES_LEARNED, SERIES_STALE };

/* Steps of all groups, and how many series each has; returns how many groups there are, where these
 * are more than `maximum` one more than that. */
size_t api_groups(struct api_worker *worker, int64_t *steps_ms, size_t *series_counts,
                  size_t maximum);

/* The same with the stored points of each group's series together. */
size_t api_groups_points(struct api_worker *worker, int64_t *steps_ms, size_t *series_counts,
                         uint64_t *points, size_t maximum);

/* Series of one step, the newest values of each on the grid, for training: the caller frees with
 * api_group_free. */
struct api_group {
    struct model_series *series;
    uint32_t *ids;
    size_t count, left_out; /* left out by sampling: said in the model's record */
    size_t unfit; /* of the step, but with too few values, gone meanwhile, or its zone unreadable */
    size_t bytes; /* of all values */
    void *memory;
};
struct api_group_order {
    const struct selector *only; /* NULL: all series of the step */
    int64_t step_ms;
    size_t values_max, bytes_max; /* of a series; of all together */
    size_t held_back;          /* newest values of a series that decide nothing about its seasons */
    const atomic_bool *cancel; /* NULL: nobody cancels; STATUS_CANCELLED where it is set */
};
enum status api_group_load(struct api_worker *worker, const struct api_group_order *order,
                           struct api_group *group, struct error *error) MUST_USE;
void api_group_free(struct api_group *group);

/* The step that most of the chosen series have; 0 where none has enough points. *others: chosen
 * series of another step, or with too few points for one. */
int64_t api_group_step(struct api_worker *worker, const struct selector *only, size_t *others);

/* ---------------------------------------------------------------- files of points, shared with the
 * command line */

/* One series of a CSV file in the forms wide, long or rows (plain or gzip), in file order. */
struct csv_series {
    char *id;             /* as in the file */
    struct point *points; /* in time order, NaN = missing */
    size_t count;
    int64_t step_ms; /* stated by the form rows, or of the first two rows (wide); 0 = unknown */
};
struct csv_data {
    struct csv_series *series;
    size_t count;
    uint64_t rejected;      /* rows and values refused */
    struct error first[20]; /* the first of them, with line numbers */
};
/* How a file is read. */
struct csv_options {
    size_t inflated_max;             /* bytes that a gzip file may unpack to */
    const struct api_limits *limits; /* on times, as of now_ms; NULL: any time is fine */
    int64_t now_ms;
    bool keep_repeated; /* points of one time all stay, in the order of the file, for a writer that
                         * counts them; otherwise the last of them only */
};
#define CSV_TIMES "Numbers are milliseconds since 1970, everything else RFC 3339."
/* STATUS_INVALID where nothing can be read: the text says which forms there are. */
enum status csv_read(const char *bytes, size_t length, const struct csv_options *options,
                     struct csv_data *out, struct error *error) MUST_USE;
void csv_free(struct csv_data *data);

/* ---------------------------------------------------------------- answers of other databases, for
 * the backfill of the command line
 */

/* Where the points of an answer go, and what of it was not taken. */
struct neighbour_answer {
    const char *name;          /* for series without a name of their own; NULL: those are refused */
    const char *column_prefix; /* taken off names of columns ("mean_"); NULL */
    /* The points of one series, by its canonical text, finite and in the order of the answer.
     * Called several times for a series with many points; another status than STATUS_OK ends the
     * reading. */
    enum status (*take)(void *context, const char *series, size_t length,
                        const struct point *points, size_t count, struct error *error);
    void *context;
    /* counted on over several answers: start with zeros */
    uint64_t points;         /* handed on */
    uint64_t missing;        /* NaN and null: nothing is stored for them */
    uint64_t skipped;        /* texts, booleans and infinities */
    uint64_t refused_series; /* their name or labels are no series here */
    struct error refusal;    /* of the first of those */
    char warning[200];       /* that the server put into the answer; empty: none */
};

/* query_range of Prometheus and of what speaks like it. STATUS_INVALID where the answer is an error
 * (with the server's words) or has another form. */
enum status neighbour_read_prometheus(const char *bytes, size_t length,
                                      struct neighbour_answer *answer,
                                      struct error *error) MUST_USE;

/* /query of InfluxDB 1.x with epoch=ms: one document, or one a line as chunked=true sends them. A
 * numeric column is a series measurement_column, its tags are the labels. */
enum status neighbour_read_influxql(const char *bytes, size_t length,
                                    struct neighbour_answer *answer, struct error *error) MUST_USE;

/* Annotated CSV of InfluxDB 2.x (annotations datatype, group and default). Columns of the group key
 * are the labels, the series is _measurement__field with one underscore. Quoted fields are unquoted
 * in place. */
enum status neighbour_read_flux(char *bytes, size_t length, struct neighbour_answer *answer,
                                struct error *error) MUST_USE;

/* Whether the parameters of a forecast make sense by themselves, whatever the store holds: `query`
 * is a query string. STATUS_INVALID says which does not. */
#define API_HORIZON_MAX 1024
enum status api_forecast_check(const char *query, struct error *error) MUST_USE;

/* The forecast answer in json, csv or table, as the route gives it: for `forecastd forecast
 * --data`. */
enum status api_forecast_text(struct api_worker *worker, const char *query, struct text *out,
                              struct error *error) MUST_USE;

#endif
