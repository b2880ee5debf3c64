/* Starting threads with a name, a stack size and a priority.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/threads.h"

#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STACK_BYTES ((size_t)1 << 20)

enum status thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *context,
                         struct error *error)
{
    pthread_attr_t attributes;
    int failure = pthread_attr_init(&attributes);
    if (failure == 0) {
        failure = pthread_attr_setstacksize(&attributes, STACK_BYTES);
        if (failure == 0) {
            failure = pthread_create(thread, &attributes, run, context);
        }
        pthread_attr_destroy(&attributes);
    }
    if (failure != 0) {
        return error_set(error, STATUS_NO_MEMORY, "could not start thread '%s': %s", name,
                         strerror(failure));
    }
    pthread_setname_np(*thread, name);
    return STATUS_OK;
}

void thread_nice(int nice)
{
    /* On Linux a thread id names that thread only. */
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), nice);
}
