"""The limit of series: memory is bounded there, new series are refused, old ones go on.

SPDX-License-Identifier: Apache-2.0
"""
import json
import re

from daemon import JSON, now_ms

SERIES = 100_000  # the default of ingest.max_series
TICKS = 10
MEMORY_MB = 128  # stated in docs/figures.md: index 28, tails 24, live answers 32, the rest
BATCH = 10_000


def peak_mb(daemon):
    with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmHWM:\s+(\d+) kB", file.read()).group(1)) * 1024 / 1e6


def test_memory_at_the_limit_of_series(daemon):
    begin = now_ms() // 60000 * 60000 - TICKS * 60000
    for tick in range(TICKS):
        for first in range(0, SERIES, BATCH):
            body = json.dumps([{"series": "limit.value", "labels": {"sensor": f"{i:06d}"},
                                "timestamp": begin + tick * 60000, "value": tick + i % 97 / 10}
                               for i in range(first, first + BATCH)])
            for _ in range(200):
                answer = daemon.request("POST", "/api/v1/points", body, JSON)
                if answer.status != 503:
                    break
            assert answer.status == 200 and answer.json["accepted"] == BATCH, answer
    assert daemon.get("/api/v1/status").json["series"] == SERIES
    for prefix in range(10):  # answers in memory count too
        answer = daemon.get("/api/v1/forecast?steps=48&series=limit.value%7Bsensor%3D~%22"
                            f"00{prefix}[0-4]..%22%7D")
        assert answer.status == 200, answer
    assert peak_mb(daemon) <= MEMORY_MB, peak_mb(daemon)

    refused = daemon.points([{"series": "one.too.many", "timestamp": begin, "value": 1},
                             {"series": "limit.value", "labels": {"sensor": "000001"}, "timestamp": now_ms(), "value": 2}])
    assert refused.status == 422, refused
    assert refused.json["accepted"] == 1 and refused.json["errors"][0]["code"] == "series_limit", refused.json


test_memory_at_the_limit_of_series.slow = True
