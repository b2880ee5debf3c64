/* The sandbox from inside: in a child process, what is forbidden fails and what is needed works.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/sandbox.h"
#include "tests/watched.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64], outside[64];

/* In the child: says which check failed, and leaves. */
#define TRY(condition)                                                                             \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            dprintf(STDERR_FILENO, "line %d: %s (%s)\n", __LINE__, #condition, strerror(errno));   \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static int in_child(void (*check)(void))
{
    pid_t child = fork();
    int status = 0;
    assert_true(child >= 0);
    if (child == 0) {
        check();
        watched_exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool opens(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static const char *inside(const char *name)
{
    static char path[160];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void check_files(void)
{
    const struct sandbox_path paths[] = {{folder, SANDBOX_CHANGE},
                                         {"/nowhere/at/all", SANDBOX_CHANGE},
                                         {WATCHED_COUNTS, SANDBOX_CHANGE}};
    struct rlimit core;
    char moved[160];
    TRY(sandbox_limit_files(paths, 3));
    TRY(opens(inside("new"), O_RDWR | O_CREAT | O_TRUNC));
    snprintf(moved, sizeof(moved), "%s", inside("moved"));
    TRY(rename(inside("new"), moved) == 0);
    TRY(mkdir(inside("deeper"), 0700) == 0);
    TRY(opens(inside("deeper/file"), O_WRONLY | O_CREAT));
    TRY(opens("/proc/self/statm", O_RDONLY));
    TRY(opens("/usr/share/zoneinfo/UTC", O_RDONLY) || errno == ENOENT);
    TRY(!opens("/etc/passwd", O_RDONLY) && errno == EACCES);
    TRY(!opens("/etc/hosts", O_WRONLY) && errno == EACCES);
    TRY(!opens(outside, O_RDONLY) && errno == EACCES);
    TRY(!opens(outside, O_WRONLY | O_TRUNC) && errno == EACCES);
    TRY(unlink(outside) != 0 && errno == EACCES);
    TRY(!opens("/tmp/forecastd-test-not-allowed", O_WRONLY | O_CREAT) && errno == EACCES);
    TRY(symlink("/etc/passwd", inside("link")) != 0 && errno == EACCES);
    TRY(mkfifo(inside("fifo"), 0600) != 0 && errno == EACCES);
    TRY(execl("/bin/true", "true", (char *)NULL) != 0 && errno == EACCES);
    TRY(getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0);
}

static void *thread_main(void *context)
{
    return context;
}

static void check_calls(void)
{
    pthread_t thread;
    void *page = MAP_FAILED, *back = NULL;
    int fd;
    TRY(sandbox_limit_calls());
    /* what a running daemon does */
    TRY(pthread_create(&thread, NULL, thread_main, &page) == 0);
    TRY(pthread_join(thread, &back) == 0 && back == &page);
    TRY(opens(inside("file"), O_RDWR | O_CREAT));
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TRY(page != MAP_FAILED);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    TRY(fd >= 0 && close(fd) == 0);
    /* names of hosts, for calls to elsewhere */
    struct addrinfo *found = NULL;
    TRY(getaddrinfo("localhost", "80", NULL, &found) == 0 && found != NULL);
    freeaddrinfo(found);
    TRY(setpriority(PRIO_PROCESS, 0, 19) == 0);
    uint32_t lane[12] = {[0] = sizeof(lane), [4] = 19}; /* struct sched_attr: size and niceness */
    TRY(syscall(SYS_sched_setattr, 0, lane, 0) == 0);
    /* what an intruder would do */
    TRY(mprotect(page, 4096, PROT_READ | PROT_EXEC) != 0 && errno == EPERM);
    TRY(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
            MAP_FAILED &&
        errno == EPERM);
    TRY(fork() < 0 && errno == EPERM);
    TRY(execl("/bin/true", "true", (char *)NULL) != 0 && errno == EPERM);
    TRY(socket(AF_UNIX, SOCK_STREAM, 0) < 0 && errno == EPERM);
    TRY(socket(AF_PACKET, SOCK_RAW, 0) < 0 && errno == EPERM);
    TRY(socket(AF_NETLINK, SOCK_RAW, 0) < 0 && errno == EPERM);
    TRY(ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 && errno == EPERM);
    TRY(kill(getppid(), 0) != 0 && errno == EPERM);
    TRY(syscall(SYS_mount, "a", "b", "c", 0, NULL) < 0 && errno == EPERM);
    TRY(syscall(SYS_bpf, 0, NULL, 0) < 0 && errno == EPERM);
    TRY(syscall(SYS_keyctl, 0) < 0 && errno == EPERM);
    TRY(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0) < 0 && errno == EPERM);
    TRY(syscall(SYS_io_uring_setup, 1, NULL) < 0 && errno == EPERM);
    TRY(syscall(SYS_clone3, NULL, 0) < 0 && errno == ENOSYS);
}

/* Counting can get along with it, if not the sanitizers. */
static bool can_be_tried(void)
{
    return sandbox_is_possible() || COUNTED;
}

static void files_outside_of_the_list_are_out_of_reach(void **state)
{
    (void)state;
    if (!can_be_tried() || syscall(444, NULL, 0, 1) < 1) { /* no Landlock here */
        skip();
    }
    assert_int_equal(in_child(check_files), 0);
}

static void calls_that_are_not_needed_fail(void **state)
{
    (void)state;
    if (!can_be_tried()) {
        skip();
    }
    assert_int_equal(in_child(check_calls), 0);
}

/* Threads that were there before the filter are bound by it, too. */
static void *late_call(void *context)
{
    int *channel = context;
    char byte;
    if (read(channel[0], &byte, 1) == 1 && syscall(SYS_bpf, 0, NULL, 0) < 0 && errno == EPERM) {
        return NULL;
    }
    return context;
}

static void check_other_threads(void)
{
    pthread_t thread;
    int channel[2];
    void *result = channel;
    TRY(pipe(channel) == 0);
    TRY(pthread_create(&thread, NULL, late_call, channel) == 0);
    TRY(sandbox_limit_calls());
    TRY(write(channel[1], "x", 1) == 1);
    TRY(pthread_join(thread, &result) == 0 && result == NULL);
}

static void the_filter_binds_every_thread(void **state)
{
    (void)state;
    if (!can_be_tried()) {
        skip();
    }
    assert_int_equal(in_child(check_other_threads), 0);
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/forecastd-sandbox-XXXXXX");
    snprintf(outside, sizeof(outside), "/tmp/forecastd-outside-XXXXXX");
    int fd = mkstemp(outside);
    return fd >= 0 && close(fd) == 0 && mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[160];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s' '%s'", folder, outside);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_outside_of_the_list_are_out_of_reach),
        cmocka_unit_test(calls_that_are_not_needed_fail),
        cmocka_unit_test(the_filter_binds_every_thread),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
