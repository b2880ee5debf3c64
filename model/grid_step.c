/* The interval of points: from the gaps between them to a step.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Series are trained by step, so a step that is a little off, or another one after some more
 * points, costs a series its group. What is regular keeps its own step even where no list has it;
 * what is not has no step of its own, and takes the nearest of the list.
 */
#include "model/model.h"

#include "base/check.h"

#include <math.h>
#include <string.h>

#define GAPS_MAX     1024 /* the newest ones decide */
#define OFF_STEP     10   /* a gap is a multiple where it is within a tenth of the step */
#define ROUNDING     200  /* a step may be that share of itself off by being rounded */
#define NEWEST_GAPS  48   /* that agree say what the step is now */
#define NEWEST_STEPS 10   /* of the step before, which they last at least: a burst is shorter */
#define OLDER_SHARE  20   /* one in so many older gaps may be like them */
#define STRETCH      8 /* gaps in a row that a longer step fills are not readings that are missing */
#define STAYS        1.6 /* times or parts of it: an irregular step stays while its gaps do */
#define SECOND       INT64_C(1000)
#define MINUTE       (60 * SECOND)
#define HOUR         (60 * MINUTE)
#define DAY          (24 * HOUR)

static const int64_t canonical[] = {
    100,         200,         250,         500,          1 * SECOND,  2 * SECOND,  5 * SECOND,
    10 * SECOND, 15 * SECOND, 20 * SECOND, 30 * SECOND,  1 * MINUTE,  2 * MINUTE,  3 * MINUTE,
    4 * MINUTE,  5 * MINUTE,  6 * MINUTE,  10 * MINUTE,  12 * MINUTE, 15 * MINUTE, 20 * MINUTE,
    30 * MINUTE, 1 * HOUR,    2 * HOUR,    3 * HOUR,     4 * HOUR,    6 * HOUR,    8 * HOUR,
    12 * HOUR,   1 * DAY,     7 * DAY,     GRID_MONTH_MS};

/* Ascending, by insertion: at most GAPS_MAX of them. */
static void sort_gaps(int64_t *gaps, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        int64_t moving = gaps[i];
        size_t at = i;
        for (; at > 0 && gaps[at - 1] > moving; at--) {
            gaps[at] = gaps[at - 1];
        }
        gaps[at] = moving;
    }
}

static int64_t distance(int64_t a, int64_t b)
{
    return a > b ? a - b : b - a;
}

/* To whole seconds, tenths, hundredths or milliseconds: the coarsest that leaves it what it is. */
static int64_t round_gap(int64_t gap)
{
    for (int64_t unit = SECOND; unit > 1; unit /= 10) {
        int64_t rounded = (gap + unit / 2) / unit * unit;
        if (distance(rounded, gap) * ROUNDING <= gap) {
            return rounded;
        }
    }
    return gap;
}

static int64_t snap(int64_t gap)
{
    if (gap < canonical[0]) {
        return canonical[0];
    }
    /* A month is what is_monthly says: 28 days, four weeks, are within a tenth of it. */
    for (size_t i = 0; i + 1 < ARRAY_COUNT(canonical); i++) {
        int64_t rival = distance(gap, canonical[i + 1]), away = distance(gap, canonical[i]);
        if (away * 10 <= canonical[i] && away <= rival) {
            return canonical[i];
        }
    }
    return round_gap(gap);
}

/* On the log scale; `otherwise` beyond the longest. */
static int64_t nearest(int64_t gap, int64_t otherwise)
{
    size_t last = ARRAY_COUNT(canonical) - 1;
    for (size_t i = 0; i < last; i++) {
        if ((double)gap * (double)gap < (double)canonical[i] * (double)canonical[i + 1]) {
            return canonical[i];
        }
    }
    return 2 * gap < 3 * canonical[last] ? canonical[last] : otherwise;
}

/* Whether an irregular series keeps the step that it had: it would change it again and again where
 * its gaps are about between two. */
static bool stays(int64_t before, int64_t gap)
{
    return before > 0 && nearest(before, 0) == before && (double)gap <= STAYS * (double)before &&
           (double)gap * STAYS >= (double)before;
}

static bool is_multiple(int64_t gap, int64_t step)
{
    int64_t times = (gap + step / 2) / step;
    return times > 0 && distance(gap, times * step) * OFF_STEP <= step;
}

static size_t count_multiples(const int64_t *gaps, size_t count, int64_t step)
{
    size_t multiples = 0;
    for (size_t i = 0; i < count; i++) {
        multiples += is_multiple(gaps[i], step) ? 1 : 0;
    }
    return multiples;
}

/* Sorted gaps of 28 to 31 days, not all of one length. */
static bool is_monthly(const int64_t *gaps, size_t count)
{
    int64_t median = gaps[count / 2], spread = gaps[count - 1 - count / 10] - gaps[count / 10];
    return 2 * median >= 59 * DAY && 2 * median <= 63 * DAY && (count < 4 || 2 * spread > DAY);
}

/* Where more than half of the points are missing the median is a multiple of the step: the shorter
 * gap that a tenth of them have, nearly all are multiples of, and that a third of the cells fill,
 * outages (the longest tenth of the gaps) left out. */
static int64_t shorter_step(const int64_t *gaps, size_t count, int64_t median)
{
    int64_t step = snap(gaps[count / 10]);
    int64_t span = 0;
    size_t inner = count - count / 10;
    for (size_t i = 0; i < inner; i++) {
        span += gaps[i];
    }
    bool fits = step < median && is_multiple(median, step) &&
                10 * count_multiples(gaps, count, step) >= 9 * count;
    return fits && span / step <= 3 * (int64_t)inner ? step : median;
}

static int64_t step_of(const int64_t *newest_first, size_t count, int64_t before)
{
    int64_t gaps[GAPS_MAX];
    memcpy(gaps, newest_first, count * sizeof(*gaps));
    sort_gaps(gaps, count);
    if (is_monthly(gaps, count)) {
        return GRID_MONTH_MS;
    }
    int64_t median = gaps[count / 2];
    int64_t step = shorter_step(gaps, count, snap(median));
    bool regular = 2 * count_multiples(gaps, count, step) >= count;
    if (regular) {
        return step;
    }
    return stays(before, median) ? before : nearest(median, step);
}

static bool is_like(int64_t gap, int64_t step)
{
    return distance(gap, step) * OFF_STEP <= step;
}

/* So is a gap in which some readings are missing, but no outage. */
static bool is_filled(int64_t gap, int64_t step)
{
    return is_multiple(gap, step) && gap <= 5 * step;
}

/* Gaps that a step fills, but for one in ten: where they begin and end, from the newest. */
struct run {
    size_t newest, end;
    int64_t lasted_ms; /* without outages */
};

static int64_t gap_at(const struct point *points, size_t count, size_t at)
{
    return points[count - 1 - at].time_ms - points[count - 2 - at].time_ms;
}

/* The newest of them; not all where they last a day. Those of the morning are before a night's, and
 * a few in a row among them are readings that are missing. */
static struct run find_run(const struct point *points, size_t count, int64_t step)
{
    struct run run = {.newest = 0};
    size_t filled = 0;
    for (size_t at = 0; at + 1 < count && at < GAPS_MAX && filled < STRETCH; at++) {
        filled = is_filled(gap_at(points, count, at), step) ? filled + 1 : 0;
        run.newest = at + 1 - filled;
    }
    run.end = run.newest;
    filled = 0;
    int64_t lasted_ms = 0;
    for (size_t at = run.newest; at + 1 < count && run.lasted_ms < DAY; at++) {
        int64_t gap = gap_at(points, count, at);
        filled += is_filled(gap, step) ? 1 : 0;
        lasted_ms += is_filled(gap, step) ? gap : 0;
        if (10 * filled >= 9 * (at + 1 - run.newest)) {
            run.end = at + 1;
            run.lasted_ms = lasted_ms;
        } else if (2 * filled < at + 1 - run.newest) {
            break;
        }
    }
    return run;
}

/* Whether a longer step is one of the nights, whose readings are rarer, and no change. It is a
 * change where it has lasted a day, or where the day before had no such stretch. Of a series that
 * is younger than that nothing else is known; of one with more points than were read it may have
 * had. */
static bool is_night(const struct point *points, size_t count, int64_t step)
{
    struct run run = find_run(points, count, step);
    if (run.end - run.newest < NEWEST_GAPS || run.lasted_ms >= DAY || run.end + 1 == count) {
        return false;
    }
    int64_t begin_ms = points[count - 1 - run.end].time_ms, older_ms = 0, nights_ms = 0;
    size_t filled = 0;
    for (size_t at = run.end; at + 1 < count && older_ms < DAY; at++) {
        int64_t gap = gap_at(points, count, at);
        filled = is_filled(gap, step) ? filled + 1 : 0;
        nights_ms += filled >= STRETCH ? gap : 0;
        older_ms = begin_ms - points[count - 2 - at].time_ms;
    }
    return OLDER_SHARE * nights_ms > older_ms || (older_ms < DAY && count >= GRID_STEP_POINTS);
}

/* The step that the newest gaps agree on where the older ones have another, `whole`; 0 where they
 * do not. What they agree on must last: a burst of quick readings is no other step, nor are the
 * gaps of the day where those of the night are longer. */
static int64_t newest_step(const int64_t *gaps, size_t count, int64_t whole)
{
    if (count <= NEWEST_GAPS) {
        return 0;
    }
    int64_t step = step_of(gaps, NEWEST_GAPS, 0), span = 0, lasted = 0;
    size_t like = 0, run = 0, like_run = 0;
    for (size_t i = 0; i < count; i++) {
        bool same = is_like(gaps[i], step);
        like += same ? 1 : 0;
        span += same ? gaps[i] : 0;
        if (10 * like >= 9 * (i + 1)) {
            run = i + 1;
            like_run = like;
            lasted = span;
        }
    }
    bool another = run >= NEWEST_GAPS && lasted >= NEWEST_STEPS * whole &&
                   OLDER_SHARE * (like - like_run) <= count - run;
    return another ? step : 0;
}

int64_t grid_coarser(int64_t step_ms, int64_t least_ms)
{
    for (size_t i = 0; i < ARRAY_COUNT(canonical) && canonical[i] <= DAY; i++) {
        if (canonical[i] >= least_ms && canonical[i] % step_ms == 0) {
            return canonical[i];
        }
    }
    return 0;
}

int64_t grid_step(const struct point *points, size_t count, int64_t before_ms)
{
    int64_t gaps[GAPS_MAX];
    size_t found = 0;
    for (size_t i = count; i > 1 && found < GAPS_MAX; i--) {
        int64_t gap = points[i - 1].time_ms - points[i - 2].time_ms;
        if (gap > 0) {
            gaps[found] = gap;
            found++;
        }
    }
    if (found == 0) {
        return 0;
    }
    int64_t whole = step_of(gaps, found, before_ms);
    int64_t newest = newest_step(gaps, found, whole);
    int64_t step = newest ? newest : whole, shorter = before_ms > 0 ? before_ms : whole;
    return step > shorter && is_night(points, count, step) ? shorter : step;
}

bool grid_step_left(const struct point *points, size_t count, int64_t step_ms)
{
    if (count <= NEWEST_GAPS) {
        return false;
    }
    const struct point *newest = points + count - NEWEST_GAPS - 1;
    int64_t step = grid_step(newest, NEWEST_GAPS + 1, step_ms);
    size_t like = 0;
    for (size_t i = 1; i <= NEWEST_GAPS && step != step_ms; i++) {
        int64_t gap = newest[i].time_ms - newest[i - 1].time_ms;
        like += is_like(gap, step) ? 1 : 0;
    }
    return 10 * like >= 9 * NEWEST_GAPS;
}

size_t grid_off_step(const struct point *points, size_t count, int64_t step_ms)
{
    size_t off = 0;
    for (size_t i = 1; i < count; i++) {
        int64_t gap = points[i].time_ms - points[i - 1].time_ms;
        bool on = gap <= 0 || is_multiple(gap, step_ms) || is_multiple(step_ms, gap);
        off += on ? 0 : 1;
    }
    return off;
}
