"""OpenTelemetry's metrics over HTTP: protobuf and JSON, all kinds, what is refused, and what a body may not do.

SPDX-License-Identifier: Apache-2.0
"""
import gzip
import json

from daemon import now_ms, quote
from otlp import (CUMULATIVE, DELTA, JSON_TYPE, NO_VALUE, PROTOBUF, failure, fixed, refused, request_json,
                  request_protobuf)
from remote_write import field
from zstd_frame import bomb, zstd

SETTINGS = ("ingest.max_body=1MB", "ingest.max_series=400")
BASE = (now_ms() // 15000 - 200) * 15000
ENCODINGS = (("protobuf", PROTOBUF, request_protobuf), ("json", JSON_TYPE, request_json))


def send(daemon, body, headers):
    return daemon.request("POST", "/v1/metrics", body, headers)


def both(daemon, make):
    """Sends make(word) in both encodings, the word in its names; yields word and answer."""
    for word, headers, encode in ENCODINGS:
        yield word, send(daemon, encode(make(word)), headers)


def stored(daemon, series):
    answer = daemon.get(f"/api/v1/series/{quote(series)}/points?limit=10000")
    assert answer.status in (200, 404), answer
    return answer.json["points"] if answer.status == 200 else None


def kind(daemon, series):
    return daemon.get(f"/api/v1/series/{quote(series)}").json["kind"]


def gauge(name, *values, unit="", **attributes):
    points = [{"ms": BASE + i * 15000, "value": value, "attributes": attributes} for i, value in enumerate(values)]
    return {"name": name, "unit": unit, "gauge": {"points": points}}


def test_gauges_with_resource_and_scope(daemon):
    def make(word):
        return [({"service.name": "shop", "service.namespace": word, "service.instance.id": "i-1", "host.name": "h1",
                  "process.pid": 17, "process.command_args": ["a", "b"]}, ("io.meter", "1.2", {"mode": "x"}),
                 [gauge("boiler.temp", 21.5, -3, unit="Cel", room="ä \"1\"", floor=2, ok=True, ratio=0.5)])]
    for word, answer in both(daemon, make):
        assert refused(answer) == (0, ""), answer
        assert answer.body in (b"", b"{}"), answer
        labels = (f'floor="2",host_name="h1",instance="i-1",job="{word}/shop",ok="true",otel_scope_mode="x",'
                  'otel_scope_name="io.meter",otel_scope_version="1.2",ratio="0.5",room="ä \\"1\\""')
        series = f"boiler_temp_celsius{{{labels}}}"
        assert stored(daemon, series) == [[BASE, 21.5], [BASE + 15000, -3]], daemon.get("/api/v1/series").text
        assert kind(daemon, series) == "gauge"


def test_sums_are_counters_where_they_only_rise(daemon):
    def make(word):
        def points(*values):
            return [{"ms": BASE + i * 15000, "value": value} for i, value in enumerate(values)]
        return [({"service.name": word}, None, [
            {"name": "http.requests", "unit": "{request}",
             "sum": {"points": points(5, 7), "temporality": CUMULATIVE, "monotonic": True}},
            {"name": "queue.length", "sum": {"points": points(5, -7), "temporality": CUMULATIVE}},
            {"name": "read.total", "unit": "By",
             "sum": {"points": points(3.0, 4.0), "temporality": DELTA, "monotonic": True}},
            {"name": "unsaid", "sum": {"points": points(1)}}])]
    for word, answer in both(daemon, make):
        count, text = refused(answer)
        assert count == 1 and "temporality" in text and "unsaid" in text, text
        rows = (("http_requests_total", [5, 7], "counter"), ("queue_length", [5, -7], "gauge"),
                ("read_total_bytes", [3, 4], "gauge"))
        for name, values, what in rows:
            series = f'{name}{{job="{word}"}}'
            assert [value for _, value in stored(daemon, series)] == values, series
            assert kind(daemon, series) == what, series
    # a delta sum that Prometheus would name like a counter is none
    delta = {"name": "steps.total", "sum": {"points": [{"ms": BASE, "value": 3}], "temporality": DELTA,
                                            "monotonic": True}}
    assert refused(send(daemon, request_protobuf([({}, None, [delta])]), PROTOBUF)) == (0, "")
    assert kind(daemon, "steps_total") == "gauge"


def test_kind_is_what_the_user_says_then_what_the_sender_said_and_is_kept(daemon):
    series = "settled_total"
    metric = {"name": "settled", "sum": {"points": [{"ms": BASE, "value": 3}], "temporality": CUMULATIVE,
                                         "monotonic": True}}
    body = request_protobuf([({}, None, [metric])])
    assert refused(send(daemon, body, PROTOBUF)) == (0, "") and kind(daemon, series) == "counter"
    path = f"/api/v1/series/{quote(series)}"
    assert daemon.request("PATCH", path, '{"kind":"gauge"}', JSON_TYPE).status == 200
    assert refused(send(daemon, body, PROTOBUF)) == (0, "") and kind(daemon, series) == "gauge"
    assert daemon.request("PATCH", path, '{"kind":null}', JSON_TYPE).status == 200
    daemon.stop()
    daemon.start()
    assert kind(daemon, series) == "counter"
    metadata = daemon.get("/prometheus/api/v1/metadata?metric=settled_total").json["data"]
    assert metadata["settled_total"][0]["type"] == "counter", metadata


def test_histograms_and_summaries(daemon):
    def make(word):
        point = {"ms": BASE, "count": 6, "attributes": {"path": "/"}}
        return [({"service.name": word}, None, [
            {"name": "request.duration", "unit": "s",
             "histogram": {"points": [{**point, "sum": 1.5}], "temporality": CUMULATIVE}},
            {"name": "sumless", "histogram": {"points": [point], "temporality": CUMULATIVE}},
            {"name": "delta.duration", "histogram": {"points": [{**point, "sum": 2}], "temporality": DELTA}},
            {"name": "rpc", "unit": "ms", "summary": {"points": [{**point, "sum": 9, "quantiles": {0.5: 1, 0.99: 4}}]}},
            {"name": "fine", "exponentialHistogram": {"points": [point, point], "temporality": CUMULATIVE}}])]
    before = daemon.get("/metrics").text
    for word, answer in both(daemon, make):
        count, text = refused(answer)
        assert count == 2 and "exponential histograms cannot be stored" in text, text
        labels = f'job="{word}",path="/"'
        rows = (("request_duration_seconds_count", 6, "counter"), ("request_duration_seconds_sum", 1.5, "gauge"),
                ("sumless_count", 6, "counter"), ("delta_duration_count", 6, "gauge"),
                ("delta_duration_sum", 2, "gauge"), ("rpc_milliseconds_count", 6, "counter"),
                ("rpc_milliseconds_sum", 9, "gauge"))
        for name, value, what in rows:
            assert stored(daemon, f"{name}{{{labels}}}") == [[BASE, value]], name
            assert kind(daemon, f"{name}{{{labels}}}") == what, name
        assert stored(daemon, f"sumless_sum{{{labels}}}") is None
        for level, value in (("0.5", 1), ("0.99", 4)):
            assert stored(daemon, f'rpc_milliseconds{{{labels},quantile="{level}"}}') == [[BASE, value]]
    line = 'forecastd_otlp_skipped_total{kind="exponential_histogram"} '
    after = daemon.get("/metrics").text
    assert line + "0" in before and line + "4" in after, after[-3000:]


def test_missing_values_bad_values_and_bad_times(daemon):
    def make(word):
        def point(ms, **rest):
            return {"ms": ms, **rest}
        ahead = now_ms() + 3600000
        return [({"service.name": word}, None, [
            {"name": "mixed", "gauge": {"points": [
                point(BASE, value=1.0), point(BASE + 15000, **NO_VALUE), point(BASE + 30000, value=float("nan")),
                point(BASE + 45000, value=float("inf")), point(ahead, value=1), point(0, value=1),
                point(5, value=1), point(BASE + 60000), point(BASE + 75000, value=2)]}},
            gauge("mapped", 1, where={"a": "b"}), gauge("raw", 1, where=b"xx"), gauge("", 1), gauge("long", 1, a="x" * 300),
            gauge("many", 1, **{f"l{i}": "x" for i in range(40)}), gauge("listed", 1, where=["a", 1, True, 0.5, None]),
            {"name": "quiet", "histogram": {"points": [{"ms": BASE, "count": 0, **NO_VALUE}],
                                            "temporality": CUMULATIVE}}])]
    for word, answer in both(daemon, make):
        count, text = refused(answer)
        assert count == 10, (count, text)
        for part in ("infinite", "ahead of now", "no time", "1973", "no value", "data point 3"):
            assert part in text, text
        assert all(ord(c) >= 32 for c in text)
        assert [[at, value] for at, value in stored(daemon, f'mixed{{job="{word}"}}') if value is not None] \
            == [[BASE, 1], [BASE + 75000, 2]]
        assert stored(daemon, f'listed{{job="{word}",where="[\\"a\\",1,true,0.5,null]"}}') == [[BASE, 1]]
        assert stored(daemon, f'quiet_count{{job="{word}"}}') in ([], [[BASE, None]])


def test_names_that_become_one(daemon):
    points = [{"ms": BASE, "value": 1, "attributes": {"a.b": "2", "a-b": "1", "1st": "x", "job": "mine"}}]
    for _, headers, encode in ENCODINGS:
        body = encode([({"service.name": "theirs"}, None, [{"name": "9 lives", "gauge": {"points": points}}])])
        assert refused(send(daemon, body, headers)) == (0, "")
        assert stored(daemon, '_9_lives{a_b="1;2",job="mine",key_1st="x"}') == [[BASE, 1]]


def test_whole_numbers_in_json(daemon):
    def point(**members):
        return {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "whole", "gauge": {"dataPoints": [
            {"timeUnixNano": str(BASE * 1000000), **members}]}}]}]}]}
    accepted = (({"asInt": "-9007199254740993"}, -9007199254740992), ({"asInt": 12}, 12), ({"asInt": 1e3}, 1000),
                ({"asDouble": "1.5"}, 1.5), ({"asDouble": 2}, 2), ({"asDouble": 1, "unknown": [{"x": [1]}]}, 1),
                ({"timeUnixNano": BASE * 1000000, "asInt": "3", "exemplars": None}, 3))
    for members, value in accepted:
        assert refused(send(daemon, json.dumps(point(**members)), JSON_TYPE)) == (0, ""), members
        assert stored(daemon, "whole") == [[BASE, value]], members
    wrong = ({"asInt": "9223372036854775808"}, {"asInt": "1.5"}, {"asInt": ""}, {"asInt": "-"}, {"asInt": 1.5},
             {"asDouble": "x"}, {"asDouble": [1]}, {"asDouble": {}}, {"timeUnixNano": "-1"}, {"timeUnixNano": -1},
             {"attributes": {}}, {"attributes": [1]}, {"attributes": "x"}, {"flags": True})
    for members in wrong:
        answer = send(daemon, json.dumps(point(**members)), JSON_TYPE)
        assert answer.status == 400 and next(iter(members)) in failure(answer)[1], (members, answer)


def test_malformed_bodies_store_nothing(daemon):
    good = request_protobuf([({}, None, [gauge("never", 1)])])
    for body in (good[:-1], good + b"\x0a", b"\x08\x01", b"\xff" * 12, good + field(1, b"\x12\x02\x12\x05"),
                 field(1, field(1, field(1, b"\xff"))), good.replace(fixed(3, BASE * 1000000), field(3, 5) + b"\x7a\x05" + b"12345")):
        answer = send(daemon, body, PROTOBUF)
        code, text = failure(answer)
        assert answer.status == 400 and code == 3 and "protobuf" in text, answer
        assert answer.type == "application/x-protobuf"
    for body in (b"", b"[]", b"{", b'{"resourceMetrics":{}}', b'{"resourceMetrics":[1]}', b'{"a":1,}', b"\xff",
                 b'{"resourceMetrics":[],"resourceMetrics":[]}', b'{"resourceMetrics":[]} x',
                 b'{"resourceMetrics":[{"resource":' + b'[' * 40):
        answer = send(daemon, body, JSON_TYPE)
        assert answer.status == 400 and failure(answer)[0] == 3 and answer.type == "application/json", (body, answer)
    assert stored(daemon, "never") is None
    for body, headers in ((b"", PROTOBUF), (b"{}", JSON_TYPE), (b'{"resourceMetrics":null}', JSON_TYPE),
                          (field(9, b"unknown"), PROTOBUF)):
        assert refused(send(daemon, body, headers)) == (0, "")


def test_types_and_encodings(daemon):
    body = request_protobuf([({}, None, [gauge("typed", 1)])])
    for content_type in ("", "text/plain", "application/x-protobufx", "application/grpc"):
        answer = send(daemon, body, {"Content-Type": content_type})
        assert answer.status == 415 and failure(answer)[0] == 3, answer
    assert send(daemon, body, {"Content-Type": "Application/X-Protobuf; charset=x"}).status == 200
    for encoding in ("snappy", "br", "gzip, gzip"):
        assert send(daemon, body, {**PROTOBUF, "Content-Encoding": encoding}).status == 415
    answer = daemon.get("/v1/metrics")
    assert answer.status == 405 and answer.headers["allow"] == "POST", answer


def test_packed_bodies(daemon):
    for word, headers, encode in ENCODINGS:
        for name, pack in (("gzip", gzip.compress), ("zstd", zstd)):
            body = encode([({"service.name": word}, None, [gauge("packed", 1, by=name)])])
            answer = send(daemon, pack(body), {**headers, "Content-Encoding": name})
            assert refused(answer) == (0, "")
            assert stored(daemon, f'packed{{by="{name}",job="{word}"}}') == [[BASE, 1]]
            for broken in (pack(body)[:-1], body, b"", pack(body) + b"x"):
                answer = send(daemon, broken, {**headers, "Content-Encoding": name})
                assert answer.status == 400 and "unpack" in failure(answer)[1], (name, answer)
    too_wide = zstd(request_protobuf([]), window_log=24)
    answer = send(daemon, too_wide, {**PROTOBUF, "Content-Encoding": "zstd"})
    assert answer.status == 400 and "memory" in failure(answer)[1], answer


def test_bombs_and_limits(daemon):
    for pack, name in ((bomb, "zstd"), (lambda size: gzip.compress(b" " * size), "gzip")):
        for size in (2 << 20, 64 << 20):  # beyond ingest.max_body, however small it is packed
            answer = send(daemon, pack(size), {**JSON_TYPE, "Content-Encoding": name})
            assert answer.status == 413 and "limit" in failure(answer)[1], answer
    assert send(daemon, b" " * ((1 << 20) + 1), JSON_TYPE).status == 413
    points = [{"ms": BASE + i, "value": 1} for i in range(50000)]
    too_many = request_protobuf([({}, None, [{"name": "heap", "gauge": {"points": points}}])])
    assert send(daemon, too_many[:1 << 19], PROTOBUF).status == 400
    answer = send(daemon, too_many, PROTOBUF)
    assert answer.status == 413 and failure(answer)[0] == 8, answer


def test_more_series_than_there_may_be(daemon):
    metrics = [gauge("flood", 1, n=i) for i in range(500)] + [gauge("boiler.temp", 1, unit="Cel")]
    answer = send(daemon, request_json([({}, None, metrics)]), JSON_TYPE)
    count, text = refused(answer)
    assert 100 <= count < 501 and "cannot create another series" in text, (count, text[:300])


def test_zstd_elsewhere(daemon):
    headers = {"Content-Encoding": "zstd"}
    line = zstd(b"packed,by=line value=3 %d" % (BASE * 1000000))
    assert daemon.request("POST", "/write", line, headers).status in (204, 400)
    body = json.dumps({"series": "whole", "timestamp": BASE + 15000, "value": 4}).encode()
    answer = daemon.request("POST", "/api/v1/points", zstd(body), {**JSON_TYPE, **headers})
    assert answer.status == 200 and answer.json["accepted"] == 1, answer
    rows = zstd(b"series_id,timestamp,value\nwhole,%d,5\n" % (BASE + 30000))
    answer = daemon.request("POST", "/api/v1/import", rows, {"Content-Type": "text/csv", **headers})
    assert answer.status == 200 and answer.json["accepted"] == 1, answer
    assert [value for _, value in stored(daemon, "whole")][-2:] == [4, 5]
    for path, headers in (("/api/v1/points", {**JSON_TYPE, **headers}), ("/write", headers),
                          ("/api/v1/import", {"Content-Type": "text/csv", **headers})):
        assert daemon.request("POST", path, bomb(64 << 20), headers).status == 413, path
        assert daemon.request("POST", path, b"plain", headers).status == 400, path
