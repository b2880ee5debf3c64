/* The pieces of a line in InfluxDB's line protocol: keys, values, times; private to api/.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each function begins at `at` and returns where its piece ends, or NULL with *fault saying what is
 * wrong in InfluxDB's words. A line feed ends everything but a quoted string.
 */
#ifndef API_LINE_SCAN_H
#define API_LINE_SCAN_H

#include "api/line_reader.h"
#include "base/series_name.h"

/* Measurement and tags: up to the blank behind them. */
const char *line_scan_key(const char *at, const char *end, const char **fault);

/* Up to the equals sign behind the key of a field; a byte of the line stands before `at`. */
const char *line_scan_field(const char *at, const char *end, const char **fault);

enum line_value { LINE_NUMBER, LINE_STRING, LINE_BOOLEAN };

/* The value of a field: up to the comma, blank or line end behind it. */
const char *line_scan_value(const char *at, const char *end, enum line_value *kind, double *value,
                            const char **fault);

/* The rest of a line behind its fields: up to the line feed or the end. Without a timestamp
 * *time_ms stays as it is. */
const char *line_scan_time(const char *at, const char *end, enum line_precision precision,
                           int64_t *time_ms, const char **fault);

/* Whether nothing follows on this line: the end, a line feed, or CR and one of them. */
static inline bool line_ends(const char *at, const char *end)
{
    return at == end || *at == '\n' || (*at == '\r' && (at + 1 == end || at[1] == '\n'));
}

/* The end of the line that begins here, wherever it may be broken. */
const char *line_find_end(const char *at, const char *end);

/* The canonical text of a key (as line_scan_key found it) and a field: STATUS_INVALID says why no
 * series can have this name. */
enum status line_series(struct slice key, struct slice field, char text[SERIES_TEXT_MAX],
                        size_t *length, struct error *error) MUST_USE;

#endif
