/* The configuration's section `mqtt` as the options of the subscriber.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/mqtt_options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static enum status missing(const char *option, const char *what, const char *hint,
                           struct error *error)
{
    error_set(error, STATUS_INVALID, "'mqtt.broker' is set, but %s", what);
    error_code(error, "bad_value", option);
    return error_hint(error, "%s", hint);
}

/* Everything but the password. */
static enum status fill(const struct config *config, struct mqtt_options *options,
                        struct error *error)
{
    *options = (struct mqtt_options){.retained = config->mqtt_retained,
                                     .unit = (enum time_unit)config->mqtt_precision,
                                     .payload_max = (size_t)config->mqtt_max_payload};
    snprintf(options->client_id, sizeof(options->client_id), "%s", config->mqtt_client_id);
    snprintf(options->user, sizeof(options->user), "%s", config->mqtt_user);
    snprintf(options->ca_file, sizeof(options->ca_file), "%s", config->mqtt_ca_file);
    enum status status = mqtt_address_parse(config->mqtt_broker, &options->address, error);
    if (status == STATUS_OK) {
        status = mqtt_patterns_parse(config->mqtt_topics, &options->patterns, error);
    }
    if (status == STATUS_OK && options->patterns.count == 0) {
        return missing("mqtt.topics", "'mqtt.topics' is empty",
                       "Give at least one pattern, such as home/{room}/{name}.", error);
    }
    if (status == STATUS_OK && options->client_id[0] == '\0') {
        return missing("mqtt.client_id", "'mqtt.client_id' is empty",
                       "Give the session a name, such as forecastd.", error);
    }
    if (status == STATUS_OK && options->user[0] == '\0' && config->mqtt_password_file[0] != '\0') {
        return missing("mqtt.user", "there is a password without a user", "Set mqtt.user.", error);
    }
    return status;
}

enum status mqtt_options_check(const struct config *config, struct error *error)
{
    struct mqtt_options options;
    return config->mqtt_broker[0] != '\0' ? fill(config, &options, error) : STATUS_OK;
}

enum status mqtt_options_of(const struct config *config, struct mqtt_options *options,
                            struct error *error)
{
    enum status status = fill(config, options, error);
    if (status != STATUS_OK || config->mqtt_password_file[0] == '\0') {
        return status;
    }
    FILE *file = fopen(config->mqtt_password_file, "re");
    size_t length = file != NULL ? fread(options->password, 1, sizeof(options->password), file) : 0;
    bool whole = file != NULL && ferror(file) == 0 && length < sizeof(options->password);
    int why = errno;
    if (file != NULL) {
        fclose(file);
    }
    if (!whole) {
        error_set(error, STATUS_IO, "could not read 'mqtt.password_file' '%s': %s",
                  config->mqtt_password_file, file == NULL ? strerror(why) : "at most 255 bytes");
        return error_code(error, NULL, "mqtt.password_file");
    }
    options->password[length] = '\0';
    options->password[strcspn(options->password, "\r\n")] = '\0';
    return STATUS_OK;
}
