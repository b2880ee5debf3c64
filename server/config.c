/* The table of options, its layers from default to command line, and what changes on reload.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/config.h"

#include "base/check.h"
#include "base/log.h"
#include "base/memory.h"
#include "server/http.h"
#include "server/mqtt_options.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX     (1024 * 1024)
#define ENVIRONMENT_PREFIX "FORECASTD_"

static const char *const durability_choices[] = {"full", "relaxed", NULL};
static const char *const log_formats[] = {"logfmt", "json", NULL};
static const char *const precisions[] = {"ms", "s", "us", "ns", NULL}; /* enum time_unit */
static const char *const log_levels[] = {"error", "warning", "info", "debug", NULL};

#define FIELD(field) OPTION_FIELD(struct config, field)
#define DAYS(n)      ((n)*86400e3)

/* name, type, default, minimum, maximum, choices, field, reloadable, secret, help */
const struct option config_options[] = {
    {"server.listen", OPTION_TEXT, "127.0.0.1:7380", 0, 0, NULL, FIELD(listen), 0, 0,
     "Address and port; beyond loopback only with auth.tokens, or with --insecure."},
    {"server.hosts", OPTION_TEXT, "", 0, 0, NULL, FIELD(hosts), 0, 0,
     "Host names that a request may name, with commas; on loopback besides localhost, elsewhere "
     "only these once there are any. Addresses are always fine."},
    {"server.health_listen", OPTION_TEXT, "", 0, 0, NULL, FIELD(health_listen), 0, 0,
     "Second address and port, for /healthz, /readyz and /metrics alone: without TLS and tokens, "
     "and it answers when the first one is full."},
    {"server.sandbox", OPTION_BOOL, "true", 0, 0, NULL, FIELD(sandbox), 0, 0,
     "After the start give up files and system calls that are not needed, where the kernel can."},
    {"server.workers", OPTION_INT, "0", 0, 64, NULL, FIELD(workers), 0, 0,
     "Threads that run requests; 0 takes one a core and at least two."},
    {"server.connections", OPTION_INT, "4096", 16, 60000, NULL, FIELD(connections), 0, 0,
     "Open connections at most; more of them wait."},
    {"server.connections_per_address", OPTION_INT, "1024", 4, 60000, NULL,
     FIELD(connections_per_address), 0, 0, "Open connections from one address at most."},
    {"storage.path", OPTION_TEXT, "./forecastd-data", 0, 0, NULL, FIELD(path), 0, 0,
     "Directory of the database and the snapshots; made where it is missing."},
    {"storage.retention", OPTION_DURATION, "0s", 0, DAYS(36500), NULL, FIELD(retention_ms), 0, 0,
     "Age at which points are removed, and series left empty; 0 keeps them for ever."},
    {"storage.downsample", OPTION_TEXT, "", 0, 0, NULL, FIELD(downsample), 0, 0,
     "Old points become one a step: 30d:5m,365d:1h; ages and steps rise; nothing by default."},
    {"storage.durability", OPTION_CHOICE, "full", 0, 0, durability_choices, FIELD(durability), 0, 0,
     "full: an acknowledged point survives power loss; relaxed: it survives the process only."},
    {"storage.reserve", OPTION_BYTES, "64MiB", 0, 1e12, NULL, FIELD(reserve), 0, 0,
     "Disk space set aside, and given up on a full disk so that deleting still works; 0 for none."},
    {"ingest.max_future", OPTION_DURATION, "10m", 0, DAYS(3650), NULL, FIELD(max_future_ms), 1, 0,
     "Points further ahead of the clock than this are refused."},
    {"ingest.max_series", OPTION_INT, "100000", 1, 10e6, NULL, FIELD(max_series), 0, 0,
     "New series beyond this number are refused; existing ones go on."},
    {"ingest.max_body", OPTION_BYTES, "16MiB", 1024, 1024.0 * 1024 * 1024, NULL, FIELD(max_body), 1,
     0, "Largest body of a request."},
    {"forecast.horizon", OPTION_INT, "48", 1, 1024, NULL, FIELD(horizon), 0, 0,
     "Steps that a model is trained for and a forecast has by default."},
    {"forecast.quantiles", OPTION_TEXT, "0.1,0.5,0.9", 0, 0, NULL, FIELD(quantiles), 1, 0,
     "Levels of an answer where the request names none, each in (0,1)."},
    {"forecast.vintages", OPTION_DURATION, "14d", 0, DAYS(3650), NULL, FIELD(vintages_ms), 1, 0,
     "Age up to which issued forecasts are kept, ever more thinly; 0 keeps none and stops "
     "learning."},
    {"forecast.metrics_max", OPTION_INT, "0", 0, 100000, NULL, FIELD(metrics_max), 1, 0,
     "Series that GET /forecast/metrics answers as gauges; 0 switches it off."},
    {"model.backbone", OPTION_TEXT, "logsparse", 0, 0, NULL, FIELD(backbone), 0, 0,
     "The network; forecastd backbones lists them with their options."},
    {"model.members", OPTION_TEXT, "", 0, 0, NULL, FIELD(members), 0, 0,
     "Only these members of the recipe, as 1,3; empty: as many as the budget allows."},
    {"model.member_options", OPTION_TEXT, "", 0, 0, NULL, FIELD(member_options), 0, 0,
     "For every member, after its own: skip=false rate=0.001. For experiments."},
    {"model.blend", OPTION_BOOL, "true", 0, 0, NULL, FIELD(blend), 0, 0,
     "Whether baselines are mixed in, series by series."},
    {"model.calibrate", OPTION_BOOL, "true", 0, 0, NULL, FIELD(calibrate), 0, 0,
     "Whether bands are widened or narrowed to what held-back data shows."},
    {"model.head", OPTION_TEXT, "quantile", 0, 0, NULL, FIELD(head), 0, 0,
     "quantile: all steps at once; gaussian: step by step, sampled."},
    {"train.every", OPTION_DURATION, "1h", 1000, DAYS(365), NULL, FIELD(every_ms), 1, 0,
     "Time between trainings of a group."},
    {"train.seconds", OPTION_DURATION, "300s", 1000, DAYS(7), NULL, FIELD(seconds_ms), 1, 0,
     "Length of one training."},
    {"train.lanes", OPTION_INT, "0", 0, 256, NULL, FIELD(lanes), 1, 0,
     "Threads of one training; 0 takes the cores."},
    {"train.memory", OPTION_BYTES, "512MiB", 16.0 * 1024 * 1024, 1e12, NULL, FIELD(memory), 1, 0,
     "Memory of one training at most."},
    {"train.seed", OPTION_INT, "1", 1, (double)SEED_MAX, NULL, FIELD(seed), 1, 0,
     "Seed of the random numbers: the same seed, data and steps give the same model."},
    {"mqtt.broker", OPTION_TEXT, "", 0, 0, NULL, FIELD(mqtt_broker), 0, 0,
     "MQTT broker to subscribe to, mqtt://HOST:1883 or mqtts://HOST:8883; empty: none."},
    {"mqtt.topics", OPTION_TEXT, "", 0, 0, NULL, FIELD(mqtt_topics), 0, 0,
     "Topic patterns, with commas: home/{room}/{name} makes the series NAME{room=ROOM}."},
    {"mqtt.client_id", OPTION_TEXT, "forecastd", 0, 0, NULL, FIELD(mqtt_client_id), 0, 0,
     "Name of the session at the broker; one for each daemon."},
    {"mqtt.user", OPTION_TEXT, "", 0, 0, NULL, FIELD(mqtt_user), 0, 0,
     "User at the broker; empty: none."},
    {"mqtt.password_file", OPTION_TEXT, "", 0, 0, NULL, FIELD(mqtt_password_file), 0, 0,
     "File with the password there."},
    {"mqtt.ca_file", OPTION_TEXT, "", 0, 0, NULL, FIELD(mqtt_ca_file), 0, 0,
     "Certificates to trust with mqtts://; empty: the system's."},
    {"mqtt.retained", OPTION_BOOL, "false", 0, 0, NULL, FIELD(mqtt_retained), 0, 0,
     "Whether readings that the broker kept from before the subscription are taken."},
    {"mqtt.precision", OPTION_CHOICE, "ms", 0, 0, precisions, FIELD(mqtt_precision), 0, 0,
     "Unit of timestamps that are numbers."},
    {"mqtt.max_payload", OPTION_BYTES, "64KiB", 16, 16.0 * 1024 * 1024, NULL,
     FIELD(mqtt_max_payload), 0, 0, "Longest message that is taken."},
    {"auth.tokens", OPTION_TEXT, "", 0, 0, NULL, FIELD(tokens), 0, 0,
     "File of access tokens, made by forecastd token create; with it every request needs one."},
    {"tls.cert", OPTION_TEXT, "", 0, 0, NULL, FIELD(tls_cert), 0, 0,
     "Certificate with its chain, PEM; with tls.key server.listen speaks HTTPS only."},
    {"tls.key", OPTION_TEXT, "", 0, 0, NULL, FIELD(tls_key), 0, 0,
     "Private key of the certificate, PEM. SIGHUP reads both again."},
    {"alerts.every", OPTION_DURATION, "15s", 1000, DAYS(1), NULL, FIELD(alerts_every_ms), 0, 0,
     "Time between two looks at the forecasts that alert rules are about."},
    {"log.format", OPTION_CHOICE, "logfmt", 0, 0, log_formats, FIELD(log_format), 1, 0,
     "One line an event: logfmt or json."},
    {"log.level", OPTION_CHOICE, "info", 0, 0, log_levels, FIELD(log_level), 1, 0,
     "The least important level that is written."},
    {"log.audit", OPTION_TEXT, "", 0, 0, NULL, FIELD(audit), 0, 0,
     "File for what administrators do, a line each; empty: with the rest of the log."},
};
const size_t config_option_count = ARRAY_COUNT(config_options);

/* Names of a backbone's options, which are checked against its table when it is known. */
#define OPTION_NAME "abcdefghijklmnopqrstuvwxyz0123456789_"

static bool is_section(const char *name, const char *section)
{
    size_t length = strlen(section);
    return strncmp(name, section, length) == 0 && (name[length] == '.' || name[length] == '\0');
}

/* The entry of a key, a free one where it has none yet; NULL where there is none free. */
static struct model_origin *model_origin(struct config *config, const char *key)
{
    for (size_t i = 0; i < MODEL_ORIGINS_MAX; i++) {
        struct model_origin *at = &config->model_origins[i];
        if (at->key[0] == '\0' || strcmp(at->key, key) == 0) {
            return at;
        }
    }
    return NULL;
}

/* Replaces or appends key=value in the blank-separated list of the backbone's options. */
static enum status set_model_option(struct config *config, const char *key, const char *value,
                                    const char *origin, struct error *error)
{
    char out[sizeof(config->model_options)] = "";
    size_t used = 0, key_length = strlen(key);
    if (key_length >= MODEL_KEY_MAX || key[strspn(key, OPTION_NAME)] != '\0') {
        error_set(error, STATUS_INVALID,
                  "%s: there is no 'model.%s': options are named in small letters, digits and _",
                  origin, key);
        return error_code(error, "unknown_option", key);
    }
    if (strpbrk(value, " =") != NULL || value[0] == '\0') {
        error_set(error, STATUS_INVALID, "%s: 'model.%s' cannot be '%s'", origin, key, value);
        return error_code(error, "bad_value", key);
    }
    for (const char *item = config->model_options; *item != '\0';) {
        size_t length = strcspn(item, " ");
        if (strncmp(item, key, key_length) != 0 || item[key_length] != '=') {
            used += (size_t)snprintf(out + used, sizeof(out) - used, "%s%.*s", used ? " " : "",
                                     (int)length, item);
        }
        item += length + (item[length] == ' ');
    }
    int more = snprintf(out + used, sizeof(out) - used, "%s%s=%s", used ? " " : "", key, value);
    if (used + (size_t)more >= sizeof(out)) {
        return error_set(error, STATUS_TOO_LARGE, "%s: too many options of the backbone", origin);
    }
    memcpy(config->model_options, out, sizeof(out));
    struct model_origin *known = model_origin(config, key);
    if (known != NULL) {
        snprintf(known->key, sizeof(known->key), "%s", key);
        snprintf(known->origin, sizeof(known->origin), "%s", origin);
    }
    return STATUS_OK;
}

enum status config_set(struct config *config, const char *name, const char *value,
                       const char *origin, struct error *error)
{
    if (is_section(name, "model") &&
        options_find(config_options, config_option_count, name) == NULL &&
        strlen(name) > strlen("model.")) {
        return set_model_option(config, name + strlen("model."), value, origin, error);
    }
    if (strncmp(name, "alerts.", 7) == 0 &&
        options_find(config_options, config_option_count, name) == NULL) {
        return alert_rules_set(&config->alerts, name + 7, value, origin, error);
    }
    return options_set(config_options, config_option_count, config, name, value, origin, error);
}

/* One option of the backbone by its table; the error calls it as the user does, and says from where
 * it came. */
static enum status check_model_option(struct config *config, const char *key, const char *value,
                                      struct error *error)
{
    char name[MODEL_KEY_MAX + 8];
    alignas(max_align_t) char scratch[512];
    const struct model_origin *known = model_origin(config, key);
    const char *origin = known != NULL && known->key[0] != '\0' ? known->origin : "configuration";
    snprintf(name, sizeof(name), "model.%s", key);
    if (backbone_check_option(config->backbone, key, error) != STATUS_OK) {
        error_wrap(error, "cannot set %s (%s)", name, origin);
        return error_code(error, error->code, name);
    }
    for (size_t i = 0; i < backbone_count(); i++) {
        struct backbone_info info = backbone_info(i);
        if (strcmp(info.name, config->backbone) == 0) {
            struct option option = *options_find(info.options, info.option_count, key);
            CHECK(option.size <= sizeof(scratch));
            option.name = name;
            option.offset = 0;
            return options_set(&option, 1, scratch, name, value, origin, error);
        }
    }
    return STATUS_OK;
}

/* The backbone is known only when all layers are read, so its options are checked last. */
static enum status check_model(struct config *config, struct error *error)
{
    enum status status = backbone_check(config->backbone, error);
    if (status != STATUS_OK) {
        return error_code(error, error->code, "model.backbone");
    }
    for (const char *item = config->model_options; *item != '\0';) {
        char key[MODEL_KEY_MAX];
        size_t length = strcspn(item, " "), key_length = strcspn(item, "=");
        char value[sizeof(config->model_options)];
        snprintf(key, sizeof(key), "%.*s", (int)key_length, item);
        snprintf(value, sizeof(value), "%.*s", (int)(length - key_length - 1),
                 item + key_length + 1);
        status = check_model_option(config, key, value, error);
        if (status != STATUS_OK) {
            return status;
        }
        item += length + (item[length] == ' ');
    }
    struct model_config model;
    config_model(config, &model);
    status = model_config_check(&model, error);
    if (status != STATUS_OK &&
        (strcmp(error->param, "members") == 0 || strcmp(error->param, "head") == 0)) {
        char name[sizeof(error->param)];
        snprintf(name, sizeof(name), "model.%.40s", error->param);
        error_wrap(error, "cannot set %s", name);
        error_code(error, error->code, name);
    }
    return status;
}

static enum status check_downsample(const struct config *config, struct error *error)
{
    struct downsample ignored;
    if (downsample_parse(config->downsample, &ignored, error) == STATUS_OK) {
        return STATUS_OK;
    }
    error_wrap(error, "cannot set storage.downsample");
    return error_code(error, "bad_value", "storage.downsample");
}

static enum status check_quantiles(const struct config *config, struct error *error)
{
    if (api_quantiles_check(config->quantiles, error) == STATUS_OK) {
        return STATUS_OK;
    }
    error_set(error, STATUS_INVALID, "'forecast.quantiles' cannot be '%s'", config->quantiles);
    error_code(error, "bad_value", "forecast.quantiles");
    return error_hint(error, "Give levels in (0,1) with commas between, such as 0.1,0.5,0.9.");
}

static enum status check_addresses(const struct config *config, struct error *error)
{
    enum status status = http_address_check(config->listen, "server.listen", error);
    if (status == STATUS_OK && config->health_listen[0] != '\0') {
        status = http_address_check(config->health_listen, "server.health_listen", error);
    }
    return status;
}

static enum status check_tls(const struct config *config, struct error *error)
{
    bool cert = config->tls_cert[0] != '\0', key = config->tls_key[0] != '\0';
    if (cert == key) {
        return STATUS_OK;
    }
    error_set(error, STATUS_INVALID, "'%s' is set without '%s'", cert ? "tls.cert" : "tls.key",
              cert ? "tls.key" : "tls.cert");
    return error_code(error, "bad_value", cert ? "tls.key" : "tls.cert");
}

static enum status read_file(struct config *config, const char *path, struct error *error)
{
    enum status status = STATUS_OK;
    char *bytes = NULL;
    struct stat about;
    size_t length = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about) != 0) {
        status = error_set(error, STATUS_IO, "could not open configuration file '%s': %s", path,
                           strerror(errno));
        goto close_file;
    }
    if (!S_ISREG(about.st_mode) || about.st_size > FILE_BYTES_MAX) {
        status = error_set(error, STATUS_TOO_LARGE,
                           "configuration file '%s' is not a plain file of at most 1 MiB", path);
        goto close_file;
    }
    bytes = mem_alloc((size_t)about.st_size + 1);
    if (bytes == NULL) {
        status = error_set(error, STATUS_NO_MEMORY, "could not read '%s': out of memory", path);
        goto close_file;
    }
    for (ssize_t got; length < (size_t)about.st_size; length += (size_t)got) {
        got = read(fd, bytes + length, (size_t)about.st_size - length);
        if (got < 0) {
            status = error_set(error, STATUS_IO, "could not read '%s': %s", path, strerror(errno));
            goto close_file;
        }
        if (got == 0) {
            break;
        }
    }
    status = config_read_yaml(config, path, bytes, length, error);

close_file:
    if (fd >= 0) {
        close(fd);
    }
    mem_free(bytes);
    return status;
}

/* FORECASTD_SERVER_LISTEN -> server.listen: the section ends at the first underscore. Names whose
 * section we do not have are errors too, except those that container platforms inject for a service
 * of this name (FORECASTD_PORT..., FORECASTD_SERVICE_...), the two files of the commands that
 * talk to a daemon (FORECASTD_TOKEN_FILE, FORECASTD_CA_FILE), and the configuration file. */
static enum status read_environment(struct config *config, char *const *environment,
                                    struct error *error)
{
    const size_t prefix = strlen(ENVIRONMENT_PREFIX);
    for (; *environment != NULL; environment++) {
        char origin[96], name[96];
        const char *rest = *environment + prefix, *equals = strchr(*environment, '=');
        if (strncmp(*environment, ENVIRONMENT_PREFIX, prefix) != 0 || equals == NULL ||
            strncmp(rest, "PORT", 4) == 0 || strncmp(rest, "SERVICE_", 8) == 0 ||
            strncmp(rest, "TOKEN_FILE=", 11) == 0 || strncmp(rest, "CA_FILE=", 8) == 0 ||
            strncmp(rest, "CONFIG=", 7) == 0) {
            continue;
        }
        size_t length = (size_t)(equals - rest);
        snprintf(origin, sizeof(origin), "%.*s", (int)(equals - *environment), *environment);
        snprintf(name, sizeof(name), "%.*s", (int)length, rest);
        for (char *c = name; *c != '\0'; c++) {
            *c = (char)tolower((unsigned char)*c);
        }
        char *underscore = strchr(name, '_');
        if (underscore != NULL) {
            *underscore = '.';
        }
        enum status status = config_set(config, name, equals + 1, origin, error);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static enum status read_sets(struct config *config, const struct config_sources *sources,
                             struct error *error)
{
    for (size_t i = 0; i < sources->set_count; i++) {
        char name[128];
        const char *equals = strchr(sources->sets[i], '=');
        if (equals == NULL || (size_t)(equals - sources->sets[i]) >= sizeof(name)) {
            error_set(error, STATUS_INVALID, "--set: '%.100s' is not of the form section.key=value",
                      sources->sets[i]);
            return error_code(error, "bad_value", "--set");
        }
        snprintf(name, sizeof(name), "%.*s", (int)(equals - sources->sets[i]), sources->sets[i]);
        enum status status = config_set(config, name, equals + 1, "--set", error);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

void config_model(const struct config *config, struct model_config *model)
{
    memset(model, 0, sizeof(*model));
    snprintf(model->backbone, sizeof(model->backbone), "%s", config->backbone);
    snprintf(model->head, sizeof(model->head), "%s", config->head);
    snprintf(model->options, sizeof(model->options), "%s", config->model_options);
    model->horizon = (size_t)config->horizon;
    snprintf(model->members, sizeof(model->members), "%s", config->members);
    snprintf(model->member_options, sizeof(model->member_options), "%s", config->member_options);
    model->without_blend = !config->blend;
    model->without_calibration = !config->calibrate;
}

void config_limits(const struct config *config, struct api_limits *limits)
{
    *limits = (struct api_limits){
        .body_max = (size_t)config->max_body,
        .max_future_ms = config->max_future_ms,
        .series_max = (uint32_t)config->max_series,
        .retention_ms = config->retention_ms,
        .points_per_request = 100000,
        .forecast_series_max = 500,
        .horizon_default = (size_t)config->horizon,
        .horizon_max = API_HORIZON_MAX,
        .live_bytes_max = (size_t)32 << 20,
        .vintage_age_max_ms = config->vintages_ms,
        .metrics_series_max = (size_t)config->metrics_max,
    };
    snprintf(limits->quantiles, sizeof(limits->quantiles), "%s", config->quantiles);
}

size_t config_reload(struct config *config, const struct config *next)
{
    size_t changed = 0;
    for (size_t i = 0; i < config_option_count; i++) {
        const struct option *option = &config_options[i];
        char *mine = (char *)config + option->offset;
        const char *theirs = (const char *)next + option->offset;
        if (option->type == OPTION_TEXT ? strcmp(mine, theirs) == 0
                                        : memcmp(mine, theirs, option->size) == 0) {
            continue;
        }
        struct text before, after;
        text_init(&before, 1024);
        text_init(&after, 1024);
        options_print(option, config, &before);
        options_print(option, next, &after);
        const char *from = before.bytes != NULL ? before.bytes : "";
        const char *to = after.bytes != NULL ? after.bytes : "";
        if (option->reloadable) {
            memcpy(mine, theirs, option->size);
            log_info("config", "option changed", "key=%s from=%s to=%s", option->name, from, to);
            changed++;
        } else {
            log_warning("config", "option needs a restart", "key=%s running=%s file=%s",
                        option->name, from, to);
        }
        text_release(&before);
        text_release(&after);
    }
    if (memcmp(&config->alerts, &next->alerts, sizeof(config->alerts)) != 0) {
        log_warning("config", "option needs a restart", "key=alerts");
    }
    return changed;
}

const char *config_file(const struct config_sources *sources)
{
    static const char name[] = ENVIRONMENT_PREFIX "CONFIG=";
    const size_t length = sizeof(name) - 1;
    if (sources->file != NULL || sources->environment == NULL) {
        return sources->file;
    }
    for (char *const *at = sources->environment; *at != NULL; at++) {
        if (strncmp(*at, name, length) == 0 && (*at)[length] != '\0') {
            return *at + length;
        }
    }
    return NULL;
}

enum status config_load(const struct config_sources *sources, struct config *config,
                        struct error *error)
{
    memset(config, 0, sizeof(*config));
    options_defaults(config_options, config_option_count, config);
    enum status status = STATUS_OK;
    const char *file = config_file(sources);
    if (file != NULL) {
        status = read_file(config, file, error);
    }
    if (status == STATUS_OK && sources->environment != NULL) {
        status = read_environment(config, sources->environment, error);
    }
    if (status == STATUS_OK) {
        status = read_sets(config, sources, error);
    }
    if (status == STATUS_OK) {
        status = check_quantiles(config, error);
    }
    if (status == STATUS_OK) {
        status = check_downsample(config, error);
    }
    if (status == STATUS_OK) {
        status = mqtt_options_check(config, error);
    }
    if (status == STATUS_OK) {
        status = check_addresses(config, error);
    }
    if (status == STATUS_OK) {
        status = check_tls(config, error);
    }
    if (status == STATUS_OK) {
        status = alert_rules_check(&config->alerts, error);
    }
    return status == STATUS_OK ? check_model(config, error) : status;
}
