/* What senders say a metric is: the type of each family of metrics, by its name.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Prometheus tells a metric's type apart from its samples, by the name of the family and in
 * messages of its own; OTLP and remote write 2.0 tell it with each metric. So it is kept by name,
 * for the series that exist as for those that come later: in memory, and in the store as a record
 * each (FAMILY_RECORD_KIND), written in the transaction of the request that brought it.
 *
 * What a user sets about a series comes first; series_grid.c asks here next, and looks at the shape
 * of the points last. At most FAMILIES_MAX are kept: what comes beyond is known by its shape.
 *
 * Any thread may call all of this, once families_load is done.
 */
#ifndef API_FAMILIES_H
#define API_FAMILIES_H

#include "storage/writer.h"

#define FAMILY_RECORD_KIND "family"
#define FAMILIES_MAX       20000u

enum family_type { FAMILY_GAUGE, FAMILY_COUNTER, FAMILY_HISTOGRAM, FAMILY_SUMMARY };

struct families;

enum status families_new(struct families **out, struct error *error) MUST_USE;
void families_free(struct families *families);

/* Reads what the store has; a record that makes no sense is passed over. */
enum status families_load(struct families *families, struct storage *storage,
                          struct error *error) MUST_USE;

/* A family that is not known yet, or as another type: its record goes into the batch, and it into
 * `fresh`, for families_merge once the batch is on disk. A name that no series can have is passed
 * over, and so is all beyond the maximum. */
enum status families_declare(struct families *families, struct families *fresh, struct slice name,
                             enum family_type type, struct write_batch *batch,
                             struct error *error) MUST_USE;

/* Takes over what `fresh` has; what finds no memory is told again by its sender. */
void families_merge(struct families *families, const struct families *fresh);

size_t families_count(struct families *families);

/* Grows with each merge that changed something: what was inferred before is to be looked at anew.
 */
uint64_t families_version(struct families *families);

/* Whether a series (canonical text) is a counter or a gauge by its family: that of its own name, or
 * for the parts of a metric that of the stem (x_total, x_bucket and x_count of x). False where
 * nothing was said: of x_sum neither, because negative observations make it fall. */
bool families_kind(struct families *families, const char *text, size_t length,
                   enum series_kind *kind);

/* For storage_counters_by, with the families as its context: a counter by what was said of it, else
 * one that is named so and can be one by these points. A few points of a slice need not show the
 * shape that series_grid.c asks for: keeping the last of a gauge's loses less than the mean over a
 * counter's reset. */
bool families_counter(void *families, const char *text, size_t length, const struct point *points,
                      size_t count);

/* "counter", "gauge", "histogram", "summary", by the plain name of a series; NULL: nothing known.
 */
const char *families_type(struct families *families, struct slice name);

#endif
