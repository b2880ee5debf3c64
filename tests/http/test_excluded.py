"""The setting "exclude": a bad day is not learned from, its points stay, and it is kept with the store.

SPDX-License-Identifier: Apache-2.0
"""
import json
import math
import os
import random
import shutil
import tempfile

from daemon import JSON, Daemon, now_ms, quote

HOUR = 3600000
COUNT = 24 * 21
SETTINGS = ["train.every=365d"]


def clean(time_ms):
    return 50 + 10 * math.sin(2 * math.pi * (time_ms // HOUR) / 24) + random.Random(time_ms).gauss(0, 1)


def span():
    """A day that ends two days ago."""
    end = (now_ms() // HOUR - 48) * HOUR
    return end - 24 * HOUR, end


def feed(daemon, series, bad):
    """Three weeks of a daily wave, 50 sigma off within `bad`."""
    last = now_ms() // HOUR * HOUR
    times = [last - i * HOUR for i in range(COUNT)][::-1]
    points = [[t, round(clean(t) + (50 if bad[0] <= t < bad[1] else 0), 6)] for t in times]
    assert daemon.points({"series": series, "points": points}).status == 200
    return points


def patch(daemon, series, spans):
    body = json.dumps({"exclude": spans})
    return daemon.request("PATCH", "/api/v1/series/" + quote(series), body, JSON)


def forecast(daemon, series):
    answer = daemon.get(f"/api/v1/forecast?series={quote(series)}&steps=24")
    assert answer.status == 200, answer
    return answer.json["forecasts"][0]


def numbers(one):
    return one["mean"] + [value for level in sorted(one["quantiles"]) for value in one["quantiles"][level]]


def is_same(one, other):
    return all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(numbers(one), numbers(other), strict=True))


def stored(daemon, series):
    return daemon.get(f"/api/v1/series/{quote(series)}/points?limit=1000").json["points"]


def excluded(daemon, series):
    return daemon.get(f"/api/v1/series/{quote(series)}").json["settings"]["exclude"]


def test_a_bad_day_is_as_if_it_were_null_and_stays():
    bad = span()
    daemon = Daemon(*SETTINGS).start()
    try:
        points = feed(daemon, "spoilt", bad)
        feed(daemon, "nulls", bad)
        assert daemon.points({"series": "nulls", "points": [[t, None] for t, _ in points if bad[0] <= t < bad[1]]}).status == 200
        spoilt, nulls = forecast(daemon, "spoilt"), forecast(daemon, "nulls")
        assert not is_same(spoilt, nulls)
        assert nulls["quality"]["missing"] == 24 and nulls["quality"]["excluded"] == 0, nulls["quality"]
        answer = patch(daemon, "spoilt", [{"from": bad[0], "to": bad[1]}])
        assert answer.status == 200, answer
        said = answer.json["settings"]["exclude"]
        assert len(said) == 1 and said[0]["from"].endswith(":00:00Z"), said
        healed = forecast(daemon, "spoilt")
        assert is_same(healed, nulls), (healed, nulls)
        assert healed["quality"]["excluded"] == 24 and healed["quality"]["missing"] == 0, healed["quality"]
        assert stored(daemon, "spoilt") == points
        assert patch(daemon, "spoilt", said).json["settings"]["exclude"] == said, "what is answered can be sent again"
        assert daemon.stop() == 0
        daemon.start()
        assert excluded(daemon, "spoilt") == said and excluded(daemon, "nulls") == []
        assert is_same(forecast(daemon, "spoilt"), nulls)
        assert stored(daemon, "spoilt") == points
        assert patch(daemon, "spoilt", []).status == 200
        assert is_same(forecast(daemon, "spoilt"), spoilt)
    finally:
        daemon.stop()
        daemon.remove()


def test_it_survives_a_kill_a_backup_and_a_restore():
    bad = span()
    daemon = Daemon(*SETTINGS).start()
    where = tempfile.mkdtemp(prefix="forecastd-excluded-")
    try:
        feed(daemon, "kept", bad)
        said = patch(daemon, "kept", [{"from": bad[0], "to": bad[1]}]).json["settings"]["exclude"]
        assert len(said) == 1, said
        healed = forecast(daemon, "kept")
        daemon.process.kill()
        daemon.process.wait()
        daemon.start()
        assert excluded(daemon, "kept") == said
        code, _, said_aloud = daemon.command("backup", os.path.join(where, "copy"))
        assert code == 0, said_aloud
        assert patch(daemon, "kept", None).json["settings"]["exclude"] == []
        restored = os.path.join(where, "other", "data")
        os.makedirs(os.path.dirname(restored))
        code, _, said_aloud = daemon.command("restore", os.path.join(where, "copy"), "--data", restored, data=False)
        assert code == 0, said_aloud
        other = Daemon(*SETTINGS, folder=os.path.join(where, "other"))
        other.data = restored
        other.start()
        try:
            assert excluded(other, "kept") == said
            assert is_same(forecast(other, "kept"), healed)
        finally:
            assert other.stop() == 0
    finally:
        daemon.stop()
        daemon.remove()
        shutil.rmtree(where, ignore_errors=True)


def test_a_span_up_to_now_is_an_outage(daemon):
    bad = (now_ms() // HOUR - 100) * HOUR, (now_ms() // HOUR + 10) * HOUR
    feed(daemon, "lesson", bad)
    assert patch(daemon, "lesson", [{"from": bad[0], "to": bad[1]}]).status == 200
    one = forecast(daemon, "lesson")
    assert max(one["mean"]) < 75, one["mean"]
    assert "outage" in (one["fallback_reason"] or ""), one


def test_refusals_say_what_is_right(daemon):
    feed(daemon, "strict", (0, 0))
    answer = patch(daemon, "strict", [{"from": "2026-01-02", "to": "2026-01-01"}])
    assert answer.status == 400 and answer.json["code"] == "bad_field", answer
    assert "\"to\" does not lie behind \"from\"" in answer.json["detail"], answer.json
    answer = patch(daemon, "strict", [{"from": i * 10, "to": i * 10 + 5} for i in range(33)])
    assert answer.status == 400 and "limit is 32" in answer.json["detail"], answer.json
    assert excluded(daemon, "strict") == []
    assert patch(daemon, "nobody", []).status == 404
