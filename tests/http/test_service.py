"""The daemon as a service: health, metrics, status, the page, methods and manners of HTTP.

SPDX-License-Identifier: Apache-2.0
"""
import gzip
import re
import threading

from daemon import JSON, now_ms

GETS = ("/", "/api/v1/series", "/api/v1/models", "/api/v1/jobs", "/api/v1/backbones", "/api/v1/status", "/healthz",
        "/readyz", "/metrics")


def test_health(daemon):
    for path in ("/healthz", "/readyz"):
        answer = daemon.get(path)
        assert answer.status == 200, (path, answer)
        assert daemon.get(path + "?probe=1").status == 200, "probes may add what they like"


def test_status(daemon):
    body = daemon.get("/api/v1/status").json
    assert re.match(r"\d+\.\d+\.\d+", body["version"]), body
    for key in ("series", "points"):
        assert isinstance(body[key], int), (key, body)


def test_metrics_text(daemon):
    daemon.points({"series": "counted", "timestamp": now_ms(), "value": 1})
    answer = daemon.get("/metrics")
    assert answer.status == 200 and answer.type == "text/plain", answer.headers
    check_exposition(answer.text, openmetrics=False)


def test_metrics_openmetrics(daemon):
    answer = daemon.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answer.status == 200 and answer.type == "application/openmetrics-text", answer.headers
    assert answer.text.endswith("# EOF\n"), answer.text[-80:]
    check_exposition(answer.text, openmetrics=True)


def check_exposition(text, openmetrics):
    sample = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*\})? '
                        r'(NaN|[+-]?Inf|[-+0-9.eE]+)')
    types, helped, seen, families = {}, set(), set(), []
    for line in text.rstrip("\n").split("\n"):
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            assert family not in types, f"{family} twice"
            types[family] = kind
            families.append(family)
        elif line.startswith("# HELP "):
            helped.add(line.split(" ")[2])
        elif line.startswith("#"):
            assert line == "# EOF" or line.startswith("# UNIT "), line
        else:
            found = sample.fullmatch(line)
            assert found, line
            assert found.group(1, 2) not in seen, f"{line} twice"
            seen.add(found.group(1, 2))
            family = families[-1]
            assert found.group(1).startswith(family), (family, line)
            if types[family] == "counter":
                assert found.group(1).endswith("_total") or found.group(1).endswith("_created"), line
                assert family.endswith("_total") != openmetrics, family
    assert types and set(types) == helped
    assert all(family.startswith(("forecastd_", "process_")) for family in types), sorted(types)


def test_head_is_get_without_a_body(daemon):
    for path in GETS:
        head, get = daemon.request("HEAD", path), daemon.get(path)
        assert head.status == get.status == 200, (path, head, get)
        assert head.body == b"", path
        assert head.headers.get("content-type") == get.headers.get("content-type"), path


def test_unknown_routes(daemon):
    for path in ("/nope", "/api", "/api/v1", "/api/v3/points", "/api/v1/points/x/y", "/../etc/passwd", "//", "/%2e%2e/x",
                 "/app.js/", "/vendor/", "/api/v1/series/a/b/c"):
        answer = daemon.get(path)
        assert answer.status == 404, (path, answer)
        assert answer.type == "application/problem+json" and answer.json["code"], path


def test_wrong_methods(daemon):
    for method, path in (("DELETE", "/api/v1/points"), ("GET", "/api/v1/points"), ("POST", "/api/v1/status"),
                         ("PUT", "/api/v1/series/1"), ("POST", "/healthz"), ("PATCH", "/"), ("OPTIONS", "/metrics"),
                         ("GET", "/api/v1/train"), ("BREW", "/")):
        answer = daemon.request(method, path, b"" if method in ("POST", "PUT", "PATCH") else None, JSON)
        assert answer.status in (405, 501), (method, path, answer)
        if answer.status == 405:
            assert answer.headers.get("allow"), (method, path, answer.headers)
            assert method not in answer.headers["allow"].split(", ")


def test_request_ids(daemon):
    answer = daemon.get("/healthz", **{"X-Request-Id": "abc-123"})
    assert answer.headers["x-request-id"] == "abc-123"
    strange = daemon.get("/healthz", **{"X-Request-Id": "a b<c>" + "x" * 300})
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", strange.headers["x-request-id"]), strange.headers
    one, two = daemon.get("/healthz"), daemon.get("/healthz")
    assert one.headers["x-request-id"] != two.headers["x-request-id"]


def test_page_and_its_parts(daemon):
    page = daemon.get("/")
    assert page.status == 200 and page.type == "text/html", page.headers
    policy = page.headers.get("content-security-policy", "")
    assert "default-src 'self'" in policy or "default-src 'none'" in policy, policy
    assert "unsafe" not in policy and page.headers.get("x-content-type-options") == "nosniff"
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    wanted = re.findall(r'(?:src|href)="(ui/[^"]+)"', page.text)
    for script in [part for part in wanted if part.endswith(".js")]:
        source = daemon.get("/" + script).text
        missing = {"ui/" + name for name in re.findall(r'^import .* from "\./([^"]+)"', source, re.M)} - set(wanted)
        assert not missing, f"{script} imports what the page does not load ahead: {missing}"
    assert len(wanted) >= 10
    for part in wanted:
        answer = daemon.get("/" + part)
        assert answer.status == 200 and answer.body, part
        assert answer.type == kinds[part[part.rindex("."):]], (part, answer.type)
        packed = daemon.get("/" + part, **{"Accept-Encoding": "deflate, gzip;q=0.8"})
        assert packed.headers["content-encoding"] == "gzip" and gzip.decompress(packed.body) == answer.body, part
        assert packed.headers["vary"] == "Accept-Encoding" and packed.headers["etag"] != answer.headers["etag"]


def test_page_is_not_sent_twice(daemon):
    for accept in ("gzip", "identity", "gzip;q=0", "deflate, gzip ; q=0.0", ""):
        first = daemon.get("/ui/app.js", **{"Accept-Encoding": accept})
        assert first.headers.get("content-encoding") == ("gzip" if accept == "gzip" else None), (accept, first.headers)
        tag = first.headers["etag"]
        for tags in (tag, f'"other", {tag}'):
            again = daemon.get("/ui/app.js", **{"Accept-Encoding": accept, "If-None-Match": tags})
            assert again.status == 304 and again.body == b"" and again.headers["etag"] == tag, again.headers
        other = daemon.get("/ui/app.js", **{"Accept-Encoding": accept, "If-None-Match": '"other"'})
        assert other.status == 200 and other.body == first.body


def test_keep_alive_and_pipelining(daemon):
    one = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    answer = daemon.raw(one * 9 + one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert answer.count(b"HTTP/1.1 200") == 10, answer[:300]


def test_many_clients_at_once(daemon):
    problems = []

    def client(number):
        try:
            for i in range(20):
                answer = daemon.points({"series": f"client.{number}", "timestamp": now_ms() - 60000 * i, "value": i})
                assert answer.status == 200, answer
                assert daemon.get(f"/api/v1/series/client.{number}/points").status == 200
        except Exception as error:  # told by the main thread
            problems.append(repr(error))

    clients = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    assert not problems, problems[:3]


def test_idle_connections_do_not_disturb(daemon):
    links = []
    for _ in range(300):
        link = daemon.connect()
        link.connect()
        link.sock.sendall(b"POST /api/v1/points HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        links.append(link)
    assert daemon.get("/healthz").status == 200
    assert daemon.points({"series": "beside", "timestamp": now_ms(), "value": 1}).status == 200
    for link in links:
        link.close()
