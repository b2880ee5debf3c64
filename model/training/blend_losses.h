/* Losses of every choice of a blend at every held-back place, from which the blend is chosen.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A choice is a baseline and a share of it in tenths; choice 0 is the model alone.
 */
#ifndef MODEL_TRAINING_BLEND_LOSSES_H
#define MODEL_TRAINING_BLEND_LOSSES_H

#include "model/training/evaluate.h"

#define BLEND_METHODS_MAX (4 + SEASONS_MAX)
#define BLEND_SHARES      10                                     /* 0.1 ... 1 */
#define BLEND_CHOICES_MAX (BLEND_METHODS_MAX * BLEND_SHARES + 1) /* the first: the model alone */

/* `season` is the seasonal naive's; 0 leaves a baseline the series' own seasons. */
struct blend_method {
    enum baseline baseline;
    uint32_t season;
};

struct blend_losses {
    struct blend_method methods[BLEND_METHODS_MAX];
    size_t method_count, choice_count;
    double *values;   /* [places][choices]: quantile loss and the median's absolute error, as in
                         service before calibration; places as in the evaluation */
    uint64_t *points; /* [places] that were observed */
};

/* Of the evaluation's forecasts, which are the model's alone; `seasons` are the group's.
 * STATUS_NO_MEMORY, STATUS_CANCELLED. */
enum status blend_losses_init(struct blend_losses *losses, const struct evaluation *evaluation,
                              const uint32_t seasons[SEASONS_MAX], struct error *error) MUST_USE;
void blend_losses_release(struct blend_losses *losses); /* harmless on a zeroed struct */

/* Share of the baseline in a choice, and which method it is of; the method of choice 0 is none. */
double blend_choice_share(size_t choice);
size_t blend_choice_method(size_t choice);

#endif
