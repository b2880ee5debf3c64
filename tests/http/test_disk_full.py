"""A disk that is really full: a tmpfs of 24 MiB, where it may be mounted (root); else a word that it was left out.

SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import random
import subprocess
import tempfile
import time

from daemon import JSON, SLOWNESS, Daemon, LeftOut

SERIES = 8


def fill(daemon, first):
    """Sends noise until a request is refused; returns the refusal and what was acknowledged, by series."""
    rng = random.Random(first)
    acknowledged = 0
    for at in range(first, first + 4_000_000, 5_000):
        series = at // 5_000 % SERIES
        body = json.dumps({"series": f"full.{series}",
                           "points": [[at * 1000 + i, rng.random()] for i in range(5_000)]})
        answer = daemon.request("POST", "/api/v1/points", body, JSON)
        if answer.status != 200:
            return answer, acknowledged
        acknowledged += 5_000
    raise AssertionError("the disk never became full")


def accepts(daemon):
    return daemon.request("POST", "/api/v1/points", json.dumps({"series": "full.0", "value": 1}), JSON).status == 200


def full_and_back(daemon):
    answer, acknowledged = fill(daemon, 1_700_000_000)
    while True:  # the log was cut back and there was room once more: until there is none
        again, more = fill(daemon, 1_700_000_000 + acknowledged)
        acknowledged += more
        if more == 0:
            break
    for refusal in (answer, again):
        assert refusal.status == 503 and int(refusal.headers["retry-after"]) >= 1, refusal
        assert refusal.json["code"] == "storage_unavailable", refusal
    assert acknowledged > 100_000, acknowledged
    assert daemon.get("/readyz").status == 503
    assert "forecastd_storage_full 1" in daemon.get("/metrics").text
    assert daemon.get("/api/v1/status").json["writable"] is False
    # Reading and forecasting go on, and nothing acknowledged is missing.
    stored = sum(daemon.get(f"/api/v1/series/full.{i}").json["points"] for i in range(SERIES))
    assert stored == acknowledged, (stored, acknowledged)
    assert daemon.get("/api/v1/forecast?series=full.0").status == 200
    # Deleting works on the full disk, and makes room.
    for i in range(1, SERIES):
        answer = daemon.request("DELETE", f"/api/v1/series/full.{i}")
        assert answer.status in (200, 204), (answer, daemon.log()[-3500:])
    begin = time.monotonic()
    while not accepts(daemon):
        assert time.monotonic() - begin < 5 * SLOWNESS, "writes did not come back within 5 s"
        time.sleep(0.1)
    assert daemon.get("/readyz").status == 200


def test_a_full_disk_refuses_only_writes():
    folder = tempfile.mkdtemp(prefix="forecastd-full-")
    data = os.path.join(folder, "data")
    os.mkdir(data)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", data],
                             stderr=subprocess.DEVNULL, check=False).returncode == 0
    if not mounted:
        os.rmdir(data)
        os.rmdir(folder)
        raise LeftOut("no right to mount a tmpfs")
    daemon = Daemon("storage.reserve=4MiB", "train.every=1d", "ingest.max_series=20", folder=folder)
    try:
        daemon.start()
        full_and_back(daemon)
        assert daemon.stop() == 0, daemon.log()
        code, out, said = daemon.command("check")
        assert code == 0, f"check: {out} {said}"
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
        subprocess.run(["umount", data], check=True)
        daemon.remove()
