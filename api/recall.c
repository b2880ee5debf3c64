/* Vintages read back: what is known of a series' calibration, and forecasts as they were issued.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/desk.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

#define HORIZON_MAX   1024
#define STOOD_IN_MOST 64 /* vintages of a baseline that are looked behind */

/* The newest vintage that can be read. */
struct newest {
    struct forecast_desk *desk;
    struct vintage vintage; /* its arrays are desk->floats */
    bool found;
};

static bool take_newest(void *context, int64_t issued_ms, const unsigned char *bytes, size_t length)
{
    struct newest *newest = context;
    struct error ignored = {0};
    (void)issued_ms;
    newest->found =
        vintage_decode(bytes, length, newest->desk->floats, newest->desk->floats_capacity,
                       &newest->vintage, &ignored) == STATUS_OK;
    return !newest->found;
}

/* Issued before `end_ms`. */
static enum status read_newest(struct forecast_desk *desk, uint32_t id, int64_t end_ms,
                               struct newest *newest, struct error *error)
{
    newest->desk = desk;
    newest->found = false;
    if (desk_floats(desk, VINTAGE_FLOATS(HORIZON_MAX), error) != STATUS_OK) {
        return error->status;
    }
    return storage_vintages(desk->reader, id, INT64_MIN, end_ms, take_newest, newest, error);
}

/* What vintages say of the calibration, newest first. */
struct remembered {
    struct forecast_desk *desk;
    struct track *track;
    size_t seen;
};

/* Whether a baseline served only because the model could not, for the moment. */
static bool stood_in(const struct vintage *vintage)
{
    static const char *const reasons[] = {"outage", "not_finite", "model_failed"};
    for (size_t i = 0; vintage->model[0] == '\0' && i < ARRAY_COUNT(reasons); i++) {
        if (strstr(vintage->fallback_reason, reasons[i])) {
            return true;
        }
    }
    return false;
}

static bool take_remembered(void *context, int64_t issued_ms, const unsigned char *bytes,
                            size_t length)
{
    struct remembered *remembered = context;
    struct forecast_desk *desk = remembered->desk;
    struct track *track = remembered->track;
    struct vintage vintage;
    struct error ignored = {0};
    (void)issued_ms;
    if (vintage_decode(bytes, length, desk->floats, desk->floats_capacity, &vintage, &ignored) !=
        STATUS_OK) {
        return true;
    }
    uint64_t maker = track_maker(vintage.model, vintage.served_by);
    if (remembered->seen == 0) {
        track->calibration = vintage.calibration;
        track->origin_ms = vintage.origin_ms;
        track->maker = maker;
    } else if (maker != track->maker) {
        track->kept = vintage.calibration;
        track->kept_maker = maker;
        return false;
    }
    remembered->seen++;
    return stood_in(&vintage) && remembered->seen < STOOD_IN_MOST;
}

bool forecast_track(struct forecast_desk *desk, uint32_t id, struct track *track)
{
    struct api_services *services = desk->services;
    if (atomic_load(&services->limits)->vintage_age_max_ms == 0) {
        return false;
    }
    if (track_find(services->tracks, id, track)) {
        return true;
    }
    struct remembered remembered = {.desk = desk, .track = track};
    struct error ignored = {0};
    memset(track, 0, sizeof(*track));
    track->origin_ms = INT64_MIN;
    if (desk_floats(desk, VINTAGE_FLOATS(HORIZON_MAX), &ignored) != STATUS_OK ||
        storage_vintages(desk->reader, id, INT64_MIN, INT64_MAX, take_remembered, &remembered,
                         &ignored) != STATUS_OK) {
        return false;
    }
    track_put(services->tracks, id, track);
    return true;
}

/* ---------------------------------------------------------------- as it was issued */

/* What a recalled forecast keeps alive: the texts and the arrays. */
struct recalled {
    char served_by[24];
    float arrays[];
};

static enum status no_vintage(const struct forecast_desk *desk, uint32_t id, struct error *error)
{
    char text[SERIES_TEXT_MAX];
    size_t length = storage_series_text(desk->services->storage, id, text);
    error_set(error, STATUS_NOT_FOUND,
              "no forecast of \"%.*s\" was kept that stood at that instant",
              (int)(length < 150 ? length : 150), text);
    return error_code(error, "no_vintage", "at");
}

/* The first `steps` of an issued forecast. */
static enum status copy_forecast(const struct vintage *vintage, size_t steps,
                                 struct forecast_made *made, struct error *error)
{
    size_t bytes;
    bool huge = size_mul(steps, (QUANTILE_COUNT + 1) * sizeof(float), &bytes) ||
                size_add(bytes, sizeof(struct recalled), &bytes);
    struct recalled *kept = huge ? NULL : mem_alloc(bytes);
    if (!kept) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for a vintage");
    }
    const struct forecast *served = &vintage->served;
    made->block = kept;
    memcpy(kept->served_by, vintage->served_by, sizeof(kept->served_by));
    made->served_by = kept->served_by;
    made->forecast = (struct forecast){steps, kept->arrays, kept->arrays + steps};
    memcpy(made->forecast.mean, served->mean, steps * sizeof(float));
    for (size_t q = 0; q < QUANTILE_COUNT; q++) {
        memcpy(made->forecast.quantiles + q * steps, served->quantiles + q * served->horizon,
               steps * sizeof(float));
    }
    return STATUS_OK;
}

static void copy_facts(const struct vintage *vintage, struct forecast_made *made)
{
    const struct series_settings *settings = &made->info.settings;
    if (made->facts.step_ms != vintage->step_ms) {
        made->facts.phase_ms = made->facts.lead_ms = 0; /* nothing is known of its cells */
        made->facts.months = false;
    }
    made->facts.step_ms = vintage->step_ms;
    made->own = live_cells(&made->facts);
    made->state = vintage_series_state(vintage);
    made->facts.counter = vintage_of_counter(vintage, made->facts.counter);
    made->origin_ms = vintage->origin_ms;
    made->issued_ms = vintage->issued_ms;
    made->info.last_ms = vintage->issued_ms - vintage->data_age_ms; /* as it was then */
    made->good_until_ms = INT64_MAX;
    memcpy(made->fallback_reason, vintage->fallback_reason, sizeof(made->fallback_reason));
    memcpy(made->model.id, vintage->model, sizeof(made->model.id));
    made->model.trained_at_ms = vintage->trained_at_ms;
    made->model.window_start_ms = vintage->window_start_ms;
    made->model.window_end_ms = vintage->window_end_ms;
    made->model.seed = vintage->seed;
    made->calibration = vintage->calibration;
    made->evidence = forecast_evidence_of(&vintage->calibration, NULL);
    made->declared_minimum = made->minimum =
        settings->has_minimum ? settings->minimum : -(double)INFINITY;
    made->declared_maximum = made->maximum =
        settings->has_maximum ? settings->maximum : (double)INFINITY;
    made->warnings = made->facts.counter ? WARNING_RATE : 0;
}

static enum status recall_one(struct forecast_desk *desk, const struct forecast_order *order,
                              int64_t at_ms, struct forecast_made *made, struct error *error)
{
    struct newest newest;
    if (storage_series_info(desk->services->storage, made->id, &made->info, error) != STATUS_OK) {
        return error_code(error, "unknown_series", "series");
    }
    if (read_newest(desk, made->id, at_ms + 1, &newest, error) != STATUS_OK) {
        return error->status;
    }
    const struct vintage *vintage = &newest.vintage;
    /* One whose last step was over by then did not stand any more. */
    if (!newest.found ||
        vintage->origin_ms + (int64_t)vintage->served.horizon * vintage->step_ms < at_ms) {
        return no_vintage(desk, made->id, error);
    }
    size_t wanted = order->steps, issued = vintage->served.horizon;
    if (order->horizon_ms > 0) {
        wanted = (size_t)((order->horizon_ms + vintage->step_ms - 1) / vintage->step_ms);
    }
    if (forecast_facts(desk, &made->info, true, &made->facts, error) != STATUS_OK) {
        return error->status;
    }
    copy_facts(vintage, made);
    if (wanted > issued) {
        made->warnings |= WARNING_ISSUED_SHORTER;
    }
    return copy_forecast(vintage, wanted < issued ? wanted : issued, made, error);
}

enum status forecast_recall(struct forecast_desk *desk, const struct forecast_order *order,
                            int64_t at_ms, struct forecast_made *made, struct error *error)
{
    enum status status = STATUS_OK;
    memset(made, 0, order->count * sizeof(*made));
    for (size_t i = 0; i < order->count && status == STATUS_OK; i++) {
        made[i].id = order->ids[i];
        status = recall_one(desk, order, at_ms, &made[i], error);
        if (status == STATUS_NOT_FOUND && order->skip_short && error->code &&
            strcmp(error->code, "no_vintage") == 0) {
            made[i].skipped = true;
            memset(error, 0, sizeof(*error));
            status = STATUS_OK;
        }
    }
    for (size_t i = 0; status != STATUS_OK && i < order->count; i++) {
        forecast_made_release(&made[i]);
    }
    return status;
}
