/* A name server that does not answer: whoever waits for it can be stopped, at once.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The resolver of this program takes as long as the test likes over one name.
 */
#include "base/clock.h"
#include "server/lookup.h"
#include "server/mqtt.h"
#include "tests/unit/server/port.h"

#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define SLOW_NAME "slow.example"
#define SLOW_MS   8000 /* at most: who waits for the resolver fails, and does not hang */
#define SOON_MS   2000

static atomic_bool answers;
static atomic_int asking, asked; /* calls for the slow name that last, and all until now */

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                struct addrinfo **found)
{
    static int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    bool numeric = hints != NULL && (hints->ai_flags & AI_NUMERICHOST) != 0;
    if (!numeric && strcmp(host, SLOW_NAME) == 0) {
        atomic_fetch_add(&asking, 1);
        atomic_fetch_add(&asked, 1);
        for (int ms = 0; ms < SLOW_MS && !atomic_load(&answers); ms += 5) {
            clock_sleep_ms(5);
        }
        atomic_fetch_sub(&asking, 1);
        host = "127.0.0.1";
    }
    *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
    return next(host, port, hints, found);
}

static void wait_until(const atomic_int *counter, int count)
{
    for (int ms = 0; atomic_load(counter) != count; ms += 5) {
        assert_true(ms < 60000);
        clock_sleep_ms(5);
    }
}

static int make_stop_fd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(fd >= 0);
    return fd;
}

static void set_stop(int fd)
{
    const uint64_t one = 1;
    assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void addresses_are_found_or_not(void **state)
{
    static const char *const good[] = {"127.0.0.1", "::1", "localhost", SLOW_NAME};
    struct error error = {0};
    struct addrinfo *found = NULL;
    int stop_fd = make_stop_fd();
    (void)state;
    atomic_store(&answers, true);
    int before = atomic_load(&asked);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(lookup_addresses(good[i], "1883", stop_fd, &found, &error), STATUS_OK);
        assert_non_null(found);
        freeaddrinfo(found);
    }
    assert_int_equal(lookup_addresses("no such name", "1883", stop_fd, &found, &error), STATUS_IO);
    assert_true(error.text[0] != '\0');
    set_stop(stop_fd);
    assert_int_equal(lookup_addresses(SLOW_NAME, "1883", stop_fd, &found, &error),
                     STATUS_CANCELLED);
    wait_until(&asked, before + 2); /* its thread may not have come so far yet */
    wait_until(&asking, 0);
    close(stop_fd);
}

static void *stop_once_asked(void *context)
{
    const int *fd = context;
    const uint64_t one = 1;
    while (atomic_load(&asking) == 0) {
        clock_sleep_ms(5);
    }
    (void)!write(*fd, &one, sizeof(one));
    return NULL;
}

static void a_lookup_is_left_behind(void **state)
{
    struct error error = {0};
    struct addrinfo *found = NULL;
    int stop_fd = make_stop_fd();
    pthread_t thread;
    (void)state;
    atomic_store(&answers, false);
    int64_t begin_ns = clock_monotonic_ns();
    assert_int_equal(pthread_create(&thread, NULL, stop_once_asked, &stop_fd), 0);
    assert_int_equal(lookup_addresses(SLOW_NAME, "1883", stop_fd, &found, &error),
                     STATUS_CANCELLED);
    assert_true(clock_monotonic_ns() - begin_ns < SOON_MS * INT64_C(1000000));
    pthread_join(thread, NULL);
    close(stop_fd); /* nobody needs it any more, and nobody waits */
    assert_int_equal(atomic_load(&asking), 1);
    atomic_store(&answers, true);
    wait_until(&asking, 0);
}

static void the_subscriber_stops_while_its_broker_is_looked_up(void **state)
{
    static struct port port;
    static struct mqtt_options options;
    struct mqtt *mqtt = NULL;
    struct error error = {0};
    int before = atomic_load(&asked);
    (void)state;
    port_open(&port, 1, 4);
    atomic_store(&answers, false);
    snprintf(options.client_id, sizeof(options.client_id), "test");
    options.payload_max = 1024;
    assert_int_equal(mqtt_address_parse("mqtt://" SLOW_NAME, &options.address, &error), STATUS_OK);
    assert_int_equal(mqtt_start(&port.services, &options, &mqtt, &error), STATUS_OK);
    wait_until(&asked, before + 1);
    int64_t begin_ns = clock_monotonic_ns();
    mqtt_stop(mqtt);
    assert_true(clock_monotonic_ns() - begin_ns < SOON_MS * INT64_C(1000000));
    atomic_store(&answers, true);
    wait_until(&asking, 0);
    port_close(&port);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_found_or_not),
        cmocka_unit_test(a_lookup_is_left_behind),
        cmocka_unit_test(the_subscriber_stops_while_its_broker_is_looked_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
