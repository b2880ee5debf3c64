/* CSV by RFC 4180: one record after the other, fields unquoted in place.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_CSV_READER_H
#define API_CSV_READER_H

#include "base/series_name.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct csv_reader {
    char *at, *end;
    uint64_t line;       /* of the record last read, from 1 */
    uint64_t next_line;  /* private */
    const char *problem; /* the record is not to be used: why; NULL: it is fine */
};

/* `bytes` are changed while reading: quoted fields lose their quotes. */
void csv_reader_init(struct csv_reader *reader, char *bytes, size_t length);

/* The next record's fields, up to `maximum` of them; *count may be larger, the rest is then lost.
 * False at the end. Empty lines are skipped. */
bool csv_reader_next(struct csv_reader *reader, struct slice *fields, size_t maximum,
                     size_t *count);

#endif
