"""What a start costs: processor time, threads that nobody asked for, memory of an idle daemon.

SPDX-License-Identifier: Apache-2.0

Wall time is another program's on a busy machine, so processor time is judged, the best of several starts; even that
is half as much again when others use the same caches, which is the slack here. Goals and quiet figures stand in
docs/figures.md, and `make bench` prints them.
"""
import os
import resource
import subprocess
import time

from daemon import BINARY, SLOWNESS, Daemon

STARTS = 8
VERSION_MS = 9  # 4.7 alone, of which half is loading libraries
START_MS = 40  # 16 alone; one library's thread that spins beside it adds 60
IDLE_MB = 15


def seconds_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def version_ms():
    before = seconds_of_children()
    subprocess.run([BINARY, "--version"], stdout=subprocess.DEVNULL, check=True)
    return 1e3 * (seconds_of_children() - before)


def threads(daemon):
    """Name and nanoseconds of processor time of each."""
    folder = f"/proc/{daemon.process.pid}/task"
    found = []
    for task in os.listdir(folder):
        with open(f"{folder}/{task}/comm", encoding="ascii") as file:
            name = file.read().strip()
        with open(f"{folder}/{task}/schedstat", encoding="ascii") as file:
            found.append((name, int(file.read().split()[0])))
    return found


def start_ms():
    """Of all threads, from the start to the first answer."""
    daemon = Daemon().start()
    try:
        return sum(used for _, used in threads(daemon)) / 1e6
    finally:
        daemon.remove()


def test_a_command_starts_without_work():
    assert min(version_ms() for _ in range(STARTS)) <= VERSION_MS * SLOWNESS


def test_a_daemon_starts_with_little_work():
    assert min(start_ms() for _ in range(STARTS)) <= START_MS * SLOWNESS


def test_an_idle_daemon_is_small_and_has_its_own_threads_only():
    daemon = Daemon().start()
    try:
        time.sleep(2)
        with open(f"/proc/{daemon.process.pid}/smaps_rollup", encoding="ascii") as file:
            resident = next(int(line.split()[1]) for line in file if line.startswith("Rss:")) * 1024 / 1e6
        assert resident <= IDLE_MB * SLOWNESS, resident
        names = [name for name, _ in threads(daemon)]
        # Main and the writer; what a library starts has the name, too.
        assert names.count("forecastd") == 2, names
    finally:
        daemon.remove()
