"""A model whose heads learned how far they look: its record says so, head by head.

SPDX-License-Identifier: Apache-2.0
"""
from test_jobs import feed, follow, train

SETTINGS = ["train.seconds=2s", "train.every=1h", "model.backbone=adaptive_span", "model.width=8",
            "model.layers=2", "model.heads=2", "model.inner=8"]


def test_record_shows_the_learned_spans(daemon):
    feed(daemon)
    job = train(daemon, {"steps": 4, "seed": 7})
    ended = follow(daemon, job, 120)
    assert ended["state"] == "done", ended
    [one] = [model for model in daemon.get("/api/v1/models").json["models"]
             if model["backbone"] == "adaptive_span"]
    record = daemon.get(f"/api/v1/models/{one['id']}").json
    assert record["members"], record
    for member in record["members"]:
        assert len(member["spans"]) == member["layers"], member
        for layer in member["spans"]:
            assert len(layer) == 2, member
            assert all(0 <= span <= member["tokens"] for span in layer), member
        assert member["span_ramp"] > 0, member
    # Every head begins with a quarter of the window.
    assert any(span != member["tokens"] / 4 for member in record["members"]
               for layer in member["spans"] for span in layer), record["members"]
