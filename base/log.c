/* Levelled log, one line an event, key=value (logfmt) or JSON, to standard error.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A line is built on the caller's stack and leaves in one write, so lines of different threads
 * never mix; the lock guards only the table of rates and is not held while writing.
 */
#include "base/log.h"

#include "base/clock.h"
#include "base/json_reader.h"
#include "base/lock.h"
#include "base/text.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DETAIL_BYTES_MAX 2048
#define LINE_BYTES_MAX   8192
#define RATE_PLACES      256
#define RATE_PER_SECOND  10

static atomic_int log_level_now = LOG_INFO;
static atomic_int log_as_json;

/* How often one place in the code has logged within its second. */
struct rate {
    const char *message;
    const char *format;
    int64_t second;
    uint32_t count;
    uint32_t dropped;
};

static struct lock rate_lock = {PTHREAD_MUTEX_INITIALIZER};
static struct rate rates[RATE_PLACES]; /* guarded by rate_lock; a clash forgets the older place */

/* Whether the line may go out; then *dropped is how many before it did not. The place is known by
 * its two literals: one alone may be shared, since the linker merges equal literals. */
static bool rate_allows(const char *message, const char *format, uint32_t *dropped)
{
    uintptr_t key = ((uintptr_t)message * 31) ^ (uintptr_t)format;
    key *= (uintptr_t)UINT64_C(0x9E3779B97F4A7C15);
    size_t index = (size_t)(key >> (sizeof(key) * 8 - 8)) % RATE_PLACES;
    int64_t second = clock_monotonic_ns() / 1000000000;
    bool allowed = true;
    *dropped = 0;
    lock_acquire(&rate_lock);
    struct rate *rate = &rates[index];
    if (rate->message != message || rate->format != format) {
        *rate = (struct rate){.message = message, .format = format, .second = second};
    }
    if (rate->second != second) {
        rate->second = second;
        rate->count = 0;
    }
    if (rate->count >= RATE_PER_SECOND) {
        rate->dropped++;
        allowed = false;
    } else {
        rate->count++;
        *dropped = rate->dropped;
        rate->dropped = 0;
    }
    lock_release(&rate_lock);
    return allowed;
}

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_ERROR:
        return "error";
    case LOG_WARNING:
        return "warning";
    case LOG_INFO:
        return "info";
    case LOG_DEBUG:
        return "debug";
    }
    return "error";
}

/* One event is one line: a control character that slipped through must not start a second one. */
static void blank_controls(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7F) {
            *text = ' ';
        }
    }
}

/* The length of a value at the start: up to the closing quote, or up to the next blank. */
static size_t value_length(const char *value)
{
    if (value[0] != '"') {
        return strcspn(value, " ");
    }
    size_t length = 1;
    while (value[length] != '\0' && value[length] != '"') {
        length += value[length] == '\\' && value[length + 1] != '\0' ? 2 : 1;
    }
    return value[length] == '"' ? length + 1 : length;
}

/* Whether the bytes are one JSON value that may be copied as it is: a number or a quoted string. */
static bool is_json_scalar(const char *value, size_t length)
{
    struct json_reader reader;
    json_reader_init(&reader, value, length);
    enum json_token token = json_next(&reader);
    return (token == JSON_STRING || token == JSON_NUMBER) && json_next(&reader) == JSON_END;
}

/* key=value pairs as members of the object; words without = are gathered under "detail". */
void log_add_members(struct text *line, const char *detail)
{
    while (*detail != '\0') {
        if (*detail == ' ') {
            detail++;
            continue;
        }
        size_t key_length = strcspn(detail, "= \"");
        if (key_length == 0 || detail[key_length] != '=') {
            text_add_string(line, ",\"detail\":");
            text_add_json_string(line, detail, strlen(detail));
            return;
        }
        text_add_char(line, ',');
        text_add_json_string(line, detail, key_length);
        text_add_char(line, ':');
        detail += key_length + 1;
        size_t length = value_length(detail);
        if (is_json_scalar(detail, length)) {
            text_add(line, detail, length);
        } else {
            text_add_json_string(line, detail, length);
        }
        detail += length;
    }
}

static void write_line(const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(STDERR_FILENO, bytes, length);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return; /* nobody is left to be told */
        }
        bytes += written;
        length -= (size_t)written;
    }
}

struct event {
    enum log_level level;
    const char *module;
    const char *message;
    const char *detail;
    uint32_t dropped;
};

static void build_logfmt(struct text *line, const struct event *event)
{
    text_add_string(line, "time=");
    text_add_time(line, clock_wall_ms());
    text_add_string(line, " level=");
    text_add_string(line, level_name(event->level));
    text_add_string(line, " module=");
    text_add_string(line, event->module);
    text_add_string(line, " msg=");
    text_add_json_string(line, event->message, strlen(event->message));
    if (event->detail[0] != '\0') {
        text_add_char(line, ' ');
        text_add_string(line, event->detail);
    }
    if (event->dropped != 0) {
        text_add_string(line, " dropped=");
        text_add_int(line, event->dropped);
    }
}

static void build_json(struct text *line, const struct event *event)
{
    text_add_string(line, "{\"time\":\"");
    text_add_time(line, clock_wall_ms());
    text_add_string(line, "\",\"level\":\"");
    text_add_string(line, level_name(event->level));
    text_add_string(line, "\",\"module\":");
    text_add_json_string(line, event->module, strlen(event->module));
    text_add_string(line, ",\"msg\":");
    text_add_json_string(line, event->message, strlen(event->message));
    log_add_members(line, event->detail);
    if (event->dropped != 0) {
        text_add_string(line, ",\"dropped\":");
        text_add_int(line, event->dropped);
    }
    text_add_char(line, '}');
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&log_level_now, (int)level, memory_order_relaxed);
}

void log_set_json(int json)
{
    atomic_store_explicit(&log_as_json, json, memory_order_relaxed);
}

bool log_is_json(void)
{
    return atomic_load_explicit(&log_as_json, memory_order_relaxed) != 0;
}

void log_line(enum log_level level, const char *module, const char *message, const char *format,
              ...)
{
    if ((int)level > atomic_load_explicit(&log_level_now, memory_order_relaxed)) {
        return;
    }
    int saved_errno = errno;
    struct event event = {.level = level, .module = module, .message = message};
    if (!rate_allows(message, format, &event.dropped)) {
        errno = saved_errno;
        return;
    }
    char detail[DETAIL_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(detail, sizeof(detail), format, arguments) < 0) {
        detail[0] = '\0';
    }
    va_end(arguments);
    blank_controls(detail);
    event.detail = detail;

    struct text line;
    text_init(&line, LINE_BYTES_MAX);
    if (log_is_json()) {
        build_json(&line, &event);
    } else {
        build_logfmt(&line, &event);
    }
    text_add_char(&line, '\n');
    if (line.failed == STATUS_OK) {
        write_line(line.bytes, line.length);
    } else {
        /* Out of memory is when a message matters most. */
        write_line(message, strlen(message));
        write_line("\n", 1);
    }
    text_release(&line);
    errno = saved_errno;
}

const char *log_quote(const char *text, size_t length, char *buffer, size_t capacity)
{
    /* The escapes are those of JSON, so that the JSON form can take them over. */
    if (capacity < 3) {
        if (capacity > 0) {
            buffer[0] = '\0';
        }
        return buffer;
    }
    size_t used = 0;
    buffer[used++] = '"';
    for (size_t at = 0; at < length;) {
        char piece[8];
        size_t piece_length;
        size_t width = utf8_length(text + at, length - at);
        unsigned char c = (unsigned char)text[at];
        if (width == 0) {
            memcpy(piece, "\xEF\xBF\xBD", 3);
            piece_length = 3;
            width = 1;
        } else if (c == '"' || c == '\\') {
            piece[0] = '\\';
            piece[1] = (char)c;
            piece_length = 2;
        } else if (c < 0x20 || c == 0x7F) {
            piece_length = (size_t)snprintf(piece, sizeof(piece), "\\u%04x", (unsigned)c);
        } else {
            memcpy(piece, text + at, width);
            piece_length = width;
        }
        if (used + piece_length + 2 > capacity) {
            break;
        }
        memcpy(buffer + used, piece, piece_length);
        used += piece_length;
        at += width;
    }
    buffer[used++] = '"';
    buffer[used] = '\0';
    return buffer;
}
