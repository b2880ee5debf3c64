"""Who uses the daemon that is killed, and what each knows of what it was told.

SPDX-License-Identifier: Apache-2.0
"""
import http.client
import json
import random
import time

from daemon import JSON, quote

STEP = 1000
# Long enough ago that a long round on a fast machine does not get as far as the future.
BASE = (int(time.time()) - 3650 * 86400) * 1000


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
        self.interrupted = False  # the last run ended with a request that nobody answered

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

    def send(self, daemon, count):
        """The next points in one request that has to be answered."""
        points = [[BASE + (self.next_index + i) * STEP, self.random.randrange(10**6) / 100] for i in range(count)]
        self.next_index += count
        answer = daemon.points({"series": self.series, "points": points})
        assert answer.status == 200, answer
        self.acknowledged.update(map(tuple, points))

    def run(self, daemon, stop):
        self.interrupted = False
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
            self.interrupted = True  # killed: what was open stays open
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


class Bulk:
    """Fills series with so many points that the daemon has to put them into chunks: it keeps 393,216 in memory at
    rest. Each request is one series' next points, which are there all or not at all; values follow from numbers."""

    SERIES, POINTS = 16, 28000
    prefix = "bulk."

    def __init__(self):
        self.stored = [0] * self.SERIES
        self.requests = 0
        self.refused = None

    def run(self, daemon, stop):
        while not stop.is_set():
            number = self.requests % self.SERIES
            first = self.stored[number]
            points = ",".join(f"[{BASE + i * STEP},{i % 997}]" for i in range(first, first + self.POINTS))
            try:
                answer = daemon.request("POST", "/api/v1/points",
                                        f'{{"series":"{self.prefix}{number}","points":[{points}]}}', JSON)
            except (OSError, http.client.HTTPException):
                return  # killed, or stopping
            if answer.status == 200:
                self.stored[number] += self.POINTS
                self.requests += 1
            elif answer.status != 503:
                self.refused = answer
                return

    def count(self, daemon):
        """After a kill the request that was not answered may be there, too."""
        assert self.refused is None, self.refused
        for number, count in enumerate(self.stored):
            answer = daemon.get(f"/api/v1/series/{self.prefix}{number}")
            found = answer.json["points"] if answer.status == 200 else 0
            assert found in (count, count + self.POINTS), f"{self.prefix}{number}: {found} instead of {count} points"
            assert found == 0 or answer.json["last_value"] == (found - 1) % 997, answer
            self.stored[number] = found

    def verify(self, daemon):
        """Reads every point; returns how many."""
        for number, count in enumerate(self.stored):
            if count > 0:
                code, out, said = daemon.command("export", "--series", f"{self.prefix}{number}")
                assert code == 0, said
                values = [float(line.rsplit(",", 1)[1]) for line in out.splitlines()[1:]]
                assert values == [i % 997 for i in range(count)], f"{self.prefix}{number}: not what was acknowledged"
        return sum(self.stored)


class Promoter:
    """Lets one model after the other serve, as an operator may."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.known = []
        self.acknowledged = None  # who serves, as far as the daemon has said
        self.wanted = None        # asked for and not answered

    def begin(self, champion, known):
        self.acknowledged, self.wanted, self.known = champion, None, known

    def run(self, daemon, stop):
        connection = daemon.connect(10)
        try:
            while len(self.known) > 1 and not stop.is_set():
                model = self.random.choice(self.known)
                if model == self.acknowledged:
                    continue
                self.wanted = model
                connection.request("POST", f"/api/v1/models/{model}/promote", "{}", JSON)
                response = connection.getresponse()
                response.read()
                if response.status == 200:
                    self.acknowledged = model
                self.wanted = None
        except (OSError, http.client.HTTPException):
            pass  # killed
        finally:
            connection.close()
