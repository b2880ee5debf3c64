"""forecastd against Debian's InfluxDB, VictoriaMetrics and Prometheus, in turns on this machine: `make bench-peers`.

SPDX-License-Identifier: Apache-2.0

usage: peers.py BUILD-FOLDER [PART...]    PART: ingest serve (default: both)

Every server runs alone, on loopback, in a fresh folder under TMPDIR (a disk, not a memory file system: syncs count),
with its package's defaults. tests/bench/bench_peers.c sends and asks. A round measures peer and forecastd right after one
another; a ratio is the median over ROUNDS of the rounds' ratios, so that what else the machine does weighs on both
sides. Processor seconds are the server's own. Points are counted again in the server after each sending.
Prints a table, then a line a goal; ends with 1 where a goal is missed.
"""
import http.client
import json
import math
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import typing
import urllib.error
import urllib.parse
import urllib.request

ROUNDS = int(os.environ.get("ROUNDS", "5"))
POINTS = 1_000_000  # those of bench_peers.c: 1,000 sensors, 1,000 points a request
TICKS = 1000
TICK_MS = {"lines": 10000, "remote": 1000}
SETTLE_MS = 2000  # where both sides put work off: their processor seconds are counted until then
WEEK = 7 * 24 * 60
STEPS = 48
TRAINING_SECONDS = 30
ASK_MS = 500
ANEW_POINTS = 40
ANEW = f"GET forecast, {STEPS} steps, made anew for each new point; there predict_linear, 1 value"
ANEW_WINTERS = f"GET forecast, {STEPS} steps, made anew for each new point; there HOLT_WINTERS of 168 hours"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(url, form=None, body=None, content_type="application/x-www-form-urlencoded"):
    data = urllib.parse.urlencode(form).encode() if form is not None else body
    request = urllib.request.Request(url, data, {"Content-Type": content_type} if data is not None else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise SystemExit(f"peers: {url}: {error.code} {error.read()[:300]!r}") from error


def target(path, **parameters):
    return path + "?" + urllib.parse.urlencode(parameters, safe="{}")


# ---------------------------------------------------------------- servers


class Server:
    """A process in a folder of its own; `with` stops it and removes what it wrote."""
    ready = "/"
    prefix = ""  # of its Prometheus API

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="forecastd-peers-")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None
        self.connection = None

    def command(self):
        """The command line, and additions to the environment."""
        raise NotImplementedError

    def prepare(self):
        """Once it answers."""

    def __enter__(self):
        command, environment = self.command()
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder,
                                            env={**os.environ, **environment})
        deadline = time.monotonic() + 60
        try:
            while True:
                try:
                    urllib.request.urlopen(self.url + self.ready, timeout=5).close()
                    break
                except OSError as error:
                    if self.process.poll() is not None or time.monotonic() > deadline:
                        raise SystemExit(f"peers: {command[0]} does not start:\n{self.log()}") from error
                    time.sleep(0.01)
            self.prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:]

    def query(self, expression, time_ms):
        """The one value of an expression of PromQL."""
        answer = json.loads(fetch(self.url + self.prefix + "/api/v1/query",
                                  {"query": expression, "time": time_ms / 1000, "nocache": 1}))
        result = answer["data"]["result"]
        return float(result[0]["value"][1]) if result else 0.0

    def count(self, start_ms, tick_ms):
        """How many points of the sensors there are."""
        span_s = (TICKS * tick_ms + 60000) // 1000
        return self.query(f"sum(count_over_time(bench_temperature[{span_s}s]))", start_ms + (TICKS - 1) * tick_ms)


class Forecastd(Server):
    name, ready, prefix = "forecastd", "/healthz", "/prometheus"
    program = None  # from the command line
    settings = ()
    durability = "synced to disk before the acknowledgement"

    def command(self):
        words = [f"server.listen=127.0.0.1:{self.port}", f"storage.path={self.folder}/data", *self.settings]
        return [self.program, "serve"] + [word for one in words for word in ("--set", one)], {}

    def query(self, expression, time_ms):
        answer = json.loads(fetch(self.url + target("/prometheus/api/v1/query", query=expression, time=time_ms / 1000)))
        return float(answer["data"]["result"][0]["value"][1])


class Relaxed(Forecastd):
    name, settings = "forecastd, relaxed", ("storage.durability=relaxed",)
    durability = "in the log file, not synced: survives the process, the last moments may not survive a power cut"


class Influx(Server):
    name, ready = "InfluxDB", "/ping"
    durability = "synced to disk before the acknowledgement (wal-fsync-delay 0s)"

    def command(self):
        return ["influxd", "run"], {
            "INFLUXDB_META_DIR": self.folder + "/meta", "INFLUXDB_DATA_DIR": self.folder + "/data",
            "INFLUXDB_DATA_WAL_DIR": self.folder + "/wal", "INFLUXDB_HTTP_BIND_ADDRESS": f"127.0.0.1:{self.port}",
            "INFLUXDB_BIND_ADDRESS": f"127.0.0.1:{free_port()}", "INFLUXDB_REPORTING_DISABLED": "true"}

    def prepare(self):
        fetch(self.url + "/query", {"q": "CREATE DATABASE bench"})

    def count(self, start_ms, tick_ms):
        answer = json.loads(fetch(self.url + "/query", {"db": "bench", "q": "SELECT COUNT(temperature) FROM bench"}))
        return answer["results"][0]["series"][0]["values"][0][1]


class Victoria(Server):
    name, ready = "VictoriaMetrics", "/health"
    durability = "in memory: up to some seconds are lost with the process"

    def command(self):
        return ["victoria-metrics", f"-storageDataPath={self.folder}/data", f"-httpListenAddr=127.0.0.1:{self.port}"], {}

    def count(self, start_ms, tick_ms):
        fetch(self.url + "/internal/force_flush")
        return super().count(start_ms, tick_ms)


class Prometheus(Server):
    name, ready = "Prometheus", "/-/ready"
    durability = "in the log file, not synced: survives the process, not a power cut"

    def command(self):
        with open(self.folder + "/prometheus.yml", "w", encoding="ascii") as file:
            file.write("{}\n")
        return ["prometheus", f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data",
                f"--web.listen-address=127.0.0.1:{self.port}", "--web.enable-remote-write-receiver"], {}


def versions():
    """As the programs say them."""
    said = {}
    for name, command in (("forecastd", [Forecastd.program, "--version"]), ("InfluxDB", ["influxd", "version"]),
                          ("VictoriaMetrics", ["victoria-metrics", "-version"]),
                          ("Prometheus", ["prometheus", "--version"])):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        words = (done.stdout + done.stderr).replace(",", " ").split()
        number = next((word for word in words if re.match(r"v?\d+\.\d+", word)), None)
        said[name] = f"{name} {number or packaged(name)}"
    said["forecastd, relaxed"] = said["forecastd"] + ", storage.durability: relaxed"
    return said


def packaged(name):
    """The version of a peer's package, where the program does not say it."""
    package = {"VictoriaMetrics": "victoria-metrics"}[name]
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False)
    return done.stdout or "of unknown version"


# ---------------------------------------------------------------- figures


class Figures:
    """What was measured: {what: {side: [a value a round]}}, and the goals."""

    def __init__(self):
        self.values = {}
        self.rows = []
        self.goals = []

    def add(self, what, side, value):
        self.values.setdefault(what, {}).setdefault(side, []).append(value)

    def compare(self, what, ours, peer, unit, goal=None, inverse=False):
        """A row, ours against the peer; `goal`: (">=" or "<=", bound) or None; `inverse`: peer against ours."""
        a, b = self.values[what][ours], self.values[what][peer]
        ratios = sorted((y / x if inverse else x / y) for x, y in zip(a, b))
        ratio = statistics.median(ratios)
        met = None
        if goal:
            met = ratio >= goal[1] if goal[0] == ">=" else ratio <= goal[1]
            self.goals.append((met, f"{what}, {ours} against {peer}: {ratio:.3g} {goal[0]} {goal[1]}"))
        self.rows.append((what, f"{ours}: {shown(statistics.median(a))} {unit}", f"{peer}: {shown(statistics.median(b))} {unit}",
                          f"{ratio:.3g} ({ratios[0]:.3g} - {ratios[-1]:.3g})",
                          f"{goal[0]} {goal[1]}" if goal else "", {True: "ok", False: "missed", None: ""}[met]))

    def table(self):
        print("| what | forecastd | peer | ratio, median (least - most) | goal | |\n|---|---|---|---|---|---|")
        for row in self.rows:
            print("| " + " | ".join(row) + " |")


def shown(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def progress(text):
    print(text, file=sys.stderr, flush=True)


def bench(*arguments):
    done = subprocess.run([os.path.join(sys.argv[1], "tests/bench/bench_peers"), *map(str, arguments)],
                          capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise SystemExit(f"peers: {' '.join(map(str, arguments))}: {done.stderr}")
    return json.loads(done.stdout)


# ---------------------------------------------------------------- ingest


def send(figures, kind, form, connections, settle):
    tick_ms = TICK_MS[form]
    start_ms = (int(time.time()) - 3600) // 10 * 10000 - TICKS * tick_ms
    with kind() as server:
        result = bench("send", form, server.port, server.process.pid, connections, start_ms, SETTLE_MS if settle else 0)
        found = server.count(start_ms, tick_ms)
        for _ in range(30):  # a peer may show points some seconds after it has acknowledged them
            if found == POINTS:
                break
            time.sleep(0.5)
            found = server.count(start_ms, tick_ms)
    if found != POINTS:
        raise SystemExit(f"peers: {kind.name} has {found:,.0f} points of {POINTS:,}")
    case = f"{form}, {connections} connection{'s' * (connections > 1)}"
    figures.add(case, kind.name, POINTS / result["seconds"])
    figures.add(case + ", processor", kind.name, 1e6 * result["cpu"] / POINTS)
    if settle:
        figures.add(case + ", processor when settled", kind.name, 1e6 * result["cpu_settled"] / POINTS)
    progress(f"  {case:24} {kind.name:20} {POINTS / result['seconds']:12,.0f} points/s"
             f" {1e6 * result['cpu'] / POINTS:6.2f} us of processor a point")


def ingest(figures):
    for number in range(ROUNDS):
        progress(f"ingest, round {number + 1} of {ROUNDS}")
        for connections in (1, 4):
            send(figures, Influx, "lines", connections, False)
            send(figures, Forecastd, "lines", connections, True)
            send(figures, Victoria, "lines", connections, True)
            if connections == 1:
                send(figures, Relaxed, "lines", connections, True)
            send(figures, Prometheus, "remote", connections, False)
            send(figures, Forecastd, "remote", connections, False)
    us = "us a point"
    for connections, case in ((1, "lines, 1 connection"), (4, "lines, 4 connections")):
        figures.compare(case, "forecastd", "InfluxDB", "points/s", (">=", 4))
        figures.compare(case, "forecastd", "VictoriaMetrics", "points/s", (">=", 1) if connections == 4 else None)
        figures.compare(case + ", processor", "forecastd", "VictoriaMetrics", us, ("<=", 0.7))
        figures.compare(case + ", processor when settled", "forecastd", "VictoriaMetrics", us)
        figures.compare(case + ", processor", "forecastd", "InfluxDB", us)
    figures.compare("lines, 1 connection", "forecastd, relaxed", "VictoriaMetrics", "points/s", (">=", 1.5))
    for case in ("remote, 1 connection", "remote, 4 connections"):
        figures.compare(case, "forecastd", "Prometheus", "points/s", (">=", 1))
        figures.compare(case + ", processor", "forecastd", "Prometheus", us)


# ---------------------------------------------------------------- serving


def week_of(end_s):
    """A week of minutes: a daily wave, a weekly one, noise by a generator of its own; two decimals."""
    state, points = 1, []
    for i in range(WEEK):
        state = (state * 6364136223846793005 + 1442695040888963407) & ((1 << 64) - 1)
        noise = (state >> 40) / (1 << 24) - 0.5
        minute = end_s // 60 - (WEEK - 1 - i)
        points.append((minute * 60, round(50 + 20 * math.sin(math.tau * minute / 1440)
                                          + 5 * math.sin(math.tau * minute / 10080) + 4 * noise, 2)))
    return points


class FilledPrometheus(Prometheus):
    """Its past in blocks as it would have made them itself by now."""
    points = ()

    def command(self):
        text = self.folder + "/week.txt"
        with open(text, "w", encoding="ascii") as file:
            file.write("# TYPE bench_week gauge\n")
            file.writelines(f"bench_week {value} {second}\n" for second, value in self.points)
            file.write("# EOF\n")
        subprocess.run(["promtool", "tsdb", "create-blocks-from", "--max-block-duration=18h", "openmetrics", text,
                        self.folder + "/data"], check=True, capture_output=True)
        return super().command()


class FilledInflux(Influx):
    points = ()

    def prepare(self):
        super().prepare()
        lines = "\n".join(f"bench week={value} {second}" for second, value in self.points)
        fetch(self.url + "/write?db=bench&precision=s", body=lines.encode(), content_type="text/plain")


class FilledForecastd(Forecastd):
    """With a model that was trained on the week, where one passed the gate; the output says who serves."""
    points = ()
    served_by = None

    def put(self, series, points):
        body = {"series": series, "points": [[1000 * second, value] for second, value in points]}
        fetch(self.url + "/api/v1/points", body=json.dumps(body).encode(), content_type="application/json")

    def prepare(self):
        self.put("bench_week", self.points)
        self.put("bench_anew", self.points[:-ANEW_POINTS])
        for seed in (1, 2):
            self.train(seed)
            answer = json.loads(fetch(self.url + "/api/v1/forecast?series=bench_week"))
            self.served_by = answer["forecasts"][0]["served_by"]
            if answer["forecasts"][0]["state"] == "learned":
                break

    def train(self, seed):
        fetch(self.url + "/api/v1/train", body=json.dumps({"seconds": TRAINING_SECONDS, "seed": seed}).encode(),
              content_type="application/json")
        deadline = time.monotonic() + 8 * TRAINING_SECONDS
        while any(job["state"] in ("queued", "running") for job in json.loads(fetch(self.url + "/api/v1/jobs"))["jobs"]):
            if time.monotonic() > deadline:
                raise SystemExit("peers: the training does not end")
            time.sleep(0.2)


class Question(typing.NamedTuple):
    """The same thing asked of forecastd and of a peer, and how many values each must answer."""
    what: str
    ours: str
    our_count: int
    peer: str
    theirs: str
    their_count: int
    goal: tuple = None
    inverse: bool = False


def questions(end_s):
    week = {"start": end_s - 60 * (WEEK - 1), "end": end_s, "step": 60}
    future = {"start": end_s + 60, "end": end_s + 60 * STEPS, "step": 60}
    linear = f"predict_linear(bench_week[1w], {60 * STEPS})"
    other = target("/api/v1/forecast", series="bench_week", steps=STEPS, quantiles="0.1,0.5,0.9{n}")
    winters = (f"SELECT HOLT_WINTERS(FIRST(week), {STEPS}, 24) FROM bench WHERE time > {end_s - 60 * WEEK}s"
               f" AND time <= {end_s}s GROUP BY time(1h)")
    once = target("/api/v1/query", query=linear, time=end_s)
    half = ("<=", 0.5)
    return [
        Question("query_range, a week of minutes",
                 target("/prometheus/api/v1/query_range", query="bench_week", **week), WEEK,
                 "Prometheus", target("/api/v1/query_range", query="bench_week", **week), WEEK, half),
        Question(f"query_range, {STEPS} steps of forecast with its band; there predict_linear",
                 target("/prometheus/api/v1/query_range", query="bench_week:predicted", **future), STEPS,
                 "Prometheus", target("/api/v1/query_range", query=linear, **future), STEPS, half),
        Question(f"GET forecast, {STEPS} steps, each time other quantiles; there predict_linear, 1 value", other, STEPS,
                 "Prometheus", once, 1, half),
        Question(f"GET forecast, {STEPS} steps, each time other quantiles; there HOLT_WINTERS of 168 hours", other, STEPS,
                 "InfluxDB", target("/query", db="bench", q=winters), STEPS, (">=", 300), True),
        Question("GET forecast, live; there predict_linear, 1 value", "/api/v1/forecast?series=bench_week", STEPS,
                 "Prometheus", once, 1),
    ]


def ask_anew(figures, servers, asked):
    """A forecast of a series that has just got its next minute, so that nothing is kept of the last one. HOLT_WINTERS
    and predict_linear always begin anew. All by the client of this script, which alone takes a tenth of a millisecond."""
    linear, winters = asked[2], asked[3]
    forecast = target("/api/v1/forecast", series="bench_anew", steps=STEPS, quantiles="0.1,0.5,0.9")
    for number, point in enumerate(FilledForecastd.points[-ANEW_POINTS:]):
        servers["forecastd"].put("bench_anew", [point])
        ours = timed(servers["forecastd"], forecast)
        figures.add(ANEW, "forecastd", ours)
        figures.add(ANEW, "Prometheus", timed(servers["Prometheus"], linear.theirs))
        if number % 8 == 0:
            figures.add(ANEW_WINTERS, "forecastd", ours)
            figures.add(ANEW_WINTERS, "InfluxDB", timed(servers["InfluxDB"], winters.theirs))


def timed(server, asked):
    """Milliseconds of one answer over a connection that is kept."""
    if server.connection is None:
        server.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        server.connection.connect()
        server.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    begin = time.perf_counter()
    server.connection.request("GET", asked.replace(" ", "%20"))
    answer = server.connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise SystemExit(f"peers: {asked}: {answer.status}")
    return 1e3 * (time.perf_counter() - begin)


def count_values(answer):
    """Of the first series of any of the three kinds of answers."""
    if "forecasts" in answer:
        return len(answer["forecasts"][0]["quantiles"]["0.5"])
    if "results" in answer:
        return len(answer["results"][0]["series"][0]["values"])
    return len(answer["data"]["result"][0].get("values", [None]))


def check_answers(servers, asked):
    """That each answer is what it is taken for, and the week the same in both."""
    for question in asked:
        for name, one, wanted in (("forecastd", question.ours, question.our_count),
                                  (question.peer, question.theirs, question.their_count)):
            found = count_values(json.loads(fetch(servers[name].url + one.replace("{n}", ""))))
            if found != wanted:
                raise SystemExit(f"peers: {question.what}: {name} answers {found} values of {wanted}")
    weeks = [json.loads(fetch(servers[name].url + one))["data"]["result"][0]["values"]
             for name, one in (("forecastd", asked[0].ours), ("Prometheus", asked[0].theirs))]
    if [(t, float(v)) for t, v in weeks[0]] != [(t, float(v)) for t, v in weeks[1]]:
        raise SystemExit("peers: the weeks differ")


def serve(figures):
    end_s = int(time.time()) // 60 * 60
    for kind in (FilledForecastd, FilledPrometheus, FilledInflux):
        kind.points = week_of(end_s)
    progress(f"serving: a training of {TRAINING_SECONDS} s first")
    with FilledForecastd() as ours, FilledPrometheus() as prometheus, FilledInflux() as influx:
        servers = {"forecastd": ours, "Prometheus": prometheus, "InfluxDB": influx}
        asked = questions(end_s)
        check_answers(servers, asked)
        for number in range(ROUNDS):
            progress(f"serving, round {number + 1} of {ROUNDS}")
            for question in asked:
                for name, one in ((question.peer, question.theirs), ("forecastd", question.ours)):
                    result = bench("ask", servers[name].port, servers[name].process.pid, ASK_MS, one)
                    figures.add(question.what, name, result["p50_ms"])
                    figures.add(question.what + ", processor", name, 1e3 * result["cpu"] / result["requests"])
        ask_anew(figures, servers, asked)
        served_by = ours.served_by
    for question in asked:
        figures.compare(question.what, "forecastd", question.peer, "ms", question.goal, question.inverse)
        figures.compare(question.what + ", processor", "forecastd", question.peer, "ms", None, question.inverse)
    figures.compare(ANEW, "forecastd", "Prometheus", "ms", ("<=", 0.5))
    figures.compare(ANEW_WINTERS, "forecastd", "InfluxDB", "ms", (">=", 300), True)
    return served_by


# ---------------------------------------------------------------- all


def main():
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= {"ingest", "serve"}:
        raise SystemExit("usage: peers.py BUILD-FOLDER [ingest|serve]...")
    Forecastd.program = os.path.abspath(os.path.join(sys.argv[1], "forecastd"))
    parts = sys.argv[2:] or ["ingest", "serve"]
    figures, begin = Figures(), time.monotonic()
    served_by = None
    if "ingest" in parts:
        ingest(figures)
    if "serve" in parts:
        served_by = serve(figures)
    print(f"{POINTS:,} points of 1,000 series, 1,000 points a request, all read back; {ROUNDS} rounds in turns;"
          f" {os.cpu_count()} cores; {time.monotonic() - begin:.0f} s.")
    if served_by:
        print(f"The forecasts asked for were served by {served_by}.")
    said = versions()
    print("\n| server | an acknowledgement means |\n|---|---|")
    for kind in (Forecastd, Relaxed, Influx, Victoria, Prometheus):
        print(f"| {said.get(kind.name, kind.name)} | {kind.durability} |")
    print()
    figures.table()
    print()
    for met, text in figures.goals:
        print(f"{'ok    ' if met else 'missed'} {text}")
    failed = sum(not met for met, _ in figures.goals)
    print(f"{len(figures.goals) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
