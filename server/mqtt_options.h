/* The configuration's section `mqtt` as the options of the subscriber.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SERVER_MQTT_OPTIONS_H
#define SERVER_MQTT_OPTIONS_H

#include "server/config.h"
#include "server/mqtt.h"

/* Address and patterns, where a broker is named: STATUS_INVALID with the option at fault. No file
 * is read. */
enum status mqtt_options_check(const struct config *config, struct error *error) MUST_USE;

/* The same, filled in, with the password from its file (without a line end). STATUS_IO where that
 * cannot be read. */
enum status mqtt_options_of(const struct config *config, struct mqtt_options *options,
                            struct error *error) MUST_USE;

#endif
