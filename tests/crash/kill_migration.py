#!/usr/bin/env python3
"""Kills the daemon with SIGKILL while it opens a store of an older version, then opens the store again.

SPDX-License-Identifier: Apache-2.0

MIGRATION_KILLS (20), CRASH_SEED (time), which is printed. The stores are of every older version: the kept one of
version 1 that an early forecastd wrote, and one of today, with points in chunks and in the journal, whose newer tables
have been taken out again. Half of the kills are at any moment of the start, half wait for the first change on the
disk. After each one the store is of its old version or of the new one, the next daemon starts, and every point is
there. Counts how many kills came between the first change and the end of the migration, and fails where none did.
Closing line: "N passed, N failed", counting kills.
"""
import contextlib
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "http")]

from daemon import ROOT, Daemon, now_ms  # noqa: E402 (the path comes first)
from evidence import DATABASE, Left  # noqa: E402

KILLS = int(os.environ.get("MIGRATION_KILLS", "20"))
SEED = int(os.environ.get("CRASH_SEED", str(int(time.time()))))
NEWER_TABLES = {1: ("vintage", "downsampled", "excluded"), 2: ("downsampled", "excluded"), 3: ("excluded",)}  # than it
WAITED_S = 2.0


def early_store(folder):
    """The store that an early forecastd wrote: one series, no log."""
    data = os.path.join(folder, "early")
    os.makedirs(data)
    shutil.copy(os.path.join(ROOT, "tests", "unit", "storage", "data", "version1.db"), os.path.join(data, DATABASE))
    return data, {"old": [i * 7 % 50 / 4 for i in range(400)]}


def store_of_today(folder, version):
    """Points in chunks and, since a daemon was killed, in the journal; then without what later versions brought."""
    begin = now_ms() // 1000 * 1000 - 10**7
    series = {f"s{k}": [(i * (k + 3)) % 97 / 4 for i in range(1200)] for k in range(4)}
    daemon = Daemon("train.every=1d", folder=os.path.join(folder, f"version{version}"))
    os.makedirs(daemon.folder)
    for part in (slice(0, 1000), slice(1000, 1200)):
        daemon.start()
        for name, values in series.items():
            points = [[begin + i * 1000, values[i]] for i in range(part.start, part.stop)]
            answer = daemon.points({"series": name, "points": points})
            assert answer.status == 200, answer
        if part.start == 0:
            assert daemon.stop() == 0, daemon.log()
    daemon.process.kill()
    daemon.process.wait()
    with contextlib.closing(sqlite3.connect(os.path.join(daemon.data, DATABASE))) as database:
        for table in NEWER_TABLES[version]:
            database.execute(f"DROP TABLE {table}")
        database.execute(f"PRAGMA user_version = {version}")
        database.commit()
    return daemon.data, series


def version_of(data):
    return Left(data).version


def kill_one(data, moment):
    """Kills `moment` seconds after the start, or where it is None as soon as something has changed on the disk."""
    daemon = Daemon("train.every=1d", folder=os.path.dirname(data))
    daemon.data = data
    path = os.path.join(data, DATABASE)
    before = os.stat(path).st_mtime_ns
    daemon.start(wait=False)
    if moment is not None:
        time.sleep(moment)
    deadline = time.monotonic() + WAITED_S
    while moment is None and time.monotonic() < deadline:
        if any(os.path.exists(path + suffix) for suffix in ("-wal", "-journal")) or os.stat(path).st_mtime_ns != before:
            break
    daemon.process.kill()
    daemon.process.wait()
    changed = any(os.path.exists(path + suffix) for suffix in ("-wal", "-journal")) or os.stat(path).st_mtime_ns != before
    return daemon, changed


def verify(daemon, series, newest):
    daemon.start(timeout=30)
    try:
        assert set(row["series"] for row in daemon.get("/api/v1/series?limit=100").json["series"]) == set(series)
    finally:
        assert daemon.stop() == 0, daemon.log()
    code, out, said = daemon.command("check")
    assert code == 0, f"check: {out} {said}"
    assert version_of(daemon.data) == newest
    for name, values in series.items():
        code, out, said = daemon.command("export", "--series", name)
        assert code == 0, said
        assert [float(line.rsplit(",", 1)[1]) for line in out.splitlines()[1:]] == values, f"{name} is not what it was"


def newest_version(folder):
    daemon = Daemon(folder=os.path.join(folder, "newest"))
    os.makedirs(daemon.folder)
    daemon.start()
    daemon.stop()
    return version_of(daemon.data)


def main():
    rng = random.Random(SEED)
    folder = tempfile.mkdtemp(prefix="forecastd-migration-")
    newest = newest_version(folder)
    assert newest == max(NEWER_TABLES) + 1, "a version has come: say in NEWER_TABLES which tables it brought"
    stores = [(1, *early_store(folder))] + [(version, *store_of_today(folder, version)) for version in NEWER_TABLES]
    print(f"  {KILLS} kills while stores of versions {min(NEWER_TABLES)} to {max(NEWER_TABLES)} are opened, seed {SEED}")
    passed = failed = before = during = after = 0
    for number in range(KILLS):
        version, kept, series = stores[number % len(stores)]
        data = os.path.join(folder, "store", "data")
        shutil.copytree(kept, data)
        try:
            daemon, changed = kill_one(data, rng.uniform(0.0, 0.1) if number % 2 else None)
            found = version_of(data)
            assert found in (version, newest), f"version {found}, neither {version} nor {newest}"
            before += found == version and not changed
            during += found == version and changed
            after += found == newest
            verify(daemon, series, newest)
            passed += 1
        except AssertionError as error:
            failed += 1
            print(f"FAILED  kill {number + 1}, from version {version}: {str(error)[:1500]}")
        shutil.rmtree(os.path.dirname(data))
    shutil.rmtree(folder)
    print(f"  {before} before the first change, {during} during the migration, {after} behind it")
    if during == 0:
        failed += 1
        print("FAILED  never killed during a migration")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
