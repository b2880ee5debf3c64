/* The rules of webhook_table.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/webhook_table.h"

#include "base/check.h"

#define WAIT_MS_FIRST INT64_C(1000)
#define DOUBLINGS_MAX 6
#define NS_PER_MS     INT64_C(1000000)

int64_t webhook_wait_ms(int64_t failed)
{
    int64_t wait_ms = WAIT_MS_FIRST << (failed < DOUBLINGS_MAX ? failed : DOUBLINGS_MAX);
    return wait_ms < WEBHOOKS_WAIT_MS_MAX ? wait_ms : WEBHOOKS_WAIT_MS_MAX;
}

static struct delivery *find_waiting(struct webhook_table *table, uint64_t key)
{
    for (size_t i = 0; i < table->count; i++) {
        if (table->waiting[i].key == key) {
            return &table->waiting[i];
        }
    }
    return NULL;
}

/* Whether one place more for this rule leaves the others theirs. */
static bool has_room(const struct webhook_table *table, size_t rule)
{
    size_t places[ALERT_RULES_MAX] = {0};
    size_t taken = table->count + table->is_out;
    size_t share = WEBHOOKS_WAITING_MAX / 2 / table->rules;
    for (size_t i = 0; i < table->count; i++) {
        places[table->waiting[i].rule]++;
    }
    if (table->is_out) {
        places[table->out.rule]++;
    }
    for (size_t i = 0; i < table->rules; i++) {
        taken += i != rule && places[i] < share ? share - places[i] : 0;
    }
    return taken < WEBHOOKS_WAITING_MAX;
}

bool webhook_table_put(struct webhook_table *table, const struct delivery *fresh, char **freed)
{
    struct delivery *place = find_waiting(table, fresh->key);
    *freed = NULL;
    if (place != NULL) {
        *freed = place->body;
        *place = *fresh;
        return true;
    }
    /* What is out about the same alert will not come back: the fresh one has its place. */
    bool replaces = table->is_out && table->out.key == fresh->key;
    if (!replaces && !has_room(table, fresh->rule)) {
        *freed = fresh->body;
        return false;
    }
    CHECK(table->count < WEBHOOKS_WAITING_MAX);
    table->waiting[table->count++] = *fresh;
    return true;
}

static int64_t due_of(const struct webhook_table *table, const struct delivery *delivery)
{
    int64_t until_ns = table->paces[delivery->rule].until_ns;
    return delivery->due_ns > until_ns ? delivery->due_ns : until_ns;
}

static bool goes_before(const struct webhook_table *table, const struct delivery *one,
                        const struct delivery *other)
{
    int64_t one_ns = table->paces[one->rule].turn_ns;
    int64_t other_ns = table->paces[other->rule].turn_ns;
    return one_ns != other_ns ? one_ns < other_ns : one->due_ns < other->due_ns;
}

bool webhook_table_take(struct webhook_table *table, int64_t now_ns, struct delivery *out,
                        int64_t *due_ns)
{
    struct delivery *first = NULL;
    *due_ns = INT64_MAX;
    CHECK(!table->is_out);
    for (size_t i = 0; i < table->count; i++) {
        struct delivery *one = &table->waiting[i];
        int64_t one_ns = due_of(table, one);
        *due_ns = one_ns < *due_ns ? one_ns : *due_ns;
        if (one_ns <= now_ns && (first == NULL || goes_before(table, one, first))) {
            first = one;
        }
    }
    if (first == NULL) {
        return false;
    }
    *out = table->out = *first;
    table->is_out = true;
    *first = table->waiting[--table->count];
    return true;
}

int64_t webhook_table_pace(struct webhook_table *table, size_t rule, bool answered, int64_t now_ns)
{
    struct webhook_receiver_pace *pace = &table->paces[rule];
    pace->turn_ns = now_ns;
    if (answered) {
        pace->failed = pace->until_ns = 0;
        return 0;
    }
    int64_t wait_ms = webhook_wait_ms(pace->failed++);
    pace->until_ns = now_ns + wait_ms * NS_PER_MS;
    return wait_ms;
}

bool webhook_table_keep(struct webhook_table *table, const struct delivery *delivery)
{
    bool newer = find_waiting(table, delivery->key) != NULL;
    table->is_out = false;
    if (!newer) {
        CHECK(table->count < WEBHOOKS_WAITING_MAX);
        table->waiting[table->count++] = *delivery;
    }
    return !newer;
}

void webhook_table_end(struct webhook_table *table)
{
    table->is_out = false;
}
