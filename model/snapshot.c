/* Snapshots: counted life, record and description.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/snapshot.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum status snapshot_new(const struct feature_plan *plan, size_t member_count,
                         struct snapshot **out, struct error *error)
{
    CHECK(member_count >= 1 && member_count <= MEMBERS_MAX);
    struct snapshot *snapshot = mem_zeroed(1, sizeof(*snapshot));
    if (snapshot == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not make a snapshot");
    }
    atomic_init(&snapshot->references, 1);
    snapshot->plan = *plan;
    enum status status = feature_plan_init(&snapshot->plan, error);
    if (status != STATUS_OK) {
        mem_free(snapshot);
        return status;
    }
    snapshot->member_count = member_count;
    size_t horizon = plan->horizon;
    snapshot->spread = mem_zeroed(QUANTILE_COUNT * horizon, sizeof(float));
    if (snapshot->spread == NULL) {
        snapshot_release(snapshot);
        return error_set(error, STATUS_NO_MEMORY, "could not make a snapshot");
    }
    for (size_t i = 0; i < QUANTILE_COUNT * horizon; i++) {
        snapshot->spread[i] = 1.0f;
    }
    struct snapshot_record *record = &snapshot->record;
    record->step_ms = plan->step_ms;
    record->horizon = horizon;
    record->mase = record->wql = record->coverage80 = (double)NAN;
    record->baseline_mase = record->baseline_wql = (double)NAN;
    *out = snapshot;
    return STATUS_OK;
}

struct snapshot *snapshot_acquire(struct snapshot *snapshot)
{
    unsigned before = atomic_fetch_add(&snapshot->references, 1);
    CHECK(before > 0);
    return snapshot;
}

void snapshot_release(struct snapshot *snapshot)
{
    if (snapshot == NULL || atomic_fetch_sub(&snapshot->references, 1) != 1) {
        return;
    }
    for (size_t i = 0; i < snapshot->member_count; i++) {
        member_free(snapshot->members[i]);
    }
    feature_plan_release(&snapshot->plan);
    blend_release(&snapshot->blend);
    mem_free(snapshot->spread);
    mem_free(snapshot);
}

const struct snapshot_record *snapshot_record(const struct snapshot *snapshot)
{
    return &snapshot->record;
}

bool snapshot_weighed(const struct snapshot *snapshot, uint64_t key)
{
    return blend_has(&snapshot->blend, key);
}

/* The end of what was learned of a series is not kept; but series only grow, so it lies no later
 * than their newest held-back origins, and than the last end of all. */
bool snapshot_unseen(const struct snapshot *snapshot, const struct model_series *series,
                     size_t origin)
{
    const struct snapshot_record *record = &snapshot->record;
    int64_t step_ms = series->step_ms;
    int64_t time_ms = series->start_ms + (int64_t)origin * step_ms;
    if (time_ms >= record->data_end_ms) {
        return true;
    }
    size_t least = LEARNED_MIN(record->horizon), held_back = record->held_back * record->horizon;
    int64_t enough = series->start_ms / step_ms + (int64_t)least; /* a cell, whatever its phase */
    if (series->count < least + held_back || enough > record->window_end_ms / step_ms) {
        return false; /* it was too short to hold anything back */
    }
    bool newest = series->count - origin <= held_back && time_ms >= record->recent_ms;
    return newest || time_ms >= record->window_end_ms;
}

void snapshot_set_id(struct snapshot *snapshot, const char *id)
{
    snprintf(snapshot->record.id, sizeof(snapshot->record.id), "%s", id);
}

void snapshot_set_decision(struct snapshot *snapshot, const char *decision)
{
    snprintf(snapshot->record.decision, sizeof(snapshot->record.decision), "%s", decision);
}

size_t snapshot_context(const struct snapshot *snapshot)
{
    const struct feature_plan *plan = &snapshot->plan;
    size_t longest = 0;
    for (size_t i = 0; i < snapshot->member_count; i++) {
        const struct member *member = snapshot->members[i];
        size_t windows =
            1 + member_primes(member); /* each begins where the last one's context did */
        size_t reach = windows * member->shape.context + member->shape.delay;
        size_t lag = 0;
        for (size_t n = 0; member->config.lags && n < plan->lag_count; n++) {
            lag = plan->lags[n] > lag ? plan->lags[n] : lag;
        }
        for (size_t n = 0; member->config.lags && n < plan->mean_count; n++) {
            size_t oldest = (size_t)plan->depths[n] * plan->means[n];
            lag = oldest > lag ? oldest : lag;
        }
        longest = reach + lag > longest ? reach + lag : longest;
    }
    return longest;
}

void snapshot_summarise(struct snapshot *snapshot)
{
    struct snapshot_record *record = &snapshot->record;
    record->members = snapshot->member_count;
    record->parameters = 0;
    record->bytes = sizeof(*snapshot);
    record->sparse_share = 0.0;
    for (size_t i = 0; i < snapshot->member_count; i++) {
        const struct member *member = snapshot->members[i];
        record->parameters += member->params.trained;
        record->bytes += member->params.size * sizeof(real);
        record->sparse_share = fmax(record->sparse_share, member->backbone->sparse_share);
    }
    snprintf(record->backbone, sizeof(record->backbone), "%s",
             snapshot->members[0]->config.backbone);
}

void snapshot_step_text(int64_t step_ms, char *text, size_t capacity)
{
    static const struct {
        int64_t unit_ms;
        const char *name;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    for (size_t i = 0; i < ARRAY_COUNT(units); i++) {
        if (step_ms % units[i].unit_ms == 0) {
            snprintf(text, capacity, "%lld%s", (long long)(step_ms / units[i].unit_ms),
                     units[i].name);
            return;
        }
    }
}

bool snapshot_sampled(const struct snapshot_record *record)
{
    return record->series < record->series_total || record->windows < record->windows_total;
}

/* ---------------------------------------------------------------- description */

static void add_key(struct text *json, const char *key)
{
    char last = json->length > 0 ? json->bytes[json->length - 1] : '{';
    if (last != '{' && last != '[') {
        text_add_char(json, ',');
    }
    text_add_json_string(json, key, strlen(key));
    text_add_char(json, ':');
}

static void add_text(struct text *json, const char *key, const char *value)
{
    add_key(json, key);
    text_add_json_string(json, value, strlen(value));
}

static void add_int(struct text *json, const char *key, uint64_t value)
{
    add_key(json, key);
    text_add_int(json, (int64_t)value);
}

static void add_double(struct text *json, const char *key, double value)
{
    add_key(json, key);
    text_add_double_digits(json, value, 6);
}

static void add_time(struct text *json, const char *key, int64_t time_ms)
{
    add_key(json, key);
    text_add_char(json, '"');
    text_add_time(json, time_ms);
    text_add_char(json, '"');
}

static void describe_member(const struct member *member, struct text *json)
{
    const struct backbone_model *backbone = member->backbone;
    bool gaussian = member->config.head == HEAD_GAUSSIAN;
    text_add_char(json, '{');
    add_text(json, "backbone", member->config.backbone);
    add_text(json, "options", member->config.options);
    add_text(json, "head", gaussian ? "gaussian" : "quantile");
    add_int(json, "context", member->shape.context);
    add_int(json, "patch", (uint64_t)member->config.patch);
    add_int(json, "tokens", member->tokens);
    add_int(json, "layers", backbone->layers);
    add_int(json, "width", backbone->width);
    add_text(json, "pattern", backbone->pattern);
    add_int(json, "window", backbone->window);
    add_double(json, "sparse_share", backbone->sparse_share);
    add_int(json, "parameters", member->params.trained);
    backbone_describe(backbone, &member->params, member->weights, json);
    add_key(json, "config");
    text_add_char(json, '"');
    member_config_print(&member->config, json); /* plain key=value text: nothing to escape */
    text_add_string(json, "\"}");
}

void snapshot_describe(const struct snapshot *snapshot, struct text *json)
{
    const struct snapshot_record *record = &snapshot->record;
    char step[24];
    snapshot_step_text(record->step_ms, step, sizeof(step));
    text_add_char(json, '{');
    add_text(json, "id", record->id);
    add_text(json, "backbone", record->backbone);
    add_text(json, "step", step);
    add_int(json, "step_ms", (uint64_t)record->step_ms);
    add_int(json, "horizon", record->horizon);
    add_time(json, "trained_at", record->trained_at_ms);
    add_key(json, "window");
    text_add_string(json, "[\"");
    text_add_time(json, record->window_start_ms);
    text_add_string(json, "\",\"");
    text_add_time(json, record->window_end_ms);
    text_add_string(json, "\"]");
    add_int(json, "data_generation", record->data_generation);
    add_int(json, "seed", record->seed);
    add_int(json, "steps", record->steps);
    add_double(json, "seconds", record->seconds);
    add_int(json, "series", record->series);
    add_key(json, "sampling");
    text_add_char(json, '{');
    add_int(json, "series", record->series);
    add_int(json, "series_total", record->series_total);
    add_int(json, "windows", record->windows);
    add_int(json, "windows_total", record->windows_total);
    add_key(json, "sampled");
    text_add_string(json, snapshot_sampled(record) ? "true" : "false");
    text_add_char(json, '}');
    add_int(json, "parameters", record->parameters);
    add_int(json, "bytes", record->bytes);
    add_double(json, "sparse_share", record->sparse_share);
    add_key(json, "metrics");
    text_add_char(json, '{');
    add_double(json, "mase", record->mase);
    add_double(json, "wql", record->wql);
    add_double(json, "coverage80", record->coverage80);
    add_text(json, "baseline", record->baseline);
    add_double(json, "baseline_mase", record->baseline_mase);
    add_double(json, "baseline_wql", record->baseline_wql);
    add_int(json, "evaluated", record->evaluated);
    text_add_char(json, '}');
    add_key(json, "blend");
    text_add_char(json, '{');
    const struct blend_mixture *group = &snapshot->blend.group;
    add_double(json, "share", (double)blend_baselines(group));
    add_key(json, "baselines");
    text_add_char(json, '[');
    for (size_t i = 0; i < BLEND_PARTS && group->parts[i].share > 0.0f; i++) {
        text_add_string(json, i > 0 ? ",{" : "{");
        add_text(json, "baseline", baseline_name(group->parts[i].baseline));
        add_int(json, "season", group->parts[i].season);
        add_double(json, "share", (double)group->parts[i].share);
        text_add_char(json, '}');
    }
    text_add_char(json, ']');
    add_int(json, "series_of_their_own", snapshot->blend.count);
    text_add_char(json, '}');
    add_text(json, "sha256", record->sha256);
    add_text(json, "decision", record->decision);
    add_key(json, "members");
    text_add_char(json, '[');
    for (size_t i = 0; i < snapshot->member_count; i++) {
        if (i > 0) {
            text_add_char(json, ',');
        }
        describe_member(snapshot->members[i], json);
    }
    text_add_string(json, "]}");
}
