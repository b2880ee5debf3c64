/* forecastd train: train now, judge and publish; here or, with --url, as a job of a daemon.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/command.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/json_reader.h"
#include "server/http_client.h"
#include "server/scheduler.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define GROUPS_MAX 64
#define POLL_MS    500

struct training {
    const char *url;
    struct http_credentials as;
    int64_t seconds, steps, seed;
    const char *backbone;
    struct config_sources sources;
};

/* ---------------------------------------------------------------- here */

static int train_groups(const struct training *training, struct command_store *store)
{
    int64_t steps_ms[GROUPS_MAX];
    size_t series_counts[GROUPS_MAX], done = 0;
    size_t count = api_groups(store->worker, steps_ms, series_counts, GROUPS_MAX);
    struct train_request request = {
        .seconds = training->seconds > 0 ? (double)training->seconds
                   : training->steps > 0 ? 0
                                         : (double)store->config.seconds_ms / 1e3,
        .steps = (uint64_t)training->steps,
        .seed = training->seed > 0 ? (uint64_t)training->seed : (uint64_t)store->config.seed,
        .lanes = (unsigned)store->config.lanes,
        .memory_max = (size_t)store->config.memory,
        .report = progress_report,
    };
    config_model(&store->config, &request.config);
    for (size_t i = 0; i < count && i < GROUPS_MAX; i++) {
        char label[64];
        struct progress progress;
        struct train_outcome outcome = {0};
        struct error error = {0};
        snprintf(label, sizeof(label), "step %lld s, %zu series", (long long)(steps_ms[i] / 1000),
                 series_counts[i]);
        progress_begin(&progress, label);
        request.report_context = &progress;
        enum status status = train_group(store->worker, store->registry, store->catalogue,
                                         steps_ms[i], &request, &outcome, &error);
        progress_end(&progress);
        if (status != STATUS_OK) {
            fprintf(stderr, "%s: not trained: %s\n", label, error.text);
            continue;
        }
        done++;
        fprintf(stderr, "%s: model %s %s after %.1f s: %s\n", label, outcome.id,
                outcome.promoted ? "published" : "kept back", outcome.seconds, outcome.reason);
    }
    if (count == 0) {
        fputs("forecastd: no series has enough points yet\n", stderr);
    }
    return done > 0 ? EXIT_DONE : EXIT_FAILED;
}

/* ---------------------------------------------------------------- at a daemon */

struct job_answer {
    char id[32], state[16], error[320], result[512];
    struct train_progress progress;
    char phase[48];
};

static bool key_is(const struct json_reader *reader, const char *key)
{
    return reader->text_length == strlen(key) &&
           memcmp(reader->text, key, reader->text_length) == 0;
}

/* Strings and numbers of the object; `result` is kept as text. */
static bool read_job(const struct http_reply *reply, struct job_answer *job)
{
    struct json_reader reader;
    memset(job, 0, sizeof(*job));
    job->progress.loss = (double)NAN;
    json_reader_init(&reader, reply->body, reply->length);
    if (json_next(&reader) != JSON_OBJECT_BEGIN) {
        return false;
    }
    while (json_next(&reader) == JSON_KEY) {
        const struct {
            const char *key;
            char *text;
            size_t capacity;
            double *number;
        } members[] = {
            {"id", job->id, sizeof(job->id), NULL},
            {"state", job->state, sizeof(job->state), NULL},
            {"error", job->error, sizeof(job->error), NULL},
            {"phase", job->phase, sizeof(job->phase), NULL},
            {"progress", NULL, 0, &job->progress.fraction},
            {"loss", NULL, 0, &job->progress.loss},
            {"seconds_left", NULL, 0, &job->progress.seconds_left},
        };
        size_t member = 0;
        while (member < ARRAY_COUNT(members) && !key_is(&reader, members[member].key)) {
            member++;
        }
        bool is_step = key_is(&reader, "step");
        bool is_result = key_is(&reader, "result");
        const char *before = reader.cursor;
        enum json_token token = json_next(&reader);
        if (token == JSON_OBJECT_BEGIN || token == JSON_ARRAY_BEGIN) {
            token = json_skip_value(&reader);
        }
        if (is_result && token == JSON_OBJECT_END) {
            const char *begin = memchr(before, '{', (size_t)(reader.cursor - before));
            snprintf(job->result, sizeof(job->result), "%.*s", (int)(reader.cursor - begin), begin);
        }
        if (is_step && token == JSON_NUMBER) {
            job->progress.step = (uint64_t)reader.number;
        }
        if (token == JSON_BROKEN) {
            return false;
        }
        if (member == ARRAY_COUNT(members)) {
            continue;
        }
        if (members[member].text != NULL && token == JSON_STRING) {
            snprintf(members[member].text, members[member].capacity, "%.*s",
                     (int)reader.text_length, reader.text);
        } else if (members[member].number != NULL && token == JSON_NUMBER) {
            *members[member].number = reader.number;
        }
    }
    job->progress.phase = job->phase;
    return job->id[0] != '\0';
}

static enum status ask_job(const struct http_call *call, struct job_answer *job,
                           struct error *error)
{
    struct http_reply reply = {0};
    enum status status = http_client_call(call, &reply, error);
    if (status == STATUS_OK) {
        status = http_reply_check(&reply, error);
    }
    if (status == STATUS_OK && !read_job(&reply, job)) {
        status = error_set(error, STATUS_IO, "the answer is not a job: %.100s", reply.body);
    }
    http_reply_release(&reply);
    return status;
}

static int train_remote(const struct training *training)
{
    char target[96];
    struct text body;
    struct progress progress;
    struct job_answer job;
    struct error error = {0};
    text_init(&body, 512);
    text_add_char(&body, '{');
    if (training->seconds > 0) {
        text_add_format(&body, "\"seconds\":%lld", (long long)training->seconds);
    }
    if (training->steps > 0) {
        text_add_format(&body, "%s\"steps\":%lld", body.length > 1 ? "," : "",
                        (long long)training->steps);
    }
    if (training->seed > 0) {
        text_add_format(&body, "%s\"seed\":%lld", body.length > 1 ? "," : "",
                        (long long)training->seed);
    }
    if (training->backbone != NULL) {
        text_add_string(&body, body.length > 1 ? ",\"backbone\":" : "\"backbone\":");
        text_add_json_string(&body, training->backbone, strlen(training->backbone));
    }
    text_add_char(&body, '}');
    struct http_call call = {.as = &training->as,
                             .base = training->url,
                             .method = "POST",
                             .target = "/api/v1/train",
                             .content_type = "application/json",
                             .body = body.bytes,
                             .body_length = body.length};
    enum status status = text_status(&body, "the request", &error);
    if (status == STATUS_OK) {
        status = ask_job(&call, &job, &error);
    }
    text_release(&body);
    progress_begin(&progress, "training");
    while (status == STATUS_OK &&
           (strcmp(job.state, "queued") == 0 || strcmp(job.state, "running") == 0)) {
        progress_report(&progress, &job.progress);
        clock_sleep_ms(POLL_MS);
        snprintf(target, sizeof(target), "/api/v1/jobs/%s", job.id);
        call = (struct http_call){
            .as = &training->as, .base = training->url, .method = "GET", .target = target};
        status = ask_job(&call, &job, &error);
    }
    progress_end(&progress);
    if (status != STATUS_OK) {
        return command_fail(&error);
    }
    const char *more = job.error[0] != '\0' ? job.error : job.result;
    fprintf(stderr, "job %s %s%s%s\n", job.id, job.state, more[0] != '\0' ? ": " : "", more);
    return strcmp(job.state, "done") == 0 ? EXIT_DONE : EXIT_FAILED;
}

static const struct command_option options[] = {
    COMMAND_STORE_OPTIONS,
    {"url", "URL", "Let the daemon there train."},
    HTTP_CLIENT_OPTIONS,
    {"seconds", "N", "Train each group for N seconds; default: train.seconds."},
    {"steps", "N", "Train N steps, whatever the time: results can be repeated."},
    {"seed", "N", "Seed of the random numbers; default: train.seed."},
    {"backbone", "NAME", "The network; the same as --set model.backbone=NAME."},
};

int command_train(int argc, char **argv)
{
    struct command_line line = {
        .command = "train",
        .synopsis = "[--data DIR | --url URL] [--seconds N | --steps N]",
        .about = "Trains a model for every group of series, judges it against the champion and the "
                 "best\n"
                 "baseline, and publishes it where it is not worse.",
        .options = options,
        .option_count = ARRAY_COUNT(options),
        .argc = argc,
        .argv = argv,
    };
    struct training training = {0};
    struct command_store store;
    struct error error = {0};
    char backbone[64];
    bool has_data = false;
    for (int word; (word = command_next(&line)) != WORD_END;) {
        if (word == WORD_STOP) {
            return command_exit(&line);
        }
        if (word == WORD_PLAIN) {
            return command_usage(&line, "unexpected argument '%s'", line.value);
        }
        const char *name = options[word].name;
        bool good = true;
        if (strcmp(name, "url") == 0) {
            training.url = line.value;
        } else if (http_credentials_take(&training.as, name, line.value)) {
            continue;
        } else if (strcmp(name, "seconds") == 0) {
            good = command_integer(&line, name, line.value, 1, 604800, &training.seconds);
        } else if (strcmp(name, "steps") == 0) {
            good = command_integer(&line, name, line.value, 1, 10000000, &training.steps);
        } else if (strcmp(name, "seed") == 0) {
            good = command_integer(&line, name, line.value, 1, SEED_MAX, &training.seed);
        } else if (strcmp(name, "backbone") == 0) {
            training.backbone = line.value;
            snprintf(backbone, sizeof(backbone), "model.backbone=%s", line.value);
            command_source(&training.sources, "set", backbone);
        } else {
            has_data = has_data || strcmp(name, "data") == 0;
            good = command_take_source(&line, &training.sources, name) == EXIT_DONE;
        }
        if (!good) {
            return EXIT_USAGE;
        }
    }
    if (training.seconds > 0 && training.steps > 0) {
        return command_usage(&line, "--seconds and --steps exclude each other");
    }
    if (training.url != NULL) {
        return has_data ? command_usage(&line, COMMAND_ONE_PLACE) : train_remote(&training);
    }
    if (training.backbone != NULL && backbone_check(training.backbone, &error) != STATUS_OK) {
        return command_usage(&line, "option '--backbone': %s\n%s", error.text, error.hint);
    }
    if (command_store_open(&store, &training.sources, STORE_CHANGE, &error) != STATUS_OK) {
        return command_fail(&error);
    }
    int code = train_groups(&training, &store);
    command_store_close(&store);
    return code;
}
