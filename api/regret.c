/* Live regret by step group, and the verdict.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/regret.h"

#include "base/lock.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define GROUPS_MAX 64

struct group {
    int64_t step_ms;
    char champion[48], rival[48];
    struct regret_losses windows[REGRET_WINDOWS]; /* by rising window */
    size_t count;
    int64_t rivals_window; /* in which rivals were made, and how many */
    unsigned rivals;
};

struct regret {
    struct lock lock;
    struct group groups[GROUPS_MAX]; /* guarded by lock */
    size_t count;
};

enum status regret_new(struct regret **out, struct error *error)
{
    struct regret *regret = mem_zeroed(1, sizeof(*regret));
    if (!regret) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for live regret");
    }
    lock_init(&regret->lock);
    *out = regret;
    return STATUS_OK;
}

void regret_free(struct regret *regret)
{
    if (regret) {
        lock_release_memory(&regret->lock);
        mem_free(regret);
    }
}

int64_t regret_window_of(int64_t time_ms, int64_t step_ms, size_t horizon)
{
    int64_t length_ms = step_ms * (int64_t)(horizon >= 4 ? horizon / 4 : 1);
    return time_ms / length_ms - (time_ms % length_ms < 0);
}

/* Under the lock. The row of a step, begun anew where another champion or rival stands in it. */
static struct group *group_of(struct regret *regret, int64_t step_ms, const char *champion,
                              const char *rival)
{
    size_t at = 0;
    while (at < regret->count && regret->groups[at].step_ms != step_ms) {
        at++;
    }
    if (at == GROUPS_MAX) {
        return NULL;
    }
    struct group *group = &regret->groups[at];
    if (at == regret->count || strcmp(group->champion, champion) != 0 ||
        strcmp(group->rival, rival) != 0) {
        regret->count += at == regret->count;
        memset(group, 0, sizeof(*group));
        group->step_ms = step_ms;
        snprintf(group->champion, sizeof(group->champion), "%s", champion);
        snprintf(group->rival, sizeof(group->rival), "%s", rival);
    }
    return group;
}

/* Under the lock. NULL where the window is older than all that are remembered. */
static struct regret_losses *window_of(struct group *group, int64_t window)
{
    size_t at = group->count;
    while (at > 0 && group->windows[at - 1].window > window) {
        at--;
    }
    if (at > 0 && group->windows[at - 1].window == window) {
        return &group->windows[at - 1];
    }
    if (group->count == REGRET_WINDOWS) {
        if (at == 0) {
            return NULL;
        }
        memmove(group->windows, group->windows + 1, (at - 1) * sizeof(group->windows[0]));
        at--;
    } else {
        memmove(group->windows + at + 1, group->windows + at,
                (group->count - at) * sizeof(group->windows[0]));
        group->count++;
    }
    group->windows[at] = (struct regret_losses){.window = window};
    return &group->windows[at];
}

void regret_add(struct regret *regret, int64_t step_ms, const char *champion, const char *rival,
                const struct regret_losses *losses)
{
    lock_acquire(&regret->lock);
    struct group *group = group_of(regret, step_ms, champion, rival);
    struct regret_losses *window = group ? window_of(group, losses->window) : NULL;
    if (window) {
        window->count += losses->count;
        window->champion += losses->champion;
        window->baseline += losses->baseline;
        window->rival_count += losses->rival_count;
        window->champion_again += losses->champion_again;
        window->rival += losses->rival;
    }
    lock_release(&regret->lock);
}

bool regret_wants_rival(struct regret *regret, int64_t step_ms, const char *champion,
                        const char *rival, int64_t window)
{
    lock_acquire(&regret->lock);
    struct group *group = group_of(regret, step_ms, champion, rival);
    if (group && group->rivals_window != window) {
        group->rivals_window = window;
        group->rivals = 0;
    }
    bool proved = group && group->count == REGRET_WINDOWS && group->windows[0].rival_count > 0;
    bool wants = group && !proved && group->rivals < REGRET_RIVALS_A_WINDOW;
    if (wants) {
        group->rivals++;
    }
    lock_release(&regret->lock);
    return wants;
}

/* ---------------------------------------------------------------- verdict */

struct comparison {
    struct skill skill;
    uint64_t count;
    bool worse;
};

/* All windows but the newest, which is still being filled. */
static void compare(const struct group *group, bool rival, struct comparison *out)
{
    double own[REGRET_WINDOWS] = {0}, other[REGRET_WINDOWS] = {0};
    size_t used = 0;
    out->count = 0;
    for (size_t i = 0; i + 1 < group->count; i++) {
        const struct regret_losses *window = &group->windows[i];
        uint64_t count = rival ? window->rival_count : window->count;
        if (count == 0) {
            continue;
        }
        /* The mean of each window: one with many values is no more than one weather. */
        own[used] = (rival ? window->champion_again : window->champion) / (double)count;
        other[used] = (rival ? window->rival : window->baseline) / (double)count;
        used++;
        out->count += count;
    }
    skill_of(own, other, used, &out->skill);
    /* It is looked at again and again, and the error of few windows is itself uncertain. */
    double errors = REGRET_ERRORS * (1.0 + 6.0 / (double)(used > 0 ? used : 1));
    out->worse = used >= REGRET_WINDOWS_MIN && out->count >= REGRET_COUNT_MIN &&
                 out->skill.value < 1.0 - REGRET_MARGIN &&
                 -out->skill.value > errors * out->skill.error;
}

bool api_regret(struct api_services *services, int64_t step_ms, struct regret_verdict *verdict)
{
    struct regret *regret = services->regret;
    struct group group = {0};
    lock_acquire(&regret->lock);
    for (size_t i = 0; i < regret->count; i++) {
        if (regret->groups[i].step_ms == step_ms) {
            group = regret->groups[i];
        }
    }
    lock_release(&regret->lock);
    struct comparison baseline, rival;
    compare(&group, false, &baseline);
    compare(&group, true, &rival);
    memset(verdict, 0, sizeof(*verdict));
    if (!baseline.worse && !rival.worse) {
        return false;
    }
    /* Back to whichever of the two the champion loses more against. */
    bool previous = rival.worse && (!baseline.worse || rival.skill.value < baseline.skill.value);
    const struct comparison *lost = previous ? &rival : &baseline;
    verdict->to_previous = previous;
    snprintf(verdict->champion, sizeof(verdict->champion), "%s", group.champion);
    snprintf(verdict->reason, sizeof(verdict->reason),
             "live regret: pinball %.2f times %s%.20s's on %llu values in %zu windows"
             " (limit %.2f, error %.2f)",
             1.0 - lost->skill.value, previous ? "previous champion " : "the baseline",
             previous ? group.rival : "", (unsigned long long)lost->count, lost->skill.units,
             REGRET_MARGIN, lost->skill.error);
    return true;
}

void api_regret_forget(struct api_services *services, int64_t step_ms)
{
    struct regret *regret = services->regret;
    lock_acquire(&regret->lock);
    for (size_t i = 0; i < regret->count; i++) {
        if (regret->groups[i].step_ms == step_ms) {
            memset(&regret->groups[i], 0, sizeof(regret->groups[i]));
            regret->groups[i].step_ms = step_ms;
        }
    }
    lock_release(&regret->lock);
}
