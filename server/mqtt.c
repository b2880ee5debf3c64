/* The subscriber of an MQTT broker: messages become points, acknowledged when they are on disk.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/mqtt.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "server/mqtt_filters.h"
#include "server/mqtt_packet.h"
#include "server/quoted.h"
#include "server/threads.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define KEEP_ALIVE_S   30
#define TIMEOUT_MS     5000
#define BACKOFF_MS_MIN 1000
#define BACKOFF_MS_MAX 60000
#define PACKET_ID      1 /* of the only subscription */
#define PACKET_ID_GONE 2 /* of the only unsubscription */
#define OUTGOING_MAX   (256u << 10)

struct mqtt {
    struct mqtt_options options;
    pthread_t thread;
    int stop_fd;
    atomic_bool connected;
    atomic_uint_fast64_t connections, messages, refused;
    /* Of the thread alone. */
    struct mqtt_link *link;
    char *buffer;
    size_t filled, capacity, skip;
    struct text outgoing; /* acknowledgements that wait for the commit */
    struct mqtt_feed feed;
    int64_t sent_ns, heard_ns;
    bool subscribed;
    bool taking_back;         /* an unsubscription is on its way */
    bool knows_held;          /* held was read, and is what the record says */
    struct mqtt_filters held; /* what the session may have at the broker */
};

/* ---------------------------------------------------------------- one message */

/* STATUS_OK also where there was nothing to take: it is acknowledged, since it would come again and
 * again. */
static enum status take_message(struct mqtt *mqtt, const struct mqtt_packet *packet,
                                struct error *error)
{
    enum status status = STATUS_OK;
    atomic_fetch_add(&mqtt->messages, 1);
    if (packet->retained && !mqtt->options.retained) {
        return STATUS_OK;
    }
    if (packet->payload.bytes == NULL) {
        status = error_set(error, STATUS_INVALID, "the payload has %zu bytes, more than %zu",
                           packet->payload.length, mqtt->options.payload_max);
        mqtt_feed_refuse(packet->topic, error);
    } else {
        status = mqtt_feed_take(&mqtt->feed, packet->topic, packet->payload, error);
    }
    if (status == STATUS_INVALID || status == STATUS_NOT_FOUND) {
        atomic_fetch_add(&mqtt->refused, 1);
        return STATUS_OK;
    }
    return status;
}

/* Commits what waits and acknowledges it. */
static enum status flush(struct mqtt *mqtt, struct error *error)
{
    enum status status = mqtt_feed_commit(&mqtt->feed, error);
    if (status == STATUS_OK) {
        status = text_status(&mqtt->outgoing, "the acknowledgements", error);
    }
    if (status == STATUS_OK && mqtt->outgoing.length > 0) {
        status = mqtt_link_send(mqtt->link, mqtt->outgoing.bytes, mqtt->outgoing.length, error);
        mqtt->sent_ns = clock_monotonic_ns();
    }
    text_clear(&mqtt->outgoing);
    return status;
}

/* ---------------------------------------------------------------- filters of the session */

static void session_name(const struct mqtt *mqtt, char name[MQTT_SESSION_BYTES])
{
    snprintf(name, MQTT_SESSION_BYTES, "%s@%s:%s", mqtt->options.client_id,
             mqtt->options.address.host, mqtt->options.address.port);
}

static bool is_wanted(const struct mqtt *mqtt, const char *filter)
{
    for (size_t i = 0; i < mqtt->options.patterns.count; i++) {
        if (strcmp(mqtt->options.patterns.list[i].filter, filter) == 0) {
            return true;
        }
    }
    return false;
}

static enum status save_held(struct mqtt *mqtt, struct error *error)
{
    char session[MQTT_SESSION_BYTES];
    session_name(mqtt, session);
    enum status status = mqtt_filters_save(mqtt->feed.services, session, &mqtt->held, error);
    mqtt->knows_held = status == STATUS_OK;
    return status;
}

/* What is subscribed to next is on disk first, or nobody would know of it later. */
static enum status remember_filters(struct mqtt *mqtt, struct error *error)
{
    char session[MQTT_SESSION_BYTES];
    session_name(mqtt, session);
    if (!mqtt->knows_held &&
        mqtt_filters_load(mqtt->feed.services->storage, session, &mqtt->held, error) != STATUS_OK) {
        return error->status;
    }
    mqtt->knows_held = true;
    size_t before = mqtt->held.count;
    for (size_t i = 0; i < mqtt->options.patterns.count; i++) {
        mqtt_filters_add(&mqtt->held, mqtt->options.patterns.list[i].filter);
    }
    return mqtt->held.count > before ? save_held(mqtt, error) : STATUS_OK;
}

/* Patterns that are not in the configuration any more: the session would go on with them. */
static void take_back(struct mqtt *mqtt)
{
    const char *gone[MQTT_FILTERS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < mqtt->held.count; i++) {
        if (!is_wanted(mqtt, mqtt->held.list[i])) {
            gone[count++] = mqtt->held.list[i];
        }
    }
    if (count > 0) {
        mqtt_write_unsubscribe(&mqtt->outgoing, PACKET_ID_GONE, gone, count);
    }
    mqtt->taking_back = count > 0;
}

static enum status take_unsuback(struct mqtt *mqtt, const struct mqtt_packet *packet,
                                 struct error *error)
{
    if (packet->id != PACKET_ID_GONE || !mqtt->taking_back) {
        return error_set(error, STATUS_IO,
                         "the broker answered an unsubscription that was not asked");
    }
    size_t before = mqtt->held.count;
    mqtt->taking_back = false;
    mqtt->held.count = 0;
    for (size_t i = 0; i < mqtt->options.patterns.count; i++) {
        mqtt_filters_add(&mqtt->held, mqtt->options.patterns.list[i].filter);
    }
    log_info("mqtt", "unsubscribed", "filters=%zu", before - mqtt->held.count);
    return save_held(mqtt, error);
}

/* ---------------------------------------------------------------- packets */

static enum status take_connack(struct mqtt *mqtt, const struct mqtt_packet *packet,
                                struct error *error)
{
    const char *filters[MQTT_PATTERNS_MAX];
    if (packet->code != 0) {
        return error_set(error, STATUS_IO, "the broker refused the connection: %s",
                         mqtt_refusal(packet->code));
    }
    if (remember_filters(mqtt, error) != STATUS_OK) {
        return error->status;
    }
    take_back(mqtt);
    for (size_t i = 0; i < mqtt->options.patterns.count; i++) {
        filters[i] = mqtt->options.patterns.list[i].filter;
    }
    mqtt_write_subscribe(&mqtt->outgoing, PACKET_ID, filters, mqtt->options.patterns.count);
    return STATUS_OK;
}

static enum status take_suback(struct mqtt *mqtt, const struct mqtt_packet *packet,
                               struct error *error)
{
    if (packet->id != PACKET_ID || packet->codes != mqtt->options.patterns.count) {
        return error_set(error, STATUS_IO, "the broker answered a subscription that was not asked");
    }
    if (packet->code != 0) {
        return error_set(error, STATUS_IO, "the broker refused the subscription to '%.100s'",
                         mqtt->options.patterns.list[packet->refused].filter);
    }
    mqtt->subscribed = true;
    atomic_store(&mqtt->connected, true);
    log_info("mqtt", "subscribed", "host=%s port=%s patterns=%zu",
             QUOTED(mqtt->options.address.host), mqtt->options.address.port,
             mqtt->options.patterns.count);
    return STATUS_OK;
}

static enum status take_packet(struct mqtt *mqtt, const struct mqtt_packet *packet,
                               struct error *error)
{
    switch (packet->kind) {
    case MQTT_CONNACK:
        return take_connack(mqtt, packet, error);
    case MQTT_SUBACK:
        return take_suback(mqtt, packet, error);
    case MQTT_UNSUBACK:
        return take_unsuback(mqtt, packet, error);
    case MQTT_PINGRESP:
        return STATUS_OK;
    case MQTT_PUBLISH: {
        enum status status = take_message(mqtt, packet, error);
        if (status == STATUS_OK && packet->acknowledge) {
            mqtt_write_puback(&mqtt->outgoing, packet->id);
        }
        return status;
    }
    }
    return error_set(error, STATUS_INTERNAL, "a packet of an unknown kind");
}

/* All whole packets in the buffer, and one commit for them. */
static enum status take_buffer(struct mqtt *mqtt, struct error *error)
{
    size_t at = 0, used = 1;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && used > 0 && at < mqtt->filled) {
        struct mqtt_packet packet;
        if (mqtt->skip > 0) {
            used = mqtt->skip < mqtt->filled - at ? mqtt->skip : mqtt->filled - at;
            mqtt->skip -= used;
            at += used;
            continue;
        }
        struct slice rest = {mqtt->buffer + at, mqtt->filled - at};
        status = mqtt_packet_read(rest, mqtt->options.payload_max, &packet, &used, error);
        if (status == STATUS_OK && used > 0) {
            mqtt->skip = packet.skip;
            at += used;
            status = take_packet(mqtt, &packet, error);
        }
        if (status == STATUS_OK && mqtt_feed_full(&mqtt->feed)) {
            status = flush(mqtt, error);
        }
    }
    mqtt->filled -= at;
    memmove(mqtt->buffer, mqtt->buffer + at, mqtt->filled);
    return status == STATUS_OK ? flush(mqtt, error) : status;
}

/* A sign of life where nothing was sent for long; the end where nothing was heard for longer. */
static enum status keep_alive(struct mqtt *mqtt, struct error *error)
{
    int64_t now = clock_monotonic_ns();
    if (now - mqtt->heard_ns > INT64_C(1500000000) * KEEP_ALIVE_S) {
        return error_set(error, STATUS_TIMEOUT, "the broker has been silent for %d s",
                         KEEP_ALIVE_S * 3 / 2);
    }
    if (now - mqtt->sent_ns < INT64_C(500000000) * KEEP_ALIVE_S) {
        return STATUS_OK;
    }
    mqtt_write_pingreq(&mqtt->outgoing);
    return flush(mqtt, error);
}

/* ---------------------------------------------------------------- a connection */

static enum status open_link(struct mqtt *mqtt, struct error *error)
{
    const struct mqtt_options *options = &mqtt->options;
    struct mqtt_link_options link = {.address = &options->address,
                                     .ca_file = options->ca_file[0] ? options->ca_file : NULL,
                                     .stop_fd = mqtt->stop_fd,
                                     .timeout_ms = TIMEOUT_MS};
    struct mqtt_connect connect = {.client_id = options->client_id,
                                   .user = options->user[0] ? options->user : NULL,
                                   .password = options->password[0] ? options->password : NULL,
                                   .keep_alive_s = KEEP_ALIVE_S};
    enum status status = mqtt_link_open(&link, &mqtt->link, error);
    if (status != STATUS_OK) {
        return status;
    }
    mqtt->filled = mqtt->skip = 0;
    mqtt->subscribed = mqtt->taking_back = false;
    mqtt->heard_ns = clock_monotonic_ns();
    atomic_fetch_add(&mqtt->connections, 1);
    mqtt_write_connect(&mqtt->outgoing, &connect);
    return flush(mqtt, error);
}

/* Until the connection ends; always with a reason. */
static enum status run_link(struct mqtt *mqtt, struct error *error)
{
    enum status status = open_link(mqtt, error);
    while (status == STATUS_OK) {
        size_t got = 0;
        status = mqtt_link_receive(mqtt->link, mqtt->buffer + mqtt->filled,
                                   mqtt->capacity - mqtt->filled, 1000, &got, error);
        if (status == STATUS_OK && got > 0) {
            mqtt->filled += got;
            mqtt->heard_ns = clock_monotonic_ns();
            status = take_buffer(mqtt, error);
        }
        if (status == STATUS_OK) {
            status = keep_alive(mqtt, error);
        }
    }
    return status;
}

static void close_link(struct mqtt *mqtt, enum status why)
{
    struct error ignored = {0};
    atomic_store(&mqtt->connected, false);
    text_clear(&mqtt->outgoing); /* nothing that is not on disk is acknowledged */
    mqtt_feed_drop(&mqtt->feed);
    if (mqtt->link != NULL && why == STATUS_CANCELLED) {
        mqtt_write_disconnect(&mqtt->outgoing);
        if (mqtt_link_send(mqtt->link, mqtt->outgoing.bytes, mqtt->outgoing.length, &ignored) !=
            STATUS_OK) {
            log_debug("mqtt", "no farewell", "reason=%s", QUOTED(ignored.text));
        }
        text_clear(&mqtt->outgoing);
    }
    mqtt_link_close(mqtt->link);
    mqtt->link = NULL;
}

/* Waits; false where it is time to stop. */
static bool rest(struct mqtt *mqtt, int64_t duration_ms)
{
    struct pollfd stop = {.fd = mqtt->stop_fd, .events = POLLIN};
    return poll(&stop, 1, (int)duration_ms) <= 0;
}

static void *run(void *context)
{
    struct mqtt *mqtt = context;
    struct random random;
    uint64_t seed = 0;
    int64_t backoff_ms = BACKOFF_MS_MIN;
    random_secret(&seed, sizeof(seed));
    random_init(&random, seed, 0);
    for (;;) {
        struct error error = {0};
        enum status status = run_link(mqtt, &error);
        bool was_well = mqtt->subscribed && mqtt->link != NULL;
        close_link(mqtt, status);
        if (status == STATUS_CANCELLED) {
            break;
        }
        backoff_ms = was_well ? BACKOFF_MS_MIN : backoff_ms;
        int64_t wait_ms = (int64_t)((0.5 + random_uniform(&random)) * (double)backoff_ms);
        log_warning("mqtt", "no connection to the broker", "reason=%s retry_ms=%lld",
                    QUOTED(error.text), (long long)wait_ms);
        if (!rest(mqtt, wait_ms)) {
            break;
        }
        backoff_ms = backoff_ms * 2 < BACKOFF_MS_MAX ? backoff_ms * 2 : BACKOFF_MS_MAX;
    }
    return NULL;
}

/* ---------------------------------------------------------------- life */

static void release(struct mqtt *mqtt)
{
    if (mqtt->stop_fd >= 0) {
        close(mqtt->stop_fd);
    }
    text_release(&mqtt->outgoing);
    mem_free(mqtt->buffer);
    explicit_bzero(mqtt->options.password, sizeof(mqtt->options.password));
    mem_free(mqtt);
}

enum status mqtt_start(struct api_services *services, const struct mqtt_options *options,
                       struct mqtt **out, struct error *error)
{
    struct mqtt *mqtt = mem_zeroed(1, sizeof(*mqtt));
    if (mqtt == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the MQTT client");
    }
    mqtt->options = *options;
    mqtt->feed = (struct mqtt_feed){
        .services = services, .patterns = &mqtt->options.patterns, .unit = options->unit};
    mqtt->capacity = options->payload_max + MQTT_HEAD_MAX;
    mqtt->buffer = mem_alloc(mqtt->capacity);
    mqtt->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    text_init(&mqtt->outgoing, OUTGOING_MAX);
    enum status status = STATUS_OK;
    if (mqtt->buffer == NULL) {
        status = error_set(error, STATUS_NO_MEMORY, "no memory for the MQTT client");
    } else if (mqtt->stop_fd < 0) {
        status = error_set(error, STATUS_IO, "could not make an event: %s", strerror(errno));
    }
    if (status == STATUS_OK) {
        status = thread_start(&mqtt->thread, "mqtt", run, mqtt, error);
    }
    if (status != STATUS_OK) {
        release(mqtt);
        return status;
    }
    *out = mqtt;
    return STATUS_OK;
}

void mqtt_stats(struct mqtt *mqtt, struct mqtt_stats *stats)
{
    *stats = (struct mqtt_stats){.connected = atomic_load(&mqtt->connected),
                                 .connections = atomic_load(&mqtt->connections),
                                 .messages = atomic_load(&mqtt->messages),
                                 .refused_messages = atomic_load(&mqtt->refused)};
}

void mqtt_stop(struct mqtt *mqtt)
{
    uint64_t one = 1;
    if (mqtt == NULL) {
        return;
    }
    if (write(mqtt->stop_fd, &one, sizeof(one)) != (ssize_t)sizeof(one)) {
        log_error("mqtt", "could not stop", "reason=%s", QUOTED(strerror(errno)));
    }
    pthread_join(mqtt->thread, NULL);
    release(mqtt);
}
