/* MQTT packets: read once they are whole, refused where no broker sends them, written by the book.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/text.h"
#include "server/mqtt_packet.h"

#include <string.h>

#define MESSAGE                                                                                    \
    "\x32\x0b\x00\x03"                                                                             \
    "a/b\x01\x02"                                                                                  \
    "21.4"

static void a_message_is_read_once_it_is_whole(void **state)
{
    struct mqtt_packet packet;
    struct error error = {0};
    size_t used = 0, length = sizeof(MESSAGE) - 1;
    (void)state;
    for (size_t cut = 0; cut < length; cut++) {
        assert_int_equal(
            mqtt_packet_read((struct slice){MESSAGE, cut}, 100, &packet, &used, &error), STATUS_OK);
        assert_int_equal(used, 0);
    }
    assert_int_equal(
        mqtt_packet_read((struct slice){MESSAGE "\xd0", length + 1}, 100, &packet, &used, &error),
        STATUS_OK);
    assert_int_equal(used, length);
    assert_int_equal(packet.kind, MQTT_PUBLISH);
    assert_true(packet.acknowledge && !packet.retained);
    assert_int_equal(packet.id, 0x102);
    assert_memory_equal(packet.topic.bytes, "a/b", 3);
    assert_int_equal(packet.payload.length, 4);
    assert_memory_equal(packet.payload.bytes, "21.4", 4);
}

/* Too long a payload is dropped as it comes, and can still be acknowledged. */
static void a_long_message_is_skipped(void **state)
{
    struct mqtt_packet packet;
    struct error error = {0};
    size_t used = 0;
    (void)state;
    assert_int_equal(mqtt_packet_read((struct slice){MESSAGE, 9}, 3, &packet, &used, &error),
                     STATUS_OK);
    assert_int_equal(used, 9);
    assert_int_equal(packet.skip, 4);
    assert_int_equal(packet.id, 0x102);
    assert_null(packet.payload.bytes);
}

static void what_no_broker_sends_is_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
    } rows[] = {
        {"\x34\x07\x00\x03"
         "a/b\x01\x02",
         9},                              /* quality of service 2 */
        {"\x30\x02\x00\x00", 4},          /* no topic */
        {"\x30\x03\x00\x05x", 5},         /* a topic beyond the packet */
        {"\x32\x05\x00\x01x\x00\x00", 7}, /* number 0 */
        {"\x30\x04\x00\x02\xc3\x28", 6},  /* no UTF-8 */
        {"\x30\xff\xff\xff\xff\x01", 6},  /* a length of five bytes */
        {"\x10\x00", 2},                  /* a CONNECT */
        {"\x20\x03\x00\x00\x00", 5},      /* a long CONNACK */
        {"\x21\x02\x00\x00", 4},          /* flags */
        {"\x90\x02\x00\x01", 4},          /* a SUBACK without codes */
        {"\xb0\x03\x00\x01\x00", 5},      /* a long UNSUBACK */
        {"\xd0\x01\x00", 3},              /* a PINGRESP with a body */
        {"\xe0\x00", 2},                  /* DISCONNECT comes from clients */
        {"GET / HTTP/1.1\r\n\r\n", 18},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mqtt_packet packet;
        struct error error = {0};
        size_t used = 0;
        enum status status = mqtt_packet_read((struct slice){rows[i].bytes, rows[i].length}, 100,
                                              &packet, &used, &error);
        if (status != STATUS_INVALID) {
            fail_msg("row %zu was taken", i);
        }
    }
}

static void answers_of_the_broker(void **state)
{
    struct mqtt_packet packet;
    struct error error = {0};
    size_t used = 0;
    (void)state;
    assert_int_equal(
        mqtt_packet_read((struct slice){"\x20\x02\x00\x05", 4}, 100, &packet, &used, &error),
        STATUS_OK);
    assert_int_equal(packet.code, 5);
    assert_int_equal(mqtt_packet_read((struct slice){"\x90\x04\x00\x01\x01\x80", 6}, 100, &packet,
                                      &used, &error),
                     STATUS_OK);
    assert_int_equal(packet.code, 0x80);
    assert_int_equal(packet.refused, 1);
    assert_int_equal(packet.codes, 2);
    assert_int_equal(
        mqtt_packet_read((struct slice){"\xb0\x02\x01\x02", 4}, 100, &packet, &used, &error),
        STATUS_OK);
    assert_int_equal(packet.kind, MQTT_UNSUBACK);
    assert_int_equal(packet.id, 0x102);
    assert_int_equal(used, 4);
}

static void what_is_sent(void **state)
{
    static const char connect[] = "\x10\x15\x00\x04MQTT\x04\xc0\x00\x1e\x00\x01"
                                  "f\x00\x02"
                                  "me\x00\x02pw";
    static const char subscribe[] = "\x82\x08\x00\x01\x00\x03"
                                    "a/#\x01";
    static const char unsubscribe[] = "\xa2\x07\x00\x01\x00\x03"
                                      "a/#";
    const char *filter = "a/#";
    struct text out;
    (void)state;
    text_init(&out, 1u << 16);
    struct mqtt_connect with = {"f", "me", "pw", 30};
    mqtt_write_connect(&out, &with);
    assert_int_equal(out.length, sizeof(connect) - 1);
    assert_memory_equal(out.bytes, connect, out.length);
    text_clear(&out);
    mqtt_write_subscribe(&out, 1, &filter, 1);
    assert_int_equal(out.length, sizeof(subscribe) - 1);
    assert_memory_equal(out.bytes, subscribe, out.length);
    text_clear(&out);
    mqtt_write_unsubscribe(&out, 1, &filter, 1);
    assert_int_equal(out.length, sizeof(unsubscribe) - 1);
    assert_memory_equal(out.bytes, unsubscribe, out.length);
    text_clear(&out);
    mqtt_write_puback(&out, 0x102);
    mqtt_write_pingreq(&out);
    mqtt_write_disconnect(&out);
    assert_memory_equal(out.bytes, "\x40\x02\x01\x02\xc0\x00\xe0\x00", 8);
    text_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_read_once_it_is_whole),
        cmocka_unit_test(a_long_message_is_skipped),
        cmocka_unit_test(what_no_broker_sends_is_refused),
        cmocka_unit_test(answers_of_the_broker),
        cmocka_unit_test(what_is_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
