/* Fuzzes what a broker may send, packets and the readings in their payloads, and what we send to
 * it. SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses: the bytes of a broker under the patterns below; or a line of patterns, a
 * line with a topic, and a payload; or lines that become the strings of our own packets.
 *
 * Oracles: a packet is the same whether its bytes come at once or with others behind it; a pattern
 * takes a topic only where the filter that is subscribed to for it would have the broker send it,
 * by the plain matcher below; names that are handed on can be read back; values are finite or
 * missing; a packet of ours is as long as its head says.
 */
#include "api/mqtt_payload.h"
#include "server/mqtt_packet.h"
#include "tests/fuzz/visitor.h"

#define NOW_MS      INT64_C(1795354740000)
#define PAYLOAD_MAX 512
#define LINES_MAX   16
#define SENT_MAX    ((size_t)1 << 20)

/* ---------------------------------------------------------------- readings */

static void take(struct mqtt_identity *identity, struct slice bytes, unsigned unit)
{
    uint64_t sum = 1;
    struct points_visitor visitor = {&sum, sum_series, sum_point, sum_refusal, NULL, NULL};
    struct mqtt_payload payload = {bytes, NOW_MS, (enum time_unit)(unit % 4)};
    struct error error = {0};
    uint64_t skipped = 0;
    if (mqtt_payload_read(&payload, identity, &visitor, &skipped, &error) != STATUS_OK &&
        error.text[0] == '\0') {
        abort();
    }
}

/* ---------------------------------------------------------------- patterns */

/* Whether a broker sends a topic to who subscribed to the filter (MQTT 3.1.1, 4.7). */
static bool broker_sends(const char *filter, struct slice topic)
{
    const char *at = topic.bytes, *end = topic.bytes + topic.length;
    if (topic.length > 0 && *at == '$' && (*filter == '+' || *filter == '#')) {
        return false;
    }
    while (strcmp(filter, "#") != 0) {
        const char *slash = memchr(at, '/', (size_t)(end - at));
        size_t level = (size_t)((slash != NULL ? slash : end) - at);
        size_t wanted = strcspn(filter, "/");
        bool any = wanted == 1 && *filter == '+';
        if (!any && (wanted != level || memcmp(filter, at, level) != 0)) {
            return false;
        }
        if (slash == NULL || filter[wanted] == '\0') {
            return slash == NULL && filter[wanted] == '\0';
        }
        at = slash + 1;
        filter += wanted + 1;
    }
    return true;
}

/* A topic that a filter lets through has to have its pattern, and no other; one that makes a name
 * too long may be refused before the rest of it is compared. */
static void identify(const struct mqtt_patterns *patterns, struct slice topic, struct slice payload,
                     unsigned unit)
{
    struct mqtt_identity identity;
    struct error error = {0};
    bool sent = false;
    for (size_t i = 0; i < patterns->count; i++) {
        sent = sent || broker_sends(patterns->list[i].filter, topic);
    }
    enum status status = mqtt_identify(patterns, topic, &identity, &error);
    if (status != STATUS_INVALID && sent != (status == STATUS_OK)) {
        abort();
    }
    if (status == STATUS_OK) {
        take(&identity, payload, unit);
    }
}

/* The next line, without its end; the bytes that are left move behind it. */
static struct slice take_line(struct slice *rest)
{
    const char *feed = rest->length > 0 ? memchr(rest->bytes, '\n', rest->length) : NULL;
    struct slice line = {rest->bytes, feed != NULL ? (size_t)(feed - rest->bytes) : rest->length};
    size_t used = line.length + (feed != NULL);
    rest->bytes += used;
    rest->length -= used;
    return line;
}

static char *string_of(struct slice text)
{
    char *string = malloc(text.length + 1);
    if (string == NULL) {
        abort();
    }
    memcpy(string, text.bytes, text.length);
    string[text.length] = '\0';
    return string;
}

static void read_patterns(struct slice rest, unsigned unit)
{
    static struct mqtt_patterns patterns;
    struct error error = {0};
    char *text = string_of(take_line(&rest));
    struct slice topic = take_line(&rest);
    if (mqtt_patterns_parse(text, &patterns, &error) == STATUS_OK) {
        identify(&patterns, topic, rest, unit);
    } else if (error.status != STATUS_INVALID || error.code == NULL) {
        abort();
    }
    free(text);
}

/* ---------------------------------------------------------------- packets */

static void read_packets(struct slice rest, unsigned unit)
{
    static struct mqtt_patterns patterns;
    struct error error = {0};
    if (patterns.count == 0 &&
        mqtt_patterns_parse("a/{b}/{name},t=x/+/y,m/#,{k}", &patterns, &error) != STATUS_OK) {
        abort();
    }
    for (size_t used = 0; rest.length > 0; rest.bytes += used, rest.length -= used) {
        struct mqtt_packet packet, alone;
        size_t again = 0;
        if (mqtt_packet_read(rest, PAYLOAD_MAX, &packet, &used, &error) != STATUS_OK || used == 0) {
            break;
        }
        if (mqtt_packet_read((struct slice){rest.bytes, used}, PAYLOAD_MAX, &alone, &again,
                             &error) != STATUS_OK ||
            again != used || alone.kind != packet.kind ||
            alone.topic.length != packet.topic.length || alone.skip != packet.skip) {
            abort();
        }
        if (packet.kind == MQTT_PUBLISH && packet.payload.bytes != NULL) {
            identify(&patterns, packet.topic, packet.payload, unit);
        } else if (mqtt_refusal(packet.code)[0] == '\0') {
            abort();
        }
    }
}

/* The packet that ends the text, from `begin`: its head, read plainly, says how long it is. */
static void check_sent(const struct text *out, size_t begin, unsigned first)
{
    const unsigned char *bytes = (const unsigned char *)out->bytes + begin;
    size_t length = 0, at = 1, unit = 1;
    if (out->failed || bytes[0] != first) {
        abort();
    }
    for (; bytes[at] >= 128; at++, unit *= 128) {
        length += (bytes[at] - 128u) * unit;
    }
    length += bytes[at] * unit;
    if (at > 4 || begin + at + 1 + length != out->length) {
        abort();
    }
}

static void write_packets(struct slice rest, unsigned flags)
{
    char *lines[LINES_MAX];
    struct text out;
    size_t count = 0;
    while (count < LINES_MAX && (rest.length > 0 || count < 3)) {
        lines[count++] = string_of(take_line(&rest));
    }
    struct mqtt_connect connect = {lines[0], flags & 1 ? lines[1] : NULL,
                                   flags & 2 ? lines[2] : NULL, 60};
    text_init(&out, SENT_MAX);
    mqtt_write_connect(&out, &connect);
    check_sent(&out, 0, 0x10);
    size_t begin = out.length;
    mqtt_write_subscribe(&out, (uint16_t)(flags + 1), (const char *const *)lines, count);
    check_sent(&out, begin, 0x82);
    begin = out.length;
    mqtt_write_unsubscribe(&out, (uint16_t)(flags + 1), (const char *const *)lines, count);
    check_sent(&out, begin, 0xA2);
    begin = out.length;
    mqtt_write_puback(&out, (uint16_t)(flags + 1));
    check_sent(&out, begin, 0x40);
    begin = out.length;
    mqtt_write_pingreq(&out);
    check_sent(&out, begin, 0xC0);
    begin = out.length;
    mqtt_write_disconnect(&out);
    check_sent(&out, begin, 0xE0);
    text_release(&out);
    while (count > 0) {
        free(lines[--count]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct slice rest = {(const char *)data + 1, size - 1};
    unsigned setting = data[0] / 3u;
    switch (data[0] % 3) {
    case 0:
        read_packets(rest, setting);
        break;
    case 1:
        read_patterns(rest, setting);
        break;
    default:
        write_packets(rest, setting);
    }
    return 0;
}
