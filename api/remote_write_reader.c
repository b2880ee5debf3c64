/* Streaming reader of Prometheus' remote-write messages, 1.0 and 2.0: no tree, no object a label.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/remote_write_reader.h"

#include "api/points_scan.h"
#include "api/protobuf.h"
#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <strings.h>

#define STALE_MARKER UINT64_C(0x7ff0000000000002)
#define SYMBOLS_MAX  ((size_t)1 << 18)

/* Numbers of fields. */
enum { REQUEST_1_SERIES = 1, REQUEST_1_METADATA = 3, REQUEST_2_SYMBOL = 4, REQUEST_2_SERIES = 5 };
enum { SERIES_LABEL = 1, SERIES_SAMPLE = 2 };
enum {
    SERIES_1_EXEMPLAR = 3,
    SERIES_1_HISTOGRAM = 4,
    SERIES_2_HISTOGRAM = 3,
    SERIES_2_EXEMPLAR = 4,
    SERIES_2_METADATA = 5
};
enum { METADATA_TYPE = 1, METADATA_1_FAMILY = 2 };
enum { LABEL_NAME = 1, LABEL_VALUE = 2 };
enum { SAMPLE_VALUE = 1, SAMPLE_TIME = 2 };

/* Where a symbol stands in the message; messages are shorter than 4 GiB. */
struct symbol {
    uint32_t at, length;
};

/* One reading. */
struct reading {
    const struct remote_write *request;
    const struct points_visitor *visitor;
    struct remote_write_skipped *skipped;
    struct symbol *symbols;
    size_t symbol_count;
    uint64_t position; /* of the next sample */
    char text[SERIES_TEXT_MAX];
};

/* One TimeSeries, as far as it is known. */
struct series {
    struct slice bytes;
    struct slice label_bytes;  /* from the first label to the end of the last one */
    bool labels_together;      /* nothing else stands between them */
    const char *first;         /* the first field that is a sample; NULL: none */
    bool has_name, half_label; /* half: a reference to a key, the value's is not known yet */
    struct slice name;
    struct series_label labels[SERIES_LABELS_MAX];
    size_t label_count;
    struct slice text;  /* canonical, once known */
    uint32_t number;    /* the visitor's */
    uint64_t type;      /* stated by the metadata of 2.0; 0: unknown */
    struct error fault; /* the first thing wrong with it; status STATUS_OK: nothing */
};

/* ---------------------------------------------------------------- types */

static const char *skip_blanks(const char *at)
{
    while (*at == ' ' || *at == '\t') {
        at++;
    }
    return at;
}

/* Whether `at` begins with the word, in any case, and the word ends there. */
static bool word_is(const char *at, const char *word)
{
    size_t length = strlen(word);
    return strncasecmp(at, word, length) == 0 && strchr("; \t\"", at[length]) != NULL;
}

bool remote_write_version(const char *content_type, enum remote_write_version *version)
{
    *version = REMOTE_WRITE_1;
    const char *at = skip_blanks(content_type);
    if (*at == '\0') {
        return true;
    }
    if (!word_is(at, "application/x-protobuf")) {
        return false;
    }
    while ((at = strchr(at, ';')) != NULL) {
        at = skip_blanks(at + 1);
        if (strncasecmp(at, "proto=", 6) != 0) {
            continue;
        }
        at += 6;
        at += *at == '"';
        if (word_is(at, "io.prometheus.write.v2.Request")) {
            *version = REMOTE_WRITE_2;
        } else if (!word_is(at, "prometheus.WriteRequest")) {
            return false;
        }
    }
    return true;
}

/* ---------------------------------------------------------------- faults */

static enum status broken(const char *what, struct error *error)
{
    error_set(error, STATUS_INVALID, "cannot read the protobuf message: %s", what);
    return error_code(error, "bad_protobuf", NULL);
}

static void series_fault(struct series *series, const char *code, const char *text)
{
    if (series->fault.status == STATUS_OK) {
        error_set(&series->fault, STATUS_INVALID, "%s", text);
        error_code(&series->fault, code, "labels");
    }
}

/* Says which series it is, as far as that is known. */
static enum status give_refusal(struct reading *reading, const struct series *series,
                                struct error *fault)
{
    struct slice who = series->text.length ? series->text : series->name;
    if (who.length > 0) {
        error_wrap(fault, "series %.*s", (int)(who.length < 120 ? who.length : 120), who.bytes);
    }
    reading->visitor->refuse(reading->visitor->context, reading->position++, fault);
    return STATUS_OK;
}

/* ---------------------------------------------------------------- labels */

static void add_label(struct series *series, struct slice key, struct slice value)
{
    static const char name[] = "__name__";
    if (key.length == sizeof(name) - 1 && memcmp(key.bytes, name, key.length) == 0) {
        if (series->has_name) {
            series_fault(series, "duplicate_label", "the label __name__ stands twice");
        }
        series->has_name = true;
        series->name = value;
    } else if (series->label_count < SERIES_LABELS_MAX) {
        series->labels[series->label_count++] = (struct series_label){key, value};
    } else {
        series_fault(series, "too_many_labels", "a series has at most 32 labels");
    }
}

static bool read_label(struct slice bytes, struct series *series)
{
    struct protobuf message = protobuf_of(bytes);
    struct protobuf_field field;
    struct slice key = {"", 0}, value = {"", 0};
    while (protobuf_next(&message, &field)) {
        if (field.number != LABEL_NAME && field.number != LABEL_VALUE) {
            continue;
        }
        if (field.wire != WIRE_BYTES) {
            return false;
        }
        *(field.number == LABEL_NAME ? &key : &value) = field.bytes;
    }
    add_label(series, key, value);
    return !message.broken;
}

/* The labels of 1.0, each a message. */
static bool read_labels(struct series *series)
{
    struct protobuf message = protobuf_of(series->label_bytes);
    struct protobuf_field field;
    while (protobuf_next(&message, &field)) {
        if (field.number == SERIES_LABEL && !read_label(field.bytes, series)) {
            return false;
        }
    }
    return true; /* the whole series was walked before */
}

/* A reference of 2.0; keys and values take turns. */
static void add_reference(const struct reading *reading, struct series *series, uint64_t reference,
                          struct slice *key)
{
    struct slice text = {"", 0};
    if (reference < reading->symbol_count) {
        struct symbol symbol = reading->symbols[reference];
        text = (struct slice){reading->request->message.bytes + symbol.at, symbol.length};
    } else {
        series_fault(series, "bad_label", "a label refers to a symbol that is not in the table");
    }
    if (series->half_label) {
        add_label(series, *key, text);
    } else {
        *key = text;
    }
    series->half_label = !series->half_label;
}

static bool add_references(const struct reading *reading, struct series *series,
                           const struct protobuf_field *field, struct slice *key)
{
    if (field->wire == WIRE_VARINT) {
        add_reference(reading, series, field->value, key);
        return true;
    }
    if (field->wire != WIRE_BYTES) {
        return false;
    }
    struct protobuf packed = protobuf_of(field->bytes);
    uint64_t reference = 0;
    while (packed.at < packed.end && protobuf_varint(&packed, &reference)) {
        add_reference(reading, series, reference, key);
    }
    return !packed.broken;
}

/* ---------------------------------------------------------------- metadata */

/* Type and, in 1.0 (`family` given), the name of the family. */
static bool read_metadata(struct slice bytes, uint64_t *type, struct slice *family)
{
    struct protobuf message = protobuf_of(bytes);
    struct protobuf_field field;
    *type = 0;
    while (protobuf_next(&message, &field)) {
        if (field.number == METADATA_TYPE) {
            if (field.wire != WIRE_VARINT) {
                return false;
            }
            *type = field.value;
        } else if (family && field.number == METADATA_1_FAMILY) {
            if (field.wire != WIRE_BYTES) {
                return false;
            }
            *family = field.bytes;
        }
    }
    return !message.broken;
}

/* The numbers are those of both versions. What is unknown, an info or a set of states has no kind
 * of its own. */
static enum status declare(const struct reading *reading, struct slice family, uint64_t type,
                           struct error *error)
{
    static const enum family_type types[] = {[1] = FAMILY_COUNTER,
                                             [2] = FAMILY_GAUGE,
                                             [3] = FAMILY_HISTOGRAM,
                                             [4] = FAMILY_GAUGE,
                                             [5] = FAMILY_SUMMARY};
    const struct points_visitor *points = reading->visitor;
    if (!points->declare || type == 0 || type >= ARRAY_COUNT(types)) {
        return STATUS_OK;
    }
    return points->declare(points->context, family, types[type], error);
}

/* The family that a series of 2.0 belongs to: a histogram's or summary's parts are named after it.
 */
static enum status declare_series(const struct reading *reading, const struct series *series,
                                  struct error *error)
{
    static const struct slice parts[] = {{"_bucket", 7}, {"_count", 6}, {"_sum", 4}};
    struct slice family = series->name;
    bool many = series->type == 3 || series->type == 5;
    for (size_t i = 0; many && i < ARRAY_COUNT(parts); i++) {
        size_t stem = family.length > parts[i].length ? family.length - parts[i].length : 0;
        if (stem > 0 && memcmp(family.bytes + stem, parts[i].bytes, parts[i].length) == 0) {
            family.length = stem;
            break;
        }
    }
    return declare(reading, family, series->type, error);
}

/* ---------------------------------------------------------------- one series: a first look */

static void series_begin(struct series *series, struct slice bytes)
{
    /* Field by field: clearing the labels would cost more than reading a small series. */
    series->bytes = bytes;
    series->label_bytes = (struct slice){bytes.bytes, 0};
    series->labels_together = true;
    series->first = NULL;
    series->has_name = series->half_label = false;
    series->name.bytes = series->text.bytes = "";
    series->name.length = series->text.length = 0;
    series->label_count = 0;
    series->number = 0;
    series->type = 0;
    series->fault.status = STATUS_OK;
}

/* Walks the fields of a series of 1.0: where its labels stand and where its samples begin. */
static bool survey_1(struct reading *reading, struct series *series)
{
    struct protobuf message = protobuf_of(series->bytes);
    struct protobuf_field field;
    for (const char *at = message.at; protobuf_next(&message, &field); at = message.at) {
        if (field.number > SERIES_1_HISTOGRAM) {
            continue;
        }
        if (field.wire != WIRE_BYTES) {
            return false;
        }
        if (field.number == SERIES_LABEL) {
            struct slice *labels = &series->label_bytes;
            if (labels->length == 0) {
                labels->bytes = at;
            } else if (labels->bytes + labels->length != at) {
                series->labels_together = false;
            }
            labels->length = (size_t)(message.at - labels->bytes);
        } else if (field.number == SERIES_SAMPLE) {
            series->first = series->first ? series->first : at;
        } else if (field.number == SERIES_1_EXEMPLAR) {
            reading->skipped->exemplars++;
        } else {
            reading->skipped->histograms++;
        }
    }
    return !message.broken;
}

/* The same of 2.0, where labels are small enough to be taken on the way. */
static bool survey_2(struct reading *reading, struct series *series)
{
    struct protobuf message = protobuf_of(series->bytes);
    struct protobuf_field field;
    struct slice key = {"", 0};
    for (const char *at = message.at; protobuf_next(&message, &field); at = message.at) {
        if (field.number == SERIES_LABEL) {
            if (!add_references(reading, series, &field, &key)) {
                return false;
            }
        } else if (field.number <= SERIES_2_METADATA) {
            if (field.wire != WIRE_BYTES) {
                return false;
            }
            if (field.number == SERIES_2_METADATA) {
                if (!read_metadata(field.bytes, &series->type, NULL)) {
                    return false;
                }
                continue;
            }
            if (field.number == SERIES_2_EXEMPLAR) {
                reading->skipped->exemplars++;
                continue;
            }
            reading->skipped->histograms += field.number == SERIES_2_HISTOGRAM;
            series->first = series->first ? series->first : at;
        }
    }
    if (series->half_label) {
        series_fault(series, "bad_label", "the label references do not come in pairs");
    }
    return !message.broken;
}

/* ---------------------------------------------------------------- one series: who it is */

/* What the visitor said when it was asked for a number: a refusal stays the series' fault. */
static enum status looked_up(const struct series *series, enum status status, struct error *error)
{
    if (status == STATUS_OK || status == STATUS_INVALID || status == STATUS_TOO_LARGE) {
        return STATUS_OK;
    }
    *error = series->fault;
    return status;
}

static bool cacheable(const struct reading *reading, const struct series *series)
{
    return reading->request->cache && reading->request->version == REMOTE_WRITE_1 &&
           series->labels_together && series->label_bytes.length > 0;
}

static enum status identify_known(struct reading *reading, struct series *series,
                                  struct identity *known, struct error *error)
{
    enum status status =
        points_cache_number(reading->request->cache, known, reading->visitor, &series->fault);
    series->text = identity_text(known);
    series->number = known->number;
    return looked_up(series, status, error);
}

/* Identities of 1.0 stand in the cache as labels without a series, which JSON never has. */
static enum status identify(struct reading *reading, struct series *series, struct error *error)
{
    static const struct slice no_series = {"", 0};
    bool cached = cacheable(reading, series);
    struct identity *known =
        cached ? points_cache_find(reading->request->cache, no_series, series->label_bytes) : NULL;
    if (known) {
        return identify_known(reading, series, known, error);
    }
    if (reading->request->version == REMOTE_WRITE_1 && !read_labels(series)) {
        return broken("a label is damaged", error);
    }
    if (!series->has_name) {
        series_fault(series, "bad_series_name", "the label __name__ is missing");
    }
    size_t length = 0;
    if (series->fault.status != STATUS_OK ||
        series_name_write(series->name, series->labels, series->label_count, reading->text, &length,
                          &series->fault) != STATUS_OK) {
        return STATUS_OK;
    }
    series->text = (struct slice){reading->text, length};
    uint64_t handle = 0;
    enum status status = reading->visitor->series(reading->visitor->context, series->text, &handle,
                                                  &series->number, &series->fault);
    if (status == STATUS_OK && cached) {
        known =
            points_cache_put(reading->request->cache, no_series, series->label_bytes, series->text);
    }
    if (known) {
        known->number = series->number;
        known->handle = handle;
    }
    return looked_up(series, status, error);
}

/* ---------------------------------------------------------------- one series: its samples */

static bool read_sample(struct slice bytes, uint64_t *bits, int64_t *time_ms)
{
    struct protobuf message = protobuf_of(bytes);
    struct protobuf_field field;
    uint64_t time = 0;
    *bits = 0; /* a field that is absent is zero */
    while (protobuf_next(&message, &field)) {
        if (field.number == SAMPLE_VALUE && field.wire == WIRE_FIXED64) {
            *bits = field.value;
        } else if (field.number == SAMPLE_TIME && field.wire == WIRE_VARINT) {
            time = field.value;
        } else if (field.number <= SAMPLE_TIME) {
            return false;
        }
    }
    memcpy(time_ms, &time, sizeof(time)); /* two's complement */
    return !message.broken;
}

static enum status hand_on(struct reading *reading, const struct series *series, uint64_t bits,
                           int64_t time_ms, struct error *error)
{
    const struct points_visitor *points = reading->visitor;
    struct point point = {.time_ms = time_ms};
    error->status = STATUS_OK;
    if (points_time((double)time_ms, time_ms, true, UNIT_MILLISECONDS, &point.time_ms, error) !=
        STATUS_OK) {
        return STATUS_INVALID;
    }
    if (bits == STALE_MARKER) {
        return points->end(points->context, series->number, time_ms, error);
    }
    memcpy(&point.value, &bits, sizeof(bits));
    if (isinf(point.value)) {
        error_set(error, STATUS_INVALID, "the value is infinite");
        return error_code(error, "bad_value", "value");
    }
    return points->point(points->context, series->number, point, error);
}

static enum status give_sample(struct reading *reading, const struct series *series,
                               struct slice bytes, struct error *error)
{
    uint64_t bits = 0;
    int64_t time_ms = 0;
    if (!read_sample(bytes, &bits, &time_ms)) {
        return broken("a sample is damaged", error);
    }
    if (series->fault.status != STATUS_OK) {
        *error = series->fault;
        return give_refusal(reading, series, error);
    }
    enum status status = hand_on(reading, series, bits, time_ms, error);
    if (status == STATUS_INVALID) {
        return give_refusal(reading, series, error);
    }
    reading->position++;
    return status;
}

static enum status give_samples(struct reading *reading, const struct series *series,
                                struct error *error)
{
    bool second = reading->request->version == REMOTE_WRITE_2;
    const char *end = series->bytes.bytes + series->bytes.length;
    struct protobuf message = {series->first, end, false};
    struct protobuf_field field;
    while (protobuf_next(&message, &field)) {
        enum status status = STATUS_OK;
        if (field.number == SERIES_SAMPLE) {
            status = give_sample(reading, series, field.bytes, error);
        } else if (second && field.number == SERIES_2_HISTOGRAM) {
            error_set(error, STATUS_INVALID, "native histograms cannot be stored");
            error_code(error, "bad_value", "histograms");
            status = give_refusal(reading, series, error);
        }
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static enum status read_series(struct reading *reading, struct slice bytes, struct error *error)
{
    struct series series;
    series_begin(&series, bytes);
    bool intact = reading->request->version == REMOTE_WRITE_1 ? survey_1(reading, &series)
                                                              : survey_2(reading, &series);
    if (!intact) {
        return broken("a series is damaged", error);
    }
    if (!series.first) {
        return STATUS_OK; /* exemplars alone, or nothing: the series does not begin by that */
    }
    enum status status = identify(reading, &series, error);
    if (status == STATUS_OK && series.type > 0 && series.fault.status == STATUS_OK) {
        status = declare_series(reading, &series, error);
    }
    return status == STATUS_OK ? give_samples(reading, &series, error) : status;
}

/* ---------------------------------------------------------------- the message */

/* Counts the symbols, or (`out` given) notes where they stand. */
static enum status walk_symbols(struct slice bytes, struct symbol *out, size_t *count,
                                struct error *error)
{
    struct protobuf message = protobuf_of(bytes);
    struct protobuf_field field;
    *count = 0;
    while (protobuf_next(&message, &field)) {
        if (field.number != REQUEST_2_SYMBOL) {
            continue;
        }
        if (field.wire != WIRE_BYTES) {
            return broken("a symbol is no string", error);
        }
        if (*count == 0 && field.bytes.length > 0) {
            return broken("the first symbol is not the empty string", error);
        }
        if (out) {
            out[*count] = (struct symbol){(uint32_t)(field.bytes.bytes - bytes.bytes),
                                          (uint32_t)field.bytes.length};
        }
        (*count)++;
    }
    return message.broken ? broken("its fields do not fit its length", error) : STATUS_OK;
}

static enum status index_symbols(struct reading *reading, struct error *error)
{
    struct slice message = reading->request->message;
    size_t count = 0;
    if (walk_symbols(message, NULL, &count, error) != STATUS_OK) {
        return error->status;
    }
    if (count > SYMBOLS_MAX || message.length > UINT32_MAX) {
        error_set(error, STATUS_TOO_LARGE, "more than %zu symbols in one request", SYMBOLS_MAX);
        return error_code(error, "body_too_large", "symbols");
    }
    if (count == 0) {
        return STATUS_OK;
    }
    reading->symbols = mem_array(count, sizeof(*reading->symbols));
    if (!reading->symbols) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the symbols");
    }
    return walk_symbols(message, reading->symbols, &reading->symbol_count, error);
}

static enum status read_all_series(struct reading *reading, struct error *error)
{
    uint32_t number =
        reading->request->version == REMOTE_WRITE_1 ? REQUEST_1_SERIES : REQUEST_2_SERIES;
    struct protobuf message = protobuf_of(reading->request->message);
    struct protobuf_field field;
    while (protobuf_next(&message, &field)) {
        if (number == REQUEST_1_SERIES && field.number == REQUEST_1_METADATA) {
            struct slice family = {"", 0};
            uint64_t type = 0;
            if (field.wire != WIRE_BYTES || !read_metadata(field.bytes, &type, &family)) {
                return broken("the metadata is damaged", error);
            }
            if (declare(reading, family, type, error) != STATUS_OK) {
                return error->status;
            }
        }
        if (field.number != number) {
            continue; /* symbols, and what later versions add */
        }
        if (field.wire != WIRE_BYTES) {
            return broken("a series is no message", error);
        }
        if (read_series(reading, field.bytes, error) != STATUS_OK) {
            return error->status;
        }
    }
    return message.broken ? broken("its fields do not fit its length", error) : STATUS_OK;
}

enum status remote_write_read(const struct remote_write *request,
                              const struct points_visitor *visitor,
                              struct remote_write_skipped *skipped, struct error *error)
{
    struct reading reading;
    reading.request = request;
    reading.visitor = visitor;
    reading.skipped = skipped;
    reading.symbols = NULL;
    reading.symbol_count = 0;
    reading.position = 0;
    if (request->cache) {
        request->cache->serial++;
    }
    error->status = STATUS_OK;
    enum status status =
        request->version == REMOTE_WRITE_2 ? index_symbols(&reading, error) : STATUS_OK;
    if (status == STATUS_OK) {
        status = read_all_series(&reading, error);
    }
    mem_free(reading.symbols);
    return status;
}
