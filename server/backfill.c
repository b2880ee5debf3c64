/* The run of a backfill: windows in order of time, every query in each, with patience.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A server that is busy or away (no answer, 429, 5xx) is asked again after 0.5, 1, 2 ... seconds,
 * at most half a minute, or when it said so (Retry-After). An answer that would be too large makes
 * the window half as long.
 */
#include "server/backfill.h"

#include "base/clock.h"
#include "base/memory.h"
#include "server/backfill_window.h"
#include "server/fetch.h"

#include <stdio.h>
#include <string.h>

#define ANSWER_BYTES_MAX ((size_t)64 << 20)
#define CALL_MS          120000
#define TRIES            8
#define WAIT_MS_FIRST    500
#define WAIT_MS_MAX      30000
#define RETRY_MS_MAX     120000
#define RAW_UNIT_MS      60000

enum outcome { ANSWERED, TOO_MUCH, FAILED };

struct backfill {
    struct backfill_source *source;
    struct import_target *target;
    struct fetch *fetch;
    struct neighbour_answer answer;
    struct backfill_windows windows;
    struct progress progress;
    bool warned;
    bool heard; /* the server has answered something: it exists */
};

static enum status take_points(void *context, const char *series, size_t length,
                               const struct point *points, size_t count, struct error *error)
{
    struct import_target *target = context;
    return import_target_add(target, (struct slice){series, length}, points, count, error);
}

/* ---------------------------------------------------------------- one query in one window */

/* Whether the server means: less at once. Prometheus says 422 for too many samples and 503 where
 * its own time is over; proxies say 413. */
static bool means_too_much(int http, const char *words)
{
    return http == 413 || (http == 422 && strstr(words, "too many samples") != NULL) ||
           (http == 503 && strstr(words, "timed out") != NULL);
}

/* The answer of one request, asked for again while the server is away or busy. */
static enum outcome call_patiently(struct backfill *backfill, const struct backfill_request *what,
                                   struct fetch_reply *reply, struct error *error)
{
    const struct backfill_source *source = backfill->source;
    struct fetch_request request = {
        .url = what->url.bytes,
        .headers = source->headers.bytes,
        .user = source->user[0] != '\0' ? source->user : NULL,
        .ca_file = source->ca_file,
        .content_type = what->content_type,
        .body = what->body.bytes,
        .body_length = what->body.length,
        .proxy_from_environment = true,
        .timeout_ms = CALL_MS,
        .answer_max = ANSWER_BYTES_MAX,
    };
    int64_t wait_ms = WAIT_MS_FIRST;
    for (int tries = 1;; tries++) {
        char words[200] = "";
        enum status status = fetch_call(backfill->fetch, &request, reply, error);
        bool existed = backfill->heard;
        backfill->heard |= status == STATUS_OK;
        if (status == STATUS_OK && reply->status == 200) {
            return ANSWERED;
        }
        int64_t asked_ms = status == STATUS_OK ? reply->retry_after_ms : 0;
        bool again = existed && (status == STATUS_IO || status == STATUS_TIMEOUT);
        if (status == STATUS_OK) {
            const struct text *body = &reply->body;
            backfill_server_words(body->bytes != NULL ? body->bytes : "", body->length, words);
            again = reply->status == 429 || reply->status >= 500;
            error_set(error, STATUS_IO, "the server answered %d: %s", reply->status,
                      words[0] != '\0' ? words : "no reason given");
        }
        bool too_much = status == STATUS_TOO_LARGE || means_too_much(reply->status, words);
        fetch_reply_release(reply);
        if (too_much) {
            return TOO_MUCH;
        }
        if (!again || tries == TRIES) {
            return FAILED;
        }
        int64_t pause_ms = asked_ms > wait_ms ? asked_ms : wait_ms;
        pause_ms = pause_ms < RETRY_MS_MAX ? pause_ms : RETRY_MS_MAX;
        progress_end(&backfill->progress);
        fprintf(stderr, "forecastd: %s; trying again in %.1f s\n", error->text,
                (double)pause_ms / 1e3);
        clock_sleep_ms(pause_ms);
        wait_ms = wait_ms * 2 < WAIT_MS_MAX ? wait_ms * 2 : WAIT_MS_MAX;
    }
}

static enum status read_answer(struct backfill *backfill, struct text *body, struct error *error)
{
    struct neighbour_answer *answer = &backfill->answer;
    const char *bytes = body->bytes != NULL ? body->bytes : "";
    switch (backfill->source->kind) {
    case NEIGHBOUR_PROMETHEUS:
        return neighbour_read_prometheus(bytes, body->length, answer, error);
    case NEIGHBOUR_INFLUXQL:
        return neighbour_read_influxql(bytes, body->length, answer, error);
    case NEIGHBOUR_FLUX:
        return body->bytes != NULL ? neighbour_read_flux(body->bytes, body->length, answer, error)
                                   : STATUS_OK;
    }
    return STATUS_OK;
}

static enum outcome fetch_query(struct backfill *backfill, size_t query, const int64_t window[2],
                                size_t *bytes, struct error *error)
{
    struct backfill_request request = {0};
    struct fetch_reply reply = {0};
    enum status status = backfill_request_make(backfill->source, query, window, &request, error);
    enum outcome outcome =
        status == STATUS_OK ? call_patiently(backfill, &request, &reply, error) : FAILED;
    if (outcome == ANSWERED) {
        *bytes = reply.body.length > *bytes ? reply.body.length : *bytes;
        status = read_answer(backfill, &reply.body, error);
        outcome = status == STATUS_OK ? ANSWERED : FAILED;
        fetch_reply_release(&reply);
    }
    backfill_request_release(&request);
    return outcome;
}

/* ---------------------------------------------------------------- all windows */

static void show(struct backfill *backfill, int64_t from_ms)
{
    char note[120], time[32];
    const struct backfill_windows *windows = &backfill->windows;
    clock_format(from_ms, time);
    snprintf(note, sizeof(note), "%s  %llu points", time,
             (unsigned long long)backfill->answer.points);
    progress_show(&backfill->progress,
                  (double)(from_ms - windows->start_ms) /
                      (double)(windows->end_ms - windows->start_ms),
                  note);
    if (backfill->answer.warning[0] != '\0' && !backfill->warned) {
        backfill->warned = true;
        progress_end(&backfill->progress);
        fprintf(stderr, "forecastd: the server warns: %s\n", backfill->answer.warning);
    }
}

static enum status run_windows(struct backfill *backfill, struct error *error)
{
    int64_t window[2];
    while (backfill_windows_next(&backfill->windows, &window[0], &window[1])) {
        enum outcome outcome = ANSWERED;
        size_t bytes = 0;
        show(backfill, window[0]);
        for (size_t i = 0; i < backfill->source->query_count && outcome == ANSWERED; i++) {
            outcome = fetch_query(backfill, i, window, &bytes, error);
        }
        if (outcome == TOO_MUCH && backfill_windows_shrink(&backfill->windows)) {
            continue; /* queries before this one are asked again: storing twice changes nothing */
        }
        if (outcome != ANSWERED) {
            return error->status;
        }
        enum status status = import_target_flush(backfill->target, error);
        if (status != STATUS_OK) {
            return status;
        }
        backfill_windows_done(&backfill->windows, bytes);
    }
    return STATUS_OK;
}

static void report(const struct backfill *backfill, bool whole)
{
    const struct neighbour_answer *answer = &backfill->answer;
    if (answer->missing > 0 || answer->skipped > 0) {
        fprintf(stderr, "%llu values were missing, %llu were no finite numbers\n",
                (unsigned long long)answer->missing, (unsigned long long)answer->skipped);
    }
    if (answer->refused_series > 0) {
        fprintf(stderr, "forecastd: %llu times a series was left out: %s\n",
                (unsigned long long)answer->refused_series, answer->refusal.text);
        if (answer->refusal.hint[0] != '\0') {
            fprintf(stderr, "%s\n", answer->refusal.hint);
        }
    }
    if (whole && answer->points == 0) {
        fprintf(stderr, "forecastd: the server has no points for this\n");
    }
}

enum status backfill_run(struct backfill_source *source, struct import_target *target,
                         struct error *error)
{
    struct backfill backfill = {.source = source, .target = target};
    backfill.answer.name = source->name;
    backfill.answer.column_prefix = source->column_prefix;
    backfill.answer.take = take_points;
    backfill.answer.context = target;
    enum status status = fetch_new(&backfill.fetch, error);
    if (status != STATUS_OK) {
        return status;
    }
    backfill_windows_init(&backfill.windows, source->start_ms, source->end_ms,
                          source->step_ms > 0 ? source->step_ms : RAW_UNIT_MS);
    progress_begin(&backfill.progress, source->url);
    status = run_windows(&backfill, error);
    progress_end(&backfill.progress);
    report(&backfill, status == STATUS_OK);
    target->rejected += backfill.answer.refused_series;
    if (status != STATUS_OK) {
        char time[32];
        clock_format(backfill.windows.at_ms, time);
        error_wrap(error, "%s", source->url);
        if (error->hint[0] == '\0' && backfill.windows.at_ms > source->start_ms) {
            error_hint(error, "Everything before %s is stored; go on with --start %s.", time, time);
        }
    }
    fetch_free(backfill.fetch);
    return status;
}
