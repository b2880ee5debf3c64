"""InfluxDB line protocol as Telegraf, collectd and InfluxDB's own clients speak it.

SPDX-License-Identifier: Apache-2.0
"""
import gzip
import json
import urllib.parse

from daemon import Daemon, now_ms, quote

BASE = (now_ms() // 60000 - 3000) * 60000
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def write(daemon, lines, query="db=telegraf", path="/write", **headers):
    return daemon.request("POST", f"{path}?{query}", lines, headers)


def stored(daemon, series):
    answer = daemon.get(f"/api/v1/series/{quote(series)}/points?limit=10000")
    assert answer.status == 200, answer
    return answer.json["points"]


def metric(daemon, name):
    for line in daemon.get("/metrics").text.split("\n"):
        if line.startswith(name + " "):
            return float(line.split(" ")[1])
    raise AssertionError(f"no metric {name}")


def test_write_v1(daemon):
    answer = write(daemon, f"cpu,host=a,cpu=cpu0 usage_idle=91.5,usage_user=3i {BASE * 1000000}\n")
    assert answer.status == 204 and not answer.body, answer
    assert answer.headers["x-influxdb-version"], answer.headers
    assert stored(daemon, 'cpu_usage_idle{cpu="cpu0",host="a"}') == [[BASE, 91.5]]
    assert stored(daemon, 'cpu_usage_user{cpu="cpu0",host="a"}') == [[BASE, 3]]


def test_write_v2(daemon):
    answer = write(daemon, f"v2,room=x temp=21.5 {BASE // 1000}", "org=me&bucket=b&precision=s",
                   "/api/v2/write", Authorization="Token secret")
    assert answer.status == 204 and not answer.body, answer
    assert stored(daemon, 'v2_temp{room="x"}') == [[BASE, 21.5]]


def test_precisions(daemon):
    minute = BASE // 3600000 * 3600000
    for name, divide in (("n", 1e-6), ("ns", 1e-6), ("u", 1e-3), ("us", 1e-3), ("ms", 1), ("s", 1000),
                         ("m", 60000), ("h", 3600000)):
        stamp = minute * round(1 / divide) if divide < 1 else minute // round(divide)
        answer = write(daemon, f"p.{name} v=1 {stamp}", f"db=x&precision={name}")
        assert answer.status == 204, (name, answer)
        assert stored(daemon, f"p.{name}_v") == [[minute, 1]], name


def test_wrong_precision_is_refused(daemon):
    for path, query in (("/write", "db=x&precision=d"), ("/api/v2/write", "precision=m")):
        answer = write(daemon, "never v=1", query, path)
        assert answer.status == 400 and "invalid precision" in answer.json["error"], answer
    assert daemon.get("/api/v1/series/never_v").status == 404


def test_times_in_another_unit_are_called_so(daemon):
    answer = write(daemon, f"never v=1 {BASE}", "precision=s")
    assert answer.status == 400 and "another unit" in answer.json["error"], answer
    answer = write(daemon, f"never v=1 {BASE}", "precision=ns")
    assert answer.status == 400 and "names its unit" in answer.json["error"], answer
    answer = write(daemon, f"never v=1 {BASE + 10 ** 9}", "precision=ms")
    assert answer.status == 400 and "another unit" not in answer.json["error"], answer


def test_no_timestamp_is_now(daemon):
    before = now_ms()
    assert write(daemon, "line.now v=3").status == 204
    [[at, value]] = stored(daemon, "line.now_v")
    assert before - 1 <= at <= now_ms() + 1 and value == 3


def test_telegraf_v1_request(daemon):
    """What its influxdb output sends: CREATE DATABASE in a form, then gzip with its own headers."""
    agent = {"User-Agent": "Telegraf/1.30.0 Go/1.22.2"}
    answer = daemon.request("POST", "/query?", "q=CREATE+DATABASE+%22telegraf%22", {**FORM, **agent})
    assert answer.status == 200 and answer.json == {"results": [{"statement_id": 0}]}, answer
    lines = "".join(f"mem,host=box active={i * 1000}i,used_percent={i}.25,state=\"ok\" "
                    f"{(BASE + i * 10000) * 1000000}\n" for i in range(100))
    answer = write(daemon, gzip.compress(lines.encode()), "consistency=any&db=telegraf&rp=autogen",
                   **{"Content-Type": "text/plain; charset=utf-8", "Content-Encoding": "gzip", **agent})
    assert answer.status == 204, answer
    assert stored(daemon, 'mem_used_percent{host="box"}') == [[BASE + i * 10000, i + 0.25]
                                                              for i in range(100)]


def test_telegraf_v2_request(daemon):
    answer = write(daemon, gzip.compress(b"disk,device=sda1,path=/ free=1i %d\n" % (BASE * 1000000)),
                   "bucket=b&org=o", "/api/v2/write",
                   **{"Content-Type": "text/plain; charset=utf-8", "Content-Encoding": "gzip",
                      "Authorization": "Token abc", "User-Agent": "Telegraf"})
    assert answer.status == 204, answer
    assert stored(daemon, 'disk_free{device="sda1",path="/"}') == [[BASE, 1]]


def test_parameters_that_nobody_knows_cost_no_batch(daemon):
    """InfluxDB does not look at them, and a client throws away what was answered by 400."""
    for path, query in (("/api/v2/write", "org=o&bucket=b&bucketID=0123&consistency=all&foo=1&foo=2"),
                        ("/write", "db=x&bucketID=0123&foo=")):
        answer = write(daemon, f"extra{len(query)} v=1 {BASE * 1000000}", query, path)
        assert answer.status == 204, (path, answer)
        assert stored(daemon, f"extra{len(query)}_v") == [[BASE, 1]]
    for path in ("/api/v2/write", "/write"):  # what is known is looked at as ever
        for query in ("foo=1&precision=days", "precision=s&precision=ms"):
            assert write(daemon, "extra v=1 1", query, path).status == 400, (path, query)


def test_collectd_request(daemon):
    """Lines as collectd's write_influxdb_udp makes them, handed on by a relay: no type, milliseconds."""
    body = (f"cpu_value,host=box,instance=0,type=cpu,type_instance=idle value=99i {BASE}\n"
            f"load_shortterm,host=box,type=load value=0.050000 {BASE}\r\n").encode()
    answer = daemon.raw(b"POST /write?db=collectd&precision=ms HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                        b"User-Agent: collectd/5.12.0\r\nAccept: */*\r\nConnection: close\r\n"
                        b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    assert answer.startswith(b"HTTP/1.1 204"), answer
    assert stored(daemon, 'cpu_value_value{host="box",instance="0",type="cpu",type_instance="idle"}') \
        == [[BASE, 99]]


def test_influx_shell_request(daemon):
    """An empty type, an empty rp, and a blank in front of the line."""
    answer = write(daemon, f" shell value=1 {BASE * 1000000}",
                   "consistency=all&db=x&precision=ns&rp=", **{"Content-Type": ""})
    assert answer.status == 204, answer
    assert stored(daemon, "shell_value") == [[BASE, 1]]


def test_partial_write(daemon):
    lines = f"part v=1 {BASE * 1000000}\npart\npart v=2 {(BASE + 1000) * 1000000}\npart v=x\n"
    answer = write(daemon, lines)
    assert answer.status == 400, answer
    assert answer.json == {"error": "partial write: line 2: unable to parse 'part': missing fields\n"
                                    "line 4: unable to parse 'part v=x': invalid boolean dropped=2"}
    assert answer.headers["x-influxdb-error"] == "partial write: dropped=2", answer.headers
    assert stored(daemon, "part_v") == [[BASE, 1], [BASE + 1000, 2]]
    answer = write(daemon, lines, "", "/api/v2/write")
    assert answer.status == 400 and answer.json["code"] == "invalid", answer
    assert answer.json["error"] == "partial write: " + answer.json["message"], answer
    assert "line 4" in answer.json["message"], answer


def test_nothing_good(daemon):
    answer = write(daemon, "nothing\n")
    assert answer.status == 400, answer
    assert answer.json == {"error": "line 1: unable to parse 'nothing': missing fields dropped=1"}


def test_times_beyond_the_limits(daemon):
    ahead = (now_ms() + 3600000) * 1000000
    answer = write(daemon, f"far v=1 {ahead}\nfar v=2 {BASE * 1000000}\nfar v=3 {BASE // 1000}")
    assert answer.status == 400, answer
    assert "line 1: the timestamp lies" in answer.json["error"], answer
    assert "line 3" in answer.json["error"] and "before 1973" in answer.json["error"], answer
    assert stored(daemon, "far_v") == [[BASE, 2]]


def test_retention():
    daemon = Daemon("storage.retention=30d").start()
    try:
        old = (now_ms() - 40 * 86400000) * 1000000
        answer = write(daemon, f"old v=1 {old}\nold v=2")
        assert answer.status == 400 and "beyond the retention" in answer.json["error"], answer
        assert len(stored(daemon, "old_v")) == 1
    finally:
        daemon.remove()


def test_strings_and_booleans_are_counted(daemon):
    name = "forecastd_ingest_skipped_fields_total"
    strings = metric(daemon, name + '{type="string"}')
    booleans = metric(daemon, name + '{type="boolean"}')
    assert write(daemon, 'skip a="x",b=t,c=F,d=1').status == 204
    assert metric(daemon, name + '{type="string"}') == strings + 1
    assert metric(daemon, name + '{type="boolean"}') == booleans + 2
    assert write(daemon, 'only.text a="x"').status == 204
    assert daemon.get("/api/v1/series/only.text_a").status == 404


def test_empty_body_is_stored(daemon):
    assert write(daemon, "").status == 204
    assert write(daemon, "\n# nothing\n").status == 204


def test_bad_gzip(daemon):
    answer = write(daemon, b"no gzip", **{"Content-Encoding": "gzip"})
    assert answer.status == 400 and "error" in answer.json, answer


def test_unknown_encoding(daemon):
    answer = write(daemon, b"x", **{"Content-Encoding": "br"})
    assert answer.status == 415 and "error" in answer.json, answer


def test_body_over_the_limit():
    daemon = Daemon("ingest.max_body=1MiB").start()
    try:
        for path in ("/write", "/api/v2/write"):
            answer = write(daemon, b"big v=1\n" * (1 << 18), "", path)
            assert answer.status == 413 and answer.json["error"], answer
        assert answer.json["code"] == "request too large"
        assert daemon.get("/api/v1/series/big_v").status == 404
    finally:
        daemon.remove()


def test_too_many_points(daemon):
    answer = write(daemon, b"many v=1\n" * 100001)
    assert answer.status == 413 and "points in one request" in answer.json["error"], answer
    assert daemon.get("/api/v1/series/many_v").status == 404


def test_large_body_on_a_worker(daemon):
    lines = "".join(f"large,host=h{i % 50} v={i}.5 {(BASE + i // 50 * 1000) * 1000000}\n"
                    for i in range(50000))
    assert len(lines) > 1 << 20
    assert write(daemon, lines).status == 204
    assert len(stored(daemon, 'large_v{host="h49"}')) == 1000


def test_ping(daemon):
    for method in ("GET", "HEAD"):
        for path in ("/ping", "/ping?wait_for_leader=5s"):
            answer = daemon.request(method, path)
            assert answer.status == 204 and not answer.body, answer
            assert answer.headers["x-influxdb-version"] and answer.headers["x-influxdb-build"]
    answer = daemon.request("PATCH", "/ping")
    assert answer.status == 405 and "error" in answer.json, answer


def test_health(daemon):
    answer = daemon.get("/health")
    assert answer.status == 200, answer
    assert answer.json["status"] == "pass" and answer.json["name"] and answer.json["version"]


def test_query(daemon):
    created = {"results": [{"statement_id": 0}]}
    for text in ("CREATE DATABASE telegraf", 'create database "my ""db', 'CREATE DATABASE "a;b"',
                 "CREATE DATABASE x WITH DURATION 3d REPLICATION 1 NAME \"y\"", " CREATE DATABASE x ; "):
        query = urllib.parse.urlencode({"q": text})
        good = '""' not in text
        for answer in (daemon.get("/query?" + query), daemon.request("POST", "/query?" + query),
                       daemon.request("POST", "/query", query, FORM)):
            assert answer.status == (200 if good else 400), (text, answer)
            assert not good or answer.json == created, (text, answer)
    answer = daemon.get("/query?" + urllib.parse.urlencode(
        {"chunked": "true", "db": "", "epoch": "ns", "q": "CREATE DATABASE a;SHOW DATABASES"}))
    assert answer.json["results"][1]["series"][0]["columns"] == ["name"], answer
    for text in ("SELECT * FROM cpu", "DROP DATABASE x", "CREATE DATABASE", "SHOW DATABASESX",
                 "CREATE DATABASE x y"):
        answer = daemon.get("/query?" + urllib.parse.urlencode({"q": text}))
        assert answer.status == 400 and "error parsing query" in answer.json["error"], (text, answer)
    answer = daemon.get("/query")
    assert answer.status == 400 and 'parameter "q"' in answer.json["error"], answer
    answer = daemon.request("POST", "/query", b"q=" + b"x" * 5000, FORM)
    assert answer.status == 413, answer


def test_errors_have_influx_form(daemon):
    assert set(daemon.request("GET", "/write").json) == {"error"}
    assert daemon.request("GET", "/write").status == 405
    answer = daemon.request("POST", "/api/v2/query", "{}")
    assert answer.status == 404 and answer.json["code"] == "not found", answer
    answer = write(daemon, "x v=1", "db=x&precision=days")
    assert answer.status == 400 and "invalid precision" in answer.json["error"], answer


def test_series_limit_keeps_known_series():
    daemon = Daemon("ingest.max_series=2").start()
    try:
        assert write(daemon, f"known a=1,b=1 {BASE * 1000000}").status == 204
        answer = write(daemon, f"known a=2,b=2,c=2 {(BASE + 1000) * 1000000}")
        assert answer.status == 400 and "line 1" in answer.json["error"], answer
        assert stored(daemon, "known_a") == [[BASE, 1], [BASE + 1000, 2]]
        assert stored(daemon, "known_b") == [[BASE, 1], [BASE + 1000, 2]]
    finally:
        daemon.remove()


def test_acknowledged_is_on_disk():
    daemon = Daemon().start()
    try:
        assert write(daemon, f"kept v=1 {BASE * 1000000}").status == 204
        daemon.process.kill()
        daemon.process.wait()
        daemon.start()
        assert stored(daemon, "kept_v") == [[BASE, 1]]
    finally:
        daemon.remove()


def test_same_point_from_json_and_line(daemon):
    body = json.dumps({"series": "both_v", "labels": {"t": "x"}, "timestamp": BASE, "value": 1})
    assert daemon.request("POST", "/api/v1/points", body, {"Content-Type": "application/json"}).status == 200
    assert write(daemon, f"both,t=x v=2 {BASE * 1000000}").status == 204
    assert stored(daemon, 'both_v{t="x"}') == [[BASE, 2]]
