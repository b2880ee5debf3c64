/* Figures with a goal: printed, compared, counted; the closing line of a program of this folder.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LOAD_JUDGE_H
#define LOAD_JUDGE_H

/* Prints the figure with its goal and counts it as passed or failed. */
void judge_at_most(const char *name, double value, double most, const char *unit);
void judge_at_least(const char *name, double value, double least, const char *unit);

/* "N passed, N failed" with the machine's load; returns the exit status. */
int judge_close(void);

#endif
