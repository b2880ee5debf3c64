#!/usr/bin/env python3
"""Kills the daemon with SIGKILL at random moments of ingest and training, then checks its promises.

SPDX-License-Identifier: Apache-2.0

CRASH_KILLS (30) is the number of kills, CRASH_SEED (time) the seed, which is printed. CRASH_JOBS (1)
daemons are killed side by side, each by a process of its own with a share of the kills. (Kills of a
process that compacts and checkpoints all the time: tests/contract/test_kill.c.) Writers keep
what they sent and what was acknowledged. After every kill: `forecastd check` finds nothing, the
daemon starts, every acknowledged point of the round is there exactly once with its last value (or
one sent later and never answered), and a forecast is given. All rounds are read again at the end.
Closing line: "N passed, N failed", counting kills.
"""
import http.client
import json
import os
import random
import re
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "http"))

from daemon import JSON, SLOWNESS, Daemon, quote  # noqa: E402 (the path comes first)

KILLS = int(os.environ.get("CRASH_KILLS", "30"))
JOBS = int(os.environ.get("CRASH_JOBS", "1"))
SEED = int(os.environ.get("CRASH_SEED", str(int(time.time()))))
WRITERS = 3
STEP = 1000
BASE = (int(time.time()) - 90 * 86400) * 1000


class Writer:
    """Sends points of one series and remembers, per time, what may be read back."""

    def __init__(self, number, seed):
        self.series = f"crash.{number}"
        self.random = random.Random(seed)
        self.next_index = 0
        self.acknowledged = {}  # time -> value
        self.open = {}          # time -> values sent after the acknowledged one, unanswered
        self.requests = 0
        self.refused = None

    def batch(self):
        count = 1 if self.random.random() < 0.5 else self.random.randrange(2, 200)
        points = []
        for _ in range(count):
            points.append([BASE + self.next_index * STEP, self.random.randrange(10**6) / 100])
            self.next_index += 1
        if self.next_index > 50 and self.random.random() < 0.3:  # late: a value written again
            for _ in range(5):
                index = self.random.randrange(self.next_index - 50, self.next_index)
                points.append([BASE + index * STEP, self.random.randrange(10**6) / 100])
        return points

    def run(self, daemon, stop):
        connection = daemon.connect(10)
        try:
            while not stop.is_set():
                points = self.batch()
                for at, value in points:
                    self.open.setdefault(at, []).append(value)
                connection.request("POST", "/api/v1/points",
                                   json.dumps({"series": self.series, "points": points}), JSON)
                response = connection.getresponse()
                body = response.read()
                if response.status == 503:
                    continue  # full for a moment: nothing of it may count as written
                if response.status != 200:
                    self.refused = f"{response.status} {body[:200]!r}"
                    return
                self.requests += 1
                for at, value in points:
                    self.acknowledged[at] = value
                    self.open.pop(at, None)
        except (OSError, http.client.HTTPException):
            pass  # killed: what was open stays open
        finally:
            connection.close()

    def verify(self, daemon, start):
        """Reads everything from `start` on; returns how many acknowledged points were compared."""
        read, at = [], start
        while True:
            path = f"/api/v1/series/{quote(self.series)}/points?limit=10000&start={at}"
            answer = daemon.get(path)
            if answer.status == 404 and not any(t >= start for t in self.acknowledged):
                return 0
            assert answer.status == 200, answer
            page = answer.json["points"]
            read += page
            if not answer.json.get("next") or not page:
                break
            at = page[-1][0] + 1
        times = [t for t, _ in read]
        assert all(a < b for a, b in zip(times, times[1:])), f"{self.series}: a time twice or out of order"
        have = dict(map(tuple, read))
        compared = 0
        for t, value in self.acknowledged.items():
            if t < start:
                continue
            allowed = [value] + self.open.get(t, [])
            assert t in have, f"{self.series}: acknowledged point at {t} is lost"
            assert have[t] in allowed, f"{self.series}: {have[t]} at {t}, acknowledged was {allowed}"
            compared += 1
        for t, value in have.items():
            allowed = [self.acknowledged.get(t)] + self.open.get(t, [])
            assert value in allowed, f"{self.series}: {value} at {t} was never sent"
        return compared


def one_round(daemon, writers, rng):
    """Ingest, perhaps training, a kill; returns the states of the jobs just before."""
    stop = threading.Event()
    threads = [threading.Thread(target=writer.run, args=(daemon, stop)) for writer in writers]
    for thread in threads:
        thread.start()
    kind = rng.random()
    if kind < 0.7:
        daemon.post_json("/api/v1/train", {"seconds": 1})
    if kind < 0.2:  # around the end of a training: the model is written, named, published
        stop.set()
        deadline = time.monotonic() + 20 * SLOWNESS
        while time.monotonic() < deadline:
            jobs = daemon.get("/api/v1/jobs").json["jobs"]
            if not any(job["state"] in ("queued", "running") and job["progress"] < 0.9 for job in jobs):
                break
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 1.5))
    else:
        time.sleep(rng.uniform(0.0, 0.4) if rng.random() < 0.8 else rng.uniform(0.4, 3.0))
    jobs = daemon.get("/api/v1/jobs").json["jobs"]
    daemon.process.kill()
    daemon.process.wait()
    stop.set()
    for thread in threads:
        thread.join()
    return jobs


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


def main():
    if JOBS > 1:
        return side_by_side()
    rng = random.Random(SEED)
    print(f"  {KILLS} kills, seed {SEED}")
    daemon = Daemon("train.every=1s", "train.seconds=1s").start(timeout=30)
    writers = [Writer(number, SEED + number) for number in range(WRITERS)]
    starts, passed, failed, compared, trainings = [], 0, 0, 0, 0
    training_kills = publication_kills = 0
    begin = time.monotonic()
    for kill in range(KILLS):
        low = min(writer.next_index for writer in writers)
        try:
            jobs = one_round(daemon, writers, rng)
            trainings += sum(job["state"] == "done" for job in jobs)
            running = [job for job in jobs if job["state"] == "running"]
            training_kills += len(running) > 0
            publication_kills += any(job["progress"] >= 0.9 for job in running)
            for writer in writers:
                assert writer.refused is None, f"{writer.series} was refused: {writer.refused}"
            code, out, said = daemon.command("check")
            assert code == 0, f"check: {out} {said}"
            began = time.monotonic()
            daemon.start(timeout=30)
            starts.append(time.monotonic() - began)
            from_ms = BASE + max(0, low - 60) * STEP
            compared += sum(writer.verify(daemon, from_ms) for writer in writers)
            if writers[0].acknowledged:
                answer = daemon.get(f"/api/v1/forecast?series={writers[0].series}")
                assert answer.status == 200 or len(writers[0].acknowledged) < 2, answer
            passed += 1
        except AssertionError as error:
            failed += 1
            print(f"FAILED  kill {kill + 1}: {str(error)[:1500]}")
            if failed > 5:
                break
            if daemon.process.poll() is not None:
                daemon.start(timeout=30)
    try:
        total = sum(writer.verify(daemon, BASE) for writer in writers)
        models = len(daemon.get("/api/v1/models").json["models"])
        assert daemon.stop() == 0, daemon.log()
        code, out, said = daemon.command("check")
        assert code == 0, f"check: {out} {said}"
    except AssertionError as error:
        failed += 1
        total = models = 0
        print(f"FAILED  at the end: {str(error)[:1500]}")
    requests = sum(writer.requests for writer in writers)
    print(f"  {requests} acknowledged requests, {total} acknowledged points, all read back; "
          f"{compared} comparisons; {time.monotonic() - begin:.0f} s")
    print(f"  {training_kills} kills during a training, {publication_kills} of them around "
          f"its publication, {trainings} trainings ended before their kill, "
          f"{models} models kept")
    if starts:
        print(f"  start to first answer after a kill: median {statistics.median(starts) * 1000:.0f} ms, "
              f"longest {max(starts) * 1000:.0f} ms")
        if max(starts) > 2 * SLOWNESS:
            failed += 1
            print("FAILED  a start took longer than 2 s")
    if failed == 0:
        daemon.remove()
    else:
        print(f"  the data are left in {daemon.folder}")
        daemon.stop()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
