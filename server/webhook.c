/* The thread that makes deliveries.
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
#include "server/webhook_table.h"

#include <string.h>

#define ANSWER_BYTES_MAX  ((size_t)64 << 10)
#define HEADERS_BYTES_MAX ((size_t)64 << 10)
#define SLOW_MS           1000 /* a refusal that takes longer is as bad as none */
#define IDLE_MS           60000
#define NICE              19
#define NS_PER_MS         INT64_C(1000000)

struct receiver {
    const struct alert_rule *rule;
    char *url; /* the rule's, or from its file */
    struct text headers;
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
    struct webhook_table table; /* guarded by lock */
};

/* ---------------------------------------------------------------- one delivery */

enum verdict { DELIVERED, LATER, REFUSED };

/* What came of one try. */
struct outcome {
    enum verdict verdict;
    bool answered; /* else whoever waits behind it would wait, too */
    int64_t retry_after_ms;
};

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

static void deliver(struct webhooks *webhooks, struct fetch *fetch, const struct delivery *delivery,
                    struct outcome *outcome, struct error *error)
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
    int64_t begin_ns = clock_monotonic_ns();
    enum status status = fetch_call(fetch, &request, &reply, error);
    bool slow = clock_monotonic_ns() - begin_ns > SLOW_MS * NS_PER_MS;
    outcome->verdict = judge(status, reply.status);
    outcome->answered =
        status != STATUS_IO && status != STATUS_TIMEOUT && !(outcome->verdict == LATER && slow);
    outcome->retry_after_ms = reply.retry_after_ms;
    if (status == STATUS_OK && outcome->verdict != DELIVERED) {
        error_set(error, STATUS_IO, "the receiver answered %d", reply.status);
    }
    fetch_reply_release(&reply);
}

/* ---------------------------------------------------------------- the thread */

/* Waits for the delivery whose turn it is; false at the end. */
static bool take_due(struct webhooks *webhooks, struct delivery *out)
{
    bool taken = false;
    lock_acquire(&webhooks->lock);
    while (!taken && !atomic_load(&webhooks->closed)) {
        int64_t due_ns = 0, now_ns = clock_monotonic_ns();
        taken = webhook_table_take(&webhooks->table, now_ns, out, &due_ns);
        if (!taken) {
            int64_t left_ms = due_ns < INT64_MAX ? (due_ns - now_ns) / NS_PER_MS + 1 : IDLE_MS;
            condition_wait_for(&webhooks->woken, &webhooks->lock, left_ms);
        }
    }
    lock_release(&webhooks->lock);
    return taken;
}

/* Whether it counts as failed from now on. A receiver that does not answer fails for all of its
 * deliveries at once. */
static bool gives_up(const struct delivery *delivery, const struct webhook_receiver_pace *pace,
                     const struct outcome *outcome, int64_t retries)
{
    bool over = outcome->answered ? delivery->failed >= retries : pace->failed == retries;
    return over && outcome->verdict == LATER && !delivery->given_up;
}

/* The end of a try: what is to be told later goes back into the table. True where it gives up. */
static bool settle(struct webhooks *webhooks, struct delivery *delivery,
                   const struct outcome *outcome)
{
    int64_t retries = webhooks->receivers[delivery->rule].rule->retries;
    int64_t wait_ms = webhook_wait_ms(delivery->failed);
    bool kept = false;
    wait_ms = outcome->retry_after_ms > wait_ms ? outcome->retry_after_ms : wait_ms;
    if (wait_ms > WEBHOOKS_WAIT_MS_MAX || delivery->failed >= retries) {
        wait_ms = WEBHOOKS_WAIT_MS_MAX;
    }
    lock_acquire(&webhooks->lock);
    struct webhook_table *table = &webhooks->table;
    int64_t now_ns = clock_monotonic_ns();
    bool failed = gives_up(delivery, &table->paces[delivery->rule], outcome, retries);
    int64_t held_ms = webhook_table_pace(table, delivery->rule, outcome->answered, now_ns);
    if (outcome->verdict == LATER) {
        delivery->failed++;
        delivery->given_up = delivery->given_up || failed;
        delivery->due_ns = now_ns + (held_ms > wait_ms ? held_ms : wait_ms) * NS_PER_MS;
        kept = webhook_table_keep(table, delivery);
    } else {
        webhook_table_end(table);
    }
    lock_release(&webhooks->lock);
    if (!kept) {
        mem_free(delivery->body);
    }
    return failed;
}

static void *webhooks_main(void *context)
{
    struct webhooks *webhooks = context;
    struct delivery delivery;
    struct fetch *fetch = NULL;
    thread_nice(NICE);
    while (take_due(webhooks, &delivery)) {
        const struct alert_rule *rule = webhooks->receivers[delivery.rule].rule;
        struct error error = {0};
        struct outcome outcome = {.verdict = LATER, .answered = true}; /* without memory */
        if (fetch != NULL || fetch_new(&fetch, &error) == STATUS_OK) {
            deliver(webhooks, fetch, &delivery, &outcome, &error);
        }
        bool failed = settle(webhooks, &delivery, &outcome);
        if (outcome.verdict == DELIVERED) {
            api_count_webhook(webhooks->services, WEBHOOK_SENT);
        } else if (error.status != STATUS_CANCELLED && (outcome.verdict == REFUSED || failed)) {
            api_count_webhook(webhooks->services, WEBHOOK_FAILED);
            log_warning("alerts",
                        failed ? "webhook not told, now tried once a minute" : "webhook not told",
                        "rule=%s reason=%s", rule->name, QUOTED(error.text));
        }
    }
    fetch_free(fetch);
    return NULL;
}

bool webhooks_tell_take(struct webhooks *webhooks, size_t rule, uint64_t key, char *body,
                        size_t length)
{
    struct delivery fresh = {
        .key = key, .rule = rule, .body = body, .length = length, .due_ns = clock_monotonic_ns()};
    char *freed = NULL;
    lock_acquire(&webhooks->lock);
    bool taken = webhook_table_put(&webhooks->table, &fresh, &freed);
    condition_signal(&webhooks->woken);
    lock_release(&webhooks->lock);
    mem_free(freed);
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
    webhooks->table.rules = rules->count;
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
    for (size_t i = 0; i < webhooks->table.count; i++) {
        mem_free(webhooks->table.waiting[i].body);
    }
    for (size_t i = 0; i < webhooks->rules.count; i++) {
        mem_free(webhooks->receivers[i].url);
        text_release(&webhooks->receivers[i].headers);
    }
    condition_release_memory(&webhooks->woken);
    lock_release_memory(&webhooks->lock);
    mem_free(webhooks);
}
