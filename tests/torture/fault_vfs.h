/* The disk of disk.h as SQLite's default VFS and as the file system of base/file.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Mounted, it takes every path; folders need not exist, and are renamed file by file. It behaves
 * like SQLite's own "unix" VFS: shared memory and locks work between the connections of this
 * process, the first sync of a new log syncs its folder, overwriting is power-safe for neighbouring
 * bytes. Randomness comes from the disk's seed, sleeping takes no time unless an operation is
 * delayed.
 */
#ifndef TESTS_TORTURE_FAULT_VFS_H
#define TESTS_TORTURE_FAULT_VFS_H

#include "tests/torture/disk.h"

/* One at a time, with no file open on the one before. NULL: the system's own again. */
void fault_vfs_mount(struct disk *disk);

#endif
