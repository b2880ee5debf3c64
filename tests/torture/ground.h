/* What a torture program stands on: a folder on the real disk for locks, and a small model.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_TORTURE_GROUND_H
#define TESTS_TORTURE_GROUND_H

#include "model/model.h"

#define GROUND_PATH 64

/* Makes the folder and says its path. The model is ground_close's to release; NULL without a
 * folder. */
struct snapshot *ground_open(char directory[GROUND_PATH]);

/* Removes the folder with the locks that stores have left in it. */
void ground_close(const char *directory, struct snapshot *model);

#endif
