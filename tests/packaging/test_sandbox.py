"""The daemon does nothing that the systemd unit forbids: its system calls under strace, start to stop.

SPDX-License-Identifier: Apache-2.0

systemd itself cannot be run by a test, so what its filters would see is compared with the unit instead.
"""
import os
import re
import subprocess
import tempfile
import time

import daemon as http_daemon
from daemon import JSON, ROOT, Daemon, now_ms


def unit():
    """The settings of [Service]: name to the list of its values."""
    settings = {}
    with open(os.path.join(ROOT, "deploy/forecastd.service"), encoding="utf-8") as file:
        for line in file:
            found = re.match(r"(\w+)=(.*)", line)
            if found:
                settings.setdefault(found.group(1), []).append(found.group(2))
    return settings


def expand(word, cache={}):
    """The calls of a group of systemd's, groups inside it included."""
    if not word.startswith("@"):
        return {word}
    if word not in cache:
        said = subprocess.run(["systemd-analyze", "syscall-filter", word], capture_output=True, text=True, check=True)
        words = [line.strip() for line in said.stdout.split("\n")[1:]]
        cache[word] = set().union(*(expand(w) for w in words if w and not w.startswith("#")))
    return cache[word]


def allowed_calls(filters):
    calls = set(expand("@default"))
    for line in filters:
        named = set().union(*(expand(word) for word in line.lstrip("~").split()))
        calls = calls - named if line.startswith("~") else calls | named
    return calls


def trace_a_life(folder):
    """Start, points, forecast, a training, stop; the trace of all threads."""
    trace, wrapper = os.path.join(folder, "trace"), os.path.join(folder, "traced")
    with open(wrapper, "w", encoding="utf-8") as file:
        # -D: the tracer stands beside, so that signals reach the daemon itself.
        file.write(f"#!/bin/sh\nexec strace -D -f -qq -o '{trace}' '{http_daemon.BINARY}' \"$@\"\n")
    os.chmod(wrapper, 0o755)
    real, http_daemon.BINARY = http_daemon.BINARY, wrapper
    try:
        daemon = Daemon().start(timeout=60)
    finally:
        http_daemon.BINARY = real
    now = now_ms() // 60000 * 60000
    points = [[now - 60000 * i, float(i % 60)] for i in range(600)]
    assert daemon.request("POST", "/api/v1/points", '{"series":"a","points":%s}' % points, JSON).status == 200
    assert daemon.get("/api/v1/forecast?series=a").status == 200
    assert daemon.request("POST", "/api/v1/train", '{"seconds":1}', JSON).status == 202
    deadline = time.monotonic() + 60
    while daemon.get("/api/v1/jobs").json["jobs"][0]["state"] not in ("done", "failed"):
        assert time.monotonic() < deadline, "the training does not end"
        time.sleep(0.5)
    assert daemon.stop() == 0
    daemon.remove()
    with open(trace, encoding="utf-8", errors="replace") as file:
        return file.read()


def test_the_daemon_stays_inside_the_sandbox():
    settings = unit()
    with tempfile.TemporaryDirectory() as folder:
        trace = trace_a_life(folder)
    used = set(re.findall(r"^\d+ +([a-z]\w*)\(", trace, re.M))
    assert {"listen", "sched_yield"} <= used, f"no daemon that has trained: {used}"
    allowed = allowed_calls(settings["SystemCallFilter"])
    if os.geteuid() == 0:
        allowed.add("fchown")  # SQLite gives files to the owner of the database, but only as root
    assert not used - allowed, used - allowed
    families = set(re.findall(r"socket\((AF_\w+)", trace))
    assert families and families <= set(settings["RestrictAddressFamilies"][0].split()), families
    if settings["MemoryDenyWriteExecute"] == ["yes"]:
        both = re.findall(r"^.*PROT_WRITE\|PROT_EXEC.*$", trace, re.M)
        assert not both, both[:3]
