"""Prometheus remote write 1.0 and 2.0: what is stored, what is said, and what its senders rely on.

SPDX-License-Identifier: Apache-2.0
"""
import glob
import http.client
import json
import os
import random
import signal
import time

from daemon import Daemon, JSON, now_ms, quote
from remote_write import (HEADERS_1, HEADERS_2, STALE, TYPE_1, TYPE_2, Symbols, field, request_1, request_2, series_1,
                          series_2, snappy, varint)
from zstd_frame import bomb, zstd

SETTINGS = ("ingest.max_body=1MB",)
BASE = (now_ms() // 15000 - 200) * 15000
WRITTEN = "x-prometheus-remote-write-%s-written"


def write(daemon, message, headers=None):
    return daemon.request("POST", "/api/v1/write", snappy(message), headers or HEADERS_1)


def stored(daemon, series):
    answer = daemon.get(f"/api/v1/series/{quote(series)}/points?limit=10000")
    assert answer.status in (200, 404), answer
    return answer.json["points"] if answer.status == 200 else None


def written(answer):
    return tuple(int(answer.headers[WRITTEN % kind]) for kind in ("samples", "histograms", "exemplars"))


def test_1_stores_and_says_204(daemon):
    message = request_1(series_1("up", {"job": "node", "instance": "a:9100"}, [(BASE, 1), (BASE + 15000, 0)]),
                        series_1("load1", {"instance": "a:9100"}, [(BASE, 0.25)]))
    for _ in range(2):  # sent again, it is the same; and its names are known by then
        answer = write(daemon, message)
        assert answer.status == 204 and answer.body == b"", answer
        assert WRITTEN % "samples" not in answer.headers
        assert stored(daemon, 'up{instance="a:9100",job="node"}') == [[BASE, 1], [BASE + 15000, 0]]
        assert stored(daemon, 'load1{instance="a:9100"}') == [[BASE, 0.25]]


def test_2_stores_and_says_what_was_written(daemon):
    for turn, (packed, last) in enumerate(((True, False), (False, False), (True, True))):
        symbols = Symbols()
        message = request_2(symbols,
                            series_2(symbols, "second", {"turn": str(turn)}, [(BASE, 1.5), (BASE + 15000, -3)],
                                     packed=packed),
                            series_2(symbols, "other", {"turn": str(turn)}, [(BASE, 7)]), symbols_last=last)
        answer = write(daemon, message, HEADERS_2)
        assert answer.status == 204 and written(answer) == (3, 0, 0), (answer, answer.headers)
        assert stored(daemon, f'second{{turn="{turn}"}}') == [[BASE, 1.5], [BASE + 15000, -3]]


def test_labels_in_any_order_and_names_in_utf8(daemon):
    labels = [("b", "2"), ("__name__", "größe"), ("a", "1"), ("empty", "")]
    series = b"".join(field(1, field(1, key) + field(2, value)) for key, value in labels) \
        + field(2, field(1, 4.0) + field(2, BASE))
    assert write(daemon, request_1(series)).status == 204
    assert stored(daemon, 'größe{a="1",b="2"}') == [[BASE, 4]]
    # samples before the labels are as good
    series = field(2, field(2, BASE) + field(1, 4.5)) + field(1, field(1, "__name__") + field(2, "backwards"))
    assert write(daemon, request_1(series)).status == 204
    assert stored(daemon, "backwards") == [[BASE, 4.5]]


def test_nan_is_missing_and_the_stale_marker_ends_a_series(daemon):
    nan = float("nan")
    assert write(daemon, request_1(series_1("gone", {}, [(BASE, 1), (BASE + 15000, nan)]))).status == 204
    assert [BASE, 1] in stored(daemon, "gone")
    assert all(value is None for at, value in stored(daemon, "gone") if at > BASE)
    symbols = Symbols()
    answer = write(daemon, request_2(symbols, series_2(symbols, "gone", {}, [(BASE + 30000, STALE)])), HEADERS_2)
    assert answer.status == 204 and written(answer) == (1, 0, 0), answer
    assert all(at < BASE + 30000 for at, _ in stored(daemon, "gone"))
    info = daemon.get("/api/v1/series/gone").json
    assert info["state"] in ("stale", "warming"), info


def test_bad_samples_are_named_and_the_good_ones_kept(daemon):
    infinity, ahead = float("inf"), now_ms() + 3600000
    duplicate = field(1, field(1, "a") + field(2, "1"))
    message = request_1(series_1("partly", {"a": "1"}, [(BASE, 1), (BASE + 15000, infinity), (ahead, 2), (5, 3)]),
                        series_1("twice", {"a": "1"}, [(BASE, 1)], extra=duplicate),
                        series_1(None, {"a": "1"}, [(BASE, 1)]),
                        series_1("bad\nname", {}, [(BASE, 1)]),
                        series_1("wrong", {"ключ": "x"}, [(BASE, 1)]),
                        field(1, field(1, "__name__") + field(2, b"broken\xff")) + field(2, field(2, BASE)),
                        series_1("long", {"a": "x" * 300}, [(BASE, 1)]),
                        series_1("many", {f"l{i}": "x" for i in range(40)}, [(BASE, 1)]),
                        series_1("partly", {"a": "2"}, [(BASE, 5)]))
    answer = write(daemon, message)
    assert answer.status == 400 and answer.type == "text/plain", answer
    lines = answer.text.splitlines()
    assert lines[0].startswith("10 samples refused, all others stored"), lines
    assert 'partly{a="1"}' in lines[0] and "infinite" in lines[0], lines
    assert "ahead of now" in lines[1] and "1973" in lines[2], lines
    assert all(ord(c) >= 32 for line in lines for c in line)
    assert stored(daemon, 'partly{a="1"}') == [[BASE, 1]] and stored(daemon, 'partly{a="2"}') == [[BASE, 5]]
    # the same with names that are known by now
    answer = write(daemon, request_1(series_1("partly", {"a": "1"}, [(BASE, -infinity), (BASE + 30000, 9)])))
    assert answer.status == 400 and 'partly{a="1"}' in answer.text, answer
    assert stored(daemon, 'partly{a="1"}') == [[BASE, 1], [BASE + 30000, 9]]


def test_2_with_references_out_of_the_table(daemon):
    symbols = Symbols()
    good = series_2(symbols, "in.table", {}, [(BASE, 1)])
    for references in (b"".join(map(varint, (1, 99))), b"\x01", varint(1 << 40) + b"\x01"):
        answer = write(daemon, request_2(symbols, field(1, references) + field(2, field(2, BASE)), good), HEADERS_2)
        assert answer.status == 400 and written(answer) == (1, 0, 0) and "label" in answer.text, answer
    first_is_not_empty = field(4, "x") + field(5, b"")
    assert write(daemon, first_is_not_empty, HEADERS_2).status == 400


def test_histograms_and_exemplars(daemon):
    extra = field(3, field(2, 1.0)) + field(4, field(1, 3))  # 1.0: an exemplar, a histogram
    assert write(daemon, request_1(series_1("with.more", {}, [(BASE, 1)], extra=extra),
                                   series_1("only.more", {}, [], extra=extra),
                                   extra=field(3, field(1, 1) + field(2, "with.more")))).status == 204
    assert stored(daemon, "with.more") == [[BASE, 1]] and stored(daemon, "only.more") is None
    symbols = Symbols()
    exemplar, histogram = field(4, field(2, 1.0)), field(3, field(1, 3))
    answer = write(daemon, request_2(symbols, series_2(symbols, "exemplars", {}, [(BASE, 1)], exemplar)), HEADERS_2)
    assert answer.status == 204 and written(answer) == (1, 0, 0), answer
    answer = write(daemon, request_2(symbols, series_2(symbols, "histograms", {}, [(BASE, 1)], histogram)), HEADERS_2)
    assert answer.status == 400 and written(answer) == (1, 0, 0) and "histogram" in answer.text, answer
    metrics = daemon.get("/metrics").text
    assert 'remote_write_skipped_total{kind="exemplar"} 3' in metrics, metrics
    assert 'remote_write_skipped_total{kind="histogram"} 3' in metrics, metrics


def test_types_and_encodings(daemon):
    body = snappy(request_1(series_1("typed", {}, [(BASE, 1)])))
    for content_type in (TYPE_1, None, "application/x-protobuf; proto=prometheus.WriteRequest", "application/X-Protobuf",
                         'application/x-protobuf;charset=x; proto="prometheus.WriteRequest"'):
        headers = {"Content-Encoding": "snappy"} | ({"Content-Type": content_type} if content_type else {})
        assert daemon.request("POST", "/api/v1/write", body, headers).status == 204, content_type
    assert daemon.request("POST", "/api/v1/write", body, {"Content-Type": TYPE_1}).status == 204
    for content_type in ("application/json", "application/x-protobuf;proto=io.prometheus.write.v3.Request",
                         "application/x-protobuf;proto=", "application/x-protobuffer", "text/plain"):
        answer = daemon.request("POST", "/api/v1/write", body, {**HEADERS_1, "Content-Type": content_type})
        assert answer.status == 415 and answer.json["code"] == "unsupported_media_type", (content_type, answer)
    for encoding in ("gzip", "br", "snappy, snappy", "zstd, snappy"):
        answer = daemon.request("POST", "/api/v1/write", body, {**HEADERS_1, "Content-Encoding": encoding})
        assert answer.status == 415 and answer.json["code"] == "unsupported_encoding", (encoding, answer)
        assert answer.json["hint"] == "Send a snappy block, as Prometheus does, or zstd.", answer
    for method in ("GET", "PUT"):
        assert daemon.request(method, "/api/v1/write", None, {}).status == 405
    points = daemon.request("POST", "/api/v1/points", body, {**JSON, "Content-Encoding": "snappy"})
    assert points.status == 415, points


def test_zstd_as_vmagent_sends_it(daemon):
    answer = daemon.request("POST", "/api/v1/write?get_vm_proto_version=1", b"", {})
    assert answer.status == 200 and answer.body == b"1", answer
    headers = {**HEADERS_1, "Content-Encoding": "zstd"}
    message = request_1(series_1("dense", {"a": "1"}, [(BASE, 1), (BASE + 15000, 2)]))
    assert daemon.request("POST", "/api/v1/write", zstd(message), headers).status == 204
    assert stored(daemon, 'dense{a="1"}') == [[BASE, 1], [BASE + 15000, 2]]
    for body in (b"", zstd(message)[:-1], snappy(message), zstd(message) + b"x", zstd(message, window_log=24)):
        answer = daemon.request("POST", "/api/v1/write", body, headers)
        assert answer.status == 400 and answer.json["code"] == "bad_zstd", answer
    for size in (2 << 20, 256 << 20):
        answer = daemon.request("POST", "/api/v1/write", bomb(size), headers)
        assert answer.status == 413 and answer.json["code"] == "body_too_large", answer


def test_metadata_makes_a_counter():
    daemon = Daemon().start()
    try:
        def kind(series):
            return daemon.get(f"/api/v1/series/{quote(series)}").json["kind"]

        def metadata(family, number):
            return field(3, field(1, number) + field(2, family) + field(4, "a help text"))

        # points that rise and fall: by their shape none of them is a counter
        rows = [(BASE + i * 15000, value) for i, value in enumerate((5, 9, 2, 8, 1))]
        names = ("odd_counter", "odd_total", "took_bucket", "plain")
        assert write(daemon, request_1(*(series_1(name, {}, rows) for name in names))).status == 204
        assert [kind(name) for name in names] == ["gauge"] * 4
        told = metadata("odd_counter", 1) + metadata("odd", 1) + metadata("took", 3) + metadata("unknown", 0)
        assert write(daemon, told).status == 204
        assert [kind(name) for name in names] == ["counter", "counter", "counter", "gauge"]
        daemon.signal(signal.SIGKILL)
        daemon.process.wait(30)
        daemon.start()
        assert [kind(name) for name in names] == ["counter", "counter", "counter", "gauge"]
        types = daemon.get("/prometheus/api/v1/metadata").json["data"]
        assert types["odd_counter"][0]["type"] == "counter" and types["plain"][0]["type"] == "gauge", types
        symbols = Symbols()  # the helper's series of 2.0 say that they are gauges
        assert write(daemon, request_2(symbols, series_2(symbols, "odd_counter", {}, rows)), HEADERS_2).status == 204
        assert kind("odd_counter") == "gauge"
        for broken in (field(3, b"\xff"), field(3, field(1, "x")), field(3, field(2, 7)), field(3, 1)):
            answer = write(daemon, broken)
            assert answer.status == 400 and answer.json["code"] == "bad_protobuf", answer
    finally:
        daemon.remove()


def test_damaged_bodies_store_nothing(daemon):
    message = request_1(series_1("damaged", {"a": "1"}, [(BASE, 1)]))
    whole = snappy(message)
    for body in (b"", b"\xff" * 20, whole[:-1], b"\xff\x06\x00\x00sNaPpY", varint(900000) + whole, b"plain"):
        answer = daemon.request("POST", "/api/v1/write", body, HEADERS_1)
        assert answer.status == 400 and answer.json["code"] == "bad_snappy", (body, answer)
    answer = daemon.request("POST", "/api/v1/write", varint(80 << 20) + b"\x00" * 1000, HEADERS_1)
    assert answer.status == 413 and answer.json["code"] == "body_too_large", answer
    for cut in range(1, len(message)):
        answer = write(daemon, message[:cut])
        assert answer.status == 400 and answer.json["code"] == "bad_protobuf", (cut, answer)
    assert stored(daemon, 'damaged{a="1"}') is None
    assert write(daemon, b"").status == 204  # an empty message is one
    chance = random.Random(7)
    for _ in range(300):
        mutated = bytearray(message)
        mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        assert write(daemon, bytes(mutated), chance.choice((HEADERS_1, HEADERS_2))).status in (204, 400)


def test_limits():
    daemon = Daemon("ingest.max_series=3", "ingest.max_body=1MB").start()
    try:
        message = request_1(*(series_1("limited", {"n": str(n)}, [(BASE, n)]) for n in range(5)))
        answer = write(daemon, message)
        assert answer.status == 400 and answer.text.startswith("2 samples refused"), answer
        assert stored(daemon, 'limited{n="2"}') == [[BASE, 2]]
        answer = write(daemon, request_1(series_1("limited", {"n": "1"}, [(BASE + 15000, 9)])))
        assert answer.status == 204, answer  # those that are there go on
        assert daemon.request("POST", "/api/v1/write", bytes(2 << 20), HEADERS_1).status == 413
    finally:
        daemon.remove()


def test_acknowledged_is_on_disk():
    daemon = Daemon().start()
    try:
        for n in range(20):
            assert write(daemon, request_1(series_1("kept", {}, [(BASE + 15000 * n, n)]))).status == 204
        daemon.process.kill()
        daemon.process.wait()
        daemon.start()
        assert stored(daemon, "kept") == [[BASE + 15000 * n, n] for n in range(20)]
    finally:
        daemon.remove()


def rate(daemon, bodies, path, headers, good):
    """Points a second and the daemon's processor microseconds a point: bodies of 1,000 points, one connection."""
    link = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    used, begin = processor_seconds(daemon), time.perf_counter()
    for body in bodies:
        link.request("POST", path, body, headers)
        answer = link.getresponse()
        answer.read()
        assert answer.status == good, answer.status
    seconds = time.perf_counter() - begin
    used = processor_seconds(daemon) - used
    link.close()
    points = 1000 * len(bodies)
    return points / seconds, used / points * 1e6


def processor_seconds(daemon):
    """Of all threads of the daemon, to the nanosecond."""
    total = 0
    for path in glob.glob(f"/proc/{daemon.process.pid}/task/*/schedstat"):
        with open(path, encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def test_speed_beside_json():
    """Prints the rates, best of three within one run; the compaction of what came before may fall into any of them,
    hence the half above JSON."""
    names = [("node_cpu_seconds_total", {"cpu": str(n % 64), "instance": f"host-{n // 64}.example:9100",
                                         "job": "node", "mode": "idle"}) for n in range(1000)]
    turns = 15 if not os.environ.get("HTTP_SHORT") else 5
    bodies = {"json": [], "1.0": [], "2.0": []}
    for turn in range(turns):
        at = BASE + 15000 * turn
        bodies["json"].append(json.dumps([{"series": name, "labels": labels, "timestamp": at, "value": turn}
                                          for name, labels in names], separators=(",", ":")).encode())
        bodies["1.0"].append(snappy(request_1(*(series_1(name, labels, [(at, turn)]) for name, labels in names))))
        symbols = Symbols()
        series = [series_2(symbols, name, labels, [(at, turn)]) for name, labels in names]
        bodies["2.0"].append(snappy(request_2(symbols, *series)))
    routes = {"json": ("/api/v1/points", JSON, 200), "1.0": ("/api/v1/write", HEADERS_1, 204),
              "2.0": ("/api/v1/write", HEADERS_2, 204)}
    daemon = Daemon("train.every=365d").start()
    best = {form: (0, 1e9) for form in bodies}
    try:
        for _ in range(3):
            for form, sent in bodies.items():
                points, micros = rate(daemon, sent, *routes[form])
                best[form] = (max(best[form][0], points), min(best[form][1], micros))
    finally:
        daemon.remove()
    print("        " + ", ".join(f"{form}: {points:,.0f} points/s, {micros:.2f} us of processor a point"
                                 for form, (points, micros) in best.items()))
    assert best["1.0"][1] <= best["json"][1] * 1.5, best


test_speed_beside_json.slow = True
