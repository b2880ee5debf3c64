"""Debian's collectd by both of its ways: scraped from write_prometheus, and write_influxdb_udp through a relay.

SPDX-License-Identifier: Apache-2.0

forecastd takes no UDP; the relay stands for Telegraf's socket_listener and hands each datagram on as it came.
"""
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from daemon import Daemon, free_port
from test_vmagent import Agent

CONFIGURATION = """
Hostname "plant"
FQDNLookup false
BaseDir "{folder}"
PIDFile "{folder}/pid"
Interval 1
LoadPlugin load
LoadPlugin memory
<Plugin memory>
  ValuesAbsolute true
</Plugin>
{output}
"""
LINES = """
LoadPlugin write_influxdb_udp
<Plugin write_influxdb_udp>
  Server "127.0.0.1" "{port}"
  StoreRates true
  TimeToLive 1
</Plugin>
"""
SCRAPED = """
LoadPlugin write_prometheus
<Plugin write_prometheus>
  Host "127.0.0.1"
  Port "{port}"
</Plugin>
"""


class Collectd:
    """One collectd in a folder of its own."""

    def __init__(self, output, port):
        self.folder = tempfile.mkdtemp(prefix="forecastd-collectd-")
        path = os.path.join(self.folder, "collectd.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(CONFIGURATION.format(folder=self.folder, output=output.format(port=port)))
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.process = subprocess.Popen(["/usr/sbin/collectd", "-f", "-C", path], stdout=log, stderr=log)

    def log(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:]

    def remove(self):
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


class Relay:
    """Datagrams on a port, each posted to /write as it is."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.answers = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                text = self.socket.recv(65536)
            except OSError:
                return
            answer = self.daemon.request("POST", "/write?db=collectd&precision=ms", text)
            self.answers.append((answer.status, answer.body, text))

    def close(self):
        self.socket.close()


def series_with_points(daemon, pattern, count, collectd):
    """Names of the series that match and have at least `count` points, once there are some."""
    deadline = time.monotonic() + 60
    while True:
        rows = daemon.get("/api/v1/series?limit=1000").json["series"]
        found = [row["series"] for row in rows if re.search(pattern, row["series"]) and row["points"] >= count]
        if found:
            return found
        assert time.monotonic() < deadline, (rows, collectd.log())
        time.sleep(0.2)


def test_lines_through_a_relay(daemon):
    relay = Relay(daemon)
    collectd = Collectd(LINES, relay.port)
    try:
        series_with_points(daemon, "memory", 3, collectd)
        series_with_points(daemon, "load", 3, collectd)
        assert all(status == 204 for status, _, _ in relay.answers), relay.answers[:3]
        rows = daemon.get("/api/v1/series?limit=1000").json["series"]
        assert all('host="plant"' in row["series"] for row in rows), rows
    finally:
        collectd.remove()
        relay.close()


def test_scraped_by_vmagent():
    daemon = Daemon(port=free_port()).start()
    port = free_port()
    collectd = Collectd(SCRAPED, port)
    agent = Agent(port, daemon.port)
    try:
        found = series_with_points(daemon, "^collectd_memory", 3, collectd)
        assert all('instance="' in name for name in found), found
        series_with_points(daemon, "^collectd_load", 3, collectd)
    finally:
        agent.remove()
        collectd.remove()
        daemon.remove()
