/* One thread a name, shared with whoever waits for it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/lookup.h"

#include "base/check.h"
#include "base/memory.h"
#include "server/threads.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct lookup {
    atomic_int holders; /* its thread and who waits */
    char *host, *port;
    int done_fd; /* readable: */
    atomic_bool done;
    int failure;
    struct addrinfo *found; /* NULL once it is the caller's */
};

static void let_go(struct lookup *lookup)
{
    if (atomic_fetch_sub(&lookup->holders, 1) > 1) {
        return;
    }
    if (lookup->found != NULL) {
        freeaddrinfo(lookup->found);
    }
    if (lookup->done_fd >= 0) {
        close(lookup->done_fd);
    }
    mem_free(lookup->host);
    mem_free(lookup->port);
    mem_free(lookup);
}

static int ask(const char *host, const char *port, int flags, struct addrinfo **found)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags};
    *found = NULL;
    return getaddrinfo(host, port, &hints, found);
}

static void *lookup_main(void *context)
{
    struct lookup *lookup = context;
    const uint64_t one = 1;
    lookup->failure = ask(lookup->host, lookup->port, 0, &lookup->found);
    atomic_store(&lookup->done, true);
    CHECK(write(lookup->done_fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
    let_go(lookup);
    return NULL;
}

static enum status start(const char *host, const char *port, struct lookup **out,
                         struct error *error)
{
    pthread_t thread;
    struct lookup *lookup = mem_zeroed(1, sizeof(*lookup));
    if (lookup == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "no memory to look up a name");
    }
    enum status status = STATUS_OK;
    atomic_store(&lookup->holders, 1);
    lookup->host = mem_copy_text(host, strlen(host));
    lookup->port = mem_copy_text(port, strlen(port));
    lookup->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (lookup->host == NULL || lookup->port == NULL) {
        status = error_set(error, STATUS_NO_MEMORY, "no memory to look up a name");
    } else if (lookup->done_fd < 0) {
        status = error_set(error, STATUS_IO, "could not make an event: %s", strerror(errno));
    }
    if (status == STATUS_OK) {
        atomic_store(&lookup->holders, 2);
        status = thread_start(&thread, "lookup", lookup_main, lookup, error);
    }
    if (status != STATUS_OK) {
        atomic_store(&lookup->holders, 1);
        let_go(lookup);
        return status;
    }
    pthread_detach(thread);
    *out = lookup;
    return STATUS_OK;
}

static enum status wait_for(const struct lookup *lookup, int stop_fd, struct error *error)
{
    struct pollfd both[2] = {{.fd = lookup->done_fd, .events = POLLIN},
                             {.fd = stop_fd, .events = POLLIN}};
    while (poll(both, 2, -1) < 0) {
        if (errno != EINTR) {
            return error_set(error, STATUS_IO, "could not wait: %s", strerror(errno));
        }
    }
    if (both[1].revents != 0 || !atomic_load(&lookup->done)) {
        return error_set(error, STATUS_CANCELLED, "stopped");
    }
    return STATUS_OK;
}

enum status lookup_addresses(const char *host, const char *port, int stop_fd,
                             struct addrinfo **found, struct error *error)
{
    struct lookup *lookup = NULL;
    if (ask(host, port, AI_NUMERICHOST | AI_NUMERICSERV, found) == 0) {
        return STATUS_OK;
    }
    enum status status = start(host, port, &lookup, error);
    if (status != STATUS_OK) {
        return status;
    }
    status = wait_for(lookup, stop_fd, error);
    if (status == STATUS_OK && lookup->failure != 0) {
        status = error_set(error, STATUS_IO, "%s", gai_strerror(lookup->failure));
    }
    if (status == STATUS_OK) {
        *found = lookup->found;
        lookup->found = NULL;
    }
    let_go(lookup);
    return status;
}
