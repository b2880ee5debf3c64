/* Fuzzes what a broker may send: packets, and the readings in their payloads.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Oracles: a packet is the same whether its bytes come at once or with others behind it; names that
 * are handed on can be read back; values are finite or missing.
 */
#include "api/mqtt_payload.h"
#include "server/mqtt_packet.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NOW_MS      INT64_C(1795354740000)
#define PAYLOAD_MAX 512

static enum status visit_series(void *context, struct slice text, uint64_t *handle, uint32_t *number,
                                struct error *error)
{
    (void)handle;
    char again[SERIES_TEXT_MAX];
    size_t again_length = 0;
    (void)context;
    if (series_name_parse(text.bytes, text.length, again, &again_length, error) != STATUS_OK ||
        again_length != text.length || memcmp(text.bytes, again, text.length) != 0) {
        abort();
    }
    *number = 1;
    return STATUS_OK;
}

static enum status visit_point(void *context, uint32_t number, struct point point,
                               struct error *error)
{
    (void)context;
    (void)error;
    if (number != 1 || isinf(point.value)) {
        abort();
    }
    return STATUS_OK;
}

static void visit_refusal(void *context, uint64_t position, const struct error *error)
{
    (void)context;
    (void)position;
    if (error->code == NULL || error->text[0] == '\0') {
        abort();
    }
}

static void take(const struct mqtt_patterns *patterns, const struct mqtt_packet *packet)
{
    struct points_visitor visitor = {
        .context = NULL, .series = visit_series, .point = visit_point, .refuse = visit_refusal};
    struct mqtt_payload payload = {packet->payload, NOW_MS, (enum time_unit)(packet->id % 4)};
    struct mqtt_identity identity;
    struct error error = {0};
    uint64_t skipped = 0;
    if (mqtt_identify(patterns, packet->topic, &identity, &error) == STATUS_OK &&
        packet->payload.bytes != NULL &&
        mqtt_payload_read(&payload, &identity, &visitor, &skipped, &error) != STATUS_OK &&
        error.text[0] == '\0') {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct mqtt_patterns patterns;
    struct error error = {0};
    const char *bytes = (const char *)data;
    if (patterns.count == 0 &&
        mqtt_patterns_parse("a/{b}/{name},t=x/+/y,m/#,{k}", &patterns, &error) != STATUS_OK) {
        abort();
    }
    for (size_t at = 0, used = 0; at < size; at += used) {
        struct mqtt_packet packet, alone;
        size_t again = 0;
        struct slice rest = {bytes + at, size - at};
        if (mqtt_packet_read(rest, PAYLOAD_MAX, &packet, &used, &error) != STATUS_OK || used == 0) {
            break;
        }
        if (mqtt_packet_read((struct slice){bytes + at, used}, PAYLOAD_MAX, &alone, &again,
                             &error) != STATUS_OK ||
            again != used || alone.kind != packet.kind ||
            alone.topic.length != packet.topic.length || alone.skip != packet.skip) {
            abort();
        }
        if (packet.kind == MQTT_PUBLISH) {
            take(&patterns, &packet);
        }
    }
    return 0;
}
