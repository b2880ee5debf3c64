/* MQTT 3.1.1 packets: those that a subscriber sends and receives.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/mqtt_packet.h"

#include "base/utf8.h"

#include <string.h>

enum {
    TYPE_CONNECT = 1,
    TYPE_PUBACK = 4,
    TYPE_SUBSCRIBE = 8,
    TYPE_UNSUBSCRIBE = 10,
    TYPE_PINGREQ = 12,
    TYPE_DISCONNECT = 14
};

#define FLAG_USER     0x80
#define FLAG_PASSWORD 0x40

/* ---------------------------------------------------------------- sent */

static void add_byte(struct text *out, unsigned value)
{
    text_add_char(out, (char)(unsigned char)value);
}

static void add_word(struct text *out, size_t value)
{
    add_byte(out, (unsigned)(value >> 8) & 255);
    add_byte(out, (unsigned)value & 255);
}

static void add_string(struct text *out, const char *string)
{
    add_word(out, strlen(string));
    text_add_string(out, string);
}

/* Type, flags, and the length of what follows in groups of seven bits (2.2.3). */
static void add_head(struct text *out, unsigned type, unsigned flags, size_t length)
{
    add_byte(out, type << 4 | flags);
    do {
        unsigned group = (unsigned)(length & 127);
        length >>= 7;
        add_byte(out, group | (length > 0 ? 128 : 0));
    } while (length > 0);
}

void mqtt_write_connect(struct text *out, const struct mqtt_connect *connect)
{
    size_t length = 10 + 2 + strlen(connect->client_id);
    unsigned flags = 0; /* no will, no clean session */
    if (connect->user != NULL) {
        flags |= FLAG_USER;
        length += 2 + strlen(connect->user);
    }
    if (connect->password != NULL) {
        flags |= FLAG_PASSWORD;
        length += 2 + strlen(connect->password);
    }
    add_head(out, TYPE_CONNECT, 0, length);
    add_string(out, "MQTT");
    add_byte(out, 4); /* 3.1.1 */
    add_byte(out, flags);
    add_word(out, connect->keep_alive_s);
    add_string(out, connect->client_id);
    if (connect->user != NULL) {
        add_string(out, connect->user);
    }
    if (connect->password != NULL) {
        add_string(out, connect->password);
    }
}

void mqtt_write_subscribe(struct text *out, uint16_t id, const char *const *filters, size_t count)
{
    size_t length = 2;
    for (size_t i = 0; i < count; i++) {
        length += 2 + strlen(filters[i]) + 1;
    }
    add_head(out, TYPE_SUBSCRIBE, 2, length);
    add_word(out, id);
    for (size_t i = 0; i < count; i++) {
        add_string(out, filters[i]);
        add_byte(out, 1);
    }
}

void mqtt_write_unsubscribe(struct text *out, uint16_t id, const char *const *filters, size_t count)
{
    size_t length = 2;
    for (size_t i = 0; i < count; i++) {
        length += 2 + strlen(filters[i]);
    }
    add_head(out, TYPE_UNSUBSCRIBE, 2, length);
    add_word(out, id);
    for (size_t i = 0; i < count; i++) {
        add_string(out, filters[i]);
    }
}

void mqtt_write_puback(struct text *out, uint16_t id)
{
    add_head(out, TYPE_PUBACK, 0, 2);
    add_word(out, id);
}

void mqtt_write_pingreq(struct text *out)
{
    add_head(out, TYPE_PINGREQ, 0, 0);
}

void mqtt_write_disconnect(struct text *out)
{
    add_head(out, TYPE_DISCONNECT, 0, 0);
}

/* ---------------------------------------------------------------- received */

/* The body of a packet, taken from the front. */
struct cursor {
    const unsigned char *at;
    size_t left;
};

static unsigned take_byte(struct cursor *cursor)
{
    cursor->left--;
    return *cursor->at++;
}

static uint16_t take_word(struct cursor *cursor)
{
    unsigned high = take_byte(cursor);
    return (uint16_t)(high << 8 | take_byte(cursor));
}

static enum status no_mqtt(const char *what, struct error *error)
{
    error_set(error, STATUS_INVALID, "the broker sent %s", what);
    return error_code(error, "bad_mqtt", NULL);
}

static enum status read_connack(struct cursor body, struct mqtt_packet *packet, struct error *error)
{
    if (body.left != 2 || (take_byte(&body) & 0xFE) != 0) {
        return no_mqtt("a CONNACK of a wrong form", error);
    }
    packet->code = (int)take_byte(&body);
    return STATUS_OK;
}

static enum status read_suback(struct cursor body, struct mqtt_packet *packet, struct error *error)
{
    if (body.left < 3) {
        return no_mqtt("a SUBACK of a wrong form", error);
    }
    packet->id = take_word(&body);
    packet->codes = body.left;
    for (size_t i = 0; i < packet->codes; i++) {
        unsigned code = take_byte(&body);
        if (code > 2 && packet->code == 0) {
            packet->code = (int)code;
            packet->refused = i;
        }
    }
    return STATUS_OK;
}

static enum status read_unsuback(struct cursor body, struct mqtt_packet *packet,
                                 struct error *error)
{
    if (body.left != 2) {
        return no_mqtt("an UNSUBACK of a wrong form", error);
    }
    packet->id = take_word(&body);
    return STATUS_OK;
}

static bool is_utf8(struct slice text)
{
    for (size_t at = 0, length; at < text.length; at += length) {
        length = utf8_length(text.bytes + at, text.length - at);
        if (length == 0) {
            return false;
        }
    }
    return true;
}

/* Topic and packet number; *head is their length. The body may not have come as a whole yet: *head
 * = 0 means that more bytes are needed. */
static enum status read_publish_head(struct cursor body, size_t body_length, unsigned flags,
                                     struct mqtt_packet *packet, size_t *head, struct error *error)
{
    unsigned quality = flags >> 1 & 3;
    *head = 0;
    if (quality > 1) {
        return no_mqtt("a message of a quality of service that was not asked for", error);
    }
    if (body.left < 2) {
        return body_length < 2 ? no_mqtt("a message without a topic", error) : STATUS_OK;
    }
    size_t topic_length = take_word(&body);
    size_t length = 2 + topic_length + 2 * quality;
    if (topic_length == 0 || length > body_length) {
        return no_mqtt("a message of a wrong form", error);
    }
    if (body.left + 2 < length) {
        return STATUS_OK;
    }
    packet->topic = (struct slice){(const char *)body.at, topic_length};
    if (!is_utf8(packet->topic)) {
        return no_mqtt("a topic that is no UTF-8", error);
    }
    body.at += topic_length;
    body.left -= topic_length;
    packet->acknowledge = quality == 1;
    packet->retained = (flags & 1) != 0;
    packet->id = quality == 1 ? take_word(&body) : 0;
    if (quality == 1 && packet->id == 0) {
        return no_mqtt("a message with the number 0", error);
    }
    *head = length;
    return STATUS_OK;
}

static enum status read_publish(struct cursor body, size_t body_length, unsigned flags,
                                size_t payload_max, struct mqtt_packet *packet, size_t *taken,
                                struct error *error)
{
    size_t head = 0;
    enum status status = read_publish_head(body, body_length, flags, packet, &head, error);
    *taken = 0;
    if (status != STATUS_OK || head == 0) {
        return status;
    }
    packet->payload.length = body_length - head;
    if (packet->payload.length > payload_max) {
        packet->skip = packet->payload.length;
        *taken = head;
    } else if (body.left >= body_length) {
        packet->payload.bytes = (const char *)body.at + head;
        *taken = body_length;
    }
    return STATUS_OK;
}

/* Type and length at the start; *head = 0: more bytes are needed. */
static enum status read_head(struct slice bytes, size_t *head, size_t *length, struct error *error)
{
    *head = *length = 0;
    for (size_t i = 1; i < bytes.length && i <= 4; i++) {
        unsigned group = (unsigned char)bytes.bytes[i];
        *length |= (size_t)(group & 127) << 7 * (i - 1);
        if (group < 128) {
            *head = i + 1;
            return STATUS_OK;
        }
    }
    return bytes.length > 4 ? no_mqtt("a length of more than four bytes", error) : STATUS_OK;
}

enum status mqtt_packet_read(struct slice bytes, size_t payload_max, struct mqtt_packet *packet,
                             size_t *used, struct error *error)
{
    size_t head = 0, length = 0, taken = 0;
    *packet = (struct mqtt_packet){0};
    *used = 0;
    enum status status = read_head(bytes, &head, &length, error);
    if (status != STATUS_OK || head == 0) {
        return status;
    }
    unsigned first = (unsigned char)bytes.bytes[0], flags = first & 15;
    struct cursor body = {(const unsigned char *)bytes.bytes + head, bytes.length - head};
    packet->kind = (enum mqtt_kind)(first >> 4);
    if (first >> 4 == MQTT_PUBLISH) {
        status = read_publish(body, length, flags, payload_max, packet, &taken, error);
        *used = status == STATUS_OK && taken > 0 ? head + taken : 0;
        return status;
    }
    if (flags != 0 || length > 2 + 65535) {
        return no_mqtt("a packet of a wrong form", error);
    }
    if (body.left < length) {
        return STATUS_OK;
    }
    body.left = length;
    switch (first >> 4) {
    case MQTT_CONNACK:
        status = read_connack(body, packet, error);
        break;
    case MQTT_SUBACK:
        status = read_suback(body, packet, error);
        break;
    case MQTT_UNSUBACK:
        status = read_unsuback(body, packet, error);
        break;
    case MQTT_PINGRESP:
        status = length == 0 ? STATUS_OK : no_mqtt("a PINGRESP of a wrong form", error);
        break;
    default:
        return no_mqtt("a packet that a subscriber does not get", error);
    }
    *used = status == STATUS_OK ? head + length : 0;
    return status;
}

const char *mqtt_refusal(int code)
{
    switch (code) {
    case 1:
        return "it does not speak MQTT 3.1.1";
    case 2:
        return "it does not take this client id";
    case 3:
        return "it is not available";
    case 4:
        return "wrong user or password";
    case 5:
        return "this client may not connect";
    default:
        return "it gave no known reason";
    }
}
