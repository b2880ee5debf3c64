/* Inside of a snapshot: the members, what they share, and the record.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Made by training or loading, then read only. The id and the file's hash are the exceptions: they
 * are set by the owner before the snapshot is published.
 */
#ifndef MODEL_SNAPSHOT_H
#define MODEL_SNAPSHOT_H

#include "model/blend.h"
#include "model/member.h"

#include <stdatomic.h>

#define MEMBERS_MAX 16

/* Values to train on that a series has at least where training holds some of its newest ones back;
 * one that would have fewer is learned whole. */
#define LEARNED_MIN(horizon) ((horizon) + 3)

struct snapshot {
    atomic_uint references;
    struct snapshot_record record;
    struct feature_plan plan;
    uint32_t seasons[SEASONS_MAX]; /* of the group */
    struct member *members[MEMBERS_MAX];
    size_t member_count;
    struct blend blend; /* baselines that are mixed in, by series */
    float *spread;      /* [Q][H]: distance from the median is multiplied by this (calibration) */
};

/* An empty snapshot with one reference and the plan's tables; spread is 1. The
 * members are added by the caller (who gives them away). */
enum status snapshot_new(const struct feature_plan *plan, size_t member_count,
                         struct snapshot **out, struct error *error) MUST_USE;

/* Fills what follows from the members: parameters, bytes, backbone, sparse share, members. */
void snapshot_summarise(struct snapshot *snapshot);

/* "5m", "1h", "250ms" */
void snapshot_step_text(int64_t step_ms, char *text, size_t capacity);

#endif
