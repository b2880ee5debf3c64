/* Time zones: the offset of local time from UTC at any moment, read from the system's TZif files.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The C library knows one zone a process, named by an environment variable that no thread may
 * change; so the files (RFC 8536) are read here. A zone is read once, kept for the life of the
 * process, and never changes: pointers stay good, and any thread may use them. At most
 * TIME_ZONES_MAX are kept.
 */
#ifndef BASE_TIME_ZONE_H
#define BASE_TIME_ZONE_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

#define TIME_ZONES_MAX     4096 /* some 600 names, and all again under posix/ and right/ */
#define TIME_ZONE_NAME_MAX 48

struct time_zone;

/* The zone of an IANA name ("Europe/Berlin"); *out is NULL for "UTC" and the empty name. Any
 * thread; reads a file the first time. STATUS_INVALID with the name where there is no such zone or
 * its file makes no sense; STATUS_BUSY with the reason where it cannot be read now (no descriptor
 * is left, say), and STATUS_NO_MEMORY: nothing of these is kept, the next call tries again. */
enum status time_zone_find(const char *name, const struct time_zone **out,
                           struct error *error) MUST_USE;

/* The same for names that were accepted before: NULL (UTC) where it cannot be had any more. */
const struct time_zone *time_zone_or_utc(const char *name);

/* To be asked once before time_zone_or_utc, by who can still say no: after STATUS_OK it has the
 * zone, or there is none of this name any more. Else, as time_zone_find: it would say UTC of a zone
 * that only cannot be read now. NULL is UTC. */
enum status time_zone_prepare(const char *name, struct error *error) MUST_USE;

/* Local time less UTC, in milliseconds. NULL is UTC. */
int64_t time_zone_offset_ms(const struct time_zone *zone, int64_t time_ms);

/* The first moment after `time_ms` at which the offset may be another; INT64_MAX where none is. */
int64_t time_zone_next_change_ms(const struct time_zone *zone, int64_t time_ms);

/* Reads a zone from the bytes of a TZif file. STATUS_INVALID for anything else, STATUS_NO_MEMORY.
 * For tests; what is found by name belongs to the process. */
enum status time_zone_read(const void *bytes, size_t length, struct time_zone **out,
                           struct error *error) MUST_USE;
void time_zone_free(struct time_zone *zone);

#endif
