/* One record of a model: what the store keeps about a snapshot file, read and written as JSON.
 * SPDX-License-Identifier: Apache-2.0
 *
 * {"file","standing","champion","published_ms","decisions","verdict", and the members of
 * snapshot_describe}: id, step_ms and sha256 are among those. "verdict" is the last of ours. Every
 * change of standing is a decision with its instant, who made it and why; the newest are kept.
 */
#ifndef SERVER_MODEL_ENTRY_H
#define SERVER_MODEL_ENTRY_H

#include "api/api.h"

#define MODEL_RECORD_KIND      "model"
#define MODEL_RECORD_BYTES_MAX ((size_t)64 << 10)

enum standing {
    STANDING_CHAMPION,
    STANDING_PREVIOUS,
    STANDING_RETIRED,
    STANDING_KEPT_BACK,
    STANDING_CORRUPT,
    STANDING_NEWER, /* of a newer release: its file waits, as it is, for one that reads it */
};

#define DECISIONS_MAX 8

/* Who decides: "gate" (the comparison after a training), "request" (promote and rollback by hand),
 * "regret" (live losses), "start" (files that cannot be loaded, or can be again). */
struct decision {
    int64_t at_ms;
    enum standing standing;
    char by[12];
    char reason[160];
};

struct model_entry {
    char id[48];
    int64_t step_ms;
    char file[64];
    char sha256[65];
    enum standing standing;
    char verdict[160]; /* why it stands where it does */
    int64_t published_ms;
    struct decision decisions[DECISIONS_MAX]; /* the oldest first */
    size_t decision_count;
    char *description; /* members of snapshot_describe, with the closing brace; owned */
};

const char *standing_name(enum standing standing);

/* A new standing with its reason: sets the verdict, and is added to the decisions. */
void model_entry_decide(struct model_entry *entry, enum standing standing, const char *by,
                        const char *format, ...) PRINTF_LIKE(4, 5);

/* STATUS_CORRUPT where the text is no such record; STATUS_NO_MEMORY says nothing about it. */
enum status model_entry_read(struct model_entry *entry, const char *json, size_t length,
                             struct error *error) MUST_USE;
void model_entry_write(const struct model_entry *entry, struct text *out);
void model_entry_release(struct model_entry *entry);

#endif
