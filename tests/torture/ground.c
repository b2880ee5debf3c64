/* What a torture program stands on: a folder on the real disk for locks, and a small model.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/torture/ground.h"

#include "tests/torture/copies.h"
#include "tests/torture/small_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct snapshot *ground_open(char directory[GROUND_PATH])
{
    snprintf(directory, GROUND_PATH, "/tmp/forecastd-torture-XXXXXX");
    return mkdtemp(directory) != NULL ? small_model(1) : NULL;
}

void ground_close(const char *directory, struct snapshot *model)
{
    char lock[GROUND_PATH + 32];
    snapshot_release(model);
    snprintf(lock, sizeof lock, "%s/forecastd.lock", directory);
    unlink(lock);
    copies_clean(directory);
    rmdir(directory);
}
