/* What is done to a store while something fails: each scenario a few requests long.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_TORTURE_SCENARIOS_H
#define TESTS_TORTURE_SCENARIOS_H

#include "tests/torture/history.h"

struct scenario {
    const char *name;
    void (*prepare)(struct history *history);
    void (*run)(struct history *history);
    bool reads_only;                          /* changes nothing of the store */
    bool closes;                              /* leaves the store closed */
    bool models;                              /* there are some to publish, or to copy */
    void (*options)(struct history *history); /* NULL: as usual */
    /* NULL: nothing. Faults are over, the store is open, and what `run` said is judged by what is
     * there; then it is done again and must succeed. False: history->why. */
    bool (*judge)(struct history *history);
};

extern const struct scenario scenarios[];
extern const size_t scenario_count;

/* A history up to where `run` begins: some batches, then the preparation. */
void scenario_begin(struct history *history, const struct scenario *scenario,
                    struct snapshot *model, const char *directory);

/* Between two faults of a scenario: what STRIDE says in the environment, or else `usual`. Where
 * that is not 1, the long scenarios (those with a judge) leave out five times as many. */
uint64_t scenario_stride(const struct scenario *scenario, uint64_t usual);

/* The power goes, and comes back: the store is closed, the disk holds what survived. */
void scenario_kill(struct history *history);

/* Of what readers saw when `run` began; the reading scenario compares with it. */
extern uint32_t scenario_digest;

#endif
