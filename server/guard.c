/* Who may come in and what we may do: tokens, certificate, audit log and sandbox of a daemon.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/guard.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "server/quoted.h"
#include "server/sandbox.h"
#include "server/tls.h"
#include "server/token_file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATHS_MAX (24 + 6 * ALERT_RULES_MAX)

struct guard {
    const struct config *config;
    struct access *access;
    struct audit *audit;
    struct stat seen;   /* of the file of tokens, when it was read */
    struct error wrong; /* why that failed; STATUS_OK: it did not */
};

/* Zeros where there is no file, or it cannot be looked at. */
static void look_at_tokens(const struct guard *guard, struct stat *about)
{
    if (stat(guard->config->tokens, about) != 0) {
        memset(about, 0, sizeof(*about));
    }
}

/* What was read before stays where this fails. The look comes first, so that the next one sees what
 * has changed since. */
static enum status read_tokens(struct guard *guard, struct error *error)
{
    struct token_list tokens;
    const char *path = guard->config->tokens;
    look_at_tokens(guard, &guard->seen);
    if (token_file_read(path, &tokens, error) != STATUS_OK) {
        guard->wrong = *error;
        return error->status;
    }
    guard->wrong = (struct error){0};
    if (tokens.count == 0) {
        log_warning("guard", "there is no token: nobody gets in", "file=%s", QUOTED(path));
    }
    log_info("guard", "tokens read", "count=%zu", tokens.count);
    access_replace_take(guard->access, &tokens);
    return STATUS_OK;
}

static enum status read_certificate(const struct config *config, struct error *error)
{
    enum status status = tls_load(config->tls_cert, config->tls_key, error);
    if (status == STATUS_OK && tls_expires_ms() < clock_wall_ms()) {
        log_warning("guard", "the certificate has expired", "file=%s", QUOTED(config->tls_cert));
    }
    return status;
}

enum status guard_open(const struct config *config, struct guard **out, struct error *error)
{
    struct guard *guard = mem_zeroed(1, sizeof(*guard));
    if (guard == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not start: out of memory");
    }
    guard->config = config;
    enum status status = audit_open(config->audit, &guard->audit, error);
    if (status == STATUS_OK && config->tokens[0] != '\0') {
        status = access_new(&guard->access, error);
        if (status == STATUS_OK) {
            status = read_tokens(guard, error);
        }
    }
    if (status == STATUS_OK && config->tls_cert[0] != '\0') {
        status = read_certificate(config, error);
    }
    if (status != STATUS_OK) {
        guard_close(guard);
        return status;
    }
    *out = guard;
    return STATUS_OK;
}

void guard_close(struct guard *guard)
{
    if (guard != NULL) {
        access_free(guard->access);
        audit_close(guard->audit);
        tls_unload();
        mem_free(guard);
    }
}

struct access *guard_access(const struct guard *guard)
{
    return guard->access;
}

struct audit *guard_audit(const struct guard *guard)
{
    return guard->audit;
}

/* ---------------------------------------------------------------- while running */

static bool same_moment(const struct timespec *one, const struct timespec *other)
{
    return one->tv_sec == other->tv_sec && one->tv_nsec == other->tv_nsec;
}

/* Mode and owner decide, too, whether the file can be read and is believed. */
static bool tokens_changed(const struct guard *guard)
{
    struct stat now;
    const struct stat *seen = &guard->seen;
    look_at_tokens(guard, &now);
    return now.st_dev != seen->st_dev || now.st_ino != seen->st_ino ||
           now.st_size != seen->st_size || now.st_mode != seen->st_mode ||
           now.st_uid != seen->st_uid || now.st_gid != seen->st_gid ||
           !same_moment(&now.st_mtim, &seen->st_mtim) || !same_moment(&now.st_ctim, &seen->st_ctim);
}

static void say_not_read(const struct error *error)
{
    log_error("guard", "tokens not read again", "reason=%s", QUOTED(error->text));
}

/* What failed is tried each time, changed or not: memory, descriptors or the disk may be there
 * again, and until then a token that was revoked still holds. The same reason is said once. */
void guard_tick(struct guard *guard)
{
    struct error error = {0}, before = guard->wrong;
    if (guard->access == NULL || (before.status == STATUS_OK && !tokens_changed(guard))) {
        return;
    }
    if (read_tokens(guard, &error) == STATUS_OK) {
        audit_event(guard->audit, "tokens", "read again");
    } else if (strcmp(error.text, before.text) != 0) {
        say_not_read(&error);
        audit_event(guard->audit, "tokens", "kept what was in use");
    }
}

bool guard_reload(struct guard *guard)
{
    const struct config *config = guard->config;
    struct error error = {0};
    bool fine = true;
    if (guard->access != NULL && read_tokens(guard, &error) != STATUS_OK) {
        say_not_read(&error);
        fine = false;
    }
    if (config->tls_cert[0] != '\0') {
        if (read_certificate(config, &error) == STATUS_OK) {
            log_info("guard", "certificate read again", "file=%s", QUOTED(config->tls_cert));
        } else {
            log_error("guard", "certificate not read again", "reason=%s", QUOTED(error.text));
            fine = false;
        }
    }
    if (audit_reopen(guard->audit, &error) != STATUS_OK) {
        log_error("guard", "audit log not opened again", "reason=%s", QUOTED(error.text));
        fine = false;
    }
    audit_event(guard->audit, "reload", fine ? "done" : "kept what was in use");
    return fine;
}

void guard_warn(const struct config *config, bool insecure, bool loopback)
{
    if (insecure && config->tokens[0] == '\0') {
        log_warning("guard", "anybody who reaches the port can read and write", "listen=%s",
                    QUOTED(config->listen));
    }
    if (!loopback && config->tokens[0] != '\0' && config->tls_cert[0] == '\0') {
        log_warning("guard", "tokens cross the network in clear text", "listen=%s hint=%s",
                    QUOTED(config->listen), "\"set tls.cert and tls.key, or let a proxy do TLS\"");
    }
}

/* ---------------------------------------------------------------- sandbox */

struct paths {
    struct sandbox_path items[PATHS_MAX];
    char folders[PATHS_MAX][PATH_MAX];
    size_t count;
};

static void add_path(struct paths *paths, const char *path, enum sandbox_access access)
{
    if (paths->count < PATHS_MAX) {
        char *copy = paths->folders[paths->count];
        snprintf(copy, PATH_MAX, "%s", path);
        paths->items[paths->count++] = (struct sandbox_path){copy, access};
    }
}

/* The folder that a file lies in, since files are replaced by new ones of the same name; and where
 * a link leads, as in a mounted secret or with Let's Encrypt. */
static void add_folder_of(struct paths *paths, const char *file, enum sandbox_access access)
{
    char folder[PATH_MAX], *real = file[0] != '\0' ? realpath(file, NULL) : NULL;
    const char *names[] = {file, real};
    for (size_t i = 0; i < 2; i++) {
        if (names[i] == NULL || names[i][0] == '\0') {
            continue;
        }
        const char *slash = strrchr(names[i], '/');
        snprintf(folder, sizeof(folder), "%.*s", slash != NULL ? (int)(slash - names[i] + 1) : 1,
                 slash != NULL ? names[i] : ".");
        add_path(paths, folder, access);
    }
    free(real);
}

/* Whether an address "scheme://host..." says a name, not digits. */
static bool has_name(const char *address)
{
    char host[64];
    struct in_addr digits;
    const char *begin = strstr(address, "://");
    begin = begin != NULL ? begin + 3 : address;
    size_t length = strcspn(begin, ":/?#");
    snprintf(host, sizeof(host), "%.*s", (int)length, begin);
    return *begin != '[' && (length >= sizeof(host) || inet_pton(AF_INET, host, &digits) != 1);
}

static bool looks_up_names(const struct config *config)
{
    bool found = config->mqtt_broker[0] != '\0' && has_name(config->mqtt_broker);
    for (size_t i = 0; i < config->alerts.count; i++) {
        found = found || has_name(config->alerts.rules[i].url); /* empty: it is in a file */
    }
    return found;
}

/* Who looks up names reads /etc/hosts and /etc/resolv.conf, which tools replace by new files, as
 * they do at the first lease of a machine: so the least that holds is every file below /etc. The
 * second may be a link to where such a tool keeps it, and lead nowhere yet. */
static void add_names(struct paths *paths)
{
    static const char resolver[] = "/etc/resolv.conf";
    static const char *const folders[] = {"/etc", "/run/systemd/resolve", "/run/NetworkManager",
                                          "/run/resolvconf"};
    char leads[PATH_MAX / 2], folder[PATH_MAX];
    for (size_t i = 0; i < ARRAY_COUNT(folders); i++) {
        add_path(paths, folders[i], SANDBOX_FILES_ALONE);
    }
    char *real = realpath(resolver, NULL);
    ssize_t length = readlink(resolver, leads, sizeof(leads) - 1);
    leads[length > 0 ? length : 0] = '\0';
    snprintf(folder, sizeof(folder), "%s%s", real != NULL || leads[0] == '/' ? "" : "/etc/",
             real != NULL ? real : leads);
    free(real);
    char *slash = strrchr(folder, '/');
    if (length > 0 && slash != NULL && slash != folder) {
        *slash = '\0';
        add_path(paths, folder, SANDBOX_FILES_ALONE);
    }
}

/* With the folders above it, as opening the store would make them. */
static void make_folders(const char *path)
{
    char part[PATH_MAX];
    size_t length = strlen(path);
    if (length >= sizeof(part)) {
        return;
    }
    for (size_t i = 1; i <= length; i++) {
        if ((path[i] == '/' || path[i] == '\0') && path[i - 1] != '/') {
            snprintf(part, sizeof(part), "%.*s", (int)i, path);
            bool last = strspn(path + i, "/") == length - i;
            (void)mkdir(part, last ? 0700 : 0750);
        }
    }
}

bool guard_limit_files(const struct config *config, const char *config_file)
{
    /* A rule needs a folder that is there; where it cannot be made, opening the store says why. It
     * is private without a sandbox, too. */
    make_folders(config->path);
    if (!config->sandbox || !sandbox_is_possible()) {
        return false;
    }
    struct paths *paths = mem_zeroed(1, sizeof(*paths));
    if (paths == NULL) {
        return false;
    }
    add_path(paths, config->path, SANDBOX_CHANGE);
    add_folder_of(paths, config->audit, SANDBOX_CHANGE);
    add_folder_of(paths, config->tokens, SANDBOX_READ);
    add_folder_of(paths, config->tls_cert, SANDBOX_READ);
    add_folder_of(paths, config->tls_key, SANDBOX_READ);
    add_folder_of(paths, config->mqtt_password_file, SANDBOX_READ);
    add_folder_of(paths, config->mqtt_ca_file, SANDBOX_READ);
    for (size_t i = 0; i < config->alerts.count; i++) {
        add_folder_of(paths, config->alerts.rules[i].url_file, SANDBOX_READ);
        add_folder_of(paths, config->alerts.rules[i].header_file, SANDBOX_READ);
        add_folder_of(paths, config->alerts.rules[i].ca_file, SANDBOX_READ);
    }
    add_folder_of(paths, config_file != NULL ? config_file : "", SANDBOX_READ);
    if (looks_up_names(config)) {
        add_names(paths);
    }
    bool fine = sandbox_limit_files(paths->items, paths->count);
    if (!fine) {
        log_warning("guard", "files stay open to the process", "reason=%s",
                    QUOTED(strerror(errno)));
    }
    mem_free(paths);
    return fine;
}

void guard_limit_calls(const struct config *config, bool files_limited)
{
    if (!config->sandbox || !sandbox_is_possible()) {
        log_info("guard", "no sandbox", "reason=%s",
                 config->sandbox ? "\"built with a sanitizer\"" : "server.sandbox");
        return;
    }
    bool fine = sandbox_limit_calls();
    if (!fine) {
        log_warning("guard", "system calls stay open to the process", "reason=%s",
                    QUOTED(strerror(errno)));
    }
    log_info("guard", "sandbox", "files=%s calls=%s", files_limited ? "landlock" : "open",
             fine ? "seccomp" : "open");
}
