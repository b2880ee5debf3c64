/* Turns at large bodies: few are read and handled at once, the others wait in their order.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/http_turns.h"

#include "base/check.h"
#include "base/clock.h"
#include "server/threads.h"

#include <microhttpd.h>
#include <sys/ioctl.h>

static bool dawdles(const struct turn *turn, int64_t now_ns)
{
    int unread = 0;
    int64_t age_ns = now_ns - turn->since_ns;
    return age_ns >= TURN_MAX_NS ||
           (age_ns >= TURN_NS && (ioctl(turn->fd, FIONREAD, &unread) != 0 || unread == 0));
}

static size_t free_places(const struct turns *turns)
{
    size_t count = 0;
    for (size_t i = 0; i < TURNS; i++) {
        count += turns->held[i] == NULL;
    }
    return count;
}

/* A place that is free, or that of who has dawdled for longest; NULL if none. */
static struct turn **find_place(struct turns *turns, int64_t now_ns)
{
    struct turn **oldest = NULL;
    for (size_t i = 0; i < TURNS; i++) {
        struct turn **place = &turns->held[i];
        if (*place == NULL) {
            return place;
        }
        if ((oldest == NULL || (*place)->since_ns < (*oldest)->since_ns) &&
            dawdles(*place, now_ns)) {
            oldest = place;
        }
    }
    return oldest;
}

static void hold(struct turn **place, struct turn *turn, int64_t now_ns)
{
    if (*place != NULL) {
        (*place)->state = TURN_NONE;
    }
    *place = turn;
    turn->state = TURN_HELD;
    turn->since_ns = now_ns;
}

static struct turn *first_out(struct turns *turns)
{
    struct turn *turn = turns->first;
    turns->first = turn->next;
    turns->last = turns->first == NULL ? NULL : turns->last;
    turn->next = NULL;
    turns->waiting--;
    return turn;
}

/* Those that wait get what places there are. Returns them, linked: they are to be resumed, without
 * the lock. To find those that were resumed the library walks the list of all that are suspended;
 * so where that is long, nobody is resumed before `at_least` places are free. */
static struct turn *hand_on(struct turns *turns, size_t at_least, int64_t now_ns)
{
    struct turn *granted = NULL, **end = &granted, **place;
    if (turns->waiting > TURNS && free_places(turns) < at_least) {
        return NULL;
    }
    while (turns->first != NULL && (place = find_place(turns, now_ns)) != NULL) {
        struct turn *turn = first_out(turns);
        hold(place, turn, now_ns);
        *end = turn;
        end = &turn->next;
    }
    return granted;
}

/* Nobody touches a turn of a connection that is suspended; once resumed it may be used again. */
static void resume_all(struct turn *granted)
{
    while (granted != NULL) {
        struct turn *next = granted->next;
        granted->next = NULL;
        MHD_resume_connection(granted->connection);
        granted = next;
    }
}

static void enqueue(struct turns *turns, struct turn *turn, int64_t now_ns)
{
    turn->state = TURN_WAITS;
    turn->next = NULL;
    *(turns->first == NULL ? &turns->first : &turns->last->next) = turn;
    turns->last = turn;
    turns->waiting++;
    if (turns->waiting == 1) {
        turns->waiting_since_ns = now_ns;
        condition_signal(&turns->changed);
    }
}

static size_t may_wait(const struct turns *turns, int64_t now_ns)
{
    bool stands = turns->waiting > 0 && now_ns - turns->waiting_since_ns >= STANDING_NS;
    return stands && turns->waiting_max > STANDING_MAX ? STANDING_MAX : turns->waiting_max;
}

bool turn_begin(struct turns *turns, struct turn *turn, struct MHD_Connection *connection,
                int64_t now_ns)
{
    lock_acquire(&turns->lock);
    CHECK(turn->state == TURN_NONE);
    turn->connection = connection;
    turn->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    struct turn *granted = hand_on(turns, TURNS / 2, now_ns);
    struct turn **place = turns->first == NULL ? find_place(turns, now_ns) : NULL;
    if (place != NULL) {
        hold(place, turn, now_ns);
    }
    bool waits = place == NULL && !turns->open;
    bool full = waits && turns->waiting >= may_wait(turns, now_ns);
    lock_release(&turns->lock);
    resume_all(granted);
    if (!waits || full) {
        return !full;
    }
    /* Suspended before it can be found, or it might be resumed before it is suspended. Meanwhile
     * places can only have become free for others that wait, but everybody may have been let go. */
    MHD_suspend_connection(connection);
    lock_acquire(&turns->lock);
    bool open = turns->open;
    if (!open) {
        enqueue(turns, turn, now_ns);
    }
    lock_release(&turns->lock);
    if (open) {
        MHD_resume_connection(connection);
    }
    return true;
}

static void leave_queue(struct turns *turns, struct turn *turn)
{
    struct turn *before = NULL;
    for (struct turn *at = turns->first; at != turn; at = at->next) {
        before = at;
    }
    *(before == NULL ? &turns->first : &before->next) = turn->next;
    turns->last = turns->last == turn ? before : turns->last;
    turns->waiting--;
}

void turn_end(struct turns *turns, struct turn *turn, int64_t now_ns)
{
    lock_acquire(&turns->lock);
    if (turn->state == TURN_WAITS) {
        leave_queue(turns, turn);
    }
    for (size_t i = 0; i < TURNS && turn->state == TURN_HELD; i++) {
        if (turns->held[i] == turn) {
            turns->held[i] = NULL;
            break;
        }
    }
    turn->state = TURN_NONE;
    turn->next = NULL;
    struct turn *granted = hand_on(turns, TURNS / 2, now_ns);
    lock_release(&turns->lock);
    resume_all(granted);
}

/* ---------------------------------------------------------------- the keeper */

/* Milliseconds until somebody may have dawdled, rounded up. */
static int64_t until_expiry_ms(const struct turns *turns, int64_t now_ns)
{
    int64_t oldest_ns = now_ns;
    for (size_t i = 0; i < TURNS; i++) {
        const struct turn *turn = turns->held[i];
        oldest_ns = turn != NULL && turn->since_ns < oldest_ns ? turn->since_ns : oldest_ns;
    }
    int64_t left_ns = oldest_ns + TURN_NS - now_ns;
    return (left_ns > 0 ? left_ns : TURN_NS) / 1000000 + 1;
}

/* Where turns end by answers alone, nothing would come to hand on those of clients that send no
 * more. */
static void *keep(void *context)
{
    struct turns *turns = context;
    lock_acquire(&turns->lock);
    while (!turns->open) {
        if (turns->first == NULL) {
            condition_wait(&turns->changed, &turns->lock);
            continue;
        }
        int64_t now_ns = clock_monotonic_ns();
        struct turn *granted = hand_on(turns, 0, now_ns);
        if (granted == NULL) {
            (void)condition_wait_for(&turns->changed, &turns->lock, until_expiry_ms(turns, now_ns));
            continue;
        }
        lock_release(&turns->lock);
        resume_all(granted);
        lock_acquire(&turns->lock);
    }
    lock_release(&turns->lock);
    return NULL;
}

void turns_init(struct turns *turns)
{
    lock_init(&turns->lock);
    condition_init(&turns->changed);
    turns->open = true;
}

void turns_release(struct turns *turns)
{
    condition_release_memory(&turns->changed);
    lock_release_memory(&turns->lock);
}

enum status turns_start(struct turns *turns, size_t waiting_max, struct error *error)
{
    turns->waiting_max = waiting_max;
    turns->open = false;
    enum status status = thread_start(&turns->keeper, "turns", keep, turns, error);
    turns->running = status == STATUS_OK;
    return status;
}

void turns_stop(struct turns *turns)
{
    lock_acquire(&turns->lock);
    turns->open = true;
    struct turn *granted = turns->first;
    for (struct turn *turn = granted; turn != NULL; turn = turn->next) {
        turn->state = TURN_NONE;
    }
    turns->first = turns->last = NULL;
    turns->waiting = 0;
    condition_signal(&turns->changed);
    lock_release(&turns->lock);
    resume_all(granted);
    if (turns->running) {
        pthread_join(turns->keeper, NULL);
        turns->running = false;
    }
}
