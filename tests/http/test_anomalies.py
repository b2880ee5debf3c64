"""GET /api/v1/anomalies: planted surprises are found, ordinary values are not; on a real file, too.

SPDX-License-Identifier: Apache-2.0
"""
import gzip
import math
import os
import random

from daemon import CSV, ROOT, now_ms, quote

SETTINGS = ["train.every=365d"]
STEP = 300000


def ask(daemon, series, more=""):
    answer = daemon.get(f"/api/v1/anomalies?series={quote(series)}{more}")
    assert answer.status == 200, answer
    return answer.json


def feed(daemon, series, values, labels=None):
    end = now_ms() // STEP * STEP
    times = [end - (len(values) - 1 - i) * STEP for i in range(len(values))]
    points = [[at, round(value, 3)] for at, value in zip(times, values)]
    assert daemon.points({"series": series, "labels": labels or {}, "points": points}).status == 200
    return times


def wave(chance, count):
    return [20 + 5 * math.sin(2 * math.pi * i / 24) + chance.gauss(0, 0.5) for i in range(count)]


def test_planted_spikes_and_a_shift(daemon):
    chance = random.Random(3)
    values = wave(chance, 2000)
    spikes = list(range(1200, 1700, 50))
    for at in spikes:
        values[at] += chance.choice((-1, 1)) * 4
    for at in range(1800, 2000):
        values[at] += 8
    times = feed(daemon, "spiky", values)
    answer = ask(daemon, "spiky")
    assert answer["threshold"] == 1 and answer["step_ms"] == STEP, answer
    scores = {at: score for at, _, score in answer["points"]}
    assert len(scores) == 1000, "the newest thousand steps where nothing is asked for"
    found = sum(scores[times[at]] >= 1 for at in spikes)
    assert found == len(spikes), found
    assert scores[times[1800]] > 2, scores[times[1800]]
    ordinary = [scores[times[i]] for i in range(1000, 1800) if i not in spikes]
    share = sum(score >= 1 for score in ordinary) / len(ordinary)
    print(f"        spikes {found} of {len(spikes)}, false alarms {share:.4f}")
    assert share < 0.02, share
    # A range is the same values with the same scores; nothing later plays a part.
    part = ask(daemon, "spiky", f"&start={times[1300]}&end={times[1400]}")["points"]
    assert [at for at, _, _ in part] == times[1300:1400]


def test_false_alarms_on_measured_load(daemon):
    with gzip.open(os.path.join(ROOT, "deploy", "sample", "pjm_load.csv.gz")) as file:
        assert daemon.request("POST", "/api/v1/import", file.read(), CSV).status == 200
    for series in daemon.get("/api/v1/series?match=pjm.load").json["series"]:
        points = ask(daemon, series["series"])["points"]
        scores = [score for _, _, score in points if score is not None]
        share = sum(score >= 1 for score in scores) / len(scores)
        print(f"        {series['series']}: {share:.4f} of {len(scores)}, {max(scores):.2f} at most")
        assert len(scores) > 900 and share < 0.025, (series["series"], share)


def test_shapes(daemon):
    feed(daemon, "two", [1.0] * 100, {"n": "1"})
    feed(daemon, "two", [2.0] * 99 + [3.0], {"n": "2"})
    several = ask(daemon, "two")["anomalies"]
    assert [one["series"] for one in several] == ['two{n="1"}', 'two{n="2"}']
    assert several[0]["points"][0][2] is None, "nothing was known of the first value"
    assert several[1]["points"][-1][2] > 1
    rows = ask(daemon, "two", "&format=table")
    assert len(rows) == 200 and set(rows[0]) == {"series", "timestamp", "value", "score"}
    text = daemon.get("/api/v1/anomalies?series=two&format=csv").text
    assert text.startswith("series,timestamp,value,score\n") and text.count("\n") == 201


def test_refusals(daemon):
    feed(daemon, "one", [1, 2, 3, 4])
    for query, status, param in (("", 400, "series"), ("series=nothing", 404, "series"),
                                 ("series=one&start=soon", 400, "start"), ("series=one&format=xml", 400, "format"),
                                 ("series=one&start=2000-01-01T00:00:00Z", 400, "start"),
                                 ("series=one&start=now&end=2020-01-01T00:00:00Z", 400, "end")):
        answer = daemon.get("/api/v1/anomalies?" + query)
        assert answer.status == status and answer.json["param"] == param, (query, answer)
