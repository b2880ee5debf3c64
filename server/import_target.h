/* Where imported points go: into a store opened by hand, or to a daemon as pieces of CSV.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SERVER_IMPORT_TARGET_H
#define SERVER_IMPORT_TARGET_H

#include "server/command.h"
#include "server/http_client.h"

struct import_target {
    const char *url;            /* of the daemon; NULL: into the store */
    struct http_credentials as; /* for the daemon */
    struct command_store store; /* opened by the caller where url is NULL */
    uint64_t accepted, updated, rejected;
    int64_t now_ms; /* when it was opened: times are held against it */
    /* private */
    struct write_batch *batch; /* being filled; NULL = none */
    struct text piece;         /* the same for a daemon: a body of long CSV */
    bool told;                 /* a refused time */
};

/* With url set. Opens the store where there is none. */
enum status import_target_open(struct import_target *target, const struct config_sources *sources,
                               struct error *error) MUST_USE;

/* Points of one series by its text: canonical for the store, for a daemon as it would be in a file.
 * Times that the limits of the store forbid are counted as rejected, the first is said; a daemon
 * has limits of its own. They are stored in batches, the last of them by import_target_flush. */
enum status import_target_add(struct import_target *target, struct slice series,
                              const struct point *points, size_t count,
                              struct error *error) MUST_USE;

/* Everything added is stored when this returns. */
enum status import_target_flush(struct import_target *target, struct error *error) MUST_USE;

/* Closes an opened target; where `complete`, what was stored is compacted first. What was added
 * after the last flush is dropped. */
enum status import_target_close(struct import_target *target, bool complete,
                                struct error *error) MUST_USE;

#endif
