/* One request: head checked, body collected, answered from memory or by a worker.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Handing over and resuming. Suspending costs two system calls, so a request is only suspended once
 * it is clear that it must wait, which is after the work was handed over; the answer may then be
 * ready before the connection is suspended. One atomic word decides who resumes:
 *
 *     network thread                              worker or writer
 *     handoff = RUNNING                           ... fills the response
 *     submit the work                             old = exchange(handoff, READY)
 *     READY already? answer at once               old == SUSPENDED: resume the connection
 *     suspend the connection
 *     RUNNING -> SUSPENDED by compare-exchange
 *     failed: it is READY, so resume it ourselves
 *
 * Exactly one side resumes. The other side does not touch the exchange after its step: once READY
 * is set by the worker the network thread may already be answering.
 *
 * A refused body of up to 1 MiB is read and dropped, then answered as usual and the connection
 * lives on. Beyond that, or where the client waits for 100 Continue, the answer is written to the
 * socket directly (the library cannot answer in the middle of a body) and the socket lingers until
 * the client has read it.
 */
#include "server/http_internal.h"

#include "base/background.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "server/audit.h"
#include "server/tls.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define BODY_FIRST_BYTES   ((size_t)256)     /* thousands of slow bodies hold little */
#define ANSWER_SMALL_BYTES ((size_t)8 << 10) /* these always go out */
#define ANSWERS_BYTES_MAX  ((size_t)32 << 20)
/* With more requests than this under way, those that wait for a turn among them, bodies beyond
 * FAST_BYTES go to the workers. */
#define FAST_ACTIVE_MAX 64
#define FAST_BYTES      ((size_t)4 << 10)
#define TURN_BYTES      ((size_t)8 << 10) /* larger bodies are read in turns */
#define NO_ANSWER       499               /* its client has left, and nothing came of it */
#define BODY_KEEP_BYTES                                                                            \
    ((size_t)256 << 10)                       /* a buffer up to this stays with its connection ... \
                                               */
#define BODY_KEEP_ALL_BYTES ((size_t)8 << 20) /* ... while all buffers together are below this */

/* The sweep loads them the other way round. */
static void set_phase(struct exchange *exchange, enum phase phase, int64_t now_ns)
{
    atomic_store_explicit(&exchange->client->since_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&exchange->client->phase, (int)phase, memory_order_release);
}

/* From a complete request to its answer, so that clients who dawdle do not hold background work up.
 */
static void set_waits(struct exchange *exchange, bool waits)
{
    if (waits && !exchange->waits) {
        foreground_begin();
    } else if (!waits && exchange->waits) {
        foreground_end();
    }
    exchange->waits = waits;
}

/* Bodies without a declared length go on. */
static bool takes_turns(const struct exchange *exchange)
{
    return exchange->body_declared > TURN_BYTES && !exchange->refused;
}

static void end_turn(struct exchange *exchange)
{
    if (exchange->body_declared > TURN_BYTES) {
        turn_end(&exchange->http->turns, &exchange->turn, clock_monotonic_ns());
    }
}

static void drop_body(struct exchange *exchange)
{
    exchange->http->body_bytes -= exchange->body_capacity;
    mem_free(exchange->body);
    exchange->body = NULL;
    exchange->body_capacity = 0;
    exchange->request.body = "";
    exchange->request.body_length = 0;
}

/* ---------------------------------------------------------------- answers */

static void fill_problem(struct exchange *exchange, enum status status, const char *code,
                         const char *text)
{
    struct error error = {0};
    error_set(&error, status, "%s", text);
    error_code(&error, code, NULL);
    api_problem(&exchange->request, &error, &exchange->response);
}

/* Clients that do not read leave their answers with us until their deadline. So answers together
 * have a bound; small ones always go out, and a large one where no other is under way. */
static void hold_answer(struct exchange *exchange)
{
    struct http *http = exchange->http;
    struct api_response *response = &exchange->response;
    size_t length = response->body_static ? 0 : response->body_length;
    if (length > ANSWER_SMALL_BYTES && http->answer_bytes > 0 &&
        http->answer_bytes + length > ANSWERS_BYTES_MAX) {
        atomic_fetch_add_explicit(&http->refused_busy, 1, memory_order_relaxed);
        api_response_release(response);
        *response = (struct api_response){0};
        fill_problem(exchange, STATUS_BUSY, "overloaded", "too many large answers are under way");
        length = 0;
    }
    exchange->answer_held = length > ANSWER_SMALL_BYTES ? length : 0;
    http->answer_bytes += exchange->answer_held;
}

static int answer(struct exchange *exchange)
{
    struct api_response *response = &exchange->response;
    struct MHD_Response *out;
    CHECK(response->status >= 100);
    hold_answer(exchange);
    exchange->status = response->status;
    if (response->body == NULL || response->body_static) {
        out = MHD_create_response_from_buffer(response->body_length, response->body,
                                              MHD_RESPMEM_PERSISTENT);
    } else {
        out = MHD_create_response_from_buffer_with_free_callback(response->body_length,
                                                                 response->body, mem_free);
    }
    if (out == NULL) {
        return 0;
    }
    if (response->content_type != NULL) {
        MHD_add_response_header(out, "Content-Type", response->content_type);
    }
    MHD_add_response_header(out, "X-Request-Id", exchange->request.request_id);
    MHD_add_response_header(out, "Server", "forecastd");
    MHD_add_response_header(out, "X-Content-Type-Options", "nosniff");
    for (size_t i = 0; i < response->header_count; i++) {
        MHD_add_response_header(out, response->headers[i].name, api_header_value(response, i));
    }
    if (atomic_load_explicit(&exchange->http->services->draining, memory_order_relaxed)) {
        MHD_add_response_header(out, "Connection", "close");
    }
    atomic_store_explicit(&exchange->client->answer_bytes, response->body_length,
                          memory_order_release);
    response->body = NULL; /* the library's now */
    set_waits(exchange, false);
    end_turn(exchange);
    set_phase(exchange, PHASE_WRITING, clock_monotonic_ns());
    enum MHD_Result queued =
        MHD_queue_response(exchange->client->connection, (unsigned int)response->status, out);
    MHD_destroy_response(out);
    return queued == MHD_YES;
}

static bool send_past_library(const struct exchange *exchange, struct iovec parts[2])
{
    if (exchange->http->tls) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(
            exchange->client->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
        return info != NULL && tls_send(info->tls_session, parts, 2);
    }
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    return sendmsg(exchange->client->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
}

/* Writes the answer past the library, which is about to close the connection. */
static int answer_raw(struct exchange *exchange)
{
    struct api_response *response = &exchange->response;
    struct text head;
    text_init(&head, 4096);
    text_add_format(&head,
                    "HTTP/1.1 %d %s\r\nServer: forecastd\r\nConnection: close\r\n"
                    "X-Content-Type-Options: nosniff\r\n",
                    response->status, MHD_get_reason_phrase_for((unsigned int)response->status));
    text_add_format(&head, "X-Request-Id: %s\r\nContent-Length: %zu\r\n",
                    exchange->request.request_id, response->body_length);
    if (response->content_type != NULL) {
        text_add_format(&head, "Content-Type: %s\r\n", response->content_type);
    }
    for (size_t i = 0; i < response->header_count; i++) {
        text_add_format(&head, "%s: %s\r\n", response->headers[i].name,
                        api_header_value(response, i));
    }
    text_add_string(&head, "\r\n");
    if (head.failed == STATUS_OK) {
        /* An answer to HEAD states the length of what it leaves out. */
        bool bare = exchange->request.method == API_HEAD;
        struct iovec parts[2] = {{head.bytes, head.length},
                                 {response->body, bare ? 0 : response->body_length}};
        if (send_past_library(exchange, parts)) {
            http_linger(exchange->http, exchange->client->fd);
        }
    }
    text_release(&head);
    exchange->status = response->status;
    return 0;
}

/* The answer is decided while a body is still coming. */
static int refuse(struct exchange *exchange)
{
    exchange->refused = true;
    drop_body(exchange);
    if (exchange->expects || exchange->body_declared > DRAIN_BYTES_MAX ||
        exchange->dropped > DRAIN_BYTES_MAX) {
        return answer_raw(exchange);
    }
    return 1;
}

/* ---------------------------------------------------------------- waiting */

static void resume_exchange(struct exchange *exchange)
{
    struct http *http = exchange->http;
    struct MHD_Connection *connection = exchange->client->connection;
    /* As soon as it is ready the request may end, and the library with it: http_stop waits. */
    atomic_fetch_add(&http->resuming, 1);
    int before = atomic_exchange(&exchange->handoff, HANDOFF_READY);
    if (before == HANDOFF_SUSPENDED) {
        MHD_resume_connection(connection);
    }
    atomic_fetch_sub(&http->resuming, 1);
}

/* api calls it from a worker or the writer when a pending response is filled. */
static void resume_request(struct api_request *request)
{
    resume_exchange((struct exchange *)(void *)request);
}

static int wait_for_answer(struct exchange *exchange)
{
    if (atomic_load(&exchange->handoff) == HANDOFF_READY) {
        return answer(exchange);
    }
    MHD_suspend_connection(exchange->client->connection);
    int expected = HANDOFF_RUNNING;
    if (!atomic_compare_exchange_strong(&exchange->handoff, &expected, HANDOFF_SUSPENDED)) {
        MHD_resume_connection(exchange->client->connection);
    }
    return 1;
}

void exchange_run(struct api_worker *worker, void *item, const struct error *error)
{
    struct exchange *exchange = item;
    if (atomic_load(&exchange->http->closing)) { /* its time is over */
        fill_problem(exchange, STATUS_NOT_READY, "not_ready", "the daemon is stopping");
    } else if (worker == NULL) {
        api_problem(&exchange->request, error, &exchange->response);
    } else if (api_handle(worker, &exchange->request, &exchange->response) == API_PENDING) {
        return; /* not touched again: the writer resumes it, perhaps already has */
    }
    resume_exchange(exchange);
}

/* The body is complete. */
static int dispatch(struct exchange *exchange)
{
    struct http *http = exchange->http;
    set_waits(exchange, true);
    exchange->dispatched = true;
    atomic_store_explicit(&exchange->handoff, HANDOFF_RUNNING, memory_order_relaxed);
    /* Reading a large body here is the fastest way while few wait, and makes everybody wait for all
     * the others' bodies when many do. */
    bool crowded = exchange->request.body_length > FAST_BYTES &&
                   atomic_load_explicit(&http->active, memory_order_relaxed) > FAST_ACTIVE_MAX;
    enum api_outcome outcome =
        crowded ? API_DECLINED : api_fast(http->services, &exchange->request, &exchange->response);
    if (outcome == API_DONE) {
        return answer(exchange);
    }
    atomic_store_explicit(&exchange->client->phase, PHASE_WORKING, memory_order_release);
    if (outcome == API_DECLINED && !workers_push(http->workers, exchange)) {
        atomic_fetch_add_explicit(&http->refused_busy, 1, memory_order_relaxed);
        fill_problem(exchange, STATUS_BUSY, "overloaded", "too many requests are waiting");
        return answer(exchange);
    }
    return wait_for_answer(exchange);
}

/* ---------------------------------------------------------------- head and body */

static struct exchange *exchange_new(struct client *client)
{
    struct exchange *exchange = mem_zeroed(1, sizeof(*exchange));
    if (exchange != NULL) {
        exchange->http = client->http;
        exchange->client = client;
        exchange->request.server_context = exchange;
        exchange->uri = exchange->inline_uri;
        exchange->uri_capacity = sizeof(exchange->inline_uri);
    }
    return exchange;
}

struct exchange *exchange_head(struct client *client, const char *uri)
{
    if (client->exchange == NULL) {
        client->exchange = exchange_new(client);
    }
    struct exchange *exchange = client->exchange;
    if (exchange == NULL) {
        return NULL;
    }
    size_t length = strlen(uri);
    if (length >= exchange->uri_capacity) {
        char *longer = mem_alloc(length + 1);
        if (longer == NULL) {
            length = 0;
        } else {
            if (exchange->uri != exchange->inline_uri) {
                mem_free(exchange->uri);
            }
            exchange->uri = longer;
            exchange->uri_capacity = length + 1;
        }
    }
    memcpy(exchange->uri, uri, length);
    exchange->uri[length] = '\0';
    exchange->started_ns = clock_monotonic_ns();
    exchange->status = 0;
    exchange->dispatched = false;
    atomic_fetch_add(&exchange->http->active, 1); /* before begin() looks at `closing` */
    set_phase(exchange, PHASE_HEAD, exchange->started_ns);
    return exchange;
}

static void prepare_request(struct exchange *exchange, const char *method, struct head *head)
{
    struct api_request *request = &exchange->request;
    head_split_target(exchange->uri, head, &request->path, &request->query);
    request->method = head_method(method);
    request->content_type = head->content_type != NULL ? head->content_type : "";
    request->encoding = head_encoding(head->encoding);
    request->body = "";
    request->body_length = 0;
    request->accept_openmetrics =
        head->accept != NULL && strstr(head->accept, "application/openmetrics-text") != NULL;
    request->authorization = head->authorization;
    request->caller.known = false; /* whoever asked before on this connection */
    request->caller.scopes = 0;
    request->caller.name[0] = request->caller.prefix[0] = '\0';
    request->probe = exchange->http->probes;
    request->accept_gzip = head_accepts_gzip(head->accept_encoding);
    request->if_none_match = head->if_none_match;
    request->resume = resume_request;
    request->response = &exchange->response;
    request->pending = NULL;
    head_request_id(exchange->http, head->request_id, request->request_id);
    struct api_response *response = &exchange->response;
    response->status = 0;
    response->content_type = NULL;
    response->header_count = response->header_bytes = 0;
    response->body = NULL;
    response->body_length = 0;
    response->body_static = false;
    exchange->refused = exchange->asked = false;
    exchange->dropped = 0;
    exchange->has_length = head->lengths == 1;
    exchange->body_declared = exchange->has_length ? strtoull(head->length, NULL, 10) : 0;
    exchange->expects = head->expect != NULL;
    atomic_store_explicit(&exchange->client->body_received, 0, memory_order_release);
}

static int begin_turn(struct exchange *exchange, int64_t now_ns)
{
    struct http *http = exchange->http;
    if (turn_begin(&http->turns, &exchange->turn, exchange->client->connection, now_ns)) {
        return 1;
    }
    atomic_fetch_add_explicit(&http->refused_busy, 1, memory_order_relaxed);
    fill_problem(exchange, STATUS_BUSY, "overloaded", "too many large bodies are waiting");
    return refuse(exchange);
}

static bool changes_something(enum api_method method)
{
    return method != API_GET && method != API_HEAD;
}

static int begin(struct exchange *exchange, const char *method, const char *version)
{
    struct head head = {0};
    if (atomic_load(&exchange->http->closing)) {
        return 0; /* the library closes the connection */
    }
    head_gather(exchange->client->connection, version, &head);
    prepare_request(exchange, method, &head);
    bool has_body = exchange->body_declared > 0 || head.transfers > 0;
    bool decided = true;
    if (!head_framing_is_sound(&head)) {
        fill_problem(exchange, STATUS_INVALID, "bad_framing",
                     "a header is malformed, or the host or the length of the body is missing, "
                     "stated twice, or in a form that is not supported");
        return answer_raw(exchange);
    }
    if (!head_host_allowed(exchange->http, head.host)) {
        fill_problem(exchange, STATUS_INVALID, "bad_host",
                     "header Host names neither an address nor a name in server.hosts");
    } else if (changes_something(exchange->request.method) && head_is_cross_origin(&head)) {
        fill_problem(exchange, STATUS_INVALID, "cross_origin",
                     "a page of another origin may not change anything here");
    } else if (exchange->http->probes && !api_is_probe(&exchange->request)) {
        fill_problem(exchange, STATUS_NOT_FOUND, "unknown_route",
                     "this port has /healthz, /readyz and /metrics only");
    } else {
        uint64_t length = head.transfers > 0 ? UINT64_MAX : exchange->body_declared;
        exchange->asked = true;
        decided = api_begin(exchange->http->services, &exchange->request, length,
                            &exchange->response) == API_DONE;
    }
    exchange->request.authorization = NULL; /* lies in the library's buffer */
    /* Never answered here, even without a body: the library would close the connection. */
    int64_t now_ns = has_body ? clock_monotonic_ns() : exchange->started_ns;
    set_phase(exchange, PHASE_BODY, now_ns);
    if (decided && !refuse(exchange)) {
        return 0;
    }
    return takes_turns(exchange) ? begin_turn(exchange, now_ns) : 1;
}

static bool reserve_body(struct exchange *exchange, size_t needed, size_t most)
{
    struct http *http = exchange->http;
    if (needed <= exchange->body_capacity) {
        return true;
    }
    size_t capacity = exchange->body_capacity ? exchange->body_capacity * 2 : BODY_FIRST_BYTES;
    while (capacity < needed) {
        capacity *= 2;
    }
    if (exchange->has_length && exchange->body_declared >= needed &&
        exchange->body_declared < capacity) {
        capacity = (size_t)exchange->body_declared;
    }
    capacity = capacity > most ? most : capacity;
    size_t more = capacity - exchange->body_capacity;
    if (http->body_bytes + more > http->body_bytes_max) {
        return false;
    }
    char *bigger = mem_resize(exchange->body, capacity, 1);
    if (bigger == NULL) {
        return false;
    }
    exchange->body = bigger;
    exchange->body_capacity = capacity;
    http->body_bytes += more;
    return true;
}

static int collect(struct exchange *exchange, const char *bytes, size_t length)
{
    struct api_request *request = &exchange->request;
    atomic_fetch_add_explicit(&exchange->client->body_received, length, memory_order_relaxed);
    exchange->dropped += length;
    if (exchange->refused) {
        return exchange->dropped > DRAIN_BYTES_MAX ? answer_raw(exchange) : 1;
    }
    size_t most = atomic_load(&exchange->http->services->limits)->body_max;
    size_t needed = request->body_length + length;
    if (needed > most) {
        fill_problem(exchange, STATUS_TOO_LARGE, "body_too_large", "body is over ingest.max_body");
        exchange->dropped = 0;
        return refuse(exchange);
    }
    if (!reserve_body(exchange, needed, most)) {
        fill_problem(exchange, STATUS_BUSY, "overloaded", "too many large bodies are under way");
        return refuse(exchange);
    }
    memcpy(exchange->body + request->body_length, bytes, length);
    request->body = exchange->body;
    request->body_length = needed;
    return 1;
}

int exchange_step(struct exchange *exchange, const char *method, const char *version,
                  const char *bytes, size_t *length)
{
    switch ((enum phase)atomic_load_explicit(&exchange->client->phase, memory_order_acquire)) {
    case PHASE_HEAD:
        return begin(exchange, method, version);
    case PHASE_BODY:
        if (*length > 0) {
            int go_on = collect(exchange, bytes, *length);
            *length = 0;
            return go_on;
        }
        if (atomic_load(&exchange->client->body_received) < exchange->body_declared) {
            return 1; /* the head once more: it has waited for its turn */
        }
        return exchange->refused ? answer(exchange) : dispatch(exchange);
    case PHASE_WORKING:
        return answer(exchange);
    case PHASE_NEW:
    case PHASE_WRITING:
    case PHASE_IDLE:
        break;
    }
    return 0;
}

/* How the request ended; 0: nothing was asked of us. A client that leaves while a worker or the
 * writer has its request gets no answer, but what it asked for was done: the library does not end
 * a connection that is suspended, so the response is there. */
static int outcome_of(const struct exchange *exchange)
{
    if (exchange->status != 0 || !exchange->dispatched) {
        return exchange->status;
    }
    bool filled = atomic_load(&exchange->handoff) == HANDOFF_READY;
    return filled ? exchange->response.status : NO_ANSWER;
}

/* The address is what the library had from accept(): a socket that was reset does not know it any
 * more. */
static void note_in_audit(const struct exchange *exchange, int status)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(exchange->client->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *peer = info != NULL ? info->client_addr : NULL;
    if (!exchange->asked || status == 401 || status == 403) {
        audit_refusal(&exchange->request, status, peer);
    } else {
        audit_request(exchange->http->audit, &exchange->request, status, peer);
    }
}

void exchange_end(struct exchange *exchange)
{
    struct http *http = exchange->http;
    int status = outcome_of(exchange);
    int64_t now_ns = clock_monotonic_ns();
    set_waits(exchange, false); /* the connection may have broken before its answer */
    end_turn(exchange);
    if (status != 0) {
        if (http->audit != NULL && api_is_audited(&exchange->request)) {
            note_in_audit(exchange, status);
        }
        api_observe(http->services, &exchange->request, status, now_ns - exchange->started_ns);
    }
    http->answer_bytes -= exchange->answer_held;
    exchange->answer_held = 0;
    if (exchange->response.body != NULL) {
        api_response_release(&exchange->response);
        exchange->response.body = NULL;
    }
    if (exchange->body_capacity > BODY_KEEP_BYTES || http->body_bytes > BODY_KEEP_ALL_BYTES) {
        drop_body(exchange);
    }
    set_phase(exchange, PHASE_IDLE, now_ns);
    atomic_fetch_sub_explicit(&http->active, 1, memory_order_relaxed);
}

void exchange_release(struct exchange *exchange)
{
    if (exchange == NULL) {
        return;
    }
    drop_body(exchange);
    if (exchange->uri != exchange->inline_uri) {
        mem_free(exchange->uri);
    }
    mem_free(exchange);
}
