/* Levelled log, one line an event, key=value (logfmt) or JSON, to standard error.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     log_info("scheduler", "champion replaced", "group=%s model=%s", group, id);
 *
 * prints  time=2026-11-22T13:40:00Z level=info module=scheduler msg="champion replaced" group=5m
 * model=5m-7
 *
 * As JSON the pairs become members: numbers and quoted values as they are, all else as strings.
 *
 * Never inside ops, arenas or queues. Client text must be quoted with log_quote. Repeated lines of
 * one place are limited to 10 a second; the next one that passes says how many were dropped.
 * Threads: any; one write per line.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

struct text;

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level);
void log_set_json(int json);
bool log_is_json(void);

/* key=value pairs as members of a JSON object, each behind a comma, as lines of the log have them:
 * for lines that are written past it. */
void log_add_members(struct text *line, const char *pairs);

void log_line(enum log_level level, const char *module, const char *message, const char *format,
              ...) PRINTF_LIKE(4, 5);

#define log_error(module, message, ...)   log_line(LOG_ERROR, module, message, __VA_ARGS__)
#define log_warning(module, message, ...) log_line(LOG_WARNING, module, message, __VA_ARGS__)
#define log_info(module, message, ...)    log_line(LOG_INFO, module, message, __VA_ARGS__)
#define log_debug(module, message, ...)   log_line(LOG_DEBUG, module, message, __VA_ARGS__)

/* Quote and escape at most `length` bytes of foreign text into `buffer`; returns buffer. */
const char *log_quote(const char *text, size_t length, char *buffer, size_t capacity);

#endif
