"""Malformed requests of every kind: each gets its 4xx with code and hint, and the next one works.

SPDX-License-Identifier: Apache-2.0
"""
import gzip
import json
import os
import re

from daemon import CSV, JSON, NDJSON, ROOT, now_ms

SETTINGS = ["ingest.max_body=1MiB"]
with open(os.path.join(ROOT, "docs", "errors.md"), encoding="utf-8") as file:
    CODES = set(re.findall(r"^\| `(\w+)` \|", file.read(), re.MULTILINE))
GOOD = json.dumps({"series": "after", "timestamp": now_ms(), "value": 1})


def check(daemon, answer, statuses):
    statuses = statuses if isinstance(statuses, tuple) else (statuses,)
    assert answer.status in statuses, answer
    assert answer.headers.get("x-request-id"), answer.headers
    body = answer.json
    if answer.status != 422 or "accepted" not in body:
        assert answer.type == "application/problem+json", answer.headers
    for key in ("type", "title", "status", "detail", "code"):
        assert body.get(key), (key, body)
    assert body["status"] == answer.status
    assert body["code"] in CODES, ("not in docs/errors.md", body)
    assert "hint" in body and "param" in body and body.get("request_id"), body
    after = daemon.request("POST", "/api/v1/points", GOOD, JSON)
    assert after.status == 200, ("the next request", after)
    return body


def bad_points(daemon, body, statuses=400, headers=JSON):
    return check(daemon, daemon.request("POST", "/api/v1/points", body, headers), statuses)


def test_bodies_that_are_no_json(daemon):
    for body in ("", " ", "{", "[", "nonsense", "{]", '{"series":', '{"series":"a"', "[1,2", "]", "\x00",
                 '{"series":"a","value":1}}', '{"series":"a","value":1} x', "'a'", "{series:1}",
                 '{"series":"a","value":01}', '{"series":"a","value":.5}', '{"series":"a","value":+1}',
                 '{"series":"a","value":1.}', '{"series":"a","value":0x10}', '{"series":"a","value":NaN}',
                 '{"series":"a","value":Infinity}', '{"series":"a","value":1,}', '[{"series":"a"},]',
                 '{"series":"\\q","value":1}', '{"series":"\\ud800","value":1}', '{"series":"a\nb","value":1}',
                 "\ufeff{}", '{"series":"a","value":tru}', "/* c */ {}", "[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]"):
        bad_points(daemon, body.encode())


def test_bytes_that_are_no_utf8(daemon):
    for body in (b'{"series":"\xff\xfe","value":1}', b'{"series":"\xc0\xaf","value":1}',
                 b'{"series":"\xed\xa0\x80","value":1}', b'\xff\xff\xff\xff', bytes(range(256))):
        bad_points(daemon, body, (400, 422))


def test_json_of_another_shape(daemon):
    for value in (1, "text", True, None, [1], ["a"], [None], [[]]):
        bad_points(daemon, json.dumps(value), (400, 422))


def test_objects_with_wrong_members(daemon):
    stamp = now_ms()
    for value in ({}, {"value": 1}, {"series": 5, "value": 1}, {"series": "", "value": 1}, {"series": "a"},
                  {"series": "a", "value": "1"}, {"series": "a", "value": []}, {"series": "a", "value": True},
                  {"series": "a", "labels": 5, "value": 1}, {"series": "a", "labels": {"x": 5}, "value": 1},
                  {"series": "a", "labels": {"": "x"}, "value": 1}, {"series": "a", "timestamp": [], "value": 1},
                  {"series": "a", "timestamp": "yesterday", "value": 1},
                  {"series": "a", "timestamp": "2024-05-01T12:00:00", "value": 1},
                  {"series": "a", "timestamp": "2024-13-01T12:00:00Z", "value": 1},
                  {"series": "a", "timestamp": True, "value": 1}, {"series": "a", "timestamp": -5, "value": 1},
                  {"series": "a", "timestamp": 1e300, "value": 1}, {"series": "a", "timestamp": 10**18 - 1, "value": 1},
                  {"series": "a", "timestamp": 10**19 - 1, "value": 1}, {"series": "a", "timestamp": 10**25, "value": 1}, {"series": "a", "points": 5},
                  {"series": "a", "points": [5]}, {"series": "a", "points": [[stamp]]},
                  {"series": "a", "points": [[stamp, 1, 2]]}, {"series": "a", "points": [[stamp, "x"]]},
                  {"series": "a", "points": {"x": 1}}, {"series": "a\u0007b", "value": 1}):
        bad_points(daemon, json.dumps(value), (400, 422))


def test_too_deep(daemon):
    bad_points(daemon, '{"series":"a","value":' + "[" * 5000 + "]" * 5000 + "}")
    bad_points(daemon, "[" * 100000)
    # 24 levels, the object's among them, are read, whatever is then said of the field; one more is refused by name
    for path in ("/api/v1/points", "/v2/forecast", "/v1/metrics", "/api/v1/train"):
        for levels in (24, 25):
            nested = "[" * (levels - 1) + "1" + "]" * (levels - 1)
            answer = daemon.request("POST", path, '{"x":' + nested + "}", JSON)
            assert ("nested too deeply" in answer.text) == (levels == 25), (path, levels, answer)
            assert answer.status == 400 or levels == 24, (path, answer)


def test_too_many_labels(daemon):
    bad_points(daemon, json.dumps({"series": "a", "labels": {f"l{i}": "x" for i in range(200)}, "value": 1}),
               (400, 422))


def test_ndjson_with_a_broken_line(daemon):
    body = '{"series":"nd","value":1}\nnonsense\n{"series":"nd","value":2}\n'
    bad_points(daemon, body, (400, 422), NDJSON)
    bad_points(daemon, '{"series":"nd","value":1}\n{"series":"nd"', (400, 422), NDJSON)


def test_unknown_query_parameters_and_units(daemon):
    for query in ("?precision=h", "?presicion=ms", "?precision=ms&precision=s", "?%zz=1", "?a=%00"):
        check(daemon, daemon.request("POST", "/api/v1/points" + query, GOOD, JSON), 400)


def test_gzip_that_is_none(daemon):
    headers = {**JSON, "Content-Encoding": "gzip"}
    good = gzip.compress(GOOD.encode())
    for body in (b"", b"not gzip", good[:-5], good[:10], good + b"trailing", b"\x1f\x8b" + bytes(50)):
        bad_points(daemon, body, 400, headers)


def test_gzip_bomb(daemon):
    bomb = gzip.compress(b" " * (80 << 20))
    assert len(bomb) < 1 << 20
    bad_points(daemon, bomb, (400, 413), {**JSON, "Content-Encoding": "gzip"})


def test_encodings_and_types(daemon):
    bad_points(daemon, GOOD, 415, {**JSON, "Content-Encoding": "br"})
    bad_points(daemon, GOOD, 415, {**JSON, "Content-Encoding": "gzip, gzip"})
    bad_points(daemon, GOOD, 415, {"Content-Type": "application/xml"})
    bad_points(daemon, GOOD, 415, {"Content-Type": "text/csv"})
    check(daemon, daemon.request("POST", "/api/v1/import", "x", {"Content-Type": "image/png"}), 415)
    check(daemon, daemon.request("POST", "/api/v1/train", "{}", {"Content-Type": "text/plain"}), 415)


def test_body_over_the_limit(daemon):
    bad_points(daemon, b" " * (1 << 20) + GOOD.encode(), 413)
    # ... announced only, so nobody uploads in vain
    answer = daemon.raw(b"POST /api/v1/points HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                        b"Content-Length: 99999999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413"), answer[:200]
    # ... chunked, where the length is not announced
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    answer = daemon.raw(b"POST /api/v1/points HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                        b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 20 + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413"), answer[:200]
    assert daemon.get("/healthz").status == 200


def test_csv(daemon):
    for body in ("", "\n", "just one column\n1\n", 'x,"unclosed\n1,2\n', "series_id,timestamp\na,b\n",
                 "timestamp,a\nyesterday,1\n", "\x00\x01\x02"):
        check(daemon, daemon.request("POST", "/api/v1/import", body, CSV), (400, 422))


def test_control_bodies(daemon):
    for path in ("/api/v1/train", "/api/v1/forecast"):
        for body in ("", "[]", "5", "{", '{"seconds":"x"}', '{"unknown":1}', '{"seconds":-1}', '{"seconds":1e99}',
                     '{"a":1,"a":2}', "null"):
            if path == "/api/v1/train" and body == "":
                continue  # a train without body may mean the defaults
            check(daemon, daemon.request("POST", path, body, JSON), (400, 422))


def test_broken_requests_on_the_wire(daemon):
    host = b"Host: 127.0.0.1\r\n"
    cases = [
        b"NONSENSE\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n" + host + b"\r\n",
        b"POST /api/v1/points HTTP/1.1\r\n" + host + b"Content-Length: abc\r\n\r\n",
        b"POST /api/v1/points HTTP/1.1\r\n" + host + b"Content-Length: -5\r\n\r\n",
        b"POST /api/v1/points HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\n"
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/v1/points HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\n"
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST /api/v1/points HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\n\r\n", b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n" + host + b"\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"X: " + b"y" * 200000 + b"\r\n\r\n", b"\x00" * 1000, b"\x16\x03\x01\x02\x00",
    ]
    for case in cases:
        answer = daemon.raw(case)
        assert answer == b"" or re.match(rb"HTTP/1\.[01] (4|5)\d\d", answer), (case[:80], answer[:200])
        assert daemon.get("/healthz").status == 200, case[:80]


def test_a_refused_head_has_no_body(daemon):
    host = b"Host: 127.0.0.1\r\n"
    for rest in (b"", host + host, host + b"Content-Length: 5\r\nContent-Length: 6\r\n",
                 host + b"Content-Length: 99999999999\r\n", host + b"Content-Length: 5\r\nExpect: 100-continue\r\n"):
        answers = [daemon.raw(method + b" /no/such HTTP/1.1\r\n" + rest + b"\r\n") for method in (b"HEAD", b"GET")]
        head, body = answers[0].split(b"\r\n\r\n", 1)
        assert re.match(rb"HTTP/1\.1 4\d\d ", head) and re.search(rb"\r\nContent-Length: [1-9]", head), (rest, answers)
        assert body == b"", (rest, answers)
        same, problem = answers[1].split(b"\r\n\r\n", 1)
        assert same.split()[1] == head.split()[1] and problem.startswith(b"{"), (rest, answers)


def test_half_a_body_then_silence(daemon):
    """A client that goes away in the middle of its body leaves nothing behind."""
    for _ in range(20):
        daemon_link = daemon.connect()
        daemon_link.connect()
        daemon_link.sock.sendall(b"POST /api/v1/points HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                                 b'Content-Length: 500\r\n\r\n{"series":"half","value":1')
        daemon_link.close()
    assert daemon.get("/healthz").status == 200
    assert daemon.get("/api/v1/series/half").status == 404


def test_every_refusal_has_a_hint(daemon):
    for method, path, body in (("POST", "/api/v1/points", "null"), ("PATCH", "/api/v1/series/after", '{"min":"x"}'),
                               ("POST", "/api/v1/forecast", '{"series":5}'), ("POST", "/api/v1/train", "[]"),
                               ("POST", "/api/v1/models/rollback", "{}"),
                               ("GET", "/api/v1/forecast?series=after&quantiles=x", None),
                               ("GET", "/api/v1/series/after/points?start=9&end=8", None)):
        body = check(daemon, daemon.request(method, path, body, JSON if body else {}), (400, 409))
        assert body["hint"], (path, body)


def test_a_foreign_host_is_refused(daemon):
    """A page of another site that resolves to this machine gets nothing."""
    answer = daemon.get("/api/v1/series", Host="evil.example")
    assert 400 <= answer.status < 500, answer


def test_two_hosts_are_refused(daemon):
    for second in (b"localhost", b"evil.example"):
        answer = daemon.raw(b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nHost: " + second +
                            b"\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ") and b"bad_framing" in answer, answer[:300]


def test_an_answer_over_the_limit(daemon):
    start = (now_ms() // 60000 - 20) * 60000
    for first in range(0, 450, 50):
        batch = [{"series": f"crowd.{k}", "points": [[start + i * 60000, i % 7 / 3 + k] for i in range(15)]}
                 for k in range(first, first + 50)]
        assert daemon.points(batch).status == 200
    levels = ",".join(f"0.{i:02}" for i in range(1, 31))
    body = {"series": '{__name__=~"crowd.*"}', "steps": 1024, "quantiles": levels}
    assert check(daemon, daemon.post_json("/api/v1/forecast", body), 400)["code"] == "answer_too_large"


def test_hundreds_of_parameters_are_answered(daemon):
    before = daemon.get("/api/v1/status").json["http"]["active"]
    for path, name, count in (("/api/v1/forecast", "series", 600), ("/healthz", "x", 2000)):
        query = "&".join(f"{name}=a{i}" for i in range(count))
        head = f"GET {path}?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = daemon.raw(head.encode())
        assert answer.startswith(b"HTTP/1.1 "), (path, answer[:80])
    assert daemon.get("/api/v1/status").json["http"]["active"] <= before, "requests were never ended"
