/* Listening, connections and their deadlines, start and stop of the HTTP port.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The table of connections is a list under one lock, taken when a client connects, when it leaves
 * and by the sweep; requests do not touch it. A socket in the list is open: the library reports a
 * connection as closed before it closes the descriptor.
 */
#include "server/http_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "server/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECOND_NS          INT64_C(1000000000)
#define HEAD_SECONDS       10
#define REQUEST_SECONDS    60
#define IDLE_SECONDS       65
#define RATE_AFTER_SECONDS 10
#define RATE_BYTES         1000 /* a second, for bodies and for answers */
#define LIBRARY_SECONDS    120U /* without a byte: behind what the sweep allows between requests */
#define LINGER_SECONDS     2
#define SWEEP_SLICE        64
#define SWEEP_PAUSE_MS     1
#define POOL_BYTES         ((size_t)7 << 10) /* head and body window of a connection */
#define BODIES_MIN         ((size_t)64 << 20)

/* ---------------------------------------------------------------- callbacks of the library */

static struct client *client_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

static struct client *client_new(struct http *http, struct MHD_Connection *connection)
{
    struct client *client = mem_zeroed(1, sizeof(*client));
    if (client == NULL) {
        return NULL; /* its requests are refused */
    }
    client->http = http;
    client->connection = connection;
    client->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    client->since_ns = clock_monotonic_ns();
    atomic_fetch_add(&http->connections, 1);
    lock_acquire(&http->lock);
    client->next = http->clients;
    if (http->clients != NULL) {
        http->clients->previous = client;
    }
    http->clients = client;
    lock_release(&http->lock);
    return client;
}

static void client_free(struct client *client)
{
    struct http *http = client->http;
    lock_acquire(&http->lock);
    http->sweeping = http->sweeping == client ? client->next : http->sweeping;
    if (client->previous != NULL) {
        client->previous->next = client->next;
    } else {
        http->clients = client->next;
    }
    if (client->next != NULL) {
        client->next->previous = client->previous;
    }
    lock_release(&http->lock);
    atomic_fetch_sub(&http->connections, 1);
    int phase = atomic_load(&client->phase);
    if (phase != PHASE_NEW && phase != PHASE_IDLE) {
        exchange_end(client->exchange); /* the library gave a request up without a word */
    }
    exchange_release(client->exchange);
    mem_free(client);
}

static void connection_changed(void *context, struct MHD_Connection *connection,
                               void **socket_context, enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *socket_context = client_new(context, connection);
    } else if (*socket_context != NULL) {
        client_free(*socket_context);
        *socket_context = NULL;
    }
}

/* The URI lies in the connection's own buffer, and we keep a copy. The library would next split the
 * query into arguments that nobody reads, each with room in the pool, and a few hundred of them
 * leave a request that is neither answered nor ended: so it finds an empty query. */
static void *request_line(void *context, const char *uri, struct MHD_Connection *connection)
{
    struct client *client = client_of(connection);
    (void)context;
    struct exchange *exchange = client != NULL ? exchange_head(client, uri) : NULL;
    char *mark = exchange != NULL ? strchr(uri, '?') : NULL;
    if (mark != NULL) {
        mark[1] = '\0';
    }
    return exchange;
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *bytes,
                              size_t *length, void **request)
{
    (void)context;
    (void)connection;
    (void)url;
    if (*request == NULL) {
        return MHD_NO;
    }
    return exchange_step(*request, method, version, bytes, length) ? MHD_YES : MHD_NO;
}

static void request_over(void *context, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode code)
{
    (void)context;
    (void)connection;
    (void)code;
    if (*request != NULL) {
        exchange_end(*request);
        *request = NULL;
    }
}

/* Paths are handed on percent-encoded, so the library's decoder is replaced by nothing. */
static size_t keep_encoded(void *context, struct MHD_Connection *connection, char *text)
{
    (void)context;
    (void)connection;
    return strlen(text);
}

static void library_log(void *context, const char *format, va_list list)
    __attribute__((format(printf, 2, 0)));

static void library_log(void *context, const char *format, va_list list)
{
    char line[300], quoted[640];
    (void)context;
    vsnprintf(line, sizeof(line), format, list);
    log_debug("http", "libmicrohttpd", "text=%s",
              log_quote(line, strcspn(line, "\n"), quoted, sizeof(quoted)));
}

/* ---------------------------------------------------------------- deadlines */

/* Whether something came that the network thread has not read yet. */
static bool has_unread(const struct client *client)
{
    int count = 0;
    return ioctl(client->fd, FIONREAD, &count) == 0 && count > 0;
}

static bool too_old(const struct client *client, enum phase phase, int64_t age)
{
    /* Whoever sees bytes of a later request sees its moment afterwards. */
    uint64_t received = atomic_load_explicit(&client->body_received, memory_order_acquire);
    uint64_t to_send = atomic_load_explicit(&client->answer_bytes, memory_order_acquire);
    switch (phase) {
    case PHASE_NEW:
    case PHASE_HEAD:
        return age >= HEAD_SECONDS;
    case PHASE_BODY:
        return age >= REQUEST_SECONDS ||
               (age >= RATE_AFTER_SECONDS && (int64_t)received / RATE_BYTES < age);
    case PHASE_WRITING:
        return age >= REQUEST_SECONDS + (int64_t)to_send / RATE_BYTES;
    case PHASE_IDLE:
        /* A request that came just in time is not lost for its client. */
        return age >= IDLE_SECONDS && !has_unread(client);
    case PHASE_WORKING:
        break;
    }
    return false;
}

/* The network thread goes on meanwhile: it stores the moment, then the phase. So the phase is
 * loaded first, and with it comes its own moment or a later one; the other way round a head that
 * has just begun could be as old as the silence before it. Where the moment has changed in the end,
 * the client has moved on, and bytes may be those of its next request: the next sweep looks again.
 */
static bool beyond_deadline(const struct client *client, int64_t now_ns)
{
    enum phase phase = (enum phase)atomic_load_explicit(&client->phase, memory_order_acquire);
    int64_t since_ns = atomic_load_explicit(&client->since_ns, memory_order_relaxed);
    return too_old(client, phase, (now_ns - since_ns) / SECOND_NS) &&
           atomic_load_explicit(&client->since_ns, memory_order_relaxed) == since_ns;
}

void http_linger(struct http *http, int fd)
{
    lock_acquire(&http->lock);
    if (http->linger_count < LINGER_MAX) {
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (copy >= 0) {
            shutdown(copy, SHUT_WR);
            http->lingering[http->linger_count++] = (struct lingering){
                .fd = copy, .until_ns = clock_monotonic_ns() + LINGER_SECONDS * SECOND_NS};
        }
    }
    lock_release(&http->lock);
}

/* Reads and drops what a refused client still sends; closes where it has ended or the time is over.
 */
static void sweep_lingering(struct http *http, int64_t now_ns)
{
    char dropped[4096];
    size_t kept = 0;
    for (size_t i = 0; i < http->linger_count; i++) {
        struct lingering *linger = &http->lingering[i];
        ssize_t got;
        while ((got = recv(linger->fd, dropped, sizeof(dropped), MSG_DONTWAIT)) > 0 &&
               linger->received < DRAIN_BYTES_MAX) {
            linger->received += (size_t)got;
        }
        bool waiting = got < 0 && (errno == EAGAIN || errno == EINTR);
        if (waiting && now_ns < linger->until_ns) {
            http->lingering[kept++] = *linger;
        } else {
            close(linger->fd);
        }
    }
    http->linger_count = kept;
}

/* Shuts at most SWEEP_SLICE sockets; true where the sweep is not at the end. Under the lock. */
static bool sweep_slice(struct http *http, int64_t now_ns, size_t *cut)
{
    size_t slice = 0;
    while (http->sweeping != NULL && slice < SWEEP_SLICE) {
        struct client *client = http->sweeping;
        http->sweeping = client->next;
        if (beyond_deadline(client, now_ns)) {
            shutdown(client->fd, SHUT_RDWR);
            slice++;
        }
    }
    *cut += slice;
    return http->sweeping != NULL;
}

/* Thousands of clients may be due at once, and the network thread needs the lock and the time to
 * close them: so the sweep lets it go between slices. */
size_t http_sweep(struct http *http, int64_t now_ns)
{
    size_t cut = 0;
    bool more = true;
    lock_acquire(&http->lock);
    http->sweeping = http->clients;
    while (more) {
        more = sweep_slice(http, now_ns, &cut);
        if (more) {
            lock_release(&http->lock);
            clock_sleep_ms(SWEEP_PAUSE_MS);
            lock_acquire(&http->lock);
        }
    }
    sweep_lingering(http, now_ns);
    lock_release(&http->lock);
    atomic_fetch_add(&http->cut, cut);
    return cut;
}

/* Shuts clients that are between requests, or all but those that wait for an answer of ours. */
static void cut_clients(struct http *http, bool idle_only)
{
    lock_acquire(&http->lock);
    for (struct client *client = http->clients; client != NULL; client = client->next) {
        int phase = atomic_load(&client->phase);
        bool idle = phase == PHASE_IDLE || phase == PHASE_NEW;
        if (idle || (!idle_only && phase != PHASE_WORKING)) {
            shutdown(client->fd, SHUT_RDWR);
        }
    }
    lock_release(&http->lock);
}

/* ---------------------------------------------------------------- start and stop */

static void http_free(struct http *http)
{
    workers_stop(http->workers);
    if (http->listen_fd >= 0) {
        close(http->listen_fd);
    }
    turns_stop(&http->turns);
    turns_release(&http->turns);
    lock_release_memory(&http->lock);
    mem_free(http);
}

/* Options that only TLS has; an array ends with MHD_OPTION_END. */
static struct MHD_Daemon *start_library(struct http *http, const struct http_options *options)
{
    unsigned int flags =
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_PRIORITIES},
        {MHD_OPTION_HTTPS_CERT_CALLBACK, 0, tls_retrieve_callback()},
        {MHD_OPTION_END, 0, NULL},
    };
    struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    return MHD_start_daemon(
        flags | (http->tls ? MHD_USE_TLS : 0u), 0, NULL, NULL, handle, http,
        MHD_OPTION_EXTERNAL_LOGGER, library_log, NULL, MHD_OPTION_ARRAY, http->tls ? tls : none,
        MHD_OPTION_LISTEN_SOCKET, http->listen_fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned int)options->connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        (unsigned int)options->connections_per_address, MHD_OPTION_CONNECTION_TIMEOUT,
        LIBRARY_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, POOL_BYTES,
        MHD_OPTION_THREAD_STACK_SIZE, (size_t)1 << 20, MHD_OPTION_NOTIFY_CONNECTION,
        connection_changed, http, MHD_OPTION_NOTIFY_COMPLETED, request_over, http,
        MHD_OPTION_URI_LOG_CALLBACK, request_line, http, MHD_OPTION_UNESCAPE_CALLBACK, keep_encoded,
        http, MHD_OPTION_END);
}

enum status http_start(const struct http_options *options, struct http **out, struct error *error)
{
    struct http *http = mem_zeroed(1, sizeof(*http));
    if (http == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not start the HTTP port: out of memory");
    }
    lock_init(&http->lock);
    turns_init(&http->turns);
    http->listen_fd = -1;
    http->services = options->services;
    http->probes = options->probes;
    http->tls = options->tls;
    http->audit = options->audit;
    snprintf(http->hosts, sizeof(http->hosts), "%s", options->hosts != NULL ? options->hosts : "");
    random_secret(&http->id_prefix, sizeof(http->id_prefix));
    size_t body_max = atomic_load(&options->services->limits)->body_max;
    http->body_bytes_max = body_max * 4 > BODIES_MIN ? body_max * 4 : BODIES_MIN;
    enum status status = http_listen(http, options, error);
    if (status == STATUS_OK && !options->probes) {
        size_t most = options->bodies_waiting_max ? options->bodies_waiting_max : 1024;
        status = turns_start(&http->turns, most, error);
    }
    if (status == STATUS_OK && !options->probes) {
        status = workers_start(options->services, options->worker_count ? options->worker_count : 2,
                               options->worker_queue_max ? options->worker_queue_max : 256,
                               exchange_run, &http->workers, error);
    }
    if (status != STATUS_OK) {
        http_free(http);
        return status;
    }
    http->daemon = start_library(http, options);
    if (http->daemon == NULL) {
        http_free(http);
        return error_set(error, STATUS_IO, "could not start the HTTP port on '%s'",
                         options->listen);
    }
    *out = http;
    return STATUS_OK;
}

int http_port(const struct http *http)
{
    return http->port;
}

bool http_is_loopback(const struct http *http)
{
    return http->loopback;
}

void http_stats(struct http *http, struct http_stats *stats)
{
    stats->connections = atomic_load(&http->connections);
    stats->active = atomic_load(&http->active);
    stats->cut = atomic_load(&http->cut);
    stats->refused_busy = atomic_load(&http->refused_busy);
    stats->waiting = http->workers != NULL ? workers_waiting(http->workers) : 0;
}

static int64_t passed_ms(int64_t begin_ns)
{
    return (clock_monotonic_ns() - begin_ns) / (SECOND_NS / 1000);
}

void http_stop(struct http *http, int64_t grace_ms)
{
    const int64_t complain_ms = 2000;
    MHD_quiesce_daemon(http->daemon); /* the descriptor is ours again: http_free closes it */
    /* By the clock: on a busy machine a nap of 5 ms may take 20. */
    int64_t begin_ns = clock_monotonic_ns();
    while (atomic_load(&http->active) > 0 && passed_ms(begin_ns) < grace_ms) {
        cut_clients(http, true);
        clock_sleep_ms(5);
    }
    /* What is still with a worker or the writer must be resumed, and they be out of the library,
     * before it may stop, and a kept-alive connection must not begin another request in between:
     * it counts as active before it looks at `closing`, so after this either it is seen below or it
     * sees the flag. */
    atomic_store(&http->closing, true);
    turns_stop(&http->turns);
    begin_ns = clock_monotonic_ns();
    bool told = false; /* `active` is read first: after it nobody begins to resume */
    while (atomic_load(&http->active) > 0 || atomic_load(&http->resuming) > 0) {
        cut_clients(http, false);
        clock_sleep_ms(5);
        if (!told && passed_ms(begin_ns) >= complain_ms) {
            told = true;
            log_warning("http", "requests still wait for the disk", "count=%zu",
                        atomic_load(&http->active));
        }
    }
    workers_stop(http->workers);
    http->workers = NULL;
    MHD_stop_daemon(http->daemon);
    lock_acquire(&http->lock);
    sweep_lingering(http, INT64_MAX);
    lock_release(&http->lock);
    http_free(http);
}
