/* What a process gives up once it knows what it needs: other files (Landlock), other system calls
 * (seccomp). SPDX-License-Identifier: Apache-2.0
 *
 * The list of calls was taken from traces of the tests, and widened by what newer versions of the C
 * library use for the same purposes. Where an argument says what a call is for, the argument
 * counts: threads but no processes, memory and mappings but no executable ones, sockets of IP only.
 */
#include "server/sandbox.h"

#include "base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than Debian 12's headers. */
#define FS_TRUNCATE     (UINT64_C(1) << 14) /* since version 3 */
#define FS_IOCTL_DEV    (UINT64_C(1) << 15) /* since version 5 */
#define SCOPE_ABSTRACT  (UINT64_C(1) << 0)  /* since version 6: sockets by abstract name ... */
#define SCOPE_SIGNAL    (UINT64_C(1) << 1)  /* ... and signals to processes outside */
#define PR_SET_VMA_CODE 0x53564d41          /* names of mappings, for glibc 2.38 on */

/* As the kernel has it; one that knows less accepts zeros in what it does not know. */
struct ruleset {
    uint64_t files, network, scoped;
};

#define FILES_READ ((uint64_t)LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FILES_CHANGE                                                                               \
    ((uint64_t)LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE |                    \
     LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR |   \
     FS_TRUNCATE)
#define FILES_NEVER                                                                                \
    ((uint64_t)LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |                         \
     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | \
     LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER | FS_IOCTL_DEV)

static const struct sandbox_path system_paths[] = {
    {"/proc/self", SANDBOX_CHANGE}, /* names of threads are written there */
    {"/proc/stat", SANDBOX_READ},
    {"/proc/meminfo", SANDBOX_READ},
    {"/sys/devices/system/cpu", SANDBOX_READ},
    {"/dev/null", SANDBOX_CHANGE},
    {"/dev/urandom", SANDBOX_READ},
    {"/usr/share/zoneinfo", SANDBOX_READ},
    {"/etc/localtime", SANDBOX_READ},
    {"/etc/hosts", SANDBOX_READ},
    {"/etc/host.conf", SANDBOX_READ},
    {"/etc/resolv.conf", SANDBOX_READ},
    {"/etc/nsswitch.conf", SANDBOX_READ},
    {"/etc/gai.conf", SANDBOX_READ},
    {"/etc/services", SANDBOX_READ},
    {"/etc/gnutls", SANDBOX_READ},
    {"/etc/ssl/certs", SANDBOX_READ},
    {"/usr/share/ca-certificates", SANDBOX_READ},
};

bool sandbox_is_possible(void)
{
#ifdef FORECASTD_SANITIZED
    return false;
#else
    return true;
#endif
}

/* ---------------------------------------------------------------- files */

static void add_path(int ruleset, const struct sandbox_path *path, uint64_t handled)
{
    struct stat about;
    int fd = open(path->path, O_PATH | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    uint64_t access = FILES_READ;
    if (path->access == SANDBOX_CHANGE) {
        access |= FILES_CHANGE;
    } else if (path->access == SANDBOX_FILES_ALONE) {
        access = LANDLOCK_ACCESS_FS_READ_FILE;
    }
    if (fstat(fd, &about) == 0 && !S_ISDIR(about.st_mode)) {
        access &= LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE;
    }
    struct landlock_path_beneath_attr rule = {.allowed_access = access & handled, .parent_fd = fd};
    /* What cannot be added is out of reach: the safe side. */
    (void)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(fd);
}

bool sandbox_limit_files(const struct sandbox_path *paths, size_t count)
{
    const struct rlimit no_core = {0, 0};
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    setrlimit(RLIMIT_CORE, &no_core);
    if (version < 1) {
        return false;
    }
    struct ruleset rules = {.files = FILES_READ | FILES_CHANGE | FILES_NEVER};
    if (version < 2) {
        rules.files &= ~(uint64_t)LANDLOCK_ACCESS_FS_REFER;
    }
    if (version < 3) {
        rules.files &= ~FS_TRUNCATE;
    }
    if (version < 5) {
        rules.files &= ~FS_IOCTL_DEV;
    }
    if (version >= 6) {
        rules.scoped = SCOPE_ABSTRACT | SCOPE_SIGNAL;
    }
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof(rules), 0);
    if (ruleset < 0) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_COUNT(system_paths); i++) {
        add_path(ruleset, &system_paths[i], rules.files);
    }
    for (size_t i = 0; i < count; i++) {
        add_path(ruleset, &paths[i], rules.files);
    }
    bool fine = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    int why = errno;
    close(ruleset);
    errno = why;
    return fine;
}

/* ---------------------------------------------------------------- system calls */

static const int allowed_calls[] = {
    /* files */
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(preadv),
    SCMP_SYS(pwritev),
    SCMP_SYS(preadv2),
    SCMP_SYS(pwritev2),
    SCMP_SYS(sendfile),
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(openat2),
    SCMP_SYS(close),
    SCMP_SYS(close_range),
    SCMP_SYS(dup),
    SCMP_SYS(dup2),
    SCMP_SYS(dup3),
    SCMP_SYS(lseek),
    SCMP_SYS(stat),
    SCMP_SYS(fstat),
    SCMP_SYS(lstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(getcwd),
    SCMP_SYS(truncate),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fallocate),
    SCMP_SYS(fadvise64),
    SCMP_SYS(readahead),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(sync_file_range),
    SCMP_SYS(rename),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(mkdir),
    SCMP_SYS(mkdirat),
    SCMP_SYS(rmdir),
    SCMP_SYS(getdents64),
    SCMP_SYS(chmod),
    SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat),
    SCMP_SYS(fchown),
    SCMP_SYS(utimensat),
    SCMP_SYS(umask),
    SCMP_SYS(flock),
    SCMP_SYS(fcntl),
    SCMP_SYS(statfs),
    SCMP_SYS(fstatfs),
    SCMP_SYS(copy_file_range),
    /* memory */
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(mlock),
    SCMP_SYS(munlock),
    SCMP_SYS(mincore),
    SCMP_SYS(membarrier),
    /* threads and their priorities */
    SCMP_SYS(futex),
    SCMP_SYS(futex_waitv),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(get_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_setaffinity),
    SCMP_SYS(sched_getparam),
    SCMP_SYS(sched_getscheduler),
    SCMP_SYS(sched_setattr),
    SCMP_SYS(getpriority),
    SCMP_SYS(setpriority),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    /* time and signals */
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(times),
    SCMP_SYS(getrusage),
    SCMP_SYS(alarm),
    SCMP_SYS(setitimer),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigpending),
    SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(tgkill),
    /* who we are */
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getppid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(getrandom),
    SCMP_SYS(uname),
    SCMP_SYS(sysinfo),
    SCMP_SYS(getrlimit),
    SCMP_SYS(setrlimit),
    SCMP_SYS(prlimit64),
    /* network; socket stands below */
    SCMP_SYS(bind),
    SCMP_SYS(listen),
    SCMP_SYS(accept),
    SCMP_SYS(accept4),
    SCMP_SYS(connect),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(sendto),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendmsg),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendmmsg),
    SCMP_SYS(recvmmsg),
    SCMP_SYS(shutdown),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(select),
    SCMP_SYS(pselect6),
    SCMP_SYS(epoll_create),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(eventfd2),
    SCMP_SYS(pipe),
    SCMP_SYS(pipe2),
    SCMP_SYS(socketpair), /* libcurl's, between a call and the thread that looks up a name */
};

/* Calls that one argument makes harmless: those bits of it that `mask` has must be `value`. */
static const struct {
    int call;
    unsigned argument;
    uint64_t mask, value;
} allowed_with[] = {
    {SCMP_SYS(mmap), 2, PROT_EXEC, 0},
    {SCMP_SYS(mprotect), 2, PROT_EXEC, 0},
    {SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD},
    {SCMP_SYS(socket), 0, UINT64_MAX, AF_INET},
    {SCMP_SYS(socket), 0, UINT64_MAX, AF_INET6},
    {SCMP_SYS(prctl), 0, UINT64_MAX, PR_SET_NAME},
    {SCMP_SYS(prctl), 0, UINT64_MAX, PR_GET_NAME},
    {SCMP_SYS(prctl), 0, UINT64_MAX, PR_SET_VMA_CODE},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, TCGETS},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, FIONREAD},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, FIONBIO},
};

/* 0, or a negative errno. */
static int fill_filter(scmp_filter_ctx filter)
{
    int code = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (code == 0) {
        code = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree, not a list */
    }
    for (size_t i = 0; i < ARRAY_COUNT(allowed_calls) && code == 0; i++) {
        code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed_calls[i], 0);
    }
    for (size_t i = 0; i < ARRAY_COUNT(allowed_with) && code == 0; i++) {
        struct scmp_arg_cmp compare = {allowed_with[i].argument, SCMP_CMP_MASKED_EQ,
                                       allowed_with[i].mask, allowed_with[i].value};
        code = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, allowed_with[i].call, 1, &compare);
    }
    if (code == 0) {
        /* Its flags lie in memory, where no filter sees them; told that it does not exist, the C
         * library takes clone. */
        code = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    }
    return code;
}

bool sandbox_limit_calls(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL) {
        errno = ENOMEM;
        return false;
    }
    int code = fill_filter(filter);
    if (code == 0) {
        code = seccomp_load(filter);
    }
    seccomp_release(filter);
    errno = code < 0 ? -code : 0;
    return code == 0;
}
