/* POST /api/v1/write: Prometheus' remote write 1.0 and 2.0, answered as its senders want.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A sender throws a batch away on 4xx and sends it again on 5xx. So 400 is only for what can never
 * be stored, with the good samples of the same request stored and a text that the sender puts in
 * its log; what may work later is 503. Small bodies are unpacked and read on the network thread.
 */
#include "api/handlers.h"
#include "api/inflate.h"
#include "api/ingest.h"
#include "api/remote_write_reader.h"
#include "api/snappy_block.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <string.h>

#define FAST_BODY_MAX    ((size_t)128 << 10)
#define REFUSALS_WRITTEN 5u

struct remote_write_body {
    struct remote_write request;
    struct remote_write_skipped skipped;
};

static enum status read_request(void *context, const struct points_visitor *visitor,
                                struct error *error)
{
    struct remote_write_body *body = context;
    return remote_write_read(&body->request, visitor, &body->skipped, error);
}

/* ---------------------------------------------------------------- the answer */

/* Text of an error without what would break a line of a log. */
static void add_line(struct text *text, const char *line)
{
    size_t length = strlen(line);
    for (size_t i = 0; i < length;) {
        size_t step = utf8_length(line + i, length - i);
        if (step == 0 || (unsigned char)line[i] < 0x20 || line[i] == 0x7f) {
            text_add_char(text, '?');
            step = 1;
        } else {
            text_add(text, line + i, step);
        }
        i += step;
    }
    text_add_char(text, '\n');
}

/* Senders log the first line of a body, and at most 256 or 512 bytes of it: the first says most. */
static void write_tail(const struct refusals *refusals, const char *request_id, struct text *tail)
{
    if (!refusals) {
        return;
    }
    text_add_format(tail, "%llu samples refused, all others stored (request %s): ",
                    (unsigned long long)refusals->count, request_id);
    for (uint64_t i = 0; i < refusals->count && i < REFUSALS_WRITTEN; i++) {
        if (i > 0) {
            text_add_format(tail, "sample %llu: ", (unsigned long long)refusals->first[i].position);
        }
        add_line(tail, refusals->first[i].error.text);
    }
}

static size_t begin_1(struct api_response *response, const struct ingest_counts *counts,
                      char head[REFUSALS_HEAD_MAX])
{
    (void)head;
    response->status = counts->refused ? 400 : 204;
    response->content_type = counts->refused ? "text/plain; charset=utf-8" : NULL;
    return 0;
}

static size_t begin_2(struct api_response *response, const struct ingest_counts *counts,
                      char head[REFUSALS_HEAD_MAX])
{
    unsigned long long written = counts->accepted + counts->ended;
    response_header(response, "X-Prometheus-Remote-Write-Samples-Written", "%llu", written);
    response_header(response, "X-Prometheus-Remote-Write-Histograms-Written", "0");
    response_header(response, "X-Prometheus-Remote-Write-Exemplars-Written", "0");
    return begin_1(response, counts, head);
}

/* ---------------------------------------------------------------- the request */

/* vmagent asks whether its own form of the protocol is understood, which is 1.0 packed by zstd. */
static enum status answer_version(struct call *call, struct error *error)
{
    struct text text;
    text_init(&text, 8);
    text_add_char(&text, '1');
    return response_take_text(call->response, 200, "text/plain; charset=utf-8", &text, error);
}

static enum status take(struct call *call, struct points_cache *cache, struct error *error)
{
    if (query_value(&call->query, "get_vm_proto_version")) {
        return answer_version(call, error);
    }
    static const struct ingest_form forms[] = {
        [REMOTE_WRITE_1] = {write_tail, begin_1},
        [REMOTE_WRITE_2] = {write_tail, begin_2},
    };
    struct remote_write_body body = {.request.cache = cache};
    char *unpacked = NULL;
    size_t length = 0;
    if (!remote_write_version(call->request->content_type, &body.request.version)) {
        error_set(error, STATUS_UNSUPPORTED, "this route cannot read such a message");
        return error_code(error, "unsupported_media_type", "Content-Type");
    }
    enum status status = (call->request->encoding == API_ZSTD ? inflate_zstd : snappy_block_unpack)(
        call->request->body, call->request->body_length, call->limits->body_max, &unpacked, &length,
        error);
    if (status == STATUS_OK) {
        struct ingest_source source = {&forms[body.request.version], clock_wall_ms(), &body,
                                       read_request};
        body.request.message = (struct slice){unpacked, length};
        status = ingest_take(call, &source, error);
    }
    mem_free(unpacked);
    api_count(call->services->metrics, METRIC_SKIPPED_HISTOGRAMS, body.skipped.histograms);
    api_count(call->services->metrics, METRIC_SKIPPED_EXEMPLARS, body.skipped.exemplars);
    return status;
}

enum status remote_write_handle(struct call *call, struct error *error)
{
    return take(call, call->worker->points_cache, error);
}

/* The cache is taken for the time of the reading: a second network thread would do without. */
enum status remote_write_fast(struct call *call, struct error *error)
{
    /* zstd packs so densely that a small body, too, may be much to unpack. */
    if (call->request->body_length > FAST_BODY_MAX || call->request->encoding == API_ZSTD) {
        call->outcome = API_DECLINED;
        return STATUS_OK;
    }
    struct points_cache *cache = atomic_exchange(&call->services->points_cache, NULL);
    enum status status = take(call, cache, error);
    if (cache) {
        atomic_store(&call->services->points_cache, cache);
    }
    return status;
}
