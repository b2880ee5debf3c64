/* Which series a PromQL selector means: stored ones, and the forecasts that stand beside them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Beside each stored series m{...} there are three of a forecast,
 * m:predicted{...,ml_forecast="yhat"} (the mean) and "yhat_lower", "yhat_upper" (the 80 % band).
 * They are series like others: a selector meets them by name, by label or by a regular expression.
 *
 * A label set is one run of bytes, key, zero, value, zero, with keys in order and the name under
 * __name__; equal sets are equal bytes.
 */
#ifndef API_PROMQL_SELECTOR_H
#define API_PROMQL_SELECTOR_H

#include "api/promql_matrix.h"
#include "api/view.h"
#include "base/series_name.h"

#define PROMQL_PREDICTED ":predicted"
#define PROMQL_FORECAST  "ml_forecast"

enum promql_variant { PROMQL_ACTUAL, PROMQL_YHAT, PROMQL_LOWER, PROMQL_UPPER, PROMQL_VARIANTS };

struct promql_selector;

/* `text` outlives the selector. STATUS_INVALID (bad_promql), also where it would match everything.
 */
enum status promql_selector_new(const char *text, size_t length, struct promql_selector **out,
                                struct error *error) MUST_USE;
void promql_selector_free(struct promql_selector *selector);

/* Called with labels that last as long as the call; an error stops the walk. */
typedef enum status (*promql_visit)(void *context, uint32_t id, enum promql_variant variant,
                                    struct slice labels, struct error *error);
struct promql_selection {
    struct promql_selector *const *selectors; /* any of them */
    size_t count;                             /* 0: all series */
    bool named_only; /* a selector without __name__ and ml_forecast means no forecasts */
    struct promql_budget *budget; /* whose deadline ends the walk; NULL: none */
    promql_visit visit;
    void *context;
};

/* Visits each series that is meant, the variants of one after each other. */
enum status promql_select(const struct view *view, const struct promql_selection *selection,
                          struct error *error) MUST_USE;

/* The labels of a set in order, beginning with *at = 0; false at its end. */
bool promql_label_next(struct slice labels, size_t *at, struct slice *key, struct slice *value);

/* Adds to `out` the labels whose key is (`keep`) or is not among `keys`. */
void promql_labels_pick(struct slice labels, const struct slice *keys, size_t count, bool keep,
                        struct text *out);

extern const struct slice promql_name_key; /* __name__ */

int promql_labels_compare(struct slice a, struct slice b);

#endif
