"""Debian's vmagent scrapes and writes to forecastd, which is stopped and killed in the middle: nothing is lost.

SPDX-License-Identifier: Apache-2.0
"""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

from daemon import Daemon, free_port, quote

CONFIGURATION = """
global:
  scrape_interval: 500ms
scrape_configs:
  - job_name: ticks
    static_configs: [{{targets: ['127.0.0.1:{target}']}}]
"""


class Target:
    """What is scraped: a counter of the scrapes themselves, so that each sample is known."""

    def __init__(self):
        target = self
        self.scrapes = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):  # the name that http.server calls
                target.scrapes += 1
                body = f"# TYPE ticks counter\nticks {target.scrapes}\n".encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format, *arguments):  # quiet
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Agent:
    """One vmagent in a folder of its own."""

    def __init__(self, target_port, forecastd_port):
        self.port = free_port()
        self.folder = tempfile.mkdtemp(prefix="forecastd-vmagent-")
        path = os.path.join(self.folder, "scrape.yml")
        with open(path, "w", encoding="ascii") as file:
            file.write(CONFIGURATION.format(target=target_port))
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.process = subprocess.Popen(
                ["vmagent", f"-promscrape.config={path}", f"-httpListenAddr=127.0.0.1:{self.port}",
                 f"-remoteWrite.url=http://127.0.0.1:{forecastd_port}/api/v1/write",
                 f"-remoteWrite.tmpDataPath={self.folder}/queue"], stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline, "vmagent does not listen"
                time.sleep(0.1)

    def remove(self):
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


def stored(daemon, series):
    answer = daemon.get(f"/api/v1/series/{quote(series)}/points?limit=10000")
    return answer.json["points"] if answer.status == 200 else []


def scraped(agent):
    """Scrapes that the agent finished; a busy machine makes it give up some, whose numbers nobody has seen."""
    with urllib.request.urlopen(f"http://127.0.0.1:{agent.port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().split("\n")
    return sum(int(line.split()[1]) for line in lines if line.startswith('vm_promscrape_scrapes_total{status_code="200"}'))


def wait_for_all(daemon, agent, target, newest):
    """Every value that was scraped is there, up to at least `newest`; blocks arrive in any order, each when its sender
    tries again. No more numbers are missing than scrapes were given up."""
    series = f'ticks{{instance="127.0.0.1:{target.port}",job="ticks"}}'
    deadline = time.monotonic() + 60
    while True:
        given_up = target.scrapes - scraped(agent)
        got = [value for _, value in stored(daemon, series)]
        missing = got[-1] - len(got) if got else 0
        if got and got[-1] >= newest and got == sorted(set(got)) and missing <= given_up:
            return
        assert time.monotonic() < deadline, (missing, given_up, got)
        time.sleep(0.2)


def test_nothing_is_lost_over_a_stop_and_a_kill():
    daemon = Daemon(port=free_port()).start()
    target = Target()
    agent = Agent(target.port, daemon.port)
    try:
        wait_for_all(daemon, agent, target, 1)
        for number in (signal.SIGTERM, signal.SIGKILL):
            time.sleep(2)
            daemon.signal(number)
            daemon.process.wait(30)
            time.sleep(3)  # it is away for a few scrapes and retries
            back = target.scrapes
            daemon.start()
            wait_for_all(daemon, agent, target, back + 4)
    finally:
        agent.remove()
        target.close()
        daemon.remove()
