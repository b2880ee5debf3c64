"""Backfill from Debian's Prometheus and InfluxDB 1.x: every point that they hold, compared one by one.

SPDX-License-Identifier: Apache-2.0

Both are filled with series made here, over more time than one answer may cover.
"""
import json
import math
import os
import random
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from daemon import TOOL_SECONDS, Daemon, free_port, quote

STEP = 15
COUNT = 30000  # of 15 s: five days, three windows of Prometheus at least


def wait_for(url, process, log):
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, open(log, encoding="utf-8", errors="replace").read()[-2000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline, url
            time.sleep(0.1)


def call(url, data=None):
    with urllib.request.urlopen(url, data, timeout=30) as answer:
        return answer.read()


def wave(index, generator):
    return round(20 + 5 * math.sin(index / 240) + generator.gauss(0, 1), 3)


def exported(daemon, series):
    code, out, error = daemon.command("export", "--series", series)
    assert code == 0, error
    rows = [line.rsplit(",", 2) for line in out.splitlines()[1:]]
    return [(row[1], float(row[2])) for row in rows]


def stamp(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class Server:
    """A process in a folder of its own."""

    def __init__(self, prefix):
        self.folder = tempfile.mkdtemp(prefix=prefix)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = os.path.join(self.folder, "log")
        self.process = None

    def start(self, command, ready, environment=None):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder,
                                            env={**os.environ, **(environment or {})})
        wait_for(self.url + ready, self.process, self.log)

    def remove(self):
        if self.process:
            self.process.terminate()
            self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


def filled_prometheus():
    """A Prometheus whose past is made by promtool: one steady series, one with NaN and a hole, one of many labels."""
    server = Server("forecastd-prometheus-")
    generator = random.Random(7)
    begin = (int(time.time()) - COUNT * STEP) // STEP * STEP
    data = {"steady": [], "holes": []}
    text = os.path.join(server.folder, "points.txt")
    with open(text, "w", encoding="ascii") as file:
        file.write("# TYPE steady gauge\n")
        for i in range(COUNT):
            value = wave(i, generator)
            data["steady"].append((begin + i * STEP, value))
            file.write(f'steady{{host="a \\"b\\""}} {value} {begin + i * STEP}\n')
        file.write("# TYPE holes gauge\n")
        for i in range(COUNT):
            if 5000 <= i < 6000 or i % 100 == 3:
                continue
            value = float("nan") if i % 500 == 4 else float("inf") if i % 5000 == 9 else wave(i, generator)
            data["holes"].append((begin + i * STEP, value))
            shown = "NaN" if math.isnan(value) else "+Inf" if math.isinf(value) else value
            file.write(f'holes {shown} {begin + i * STEP}\n')
        file.write("# EOF\n")
    subprocess.run(["promtool", "tsdb", "create-blocks-from", "openmetrics", text, server.folder + "/data"],
                   check=True, capture_output=True, timeout=TOOL_SECONDS)
    with open(server.folder + "/prometheus.yml", "w", encoding="ascii") as file:
        file.write("{}\n")
    server.start(["prometheus", f"--config.file={server.folder}/prometheus.yml",
                  f"--web.listen-address=127.0.0.1:{server.port}", f"--storage.tsdb.path={server.folder}/data"],
                 "/-/ready")
    return server, begin, data


def range_of(server, query, begin, end):
    """What Prometheus itself answers, in pieces: [(seconds, value)] of the one series."""
    found = []
    for start in range(begin, end, 5000 * STEP):
        parameters = {"query": query, "start": start, "end": min(start + 4999 * STEP, end - STEP), "step": STEP}
        answer = json.loads(call(server.url + "/api/v1/query_range?" + urllib.parse.urlencode(parameters)))
        for series in answer["data"]["result"]:
            found += [(at, float(value)) for at, value in series["values"]]
    return found


def test_prometheus():
    server, begin, data = filled_prometheus()
    daemon = Daemon()
    try:
        arguments = ["import", "--from-prometheus", server.url, "--query", "steady", "--query", "holes",
                     "--query", "max(steady) - min(steady)", "--name", "spread", "--step", f"{STEP}s",
                     "--start", stamp(begin), "--end", stamp(begin + COUNT * STEP)]
        code, _, error = daemon.command(*arguments)
        assert code == 0, error
        steady = 'steady{host="a \\"b\\""}'
        assert exported(daemon, steady) == [(stamp(at), value) for at, value in data["steady"]]
        want = [(stamp(at), value) for at, value in range_of(server, "holes", begin, begin + COUNT * STEP)
                if math.isfinite(value)]
        assert exported(daemon, "holes") == want and COUNT - 1500 < len(want) < COUNT, len(want)
        spread = exported(daemon, "spread")
        assert len(spread) == COUNT and all(value == 0 for _, value in spread)
        first = error
        code, _, error = daemon.command(*arguments)  # again: nothing new
        stored = int(error.split(" points stored")[0].split()[-1])
        assert code == 0 and f"{stored} of them updates" in error, (first, error)
        code, _, error = daemon.command("import", "--from-prometheus", server.url, "--query", "steady{")
        assert code == 1 and "the server answered 400" in error and "parse error" in error, error
    finally:
        server.remove()
        daemon.remove()


def test_prometheus_into_a_running_daemon():
    server, begin, data = filled_prometheus()
    daemon = Daemon().start()
    try:
        code, _, error = daemon.command(
            "import", "--url", f"http://127.0.0.1:{daemon.port}", "--from-prometheus", server.url + "/", "--query",
            '{__name__="steady"}', "--step", f"{STEP}s", "--start", "-2d", data=False)
        assert code == 0, error
        series = quote('steady{host="a \\"b\\""}')
        got = daemon.get(f"/api/v1/series/{series}/points?limit=10").json["points"]
        known = {at * 1000: value for at, value in data["steady"]}
        assert len(got) == 10 and all(known[at] == value for at, value in got), got
        assert daemon.get(f"/api/v1/series/{series}").json["step_ms"] == STEP * 1000
    finally:
        server.remove()
        daemon.remove()


def start_influxdb(server):
    server.start(["influxd", "run"], "/ping", {
        "INFLUXDB_META_DIR": server.folder + "/meta", "INFLUXDB_DATA_DIR": server.folder + "/data",
        "INFLUXDB_DATA_WAL_DIR": server.folder + "/wal", "INFLUXDB_HTTP_BIND_ADDRESS": f"127.0.0.1:{server.port}",
        "INFLUXDB_BIND_ADDRESS": f"127.0.0.1:{free_port()}", "INFLUXDB_REPORTING_DISABLED": "true",
        "INFLUXDB_HTTP_FLUX_ENABLED": "true"})


def filled_influxdb():
    server = Server("forecastd-influxdb-")
    start_influxdb(server)
    call(server.url + "/query", urllib.parse.urlencode({"q": "CREATE DATABASE telegraf"}).encode())
    generator = random.Random(9)
    begin = (int(time.time()) - COUNT * STEP) // STEP * STEP
    lines, data = [], {"cpu_idle": [], "cpu_busy": [], "mem_used": []}
    for i in range(COUNT):
        at = begin + i * STEP
        idle, busy, used = wave(i, generator), i, wave(i, generator)
        fields = f"idle={idle},state=\"on\",good=true"
        data["cpu_idle"].append((stamp(at), idle))
        if i % 3 == 0:
            fields += f",busy={busy}i"
            data["cpu_busy"].append((stamp(at), float(busy)))
        lines.append(f'cpu,host=a\\ "b" {fields} {at}')
        if not 1000 <= i < 9000:
            lines.append(f"mem used={used} {at}")
            data["mem_used"].append((stamp(at), used))
    for first in range(0, len(lines), 10000):
        call(server.url + "/write?db=telegraf&precision=s", "\n".join(lines[first:first + 10000]).encode())
    return server, begin, data


def test_influxdb():
    server, begin, data = filled_influxdb()
    daemon = Daemon()
    try:
        window = ["--start", stamp(begin), "--end", stamp(begin + COUNT * STEP)]
        code, _, error = daemon.command("import", "--from-influxdb", server.url, "--database", "telegraf", *window)
        assert code == 0, error
        assert f"{2 * COUNT} were no finite numbers" in error, error  # the texts and the booleans
        labels = '{host="a \\"b\\""}'
        assert exported(daemon, "cpu_idle" + labels) == data["cpu_idle"]
        assert exported(daemon, "cpu_busy" + labels) == data["cpu_busy"]
        assert exported(daemon, "mem_used") == data["mem_used"]
        code, _, error = daemon.command(
            "import", "--from-influxdb", server.url, "--database", "telegraf", *window, "--step", "5m", "--query",
            "SELECT max(used) AS used_max FROM mem WHERE $timeFilter GROUP BY time($__interval), * fill(none)")
        assert code == 0, error
        got = exported(daemon, "mem_used_max")
        highest = {}
        for at, value in data["mem_used"]:
            cell = at[:14] + f"{int(at[14:16]) // 5 * 5:02}:00Z"
            highest[cell] = max(value, highest.get(cell, value))
        assert got == sorted(highest.items()), (len(got), len(highest))
        means = Daemon()  # means over five minutes, under the names that live points have
        code, _, error = means.command("import", "--from-influxdb", server.url, "--database", "telegraf", *window,
                                       "--step", "5m")
        cells = {}
        for at, value in data["mem_used"]:
            cells.setdefault(at[:14] + f"{int(at[14:16]) // 5 * 5:02}:00Z", []).append(value)
        got = exported(means, "mem_used")
        means.remove()
        assert [at for at, _ in got] == sorted(cells), error
        assert all(math.isclose(value, sum(cells[at]) / len(cells[at]), rel_tol=1e-12) for at, value in got)
        code, _, error = daemon.command("import", "--from-influxdb", server.url, "--database", "nosuch", *window)
        assert code == 1 and "database not found" in error, error
    finally:
        server.remove()
        daemon.remove()
