/* The daemon under measurement: start, stop, memory, folders; and the one form of a figure.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/bench/load.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    if (bind(fd, (struct sockaddr *)&address, length) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
        perror("bench: no free port");
        exit(1);
    }
    close(fd);
    return ntohs(address.sin_port);
}

static void exec_daemon(const char *program, const char *data, int port, const char *const *arguments)
{
    char listen_at[64], path[320];
    snprintf(listen_at, sizeof(listen_at), "server.listen=127.0.0.1:%d", port);
    snprintf(path, sizeof(path), "storage.path=%s", data);
    const char *argv[32] = {program, "serve", "--set", listen_at, "--set", path};
    size_t count = 6;
    for (size_t i = 0; arguments != NULL && arguments[i] != NULL && count < 29; i++) {
        argv[count++] = "--set";
        argv[count++] = arguments[i];
    }
    int log = open("/dev/null", O_WRONLY);
    if (getenv("BENCH_VERBOSE") == NULL) {
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
    }
    char *copies[32] = {0};
    for (size_t i = 0; i < count; i++) {
        copies[i] = strdup(argv[i]);
    }
    execv(program, copies);
    perror("bench: cannot run the daemon");
    _exit(127);
}

struct bench_daemon bench_daemon_start(const char *program, const char *data, const char *const *arguments)
{
    struct bench_daemon daemon = {.port = free_port()};
    double begin = bench_seconds();
    daemon.pid = fork();
    if (daemon.pid == 0) {
        exec_daemon(program, data, daemon.port, arguments);
    }
    while (load_request(daemon.port, "GET", "/healthz", "text/plain", NULL, 0, NULL, 0, NULL) != 200) {
        if (bench_seconds() - begin > 30 || waitpid(daemon.pid, NULL, WNOHANG) != 0) {
            fprintf(stderr, "bench: the daemon did not start\n");
            exit(1);
        }
        usleep(200);
    }
    daemon.start_ms = 1e3 * (bench_seconds() - begin);
    return daemon;
}

void bench_daemon_stop(struct bench_daemon *daemon)
{
    kill(daemon->pid, SIGTERM);
    int status;
    waitpid(daemon->pid, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "bench: the daemon ended with status %d\n", status);
    }
    daemon->pid = 0;
}

double bench_resident_mb(pid_t pid, int peak)
{
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    const char *key = peak ? "VmHWM:" : "VmRSS:";
    double kb = 0;
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0) {
            kb = strtod(line + strlen(key), NULL);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return kb * 1024 / 1e6;
}

void bench_print(const char *name, double value, const char *unit, const char *format, ...)
{
    char note[200];
    va_list list;
    va_start(list, format);
    vsnprintf(note, sizeof(note), format, list);
    va_end(list);
    printf("%-42s %12.4g %-12s %s\n", name, value, unit, note);
    fflush(stdout);
}

void bench_folder(char path[256])
{
    const char *root = getenv("TMPDIR");
    snprintf(path, 256, "%s/forecastd-bench-XXXXXX", root != NULL ? root : "/tmp");
    if (mkdtemp(path) == NULL) {
        perror("bench: cannot make a folder");
        exit(1);
    }
}

static uint64_t walk(const char *path, int remove_too)
{
    uint64_t bytes = 0;
    DIR *folder = opendir(path);
    if (folder == NULL) {
        return 0;
    }
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char name[600];
        struct stat status;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        if (lstat(name, &status) != 0) {
            continue;
        }
        if (S_ISDIR(status.st_mode)) {
            bytes += walk(name, remove_too);
        } else {
            bytes += (uint64_t)status.st_size;
            if (remove_too) {
                unlink(name);
            }
        }
    }
    closedir(folder);
    if (remove_too) {
        rmdir(path);
    }
    return bytes;
}

void bench_folder_remove(const char *path)
{
    walk(path, 1);
}

uint64_t bench_folder_bytes(const char *path)
{
    return walk(path, 0);
}
