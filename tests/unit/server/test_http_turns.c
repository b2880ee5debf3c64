/* Tests of turns at large bodies: order, who dawdles, how many wait, leaving, letting all go.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The library's three functions are replaced: two note who is suspended, and the socket is one end
 * of a pipe, in which bytes wait to be read or do not.
 */
#include "server/http_turns.h"

#include "base/check.h"
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>

#include <microhttpd.h>

#include <cmocka.h>

enum { WAITING = 100 };
enum { MANY = TURNS + WAITING + 1 };

static struct turns turns;
static struct turn all[MANY];
static atomic_bool suspended[MANY];
static atomic_size_t resumed; /* how often */
static atomic_size_t wrong;   /* suspended twice, or resumed for nothing */

static size_t number_of(struct MHD_Connection *connection)
{
    return (size_t)((struct turn *)(void *)connection - all);
}

void MHD_suspend_connection(struct MHD_Connection *connection)
{
    wrong += suspended[number_of(connection)];
    suspended[number_of(connection)] = true;
}

void MHD_resume_connection(struct MHD_Connection *connection)
{
    wrong += !suspended[number_of(connection)];
    suspended[number_of(connection)] = false;
    resumed++;
}

static int empty_pipe[2], full_pipe[2];
static bool unread[MANY]; /* its client has sent what nobody has read yet */

const union MHD_ConnectionInfo *MHD_get_connection_info(struct MHD_Connection *connection,
                                                        enum MHD_ConnectionInfoType type, ...)
{
    static union MHD_ConnectionInfo info;
    wrong += type != MHD_CONNECTION_INFO_CONNECTION_FD;
    info.connect_fd = unread[number_of(connection)] ? full_pipe[0] : empty_pipe[0];
    return &info;
}

static bool begin(size_t i, int64_t now_ns)
{
    return turn_begin(&turns, &all[i], (struct MHD_Connection *)(void *)&all[i], now_ns);
}

static void forget(void)
{
    resumed = 0;
    for (size_t i = 0; i < MANY; i++) {
        all[i] = (struct turn){0};
        suspended[i] = unread[i] = false;
    }
}

static int open_turns(void **state)
{
    (void)state;
    turns = (struct turns){0};
    turns_init(&turns);
    turns.open = false; /* as if started, without the thread: time is the tests' */
    turns.waiting_max = WAITING;
    forget();
    return 0;
}

static int close_turns(void **state)
{
    (void)state;
    turns_release(&turns);
    assert_int_equal(wrong, 0);
    return 0;
}

/* The first TURNS go on, the others wait and get theirs one by one, the first one first. */
static void they_come_in_their_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < TURNS + 3; i++) {
        assert_true(begin(i, 1));
        assert_int_equal(suspended[i], i >= TURNS);
    }
    for (size_t k = 0; k < 3; k++) {
        turn_end(&turns, &all[5 + k], 2);
        assert_int_equal(resumed, k + 1);
        assert_false(suspended[TURNS + k]);
    }
    turn_end(&turns, &all[5], 3); /* it has none any more */
    assert_int_equal(resumed, 3);
    assert_int_equal(turns.waiting, 0);
}

static void who_dawdles_loses_its_turn(void **state)
{
    (void)state;
    for (size_t i = 0; i < TURNS; i++) {
        assert_true(begin(i, (int64_t)i));
    }
    assert_true(begin(TURNS, TURN_NS - 1));
    assert_true(suspended[TURNS]);
    assert_true(begin(TURNS + 1, TURN_NS)); /* behind the one that waits */
    assert_false(suspended[TURNS]);
    assert_true(suspended[TURNS + 1]);
    assert_int_equal(all[0].state, TURN_NONE);
    assert_int_equal(all[1].state, TURN_HELD);
    turn_end(&turns, &all[TURNS], TURN_NS); /* to the one that waits: all[1] has a while left */
    assert_false(suspended[TURNS + 1]);
    assert_int_equal(all[1].state, TURN_HELD);
    /* Who comes when somebody has dawdled and nobody waits goes on at once. */
    assert_true(begin(TURNS + 2, TURN_NS + 1));
    assert_false(suspended[TURNS + 2]);
    assert_int_equal(all[1].state, TURN_NONE);
    /* Its end takes nobody else's place. */
    turn_end(&turns, &all[1], TURN_NS + 1);
    assert_int_equal(all[TURNS + 2].state, TURN_HELD);
}

/* It is we who are slow; and there is an end to that too. */
static void whose_bytes_are_unread_keeps_its_turn(void **state)
{
    (void)state;
    for (size_t i = 0; i < TURNS; i++) {
        unread[i] = i != 3;
        assert_true(begin(i, (int64_t)i));
    }
    assert_true(begin(TURNS, 2 * TURN_NS)); /* the only one that dawdles */
    assert_false(suspended[TURNS]);
    assert_int_equal(all[3].state, TURN_NONE);
    unread[TURNS + 1] = true;
    assert_true(begin(TURNS + 1, 2 * TURN_NS));
    assert_true(suspended[TURNS + 1]);
    assert_true(begin(TURNS + 2, TURN_MAX_NS));
    assert_false(suspended[TURNS + 1]); /* in the place of the oldest, or of who dawdles now */
    assert_int_equal(all[0].state, TURN_NONE);
}

/* Where many wait, several are resumed at once. */
static void a_long_queue_is_resumed_in_batches(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3 * TURNS; i++) {
        assert_true(begin(i, 1));
    }
    for (size_t i = 0; i < TURNS / 2 - 1; i++) {
        turn_end(&turns, &all[i], 2);
    }
    assert_int_equal(resumed, 0);
    turn_end(&turns, &all[TURNS / 2 - 1], 2);
    assert_int_equal(resumed, TURNS / 2);
    for (size_t i = 0; i < TURNS / 2; i++) {
        assert_false(suspended[TURNS + i]);
    }
    assert_true(suspended[TURNS + TURNS / 2]);
}

/* A burst may wait; a queue that stands is kept short, until it has been empty once. */
static void a_standing_queue_is_short(void **state)
{
    (void)state;
    for (size_t i = 0; i < TURNS + STANDING_MAX; i++) {
        unread[i] = true;
        assert_true(begin(i, 1));
    }
    assert_true(begin(MANY - 1, STANDING_NS)); /* it has not stood for that long */
    turn_end(&turns, &all[MANY - 1], STANDING_NS);
    for (size_t i = 0; i < TURNS; i++) { /* nobody has had a turn for too long */
        turns.held[i]->since_ns = STANDING_NS;
    }
    assert_false(begin(MANY - 1, STANDING_NS + 1));
    for (size_t i = 0; i < TURNS + STANDING_MAX; i++) {
        turn_end(&turns, &all[i], STANDING_NS + 1);
    }
    assert_int_equal(turns.waiting, 0);
    for (size_t i = 0; i <= TURNS + STANDING_MAX; i++) {
        assert_true(begin(i, STANDING_NS + 2));
    }
    assert_int_equal(turns.waiting, STANDING_MAX + 1);
}

static void too_many_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < TURNS + WAITING; i++) {
        assert_true(begin(i, 1));
    }
    assert_false(begin(MANY - 1, 1));
    assert_false(suspended[MANY - 1]);
    assert_int_equal(all[MANY - 1].state, TURN_NONE);
    turn_end(&turns, &all[0], 1);
    for (size_t i = 1; i < TURNS / 2; i++) {
        turn_end(&turns, &all[i], 1);
    }
    assert_true(begin(MANY - 1, 1));
    assert_true(suspended[MANY - 1]);
}

static void who_leaves_is_not_resumed(void **state)
{
    (void)state;
    for (size_t i = 0; i < TURNS + 4; i++) {
        assert_true(begin(i, 1));
    }
    turn_end(&turns, &all[TURNS + 3], 1); /* the last one, then the first, then one between */
    turn_end(&turns, &all[TURNS], 1);
    assert_int_equal(turns.waiting, 2);
    turn_end(&turns, &all[0], 1);
    assert_false(suspended[TURNS + 1]);
    assert_true(suspended[TURNS] && suspended[TURNS + 2] && suspended[TURNS + 3]);
    assert_true(begin(0, 1)); /* behind the one that is left */
    turn_end(&turns, &all[1], 1);
    assert_false(suspended[TURNS + 2]);
    turn_end(&turns, &all[2], 1);
    assert_false(suspended[0]);
    assert_int_equal(turns.waiting, 0);
}

static void at_the_end_everybody_goes_on(void **state)
{
    (void)state;
    for (size_t i = 0; i < TURNS + 3; i++) {
        assert_true(begin(i, 1));
    }
    turns_stop(&turns);
    assert_int_equal(resumed, 3);
    assert_true(begin(TURNS + 3, 1));
    assert_false(suspended[TURNS + 3]);
    for (size_t i = 0; i < TURNS + 4; i++) {
        turn_end(&turns, &all[i], 2);
    }
    for (size_t i = 0; i < TURNS; i++) {
        assert_null(turns.held[i]);
    }
}

/* Nothing comes in any more, and still those that wait get the turns of those that dawdle. */
static void the_keeper_hands_turns_on(void **state)
{
    (void)state;
    struct error error = {0};
    turns = (struct turns){0};
    forget();
    turns_init(&turns);
    assert_int_equal(turns_start(&turns, WAITING, &error), STATUS_OK);
    int64_t begin_ns = clock_monotonic_ns();
    for (size_t i = 0; i < 3 * TURNS; i++) {
        assert_true(begin(i, clock_monotonic_ns()));
    }
    while (atomic_load(&resumed) < 2 * TURNS && clock_monotonic_ns() - begin_ns < 5000000000) {
        clock_sleep_ms(1);
    }
    assert_int_equal(atomic_load(&resumed), 2 * TURNS);
    turns_stop(&turns);
    turns_release(&turns);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(they_come_in_their_order, open_turns, close_turns),
        cmocka_unit_test_setup_teardown(who_dawdles_loses_its_turn, open_turns, close_turns),
        cmocka_unit_test_setup_teardown(whose_bytes_are_unread_keeps_its_turn, open_turns,
                                        close_turns),
        cmocka_unit_test_setup_teardown(a_long_queue_is_resumed_in_batches, open_turns,
                                        close_turns),
        cmocka_unit_test_setup_teardown(a_standing_queue_is_short, open_turns, close_turns),
        cmocka_unit_test_setup_teardown(too_many_are_refused, open_turns, close_turns),
        cmocka_unit_test_setup_teardown(who_leaves_is_not_resumed, open_turns, close_turns),
        cmocka_unit_test_setup_teardown(at_the_end_everybody_goes_on, open_turns, close_turns),
        cmocka_unit_test(the_keeper_hands_turns_on),
    };
    CHECK(pipe(empty_pipe) == 0 && pipe(full_pipe) == 0 && write(full_pipe[1], "x", 1) == 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
