/* Backup and restore as scenarios: the commands themselves, beside a store that is open.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A file under the name of a backup is a whole one, and a store under the restored folder is the
 * whole store, whatever failed and whatever the command said; where the command said that it was
 * done, they are there. What is there is judged by making a store of it and comparing every point
 * and model with the source.
 */
#ifndef TESTS_TORTURE_COPIES_H
#define TESTS_TORTURE_COPIES_H

#include "tests/torture/history.h"

void copies_prepare_backup(struct history *history);
void copies_backup(struct history *history);
bool copies_judge_backup(struct history *history);

void copies_prepare_restore(struct history *history);
void copies_restore(struct history *history);
bool copies_judge_restore(struct history *history);

/* Removes what lies on the real disk: the lock of the restored store. */
void copies_clean(const char *directory);

#endif
