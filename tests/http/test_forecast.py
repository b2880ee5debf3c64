"""Forecasts: the invariants of every answer, whoever serves it, and the three formats.

SPDX-License-Identifier: Apache-2.0
"""
import csv
import datetime
import io
import math
import random

from daemon import JSON, now_ms, quote

STEP = 60000
KEYS = {"series", "step_ms", "origin", "issued_at", "data_age_ms", "state", "served_by", "fallback_reason",
        "model", "timestamps", "mean", "quantiles", "calibration", "skill", "quality", "warnings"}
STATES = {"warming", "baseline", "learned", "stale"}


def grid_start(count, step=STEP):
    return (now_ms() // step - count) * step


def feed(daemon, series, values, step=STEP, start=None):
    start = grid_start(len(values), step) if start is None else start
    answer = daemon.points({"series": series, "points": [[start + i * step, v] for i, v in enumerate(values)]})
    assert answer.status == 200, answer
    return start


def forecast(daemon, series, query=""):
    answer = daemon.get(f"/api/v1/forecast?series={quote(series)}{query}")
    assert answer.status == 200, answer
    assert answer.type == "application/json"
    [one] = answer.json["forecasts"]
    return one


def ms(text):
    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def check(one, steps=None, low=-math.inf, high=math.inf):
    """What holds for every forecast."""
    assert set(one) >= KEYS, KEYS - set(one)
    assert one["state"] in STATES and one["served_by"], one
    count = len(one["timestamps"])
    assert count > 0 and (steps is None or count == steps), count
    origin = ms(one["origin"])
    assert origin % one["step_ms"] == 0, one["origin"]
    assert one["timestamps"] == [origin + (i + 1) * one["step_ms"] for i in range(count)]
    assert ms(one["issued_at"]) <= now_ms() + 2000
    assert len(one["mean"]) == count
    levels = sorted(one["quantiles"], key=float)
    for level in levels:
        assert len(one["quantiles"][level]) == count
    for i in range(count):
        column = [one["quantiles"][level][i] for level in levels]
        assert all(isinstance(v, (int, float)) and math.isfinite(v) for v in column + [one["mean"][i]])
        assert column == sorted(column), (i, column)
        assert low <= column[0] and column[-1] <= high, (i, column)
        if len(column) > 1:
            assert column[0] < column[-1], f"no interval at step {i}: {column}"
    return one


def wave(count, season=60):
    rng = random.Random(5)
    return [round(50 + 20 * math.sin(2 * math.pi * i / season) + rng.gauss(0, 1), 3) for i in range(count)]


def test_a_seasonal_series(daemon):
    feed(daemon, "wave", wave(900))
    one = check(forecast(daemon, "wave"), 48)
    assert one["step_ms"] == STEP and set(one["quantiles"]) == {"0.1", "0.5", "0.9"}
    assert one["fallback_reason"], "without a model the answer says why it is a baseline"
    again = check(forecast(daemon, "wave"))
    assert again["mean"] == one["mean"] or again["origin"] != one["origin"]


def test_mean_and_median_of_what_is_skewed(daemon):
    """Waiting times: their mean is 10, their median 10 log 2. 900 of them have a mean within 1 (three standard errors);
    seven levels and a normal tail, from a level that moves, may be off by as much."""
    chance = random.Random(3)
    feed(daemon, "skewed", [chance.expovariate(0.1) for _ in range(900)])
    one = check(forecast(daemon, "skewed"))
    mean, median = (sum(column) / len(column) for column in (one["mean"], one["quantiles"]["0.5"]))
    assert abs(mean - 10) < 2 and mean - median > 1, (mean, median)


def test_horizon_and_steps(daemon):
    feed(daemon, "horizon", wave(300))
    check(forecast(daemon, "horizon", "&steps=1"), 1)
    check(forecast(daemon, "horizon", "&steps=10"), 10)
    check(forecast(daemon, "horizon", "&horizon=30m"), 30)
    check(forecast(daemon, "horizon", "&horizon=2h"), 120)
    check(forecast(daemon, "horizon", "&steps=500"), 500)


def test_quantiles_and_levels(daemon):
    feed(daemon, "levels", wave(300))
    one = check(forecast(daemon, "levels", "&quantiles=0.025,0.1,0.25,0.5,0.75,0.9,0.975,0.333"), 48)
    assert len(one["quantiles"]) == 8
    one = check(forecast(daemon, "levels", "&level=80,95"), 48)
    assert {"0.025", "0.1", "0.9", "0.975"} <= set(one["quantiles"])
    check(forecast(daemon, "levels", "&quantiles=0.999,0.001,0.5"), 48)


def test_two_points_are_enough(daemon):
    feed(daemon, "two", [1, 2])
    one = check(forecast(daemon, "two"))
    assert one["state"] == "warming", one["state"]


def test_one_point_is_not(daemon):
    feed(daemon, "one", [1])
    answer = daemon.get("/api/v1/forecast?series=one")
    assert answer.status == 422 and answer.json["code"] == "insufficient_history", answer


def test_a_series_too_young_does_not_spoil_the_others(daemon):
    feed(daemon, "flock.a", wave(100))
    feed(daemon, "flock.b", [1])
    feed(daemon, "flock.c", [None] * 5)
    selector = "/api/v1/forecast?steps=3&series=" + quote('{__name__=~"flock.*"}')
    for _ in range(2):  # computed, then from memory
        answer = daemon.get(selector)
        assert answer.status == 200, answer
        assert [one["series"] for one in answer.json["forecasts"]] == ["flock.a"], answer
        assert answer.json["skipped"] == [{"series": "flock.b", "code": "insufficient_history"},
                                          {"series": "flock.c", "code": "insufficient_history"}], answer
    assert len(daemon.get(selector + "&format=csv").text.strip().split("\n")) == 4
    assert len(daemon.get(selector + "&format=table").json) == 3
    feed(daemon, "flock.b", [1, 2])
    answer = daemon.get(selector).json
    assert [one["series"] for one in answer["forecasts"]] == ["flock.a", "flock.b"], answer
    answer = daemon.get("/api/v1/forecast?series=flock.c&series=nobody.knows")
    assert answer.status == 404, answer
    feed(daemon, "flock.d", [1])
    answer = daemon.get("/api/v1/forecast?series=flock.c&series=flock.d")
    assert answer.status == 422 and answer.json["code"] == "insufficient_history", answer


def test_a_counter_is_forecast_by_its_rate_and_says_so(daemon):
    rises = [0, 120, 0, 0, 360, 60] * 30
    values, total = [], 0
    for i, rise in enumerate(rises):
        total = rise if i == 50 else total + rise  # it begins again from zero
        values.append(total)
    feed(daemon, "turns_total", values)
    answer = daemon.request("PATCH", "/api/v1/series/turns_total", '{"kind":"counter","season":0}', JSON)
    assert answer.status == 200, answer
    one = forecast(daemon, "turns_total", "&steps=5&history=6m&quantiles=0.01,0.5,0.99")
    assert [warning["code"] for warning in one["warnings"]] == ["counter_rate"], one["warnings"]
    assert one["quality"]["resets"] == 1, one["quality"]
    assert one["history"]["values"] == [rise / 60 for rise in rises[-6:]], one["history"]
    assert min(one["quantiles"]["0.01"]) >= 0 and max(one["quantiles"]["0.99"]) < 20, one["quantiles"]


def test_unknown_series(daemon):
    answer = daemon.get("/api/v1/forecast?series=nobody.knows")
    assert answer.status == 404 and answer.json["code"] == "unknown_series", answer


def test_parameters_that_make_no_sense(daemon):
    feed(daemon, "sense", wave(100))
    wrong = []
    for query in ("&steps=0", "&steps=-1", "&steps=x", "&steps=999999", "&horizon=0s", "&horizon=x", "&horizon=-1h",
                  "&horizon=1h&steps=5", "&quantiles=0", "&quantiles=1", "&quantiles=x", "&quantiles=0.5,2",
                  "&level=0", "&level=100", "&level=x", "&format=xml", "&history=x", "&nonsense=1",
                  "&quantiles=0.1&level=80", "&at=yesterday"):
        answer = daemon.get("/api/v1/forecast?series=sense" + query)
        if answer.status != 400 or answer.type != "application/problem+json" or not answer.json["code"]:
            wrong.append((query, answer.status))
    assert not wrong, wrong
    assert daemon.get("/api/v1/forecast").status == 400
    assert daemon.get("/api/v1/forecast?series=").status in (400, 404)
    for selector in ("a{", "a{b}", 'a{b="}', "{}", 'a{b=~"("}'):
        assert daemon.get("/api/v1/forecast?series=" + quote(selector)).status in (400, 404), selector


def test_hard_series(daemon):
    wrong = []
    hard = {
        "constant": [5] * 300, "zero": [0] * 300, "huge": [1e30 + i * 1e28 for i in range(300)],
        "tiny": [1e-30 * i for i in range(300)], "counts": [0, 0, 0, 7] * 75, "jump": [1] * 150 + [1e6] * 150,
        "line": list(range(300)), "falling": [1000 - 3 * i for i in range(300)], "spike": [1] * 298 + [1e12, 1],
        "alternating": [-1e9, 1e9] * 150, "nearly.constant": [5 + 1e-12 * (i % 3) for i in range(300)],
    }
    for name, values in hard.items():
        feed(daemon, "hard." + name, values)
        try:
            one = check(forecast(daemon, "hard." + name, "&steps=200"), 200)
        except AssertionError as error:
            wrong.append(f"{name}: {str(error)[:100]}")
            continue
        if name in ("constant", "nearly.constant"):
            assert abs(one["quantiles"]["0.5"][0] - 5) < 0.01, one["quantiles"]["0.5"][:3]
    assert not wrong, wrong


def test_gaps_and_irregular_steps(daemon):
    rng = random.Random(9)
    start = grid_start(600)
    points = [[start + i * STEP + rng.randrange(-2000, 2000), v] for i, v in enumerate(wave(600)) if rng.random() > 0.3]
    assert daemon.points({"series": "gaps", "points": points}).status == 200
    one = check(forecast(daemon, "gaps"))
    assert one["step_ms"] == STEP and one["quality"]["missing"] > 0, one["quality"]


def test_declared_bounds_hold(daemon):
    feed(daemon, "bounded", [max(0, v - 45) for v in wave(300)])
    answer = daemon.request("PATCH", "/api/v1/series/bounded", '{"min":0,"max":10}', {"Content-Type": "application/json"})
    assert answer.status == 200, answer
    one = forecast(daemon, "bounded", "&quantiles=0.01,0.5,0.99")
    for values in one["quantiles"].values():
        assert all(0 <= v <= 10 for v in values), values


def test_history(daemon):
    values = wave(300)
    start = feed(daemon, "history", values)
    one = check(forecast(daemon, "history", "&history=1h"))
    past = one["history"]
    pairs = past if isinstance(past, list) else list(zip(past["timestamps"], past["values"]))
    assert 50 <= len(pairs) <= 62, len(pairs)
    for at, value in pairs:
        assert value == values[(at - start) // STEP]


def test_selectors_give_many(daemon):
    for zone in "abc":
        answer = daemon.points({"series": "many", "labels": {"zone": zone},
                                "points": [[grid_start(100) + i * STEP, i % 10] for i in range(100)]})
        assert answer.status == 200
    answer = daemon.get("/api/v1/forecast?series=" + quote('many{zone=~"a|b"}'))
    assert answer.status == 200, answer
    assert sorted(one["series"] for one in answer.json["forecasts"]) == ['many{zone="a"}', 'many{zone="b"}']
    for one in answer.json["forecasts"]:
        check(one)
    both = daemon.get("/api/v1/forecast?series=" + quote('many{zone="a"}') + "&series=" + quote('many{zone="c"}'))
    assert len(both.json["forecasts"]) == 2


def test_post_takes_the_same_fields(daemon):
    feed(daemon, "posted", wave(200))
    answer = daemon.post_json("/api/v1/forecast", {"series": ["posted"], "steps": 5, "quantiles": [0.1, 0.5, 0.9]})
    assert answer.status == 200, answer
    [one] = answer.json["forecasts"]
    check(one, 5)
    got = forecast(daemon, "posted", "&steps=5")
    assert got["origin"] != one["origin"] or got["mean"] == one["mean"]


def test_csv(daemon):
    feed(daemon, "as.csv", wave(200))
    answer = daemon.get("/api/v1/forecast?series=as.csv&steps=3&format=csv")
    assert answer.status == 200 and answer.type == "text/csv", answer
    table = list(csv.reader(io.StringIO(answer.text)))
    assert table[0] == ["series", "timestamp", "mean", "q0.1", "q0.5", "q0.9"], table[0]
    assert len(table) == 4
    for row in table[1:]:
        assert row[0] == "as.csv" and int(row[1]) % STEP == 0
        low, middle, high = map(float, row[3:])
        assert low <= middle <= high
    labelled = 'as.csv{zone="a,b"}'
    daemon.points({"series": "as.csv", "labels": {"zone": "a,b"},
                   "points": [[grid_start(50) + i * STEP, i] for i in range(50)]})
    answer = daemon.get("/api/v1/forecast?steps=1&format=csv&series=" + quote(labelled))
    assert list(csv.reader(io.StringIO(answer.text)))[1][0] == labelled


def test_table(daemon):
    feed(daemon, "as.table", wave(200))
    answer = daemon.get("/api/v1/forecast?series=as.table&steps=3&format=table")
    assert answer.status == 200 and answer.type == "application/json", answer
    rows = answer.json
    assert isinstance(rows, list) and len(rows) == 3
    for row in rows:
        assert all(not isinstance(value, (list, dict)) for value in row.values()), row
        assert row["series"] == "as.table"


def test_new_points_move_the_origin(daemon):
    start = grid_start(200)
    feed(daemon, "moving", wave(190), start=start)
    before = ms(forecast(daemon, "moving")["origin"])
    feed(daemon, "moving", wave(200), start=start)
    after = ms(forecast(daemon, "moving")["origin"])
    assert after > before, (before, after)


def test_an_old_series_is_stale(daemon):
    feed(daemon, "old", wave(200), start=grid_start(200 + 3 * 1440))
    one = check(forecast(daemon, "old"))
    assert one["state"] == "stale" and one["data_age_ms"] > 2 * 86400000, (one["state"], one["data_age_ms"])
