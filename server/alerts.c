/* Rounds over rules and series, and the states that they leave.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/alerts.h"

#include "base/background.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/memory.h"
#include "server/alert_message.h"
#include "server/alert_state.h"
#include "server/quoted.h"
#include "server/threads.h"
#include "server/webhook.h"

#include <stdlib.h>
#include <string.h>

#define NICE     19
#define LOOK_MS  60000 /* a series without news is looked at again after this */
#define GONE_MAX 1000  /* series of a rule whose end waits to be told */

/* One series of one rule. */
struct watched {
    uint32_t id;
    struct alert_state state;
    int64_t starts_ms; /* startsAt of what was told last, by the wall clock */
    char *text;        /* canonical, kept while it fires: the series may vanish */
    size_t text_length;
    /* what the last look saw */
    bool looked;
    int64_t looked_ms; /* monotonic */
    int64_t last_ms;
    uint64_t generation, registry_generation;
    struct alert_finding finding;
};

struct watched_rule {
    const struct alert_rule *rule;
    struct alert_condition condition;
    struct selector *selector;
    struct watched *series; /* by rising id */
    size_t count;
    struct watched *gone; /* what fired and is over, and could not be told yet */
    size_t gone_count;
    bool cut;    /* more series than are watched: said once */
    bool behind; /* the last round could not tell all: said once */
    bool refused;
};

struct alerts {
    struct api_services *services;
    struct alert_rules rules;
    struct watched_rule watched[ALERT_RULES_MAX];
    struct webhooks *webhooks;
    int64_t every_ms;
    pthread_t thread;
    bool started;
    struct lock lock;
    struct condition woken;
    bool closed; /* guarded by lock */
};

static int64_t monotonic_ms(void)
{
    return clock_monotonic_ns() / 1000000;
}

/* ---------------------------------------------------------------- telling */

/* False where it has to be told later: without memory, or without a place to wait in. */
static bool tell(struct alerts *alerts, struct watched_rule *watched, const struct watched *series,
                 const struct alert_finding *finding, bool firing)
{
    int64_t now_ms = clock_wall_ms();
    struct alert_message message = {.rule = watched->rule,
                                    .series = {series->text, series->text_length},
                                    .firing = firing,
                                    .starts_ms = series->starts_ms,
                                    .ends_ms =
                                        now_ms > series->starts_ms ? now_ms : series->starts_ms,
                                    .finding = finding};
    struct text body;
    struct error error = {0};
    text_init(&body, ALERT_MESSAGE_BYTES_MAX);
    alert_message_write(&message, &body);
    if (text_status(&body, "the message", &error) != STATUS_OK) {
        log_warning("alerts", "no message", "rule=%s reason=%s", watched->rule->name,
                    QUOTED(error.text));
        text_release(&body);
        return error.status != STATUS_NO_MEMORY;
    }
    size_t length = 0;
    char *bytes = text_take(&body, &length);
    bool taken =
        webhooks_tell_take(alerts->webhooks, (size_t)(watched - alerts->watched),
                           alert_fingerprint(watched->rule->name, message.series), bytes, length);
    watched->refused = watched->refused || !taken;
    return taken;
}

static void forget_text(struct watched *series)
{
    mem_free(series->text);
    series->text = NULL;
}

/* A series of the same name fires: that its predecessor is over is no news any more. */
static void forget_gone(struct watched_rule *watched, const struct watched *series)
{
    for (size_t i = 0; i < watched->gone_count; i++) {
        struct watched *gone = &watched->gone[i];
        if (gone->text_length == series->text_length &&
            memcmp(gone->text, series->text, series->text_length) == 0) {
            forget_text(gone);
            *gone = watched->gone[--watched->gone_count];
            return;
        }
    }
}

/* Goes on with the state of a series and tells what is to be told; false where that has to wait:
 * then nothing has changed, and the next round finds it again. */
static bool go_on(struct alerts *alerts, struct watched_rule *watched, struct watched *series,
                  const struct alert_finding *finding)
{
    const struct alert_rule *rule = watched->rule;
    const struct alert_state before = series->state;
    enum alert_event event = alert_state_step(&series->state, finding->holds, rule->for_ms,
                                              rule->repeat_ms, monotonic_ms());
    if (event == ALERT_SILENCE) {
        return true;
    }
    if (series->text == NULL) {
        char text[SERIES_TEXT_MAX];
        series->text_length = storage_series_text(alerts->services->storage, series->id, text);
        series->text = mem_copy_text(text, series->text_length);
    }
    if (event == ALERT_FIRES) {
        series->starts_ms = clock_wall_ms();
    }
    if (series->text == NULL || !tell(alerts, watched, series, finding, event != ALERT_RESOLVES)) {
        series->state = before;
        return false;
    }
    if (event != ALERT_REPEATS) {
        log_info("alerts", event == ALERT_FIRES ? "alert fires" : "alert resolved",
                 "rule=%s series=%s", rule->name, QUOTED(series->text));
    }
    if (event == ALERT_FIRES) {
        forget_gone(watched, series);
    }
    if (event == ALERT_RESOLVES) {
        forget_text(series);
    }
    return true;
}

/* True once it is told that what fired is over. */
static bool tell_end(struct alerts *alerts, struct watched_rule *watched, struct watched *series)
{
    const struct alert_finding none = {.when_ms = INT64_MIN};
    return go_on(alerts, watched, series, &none);
}

static void tell_gone(struct alerts *alerts, struct watched_rule *watched)
{
    for (size_t i = 0; i < watched->gone_count;) {
        if (tell_end(alerts, watched, &watched->gone[i])) {
            watched->gone[i] = watched->gone[--watched->gone_count];
        } else {
            i++;
        }
    }
}

/* The series is gone: what fired is over, which is told now or in a later round. */
static void leave(struct alerts *alerts, struct watched_rule *watched, struct watched *series)
{
    if (!series->state.firing || tell_end(alerts, watched, series)) {
        forget_text(series);
        return;
    }
    size_t count = watched->gone_count;
    struct watched *more =
        count < GONE_MAX ? mem_resize(watched->gone, count + 1, sizeof(*more)) : NULL;
    if (more == NULL) {
        log_warning("alerts", "nobody will hear that an alert is over", "rule=%s series=%s",
                    watched->rule->name, QUOTED(series->text));
        forget_text(series);
        return;
    }
    watched->gone = more;
    watched->gone[watched->gone_count++] = *series;
    series->text = NULL;
}

/* Says once that more is to be told than may wait. */
static void note_backlog(struct watched_rule *watched)
{
    if (watched->refused && !watched->behind) {
        log_warning("alerts", "more to tell than may wait: the rest comes later", "rule=%s",
                    watched->rule->name);
    }
    watched->behind = watched->refused;
    watched->refused = false;
}

/* ---------------------------------------------------------------- looking */

static bool has_news(const struct alerts *alerts, const struct watched *series,
                     const struct series_info *info, int64_t now_ms)
{
    return !series->looked || now_ms - series->looked_ms >= LOOK_MS ||
           info->generation != series->generation || info->last_ms != series->last_ms ||
           registry_generation(alerts->services->registry) != series->registry_generation;
}

static void look(struct alerts *alerts, struct api_worker *worker, struct watched_rule *watched,
                 struct watched *series)
{
    struct series_info info;
    struct error error = {0};
    struct alert_finding finding;
    int64_t now_ms = monotonic_ms();
    if (storage_series_info(alerts->services->storage, series->id, &info, &error) != STATUS_OK) {
        return; /* it has just gone: the next round's list lacks it */
    }
    if (has_news(alerts, series, &info, now_ms)) {
        uint64_t models = registry_generation(alerts->services->registry);
        if (api_alert_find(worker, &watched->condition, series->id, &finding, &error) !=
            STATUS_OK) {
            log_warning("alerts", "series not looked at", "rule=%s reason=%s", watched->rule->name,
                        QUOTED(error.text));
            return;
        }
        series->looked = true;
        series->looked_ms = now_ms;
        series->last_ms = info.last_ms;
        series->generation = info.generation;
        series->registry_generation = models;
        series->finding = finding;
    }
    if (series->finding.usable) {
        (void)go_on(alerts, watched, series, &series->finding);
    }
}

/* Brings the list of a rule's series up to date; both lists rise by id. False without memory. */
static bool update_series(struct alerts *alerts, struct watched_rule *watched)
{
    uint32_t ids[ALERT_SERIES_MAX + 1];
    size_t count = storage_series_list(alerts->services->storage, watched->selector, 0, ids,
                                       ALERT_SERIES_MAX + 1);
    if (count > ALERT_SERIES_MAX) {
        count = ALERT_SERIES_MAX;
        if (!watched->cut) {
            log_warning("alerts", "rule has more series than are watched", "rule=%s watched=%d",
                        watched->rule->name, ALERT_SERIES_MAX);
        }
        watched->cut = true;
    }
    struct watched *fresh = mem_zeroed(count, sizeof(*fresh));
    if (fresh == NULL) {
        return false;
    }
    size_t old = 0;
    for (size_t i = 0; i < count; i++) {
        for (; old < watched->count && watched->series[old].id < ids[i]; old++) {
            leave(alerts, watched, &watched->series[old]);
        }
        fresh[i].id = ids[i];
        if (old < watched->count && watched->series[old].id == ids[i]) {
            fresh[i] = watched->series[old++];
        }
    }
    for (; old < watched->count; old++) {
        leave(alerts, watched, &watched->series[old]);
    }
    mem_free(watched->series);
    watched->series = fresh;
    watched->count = count;
    return true;
}

static bool is_closed(struct alerts *alerts)
{
    lock_acquire(&alerts->lock);
    bool closed = alerts->closed;
    lock_release(&alerts->lock);
    return closed;
}

static void round_of(struct alerts *alerts, struct api_worker *worker, struct watched_rule *watched)
{
    tell_gone(alerts, watched);
    if (!update_series(alerts, watched)) {
        return;
    }
    for (size_t i = 0; i < watched->count && !is_closed(alerts); i++) {
        look(alerts, worker, watched, &watched->series[i]);
    }
    note_backlog(watched);
}

/* False once the watch is over. */
static bool wait_for_round(struct alerts *alerts, int64_t next_ns)
{
    lock_acquire(&alerts->lock);
    for (int64_t left_ms; !alerts->closed;) {
        left_ms = (next_ns - clock_monotonic_ns()) / 1000000;
        if (left_ms <= 0) {
            break;
        }
        condition_wait_for(&alerts->woken, &alerts->lock, left_ms);
    }
    bool goes_on = !alerts->closed;
    lock_release(&alerts->lock);
    return goes_on;
}

static void *alerts_main(void *context)
{
    struct alerts *alerts = context;
    struct api_worker *worker = NULL;
    int64_t next_ns = clock_monotonic_ns() + alerts->every_ms * 1000000;
    background_enter(NICE, 0);
    while (wait_for_round(alerts, next_ns)) {
        struct error error = {0};
        next_ns = clock_monotonic_ns() + alerts->every_ms * 1000000;
        if (worker == NULL && api_worker_new(alerts->services, &worker, &error) != STATUS_OK) {
            log_error("alerts", "no worker", "reason=%s", QUOTED(error.text));
            continue;
        }
        for (size_t i = 0; i < alerts->rules.count; i++) {
            round_of(alerts, worker, &alerts->watched[i]);
        }
    }
    api_worker_free(worker);
    return NULL;
}

/* ---------------------------------------------------------------- start and end */

static enum status prepare(struct alerts *alerts, struct error *error)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < alerts->rules.count && status == STATUS_OK; i++) {
        struct watched_rule *watched = &alerts->watched[i];
        watched->rule = &alerts->rules.rules[i];
        alert_rule_condition(watched->rule, &watched->condition);
        status = selector_parse(watched->rule->series, strlen(watched->rule->series),
                                &watched->selector, error);
    }
    if (status == STATUS_OK) {
        status = webhooks_start(alerts->services, &alerts->rules, &alerts->webhooks, error);
    }
    if (status == STATUS_OK) {
        status = thread_start(&alerts->thread, "alerts", alerts_main, alerts, error);
        alerts->started = status == STATUS_OK;
    }
    return status;
}

enum status alerts_start(struct api_services *services, const struct alert_rules *rules,
                         int64_t every_ms, struct alerts **out, struct error *error)
{
    *out = NULL;
    if (rules->count == 0) {
        return STATUS_OK;
    }
    struct alerts *alerts = mem_zeroed(1, sizeof(*alerts));
    if (alerts == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not watch for alerts: out of memory");
    }
    alerts->services = services;
    alerts->rules = *rules;
    alerts->every_ms = every_ms;
    lock_init(&alerts->lock);
    condition_init(&alerts->woken);
    enum status status = prepare(alerts, error);
    if (status != STATUS_OK) {
        alerts_stop(alerts);
        return status;
    }
    *out = alerts;
    return STATUS_OK;
}

void alerts_stop(struct alerts *alerts)
{
    if (alerts == NULL) {
        return;
    }
    lock_acquire(&alerts->lock);
    alerts->closed = true;
    condition_broadcast(&alerts->woken);
    lock_release(&alerts->lock);
    if (alerts->started) {
        pthread_join(alerts->thread, NULL);
    }
    webhooks_stop(alerts->webhooks);
    for (size_t i = 0; i < alerts->rules.count; i++) {
        struct watched_rule *watched = &alerts->watched[i];
        for (size_t k = 0; k < watched->count; k++) {
            mem_free(watched->series[k].text);
        }
        for (size_t k = 0; k < watched->gone_count; k++) {
            mem_free(watched->gone[k].text);
        }
        mem_free(watched->series);
        mem_free(watched->gone);
        selector_free(watched->selector);
    }
    condition_release_memory(&alerts->woken);
    lock_release_memory(&alerts->lock);
    mem_free(alerts);
}
