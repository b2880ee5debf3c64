/* The table of deliveries and the thread that makes them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/webhook.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/memory.h"
#include "server/fetch.h"
#include "server/quoted.h"
#include "server/threads.h"

#include <string.h>

#define ANSWER_BYTES_MAX  ((size_t)64 << 10)
#define HEADERS_BYTES_MAX ((size_t)64 << 10)
#define WAIT_MS_FIRST     1000
#define WAIT_MS_MAX       60000
#define IDLE_MS           60000
#define NICE              19
#define NS_PER_MS         INT64_C(1000000)

struct receiver {
    const struct alert_rule *rule;
    char *url; /* the rule's, or from its file */
    struct text headers;
};

struct delivery {
    uint64_t key;
    size_t rule;
    char *body;
    size_t length;
    int64_t failed; /* tries so far */
    int64_t due_ns;
};

struct webhooks {
    struct api_services *services;
    struct alert_rules rules;
    struct receiver receivers[ALERT_RULES_MAX];
    pthread_t thread;
    bool started;
    atomic_bool closed;
    struct lock lock;
    struct condition woken;
    struct delivery waiting[WEBHOOKS_WAITING_MAX]; /* guarded by lock, as the next */
    size_t waiting_count;
};

/* ---------------------------------------------------------------- one delivery */

enum verdict { DELIVERED, LATER, REFUSED };

static enum verdict judge(enum status status, int http)
{
    if (status != STATUS_OK) {
        bool passes = status == STATUS_IO || status == STATUS_TIMEOUT || status == STATUS_NO_MEMORY;
        return passes ? LATER : REFUSED;
    }
    if (http >= 200 && http < 300) {
        return DELIVERED;
    }
    return http == 408 || http == 429 || http >= 500 ? LATER : REFUSED;
}

static enum verdict deliver(struct webhooks *webhooks, struct fetch *fetch,
                            const struct delivery *delivery, int64_t *wait_ms, struct error *error)
{
    const struct receiver *receiver = &webhooks->receivers[delivery->rule];
    struct fetch_reply reply = {0};
    struct fetch_request request = {
        .url = receiver->url,
        .headers = receiver->headers.bytes,
        .ca_file = receiver->rule->ca_file[0] != '\0' ? receiver->rule->ca_file : NULL,
        .content_type = "application/json",
        .body = delivery->body,
        .body_length = delivery->length,
        .timeout_ms = receiver->rule->timeout_ms,
        .answer_max = ANSWER_BYTES_MAX,
        .cancel = &webhooks->closed,
    };
    enum status status = fetch_call(fetch, &request, &reply, error);
    enum verdict verdict = judge(status, reply.status);
    if (status == STATUS_OK && verdict != DELIVERED) {
        error_set(error, STATUS_IO, "the receiver answered %d", reply.status);
    }
    *wait_ms = WAIT_MS_FIRST << (delivery->failed < 6 ? delivery->failed : 6);
    *wait_ms = reply.retry_after_ms > *wait_ms ? reply.retry_after_ms : *wait_ms;
    *wait_ms = *wait_ms < WAIT_MS_MAX ? *wait_ms : WAIT_MS_MAX;
    fetch_reply_release(&reply);
    return verdict;
}

/* ---------------------------------------------------------------- the table */

static struct delivery *find_waiting(struct webhooks *webhooks, uint64_t key)
{
    for (size_t i = 0; i < webhooks->waiting_count; i++) {
        if (webhooks->waiting[i].key == key) {
            return &webhooks->waiting[i];
        }
    }
    return NULL;
}

/* Waits for the delivery that is due first and takes it out; false at the end. */
static bool take_due(struct webhooks *webhooks, struct delivery *out)
{
    bool taken = false;
    lock_acquire(&webhooks->lock);
    while (!taken && !atomic_load(&webhooks->closed)) {
        size_t first = 0;
        for (size_t i = 1; i < webhooks->waiting_count; i++) {
            if (webhooks->waiting[i].due_ns < webhooks->waiting[first].due_ns) {
                first = i;
            }
        }
        int64_t now_ns = clock_monotonic_ns();
        if (webhooks->waiting_count == 0) {
            condition_wait_for(&webhooks->woken, &webhooks->lock, IDLE_MS);
        } else if (webhooks->waiting[first].due_ns > now_ns) {
            int64_t left_ms = (webhooks->waiting[first].due_ns - now_ns) / NS_PER_MS + 1;
            condition_wait_for(&webhooks->woken, &webhooks->lock, left_ms);
        } else {
            *out = webhooks->waiting[first];
            webhooks->waiting[first] = webhooks->waiting[--webhooks->waiting_count];
            taken = true;
        }
    }
    lock_release(&webhooks->lock);
    return taken;
}

/* Back into the table, unless something newer is told about the alert meanwhile, or it is full. */
static bool put_back(struct webhooks *webhooks, const struct delivery *delivery)
{
    lock_acquire(&webhooks->lock);
    bool newer = find_waiting(webhooks, delivery->key) != NULL;
    bool room = webhooks->waiting_count < WEBHOOKS_WAITING_MAX;
    if (!newer && room) {
        webhooks->waiting[webhooks->waiting_count++] = *delivery;
    }
    lock_release(&webhooks->lock);
    if (!newer && !room) {
        api_count_webhook(webhooks->services, WEBHOOK_DROPPED);
    }
    return !newer && room;
}

static void *webhooks_main(void *context)
{
    struct webhooks *webhooks = context;
    struct delivery delivery;
    struct fetch *fetch = NULL;
    thread_nice(NICE);
    while (take_due(webhooks, &delivery)) {
        const struct receiver *receiver = &webhooks->receivers[delivery.rule];
        struct error error = {0};
        int64_t wait_ms = WAIT_MS_FIRST;
        enum verdict verdict = LATER; /* without memory, too */
        if (fetch != NULL || fetch_new(&fetch, &error) == STATUS_OK) {
            verdict = deliver(webhooks, fetch, &delivery, &wait_ms, &error);
        }
        if (verdict == LATER && delivery.failed < receiver->rule->retries) {
            delivery.failed++;
            delivery.due_ns = clock_monotonic_ns() + wait_ms * NS_PER_MS;
            if (put_back(webhooks, &delivery)) {
                continue;
            }
        } else if (verdict == DELIVERED) {
            api_count_webhook(webhooks->services, WEBHOOK_SENT);
        } else if (error.status != STATUS_CANCELLED) {
            api_count_webhook(webhooks->services, WEBHOOK_FAILED);
            log_warning("alerts", "webhook not told", "rule=%s tries=%lld reason=%s",
                        receiver->rule->name, (long long)delivery.failed + 1, QUOTED(error.text));
        }
        mem_free(delivery.body);
    }
    fetch_free(fetch);
    return NULL;
}

bool webhooks_tell_take(struct webhooks *webhooks, size_t rule, uint64_t key, char *body,
                        size_t length)
{
    struct delivery fresh = {
        .key = key, .rule = rule, .body = body, .length = length, .due_ns = clock_monotonic_ns()};
    char *old = body;
    lock_acquire(&webhooks->lock);
    struct delivery *place = find_waiting(webhooks, key);
    if (place != NULL) {
        old = place->body;
        *place = fresh;
    } else if (webhooks->waiting_count < WEBHOOKS_WAITING_MAX) {
        old = NULL;
        webhooks->waiting[webhooks->waiting_count++] = fresh;
    }
    bool taken = old != body;
    condition_signal(&webhooks->woken);
    lock_release(&webhooks->lock);
    mem_free(old);
    if (!taken) {
        api_count_webhook(webhooks->services, WEBHOOK_DROPPED);
    }
    return taken;
}

/* ---------------------------------------------------------------- start and end */

static enum status read_files(const struct alert_rule *rule, struct receiver *receiver,
                              struct error *error)
{
    char secret[FETCH_SECRET_MAX];
    const char *url = rule->url;
    enum status status = STATUS_OK;
    if (rule->url_file[0] != '\0') {
        url = secret;
        status = fetch_read_secret(rule->url_file, secret, error);
        if (status == STATUS_OK) {
            status = fetch_check_url("the address in url_file", url, error);
        }
    }
    if (status == STATUS_OK && rule->header_file[0] != '\0') {
        status = fetch_read_headers(rule->header_file, &receiver->headers, error);
    }
    if (status == STATUS_OK) {
        receiver->url = mem_copy_text(url, strlen(url));
        if (receiver->url == NULL) {
            status = error_set(error, STATUS_NO_MEMORY, "out of memory");
        }
    }
    return status == STATUS_OK ? status : error_wrap(error, "alert rule '%s'", rule->name);
}

enum status webhooks_start(struct api_services *services, const struct alert_rules *rules,
                           struct webhooks **out, struct error *error)
{
    struct webhooks *webhooks = mem_zeroed(1, sizeof(*webhooks));
    enum status status = STATUS_OK;
    if (webhooks == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not start the webhooks: out of memory");
    }
    webhooks->services = services;
    webhooks->rules = *rules;
    lock_init(&webhooks->lock);
    condition_init(&webhooks->woken);
    for (size_t i = 0; i < rules->count && status == STATUS_OK; i++) {
        text_init(&webhooks->receivers[i].headers, HEADERS_BYTES_MAX);
        webhooks->receivers[i].rule = &webhooks->rules.rules[i];
        status = read_files(&webhooks->rules.rules[i], &webhooks->receivers[i], error);
    }
    if (status == STATUS_OK) {
        status = thread_start(&webhooks->thread, "webhooks", webhooks_main, webhooks, error);
    }
    webhooks->started = status == STATUS_OK;
    if (status != STATUS_OK) {
        webhooks_stop(webhooks);
        return status;
    }
    *out = webhooks;
    return STATUS_OK;
}

void webhooks_stop(struct webhooks *webhooks)
{
    if (webhooks == NULL) {
        return;
    }
    lock_acquire(&webhooks->lock);
    atomic_store(&webhooks->closed, true);
    condition_broadcast(&webhooks->woken);
    lock_release(&webhooks->lock);
    if (webhooks->started) {
        pthread_join(webhooks->thread, NULL);
    }
    for (size_t i = 0; i < webhooks->waiting_count; i++) {
        mem_free(webhooks->waiting[i].body);
    }
    for (size_t i = 0; i < webhooks->rules.count; i++) {
        mem_free(webhooks->receivers[i].url);
        text_release(&webhooks->receivers[i].headers);
    }
    condition_release_memory(&webhooks->woken);
    lock_release_memory(&webhooks->lock);
    mem_free(webhooks);
}
