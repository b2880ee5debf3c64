/* What is still to be told to webhooks: whose turn it is, who waits, and how many places a rule may
 * have. SPDX-License-Identifier: Apache-2.0
 *
 * One delivery at a time is out of the table. Its place is kept for it, so it can always come back.
 * What is told about an alert (by key) replaces what waits about it, and what is out does not come
 * back once something newer waits.
 *
 * Turns: of the rules that have something due, the one whose last turn is longest ago; of its
 * deliveries the one that is due first. A receiver that does not answer is held as a whole, so that
 * it takes one try a wait and not one for each alert of its rule; what was not tried yet comes
 * first.
 *
 * Places: half of them are shared out evenly and kept for the rules, the others are for whoever
 * comes first.
 *
 * Knows neither clock nor lock: the caller has both.
 */
#ifndef SERVER_WEBHOOK_TABLE_H
#define SERVER_WEBHOOK_TABLE_H

#include "server/alert_rule.h"
#include "server/webhook.h"

struct delivery {
    uint64_t key;
    size_t rule;
    char *body;
    size_t length;
    int64_t failed; /* tries so far */
    bool given_up;  /* it counts as failed, and is tried all the same */
    int64_t due_ns;
};

/* Of one rule. */
struct webhook_receiver_pace {
    int64_t turn_ns;  /* end of the last try; 0: none yet */
    int64_t failed;   /* tries in a row that were not answered */
    int64_t until_ns; /* it is held */
};

struct webhook_table {
    struct delivery waiting[WEBHOOKS_WAITING_MAX];
    size_t count;
    struct delivery out; /* a copy: the body is the taker's */
    bool is_out;
    size_t rules;
    struct webhook_receiver_pace paces[ALERT_RULES_MAX];
};

/* False where the rule may have no more places. `*freed` is the body that nobody needs any more:
 * the fresh one, the replaced one, or NULL. */
bool webhook_table_put(struct webhook_table *table, const struct delivery *fresh, char **freed);

/* Gives out the delivery whose turn it is. Where none is due: false, and `*due_ns` says when one
 * will be, INT64_MAX where nothing waits. Ends with `keep` or `end`. */
bool webhook_table_take(struct webhook_table *table, int64_t now_ns, struct delivery *out,
                        int64_t *due_ns);

/* The try has ended: the receiver is well, or it did not answer and is held. Returns the wait in
 * milliseconds, 0 where it is well: 1, 2, 4 ... seconds, at most a minute. */
int64_t webhook_table_pace(struct webhook_table *table, size_t rule, bool answered, int64_t now_ns);

/* What was given out waits again; false where something newer waits: the caller frees it. */
bool webhook_table_keep(struct webhook_table *table, const struct delivery *delivery);
void webhook_table_end(struct webhook_table *table);

/* 1, 2, 4 ... seconds after so many failures, at most a minute. */
int64_t webhook_wait_ms(int64_t failed);

#endif
