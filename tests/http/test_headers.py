"""Headers, and what strangers write: nothing of it reaches a header or a line of the log as it is.

SPDX-License-Identifier: Apache-2.0
"""
import re

from daemon import CSV, JSON, Daemon, quote

# Attempts to begin a line of one's own, or to colour a terminal.
EVIL = ("x\r\nInjected: yes", 'x" level=error forged="1', "x\ntime=2026-01-01T00:00:00Z level=error msg=forged",
        "\x1b[31mred", "\x00zero", "\u2028line", "\x85next")


def test_every_answer_says_nosniff(daemon):
    for path in ("/", "/app.js", "/healthz", "/metrics", "/api/v1/status", "/nowhere", "/ping", "/prometheus/api/v1/labels"):
        answer = daemon.get(path)
        assert answer.headers.get("x-content-type-options") == "nosniff", (path, answer.headers)
    page = daemon.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy, policy
    assert page.headers["referrer-policy"] == "no-referrer"


def test_there_is_no_cors(daemon):
    origin = {"Origin": "https://elsewhere.example"}
    for method, path in (("GET", "/api/v1/series"), ("OPTIONS", "/api/v1/points"), ("POST", "/api/v1/points"),
                         ("GET", "/healthz")):
        answer = daemon.request(method, path, "[]" if method == "POST" else None,
                                {**JSON, **origin, "Access-Control-Request-Method": "POST"})
        assert not [name for name in answer.headers if name.startswith("access-control")], (method, path, answer.headers)


def test_pages_of_other_origins_change_nothing(daemon):
    here = f"http://127.0.0.1:{daemon.port}"
    before = daemon.get("/api/v1/status").json["points"]
    # what a form or a fetch without CORS can send: no preflight asks first
    for headers in ({"Origin": "https://elsewhere.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
                    {"Sec-Fetch-Site": "same-site", "Origin": here}, {"Origin": "http://127.0.0.1:1"}):
        answer = daemon.request("POST", "/write", "evil value=1", {"Content-Type": "text/plain", **headers})
        assert answer.status == 403 and "origin" in answer.text, (headers, answer)
        answer = daemon.request("POST", "/api/v1/train", "{}", {**JSON, **headers})
        assert answer.status == 403 and answer.json["code"] == "cross_origin", (headers, answer)
    assert daemon.get("/api/v1/status").json["points"] == before
    for headers in ({}, {"Origin": here}, {"Sec-Fetch-Site": "same-origin", "Origin": here}, {"Sec-Fetch-Site": "none"}):
        answer = daemon.request("POST", "/write", "fine value=1", {"Content-Type": "text/plain", **headers})
        assert answer.status == 204, (headers, answer)


def test_names_of_elsewhere_do_not_reach_us(daemon):
    for host, status in (("localhost", 200), (f"localhost:{daemon.port}", 200), ("127.0.0.1", 200), ("[::1]", 200),
                         ("evil.example", 400), ("localhost.evil.example", 400), ("127.0.0.1.evil.example", 400),
                         ("evil.example:80", 400), ("localhost@evil.example", 400)):
        said = daemon.raw(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert said.startswith(f"HTTP/1.1 {status} ".encode()), (host, said[:80])


def test_configured_names_reach_us():
    daemon = Daemon("server.hosts=forecastd.example, other.example").start()
    for host, status in (("forecastd.example", 200), ("OTHER.example:1", 200), ("evil.example", 400)):
        said = daemon.raw(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert said.startswith(f"HTTP/1.1 {status} ".encode()), (host, said[:80])
    assert daemon.stop() == 0
    daemon.remove()


def well_formed(line):
    """A line of logfmt: pairs apart by one blank, values bare or quoted as in JSON."""
    pair = r'[a-z_]+=(?:"(?:[^"\\\x00-\x1f\x7f]|\\["\\]|\\u[0-9a-f]{4})*"|[^" \x00-\x1f\x7f]+)'
    return re.fullmatch(rf"{pair}(?: {pair})*", line) is not None


def throw_everything(daemon):
    for text in EVIL:
        name = quote(text)
        daemon.get(f"/{name}")
        daemon.get(f"/api/v1/series/{name}")
        daemon.request("DELETE", f"/api/v1/series/{name}")
        daemon.request("POST", f"/api/v1/models/{name}/promote", "{}", JSON)
        daemon.request("DELETE", f"/api/v1/jobs/{name}")
        daemon.get(f"/api/v1/forecast?series={name}&{name}={name}")
        daemon.get(f"/prometheus/api/v1/query?query={name}")
        daemon.points({"series": text, "labels": {"k": text}, "value": 1})
        daemon.request("POST", "/write", text, {"Content-Type": "text/plain"})
        daemon.request("POST", "/api/v1/import", f"time,{text}\n1,2\n", CSV)
        daemon.post_json("/api/v1/train", {"backbone": text})
        daemon.post_json("/api/v1/backtest", {"series": text})
        raw = text.encode("utf-8", "surrogateescape").replace(b"\r\n", b"\t")
        for header in (b"X-Request-Id", b"Authorization", b"Content-Type", b"Origin", b"Accept", b"Expect"):
            daemon.raw(b"DELETE /api/v1/jobs/x HTTP/1.1\r\nHost: localhost\r\n" + header + b": " + raw +
                       b"\r\nConnection: close\r\n\r\n", timeout=3)


def test_nothing_of_strangers_reaches_the_log_as_it_is():
    for format_, check in (("logfmt", well_formed), ("json", lambda line: line.startswith("{") or "event=" in line)):
        daemon = Daemon("log.level=debug", f"log.format={format_}").start()
        throw_everything(daemon)
        assert daemon.stop() == 0
        with open(daemon.log_path, "rb") as file:
            content = file.read()
        lines = content.decode().split("\n")[:-1]
        assert len(lines) > 20, content[:500]
        for line in lines:
            assert check(line), (format_, line)
            assert "forged=" not in re.sub(r'"(?:[^"\\]|\\.)*"', '""', line), line
        for byte in content:
            assert byte in (9, 10) or byte >= 0x20 and byte != 0x7F, byte
        assert b"\tInjected" not in content and not [line for line in lines if line.startswith("Injected")]
        daemon.remove()


def test_nothing_of_strangers_reaches_a_header(daemon):
    for text in EVIL:
        for target in (f"/{quote(text)}", f"/api/v1/series/{quote(text)}", f"/api/v1/jobs/{quote(text)}"):
            said = daemon.raw(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a%0d%0aInjected\r\n"
                              "Connection: close\r\n\r\n".encode())
            head = said.split(b"\r\n\r\n")[0]
            assert b"Injected" not in head and b"forged" not in head and b"\x1b" not in head, head
            for line in head.split(b"\r\n")[1:]:
                assert re.fullmatch(rb"[A-Za-z0-9-]+: [\x20-\x7e]*", line), line
