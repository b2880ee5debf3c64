"""The MQTT subscriber against a broker that does what it should, and one that does not.

SPDX-License-Identifier: Apache-2.0
"""
import contextlib
import signal
import socket
import time

from broker import Broker, publish
from daemon import SLOWNESS, Daemon, free_port, now_ms, quote

TOPICS = "mqtt.topics=home/{room}/{name}"


@contextlib.contextmanager
def subscriber(*settings):
    broker = Broker()
    daemon = Daemon(*broker.settings, TOPICS, *settings).start()
    try:
        yield broker, daemon
    finally:
        broker.close()
        daemon.remove()


def points_of(daemon, series):
    answer = daemon.get(f"/api/v1/series/{quote(series)}/points")
    return [value for _, value in answer.json["points"]] if answer.status == 200 else []


def status_of(daemon):
    return daemon.get("/api/v1/status").json["mqtt"]


def test_what_is_acknowledged_is_on_disk():
    with subscriber() as (broker, daemon):
        session = broker.accept()
        connect, subscribe = session.welcome()
        assert connect.startswith(b"\x00\x04MQTT\x04\x00"), connect  # no clean session
        assert connect.endswith(b"\x00\x09forecastd")
        assert subscribe[2:] == b"\x00\x08home/+/+\x01", subscribe
        session.send(b"".join(publish("home/attic/t", str(n), n) for n in range(1, 1001)))
        got = [session.acknowledged() for _ in range(1000)]
        daemon.signal(signal.SIGKILL)
        assert got == list(range(1, 1001))
        daemon.wait_exit(5)
        session.close()
        broker.close()
        daemon.settings = []
        daemon.start()
        found = points_of(daemon, 't{room="attic"}')
        # Readings of one millisecond stand at one time: the last one wins.
        assert found and found[-1] == 1000 and found == sorted(found)


def test_with_times_of_their_own_nothing_is_lost_or_doubled():
    with subscriber() as (broker, daemon):
        start = now_ms() - 1000000
        sent = 0
        for _ in range(2):  # the last ones of each round are not acknowledged in time, and come again
            session = broker.accept()
            session.welcome()
            first = max(0, sent - 20)
            session.send(b"".join(
                publish("home/attic/t", f'{{"value":{n},"timestamp":{start + n}}}', n + 1)
                for n in range(first, first + 200)))
            sent = first + 200
            session.acknowledged()
            session.close()
        session = broker.accept()
        session.welcome()
        session.send(b"".join(publish("home/attic/t", f'{{"value":{n},"timestamp":{start + n}}}', n + 1)
                              for n in range(sent)))
        for _ in range(sent):
            session.acknowledged()
        assert points_of(daemon, 't{room="attic"}') == [float(n) for n in range(sent)]
        assert status_of(daemon)["connections"] == 3


def test_a_message_larger_than_a_commit_is_acknowledged_as_a_whole():
    with subscriber("mqtt.max_payload=2MiB") as (broker, daemon):
        session = broker.accept()
        session.welcome()
        # Readings of one series at one time: the last one wins.
        session.send(publish("home/attic/t", "{" + '"many":0,' * 110000 + '"last":7}', 1))
        assert session.acknowledged() == 1
        daemon.signal(signal.SIGKILL)
        daemon.wait_exit(5)
        broker.close()
        daemon.settings = []
        daemon.start()
        assert points_of(daemon, 't_last{room="attic"}') == [7.0]
        assert points_of(daemon, 't_many{room="attic"}') == [0.0]


def test_a_broker_is_found_by_its_name():
    """Inside of the sandbox, by a thread of its own."""
    broker = Broker()
    daemon = Daemon(*(each.replace("127.0.0.1", "localhost") for each in broker.settings), TOPICS).start()
    try:
        assert "//localhost:" in str(daemon.settings)
        session = broker.accept()
        session.welcome()
        session.send(publish("home/attic/t", "8", 1))
        assert session.acknowledged() == 1
        session.close()
    finally:
        broker.close()
        daemon.remove()


def test_what_is_no_reading_is_acknowledged_and_counted():
    with subscriber("mqtt.max_payload=1KiB") as (broker, daemon):
        session = broker.accept()
        session.welcome()
        session.send(publish("home/attic/t", "ON", 1) + publish("elsewhere", "1", 2) +
                     publish("home/attic/t", "9" * 5000, 3) + publish("home/attic/t", '{"a":1,"b":"x"}', 4) +
                     publish("home/attic/t", "7", 5, retained=True) + publish("home/attic/t", "8"))
        assert [session.acknowledged() for _ in range(5)] == [1, 2, 3, 4, 5]
        session.send(publish("home/attic/last", "1", 6))
        assert session.acknowledged() == 6
        assert points_of(daemon, 't{room="attic"}') == [8.0]  # not the retained one
        assert points_of(daemon, 't_a{room="attic"}') == [1.0]
        assert status_of(daemon)["refused_messages"] == 3
        metrics = daemon.get("/metrics").text
        assert 'forecastd_mqtt_skipped_members_total{kind="no_number"} 1\n' in metrics
        log = daemon.log()
        assert 'topic="elsewhere"' in log and "more than 1024" in log, log


def test_retained_where_they_are_wanted():
    with subscriber("mqtt.retained=true") as (broker, daemon):
        session = broker.accept()
        session.welcome()
        session.send(publish("home/attic/t", "7", 5, retained=True))
        assert session.acknowledged() == 5
        assert points_of(daemon, 't{room="attic"}') == [7.0]


def test_a_broker_that_refuses_or_breaks_is_tried_again():
    with subscriber() as (broker, daemon):
        session = broker.accept()
        session.packet()
        session.send(b"\x20\x02\x00\x05")  # not authorised
        session.close()
        session = broker.accept()
        session.welcome(codes=b"\x80")
        session.close()
        session = broker.accept()
        session.packet()
        session.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        session.close()
        log = daemon.log()
        assert "this client may not connect" in log and "refused the subscription to 'home/+/+'" in log, log
        assert not status_of(daemon)["connected"]
        session = broker.accept()
        session.welcome()
        session.send(publish("home/attic/t", "1", 1))
        assert session.acknowledged() == 1
        assert status_of(daemon)["connected"]
        assert "the broker sent" in daemon.log()


def test_patterns_that_are_taken_out_are_unsubscribed():
    """The session outlives the daemon, and every filter with it: also where the broker goes before it has answered."""
    with subscriber() as (broker, daemon):
        def restart(topics):
            assert daemon.stop() == 0
            daemon.settings[-1] = topics
            daemon.start()

        open_ones = []

        def serve(patterns=1):
            session = broker.accept()
            open_ones.append(session)
            _, subscribe = session.welcome(codes=b"\x01" * patterns)
            session.send(publish("elsewhere", "1", 7))
            assert session.acknowledged() == 7  # what came before is dealt with
            return session.taken_back, subscribe[2:]

        assert serve() == ([], b"\x00\x08home/+/+\x01")
        restart("mqtt.topics=garden/{name}, t=home/{house}/{name}")  # a filter that stays
        assert serve(patterns=2)[0] == []
        restart("mqtt.topics=garden/{name}")
        session = broker.accept()
        session.packet()
        session.send(b"\x20\x02\x00\x00")
        assert session.packet()[0] == 10
        session.close()
        assert serve() == (["home/+/+"], b"\x00\x08garden/+\x01")
        open_ones.pop().close()
        assert serve()[0] == []
        restart(TOPICS)
        assert serve()[0] == ["garden/+"]
        restart(TOPICS)
        assert serve()[0] == []


def test_topics_and_payloads_stay_inside_of_a_log_line():
    with subscriber() as (broker, daemon):
        session = broker.accept()
        session.welcome()
        session.send(publish('elsewhere/x"\nlevel=error msg="forged', "1", 1))
        assert session.acknowledged() == 1
        assert "\nlevel=error" not in daemon.log()


def test_a_silent_broker_is_no_hindrance():
    """One that takes the connection and says nothing: the daemon starts, serves and stops in time."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        daemon = Daemon(f"mqtt.broker=mqtt://127.0.0.1:{mute.getsockname()[1]}", TOPICS).start()
        try:
            assert daemon.points([{"series": "a", "value": 1}]).status == 200
            begin = time.monotonic()
            assert daemon.stop() == 0
            assert time.monotonic() - begin < 3 * SLOWNESS
        finally:
            daemon.remove()


def test_a_clean_stop_says_good_bye():
    with subscriber() as (broker, daemon):
        session = broker.accept()
        session.welcome()
        assert daemon.stop() == 0
        assert session.packet()[0] == 14


def test_the_connection_is_a_metric():
    with subscriber() as (broker, daemon):
        session = broker.accept()
        session.welcome()
        wait_for_metric(daemon, "forecastd_mqtt_connected 1\n")
        session.close()
        broker.close()
        wait_for_metric(daemon, "forecastd_mqtt_connected 0\n")
        assert daemon.stop() == 0


def wait_for_metric(daemon, line):
    deadline = time.monotonic() + 10 * SLOWNESS
    while "\n" + line not in daemon.get("/metrics").text:
        assert time.monotonic() < deadline, daemon.log()
        time.sleep(0.05)


def test_wrong_options_are_named():
    daemon = Daemon()
    try:
        good = ["mqtt.broker=mqtt://127.0.0.1:1", TOPICS]
        for settings, words in (
                (["mqtt.broker=tcp://x", TOPICS], ("is no address of a broker", "mqtt://127.0.0.1:1883")),
                (["mqtt.broker=mqtt://x:y", TOPICS], ("is no address",)),
                (good[:1], ("'mqtt.topics' is empty",)),
                (["mqtt.topics=a/#/b", *good[:1]], ("has a # that is not its last level",)),
                ([*good, "mqtt.password_file=/nowhere"], ("a password without a user",)),
                ([*good, "mqtt.user=u", "mqtt.password_file=/nowhere"], ("could not read", "/nowhere")),
                ([*good, "mqtt.precision=min"], ("mqtt.precision",))):
            flags = [word for setting in settings for word in ("--set", setting)]
            code, _, errors = daemon.command(
                "serve", "--set", f"server.listen=127.0.0.1:{free_port()}", "--set", f"storage.path={daemon.data}",
                *flags, data=False)
            assert code in (1, 2), (settings, code)
            assert all(word in errors for word in words), (settings, errors)
    finally:
        daemon.remove()
