/* Downsampling and the retention of what it made, as scenarios with points of their own.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Two series, old enough for two rules, whose means are exact: each cell of an hour and of four is
 * whole or one point, and that point is the mean (of the counter: the last). The history's own
 * series are too young for the rules.
 */
#ifndef TESTS_TORTURE_THINNING_H
#define TESTS_TORTURE_THINNING_H

#include "tests/torture/history.h"

void thinning_options(struct history *history);
void thinning_prepare(struct history *history);
void thinning_prepare_thinned(struct history *history);

/* To the cell, as a command does; a slice at a time, as a daemon does; retention of half of it. */
void thinning_all(struct history *history);
void thinning_slices(struct history *history);
void thinning_retain(struct history *history);

bool thinning_judge(struct history *history);
bool thinning_judge_retained(struct history *history);

#endif
