"""The same readings and the same expressions in Debian's Prometheus and in forecastd: answers must agree.

SPDX-License-Identifier: Apache-2.0

Gauges, counters with resets, gaps and an uneven series go into a block of Prometheus (promtool) and
into forecastd; each expression is asked as a range at instants that no reading falls on, because
Prometheus 2 closes ranges on the left and Prometheus 3 and forecastd leave them open. Labels,
instants and values (to 1e-12 of the value: sums are compensated here) must be equal.
"""
import json
import math
import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from urllib.parse import urlencode

from daemon import free_port

STEP = 30
COUNT = 480
SELECTORS = ('temp', 'temp{site="a"}', 'temp{site!="a"}', 'temp{site=~"a|c"}', 'temp{site!~"a.*"}',
             '{__name__=~"temp|power",zone=""}', 'temp{zone="1"}', 'nothing', 'gappy', 'uneven')
EXPRESSIONS = SELECTORS + (
    'temp offset 10m', 'temp{site="a"} offset -7m', '-temp', '+temp', '2 * temp - 1', 'temp ^ 2 % 7', '1 / (temp - temp)',
    '0 - temp / 0', 'temp > 20', 'temp <= 20', '20 < temp', 'temp == bool 20', 'temp != bool temp', '-2 ^ 2', '2 ^ 3 ^ 2',
    '1 - 2 - 3', '7 % 4 * 2', '1 > bool 2', 'inf - inf', 'temp - power', 'temp + on(site) power', 'temp * ignoring(zone) power',
    'temp > on(site) power', 'temp >= bool on(site) power', 'sum(temp)', 'avg(temp)', 'min(temp)', 'max(temp)', 'count(temp)',
    'sum by (site) (temp)', 'avg without (site) (temp)', 'count by (missing) (temp)', 'max(temp) by (zone)',
    'sum by (__name__) ({site="a"})', 'count(gappy)', 'sum(gappy) + sum(uneven)', 'rate(hits_total[5m])', 'rate(hits_total[1m])',
    'rate(hits_total[31s])', 'increase(hits_total[17m])', 'increase(hits_total[5m] offset 3m)', 'sum(rate(hits_total[5m])) by (site)',
    'rate(gappy[4m])', 'rate(uneven[4m])', 'avg_over_time(temp[5m])', 'min_over_time(temp[5m])', 'max_over_time(temp[5m])',
    'sum_over_time(temp[5m])', 'count_over_time(temp[5m])', 'last_over_time(temp[5m])', 'count_over_time(gappy[10m])',
    'avg_over_time(uneven[3m] offset 1m)', 'last_over_time(gappy[20m])',
    'sum(rate(hits_total[5m])) / count(hits_total) > 0.1 * 2', '(temp - avg_over_time(temp[30m])) ^ 2')
REFUSED_BY_BOTH = ('sum(', 'temp[5m] + 1', 'rate(temp)', 'sum(1)', '1 > 2', '{}', 'temp{site=}', '1 +', 'temp + on(a) 1',
                   '-{__name__=~"temp|power",site="c"}', 'temp * on() power')


def readings(end):
    """{(name, labels): [(second, value)]}"""
    times = [end - (COUNT - 1 - i) * STEP for i in range(COUNT)]
    series = {}
    for number, labels in enumerate(({"site": "a", "zone": "1"}, {"site": "b", "zone": "1"}, {"site": "c"})):
        series["temp", tuple(labels.items())] = [
            (t, round(20 + 5 * math.sin(i / 40 + number), 3)) for i, t in enumerate(times)]
        series["hits_total", tuple(labels.items())] = [
            (t, float(1000 * number + 7 * (i % (150 + 60 * number)) + i % 3)) for i, t in enumerate(times)]
        series["power", (("site", labels["site"]),)] = [(t, float((i * 7 + number) % 23)) for i, t in enumerate(times)]
    series["gappy", ()] = [(t, float(i)) for i, t in enumerate(times) if i % 97 > 24]
    series["uneven", ()] = [(t + i * i % 17, float(i)) for i, t in enumerate(times)]
    return series


def open_metrics(series):
    lines, seen = [], set()
    for (name, labels), points in sorted(series.items()):
        if name not in seen:
            lines.append(f"# TYPE {name} unknown")
            seen.add(name)
        text = ",".join(f'{key}="{value}"' for key, value in labels)
        lines += [f"{name}{{{text}}} {value!r} {second}" for second, value in points]
    return "\n".join(lines) + "\n# EOF\n"


def ask(base, query, start, end, step):
    form = urlencode({"query": query, "start": start, "end": end, "step": step}).encode()
    try:
        with urllib.request.urlopen(base + "/api/v1/query_range", form, timeout=30) as answer:
            return 200, json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error).get("error")


def by_labels(result):
    return {tuple(sorted(one["metric"].items())): {t: float(v) for t, v in one["values"]} for one in result}


def difference(ours, theirs):
    """The first thing that differs, or None."""
    if ours.keys() != theirs.keys():
        return f"series {sorted(ours)} against {sorted(theirs)}"
    for labels, values in theirs.items():
        if values.keys() != ours[labels].keys():
            return f"{labels}: instants {sorted(values.keys() ^ ours[labels].keys())[:4]}"
        for t, value in values.items():
            mine = ours[labels][t]
            same = mine == value or (math.isnan(mine) and math.isnan(value))
            if not same and not abs(mine - value) <= 1e-12 * max(1.0, abs(value)):
                return f"{labels} at {t}: {mine!r} against {value!r}"
    return None


def start_prometheus(folder, series):
    readings_file, data = os.path.join(folder, "readings"), os.path.join(folder, "prometheus")
    with open(readings_file, "w", encoding="utf-8") as file:
        file.write(open_metrics(series))
    with open(os.path.join(folder, "empty.yml"), "w", encoding="utf-8"):
        pass
    subprocess.run(["promtool", "tsdb", "create-blocks-from", "openmetrics", readings_file, data], check=True,
                   stdout=subprocess.DEVNULL)
    port = free_port()
    with open(os.path.join(folder, "log"), "wb") as log:
        process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/empty.yml", f"--storage.tsdb.path={data}",
             f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    base = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(base + "/-/ready", timeout=5).close()
            return process, base
        except OSError:
            time.sleep(0.1)
    process.terminate()
    process.wait()
    raise AssertionError("Prometheus does not start")


def compare(theirs, ours, end):
    """Every expression at two steps; returns what differs."""
    faults = []
    start, last = end - 3 * 3600 - 6.5, end + 593.5
    for query in EXPRESSIONS:
        for step in (30, 61):
            expected, found = (ask(base, query, start, last, step) for base in (theirs, ours))
            if (expected[0], found[0]) != (200, 200):
                faults.append(f"{query}: {found} against {expected}"[:400])
                continue
            fault = difference(by_labels(found[1]), by_labels(expected[1]))
            if fault:
                faults.append(f"{query} by {step} s: {fault}"[:400])
    for query in REFUSED_BY_BOTH:
        expected, found = (ask(base, query, start, last, 30) for base in (theirs, ours))
        if expected[0] != found[0] or expected[0] == 200:
            faults.append(f"{query}: {found} against {expected}"[:400])
    return faults


def test_same_answers(daemon):
    # hours ago, so that no reading belongs to what Prometheus keeps outside of its blocks
    end = int(time.time()) // 3600 * 3600 - 3 * 3600
    series = readings(end)
    for (name, labels), points in series.items():
        answer = daemon.points({"series": name, "labels": dict(labels), "points": [[t * 1000, v] for t, v in points]})
        assert answer.status == 200, answer
    with tempfile.TemporaryDirectory(prefix="forecastd-promql-") as folder:
        process, theirs = start_prometheus(folder, series)
        try:
            faults = compare(theirs, f"http://127.0.0.1:{daemon.port}/prometheus", end)
        finally:
            process.terminate()
            process.wait()
    assert not faults, "\n".join(faults)
