/* Streaming reader of InfluxDB line protocol: one pass, no allocation.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     measurement,tag=value,... field=value,field=value,... timestamp
 *
 * A line gives one point for each numeric field, of the series `measurement_field` with the tags as
 * labels. Strings and booleans are checked and counted, but there is nothing to forecast in them.
 *
 * The grammar is that of InfluxDB 1.x, in its words: a comma, blank or (in tags) equals sign stands
 * for itself behind a backslash, any other backslash is a backslash; a quoted string may hold line
 * ends; numbers are 1, -1.5, .5, 1., 1e3, 12i and 12u; comments begin with #, empty lines are
 * nothing. Lenient where its clients need it: blanks around anything, CR LF, several blanks between
 * the parts. Strict where it is: one bad field or timestamp refuses the whole line, the others are
 * read. Keys of tags that no label may have get an underscore for each wrong character.
 *
 * Series seen before are recognised by the bytes of their key and field: a line costs a comparison
 * and the reading of its numbers. A test holds both ways against a slow and obvious reader.
 */
#ifndef API_LINE_READER_H
#define API_LINE_READER_H

#include "api/points_reader.h"

#define LINE_BYTES_MAX  ((size_t)64 << 10) /* of one line */
#define LINE_FIELDS_MAX 1024u              /* numeric ones of one line */

enum line_precision { LINE_NS, LINE_US, LINE_MS, LINE_S, LINE_MINUTES, LINE_HOURS };

struct line_options {
    enum line_precision precision;
    int64_t now_ms; /* the time of lines without one */
};

/* Fields that are no numbers, of the lines that were good. */
struct line_skipped {
    uint64_t strings, booleans;
};

/* Hands on all points. What is wrong with a line is told to visitor->refuse with the number of the
 * line (from 1), once a line; a failure comes back only where the visitor failed. Of a line that
 * can be read, fields whose series is refused are left out and the others are handed on; a refused
 * time refuses what is left of the line. `cache` may be NULL. */
enum status line_read(const char *body, size_t length, const struct line_options *options,
                      struct points_cache *cache, const struct points_visitor *visitor,
                      struct line_skipped *skipped, struct error *error) MUST_USE;

#endif
