/* Rules of downsampling: read from text, applied to points.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "storage/downsample.h"

#include "base/clock.h"

#include <math.h>
#include <string.h>

enum { SECOND_MS = 1000, DAY_MS = 86400000 };

static enum status rule_parse(const char *text, size_t length, struct downsample_rule *rule,
                              struct error *error)
{
    const char *colon = memchr(text, ':', length);
    size_t age = colon == NULL ? 0 : (size_t)(colon - text);
    if (colon == NULL || clock_parse_duration(text, age, &rule->age_ms, error) != STATUS_OK ||
        clock_parse_duration(colon + 1, length - age - 1, &rule->step_ms, error) != STATUS_OK) {
        error_set(error, STATUS_INVALID, "\"%.*s\" is no age and step such as 30d:5m",
                  (int)(length < 40 ? length : 40), text);
        return error->status;
    }
    if (rule->step_ms < SECOND_MS || rule->step_ms > DAY_MS || rule->age_ms < rule->step_ms) {
        return error_set(error, STATUS_INVALID,
                         "the step in \"%.*s\" must lie between 1s and 1d and not be above the age",
                         (int)(length < 40 ? length : 40), text);
    }
    return STATUS_OK;
}

enum status downsample_parse(const char *text, struct downsample *out, struct error *error)
{
    *out = (struct downsample){0};
    while (*text != '\0') {
        size_t length = strcspn(text, ",");
        struct downsample_rule *rule = &out->rules[out->count];
        if (out->count == DOWNSAMPLE_RULES_MAX) {
            return error_set(error, STATUS_INVALID, "there are more than %d rules",
                             DOWNSAMPLE_RULES_MAX);
        }
        if (rule_parse(text, length, rule, error) != STATUS_OK) {
            return error->status;
        }
        if (out->count > 0 &&
            (rule->age_ms <= rule[-1].age_ms || rule->step_ms <= rule[-1].step_ms ||
             rule->step_ms % rule[-1].step_ms != 0)) {
            return error_set(error, STATUS_INVALID,
                             "ages must rise and each step be a multiple of the one before");
        }
        out->count++;
        text += length;
        text += *text == ',' && text[1] != '\0';
        if (*text == ',') {
            return error_set(error, STATUS_INVALID, "there is no rule behind the last comma");
        }
    }
    return STATUS_OK;
}

int64_t downsample_cell(int64_t time_ms, int64_t step_ms)
{
    int64_t over = time_ms % step_ms;
    return time_ms - over - (over < 0 ? step_ms : 0);
}

int64_t downsample_cut(const struct downsample_rule *rule, int64_t now_ms, int64_t newest_ms)
{
    int64_t old_ms = now_ms - rule->age_ms;
    return downsample_cell(old_ms < newest_ms ? old_ms : newest_ms, rule->step_ms);
}

/* What stands for several points of one cell. */
static struct point cell_point(const struct point *points, size_t count, int64_t cell_ms,
                               bool counter)
{
    if (counter) {
        return points[count - 1];
    }
    double sum = 0, shares = 0;
    size_t known = 0;
    for (size_t i = 0; i < count; i++) {
        known += !isnan(points[i].value);
    }
    for (size_t i = 0; i < count; i++) {
        if (!isnan(points[i].value)) {
            sum += points[i].value;
            shares += points[i].value / (double)known; /* where the sum overflows */
        }
    }
    double mean = known == 0 ? (double)NAN : isfinite(sum) ? sum / (double)known : shares;
    return (struct point){cell_ms, mean};
}

size_t downsample_points(struct point *points, size_t count, int64_t step_ms, int64_t cut_ms,
                         bool counter)
{
    size_t kept = 0, at = 0;
    while (at < count && points[at].time_ms < cut_ms) {
        int64_t cell_ms = downsample_cell(points[at].time_ms, step_ms);
        size_t end = at + 1;
        while (end < count && points[end].time_ms < cut_ms &&
               points[end].time_ms - cell_ms < step_ms) {
            end++;
        }
        points[kept++] =
            end - at == 1 ? points[at] : cell_point(points + at, end - at, cell_ms, counter);
        at = end;
    }
    memmove(points + kept, points + at, (count - at) * sizeof *points);
    return kept + count - at;
}
