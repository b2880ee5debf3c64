/* The daemon: its parts built in order, taken down in reverse.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   storage -> writer -> registry -> catalogue -> jobs -> services -> refresher -> scheduler ->
 * http
 *
 * Stopping: readyz says 503, the port stops accepting, requests finish, training is cancelled, the
 * writer commits what is queued and moves it out of the journal, the store is closed. All of it
 * within the ten seconds after which a container is killed, with little processor time too: see
 * daemon.c. main may block on signals only; the threads and who owns what are listed in
 * ARCHITECTURE.md.
 */
#ifndef SERVER_DAEMON_H
#define SERVER_DAEMON_H

#include "server/config.h"

struct daemon;

struct daemon_options {
    const struct config *config; /* copied */
    const char *storage_url;     /* NULL: sqlite in storage.path; tests say "memory:" */
    bool insecure;
};

enum status daemon_start(const struct daemon_options *options, struct daemon **out,
                         struct error *error) MUST_USE;

/* The port that was bound. */
int daemon_port(struct daemon *daemon);

/* What has to be done about once a second: deadlines of clients. */
void daemon_tick(struct daemon *daemon);

/* Takes over what may change while running. */
void daemon_reload(struct daemon *daemon, const struct config *next);

/* Requests get `grace_ms` to finish, a training that is told to end and points that wait in the
 * journal some seconds. False where that was too short: everything that was acknowledged is on
 * disk, but the daemon is still there, and the process has to leave without taking it down. */
bool daemon_stop(struct daemon *daemon, int64_t grace_ms);

/* Starts, waits for signals, stops: SIGTERM and SIGINT end it, SIGHUP reads `sources` again.
 * Returns the exit code. */
int daemon_run(const struct daemon_options *options, const struct config_sources *sources);

#endif
