#!/usr/bin/env python3
"""Kills the daemon with SIGKILL in the middle of what it does, then checks its promises.

SPDX-License-Identifier: Apache-2.0

CRASH_KILLS (20) is the number of kills, CRASH_SEED (time) the seed, which is printed. CRASH_JOBS (1)
daemons are killed side by side, each by a process of its own with a share of the kills. Each round aims at one of
ROUNDS, while writers write all the time; what a kill has hit is told by what it left (evidence.py), and a phase that
was never hit fails. Writers keep what they sent and what was acknowledged. After every kill: `forecastd check` finds
nothing, the daemon starts, every acknowledged point of the round is there exactly once with its last value (or one
sent later and never answered), the champion is the old or the new one, and a forecast is given. All points are read
again at the end. Closing line: "N passed, N failed", counting kills.
"""
import contextlib
import mmap
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "http")]

from daemon import BINARY, SLOWNESS, TOOL_SECONDS, Daemon  # noqa: E402 (the path comes first)
from evidence import DATABASE, Left, copied_points  # noqa: E402
from writers import BASE, Bulk, Promoter, STEP, Writer  # noqa: E402

KILLS = int(os.environ.get("CRASH_KILLS", "20"))
JOBS = int(os.environ.get("CRASH_JOBS", "1"))
SEED = int(os.environ.get("CRASH_SEED", str(int(time.time()))))
WRITERS = 3
# What twenty rounds aim at, in any order.
ROUNDS = (["ingest"] * 4 + ["training"] * 4 + ["publication"] * 3 + ["promotion"] * 2 + ["checkpoint"] * 3 +
          ["compaction"] * 2 + ["backup"] * 2)
PHASES = ("ingest", "training", "publication", "promotion", "checkpoint", "compaction", "backup")


def waited_s(process):
    """Seconds that the main thread of a process was ready to run while others had the processors."""
    with open(f"/proc/{process.pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[1]) / 1e9


class Crash:
    """One daemon, whoever uses it, and what is known about it."""

    def __init__(self):
        self.rng = random.Random(SEED)
        self.daemon = Daemon("train.every=1s", "train.seconds=1s").start(timeout=30)
        self.writers = [Writer(number, SEED + number) for number in range(WRITERS)]
        self.bulk = Bulk()
        self.promoter = Promoter(SEED)
        self.hits = dict.fromkeys(PHASES, 0)
        self.half_published = 0
        self.attempts_left = 12
        self.last_row = 0
        self.leftovers = set()  # files of models that earlier kills left
        self.champion = None
        self.jobs = []
        self.backup = None  # a process
        self.backup_file = os.path.join(self.daemon.folder, "store.backup")

    def prepare(self):
        """Two models, so that there is one to be replaced."""
        for writer in self.writers:
            writer.send(self.daemon, 600)
        for seed in (1, 2):
            job = self.daemon.post_json("/api/v1/train", {"steps": 2, "seed": seed}).json["id"]
            deadline = time.monotonic() + TOOL_SECONDS  # training has the lowest priority, and no promise of time
            while self.daemon.get(f"/api/v1/jobs/{job}").json["state"] in ("queued", "running"):
                assert time.monotonic() < deadline, "no model yet"
                time.sleep(0.05)
        models = self.daemon.get("/api/v1/models").json["models"]
        assert len(models) >= 2, models
        self.champion = models[0]["id"]
        assert self.daemon.post_json(f"/api/v1/models/{self.champion}/promote", {}).status in (200, 409)
        self.promoter.begin(self.champion, [model["id"] for model in models])

    # ------------------------------------------------------------ where the rounds aim

    def aim_ingest(self):
        time.sleep(self.rng.uniform(0.0, 0.4) if self.rng.random() < 0.8 else self.rng.uniform(0.4, 3.0))
        self.jobs = self.running()

    def aim_training(self):
        self.daemon.post_json("/api/v1/train", {"seconds": 1})
        time.sleep(self.rng.uniform(0.0, 1.2))
        self.jobs = self.running()

    def aim_publication(self):
        """Where a new model's file shows up, or somewhere behind the end of the network's training."""
        self.daemon.post_json("/api/v1/train", {"steps": 2})
        before = self.model_files()
        deadline = time.monotonic() + 20 * SLOWNESS
        if self.rng.random() < 0.3:
            while time.monotonic() < deadline and not any(job["progress"] >= 0.9 for job in self.jobs):
                self.jobs = self.running()
            time.sleep(self.rng.uniform(0.0, 1.0))
        else:
            while time.monotonic() < deadline and not self.model_files() - before:
                time.sleep(0.0005)
            time.sleep(self.rng.choice((0.0, 0.0, self.rng.uniform(0.0, 0.01), self.rng.uniform(0.0, 0.1))))

    def aim_promotion(self):
        time.sleep(self.rng.uniform(0.05, 0.3))

    def aim_checkpoint(self):
        """Looks at the shared index of the log until a checkpoint has begun."""
        deadline = time.monotonic() + 3 * SLOWNESS
        with open(os.path.join(self.daemon.data, DATABASE + "-shm"), "rb") as file, \
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as shared:
            while time.monotonic() < deadline:
                done, attempted = copied_points(shared)
                if attempted > done:
                    return

    def aim_compaction(self):
        """More points come than wait in memory at rest, so that series go into chunks; half of the time a clean stop
        begins, too, which compacts all of them."""
        target = self.bulk.requests + self.rng.randrange(4, Bulk.SERIES)
        deadline = time.monotonic() + 20 * SLOWNESS
        while self.bulk.requests < target and time.monotonic() < deadline:
            time.sleep(0.001)
        if self.rng.random() < 0.5:
            self.daemon.process.terminate()
        time.sleep(self.rng.uniform(0.0, 0.2))

    def aim_backup(self):
        self.backup = subprocess.Popen([BINARY, "backup", self.backup_file, "--data", self.daemon.data, "--rate", "8"],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(self.rng.uniform(0.0, 0.3))

    # ------------------------------------------------------------ one round

    def model_files(self):
        """Names and when they were written; one may be renamed while we look."""
        files = set()
        for entry in os.scandir(os.path.join(self.daemon.data, "models")):
            with contextlib.suppress(FileNotFoundError):
                files.add((entry.name, entry.stat().st_mtime_ns))
        return files

    def running(self):
        return [job for job in self.daemon.get("/api/v1/jobs").json["jobs"] if job["state"] == "running"]

    def kill(self, kind):
        """Ingest all the time, what the kind asks for besides, a kill."""
        stop = threading.Event()
        besides = {"promotion": [self.promoter], "compaction": [self.bulk]}
        users = self.writers + besides.get(kind, [])
        threads = [threading.Thread(target=user.run, args=(self.daemon, stop)) for user in users]
        for thread in threads:
            thread.start()
        self.jobs = []
        getattr(self, "aim_" + kind)()
        self.daemon.process.kill()
        self.daemon.process.wait()
        stop.set()
        for thread in threads:
            thread.join()

    def count_hits(self, left):
        hits = self.hits
        hits["ingest"] += any(writer.interrupted for writer in self.writers)
        hits["training"] += any(job["progress"] < 0.9 for job in self.jobs)
        half = len(left.unrecorded - self.leftovers) > 0
        self.leftovers = left.unrecorded
        self.half_published += half
        hits["publication"] += half or any(job["progress"] >= 0.9 for job in self.jobs)
        hits["promotion"] += self.promoter.wanted is not None
        hits["checkpoint"] += left.in_checkpoint
        hits["compaction"] += left.in_compaction(self.last_row)
        hits["backup"] += self.backup is not None and self.backup.poll() is None
        self.last_row = left.last

    def check_backup(self, acknowledged):
        """The command goes on without the daemon or gives up; what is under the final name is whole."""
        if self.backup is None:
            return
        code = self.backup.wait(60 * SLOWNESS)
        self.backup = None
        if not os.path.exists(self.backup_file):
            assert code != 0, "a backup that ended well left no file"
            return
        restored = os.path.join(self.daemon.folder, "restored")
        try:
            done = subprocess.run([BINARY, "restore", self.backup_file, "--data", restored], capture_output=True,
                                  text=True, timeout=60 * SLOWNESS, check=False)
            assert done.returncode == 0, f"restore: {done.stderr}"
            for series, count in acknowledged.items():
                done = subprocess.run([BINARY, "export", "--data", restored, "--series", series], capture_output=True,
                                      timeout=60 * SLOWNESS, check=True)
                assert done.stdout.count(b"\n") > count, f"{series}: the backup lacks points"
        finally:
            os.remove(self.backup_file)
            shutil.rmtree(restored, ignore_errors=True)

    def check_models(self, left):
        """The champion is the one that was acknowledged last, the one that was asked for, or a newer one."""
        assert not left.corrupt, f"set aside as corrupt: {left.corrupt}"
        models = self.daemon.get("/api/v1/models").json["models"]
        champions = [model["id"] for model in models if model["champion"]]
        assert len(champions) <= 1, f"champions: {champions}"
        now = champions[0] if champions else None
        allowed = {self.champion, self.promoter.acknowledged, self.promoter.wanted} - {None}
        known = self.promoter.known
        assert now in allowed or now not in known, f"the champion is {now}, allowed were {allowed}"
        assert now is not None or not allowed, f"nobody serves, before it was one of {allowed}"
        self.champion = now
        self.promoter.begin(now, [model["id"] for model in models])
        for writer in self.writers:
            if len(writer.acknowledged) > 1:
                answer = self.daemon.get(f"/api/v1/forecast?series={writer.series}")
                assert answer.status == 200, answer
                served = answer.json["forecasts"][0]["model"]
                assert served is None or served["id"] == now, f"{now} is the champion: {answer}"

    def round(self, kind):
        """Returns how many points were compared, the seconds of the start, and those without waiting for processors."""
        low = min(writer.next_index for writer in self.writers)
        acknowledged = {writer.series: len(writer.acknowledged) for writer in self.writers if writer.acknowledged}
        self.kill(kind)
        for writer in self.writers:
            assert writer.refused is None, f"{writer.series} was refused: {writer.refused}"
        left = Left(self.daemon.data, self.bulk.prefix)
        self.count_hits(left)
        code, out, said = self.daemon.command("check")
        assert code == 0, f"check: {out} {said}"
        self.check_backup(acknowledged)
        began = time.monotonic()
        self.daemon.start(timeout=30)
        took = time.monotonic() - began
        worked = took - waited_s(self.daemon.process)
        compared = sum(writer.verify(self.daemon, BASE + max(0, low - 60) * STEP) for writer in self.writers)
        self.bulk.count(self.daemon)
        self.check_models(left)
        return compared, took, worked

    def next_kind(self, planned):
        """What was planned, then what was not hit so far, a few times."""
        if planned:
            return planned.pop()
        never = [phase for phase, count in self.hits.items() if count == 0]
        self.attempts_left -= 1
        return never[0] if never and self.attempts_left >= 0 and KILLS >= len(ROUNDS) else None

    def finish(self):
        """Everything once more; returns how many points there are."""
        total = sum(writer.verify(self.daemon, BASE) for writer in self.writers) + self.bulk.verify(self.daemon)
        assert self.daemon.stop() == 0, self.daemon.log()
        code, out, said = self.daemon.command("check")
        assert code == 0, f"check: {out} {said}"
        return total


def side_by_side():
    """Shares the kills out to processes and adds up what they count."""
    children = []
    for job in range(JOBS):
        share = KILLS // JOBS + (job < KILLS % JOBS)
        environment = dict(os.environ, CRASH_KILLS=str(share), CRASH_SEED=str(SEED + 1000 * job), CRASH_JOBS="1")
        children.append(subprocess.Popen([sys.executable, __file__], env=environment, text=True,
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    passed = failed = 0
    for child in children:
        said, _ = child.communicate()
        closing = re.findall(r"^(\d+) passed, (\d+) failed$", said, re.M)
        print(re.sub(r"^\d+ passed, \d+ failed\n", "", said, flags=re.M), end="")
        good, bad = map(int, closing[-1]) if closing else (0, 1)
        passed += good
        failed += bad or (child.returncode != 0)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def plan(rng):
    """What the rounds aim at: all of them equally often, in any order."""
    rounds = []
    while len(rounds) < KILLS:
        rounds += rng.sample(ROUNDS, len(ROUNDS))
    return rounds[:KILLS]


def main():
    if JOBS > 1:
        return side_by_side()
    print(f"  {KILLS} kills, seed {SEED}")
    crash = Crash()
    try:
        crash.prepare()
    except AssertionError:
        crash.daemon.remove()
        raise
    starts, worked, passed, failed, compared, total = [], [0.0], 0, 0, 0, 0
    begin = time.monotonic()
    planned = plan(crash.rng)
    while failed <= 5 and (kind := crash.next_kind(planned)) is not None:
        try:
            points, start, work = crash.round(kind)
            compared += points
            starts.append(start)
            worked.append(work)
            passed += 1
        except AssertionError as error:
            failed += 1
            print(f"FAILED  kill {passed + failed}, {kind}: {str(error)[:1500]}")
            if crash.daemon.process.poll() is not None:
                crash.daemon.start(timeout=30)
    try:
        total = crash.finish()
    except AssertionError as error:
        failed += 1
        print(f"FAILED  at the end: {str(error)[:1500]}")
    requests = sum(writer.requests for writer in crash.writers)
    print(f"  {requests} acknowledged requests, {total} acknowledged points, all read back; "
          f"{compared} comparisons; {time.monotonic() - begin:.0f} s")
    print("  kills during: " + ", ".join(f"{phase} {count}" for phase, count in crash.hits.items()) +
          f"; {crash.half_published} left a model's file that was not whole or not recorded")
    if starts:
        print(f"  start to first answer after a kill: median {statistics.median(starts) * 1000:.0f} ms, "
              f"longest {max(starts) * 1000:.0f} ms, {max(worked) * 1000:.0f} ms without waiting for a processor")
        if max(worked) > 2 * SLOWNESS:
            failed += 1
            print("FAILED  a start took longer than 2 s")
    never = [phase for phase, count in crash.hits.items() if count == 0]
    if never and KILLS >= len(ROUNDS):
        failed += 1
        print(f"FAILED  never killed during: {', '.join(never)}")
    if failed == 0:
        crash.daemon.remove()
    else:
        print(f"  the data are left in {crash.daemon.folder}")
        crash.daemon.stop()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
