#!/usr/bin/env python3
"""Kills `forecastd backup` and `forecastd restore` with SIGKILL at random moments.

SPDX-License-Identifier: Apache-2.0

COPY_KILLS (18), CRASH_SEED (time), which is printed. Three kinds take turns: a backup of a store that nobody uses, a
backup of one that a daemon writes to, a restore. After every kill the source is sound and what it was; what has the
final name is whole, to the last point and model; what has not is no store and no backup to anybody; and the same
command again succeeds. Counts how many kills left something half done, and fails where one kind never did.
Closing line: "N passed, N failed", counting kills.
"""
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "http")]

from daemon import BINARY, SLOWNESS, Daemon, now_ms  # noqa: E402 (the path comes first)

KILLS = int(os.environ.get("COPY_KILLS", "18"))
SEED = int(os.environ.get("CRASH_SEED", str(int(time.time()))))
SERIES, POINTS = 6, 1500
BASE = (now_ms() // 1000 - 500000) * 1000
KINDS = ("backup", "backup beside a daemon", "restore")


def run(*arguments):
    done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=60 * SLOWNESS, check=False)
    return done.returncode, done.stdout, done.stderr


def must(*arguments):
    code, out, said = run(*arguments)
    assert code == 0, f"{' '.join(arguments[:2])}: {out} {said}"
    return out


def content(data):
    """Everything that a store has, but what Flow writes: points, and the models' files."""
    points = [line for line in must("export", "--data", data).splitlines() if not line.startswith("flow,")]
    models = {}
    for name in sorted(os.listdir(os.path.join(data, "models"))):
        with open(os.path.join(data, "models", name), "rb") as file:
            models[name] = file.read()
    return points, models


class Copies:
    """A store, what it holds, and the places of its copies."""

    def __init__(self, folder):
        self.rng = random.Random(SEED)
        self.folder = folder
        self.data = os.path.join(folder, "data")
        self.whole = os.path.join(folder, "whole.backup")
        self.file = os.path.join(folder, "killed.backup")
        self.restored = os.path.join(folder, "restored")
        rows = ["series_id,timestamp,value"]
        for i in range(POINTS):
            rows += [f"s{k},{BASE + i * 60000},{(i * (k + 3)) % 97 / 4 + i % 24}" for k in range(SERIES)]
        with open(os.path.join(folder, "points.csv"), "w", encoding="utf-8") as file:
            file.write("\n".join(rows) + "\n")
        must("import", "--data", self.data, os.path.join(folder, "points.csv"))
        must("train", "--data", self.data, "--steps", "2")
        must("backup", self.whole, "--data", self.data)
        self.content = content(self.data)
        self.takes = dict.fromkeys(KINDS, 0.0)
        for kind in KINDS:
            begin = time.monotonic()
            must(*self.command(kind))
            self.takes[kind] = time.monotonic() - begin
            self.clear()
        self.half = dict.fromkeys(KINDS, 0)

    def command(self, kind, rate=("--rate", "2")):
        if kind == "restore":
            return ["restore", self.whole, "--data", self.restored]
        return ["backup", self.file, "--data", self.data, *rate]

    def clear(self):
        for path in (self.file, self.file + ".partial"):
            if os.path.exists(path):
                os.remove(path)
        shutil.rmtree(self.restored, ignore_errors=True)

    def kill(self, kind, aimed):
        """At any moment, or aimed: soon after something half done has shown up; counts where it was left."""
        partial = self.file + ".partial" if kind != "restore" else os.path.join(self.restored, "restore.partial")
        with subprocess.Popen([BINARY, *self.command(kind)], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            if not aimed:
                time.sleep(self.rng.uniform(0.0, 1.1 * self.takes[kind]))
            else:
                while process.poll() is None and not os.path.exists(partial):
                    pass
                time.sleep(self.rng.choice((0.0, self.rng.uniform(0.0, 0.3 * self.takes[kind]))))
            process.kill()
        self.half[kind] += os.path.exists(partial)

    def check_backup(self, at_least):
        """What the killed backup left, and another attempt."""
        for path in (self.file, self.file + ".partial"):
            if not os.path.exists(path):
                continue
            code, _, _ = run("restore", path, "--data", self.restored)
            assert code == 0 or path != self.file, "the backup with the final name cannot be restored"
            assert code != 0 or content(self.restored) == self.content, f"{path} passes for whole and is not"
            shutil.rmtree(self.restored, ignore_errors=True)
        if not os.path.exists(self.file):
            must(*self.command("backup", rate=()))
        must("restore", self.file, "--data", self.restored)
        assert content(self.restored) == self.content, "the backup lacks something"
        flow = must("export", "--data", self.restored, "--series", "flow") if at_least > 0 else ""
        assert flow.count("\n") > at_least or at_least == 0, f"{at_least} points were acknowledged before the backup"

    def check_restore(self):
        """What the killed restore left, and another attempt."""
        if not os.path.exists(os.path.join(self.restored, "forecastd.db")):
            code, _, _ = run("check", "--data", self.restored)
            assert code != 0, "a half restored folder passes for a store"
            must("restore", self.whole, "--data", self.restored)
        must("check", "--data", self.restored)
        assert content(self.restored) == self.content, "the restored store lacks something"
        assert not [name for name in os.listdir(self.restored) if "partial" in name], os.listdir(self.restored)

    def round(self, kind, aimed):
        if kind == "restore":
            self.kill(kind, aimed)
            self.check_restore()
        elif kind == "backup":
            self.kill(kind, aimed)
            self.check_backup(0)
        else:
            with Flow(self) as flow:
                at_least = flow.acknowledged
                self.kill(kind, aimed)
                self.check_backup(at_least)
        must("check", "--data", self.data)
        assert content(self.data) == self.content, "the source has changed"
        self.clear()


class Flow:
    """A daemon on the store with a client that writes a series of its own."""

    def __init__(self, copies):
        self.daemon = Daemon("train.every=1d", folder=copies.folder)
        self.acknowledged = 0
        self.refused = None
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.write)

    def write(self):
        number = self.daemon.get("/api/v1/series/flow").json.get("points", 0)
        while not self.done.is_set():
            answer = self.daemon.points({"series": "flow", "points": [[BASE + number + i, i] for i in range(50)]})
            if answer.status != 200:
                self.refused = answer
                return
            number += 50
            self.acknowledged = number

    def __enter__(self):
        self.daemon.start()
        self.thread.start()
        while self.acknowledged == 0 and self.thread.is_alive():
            time.sleep(0.001)
        return self

    def __exit__(self, *error):
        self.done.set()
        self.thread.join()
        assert self.daemon.stop() == 0, self.daemon.log()
        assert self.refused is None, self.refused


def main():
    print(f"  {KILLS} kills of backup and restore, seed {SEED}")
    folder = tempfile.mkdtemp(prefix="forecastd-copies-")
    copies = Copies(folder)
    passed = failed = 0
    for number in range(KILLS):
        kind = KINDS[number % len(KINDS)]
        try:
            copies.round(kind, number // len(KINDS) % 2 == 0)
            passed += 1
        except AssertionError as error:
            failed += 1
            copies.clear()
            print(f"FAILED  kill {number + 1}, {kind}: {str(error)[:1500]}")
    print("  left half done: " + ", ".join(f"{kind} {count}" for kind, count in copies.half.items()))
    never = [kind for kind, count in copies.half.items() if count == 0]
    if never and KILLS >= 4 * len(KINDS):
        failed += 1
        print(f"FAILED  never killed in the middle: {', '.join(never)}")
    shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
