"""Debian's Prometheus writes to forecastd, which is stopped and killed in the middle: nothing is lost.

SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

from daemon import Daemon, free_port, quote

CONFIGURATION = """
global:
  scrape_interval: 500ms
scrape_configs:
  - job_name: prometheus
    static_configs: [{{targets: ['127.0.0.1:{prometheus}']}}]
  - job_name: forecastd
    static_configs: [{{targets: ['127.0.0.1:{forecastd}']}}]
remote_write:
  - url: http://127.0.0.1:{forecastd}/api/v1/write
    queue_config: {{max_backoff: 500ms}}
"""
WATCHED = ("up", "go_goroutines", "process_cpu_seconds_total", "prometheus_tsdb_head_chunks")


class Prometheus:
    """One Prometheus in a folder of its own."""

    def __init__(self, forecastd_port):
        self.port = free_port()
        self.folder = tempfile.mkdtemp(prefix="forecastd-prometheus-")
        path = os.path.join(self.folder, "prometheus.yml")
        with open(path, "w", encoding="ascii") as file:
            file.write(CONFIGURATION.format(prometheus=self.port, forecastd=forecastd_port))
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={path}", f"--web.listen-address=127.0.0.1:{self.port}",
                 f"--storage.tsdb.path={self.folder}/data"], stdout=log, stderr=log, cwd=self.folder)

    def query(self, expression):
        url = f"http://127.0.0.1:{self.port}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]["result"]

    def samples(self, selector):
        """[[ms, value], ...] of one series, as scraped."""
        series, = self.query(selector + "[10m]")
        return [[round(at * 1000), float(value)] for at, value in series["values"]]

    def own(self, metric):
        return sum(float(series["value"][1]) for series in self.query(metric))

    def remove(self):
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


def name_of(prometheus, metric):
    return f'{metric}{{instance="127.0.0.1:{prometheus.port}",job="prometheus"}}'


def stored(daemon, series):
    answer = daemon.get(f"/api/v1/series/{quote(series)}/points?limit=10000")
    return answer.json["points"] if answer.status == 200 else []


def wait_for_points_after(daemon, series, time_ms):
    deadline = time.monotonic() + 60
    while not any(at > time_ms for at, _ in stored(daemon, series)):
        assert time.monotonic() < deadline, "nothing arrived any more"
        time.sleep(0.2)


def test_nothing_is_lost_over_a_stop_and_a_kill():
    daemon = Daemon(port=free_port()).start()
    prometheus = Prometheus(daemon.port)
    try:
        up = name_of(prometheus, "up")
        wait_for_points_after(daemon, up, 0)
        for number in (signal.SIGTERM, signal.SIGKILL):
            time.sleep(2)
            daemon.signal(number)
            daemon.process.wait(30)
            time.sleep(3)  # it is away for a few scrapes and retries
            back = int(time.time() * 1000)
            daemon.start()
            wait_for_points_after(daemon, up, back + 2000)
        for metric in WATCHED:
            series = name_of(prometheus, metric)
            got = stored(daemon, series)
            want = [each for each in prometheus.samples(series) if got[0][0] <= each[0] <= got[-1][0]]
            assert len(got) > 20 and got == want, (metric, len(got), len(want))
        for metric in ("prometheus_remote_storage_samples_failed_total",
                       "prometheus_remote_storage_samples_dropped_total"):
            assert prometheus.own(metric) == 0, metric
        assert prometheus.own("prometheus_remote_storage_samples_retried_total") > 0
    finally:
        prometheus.remove()
        daemon.remove()
