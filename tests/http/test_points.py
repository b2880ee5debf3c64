"""Points in: every form of the body, time units, upserts, what is refused and what is kept.

SPDX-License-Identifier: Apache-2.0
"""
import gzip
import json

from daemon import JSON, NDJSON, now_ms, quote

BASE = (now_ms() // 60000 - 3000) * 60000


def stored(daemon, series):
    answer = daemon.get(f"/api/v1/series/{quote(series)}/points?limit=10000")
    assert answer.status == 200, answer
    return answer.json["points"]


def accepted(answer, count, updated=None):
    assert answer.status == 200, answer
    body = answer.json
    assert body["rejected"] == 0, body
    assert body["accepted"] == count, body
    if updated is not None:
        assert body["updated"] == updated, body


def test_one_object(daemon):
    accepted(daemon.points({"series": "one.object", "labels": {"site": "a"}, "timestamp": BASE,
                            "value": 21.4}), 1, 0)
    assert stored(daemon, 'one.object{site="a"}') == [[BASE, 21.4]]


def test_array_of_both_forms(daemon):
    accepted(daemon.points([
        {"series": "both.forms", "timestamp": BASE, "value": 1},
        {"series": "both.forms", "points": [[BASE + 60000, 2], [BASE + 120000, None], [BASE + 180000, 4.5]]},
    ]), 4)
    points = stored(daemon, "both.forms")
    assert [BASE, 1] in points and [BASE + 60000, 2] in points and [BASE + 180000, 4.5] in points
    assert [BASE + 120000, None] in points or all(at != BASE + 120000 for at, _ in points)


def test_ndjson(daemon):
    body = "\n".join(json.dumps({"series": "ndjson", "timestamp": BASE + i * 1000, "value": i})
                     for i in range(50)) + "\n"
    accepted(daemon.request("POST", "/api/v1/points", body, NDJSON), 50)
    assert stored(daemon, "ndjson") == [[BASE + i * 1000, i] for i in range(50)]


def test_ndjson_without_last_line_end_and_with_crlf(daemon):
    body = '{"series":"crlf","timestamp":%d,"value":1}\r\n\r\n{"series":"crlf","timestamp":%d,"value":2}' \
        % (BASE, BASE + 1000)
    accepted(daemon.request("POST", "/api/v1/points", body, NDJSON), 2)


def test_gzip(daemon):
    body = gzip.compress(json.dumps({"series": "gzip", "timestamp": BASE, "value": 5}).encode())
    accepted(daemon.request("POST", "/api/v1/points", body, {**JSON, "Content-Encoding": "gzip"}), 1)
    assert stored(daemon, "gzip") == [[BASE, 5]]


def test_chunked_body(daemon):
    body = b'{"series":"chunked","timestamp":%d,"value":5}' % BASE
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + 7]), body[i:i + 7]) for i in range(0, len(body), 7))
    answer = daemon.raw(b"POST /api/v1/points HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
                        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                        + chunks + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert stored(daemon, "chunked") == [[BASE, 5]]


def test_time_units(daemon):
    for unit, factor in (("s", 1 / 1000), ("ms", 1), ("us", 1000), ("ns", 1000000)):
        accepted(daemon.points({"series": f"unit.{unit}", "timestamp": int(BASE * factor), "value": 1},
                               f"?precision={unit}"), 1)
        assert stored(daemon, f"unit.{unit}") == [[BASE, 1]], unit


def test_rfc3339_with_offset(daemon):
    accepted(daemon.points([{"series": "rfc", "timestamp": "2024-05-01T12:00:00Z", "value": 1},
                            {"series": "rfc", "timestamp": "2024-05-01T14:00:01+02:00", "value": 2},
                            {"series": "rfc", "timestamp": "2024-05-01T12:00:02.250Z", "value": 3}]), 3)
    begin = 1714564800000
    assert stored(daemon, "rfc") == [[begin, 1], [begin + 1000, 2], [begin + 2250, 3]]


def test_no_timestamp_is_now(daemon):
    before = now_ms()
    accepted(daemon.points({"series": "now", "value": 3}), 1)
    [[at, value]] = stored(daemon, "now")
    assert before - 1 <= at <= now_ms() + 1 and value == 3


def test_number_before_1973_is_refused_with_a_hint(daemon):
    answer = daemon.points({"series": "seconds", "timestamp": BASE // 1000, "value": 1})
    assert answer.status == 422, answer
    assert answer.json["rejected"] == 1 and "precision" in answer.text


def test_last_write_wins(daemon):
    accepted(daemon.points({"series": "upsert", "timestamp": BASE, "value": 1}), 1, 0)
    answer = daemon.points({"series": "upsert", "timestamp": BASE, "value": 2})
    assert answer.status == 200 and answer.json["updated"] == 1, answer
    assert stored(daemon, "upsert") == [[BASE, 2]]


def test_late_points_are_merged(daemon):
    order = [7, 3, 9, 1, 5, 0, 8, 2, 6, 4]
    for i in order:
        accepted(daemon.points({"series": "late", "timestamp": BASE + i * 1000, "value": i}), 1)
    assert stored(daemon, "late") == [[BASE + i * 1000, i] for i in range(10)]


def test_labels_are_sorted_and_escaped(daemon):
    labels = {"zone": 'q"uote', "area": "back\\slash", "x": "line\nend"}
    accepted(daemon.points({"series": "labels", "labels": labels, "timestamp": BASE, "value": 1}), 1)
    names = [one["series"] for one in daemon.get("/api/v1/series?match=labels").json["series"]]
    assert names == ['labels{area="back\\\\slash",x="line\\nend",zone="q\\"uote"}'], names
    assert stored(daemon, names[0]) == [[BASE, 1]]


def test_utf8_names(daemon):
    name = "wärme.größe/日本 °C"
    accepted(daemon.points({"series": name, "timestamp": BASE, "value": 1}), 1)
    assert stored(daemon, name) == [[BASE, 1]]


def test_numbers_keep_their_value(daemon):
    values = [0, -0.1, 1e-300, 1.7976931348623157e308, 123456789.123, 0.1 + 0.2, 1e15 + 0.5, -1]
    accepted(daemon.points({"series": "exact", "points": [[BASE + i, v] for i, v in enumerate(values)]}),
             len(values))
    assert [value for _, value in stored(daemon, "exact")] == values


def test_good_points_are_stored_beside_refused_ones(daemon):
    ahead = now_ms() + 3600000
    answer = daemon.points([{"series": "partly", "timestamp": BASE, "value": 1},
                            {"series": "partly", "timestamp": ahead, "value": 2},
                            {"series": "partly", "timestamp": BASE + 1000, "value": "text"},
                            {"series": "partly", "timestamp": BASE + 2000, "value": 3}])
    assert answer.status == 422, answer
    body = answer.json
    assert body["accepted"] == 2 and body["rejected"] == 2, body
    found = {error["index"]: error["code"] for error in body["errors"]}
    assert found[1] == "too_far_future" and 2 in found, found
    assert all(error["message"] for error in body["errors"])
    assert stored(daemon, "partly") == [[BASE, 1], [BASE + 2000, 3]]


def test_only_the_first_20_errors_are_told(daemon):
    answer = daemon.points([{"series": "many.errors", "timestamp": 1, "value": 1}] * 30)
    assert answer.status == 422 and answer.json["rejected"] == 30
    assert len(answer.json["errors"]) == 20


def test_infinity_is_refused(daemon):
    answer = daemon.request("POST", "/api/v1/points",
                            '{"series":"inf","timestamp":%d,"value":1e999}' % BASE, JSON)
    assert answer.status in (400, 422), answer


def test_100000_points_in_one_request(daemon):
    lines = [json.dumps({"series": f"bulk.{s}", "points": [[BASE + i * 1000, i % 97] for i in range(1000)]})
             for s in range(100)]
    accepted(daemon.request("POST", "/api/v1/points", "\n".join(lines), NDJSON), 100000)
    assert len(stored(daemon, "bulk.99")) == 1000
