"""Debian's mosquitto: plain and with TLS and a password, the broker and the daemon killed in the middle.

SPDX-License-Identifier: Apache-2.0
"""
import os
import shutil
import signal
import subprocess
import tempfile
import time

from daemon import SLOWNESS, TOOL_SECONDS, Daemon, free_port, now_ms, quote

MESSAGES = 3000


class Mosquitto:
    def __init__(self, *lines):
        self.folder = tempfile.mkdtemp(prefix="forecastd-mosquitto-")
        self.port = free_port()
        self.config = os.path.join(self.folder, "mosquitto.conf")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f"listener {self.port} 127.0.0.1\nuser root\npersistence true\nautosave_interval 1\n"
                       f"autosave_on_changes true\npersistence_location {self.folder}/\nmax_queued_messages 100000\n"
                       + "".join(line.replace("FOLDER", self.folder) + "\n" for line in lines))
        self.process = None

    def start(self):
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.process = subprocess.Popen(["/usr/sbin/mosquitto", "-c", self.config], stdout=log, stderr=log)
        time.sleep(0.5)
        assert self.process.poll() is None, open(os.path.join(self.folder, "log"), encoding="utf-8").read()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(10)

    def publish(self, lines, *options):
        """One message of quality of service 1 a line."""
        subprocess.run(["mosquitto_pub", "-h", "localhost", "-p", str(self.port), "-q", "1", *options, "-l"],
                       input="".join(line + "\n" for line in lines).encode(), check=True, timeout=TOOL_SECONDS)

    def remove(self):
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_for(what, seconds=30):
    end = time.monotonic() + seconds * SLOWNESS
    while not what():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)


def connected(daemon):
    return daemon.get("/api/v1/status").json["mqtt"]["connected"]


def values(daemon, series):
    answer = daemon.get(f"/api/v1/series/{quote(series)}/points?limit=100000")
    return [value for _, value in answer.json["points"]] if answer.status == 200 else []


def test_nothing_is_lost_with_broker_and_daemon_killed():
    broker = Mosquitto("allow_anonymous true")
    broker.start()
    daemon = Daemon(f"mqtt.broker=mqtt://127.0.0.1:{broker.port}", "mqtt.topics=site/{site}/{name}").start()
    start = now_ms() - 10_000_000
    lines = [f'{{"value":{n},"timestamp":{start + n * 1000}}}' for n in range(MESSAGES)]
    try:
        wait_for(lambda: connected(daemon))
        broker.publish(lines[:1000], "-t", "site/a/power")
        daemon.signal(signal.SIGKILL)
        daemon.wait_exit(5)
        broker.publish(lines[1000:2000], "-t", "site/a/power")  # nobody there: the session keeps them
        daemon.start()
        wait_for(lambda: connected(daemon))
        broker.stop()
        broker.start()
        wait_for(lambda: connected(daemon))
        broker.publish(lines[2000:], "-t", "site/a/power")
        wait_for(lambda: len(values(daemon, 'power{site="a"}')) >= MESSAGES)
        assert values(daemon, 'power{site="a"}') == [float(n) for n in range(MESSAGES)]
    finally:
        daemon.remove()
        broker.remove()


def test_a_pattern_that_is_taken_out_is_not_delivered_any_more():
    broker = Mosquitto("allow_anonymous true")
    broker.start()
    daemon = Daemon(f"mqtt.broker=mqtt://127.0.0.1:{broker.port}", "mqtt.topics=old/{name}, new/{name}").start()
    try:
        wait_for(lambda: connected(daemon))
        assert daemon.stop() == 0
        daemon.settings[-1] = "mqtt.topics=new/{name}"
        daemon.start()
        wait_for(lambda: connected(daemon))
        broker.publish(["1"], "-t", "old/a")
        broker.publish(["2"], "-t", "new/a")
        wait_for(lambda: values(daemon, "a") == [2.0])
        assert daemon.get("/api/v1/status").json["mqtt"]["refused_messages"] == 0, daemon.log()
    finally:
        daemon.remove()
        broker.remove()


def test_tls_and_password():
    folder = tempfile.mkdtemp(prefix="forecastd-tls-")
    key, certificate = os.path.join(folder, "key.pem"), os.path.join(folder, "cert.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    passwords = os.path.join(folder, "passwords")
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "meter", "right"], check=True, capture_output=True)
    broker = Mosquitto("allow_anonymous false", f"password_file {passwords}", f"certfile {certificate}",
                       f"keyfile {key}")
    broker.start()
    good, bad = os.path.join(folder, "good"), os.path.join(folder, "bad")
    for path, word in ((good, "right"), (bad, "wrong")):
        with open(path, "w", encoding="utf-8") as file:
            file.write(word + "\n")
    topics = ["mqtt.topics=site/{name}", "mqtt.user=meter"]
    trusted = [f"mqtt.ca_file={certificate}", f"mqtt.password_file={good}"]
    address = f"mqtt.broker=mqtts://localhost:{broker.port}"
    try:
        for settings, words in (([address, f"mqtt.password_file={good}"], "TLS"),
                                ([address, f"mqtt.ca_file={certificate}", f"mqtt.password_file={bad}"],
                                 "refused the connection"),
                                ([address.replace("localhost", "127.0.0.1"), *trusted], "TLS")):
            daemon = Daemon(*settings, *topics).start()
            wait_for(lambda: words in daemon.log())  # noqa: B023
            assert not connected(daemon), settings
            daemon.remove()
        daemon = Daemon(address, *trusted, *topics).start()
        try:
            wait_for(lambda: connected(daemon))
            broker.publish(["21.5"], "-t", "site/temperature", "--cafile", certificate, "-u", "meter", "-P", "right")
            wait_for(lambda: values(daemon, "temperature") == [21.5])
        finally:
            daemon.remove()
    finally:
        broker.remove()
        shutil.rmtree(folder, ignore_errors=True)
