/* Results of functions: the texts of statuses, and filling in an error.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Copies without splitting a UTF-8 character: a truncated text must still be valid JSON. */
static void copy_bounded(char *target, size_t capacity, const char *source)
{
    size_t length = strlen(source);
    if (length >= capacity) {
        length = capacity - 1;
        while (length > 0 && ((unsigned char)source[length] & 0xC0) == 0x80) {
            length--;
        }
    }
    memmove(target, source, length);
    target[length] = '\0';
}

/* vsnprintf cut at a whole character. */
static void print_bounded(char *target, size_t capacity, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));

static void print_bounded(char *target, size_t capacity, const char *format, va_list arguments)
{
    char line[1024];
    int written = vsnprintf(line, sizeof(line), format, arguments);
    if (written < 0) {
        copy_bounded(target, capacity, "unprintable error");
        return;
    }
    copy_bounded(target, capacity, line);
}

const char *status_text(enum status status)
{
    switch (status) {
#define STATUS_CASE(name, text)                                                                    \
    case STATUS_##name:                                                                            \
        return text;
        STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
    }
    return "unknown status";
}

const char *status_code(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return "ok";
    case STATUS_INVALID:
        return "invalid";
    case STATUS_NOT_FOUND:
        return "not_found";
    case STATUS_CONFLICT:
        return "conflict";
    case STATUS_TOO_LARGE:
        return "too_large";
    case STATUS_BUSY:
        return "busy";
    case STATUS_NOT_READY:
        return "not_ready";
    case STATUS_CANCELLED:
        return "cancelled";
    case STATUS_TIMEOUT:
        return "timeout";
    case STATUS_NO_MEMORY:
        return "no_memory";
    case STATUS_NO_SPACE:
        return "no_space";
    case STATUS_IO:
        return "io";
    case STATUS_CORRUPT:
        return "corrupt";
    case STATUS_UNSUPPORTED:
        return "unsupported";
    case STATUS_INTERNAL:
        return "internal";
    }
    return "unknown";
}

enum status error_set(struct error *error, enum status status, const char *format, ...)
{
    /* Through a local: an argument may be error->text itself. */
    char text[sizeof(error->text)];
    va_list arguments;
    va_start(arguments, format);
    print_bounded(text, sizeof(text), format, arguments);
    va_end(arguments);
    error->status = status;
    error->code = NULL;
    error->param[0] = '\0';
    error->hint[0] = '\0';
    memcpy(error->text, text, sizeof(text));
    return status;
}

enum status error_wrap(struct error *error, const char *format, ...)
{
    char text[sizeof(error->text)];
    va_list arguments;
    va_start(arguments, format);
    print_bounded(text, sizeof(text), format, arguments);
    va_end(arguments);
    size_t length = strlen(text);
    if (length + 2 < sizeof(text)) {
        memcpy(text + length, ": ", 3);
        length += 2;
        copy_bounded(text + length, sizeof(text) - length, error->text);
    }
    copy_bounded(error->text, sizeof(error->text), text);
    return error->status;
}

enum status error_code(struct error *error, const char *code, const char *param)
{
    if (code != NULL) {
        error->code = code;
    }
    if (param != NULL) {
        copy_bounded(error->param, sizeof(error->param), param);
    }
    return error->status;
}

enum status error_hint(struct error *error, const char *format, ...)
{
    char hint[sizeof(error->hint)];
    va_list arguments;
    va_start(arguments, format);
    print_bounded(hint, sizeof(hint), format, arguments);
    va_end(arguments);
    copy_bounded(error->hint, sizeof(error->hint), hint);
    return error->status;
}
