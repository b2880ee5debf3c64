/* Names of hosts in the sandbox, where the files that say them are replaced while it lasts.
 * SPDX-License-Identifier: Apache-2.0
 *
 * In a child with a mount namespace of its own, /etc and /run are folders of the test. They are
 * changed by their other path, that of the store.
 */
#include "server/guard.h"
#include "server/sandbox.h"
#include "tests/watched.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { LEFT_OUT = 77 };

static char folder[64];
static struct config config;

/* In the child: says which check failed, and leaves. */
#define TRY(condition)                                                                             \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            dprintf(STDERR_FILENO, "line %d: %s (%s)\n", __LINE__, #condition, strerror(errno));   \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static const char *inside(const char *name)
{
    static char path[160];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static bool opens(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static bool is_known(const char *name)
{
    struct addrinfo *found = NULL;
    bool known = getaddrinfo(name, "80", NULL, &found) == 0;
    if (known) {
        freeaddrinfo(found);
    }
    return known;
}

/* Whole, under another name, and then in its place. */
static void replace(const char *name, const char *text)
{
    char other[200];
    snprintf(other, sizeof(other), "%s.new", inside(name));
    FILE *file = fopen(other, "we");
    TRY(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
    TRY(rename(other, inside(name)) == 0);
}

static void mount_own(const char *name, const char *where)
{
    char own[160];
    snprintf(own, sizeof(own), "%s", inside(name));
    TRY(mount(own, where, NULL, MS_BIND, NULL) == 0);
}

/* A machine without a lease: resolv.conf is a link to what is not there yet. */
static void enter(void)
{
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        _exit(LEFT_OUT);
    }
    replace("etc/hosts", "127.0.0.1 before.test\n");
    replace("etc/nsswitch.conf", "hosts: files\n");
    replace("etc/passwd", "root:x:0:0::/:/bin/sh\n");
    mount_own("etc", "/etc");
    mount_own("run", "/run");
    snprintf(config.path, sizeof(config.path), "%s", folder);
    config.sandbox = true;
    TRY(guard_limit_files(&config, NULL));
}

static void check_names(void)
{
    enter();
    TRY(is_known("before.test") && !is_known("after.test"));
    TRY(!opens("/etc/resolv.conf"));
    replace("etc/hosts", "127.0.0.1 after.test\n");
    TRY(!is_known("before.test") && is_known("after.test"));
    for (int i = 0; i < 2; i++) {
        replace("run/lease/resolv.conf", "nameserver 127.0.0.1\n");
        TRY(opens("/etc/resolv.conf"));
    }
    TRY(unlink(inside("etc/resolv.conf")) == 0); /* a tool that writes there itself */
    replace("etc/resolv.conf", "nameserver 127.0.0.1\n");
    TRY(opens("/etc/resolv.conf"));
    /* files alone, and to be read */
    TRY(opendir("/etc") == NULL && errno == EACCES);
    TRY(opendir("/run/lease") == NULL && errno == EACCES);
    TRY(open("/etc/hosts", O_WRONLY | O_CLOEXEC) < 0 && errno == EACCES);
    TRY(!opens("/run/other") && errno == EACCES);
}

static void check_digits(void)
{
    enter();
    TRY(opens("/etc/hosts") && opens("/etc/nsswitch.conf"));
    TRY(!opens("/etc/passwd") && errno == EACCES);
}

static void in_child(void (*check)(void))
{
    int status = 0;
    if (!sandbox_is_possible() || syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 1) {
        skip();
    }
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        check();
        watched_exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == LEFT_OUT) {
        skip(); /* no mount namespaces for us */
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void set_rule(const char *url, const char *url_file)
{
    struct alert_rule *rule = &config.alerts.rules[0];
    config.alerts.count = 1;
    snprintf(rule->url, sizeof(rule->url), "%s", url);
    snprintf(rule->url_file, sizeof(rule->url_file), "%s", url_file);
}

static void a_broker_by_name(void **state)
{
    (void)state;
    snprintf(config.mqtt_broker, sizeof(config.mqtt_broker), "mqtts://broker.test:8883");
    in_child(check_names);
}

static void webhooks_by_name(void **state)
{
    (void)state;
    set_rule("https://hooks.test/x?to=1.2.3.4", "");
    in_child(check_names);
}

static void webhooks_whose_address_is_in_a_file(void **state)
{
    (void)state;
    set_rule("", "/nowhere/url");
    in_child(check_names);
}

static void nobody_by_name(void **state)
{
    (void)state;
    in_child(check_digits);
    snprintf(config.mqtt_broker, sizeof(config.mqtt_broker), "mqtt://127.0.0.1");
    set_rule("http://10.0.0.1:9093/api", "");
    in_child(check_digits);
    set_rule("http://[::1]:9093/api", "");
    in_child(check_digits);
}

static int make(void **state)
{
    (void)state;
    memset(&config, 0, sizeof(config));
    snprintf(folder, sizeof(folder), "/tmp/forecastd-names-XXXXXX");
    return mkdtemp(folder) != NULL && mkdir(inside("etc"), 0755) == 0 &&
                   mkdir(inside("run"), 0755) == 0 && mkdir(inside("run/lease"), 0755) == 0 &&
                   symlink("../run/lease/resolv.conf", inside("etc/resolv.conf")) == 0 &&
                   close(creat(inside("run/other"), 0644)) == 0
               ? 0
               : -1;
}

static int clean(void **state)
{
    char command[160];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_broker_by_name, make, clean),
        cmocka_unit_test_setup_teardown(webhooks_by_name, make, clean),
        cmocka_unit_test_setup_teardown(webhooks_whose_address_is_in_a_file, make, clean),
        cmocka_unit_test_setup_teardown(nobody_by_name, make, clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
