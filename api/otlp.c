/* POST /v1/metrics: OpenTelemetry's metrics over HTTP, protobuf and JSON, answered as exporters
 * want. SPDX-License-Identifier: Apache-2.0
 *
 * An exporter sends again on 429, 502, 503 and 504 alone. What can never be stored is told with
 * 200, as the protocol has it: partial_success says how many data points, and why. A request that
 * was stored whole is answered with the empty message.
 */
#include "api/otlp.h"

#include "api/handlers.h"
#include "api/ingest.h"
#include "api/otlp_json.h"
#include "api/otlp_reader.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

#include <string.h>
#include <strings.h>

#define REASONS_BYTES_MAX (16u << 10)
#define REASONS_WRITTEN   5u

/* ---------------------------------------------------------------- encodings */

bool otlp_owns(const char *path)
{
    return strcmp(path, "/v1/metrics") == 0;
}

const char *otlp_content_type(enum otlp_encoding encoding)
{
    return encoding == OTLP_JSON ? CONTENT_JSON : "application/x-protobuf";
}

bool otlp_encoding_of(const char *content_type, enum otlp_encoding *encoding)
{
    for (*encoding = OTLP_PROTOBUF; *encoding <= OTLP_JSON; (*encoding)++) {
        const char *type = otlp_content_type(*encoding);
        size_t length = strlen(type);
        if (strncasecmp(content_type, type, length) == 0 &&
            strchr("; \t", content_type[length]) != NULL) { /* the end is among them */
            return true;
        }
    }
    return false;
}

static void add_varint(struct text *text, uint64_t value)
{
    for (; value > 0x7F; value >>= 7) {
        text_add_char(text, (char)(value | 0x80));
    }
    text_add_char(text, (char)value);
}

/* A message of a number and a text: google.rpc.Status and ExportMetricsPartialSuccess are alike. */
static void add_number_and_text(struct text *text, uint64_t number, const char *words,
                                size_t length)
{
    text_add_char(text, 1 << 3);
    add_varint(text, number);
    text_add_char(text, 2 << 3 | 2);
    add_varint(text, length);
    text_add(text, words, length);
}

void otlp_write_error(enum otlp_encoding encoding, int http, const char *message, struct text *text)
{
    static const struct {
        int http;
        unsigned char code;
    } codes[] = {{400, 3}, {401, 16}, {403, 7}, {404, 5}, {405, 12}, {413, 8}, {415, 3}, {503, 14}};
    unsigned code = 13; /* internal */
    for (size_t i = 0; i < ARRAY_COUNT(codes); i++) {
        code = codes[i].http == http ? codes[i].code : code;
    }
    size_t length = strlen(message);
    if (encoding == OTLP_PROTOBUF) {
        add_number_and_text(text, code, message, length);
        return;
    }
    text_add_format(text, "{\"code\":%u,\"message\":", code);
    text_add_json_string(text, message, length);
    text_add_char(text, '}');
}

/* ---------------------------------------------------------------- the answer */

static void add_reasons(const struct refusals *refusals, const char *request_id, struct text *text)
{
    text_add_format(text, "%llu data points refused, all others stored (request %s): ",
                    (unsigned long long)refusals->count, request_id);
    for (uint64_t i = 0; i < refusals->count && i < REASONS_WRITTEN; i++) {
        text_add_format(text, "%sdata point %llu: %s", i ? "; " : "",
                        (unsigned long long)refusals->first[i].position,
                        refusals->first[i].error.text);
    }
    text_add_string(text, refusals->count > REASONS_WRITTEN ? "; ..." : "");
}

/* Names come from the client: as JSON they are made valid text. */
static void write_tail_json(const struct refusals *refusals, const char *request_id,
                            struct text *tail)
{
    struct text reasons;
    if (!refusals) {
        text_add_string(tail, "{}");
        return;
    }
    text_init(&reasons, REASONS_BYTES_MAX);
    add_reasons(refusals, request_id, &reasons);
    text_add_format(tail, "{\"partialSuccess\":{\"rejectedDataPoints\":\"%llu\",\"errorMessage\":",
                    (unsigned long long)refusals->count);
    if (reasons.failed) {
        tail->failed = reasons.failed;
    } else {
        text_add_json_string(tail, reasons.bytes, reasons.length);
    }
    text_add_string(tail, "}}");
    text_release(&reasons);
}

/* A string of protobuf is UTF-8, which a name need not be: what is not printable goes. */
static void clean(struct text *text)
{
    for (size_t i = 0; i < text->length; i++) {
        if ((unsigned char)text->bytes[i] < 0x20 || (unsigned char)text->bytes[i] > 0x7e) {
            text->bytes[i] = '?';
        }
    }
}

static void write_tail_protobuf(const struct refusals *refusals, const char *request_id,
                                struct text *tail)
{
    struct text reasons, message;
    if (!refusals) {
        return;
    }
    text_init(&reasons, REASONS_BYTES_MAX);
    text_init(&message, REASONS_BYTES_MAX + 32);
    add_reasons(refusals, request_id, &reasons);
    if (!reasons.failed) {
        clean(&reasons);
        add_number_and_text(&message, refusals->count, reasons.bytes, reasons.length);
    }
    if (reasons.failed || message.failed) {
        tail->failed = reasons.failed ? reasons.failed : message.failed;
    } else {
        text_add_char(tail, 1 << 3 | 2);
        add_varint(tail, message.length);
        text_add(tail, message.bytes, message.length);
    }
    text_release(&message);
    text_release(&reasons);
}

static size_t begin_json(struct api_response *response, const struct ingest_counts *counts,
                         char head[REFUSALS_HEAD_MAX])
{
    (void)counts;
    (void)head;
    response->status = 200;
    response->content_type = otlp_content_type(OTLP_JSON);
    return 0;
}

static size_t begin_protobuf(struct api_response *response, const struct ingest_counts *counts,
                             char head[REFUSALS_HEAD_MAX])
{
    (void)counts;
    (void)head;
    response->status = 200;
    response->content_type = otlp_content_type(OTLP_PROTOBUF);
    return 0;
}

/* ---------------------------------------------------------------- the request */

struct otlp_body {
    struct slice message;
    struct otlp_skipped skipped;
};

static enum status read_body(void *context, const struct points_visitor *visitor,
                             struct error *error)
{
    struct otlp_body *body = context;
    return otlp_read(body->message, visitor, &body->skipped, error);
}

static enum status take(struct call *call, enum otlp_encoding encoding, struct slice message,
                        struct error *error)
{
    static const struct ingest_form forms[] = {
        [OTLP_PROTOBUF] = {write_tail_protobuf, begin_protobuf},
        [OTLP_JSON] = {write_tail_json, begin_json}};
    struct otlp_body body = {message, {0, 0}};
    struct ingest_source source = {&forms[encoding], clock_wall_ms(), &body, read_body};
    enum status status = ingest_take(call, &source, error);
    struct api_metrics *metrics = call->services->metrics;
    api_count(metrics, METRIC_SKIPPED_EXPONENTIAL, body.skipped.exponential_histograms);
    api_count(metrics, METRIC_SKIPPED_BUCKETS, body.skipped.bucket_sets);
    return status;
}

enum status otlp_handle(struct call *call, struct error *error)
{
    enum otlp_encoding encoding = OTLP_PROTOBUF;
    struct slice bytes = {"", 0};
    struct text message;
    char *owned = NULL;
    if (!otlp_encoding_of(call->request->content_type, &encoding)) {
        error_set(error, STATUS_UNSUPPORTED, "this route cannot read such a body");
        return error_code(error, "unsupported_media_type", "Content-Type");
    }
    enum status status = call_body(call, &bytes.bytes, &bytes.length, &owned, error);
    text_init(&message, 0);
    if (status == STATUS_OK && encoding == OTLP_JSON) {
        status = otlp_json_read(bytes.bytes, bytes.length, &message, error);
        bytes = (struct slice){message.length ? message.bytes : "", message.length};
    }
    if (status == STATUS_OK) {
        status = take(call, encoding, bytes, error);
    }
    text_release(&message);
    mem_free(owned);
    return status;
}
