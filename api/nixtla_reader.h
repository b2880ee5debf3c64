/* The body of POST /v2/forecast: series, frequency, horizon and levels, as Nixtla's client sends
 * them. SPDX-License-Identifier: Apache-2.0
 *
 *     {"series":{"y":[...],"sizes":[...],"X":null,"X_future":null,"start_datetime":[...]},
 *      "model":"timegpt-1","h":12,"freq":"D","level":[80,95],"finetune_steps":0, ...}
 *
 * The values of all series stand one behind the other in y, and sizes cuts them. Members that are
 * not known are passed over, because each version of the client has more of them; such that ask for
 * what forecastd cannot do (exogenous columns, a model tuned before, contributions of features) are
 * refused by name, so that nobody takes the answer for something else.
 */
#ifndef API_NIXTLA_READER_H
#define API_NIXTLA_READER_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NIXTLA_POINTS_MAX ((size_t)2000000)
#define NIXTLA_SERIES_MAX ((size_t)20000)
#define NIXTLA_LEVELS_MAX 16

/* A pandas offset alias. Months, quarters and years have no fixed step: theirs is the mean one. */
struct nixtla_frequency {
    int64_t step_ms;
    uint32_t season; /* that the calendar gives, in steps; 0: to be found out */
};

struct nixtla_level {
    double share;  /* of the band, in (0,1) */
    char name[24]; /* as the client calls it: 80, 99.5 */
};

struct nixtla_body {
    double *y; /* NaN = missing; mem_alloc, as the next two */
    uint32_t *sizes;
    int64_t *starts_ms; /* of each series; NULL: not said */
    size_t points, series;
    struct nixtla_frequency frequency;
    size_t horizon;
    struct nixtla_level levels[NIXTLA_LEVELS_MAX];
    size_t level_count;
};

/* STATUS_INVALID: bad_json, bad_field, missing_field, not_supported, too_many_points, each with the
 * member's name. The body is to be released in any case. */
enum status nixtla_read(const char *bytes, size_t length, size_t horizon_max,
                        struct nixtla_body *out, struct error *error) MUST_USE;
void nixtla_release(struct nixtla_body *body); /* harmless on a zeroed struct */

/* "15min", "h", "D", "W-SUN", "MS", "QE-DEC" ...: false for what is none. */
bool nixtla_frequency(const char *text, size_t length, struct nixtla_frequency *out);

#endif
