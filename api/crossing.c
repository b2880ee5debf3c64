/* First crossing of a threshold, from the fan of a forecast.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The survivors' density of normal scores is kept at the nodes of Gauss's rule of eight points, in
 * panels that are narrow enough for the next transition. Where scores hardly turn from one step to
 * the next that would take ever more nodes, so steps are joined to stretches: within one the score
 * stays, and only the lowest barrier counts; the turn is made up for when the next one begins.
 */
#include "api/crossing.h"

#include <math.h>

#define FAR              5.0 /* scores beyond count as none: 3e-7 of a step */
#define LEAST_TURN       0.2 /* deviation of the score's change from stretch to stretch */
#define PANEL            6.0 /* width of a panel in deviations of a turn */
#define POINTS           8
#define PANELS_MAX       9   /* 2 FAR / (PANEL LEAST_TURN), rounded up */
#define REACH            5.0 /* deviations that a transition is followed */
#define INDEPENDENT      1e-4
#define CORRELATION_MOST (1.0 - 1e-12)
#define BAND_DEVIATIONS  2.563103131 /* in the 80 % band of a normal distribution */
#define VALUES_USED      1024        /* newest ones that roughness is estimated from */

/* ---------------------------------------------------------------- survivors */

/* Gauss-Legendre, eight points on [-1, 1]: the positive nodes and their weights. */
static const double gauss_node[POINTS / 2] = {0.18343464249564980, 0.52553240991632899,
                                              0.79666647741362674, 0.96028985649753623};
static const double gauss_weight[POINTS / 2] = {0.36268378337836198, 0.31370664587788729,
                                                0.22238103445337447, 0.10122853629037626};

/* Scores of the paths that had not crossed when a stretch began. */
struct survivors {
    size_t count;
    double score[PANELS_MAX * POINTS], mass[PANELS_MAX * POINTS];
};

/* Steps within which the score stays: from survivors with r and s to scores below a barrier. */
struct stretch {
    double r, s, barrier;
};

static double normal_share(double score)
{
    return 0.5 * erfc(-score * M_SQRT1_2);
}

static double survived(const struct survivors *from, const struct stretch *stretch)
{
    double sum = 0.0;
    for (size_t i = 0; i < from->count; i++) {
        double room = (stretch->barrier - stretch->r * from->score[i]) / stretch->s;
        if (room > -REACH) {
            sum += from->mass[i] * (room < REACH ? normal_share(room) : 1.0);
        }
    }
    return sum;
}

/* The density of the survivors' scores at `score`, after the stretch's transition. */
static double density_at(const struct survivors *from, const struct stretch *stretch, double score)
{
    double sum = 0.0;
    for (size_t i = 0; i < from->count; i++) {
        double away = (score - stretch->r * from->score[i]) / stretch->s;
        if (fabs(away) < REACH) {
            sum += from->mass[i] * exp(-0.5 * away * away);
        }
    }
    return sum / (stretch->s * sqrt(2.0 * M_PI));
}

/* Those who outlive a stretch, at nodes for a transition with the deviation `next_s`. */
static void outlive(struct survivors *survivors, const struct stretch *stretch, double next_s)
{
    struct survivors from = *survivors;
    double top = fmin(stretch->barrier, FAR);
    double width = fmax(top + FAR, 0.0);
    double panels = ceil(width / (PANEL * fmin(stretch->s, next_s)));
    size_t count = panels < PANELS_MAX ? (size_t)panels : PANELS_MAX;
    double half = count > 0 ? 0.5 * width / (double)count : 0.0;
    survivors->count = 0;
    for (size_t panel = 0; panel < count; panel++) {
        double middle = -FAR + half * (double)(2 * panel + 1);
        for (size_t point = 0; point < POINTS; point++) {
            double side = point % 2 == 0 ? half : -half;
            double score = middle + side * gauss_node[point / 2];
            double mass = half * gauss_weight[point / 2] * density_at(&from, stretch, score);
            survivors->score[survivors->count] = score;
            survivors->mass[survivors->count++] = mass;
        }
    }
}

/* Those who outlive a stretch, where the next transition forgets their scores. */
static void outlive_forgotten(struct survivors *survivors, const struct stretch *stretch)
{
    double mass = survived(survivors, stretch);
    *survivors = (struct survivors){.count = 1, .mass = {mass}};
}

struct paths {
    struct survivors survivors; /* before the stretch */
    struct stretch stretch;
    double kept; /* correlation of the score with the stretch's */
    bool begun;
};

/* One step with the correlation r to the one before: the share of paths below all barriers. */
static double paths_step(struct paths *paths, double r, double barrier)
{
    paths->kept *= r;
    double turn = sqrt(fmax(1.0 - paths->kept * paths->kept, 0.0));
    if (!paths->begun) {
        if (barrier > FAR) {
            return 1.0; /* nobody has crossed yet, and nobody will here */
        }
        paths->survivors.count = 1;
        paths->survivors.score[0] = 0.0;
        paths->survivors.mass[0] = 1.0;
        paths->stretch = (struct stretch){0.0, 1.0, barrier};
        paths->kept = 1.0;
        paths->begun = true;
    } else if (barrier <= FAR && turn >= LEAST_TURN) {
        if (paths->kept < INDEPENDENT) {
            outlive_forgotten(&paths->survivors, &paths->stretch);
        } else {
            outlive(&paths->survivors, &paths->stretch, turn);
        }
        paths->stretch = (struct stretch){paths->kept, turn, barrier};
        paths->kept = 1.0;
    } else {
        paths->stretch.barrier = fmin(paths->stretch.barrier, barrier);
    }
    return survived(&paths->survivors, &paths->stretch);
}

/* ---------------------------------------------------------------- one forecast */

static bool is_beyond(const struct crossing_order *order, double value)
{
    return order->above ? value > order->threshold : value < order->threshold;
}

static double deviation_of(const struct forecast *forecast, const struct crossing_order *order,
                           size_t step)
{
    if (order->reversion) {
        return (double)order->reversion->deviation[step];
    }
    double width = forecast_quantile(forecast, step, 0.9) - forecast_quantile(forecast, step, 0.1);
    return width / BAND_DEVIATIONS;
}

/* The score above which a step is beyond the threshold, and by more than the band that even a
 * constant has: what has stood on the threshold is not expected to leave it because of that. */
static double barrier_of(const struct forecast *forecast, const struct crossing_order *order,
                         size_t step)
{
    double least = forecast_least_spread(order->threshold);
    double threshold = order->threshold + (order->above ? least : -least);
    double score = order->reversion
                       ? reversion_score(order->reversion, step, threshold, order->above)
                       : forecast_score(forecast, step, threshold, order->above);
    return order->above ? score : -score;
}

/* The law of cosines, for deviations as lengths, and on the scale of Fisher's z the default's share
 * in it: there correlations near one, where a little more is a lot, are not moved much. */
static double correlation_of(double before, double after, struct crossing_roughness roughness)
{
    double product = 2.0 * before * after;
    if (!(product > 0.0)) {
        return roughness.deviation > 0.0 ? 0.0 : 1.0;
    }
    double common = CROSSING_DEFAULT * fmin(before / after, after / before);
    if (roughness.changes == 0) {
        return common;
    }
    double rough = roughness.deviation;
    double cosine = (before * before + after * after - rough * rough) / product;
    double trust = (double)roughness.changes / ((double)roughness.changes + CROSSING_PRIOR);
    double seen = atanh(fmin(fmax(cosine, 0.0), CORRELATION_MOST));
    return tanh(trust * seen + (1.0 - trust) * atanh(common));
}

/* Notes the times of the levels that the probability passed in the step that ends at `step`. */
static void note_times(struct crossing *out, double before, double after, size_t step,
                       double step_s)
{
    double *const times[] = {&out->p10_s, &out->p50_s, &out->p90_s};
    static const double levels[] = {0.1, 0.5, 0.9};
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (isnan(*times[i]) && after >= levels[i]) {
            *times[i] = ((double)step + (levels[i] - before) / (after - before)) * step_s;
        }
    }
}

void crossing_find(const struct forecast *forecast, const struct crossing_order *order,
                   struct crossing *out)
{
    double unknown = (double)NAN;
    *out = (struct crossing){false, 0.0, unknown, unknown, unknown};
    if (is_beyond(order, order->newest)) {
        *out = (struct crossing){true, 1.0, 0.0, 0.0, 0.0};
        return;
    }
    if (order->above ? order->threshold >= order->maximum : order->threshold <= order->minimum) {
        return;
    }
    struct paths paths;
    paths.begun = false;
    paths.kept = 1.0;
    double step_s = (double)order->step_ms / 1000.0, before = 0.0;
    for (size_t step = 0; step < forecast->horizon; step++) {
        double deviation = deviation_of(forecast, order, step);
        double r = step == 0 ? 0.0 : correlation_of(before, deviation, order->roughness);
        double safe = paths_step(&paths, r, barrier_of(forecast, order, step));
        double within = fmax(out->p_within, fmin(1.0 - safe, 1.0));
        note_times(out, out->p_within, within, step, step_s);
        out->p_within = within;
        before = deviation;
    }
}

/* ---------------------------------------------------------------- roughness */

struct crossing_roughness crossing_roughness(const double *values, size_t count, uint32_t season)
{
    if (count > VALUES_USED) {
        values += count - VALUES_USED;
        count = VALUES_USED;
    }
    size_t lag = (size_t)season * 2 <= count ? season : 0;
    double mean = 0.0, squares = 0.0, seen[VALUES_USED];
    size_t changes = 0;
    for (size_t i = lag + 1; i < count; i++) {
        double change = values[i] - values[i - 1];
        if (lag > 0) {
            change -= values[i - lag] - values[i - lag - 1];
        }
        seen[i - lag - 1] = change;
        if (!isnan(change)) { /* Welford's recurrence */
            double off = change - mean;
            mean += off / (double)++changes;
            squares += off * (change - mean);
        }
    }
    if (changes == 0 || !isfinite(squares)) {
        return (struct crossing_roughness){0.0, 0};
    }
    double variance = squares / (double)changes;
    /* The band follows errors that have lately grown; changes of before would be a walk in it. */
    struct unrest unrest = unrest_find(seen, count - lag - 1);
    variance += unrest.share * fmax(unrest.deviation * unrest.deviation - variance, 0.0);
    /* a seasonal difference has the noise twice */
    return (struct crossing_roughness){sqrt(lag > 0 ? 0.5 * variance : variance), changes};
}
