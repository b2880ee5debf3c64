/* Who may come in and what we may do: tokens, certificate, audit log and sandbox of a daemon.
 * SPDX-License-Identifier: Apache-2.0
 *
 * At the start a file that makes no sense stops the daemon, named by its option. Later on, what was
 * in use stays in use and the log says so. The file of tokens is looked at every second, so that
 * one that was revoked is out soon, and as often read until that works; certificate and audit log
 * are opened again on SIGHUP.
 */
#ifndef SERVER_GUARD_H
#define SERVER_GUARD_H

#include "server/audit.h"
#include "server/config.h"

struct guard;

/* `config` outlives it. STATUS_IO and STATUS_INVALID name file and option. */
enum status guard_open(const struct config *config, struct guard **out,
                       struct error *error) MUST_USE;
void guard_close(struct guard *guard); /* NULL is fine */

struct access *guard_access(const struct guard *guard); /* NULL: no tokens are asked for */
struct audit *guard_audit(const struct guard *guard);

/* About once a second. Main thread, as guard_reload. */
void guard_tick(struct guard *guard);

/* False: something is as it was, because it could not be read. */
bool guard_reload(struct guard *guard);

/* What whoever runs the daemon should know about who can reach it. */
void guard_warn(const struct config *config, bool insecure, bool loopback);

/* The sandbox (server/sandbox.h), where server.sandbox asks for it: files before the first thread
 * is started, system calls when everything runs. The first makes the folder of the store, which has
 * to be there for a rule. `config_file` may be NULL. */
bool guard_limit_files(const struct config *config, const char *config_file);
void guard_limit_calls(const struct config *config, bool files_limited);

#endif
