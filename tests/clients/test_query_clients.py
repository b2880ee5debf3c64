"""Clients that read as from Prometheus: `promtool query` and npm's prometheus-query (query.js says what it does).

SPDX-License-Identifier: Apache-2.0

Needs promtool, node and npm, which fetches the package into a folder of the moment.
"""
import json
import os
import shutil
import subprocess
import tempfile

from daemon import TOOL_SECONDS, now_ms

PACKAGE = "prometheus-query@3.5.1"
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "query.js")
MINUTE = 60000
COUNT = 240


def feed(daemon):
    """Four hours of two series; the second of the last one."""
    start = (now_ms() // MINUTE - COUNT + 1) * MINUTE
    for site, level in (("a", 20), ("b", 50)):
        points = [[start + i * MINUTE, level + i % 10] for i in range(COUNT)]
        answer = daemon.points({"series": "room_temp", "labels": {"site": site}, "points": points})
        assert answer.status == 200, answer
    return (start + (COUNT - 1) * MINUTE) // 1000


def promtool(daemon, *arguments):
    command, *more = arguments
    done = subprocess.run(["promtool", "query", command[0], *command[1:], f"http://127.0.0.1:{daemon.port}/prometheus",
                           *more], capture_output=True, text=True, timeout=TOOL_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool(daemon):
    last = feed(daemon)
    value = 50 + (COUNT - 1) % 10
    said = promtool(daemon, ["instant"], 'room_temp{site="b"}')
    assert said.startswith(f'room_temp{{site="b"}} => {value} @['), said
    said = promtool(daemon, ["range", f"--start={last - 3600}", f"--end={last}", "--step=1m"], "sum(room_temp)")
    lines = said.strip().split("\n")
    assert lines[0] == "{} =>" and len(lines) == 62, said
    assert lines[-1] == f"{2 * value - 30} @[{last}]", lines[-1]
    said = promtool(daemon, ["range", f"--start={last + 60}", f"--end={last + 1800}", "--step=1m"],
                    'room_temp:predicted{site="a",ml_forecast="yhat"}')
    assert len(said.strip().split("\n")) == 31, said  # the future, by a client that knows nothing of it
    said = promtool(daemon, ["series", '--match=room_temp{site=~"a|b"}'])
    assert sorted(said.split("\n"))[-2:] == ['{__name__="room_temp", site="a"}', '{__name__="room_temp", site="b"}'], said
    assert promtool(daemon, ["labels"], "site").split() == ["a", "b"]


def test_prometheus_query(daemon):
    last = feed(daemon)
    folder = tempfile.mkdtemp(prefix="forecastd-clients-")
    try:
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, PACKAGE],
                       check=True, timeout=TOOL_SECONDS)
        facts = {"last": last, "value": 20 + (COUNT - 1) % 10}
        done = subprocess.run(["node", SCRIPT, str(daemon.port), json.dumps(facts)], capture_output=True, text=True,
                              timeout=TOOL_SECONDS, env={**os.environ, "NODE_PATH": os.path.join(folder, "node_modules")},
                              check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        shutil.rmtree(folder, ignore_errors=True)
