"""POST /v2/forecast as Nixtla's client sends it, and what the client asks before.

SPDX-License-Identifier: Apache-2.0

The bodies have the members that versions 0.6 to 0.9 of the client send.
"""
import gzip
import json
import math
import random

from daemon import JSON

SETTINGS = ["train.every=365d"]


def wave(count, period, level=100.0, seed=1):
    chance = random.Random(seed)
    return [round(level + 10 * math.sin(2 * math.pi * i / period) + chance.gauss(0, 0.5), 4) for i in range(count)]


def body(values, sizes=None, h=12, freq="h", level=None, **more):
    return {"series": {"y": values, "sizes": sizes or [len(values)], "X": None, "X_future": None},
            "model": "timegpt-1", "h": h, "freq": freq, "clean_ex_first": True, "level": level, "finetune_steps": 0,
            "finetune_depth": 1, "finetune_loss": "default", "finetuned_model_id": None,
            "feature_contributions": False, "multivariate": False, **more}


def ask(daemon, value):
    answer = daemon.post_json("/v2/forecast", value)
    assert answer.status == 200, answer
    return answer.json


def test_a_season_goes_on(daemon):
    values = wave(24 * 14, 24)
    said = ask(daemon, body(values, h=24, level=[80, 95.0]))
    assert set(said) == {"input_tokens", "output_tokens", "finetune_tokens", "mean", "intervals", "weights_x",
                         "feature_contributions"}, said.keys()
    assert said["input_tokens"] == len(values) and said["output_tokens"] == 24 and said["weights_x"] is None
    assert set(said["intervals"]) == {"lo-80", "hi-80", "lo-95.0", "hi-95.0"}
    for h in range(24):
        truth = 100 + 10 * math.sin(2 * math.pi * (len(values) + h) / 24)
        assert abs(said["mean"][h] - truth) < 2.5, (h, said["mean"][h], truth)
        edges = [said["intervals"][name][h] for name in ("lo-95.0", "lo-80", "hi-80", "hi-95.0")]
        assert edges == sorted(edges) and edges[0] < edges[3], edges


def test_several_series_stand_one_behind_the_other(daemon):
    one, two = wave(200, 24), [5.0] * 50
    both = ask(daemon, body(one + two, [200, 50], h=6, level=[90]))
    assert len(both["mean"]) == 12 and len(both["intervals"]["lo-90"]) == 12
    assert both["mean"][:6] == ask(daemon, body(one, h=6))["mean"], "each by itself"
    assert all(abs(value - 5) < 1e-3 for value in both["mean"][6:])
    assert ask(daemon, body(one, h=6))["intervals"] is None


def test_frequencies(daemon):
    monthly = wave(60, 12)
    for freq in ("MS", "M", "ME"):
        said = ask(daemon, body(monthly, h=12, freq=freq))["mean"]
        assert max(said) - min(said) > 12, (freq, "the year is a season", said)
    for freq in ("s", "15min", "5T", "h", "2H", "D", "B", "W-SUN", "QS-OCT", "QE", "YS"):
        assert len(ask(daemon, body(monthly, h=3, freq=freq))["mean"]) == 3, freq


def test_starts_gaps_and_packed_bodies(daemon):
    values = wave(300, 24)
    for at in range(100, 110):
        values[at] = None
    wanted = body(values, h=3)
    wanted["series"]["start_datetime"] = ["2026-01-01T00:00:00"]
    assert len(ask(daemon, wanted)["mean"]) == 3
    packed = daemon.request("POST", "/v2/forecast", gzip.compress(json.dumps(wanted).encode()),
                            {**JSON, "Content-Encoding": "gzip"})
    assert packed.status == 200 and len(packed.json["mean"]) == 3, packed
    assert ask(daemon, {**wanted, "something_new": {"deep": [1, {"x": None}]}}), "what a later client adds is passed over"
    long = body(wave(200000, 24), h=1)
    assert len(json.dumps(long)) > 1 << 20 and len(ask(daemon, long)["mean"]) == 1


def test_nothing_is_stored(daemon):
    before = daemon.get("/api/v1/status").json
    ask(daemon, body(wave(100, 24)))
    after = daemon.get("/api/v1/status").json
    assert before["series"] == after["series"] and before["points"] == after["points"]


def test_what_the_client_asks_first(daemon):
    key = daemon.get("/validate_api_key", Authorization="Bearer nothing")
    assert key.status == 200 and key.json["message"] == "success" and key.json["detail"], key
    params = daemon.get("/model_params?model=timegpt-1&freq=D").json["detail"]
    assert params["input_size"] >= 1000 and params["horizon"] == 48, params
    assert daemon.get("/model_params?model=timegpt-1&freq=fortnight").status == 400


def test_refusals(daemon):
    good = body(wave(50, 24))

    def changed(**more):
        return {**good, **more}

    def series(**more):
        return {**good, "series": {**good["series"], **more}}

    for value, status, code, param in (
            (changed(h=0), 400, "bad_field", "h"), (changed(h=1.5), 400, "bad_field", "h"),
            (changed(h=5000), 400, "bad_field", "h"), (changed(freq="x"), 400, "bad_field", "freq"),
            (changed(freq=7), 400, "bad_field", "freq"), (changed(level=[0]), 400, "bad_field", "level"),
            (changed(level=[100]), 400, "bad_field", "level"), (changed(level=80), 400, "bad_field", "level"),
            (changed(finetuned_model_id="mine"), 400, "not_supported", "finetuned_model_id"),
            (changed(feature_contributions=True), 400, "not_supported", "feature_contributions"),
            (series(X=[[1.0] * 50]), 400, "not_supported", "series.X"),
            (series(X_future=[[1.0] * 12]), 400, "not_supported", "series.X_future"),
            (series(sizes=[49]), 400, "bad_field", "series.sizes"),
            (series(sizes=[0, 50]), 400, "bad_field", "series.sizes"),
            (series(y=["a"]), 400, "bad_field", "series.y"), (series(y=[1e38] * 50), 400, "bad_field", "series.y"),
            (series(start_datetime=["soon"]), 400, "bad_field", "series.start_datetime"),
            (series(start_datetime=["2026-01-01"] * 2), 400, "bad_field", "series.start_datetime"),
            (series(y=[1.0], sizes=[1]), 422, "insufficient_history", "series"),
            ({"h": 1, "freq": "D"}, 400, "missing_field", "series.sizes"),
            ({"series": good["series"], "freq": "D"}, 400, "missing_field", "h"),
            ({"series": good["series"], "h": 1}, 400, "missing_field", "freq"),
            ([], 400, "bad_field", "body")):
        answer = daemon.post_json("/v2/forecast", value)
        assert answer.status == status and answer.json["code"] == code and answer.json["param"] == param, answer
    for text in (b"", b"{", b'{"series":{"y":[1,2', b'{"h":1}x', b'{"series":{"y":[NaN]}}'):
        answer = daemon.request("POST", "/v2/forecast", text, JSON)
        assert answer.status == 400 and answer.json["code"] == "bad_json", (text, answer)
