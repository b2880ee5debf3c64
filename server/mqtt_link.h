/* A connection to an MQTT broker: TCP, or TLS over it; every wait has an end and can be stopped.
 * SPDX-License-Identifier: Apache-2.0
 *
 * TLS is GnuTLS' (the library that libmicrohttpd uses): 1.2 and 1.3, the broker's certificate and
 * name are always checked. One thread.
 */
#ifndef SERVER_MQTT_LINK_H
#define SERVER_MQTT_LINK_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

struct mqtt_address {
    char host[256];
    char port[8];
    bool tls;
};

/* mqtt://HOST[:1883] or mqtts://HOST[:8883]. STATUS_INVALID, bad_value for mqtt.broker. */
enum status mqtt_address_parse(const char *url, struct mqtt_address *address,
                               struct error *error) MUST_USE;

struct mqtt_link;

struct mqtt_link_options {
    const struct mqtt_address *address;
    const char *ca_file; /* certificates to trust; NULL: the system's */
    int stop_fd;         /* readable: end every wait with STATUS_CANCELLED */
    int timeout_ms;      /* of connecting, and of sending */
};

/* STATUS_IO, STATUS_TIMEOUT, STATUS_CANCELLED; the text names host and reason. */
enum status mqtt_link_open(const struct mqtt_link_options *options, struct mqtt_link **out,
                           struct error *error) MUST_USE;
void mqtt_link_close(struct mqtt_link *link); /* NULL is fine */

enum status mqtt_link_send(struct mqtt_link *link, const char *bytes, size_t length,
                           struct error *error) MUST_USE;

/* What has come, at most `capacity` bytes; *got = 0 where nothing did within the time (0: no
 * waiting). STATUS_IO where the broker closed. */
enum status mqtt_link_receive(struct mqtt_link *link, char *bytes, size_t capacity, int timeout_ms,
                              size_t *got, struct error *error) MUST_USE;

#endif
