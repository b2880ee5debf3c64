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
};

extern const struct scenario scenarios[];
extern const size_t scenario_count;

/* A history up to where `run` begins: some batches, then the preparation. */
void scenario_begin(struct history *history, const struct scenario *scenario,
                    struct snapshot *model, const char *directory);

/* The power goes, and comes back: the store is closed, the disk holds what survived. */
void scenario_kill(struct history *history);

/* Of what readers saw when `run` began; the reading scenario compares with it. */
extern uint32_t scenario_digest;

#endif
