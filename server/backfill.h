/* Backfill: the past of a neighbour, Prometheus or InfluxDB, fetched window by window and stored.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each window is stored before the next one is asked for, and storing a point again changes
 * nothing: a run that ended early says with which --start it can go on, and a whole run can be
 * repeated.
 */
#ifndef SERVER_BACKFILL_H
#define SERVER_BACKFILL_H

#include "server/import_target.h"

#define BACKFILL_QUERIES_MAX 64

enum neighbour_kind {
    NEIGHBOUR_PROMETHEUS, /* POST /api/v1/query_range */
    NEIGHBOUR_INFLUXQL,   /* InfluxDB 1.x: POST /query */
    NEIGHBOUR_FLUX        /* InfluxDB 2.x: POST /api/v2/query */
};

struct backfill_source {
    enum neighbour_kind kind;
    const char *url;
    const char *queries[BACKFILL_QUERIES_MAX];
    size_t query_count;
    const char *name;              /* of series without one; NULL */
    const char *column_prefix;     /* for the reader of InfluxQL; set by backfill_check */
    const char *database, *policy; /* InfluxDB 1.x; policy may be NULL */
    const char *org, *bucket;      /* InfluxDB 2.x */
    int64_t now_ms;                /* of all relative times */
    int64_t start_ms, end_ms;
    int64_t step_ms;     /* 0: the points as they are (InfluxDB) */
    struct text headers; /* for fetch_request; secrets among them */
    char user[8192];     /* "name:password"; empty: none */
    const char *ca_file;
};

/* Rows for the table of a command; backfill_option takes what they are given. */
#define BACKFILL_OPTIONS                                                                           \
    {"from-prometheus", "URL", "Take the points from a Prometheus instead of files."},             \
        {"from-influxdb", "URL", "Take the points from an InfluxDB, 1.x or 2.x."},                 \
        {"query", "QUERY", "PromQL, InfluxQL or Flux; may repeat."},                               \
        {"start", "TIME", "RFC 3339, or -30d for so long before now. [-30d]"},                     \
        {"end", "TIME", "The same. [now]"},                                                        \
        {"step", "DURATION", "Between points; InfluxDB: means over it. [1m; as stored]"},          \
        {"name", "NAME", "For series that the query leaves without a name."},                      \
        {"database", "NAME", "Of InfluxDB 1.x."},                                                  \
        {"policy", "NAME", "Retention policy of InfluxDB 1.x."},                                   \
        {"bucket", "NAME", "Of InfluxDB 2.x."}, {"org", "NAME", "Organization of InfluxDB 2.x."},  \
        {"header", "LINE", "Sent with each request, as 'Name: value'; may repeat."},               \
        {"header-file", "FILE", "Such lines with secrets."},                                       \
        {"bearer-file", "FILE", "A token, sent as Authorization: Bearer."},                        \
        {"influx-token-file", "FILE", "A token of InfluxDB 2.x."},                                 \
        {"basic-file", "FILE", "name:password, for basic authentication."},                        \
    {                                                                                              \
        "ca-file", "FILE", "Certificates to trust instead of the system's."                        \
    }

/* Presets: the last thirty days. Release it in every case. */
void backfill_source_init(struct backfill_source *source);
void backfill_source_release(struct backfill_source *source);

/* One option. STATUS_NOT_FOUND where `name` is not among those above; texts are borrowed. */
enum status backfill_option(struct backfill_source *source, const char *name, const char *value,
                            struct error *error) MUST_USE;

/* One query for one window, as it is sent. */
struct backfill_request {
    struct text url, body;
    const char *content_type;
};

/* Fills in defaults and checks what belongs together: STATUS_INVALID names the option at fault. */
enum status backfill_check(struct backfill_source *source, struct error *error) MUST_USE;

/* The request of one query for the window [from_ms, to_ms). Release it in every case. */
enum status backfill_request_make(const struct backfill_source *source, size_t query,
                                  const int64_t window[2], struct backfill_request *request,
                                  struct error *error) MUST_USE;
void backfill_request_release(struct backfill_request *request);

/* The words of a server in an answer that is an error, as one line; the beginning of the body where
 * it is no JSON with "error" or "message". */
void backfill_server_words(const char *body, size_t length, char out[200]);

/* Fetches and stores everything, with progress on standard error. */
enum status backfill_run(struct backfill_source *source, struct import_target *target,
                         struct error *error) MUST_USE;

#endif
