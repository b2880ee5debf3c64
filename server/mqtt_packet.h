/* MQTT 3.1.1 packets: those that a subscriber sends and receives.
 * SPDX-License-Identifier: Apache-2.0
 *
 * OASIS MQTT 3.1.1 (2014), sections 2 and 3. Quality of service 0 and 1 only: a subscription asks
 * for at most 1, so that nothing else may come. No I/O here.
 */
#ifndef SERVER_MQTT_PACKET_H
#define SERVER_MQTT_PACKET_H

#include "base/series_name.h"
#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---------------------------------------------------------------- sent */

struct mqtt_connect {
    const char *client_id;
    const char *user, *password; /* NULL: none */
    uint16_t keep_alive_s;
};

/* Asks for a session that outlives the connection: what was not acknowledged comes again. */
void mqtt_write_connect(struct text *out, const struct mqtt_connect *connect);
/* One packet for all filters, quality of service 1 each. */
void mqtt_write_subscribe(struct text *out, uint16_t id, const char *const *filters, size_t count);
void mqtt_write_unsubscribe(struct text *out, uint16_t id, const char *const *filters,
                            size_t count);
void mqtt_write_puback(struct text *out, uint16_t id);
void mqtt_write_pingreq(struct text *out);
void mqtt_write_disconnect(struct text *out);

/* ---------------------------------------------------------------- received */

enum mqtt_kind {
    MQTT_CONNACK = 2,
    MQTT_PUBLISH = 3,
    MQTT_SUBACK = 9,
    MQTT_UNSUBACK = 11,
    MQTT_PINGRESP = 13
};

struct mqtt_packet {
    enum mqtt_kind kind;
    int code;             /* CONNACK: 0 = accepted; SUBACK: of the first filter refused, or 0 */
    size_t refused;       /* SUBACK: which filter that was */
    size_t codes;         /* SUBACK: filters answered */
    struct slice topic;   /* PUBLISH: valid UTF-8, 1 to 65,535 bytes */
    struct slice payload; /* PUBLISH; bytes NULL where it is longer than payload_max */
    uint16_t id;          /* PUBLISH with quality of service 1, SUBACK, UNSUBACK */
    bool acknowledge;     /* PUBLISH: quality of service 1 */
    bool retained;        /* PUBLISH: kept by the broker from before the subscription */
    size_t skip;          /* bytes behind *used that belong to a payload too long: drop them */
};

/* The packet at the start of `bytes`. *used = 0: more bytes are needed. Slices point into `bytes`.
 * STATUS_INVALID where this is no MQTT, or a packet that no broker may send to a subscriber: the
 * connection has to be closed. */
enum status mqtt_packet_read(struct slice bytes, size_t payload_max, struct mqtt_packet *packet,
                             size_t *used, struct error *error) MUST_USE;

/* Room for the longest start of a packet, up to its payload. */
#define MQTT_HEAD_MAX ((size_t)5 + 2 + 65535 + 2)

/* Why a broker did not take us (CONNACK, 3.2.2.3). */
const char *mqtt_refusal(int code);

#endif
