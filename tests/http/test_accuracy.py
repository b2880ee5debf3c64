"""Issued forecasts: recalled with at=, scored by /api/v1/accuracy, kept over a restart.

SPDX-License-Identifier: Apache-2.0

A series whose points come every five minutes of its own time is fed in fast motion, so that some
hours of service pass in seconds.
"""
import math
import time

from daemon import SLOWNESS, Daemon, now_ms, quote

STEP = 300000
HORIZON = 12
SETTINGS = [f"forecast.horizon={HORIZON}", "train.every=365d"]
FIGURES = {"mase", "smape", "wql", "pinball", "coverage80", "coverage95", "bias", "count"}


def value(time_ms):
    wobble = (time_ms // STEP * 7919 % 13 - 6) / 10
    return round(20 + 5 * math.sin(2 * math.pi * (time_ms // STEP) / 24) + wobble, 3)


def vintages(daemon, series):
    answer = daemon.get(f"/api/v1/accuracy?series={quote(series)}")
    assert answer.status == 200, answer
    return answer.json["pooled"]["vintages"]


def serve_for(daemon, series, steps):
    """History, then `steps` points one by one until now; returns the times of the latter."""
    end = now_ms() // STEP * STEP
    times = [end - i * STEP for i in range(600)][::-1]
    daemon.points({"series": series, "points": [[t, value(t)] for t in times[:-steps]]})
    for at in times[-steps:]:
        assert daemon.points({"series": series, "points": [[at, value(at)]]}).status == 200
        time.sleep(0.25 * SLOWNESS)
    deadline = time.monotonic() + 20 * SLOWNESS
    while vintages(daemon, series) < steps // 4 and time.monotonic() < deadline:
        time.sleep(0.1)
    return times[-steps:]


def forecast(daemon, series, more=""):
    answer = daemon.get(f"/api/v1/forecast?series={quote(series)}{more}")
    assert answer.status == 200, answer
    return answer.json["forecasts"][0]


def test_what_was_said_is_recalled_and_scored_and_survives():
    daemon = Daemon(*SETTINGS).start()
    series = 'boiler.temp{site="a"}'
    try:
        serve_for(daemon, "boiler.temp", 24)
        times = serve_for(daemon, "room.temp", 24)
        assert daemon.points({"series": "boiler.temp", "labels": {"site": "a"},
                              "points": [[t, value(t)] for t in times]}).status == 200
        scored = daemon.get("/api/v1/accuracy?series=boiler.temp&by=horizon&window=7d").json
        one = scored["series"][0]
        assert one["series"] == "boiler.temp" and one["step_ms"] == STEP, one
        assert one["vintages"] >= 6 and one["count"] > 30, one
        assert one["champion"] is None, "no model has served"
        assert one["baseline_name"] in ("seasonal_naive", "last_value"), one
        for column in (one["issued"], one["baseline"]):
            assert set(column) == FIGURES, column
            assert all(number is None or math.isfinite(number) for number in column.values())
            assert 0 <= column["coverage80"] <= column["coverage95"] <= 1
        rows = one["by_horizon"]
        assert [row["steps"] for row in rows] == [[1, 4], [5, 8], [9, 12]], rows
        assert sum(row["count"] for row in rows) == one["count"] == scored["pooled"]["count"]
        both = daemon.get("/api/v1/accuracy?series=" + quote('{__name__=~"boiler.temp|room.temp"}')).json
        assert len(both["series"]) == 3, both
        assert both["pooled"]["count"] == sum(item["count"] for item in both["series"])

        # All its points came at once, so nothing has arrived after an issue: nothing is made up.
        fresh = next(item for item in both["series"] if item["series"] == series)
        assert fresh["champion"] is None and fresh["issued"] is None and fresh["count"] == 0, fresh

        said = forecast(daemon, "room.temp", "&quantiles=0.1,0.5,0.9&at=now")
        assert said["step_ms"] == STEP and len(said["mean"]) == HORIZON
        assert said["timestamps"][0] == said["timestamps"][1] - STEP
        for low, middle, high in zip(*(said["quantiles"][q] for q in ("0.1", "0.5", "0.9"))):
            assert low <= middle <= high
        # On a slow machine the group's first model may be there by now.
        baselines = ("seasonal_naive", "damped_trend", "seasonal_drift", "drift", "last_value")
        assert (said["model"] is None) == (said["served_by"] in baselines), said
        again = forecast(daemon, "room.temp", f"&quantiles=0.1,0.5,0.9&at={now_ms() - 1}")
        assert again["issued_at"] == said["issued_at"]

        before = daemon.get("/api/v1/accuracy?series=room.temp").json
        assert daemon.stop() == 0
        code, out, err = daemon.command("check")
        assert code == 0, (out, err)
        daemon.start()
        assert daemon.get("/api/v1/accuracy?series=room.temp").json["pooled"] == before["pooled"]
        kept = forecast(daemon, "room.temp", f"&quantiles=0.1,0.5,0.9&at={quote(said['issued_at'])}")
        assert (kept["origin"], kept["mean"]) == (said["origin"], said["mean"])
    finally:
        daemon.remove()


def test_where_nothing_was_kept(daemon):
    daemon.points({"series": "quiet", "points": [[now_ms() // STEP * STEP - i * STEP, i % 5] for i in range(50)]})
    for query, status, code, param in (
            ("forecast?series=quiet&at=2020-01-01T00:00:00Z", 404, "no_vintage", "at"),
            ("forecast?series=quiet&at=2099-01-01T00:00:00Z", 400, "bad_parameter", "at"),
            ("forecast?series=quiet&at=noon", 400, "bad_parameter", "at"),
            ("accuracy", 400, "missing_parameter", "series"),
            ("accuracy?series=quiet&by=moon", 400, "bad_parameter", "by"),
            ("accuracy?series=quiet&window=0s", 400, "bad_parameter", "window"),
            ("accuracy?series=quiet&window=1000d", 400, "bad_parameter", "window"),
            ("accuracy?series=quiet&steps=3", 400, "unknown_parameter", "steps"),
            ("accuracy?series=nobody", 404, "unknown_series", "series"),
            ("accuracy?series=quiet&window=1d&window=2d", 400, "repeated_parameter", "window")):
        answer = daemon.get("/api/v1/" + query)
        assert answer.status == status, (query, answer)
        assert answer.type == "application/problem+json", answer
        assert (answer.json["code"], answer.json["param"]) == (code, param), (query, answer)
        assert answer.json["hint"], (query, answer)
    assert daemon.request("POST", "/api/v1/accuracy").status == 405
    answer = daemon.post_json("/api/v1/forecast", {"series": "quiet", "at": "2020-01-01T00:00:00Z"})
    assert answer.status == 404 and answer.json["code"] == "no_vintage", answer


def test_switched_off_nothing_is_kept():
    daemon = Daemon(*SETTINGS, "forecast.vintages=0s").start()
    try:
        end = now_ms() // STEP * STEP
        for i in range(30)[::-1]:
            daemon.points({"series": "off", "points": [[end - i * STEP, value(end - i * STEP)]]})
        time.sleep(1)
        assert vintages(daemon, "off") == 0
        assert daemon.get("/api/v1/forecast?series=off&at=now").status == 404
        assert forecast(daemon, "off")["calibration"] is None
    finally:
        daemon.remove()
