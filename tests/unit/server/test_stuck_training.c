/* A training that hears nothing any more: it is given up and said to be, serving goes on, and the
 * daemon stops in time. SPDX-License-Identifier: Apache-2.0
 *
 * Whatever trains looks at the clock now and then; here that look lasts until the test lets it end.
 */
#include "api/jobs.h"
#include "base/clock.h"
#include "server/daemon.h"
#include "server/http_client.h"
#include "tests/unit/server/waves.h"
#include "tests/watched.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { OVERDUE_MS = 3600000, STOP_MS = 9000, WAIT_MS = 60000, READINGS = 1000 };

/* ---------------------------------------------------------------- the clock that stands still */

struct hold {
    atomic_bool on;
    atomic_uint held; /* looks that last */
    atomic_int_fast64_t ahead_ns;
};

static struct hold *hold; /* of this process and its child */

/* The scheduler's thread, or one that it started. */
static bool trains(void)
{
    char name[16] = "";
    return pthread_getname_np(pthread_self(), name, sizeof(name)) == 0 &&
           strcmp(name, "scheduler") == 0;
}

static int64_t held_clock(void)
{
    struct timespec now, moment = {.tv_nsec = 5000000};
    if (atomic_load(&hold->on) && trains()) {
        atomic_fetch_add(&hold->held, 1);
        while (atomic_load(&hold->on)) {
            nanosleep(&moment, NULL);
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec + atomic_load(&hold->ahead_ns);
}

/* Once it makes steps: before, the clock is also asked by whoever watches it. */
static void hold_training(void)
{
    atomic_store(&hold->held, 0);
    atomic_store(&hold->on, true);
    for (int ms = 0; atomic_load(&hold->held) == 0; ms += 5) {
        assert_true(ms < WAIT_MS);
        clock_sleep_ms(5);
    }
}

/* ---------------------------------------------------------------- the daemon */

static char folder[] = "/tmp/forecastd-stuck-XXXXXX";
static char base[64];
static pid_t child;

static int ask(const char *method, const char *target, const char *body, struct http_reply *reply)
{
    struct error error = {0};
    struct http_call call = {.base = base,
                             .method = method,
                             .target = target,
                             .content_type = body != NULL ? "application/json" : NULL,
                             .body = body,
                             .body_length = body != NULL ? strlen(body) : 0};
    return http_client_call(&call, reply, &error) == STATUS_OK ? reply->status : 0;
}

static bool answers(const char *method, const char *target, const char *body, int status,
                    const char *part)
{
    struct http_reply reply = {0};
    bool good = ask(method, target, body, &reply) == status &&
                (part == NULL || strstr(reply.body, part) != NULL);
    http_reply_release(&reply);
    return good;
}

/* The answer has this part, or has it no more. */
static void wait_until_it_answers(const char *target, const char *part, bool has)
{
    for (int ms = 0; answers("GET", target, NULL, 200, part) != has; ms += 20) {
        assert_true(ms < WAIT_MS);
        clock_sleep_ms(20);
    }
}

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void start_daemon(void)
{
    static struct config config;
    char path[64], listen[64];
    struct error error = {0};
    struct config_sources sources = {.sets = {path, listen, "log.level=error"}, .set_count = 3};
    int port = free_port();
    snprintf(path, sizeof(path), "storage.path=%s/data", folder);
    snprintf(listen, sizeof(listen), "server.listen=127.0.0.1:%d", port);
    snprintf(base, sizeof(base), "http://127.0.0.1:%d", port);
    assert_int_equal(config_load(&sources, &config, &error), STATUS_OK);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct daemon_options options = {.config = &config};
        clock_monotonic_replace(held_clock);
        watched_exit(daemon_run(&options, &sources));
    }
}

static void send_readings(void)
{
    static char body[65536];
    int64_t now_ms = clock_wall_ms() / 60000 * 60000;
    size_t length = (size_t)snprintf(body, sizeof(body), "{\"series\":\"live\",\"points\":[");
    for (int i = 0; i < READINGS; i++) {
        length +=
            (size_t)snprintf(body + length, sizeof(body) - length, "%s[%lld,%d]", i ? "," : "",
                             (long long)now_ms - (READINGS - i) * 60000LL, i % 10);
    }
    snprintf(body + length, sizeof(body) - length, "]}");
    assert_true(answers("POST", "/api/v1/points", body, 200, NULL));
}

static uint64_t readings_on_disk(void)
{
    char url[96];
    struct error error = {0};
    struct storage *storage = NULL;
    struct storage_options options = {.url = url};
    struct storage_stats stats;
    snprintf(url, sizeof(url), "sqlite:%s/data", folder);
    assert_int_equal(storage_open(&options, &storage, &error), STATUS_OK);
    storage_stats(storage, &stats);
    storage_close(storage);
    return stats.points;
}

/* It answers while the training hangs, is told to stop, and leaves the training behind. */
static void the_daemon_stops_in_time(void **state)
{
    int status;
    (void)state;
    start_daemon();
    wait_until_it_answers("/readyz", NULL, true);
    send_readings();
    assert_true(answers("POST", "/api/v1/train", "{\"seconds\":3600}", 202, NULL));
    wait_until_it_answers("/api/v1/status", "\"training\":{\"state\":\"running\"", true);
    wait_until_it_answers("/api/v1/status", "\"step\":0,", false);
    hold_training();
    assert_true(answers("GET", "/api/v1/forecast?series=live", NULL, 200, "\"mean\":["));
    assert_true(answers("POST", "/api/v1/points", "{\"series\":\"live\",\"value\":3}", 200, NULL));
    int64_t begin_ns = clock_monotonic_ns();
    kill(child, SIGTERM);
    assert_int_equal(waitpid(child, &status, 0), child);
    child = 0;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_true(clock_monotonic_ns() - begin_ns < STOP_MS * INT64_C(1000000));
    assert_int_equal(readings_on_disk(), READINGS + 1);
    atomic_store(&hold->on, false);
}

static int end_daemon(void **state)
{
    char command[128];
    (void)state;
    if (child > 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

/* ---------------------------------------------------------------- the scheduler */

static struct scheduler *start(void)
{
    struct scheduler *scheduler = NULL;
    struct error error = {0};
    struct scheduler_options options = {.services = &services,
                                        .catalogue = catalogue,
                                        .settings = {.every_ms = 86400000,
                                                     .seconds = 1,
                                                     .seed = 1,
                                                     .lanes = 1,
                                                     .overdue_ms = OVERDUE_MS,
                                                     .grace_ms = 50,
                                                     .first_delay_ms = 86400000}};
    assert_int_equal(scheduler_start(&options, &scheduler, &error), STATUS_OK);
    return scheduler;
}

/* Waits until the scheduler is stuck, or not any more. */
static void wait_until_stuck(struct scheduler *scheduler, bool stuck)
{
    struct scheduler_stats stats = {.stuck = !stuck};
    for (int ms = 0; stats.stuck != stuck; ms += 5) {
        assert_true(ms < WAIT_MS);
        clock_sleep_ms(5);
        scheduler_stats(scheduler, &stats);
    }
}

/* A running one has made a step, too. */
static void wait_for_state(const char *id, enum job_state wanted)
{
    static struct job_view view;
    view.state = JOB_QUEUED;
    for (int ms = 0; view.state != wanted || (wanted == JOB_RUNNING && view.step == 0); ms += 5) {
        assert_true(ms < WAIT_MS);
        clock_sleep_ms(5);
        assert_true(job_find(services.jobs, id, &view));
        job_view_release(&view);
    }
}

static void metrics_must_have(const char *line)
{
    struct api_response response = {0};
    struct api_request request = {
        .path = "/metrics", .query = "", .content_type = "", .response = &response};
    assert_int_equal(api_begin(&services, &request, 0, &response), API_DECLINED);
    assert_int_equal(api_fast(&services, &request, &response), API_DONE);
    assert_int_equal(response.status, 200);
    assert_non_null(memmem(response.body, response.body_length, line, strlen(line)));
    api_response_release(&response);
}

/* And said to be, as long as it still does not end. */
static void must_be_given_up(const char *id, bool still)
{
    static struct job_view view;
    metrics_must_have(still ? "\nforecastd_jobs_stuck 1\n" : "\nforecastd_jobs_stuck 0\n");
    assert_true(job_find(services.jobs, id, &view));
    job_view_release(&view);
    assert_int_equal(view.state, JOB_FAILED);
    assert_non_null(strstr(view.error, "given up: it does not stop"));
    assert_int_equal(view.given_up, still);
}

/* Told by the watchdog, or by somebody who cancels the job. */
static void it_is_given_up(bool by_request)
{
    struct error error = {0};
    struct job endless = {.kind = "train", .steps = 2000000000};
    struct job next = {.kind = "train", .steps = 2};
    struct scheduler_stats stats;
    char id[48];
    waves_close(); /* a closed job table takes no more */
    waves_open();
    struct scheduler *scheduler = start();
    assert_int_equal(job_add(services.jobs, &endless, &error), STATUS_OK);
    wait_for_state(endless.id, JOB_RUNNING);
    hold_training();
    if (by_request) {
        assert_int_equal(job_cancel(services.jobs, endless.id, &error), STATUS_OK);
    } else {
        atomic_fetch_add(&hold->ahead_ns, 2 * OVERDUE_MS * INT64_C(1000000));
    }
    wait_until_stuck(scheduler, true);
    must_be_given_up(endless.id, true);
    scheduler_stats(scheduler, &stats);
    assert_int_equal(stats.failed, 1);
    assert_string_equal(champion_id(id), "1h-1"); /* serves */
    assert_int_equal(job_add(services.jobs, &next, &error), STATUS_OK);
    atomic_store(&hold->on, false); /* it hears again, and ends: the job has failed all the same */
    wait_until_stuck(scheduler, false);
    wait_for_state(next.id, JOB_DONE);
    must_be_given_up(endless.id, false);
    scheduler_stats(scheduler, &stats);
    assert_int_equal(stats.failed, 1);
    assert_int_equal(stats.trained, 1);
    scheduler_stop(scheduler);
}

static void it_is_given_up_when_overdue(void **state)
{
    char id[48];
    (void)state;
    admit(1, true, id);
    clock_monotonic_replace(held_clock);
    it_is_given_up(false);
}

static void it_is_given_up_when_cancelled(void **state)
{
    (void)state;
    it_is_given_up(true);
    clock_monotonic_replace(NULL);
}

int main(void)
{
    const struct CMUnitTest daemon[] = {
        cmocka_unit_test(the_daemon_stops_in_time), /* first: it forks before there are threads */
    };
    const struct CMUnitTest scheduler[] = {
        cmocka_unit_test(it_is_given_up_when_overdue),
        cmocka_unit_test(it_is_given_up_when_cancelled),
    };
    hold = mmap(NULL, sizeof(*hold), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (hold == MAP_FAILED || mkdtemp(folder) == NULL) {
        return 1;
    }
    int failed = cmocka_run_group_tests(daemon, NULL, end_daemon);
    return cmocka_run_group_tests(scheduler, waves_prepare, waves_clean_up) + failed;
}
