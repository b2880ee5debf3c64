"""The sandbox around the daemon: on by default, off where it is told so, and everything works inside.

SPDX-License-Identifier: Apache-2.0
"""
import ctypes
import os
import signal
import time

from daemon import SLOWNESS, Daemon, LeftOut, now_ms


LANDLOCK_CREATE_RULESET = 444  # the same number on all machines


def has_landlock():
    """Whether the kernel tells a version of it."""
    return ctypes.CDLL(None, use_errno=True).syscall(LANDLOCK_CREATE_RULESET, None, 0, 1) > 0


def limits(process):
    """(system calls are filtered, no new privileges) of every thread."""
    found = set()
    folder = f"/proc/{process}/task"
    for thread in os.listdir(folder):
        with open(f"{folder}/{thread}/status", encoding="utf-8") as file:
            lines = dict(line.split(":\t", 1) for line in file.read().split("\n") if ":\t" in line)
        found.add((lines["Seccomp"] == "2", lines["NoNewPrivs"] == "1"))
    return found


def wait_for_line(daemon, word):
    deadline = time.monotonic() + 10 * SLOWNESS
    while word not in daemon.log():
        assert time.monotonic() < deadline, daemon.log()
        time.sleep(0.05)


def test_a_data_folder_is_made_with_the_folders_above_it():
    """The sandbox knows the folder before the store is opened; what is above it must not be out of reach."""
    daemon = Daemon()
    daemon.data = os.path.join(daemon.folder, "not", "yet", "there")
    daemon.start()
    assert daemon.points([{"series": "a", "timestamp": now_ms(), "value": 1}]).status == 200
    assert os.path.exists(os.path.join(daemon.data, "forecastd.db"))
    assert os.stat(daemon.data).st_mode & 0o777 == 0o700
    daemon.stop()
    daemon.remove()


def test_every_thread_is_inside():
    daemon = Daemon().start()
    wait_for_line(daemon, "sandbox")
    if "built with a sanitizer" in daemon.log():  # there is none then, and the log says so
        daemon.remove()
        raise LeftOut("built with a sanitizer")
    files = "landlock" if has_landlock() else "open"
    assert f'msg="sandbox" files={files} calls=seccomp' in daemon.log(), daemon.log()
    assert limits(daemon.process.pid) == {(True, True)}, limits(daemon.process.pid)
    with open(f"/proc/{daemon.process.pid}/limits", encoding="utf-8") as file:
        core = [line for line in file if line.startswith("Max core file size")][0].split()
    assert core[4:6] == ["0", "0"], core
    assert daemon.stop() == 0
    daemon.remove()
    if files == "open":
        raise LeftOut("files: the kernel has no Landlock; system calls are filtered")


def test_a_whole_life_inside():
    """Points, reload, training, forecast, deletion, stop, start again: nothing is refused."""
    daemon = Daemon()
    config = os.path.join(daemon.folder, "forecastd.yaml")
    with open(config, "w", encoding="utf-8") as file:
        file.write("log: {level: info}\n")
    for _ in range(2):
        daemon.start()
        now = now_ms() // 60000 * 60000
        assert daemon.points({"series": "a", "points": [[now - 60000 * i, float(i % 60)] for i in range(600)]}).status == 200
        assert daemon.request("PATCH", "/api/v1/series/a", '{"time_zone":"Europe/Berlin"}',
                              {"Content-Type": "application/json"}).status == 200
        assert daemon.post_json("/api/v1/train", {"seconds": 1}).status == 202
        deadline = time.monotonic() + 60 * SLOWNESS
        while daemon.get("/api/v1/jobs").json["jobs"][0]["state"] not in ("done", "failed"):
            assert time.monotonic() < deadline, daemon.log()
            time.sleep(0.2)
        assert daemon.get("/api/v1/jobs").json["jobs"][0]["state"] == "done", daemon.get("/api/v1/jobs")
        assert daemon.get("/api/v1/forecast?series=a").status == 200
        assert daemon.get("/metrics").text.count("process_") > 5
        daemon.signal(signal.SIGHUP)
        wait_for_line(daemon, "configuration read again")
        assert daemon.stop() == 0
    log = daemon.log()
    assert "not permitted" not in log and "ermission denied" not in log, log
    daemon.remove()


def test_it_can_be_left_out():
    daemon = Daemon("server.sandbox=false").start()
    wait_for_line(daemon, "no sandbox")
    assert limits(daemon.process.pid) == limits("self") and "reason=server.sandbox" in daemon.log(), daemon.log()
    assert daemon.stop() == 0
    daemon.remove()
