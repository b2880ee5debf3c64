/* A backup: one file with the whole of a store, made while others write to it, verified both ways.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The file is a SQLite database: the tables of the store as they were at one instant, and
 *     backup       one row: format, when and by what it was made, schema, series, points, and
 * `sum`, a SHA-256 over that row, the schema and every value of every other table backup_part files
 * beside the database (models), by name, in parts of at most 1 MiB So `sqlite3 -readonly FILE` can
 * look into it, and one changed bit is found before anything is written by a restore.
 *
 * Making one: backup_create copies the pages in slices from one snapshot, then files are added,
 * then backup_publish sums, verifies, syncs and renames. Until then the file is called
 * FILE.partial; what is under the final name is whole. The snapshot keeps the write-ahead log of a
 * running daemon from starting anew meanwhile; nothing else of it is held up.
 *
 * Threads: each backup one thread at a time; it has connections of its own.
 */
#ifndef STORAGE_BACKUP_H
#define STORAGE_BACKUP_H

#include "storage/storage.h"

struct backup;

#define BACKUP_PART_MAX ((size_t)1 << 20)

struct backup_options {
    int64_t bytes_per_second;                         /* 0 = as fast as the disks are */
    void (*progress)(void *context, double fraction); /* NULL: nobody looks */
    void *context;
};

struct backup_about {
    int64_t format, schema, made_ms;
    char program[32]; /* version of the forecastd that made it */
    int64_t series, bytes;
};

/* Copies the store in `directory` to FILE.partial. STATUS_NOT_FOUND where there is no store,
 * STATUS_CONFLICT where FILE is there already, or another backup to it is under way. */
enum status backup_create(const char *directory, const char *file,
                          const struct backup_options *options, struct backup **out,
                          struct error *error) MUST_USE;

/* Appends up to BACKUP_PART_MAX bytes to a file in the backup. */
enum status backup_add(struct backup *backup, const char *name, const void *bytes, size_t length,
                       struct error *error) MUST_USE;

/* Takes a file and its record out again. */
enum status backup_leave_out(struct backup *backup, const char *name, const char *kind,
                             const char *key, struct error *error) MUST_USE;

/* Sums, verifies (a line to `report` for each finding), syncs and renames. Where it fails there is
 * no FILE, or the one that somebody else made meanwhile (STATUS_CONFLICT). STATUS_CORRUPT: the
 * store has faults. */
enum status backup_publish(struct backup *backup, storage_report report, void *context,
                           struct error *error) MUST_USE;

/* Opens FILE and verifies all of it. STATUS_UNSUPPORTED: not a backup, or one of a newer version;
 * STATUS_CORRUPT. */
enum status backup_open(const char *file, storage_report report, void *context, struct backup **out,
                        struct error *error) MUST_USE;

const struct backup_about *backup_about(const struct backup *backup);

/* As storage_records. */
enum status backup_records(struct backup *backup, const char *kind, storage_record_visit visit,
                           void *context, struct error *error) MUST_USE;

/* Called for each part in order of name and position; any other status than STATUS_OK stops. Names
 * are plain: letters, digits, '.', '_' and '-', the first no '.'. */
typedef enum status (*backup_visit)(void *context, const char *name, const void *bytes,
                                    size_t length, struct error *error);
enum status backup_parts(struct backup *backup, backup_visit visit, void *context,
                         struct error *error) MUST_USE;

/* Writes the database into an existing folder that has none; synced. */
enum status backup_extract(struct backup *backup, const char *folder, struct error *error) MUST_USE;

/* Removes FILE.partial where it was not published. NULL is fine. */
void backup_close(struct backup *backup);

/* ---------------------------------------------------------------- where it is restored to */

struct backup_target;

/* Makes the directory where it is missing and holds its lock, so that no daemon starts in there.
 * STATUS_CONFLICT where one runs, or where there is a store already. */
enum status backup_target_open(const char *directory, struct backup_target **out,
                               struct error *error) MUST_USE;
void backup_target_close(struct backup_target *target); /* NULL is fine */

#endif
