/* Results of functions: one list of statuses, and an error that carries status, text and hint.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every function that can fail returns `enum status` (zero is success), marked MUST_USE; results go
 * out through pointers; the last parameter is a `struct error *`, which may not be NULL. The
 * function that handles an error logs it; the ones that pass it on do not.
 *
 * Text: lower case, no period, says what was attempted and why it failed, quotes names; "could not"
 * for what may work later, "cannot" for what never will. The hint is a full sentence for the user.
 */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(string, first) __attribute__((format(printf, string, first)))

#define STATUS_LIST(X)                                                                             \
    X(OK, "ok")                                                                                    \
    X(INVALID, "invalid")                                                                          \
    X(NOT_FOUND, "not found")                                                                      \
    X(CONFLICT, "conflict")                                                                        \
    X(TOO_LARGE, "too large")                                                                      \
    X(BUSY, "busy")                                                                                \
    X(NOT_READY, "not ready")                                                                      \
    X(CANCELLED, "cancelled")                                                                      \
    X(TIMEOUT, "timeout")                                                                          \
    X(NO_MEMORY, "out of memory")                                                                  \
    X(NO_SPACE, "out of disk space")                                                               \
    X(IO, "input/output error")                                                                    \
    X(CORRUPT, "corrupt")                                                                          \
    X(UNSUPPORTED, "unsupported")                                                                  \
    X(INTERNAL, "internal error")

enum status {
#define STATUS_ENUM(name, text) STATUS_##name,
    STATUS_LIST(STATUS_ENUM)
#undef STATUS_ENUM
};

/* What went wrong. A plain value: copy it freely, nothing to release. Start it as `= {0}`. */
struct error {
    enum status status;
    const char *code; /* stable machine code as a string literal, or NULL: status_code() */
    char param[64];   /* the option, parameter or field at fault, or empty */
    char text[320];   /* one line for people */
    char hint[240];   /* what would be right, a full sentence, or empty */
};

/* "input/output error" and so on; never NULL. */
const char *status_text(enum status status);

/* The stable snake_case code of a status: "not_found", "no_memory" ...; never NULL. */
const char *status_code(enum status status);

/* Fill `error` (code, param and hint cleared) and return `status`, so that a failing line is one line. */
enum status error_set(struct error *error, enum status status, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Put "what we were doing: " in front of the text already there; returns the status already there. */
enum status error_wrap(struct error *error, const char *format, ...) PRINTF_LIKE(2, 3);

/* Add the machine code and the parameter at fault (either may be NULL); returns error->status. */
enum status error_code(struct error *error, const char *code, const char *param);

/* Add the hint; returns error->status. */
enum status error_hint(struct error *error, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
