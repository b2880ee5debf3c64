/* Snapshots to model files and back: what is in the metadata, and the checks on reading.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Tensors are "memberN.<parameter>" and "spread" [Q, H]. Everything else is
 * text in the metadata, so that any reader of safetensors can look into a model.
 */
#include "model/checkpoint.h"
#include "model/snapshot.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "forecastd-model-4"
/* Read as well: there were no means (3), a blend was one baseline, the group's in words (2), and
 * only the group's (1). */
static const char *const older_formats[] = {"forecastd-model-3", "forecastd-model-2",
                                            "forecastd-model-1"};
#define STEP_MS_MAX   (INT64_C(400) * 86400000)
#define HELD_BACK_MAX 1000 /* origins; more is no sense */

/* ---------------------------------------------------------------- writing */

static void set_list(struct checkpoint *out, const char *key, const uint32_t *values, size_t count)
{
    char text[SEASONS_MAX * 16 + LAGS_MAX * 16] = "";
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        length +=
            (size_t)snprintf(text + length, sizeof(text) - length, i > 0 ? ",%u" : "%u", values[i]);
    }
    checkpoint_set(out, key, text);
}

static void set_record(struct checkpoint *out, const struct snapshot_record *record)
{
    checkpoint_set(out, "id", record->id);
    checkpoint_set_format(out, "step_ms", "%" PRId64, record->step_ms);
    checkpoint_set_format(out, "horizon", "%zu", record->horizon);
    checkpoint_set_format(out, "trained_at_ms", "%" PRId64, record->trained_at_ms);
    checkpoint_set_format(out, "window_start_ms", "%" PRId64, record->window_start_ms);
    checkpoint_set_format(out, "window_end_ms", "%" PRId64, record->window_end_ms);
    checkpoint_set_format(out, "held_back", "%zu", record->held_back);
    checkpoint_set_format(out, "recent_ms", "%" PRId64, record->recent_ms);
    checkpoint_set_format(out, "data_end_ms", "%" PRId64, record->data_end_ms);
    checkpoint_set_format(out, "data_generation", "%" PRIu64, record->data_generation);
    checkpoint_set_format(out, "seed", "%" PRIu64, record->seed);
    checkpoint_set_format(out, "steps", "%" PRIu64, record->steps);
    checkpoint_set_format(out, "series", "%zu", record->series);
    checkpoint_set_format(out, "series_total", "%zu", record->series_total);
    checkpoint_set_format(out, "windows", "%" PRIu64, record->windows);
    checkpoint_set_format(out, "windows_total", "%" PRIu64, record->windows_total);
    checkpoint_set_format(out, "seconds", "%.3f", record->seconds);
    checkpoint_set_format(out, "mase", "%.17g", record->mase);
    checkpoint_set_format(out, "wql", "%.17g", record->wql);
    checkpoint_set_format(out, "coverage80", "%.17g", record->coverage80);
    checkpoint_set_format(out, "baseline_mase", "%.17g", record->baseline_mase);
    checkpoint_set_format(out, "baseline_wql", "%.17g", record->baseline_wql);
    checkpoint_set(out, "baseline", record->baseline);
    checkpoint_set_format(out, "evaluated", "%" PRIu64, record->evaluated);
    checkpoint_set(out, "decision", record->decision);
}

static void set_member(struct checkpoint *out, const struct member *member, size_t index,
                       struct text *text)
{
    char key[48];
    snprintf(key, sizeof(key), "member%zu", index);
    text_clear(text);
    member_config_print(&member->config, text);
    checkpoint_set(out, key, text->bytes != NULL ? text->bytes : "");
    snprintf(key, sizeof(key), "member%zu.backbone", index);
    checkpoint_set(out, key, member->config.backbone);
    snprintf(key, sizeof(key), "member%zu.options", index);
    checkpoint_set(out, key, member->config.options);
}

/* One member's weights as floats: the slab itself, or a converted copy in the double build. */
static const float *slab_floats(const struct member *member, float **copy)
{
#ifdef FORECASTD_DOUBLE
    *copy = mem_array(member->params.size, sizeof(float));
    for (size_t i = 0; *copy != NULL && i < member->params.size; i++) {
        (*copy)[i] = (float)member->weights[i];
    }
    return *copy;
#else
    *copy = NULL;
    return member->weights;
#endif
}

static void add_weights(struct checkpoint *out, const struct member *member, size_t index,
                        const float *slab)
{
    for (size_t i = 0; i < member->params.count; i++) {
        const struct param *param = &member->params.items[i];
        char name[CHECKPOINT_NAME_MAX];
        snprintf(name, sizeof(name), "member%zu.%s", index, param->name);
        checkpoint_add(out, name, param->shape, param->axes, slab + param->offset);
    }
}

/* The group's blend as a tensor, that of single series as two where there is any; `room` is theirs.
 */
static bool add_blend(struct checkpoint *out, const struct blend *blend, float **room)
{
    size_t count = blend->count;
    size_t numbers_size = BLEND_PARTS * BLEND_NUMBERS;
    *room = mem_zeroed(count + 1, (BLEND_KEY_PARTS + numbers_size) * sizeof(float));
    if (*room == NULL) {
        return false;
    }
    float *group = *room + count * BLEND_KEY_PARTS;
    float *numbers = group + numbers_size;
    blend_write_mixture(&blend->group, group);
    blend_write(blend, *room, numbers);
    checkpoint_add(out, "blend.group", (size_t[]){BLEND_PARTS, BLEND_NUMBERS}, 2, group);
    if (count > 0) {
        checkpoint_add(out, "blend.keys", (size_t[]){count, BLEND_KEY_PARTS}, 2, *room);
        checkpoint_add(out, "blend.numbers", (size_t[]){count, BLEND_PARTS, BLEND_NUMBERS}, 3,
                       numbers);
    }
    return true;
}

static void set_tensor_hash(struct checkpoint *out)
{
    struct sha256 hash;
    char hex[65];
    sha256_init(&hash);
    for (size_t i = 0; i < out->tensor_count; i++) {
        sha256_add(&hash, out->tensors[i].data, out->tensors[i].size * sizeof(float));
    }
    sha256_hex(&hash, hex);
    checkpoint_set(out, "tensors_sha256", hex);
}

enum status snapshot_save(struct snapshot *snapshot, const char *path, struct error *error)
{
    struct checkpoint file;
    struct text text;
    float *copies[MEMBERS_MAX] = {NULL};
    float *blend = NULL;
    checkpoint_init(&file);
    text_init(&text, 4096);
    checkpoint_set(&file, "format", FORMAT);
    checkpoint_set(&file, "program", "forecastd " FORECASTD_VERSION);
    set_record(&file, &snapshot->record);
    set_list(&file, "seasons", snapshot->seasons, SEASONS_MAX);
    set_list(&file, "lags", snapshot->plan.lags, snapshot->plan.lag_count);
    set_list(&file, "folds", snapshot->plan.folds, snapshot->plan.lag_count);
    set_list(&file, "means", snapshot->plan.means, snapshot->plan.mean_count);
    set_list(&file, "depths", snapshot->plan.depths, snapshot->plan.mean_count);
    set_list(&file, "periods", snapshot->plan.periods, snapshot->plan.period_count);
    checkpoint_set_format(&file, "members", "%zu", snapshot->member_count);
    bool complete = true;
    for (size_t i = 0; i < snapshot->member_count; i++) {
        set_member(&file, snapshot->members[i], i, &text);
        const float *slab = slab_floats(snapshot->members[i], &copies[i]);
        complete = complete && slab != NULL;
        if (complete) {
            add_weights(&file, snapshot->members[i], i, slab);
        }
    }
    size_t horizon = snapshot->plan.horizon;
    checkpoint_add(&file, "spread", (size_t[]){QUANTILE_COUNT, horizon}, 2, snapshot->spread);
    complete = complete && add_blend(&file, &snapshot->blend, &blend);
    enum status status = text_status(&text, "a member's configuration", error);
    if (status == STATUS_OK && !complete) {
        status = error_set(error, STATUS_NO_MEMORY, "could not put the model file together");
    }
    if (status == STATUS_OK) {
        set_tensor_hash(&file);
        char sha256[65];
        status = checkpoint_write(&file, path, sha256, error);
        if (status == STATUS_OK) {
            memcpy(snapshot->record.sha256, sha256, sizeof(sha256));
        }
    }
    for (size_t i = 0; i < snapshot->member_count; i++) {
        mem_free(copies[i]);
    }
    mem_free(blend);
    checkpoint_release(&file);
    text_release(&text);
    return status;
}

/* ---------------------------------------------------------------- reading */

static enum status corrupt(struct error *error, const char *key)
{
    return error_set(error, STATUS_CORRUPT,
                     "cannot use the model file: \"%s\" is missing or out of bounds", key);
}

static bool read_int(const struct checkpoint *file, const char *key, int64_t minimum,
                     int64_t maximum, int64_t *value)
{
    const char *text = checkpoint_text(file, key);
    char *end = NULL;
    errno = 0;
    *value = text != NULL ? strtoll(text, &end, 10) : 0;
    return text != NULL && end != text && *end == '\0' && errno == 0 && *value >= minimum &&
           *value <= maximum;
}

static uint64_t read_unsigned(const struct checkpoint *file, const char *key)
{
    const char *text = checkpoint_text(file, key);
    return text != NULL ? strtoull(text, NULL, 10) : 0;
}

static double read_double(const struct checkpoint *file, const char *key)
{
    const char *text = checkpoint_text(file, key);
    return text != NULL ? strtod(text, NULL) : (double)NAN;
}

/* "24,168" into at most `maximum` values up to `largest`. */
static bool read_list(const struct checkpoint *file, const char *key, uint32_t largest,
                      uint32_t *values, size_t maximum, size_t *count)
{
    const char *text = checkpoint_text(file, key);
    *count = 0;
    if (text == NULL) {
        return false;
    }
    while (*text != '\0') {
        char *end = NULL;
        unsigned long long value = strtoull(text, &end, 10);
        bool good = *text >= '0' && *text <= '9' && value <= largest && *count < maximum &&
                    (*end == ',' || *end == '\0');
        if (!good) {
            return false;
        }
        values[*count] = (uint32_t)value;
        *count += 1;
        text = *end == ',' ? end + 1 : end;
    }
    return true;
}

/* A second value of each item of a list; before there were such values, all were 0. */
static bool read_of_each(const struct checkpoint *file, const char *key, uint32_t largest,
                         uint32_t *values, size_t item_count)
{
    size_t count;
    return checkpoint_text(file, key) == NULL ||
           (read_list(file, key, largest, values, item_count, &count) && count == item_count);
}

static bool any_zero(const uint32_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (values[i] == 0) {
            return true;
        }
    }
    return false;
}

/* The means of seasons; before there were any, none. */
static bool read_means(const struct checkpoint *file, struct feature_plan *plan)
{
    plan->mean_count = 0;
    return checkpoint_text(file, "means") == NULL ||
           (read_list(file, "means", PERIOD_LENGTH_MAX, plan->means, SEASONS_MAX,
                      &plan->mean_count) &&
            !any_zero(plan->means, plan->mean_count) &&
            read_of_each(file, "depths", MEAN_DEPTH_MAX, plan->depths, plan->mean_count));
}

static enum status read_plan(const struct checkpoint *file, struct feature_plan *plan,
                             uint32_t seasons[SEASONS_MAX], struct error *error)
{
    int64_t horizon;
    size_t season_count;
    const char *format = checkpoint_text(file, "format");
    bool known = format != NULL && strcmp(format, FORMAT) == 0;
    for (size_t i = 0; i < ARRAY_COUNT(older_formats) && format != NULL; i++) {
        known = known || strcmp(format, older_formats[i]) == 0;
    }
    if (!known) {
        return error_set(error, STATUS_CORRUPT, "cannot use the model file: it is not of format %s",
                         FORMAT);
    }
    if (!read_int(file, "step_ms", 1, STEP_MS_MAX, &plan->step_ms)) {
        return corrupt(error, "step_ms");
    }
    if (!read_int(file, "horizon", 1, MEMBER_HORIZON_MAX, &horizon)) {
        return corrupt(error, "horizon");
    }
    plan->horizon = (size_t)horizon;
    if (!read_list(file, "seasons", PERIOD_LENGTH_MAX, seasons, SEASONS_MAX, &season_count)) {
        return corrupt(error, "seasons");
    }
    if (!read_list(file, "lags", PERIOD_LENGTH_MAX * 4, plan->lags, LAGS_MAX, &plan->lag_count) ||
        any_zero(plan->lags, plan->lag_count)) {
        return corrupt(error, "lags");
    }
    if (!read_of_each(file, "folds", PERIOD_LENGTH_MAX, plan->folds, plan->lag_count)) {
        return corrupt(error, "folds");
    }
    if (!read_means(file, plan)) {
        return corrupt(error, "means");
    }
    if (!read_list(file, "periods", PERIOD_LENGTH_MAX, plan->periods, PERIODS_MAX,
                   &plan->period_count) ||
        any_zero(plan->periods, plan->period_count)) {
        return corrupt(error, "periods");
    }
    return STATUS_OK;
}

static enum status copy_weights(const struct checkpoint *file, struct member *member, size_t index,
                                struct error *error)
{
    for (size_t i = 0; i < member->params.count; i++) {
        const struct param *param = &member->params.items[i];
        char name[CHECKPOINT_NAME_MAX];
        snprintf(name, sizeof(name), "member%zu.%s", index, param->name);
        const struct checkpoint_tensor *tensor = checkpoint_find(file, name);
        bool same = tensor != NULL && tensor->size == param->size &&
                    memcmp(tensor->shape, param->shape, sizeof(param->shape)) == 0;
        if (!same) {
            return error_set(error, STATUS_CORRUPT,
                             "cannot use the model file: tensor \"%s\" is missing or misshapen",
                             name);
        }
        for (size_t j = 0; j < param->size; j++) {
            member->weights[param->offset + j] = (real)tensor->data[j];
        }
    }
    return STATUS_OK;
}

static size_t file_values(const struct checkpoint *file)
{
    size_t sum = 0;
    for (size_t i = 0; i < file->tensor_count; i++) {
        sum += file->tensors[i].size;
    }
    return sum;
}

static enum status read_member(const struct checkpoint *file, struct snapshot *snapshot,
                               size_t index, struct error *error)
{
    char key[48];
    struct member_config config;
    snprintf(key, sizeof(key), "member%zu", index);
    const char *text = checkpoint_text(file, key);
    if (text == NULL || member_config_parse(text, strlen(text), &config, error) != STATUS_OK) {
        return corrupt(error, key);
    }
    snprintf(key, sizeof(key), "member%zu.backbone", index);
    text = checkpoint_text(file, key);
    if (text == NULL || strlen(text) >= sizeof(config.backbone)) {
        return corrupt(error, key);
    }
    snprintf(config.backbone, sizeof(config.backbone), "%s", text);
    snprintf(key, sizeof(key), "member%zu.options", index);
    text = checkpoint_text(file, key);
    if (text == NULL || strlen(text) >= sizeof(config.options)) {
        return corrupt(error, key);
    }
    snprintf(config.options, sizeof(config.options), "%s", text);
    enum status status =
        member_new(&config, &snapshot->plan, snapshot->seasons, &snapshot->members[index], error);
    if (status == STATUS_INVALID) {
        error->status = STATUS_CORRUPT;
        return error_wrap(error, "cannot use the model file");
    }
    if (status != STATUS_OK) {
        return status;
    }
    /* Compared with the file first: a few words of configuration can ask for any amount of memory.
     */
    struct member *member = snapshot->members[index];
    if (member->params.trained > file_values(file)) {
        return error_set(error, STATUS_CORRUPT,
                         "cannot use the model file: it is too small for its configuration");
    }
    status = member_make_weights(member, error);
    if (status != STATUS_OK) {
        return status;
    }
    return copy_weights(file, member, index, error);
}

static enum status read_floats(const struct checkpoint *file, const char *name, size_t count,
                               float *out, struct error *error)
{
    const struct checkpoint_tensor *tensor = checkpoint_find(file, name);
    if (tensor == NULL || tensor->size != count) {
        return corrupt(error, name);
    }
    memcpy(out, tensor->data, count * sizeof(float));
    return STATUS_OK;
}

static void copy_text(const struct checkpoint *file, const char *key, char *out, size_t capacity)
{
    const char *text = checkpoint_text(file, key);
    snprintf(out, capacity, "%s", text != NULL ? text : "");
}

/* What was held back; a file of before says only where the last of all that was learned ended. */
static void read_held_back(const struct checkpoint *file, struct snapshot_record *record)
{
    int64_t held_back;
    if (read_int(file, "held_back", 0, HELD_BACK_MAX, &held_back) &&
        read_int(file, "recent_ms", INT64_MIN, INT64_MAX, &record->recent_ms) &&
        read_int(file, "data_end_ms", INT64_MIN, INT64_MAX, &record->data_end_ms)) {
        record->held_back = (size_t)held_back;
    } else {
        record->recent_ms = record->data_end_ms = record->window_end_ms;
    }
}

static enum status read_record(const struct checkpoint *file, struct snapshot *snapshot,
                               struct error *error)
{
    struct snapshot_record *record = &snapshot->record;
    bool good = read_int(file, "trained_at_ms", INT64_MIN, INT64_MAX, &record->trained_at_ms) &&
                read_int(file, "window_start_ms", INT64_MIN, INT64_MAX, &record->window_start_ms) &&
                read_int(file, "window_end_ms", INT64_MIN, INT64_MAX, &record->window_end_ms);
    if (!good) {
        return corrupt(error, "window_end_ms");
    }
    read_held_back(file, record);
    copy_text(file, "id", record->id, sizeof(record->id));
    copy_text(file, "baseline", record->baseline, sizeof(record->baseline));
    copy_text(file, "decision", record->decision, sizeof(record->decision));
    record->data_generation = read_unsigned(file, "data_generation");
    record->seed = read_unsigned(file, "seed");
    record->steps = read_unsigned(file, "steps");
    record->series = (size_t)read_unsigned(file, "series");
    record->series_total = (size_t)read_unsigned(file, "series_total");
    record->windows = read_unsigned(file, "windows");
    record->windows_total = read_unsigned(file, "windows_total");
    record->evaluated = read_unsigned(file, "evaluated");
    record->seconds = read_double(file, "seconds");
    record->mase = read_double(file, "mase");
    record->wql = read_double(file, "wql");
    record->coverage80 = read_double(file, "coverage80");
    record->baseline_mase = read_double(file, "baseline_mase");
    record->baseline_wql = read_double(file, "baseline_wql");
    snapshot_summarise(snapshot);
    return STATUS_OK;
}

/* The group's blend of a file before format 3: one baseline, in words. */
static bool read_group_words(const struct checkpoint *file, struct blend_part *part)
{
    int64_t season;
    const char *name = checkpoint_text(file, "blend_baseline");
    double share = read_double(file, "blend");
    if (!(share >= 0.0 && share <= 1.0) ||
        !read_int(file, "blend_season", 0, PERIOD_LENGTH_MAX, &season)) {
        return false;
    }
    for (size_t i = 0; name != NULL && i < BASELINE_COUNT; i++) {
        if (strcmp(name, baseline_name((enum baseline)i)) == 0) {
            *part = (struct blend_part){(enum baseline)i, (uint32_t)season, (float)share};
            return true;
        }
    }
    return false;
}

/* The group's blend and that of single series; *tensors counts what it used. */
static enum status read_blend(const struct checkpoint *file, struct blend *blend, size_t *tensors,
                              struct error *error)
{
    const struct checkpoint_tensor *group = checkpoint_find(file, "blend.group");
    const struct checkpoint_tensor *keys = checkpoint_find(file, "blend.keys");
    const struct checkpoint_tensor *numbers = checkpoint_find(file, "blend.numbers");
    size_t parts = group != NULL ? BLEND_PARTS : 1;
    bool good = group != NULL ? group->size == BLEND_PARTS * BLEND_NUMBERS &&
                                    blend_read_mixture(group->data, parts, &blend->group)
                              : read_group_words(file, &blend->group.parts[0]);
    if (!good) {
        return corrupt(error, "blend");
    }
    *tensors += group != NULL ? 1 : 0;
    if (keys == NULL && numbers == NULL) {
        return STATUS_OK;
    }
    size_t count = keys != NULL ? keys->size / BLEND_KEY_PARTS : 0;
    if (count == 0 || count > BLEND_SERIES_MAX || numbers == NULL ||
        keys->size != count * BLEND_KEY_PARTS || numbers->size != count * parts * BLEND_NUMBERS) {
        return corrupt(error, "blend.keys");
    }
    *tensors += 2;
    struct blend_tensors from = {keys->data, numbers->data, count, parts};
    return blend_read(blend, &from, error);
}

static enum status read_all(const struct checkpoint *file, struct snapshot **out,
                            struct error *error)
{
    struct feature_plan plan = {0};
    uint32_t seasons[SEASONS_MAX] = {0};
    int64_t members;
    enum status status = read_plan(file, &plan, seasons, error);
    if (status != STATUS_OK) {
        return status;
    }
    if (!read_int(file, "members", 1, MEMBERS_MAX, &members)) {
        return corrupt(error, "members");
    }
    struct snapshot *snapshot;
    status = snapshot_new(&plan, (size_t)members, &snapshot, error);
    if (status != STATUS_OK) {
        return status;
    }
    memcpy(snapshot->seasons, seasons, sizeof(seasons));
    size_t tensors = 1;
    for (size_t i = 0; i < (size_t)members && status == STATUS_OK; i++) {
        status = read_member(file, snapshot, i, error);
        tensors += status == STATUS_OK ? snapshot->members[i]->params.count : 0;
    }
    size_t horizon = plan.horizon;
    if (status == STATUS_OK) {
        status = read_floats(file, "spread", QUANTILE_COUNT * horizon, snapshot->spread, error);
    }
    if (status == STATUS_OK) {
        status = read_blend(file, &snapshot->blend, &tensors, error);
    }
    if (status == STATUS_OK && tensors != file->tensor_count) {
        status = error_set(error, STATUS_CORRUPT,
                           "cannot use the model file: it holds tensors that no member has");
    }
    if (status == STATUS_OK) {
        status = read_record(file, snapshot, error);
    }
    if (status != STATUS_OK) {
        snapshot_release(snapshot);
        return status;
    }
    *out = snapshot;
    return STATUS_OK;
}

enum status snapshot_load(const char *path, const char *sha256, struct snapshot **out,
                          struct error *error)
{
    struct checkpoint file;
    enum status status = checkpoint_read(path, sha256, &file, error);
    if (status != STATUS_OK) {
        return status;
    }
    status = read_all(&file, out, error);
    if (status == STATUS_CORRUPT && sha256 != NULL) {
        status = error->status = STATUS_UNSUPPORTED;
    }
    if (status == STATUS_OK && sha256 != NULL) {
        snprintf((*out)->record.sha256, sizeof((*out)->record.sha256), "%s", sha256);
    }
    checkpoint_release(&file);
    return status;
}
