/* A closed-loop HTTP/1.1 load client over loopback: keep-alive connections in one epoll loop.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each connection sends its next request when the answer to the last one is complete. Bounded in
 * time and count, loopback only. One thread; latencies of up to 4 million requests are kept.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct load_options {
    int port;
    size_t connections;
    double seconds;        /* stop then; 0 = by count only */
    uint64_t requests_max; /* stop then; 0 = by time only */
    /* The bytes of request `number` (counted over all connections); they must stay valid until the
     * next call for the same connection. 0: this connection has nothing more to send. */
    size_t (*make)(void *context, size_t connection, uint64_t number, const char **bytes);
    void *context;
};

struct load_result {
    uint64_t requests, refused; /* refused: any status but 2xx */
    int first_refusal;          /* its status; 0 where there was none */
    double seconds, p50_ms, p99_ms, max_ms;
    uint64_t body_bytes; /* of the last answer */
};

/* Reads answers with a Content-Length and chunked ones whose content has no CR LF (JSON, CSV of
 * other servers). Exits the program with a message where the server cannot be reached or closes a
 * connection. */
struct load_result load_run(const struct load_options *options);

/* One request, its whole answer (body only) copied to `body`; returns the HTTP status. */
int load_request(int port, const char *method, const char *target, const char *content_type,
                 const char *content, size_t content_length, char *body, size_t body_capacity,
                 size_t *body_length);

/* A daemon of this build on a free loopback port with `data` as its folder; waits until it answers.
 * `arguments`: further --set options, NULL-terminated, or NULL. */
struct bench_daemon {
    pid_t pid;
    int port;
    double start_ms; /* from fork to the first answer of /healthz */
};
struct bench_daemon bench_daemon_start(const char *program, const char *data,
                                       const char *const *arguments);
void bench_daemon_stop(struct bench_daemon *daemon);

/* Resident memory of a process now and at its peak, MB (10^6 bytes). */
double bench_resident_mb(pid_t pid, int peak);

double bench_seconds(void); /* monotonic */

/* "name value unit (note)": the one form of every figure that `make bench` prints. */
void bench_print(const char *name, double value, const char *unit, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* A fresh folder under $TMPDIR (default /tmp), and its removal with everything inside. */
void bench_folder(char path[256]);
void bench_folder_remove(const char *path);
uint64_t bench_folder_bytes(const char *path);

#endif
