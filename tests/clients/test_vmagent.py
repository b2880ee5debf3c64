"""Debian's vmagent scrapes and writes to forecastd, which is stopped and killed in the middle: nothing is lost.

SPDX-License-Identifier: Apache-2.0
"""
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
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

    def remove(self):
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


def stored(daemon, series):
    answer = daemon.get(f"/api/v1/series/{quote(series)}/points?limit=10000")
    return answer.json["points"] if answer.status == 200 else []


def wait_for_all(daemon, series, newest):
    """Every value from 1 to at least `newest` is there; blocks arrive in any order, each when its sender tries again."""
    deadline = time.monotonic() + 60
    while True:
        got = [value for _, value in stored(daemon, series)]
        if len(got) >= newest and got == list(range(1, len(got) + 1)):
            return
        assert time.monotonic() < deadline, got
        time.sleep(0.2)


def test_nothing_is_lost_over_a_stop_and_a_kill():
    daemon = Daemon(port=free_port()).start()
    target = Target()
    agent = Agent(target.port, daemon.port)
    series = f'ticks{{instance="127.0.0.1:{target.port}",job="ticks"}}'
    try:
        wait_for_all(daemon, series, 1)
        for number in (signal.SIGTERM, signal.SIGKILL):
            time.sleep(2)
            daemon.signal(number)
            daemon.process.wait(30)
            time.sleep(3)  # it is away for a few scrapes and retries
            back = target.scrapes
            daemon.start()
            wait_for_all(daemon, series, back + 4)
    finally:
        agent.remove()
        target.close()
        daemon.remove()
