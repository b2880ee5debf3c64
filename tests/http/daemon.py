"""Starts the real binary in a folder of its own and speaks HTTP to it; shared by http and crash.

SPDX-License-Identifier: Apache-2.0
"""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.path.abspath(os.environ.get("FORECASTD", os.path.join(ROOT, "build", "forecastd")))
# Watched or counted, everything takes longer; deadlines of promises are stretched, never dropped.
SLOWNESS = 8 if any(word in BINARY for word in ("thread", "address", "coverage")) else 1
# For what the tools of others may take (npm, promtool, a client): no promise of ours, and a busy machine starves them.
TOOL_SECONDS = 600
JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}
CSV = {"Content-Type": "text/csv"}


class LeftOut(Exception):
    """Raised by a test that this machine does not let run, with the reason."""


class Answer:
    """Status, headers in lower case, body."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = {key.lower(): value for key, value in headers}
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode()

    @property
    def type(self):
        return self.headers.get("content-type", "").split(";")[0]

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Daemon:
    """One daemon; `folder` survives stop() so that a next start finds the same data, and `port`, where given, so that
    clients find it again."""

    judge = None  # of the class, where a suite sets it: called with (method, path, body, headers) and the Answer

    def __init__(self, *settings, folder=None, port=None):
        self.folder = folder or tempfile.mkdtemp(prefix="forecastd-test-")
        self.data = os.path.join(self.folder, "data")
        self.log_path = os.path.join(self.folder, "log")
        self.settings = list(settings)
        self.process = None
        self.fixed_port = port
        self.port = 0

    def start(self, wait=True, timeout=15):
        self.port = self.fixed_port or free_port()
        command = [BINARY, "serve", "--set", f"server.listen=127.0.0.1:{self.port}",
                   "--set", f"storage.path={self.data}", "--set", "storage.reserve=1MiB"]
        for setting in self.settings:
            command += ["--set", setting]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        if wait:
            self.wait_ready(timeout * SLOWNESS)
        return self

    def wait_ready(self, timeout):
        """Returns the seconds from now to the first answer."""
        begin = time.monotonic()
        while True:
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.log()}")
            try:
                if self.get("/healthz").status == 200:
                    return time.monotonic() - begin
            except OSError:
                pass
            if time.monotonic() - begin > timeout:
                raise AssertionError(f"no answer in {timeout} s:\n{self.log()}")
            time.sleep(0.002)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()[-3000:]

    def signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self, timeout):
        return self.process.wait(timeout)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.wait_exit(15 * SLOWNESS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode if self.process else None

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def connect(self, timeout=30):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout * SLOWNESS)

    def request(self, method, path, body=None, headers=None):
        connection = self.connect()
        try:
            if isinstance(body, str):
                body = body.encode()
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            answer = Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()
        if self.judge:
            self.judge((method, path, body, headers or {}), answer)
        return answer

    def get(self, path, **headers):
        return self.request("GET", path, headers=headers)

    def post_json(self, path, value):
        return self.request("POST", path, json.dumps(value), JSON)

    def points(self, points, query=""):
        """Points as JSON: a list of objects, or [series, [[ms, value], ...]]."""
        return self.post_json("/api/v1/points" + query, points)

    def raw(self, data, timeout=10):
        """Bytes as they are; everything that comes back until the daemon closes or is silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout * SLOWNESS) as link:
            link.sendall(data)
            received = b""
            link.settimeout(2 * SLOWNESS)
            try:
                while True:
                    part = link.recv(65536)
                    if not part:
                        break
                    received += part
            except (TimeoutError, ConnectionResetError):
                pass
            return received

    def command(self, *arguments, data=True, timeout=60, environment=None):
        """Runs the binary as a command; returns (exit code, stdout, stderr)."""
        command = [BINARY, *arguments]
        if data:
            command += ["--data", self.data]
        done = subprocess.run(command, capture_output=True, timeout=timeout * SLOWNESS, text=True,
                              cwd=self.folder, env={**os.environ, **(environment or {})}, check=False)
        return done.returncode, done.stdout, done.stderr


def now_ms():
    return int(time.time() * 1000)


def quote(series):
    """Percent-encoded, every byte that is not a letter or digit."""
    return "".join(chr(b) if chr(b).isalnum() and b < 128 else f"%{b:02X}" for b in series.encode())
