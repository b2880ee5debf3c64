"""Training as a job: asked for, followed, cancelled; then a model that serves and survives.

SPDX-License-Identifier: Apache-2.0
"""
import math
import re
import time

from daemon import SLOWNESS, Daemon, now_ms, quote

SETTINGS = ["train.seconds=2s", "train.every=1h"]
HOUR = 3600000


def feed(daemon, count=1200):
    start = (now_ms() // HOUR - count) * HOUR
    for k, zone in enumerate("ab"):
        points = [[start + i * HOUR, round(100 + 30 * math.sin(2 * math.pi * (i + 3 * k) / 24)
                                           + (i * 7919 % 13) / 4, 2)] for i in range(count)]
        assert daemon.points({"series": "load", "labels": {"zone": zone}, "points": points}).status == 200


def follow(daemon, job, seconds):
    """The job once it has ended; progress never goes back."""
    deadline = time.monotonic() + seconds * SLOWNESS
    progress = 0
    while time.monotonic() < deadline:
        answer = daemon.get(f"/api/v1/jobs/{job}")
        assert answer.status == 200, answer
        body = answer.json
        assert body["id"] == job and body["kind"] == "train"
        assert body["state"] in ("queued", "running", "done", "failed", "cancelled"), body
        assert 0 <= body["progress"] <= 1 and body["progress"] >= progress - 1e-9, (progress, body)
        progress = body["progress"]
        if body["state"] not in ("queued", "running"):
            return body
        time.sleep(0.05)
    raise AssertionError(f"the job did not end: {body}")


def train(daemon, body):
    answer = daemon.post_json("/api/v1/train", body)
    assert answer.status == 202, answer
    job = answer.json
    assert answer.headers["location"] == f"/api/v1/jobs/{job['id']}", answer.headers
    return job["id"]


def test_train_serves_and_survives_a_restart():
    daemon = Daemon(*SETTINGS).start()
    try:
        feed(daemon)
        job = train(daemon, {"seconds": 3 * SLOWNESS, "seed": 7})
        ended = follow(daemon, job, 60 * SLOWNESS)
        assert ended["state"] == "done", ended
        assert ended["error"] is None and ended["step"] > 0, ended
        assert any(one["id"] == job for one in daemon.get("/api/v1/jobs").json["jobs"])
        shown = daemon.get("/metrics").text
        trainings = {result: int(count) for result, count in re.findall(
            r'^forecastd_trainings_total\{result="(\w+)"\} (\d+)$', shown, re.M)}
        assert set(trainings) == {"promoted", "kept_back", "failed"} and not trainings["failed"], trainings
        assert trainings["promoted"] + trainings["kept_back"] >= 1, trainings

        models = daemon.get("/api/v1/models").json["models"]
        assert models, "a training leaves a model, promoted or kept for inspection"
        model = daemon.get(f"/api/v1/models/{models[0]['id']}")
        assert model.status == 200 and model.json["id"] == models[0]["id"], model
        sampling = model.json["sampling"]
        assert sampling["series"] == sampling["series_total"] >= 1, sampling
        assert sampling["sampled"] == (sampling["windows"] < sampling["windows_total"]), sampling
        trainer = daemon.get("/api/v1/status").json["trainer"]
        assert trainer["last_series"] == sampling["series"], trainer
        assert trainer["stuck"] is False, trainer
        assert trainer["last_windows"] == sampling["windows"] > 0, trainer
        assert trainer["last_sampled"] == sampling["sampled"], trainer
        assert daemon.get("/api/v1/models/none-such").status == 404
        assert "nan" not in str(ended["result"]) + models[0]["verdict"], (ended, models)
        if models[0]["champion"]:
            again = daemon.post_json(f"/api/v1/models/{models[0]['id']}/promote", {})
            assert again.status == 409 and again.json["code"] == "not_promotable", again

        path = "/api/v1/forecast?series=" + quote('load{zone="a"}')
        [one] = daemon.get(path).json["forecasts"]
        served_before = one["served_by"]
        if served_before == "logsparse":
            assert one["state"] == "learned" and one["model"]["id"] == models[0]["id"], one
            assert one["fallback_reason"] is None
        else:
            assert one["fallback_reason"], one

        assert daemon.stop() == 0
        daemon.start()
        [one] = daemon.get(path).json["forecasts"]
        assert one["served_by"] == served_before, "the same server after a restart"
        assert daemon.get("/api/v1/models").json["models"][0]["id"] == models[0]["id"]
    finally:
        daemon.remove()


def promoted(daemon, seed):
    """Trains a small model and lets it serve, whatever the gate says; returns its id."""
    ended = follow(daemon, train(daemon, {"steps": 20, "seed": seed}), 60)
    assert ended["state"] == "done", ended
    [result] = ended["result"]["models"]
    model = daemon.get(f"/api/v1/models/{result['id']}").json
    assert model["champion"] == result["promoted"] == (model["role"] == "champion"), (result, model)
    assert model["verdict"] == result["reason"] == model["decisions"][-1]["reason"], (result, model)
    if not model["champion"]:
        answer = daemon.post_json(f"/api/v1/models/{model['id']}/promote", {})
        assert answer.status == 200 and answer.json == {"champion": model["id"]}, answer
        assert decision(daemon, model["id"]) == ("champion", "request", "promoted by request")
    return model["id"]


def decision(daemon, model):
    """The last one about a model: its standing, who decided, and why."""
    record = daemon.get(f"/api/v1/models/{model}").json
    last = record["decisions"][-1]
    assert record["verdict"] == last["reason"] and record["standing"] == last["standing"], record
    assert (record["role"] == "champion") == (last["standing"] == "champion"), record
    return last["standing"], last["by"], last["reason"]


def test_another_model_serves_without_a_restart():
    daemon = Daemon("train.every=365d", "forecast.horizon=24", "model.members=1", "model.width=16", "model.layers=1",
                    "model.inner=32").start()
    path = "/api/v1/forecast?series=" + quote('load{zone="a"}')

    def served(model):
        """What is answered now, twice the same: worked out, and from memory."""
        [one] = daemon.get(path).json["forecasts"]
        assert (one["state"], one["served_by"], one["fallback_reason"]) == ("learned", "logsparse", None), one
        assert one["model"]["id"] == model, (model, one)
        [again] = daemon.get(path).json["forecasts"]
        assert again["model"]["id"] == model and again["mean"] == one["mean"], (one, again)
        return one["mean"]

    try:
        feed(daemon, 600)
        process = daemon.process.pid
        for _ in range(2):
            [one] = daemon.get(path).json["forecasts"]
            assert (one["state"], one["model"], one["fallback_reason"]) == ("baseline", None, "no_model"), one
            assert one["served_by"] != "logsparse", one
        assert daemon.post_json("/api/v1/models/rollback", {}).status == 409

        first = promoted(daemon, 1)
        of_first = served(first)
        assert of_first != one["mean"]
        second = promoted(daemon, 2)
        assert second != first
        of_second = served(second)
        assert of_second != of_first
        assert daemon.get(f"/api/v1/models/{first}").json["role"] == "previous"

        answer = daemon.post_json("/api/v1/models/rollback", {})
        assert answer.status == 200 and answer.json == {"champion": first}, answer
        assert served(first) == of_first
        assert decision(daemon, first) == ("champion", "request", f"serves again: {second} was rolled back")
        assert decision(daemon, second) == ("kept_back", "request", "rolled back by request")
        again = daemon.post_json("/api/v1/models/rollback", {})
        assert again.status == 409 and again.json["code"] == "no_previous_model", again

        answer = daemon.post_json(f"/api/v1/models/{second}/promote", {})
        assert answer.status == 200 and answer.json == {"champion": second}, answer
        assert served(second) == of_second
        assert daemon.process.pid == process and daemon.process.poll() is None
    finally:
        daemon.remove()


def test_cancel(daemon):
    feed(daemon)
    for one in daemon.get("/api/v1/jobs").json["jobs"]:
        if one["state"] in ("queued", "running"):
            daemon.request("DELETE", f"/api/v1/jobs/{one['id']}")
    job = train(daemon, {"seconds": 60})
    time.sleep(0.5)
    begin = time.monotonic()
    answer = daemon.request("DELETE", f"/api/v1/jobs/{job}")
    assert answer.status in (200, 202, 204), answer
    assert follow(daemon, job, 10)["state"] == "cancelled"
    assert time.monotonic() - begin < 5 * SLOWNESS


def test_a_second_one_in_the_queue_is_a_conflict(daemon):
    states = {"queued"}
    while "queued" in states and "running" not in states:  # whether of another test or of this one
        daemon.post_json("/api/v1/train", {"seconds": 20})
        states = {one["state"] for one in daemon.get("/api/v1/jobs").json["jobs"]}
    daemon.post_json("/api/v1/train", {"seconds": 20})  # beside the running one: queued, if none was
    answer = daemon.post_json("/api/v1/train", {"seconds": 20})
    assert answer.status == 409 and answer.json["code"] == "job_queued", answer
    for one in daemon.get("/api/v1/jobs").json["jobs"]:
        if one["state"] in ("queued", "running"):
            daemon.request("DELETE", f"/api/v1/jobs/{one['id']}")


def test_bad_requests(daemon):
    for body in ({"seconds": 0}, {"seconds": "3"}, {"backbone": "nobody"}, {"seed": -1}, {"unknown": 1}):
        answer = daemon.post_json("/api/v1/train", body)
        assert answer.status in (400, 422), (body, answer)
    answer = daemon.post_json("/api/v1/train", {"backbone": "nobody"})
    known = [one["name"] for one in daemon.get("/api/v1/backbones").json["backbones"]]
    assert answer.status == 400 and answer.json["param"] == "backbone", answer
    assert "nobody" in answer.json["detail"] and all(name in answer.json["hint"] for name in known), answer
    assert daemon.get("/api/v1/jobs/none").status == 404
    assert daemon.request("DELETE", "/api/v1/jobs/none").status == 404


def test_backbones(daemon):
    answer = daemon.get("/api/v1/backbones")
    assert answer.status == 200, answer
    found = {one["name"]: one for one in answer.json["backbones"]}
    assert "logsparse" in found
    assert found["logsparse"]["options"], found["logsparse"]
