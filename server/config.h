/* The daemon's configuration: one table of options for file, environment, command line and help.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Precedence: default < YAML file < FORECASTD_SECTION_KEY < --set section.key=value. Unknown keys
 * and values out of bounds are errors that name key, value and bounds; those of the file name its
 * line.
 *
 * The options of the backbone (model.window, model.kernel ...) are not rows of the table: they are
 * checked against the backbone's own table and kept in model_options as "window=32 kernel=3". Alert
 * rules (alerts.<rule>.<key>) have a table of their own too: alert_rule.h.
 */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include "api/api.h"
#include "base/options.h"
#include "server/alert_rule.h"

#include <stdbool.h>
#include <stdint.h>

#define MODEL_KEY_MAX 64 /* of the name of an option of a backbone, with its end */

#define MODEL_ORIGINS_MAX 16

struct config {
    /* server */
    char listen[128];
    char hosts[256];
    char health_listen[128];
    bool sandbox;
    int64_t workers, connections, connections_per_address;
    /* storage */
    char path[512];
    int64_t retention_ms;
    char downsample[128];
    int64_t durability; /* 0 full, 1 relaxed */
    int64_t reserve;    /* bytes */
    /* ingest */
    int64_t max_future_ms, max_series, max_body;
    /* forecast */
    int64_t horizon;
    char quantiles[128]; /* "0.1,0.5,0.9" */
    int64_t vintages_ms; /* 0 = none are kept */
    int64_t metrics_max; /* series of GET /forecast/metrics; 0 = off */
    /* model */
    char backbone[24], head[16];
    char model_options[256]; /* names are below MODEL_KEY_MAX */
    struct model_origin {    /* where they are from, for errors; more than these are not said */
        char key[MODEL_KEY_MAX], origin[96];
    } model_origins[MODEL_ORIGINS_MAX];
    char members[32], member_options[160];
    bool blend, calibrate;
    /* train */
    int64_t every_ms, seconds_ms, lanes, memory, seed;
    /* mqtt; an empty broker: off */
    char mqtt_broker[300], mqtt_topics[1000];
    char mqtt_client_id[128], mqtt_user[128];
    char mqtt_password_file[512], mqtt_ca_file[512];
    bool mqtt_retained;
    int64_t mqtt_precision; /* enum time_unit */
    int64_t mqtt_max_payload;
    /* auth, tls */
    char tokens[512];
    char tls_cert[512], tls_key[512];
    /* alerts */
    int64_t alerts_every_ms;
    struct alert_rules alerts;
    /* log */
    int64_t log_format; /* 0 logfmt, 1 json */
    int64_t log_level;  /* enum log_level */
    char audit[512];    /* file; empty: with the rest of the log */
};

#define CONFIG_SETS_MAX 64

/* Where values come from, besides the defaults. */
struct config_sources {
    const char *file;                  /* NULL: that of FORECASTD_CONFIG, or none */
    char *const *environment;          /* NULL: none is read; usually environ */
    const char *sets[CONFIG_SETS_MAX]; /* "section.key=value" */
    size_t set_count;
};

/* The file that config_load reads; NULL: none. */
const char *config_file(const struct config_sources *sources);

extern const struct option config_options[];
extern const size_t config_option_count;

/* Reads all layers and checks the whole. STATUS_INVALID for a wrong key or value,
 * STATUS_UNSUPPORTED for a part of the contract that is not built yet, STATUS_IO where the file
 * cannot be read. */
enum status config_load(const struct config_sources *sources, struct config *config,
                        struct error *error) MUST_USE;

/* One option, of the table or of the backbone. `origin` goes into the error. */
enum status config_set(struct config *config, const char *name, const char *value,
                       const char *origin, struct error *error) MUST_USE;

/* The YAML layer alone: text in memory, `name` for messages ("forecastd.yaml:12"). */
enum status config_read_yaml(struct config *config, const char *name, const char *bytes,
                             size_t length, struct error *error) MUST_USE;

/* What the model needs of it. */
void config_model(const struct config *config, struct model_config *model);

/* What requests need of it. */
void config_limits(const struct config *config, struct api_limits *limits);

/* Takes over what may change while running and logs each change; what needs a restart is kept and
 * logged too. Returns how many options changed. */
size_t config_reload(struct config *config, const struct config *next);

/* The commented example file, the effective values as a file, and the list of options for --help.
 */
void config_print_example(struct text *out);
void config_print_effective(const struct config *config, struct text *out);
void config_print_help(struct text *out);

#endif
