"""Backfill from stand-ins of Prometheus and InfluxDB 2: patience, windows, secrets, and what it says when it fails.

SPDX-License-Identifier: Apache-2.0

The real servers are in tests/clients; these do what a real one does only in bad moments.
"""
import http.server
import json
import os
import ssl
import subprocess
import threading
import time
import urllib.parse

from daemon import SLOWNESS, Daemon

BEGIN = 1795348800  # 2026-11-22T12:00:00Z
WINDOW = ["--start", "2026-11-22T12:00:00Z", "--end", "2026-11-24T12:00:00Z"]  # 2880 minutes


class StandIn(http.server.ThreadingHTTPServer):
    """Answers each POST by `answer(request)` -> (status, headers, body); keeps what was asked."""

    def __init__(self, answer, certificate=None):
        self.asked = []
        self.answer = answer
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.server_port}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        request = {"path": self.path, "headers": self.headers, "body": body}
        self.server.asked.append(request)
        status, headers, answer = self.server.answer(request)
        if status == 0:  # hang up in the middle
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"status"')
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    do_GET = do_POST

    def log_message(self, *_):
        pass


def self_signed(folder):
    """Key and certificate for 127.0.0.1 in one file."""
    path = os.path.join(folder, "certificate.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", path + ".key", "-out", path, "-days", "2", "-subj", "/CN=stand-in",
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True, timeout=60)
    with open(path + ".key", "rb") as key, open(path, "ab") as file:
        file.write(key.read())
    return path


def matrix(request, limit=11000):
    """m = minutes since BEGIN, with a value for each instant that is asked for."""
    form = {key: value for key, (value,) in urllib.parse.parse_qs(request["body"]).items()}
    start, end, step = (float(form[key]) for key in ("start", "end", "step"))
    count = int((end - start) / step) + 1
    if count > limit:
        return 422, {}, json.dumps({"status": "error", "errorType": "execution",
                                    "error": "query processing would load too many samples into memory"})
    values = [[start + i * step, str((start + i * step - BEGIN) / 60)] for i in range(count)]
    return 200, {}, json.dumps({"status": "success", "data": {
        "resultType": "matrix", "result": [{"metric": {"__name__": "m"}, "values": values}]}})


def run(answer, *arguments, daemon=None, timeout=60):
    server = StandIn(answer)
    mine = daemon or Daemon()
    try:
        code, _, error = mine.command("import", "--from-prometheus", server.url, "--query", "m", *WINDOW, *arguments,
                                      timeout=timeout)
        _, out, _ = mine.command("export")
        return code, error, server.asked, out.splitlines()[1:]
    finally:
        server.close()
        if not daemon:
            mine.remove()


def minutes(rows):
    return [round(float(row.rsplit(",", 1)[1])) for row in rows]


def test_windows_cover_the_time():
    code, error, asked, rows = run(matrix)
    assert code == 0, error
    assert minutes(rows) == list(range(2880))
    assert len(asked) == 2 and all(request["path"] == "/api/v1/query_range" for request in asked)
    code, error, asked, rows = run(lambda request: matrix(request, limit=300))
    assert code == 0 and minutes(rows) == list(range(2880)), error
    assert len(asked) == 2 + 12  # 1000 and 500 are refused, then twelve of at most 250


def test_patience():
    answers = [(503, {"Retry-After": "1"}, "busy"), (429, {}, ""), (0, {}, ""), None]

    def answer(request):
        given = answers.pop(0) if answers else None
        return given or matrix(request)

    begin = time.monotonic()
    code, error, asked, rows = run(answer)
    assert code == 0 and minutes(rows) == list(range(2880)), error
    assert len(asked) == 5 and time.monotonic() - begin > 1 + 1 + 2
    assert "the server answered 503: busy; trying again in 1.0 s" in error, error


def test_failure_says_where_to_go_on():
    daemon = Daemon()
    try:
        def broken(request):
            return matrix(request) if "start=1795348800.000" in request["body"] else (
                403, {}, '{"status":"error","errorType":"forbidden","error":"not for you"}')

        code, error, _, rows = run(broken, daemon=daemon)
        assert code == 1 and "the server answered 403: not for you" in error, error
        assert minutes(rows) == list(range(1000))  # the first window stays
        assert "go on with --start 2026-11-23T04:40:00Z" in error, error
        code, error, _, rows = run(matrix, "--start", "2026-11-23T04:40:00Z", daemon=daemon)
        assert code == 0 and minutes(rows) == list(range(2880)), error
    finally:
        daemon.remove()


def test_bad_answers():
    cases = (
        ((200, {}, "<html>"), "cannot read the answer"),
        ((200, {}, '{"data":{"result":{}}}'), "not that of a range query"),
        ((302, {"Location": "http://127.0.0.1:1/"}, ""), "the server answered 302"),
        ((401, {"WWW-Authenticate": "Basic"}, "who are you"), "the server answered 401: who are you"),
    )
    for answer, words in cases:
        code, error, asked, _ = run(lambda request, answer=answer: answer)
        assert code == 1 and words in error and len(asked) == 1, error


def test_secrets_come_from_files_and_stay_out_of_messages():
    daemon = Daemon()
    try:
        def write(name, text):
            path = os.path.join(daemon.folder, name)
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
            return path

        bearer, basic = write("bearer", "s3cret-token\n"), write("basic", "user:s3cret-word\n")
        headers = write("headers", "# tenant\nX-Scope-OrgID: s3cret-tenant\n")
        code, error, asked, _ = run(matrix, "--bearer-file", bearer, "--header-file", headers, "--header", "X-A: b",
                                    daemon=daemon)
        assert code == 0 and asked[0]["headers"]["Authorization"] == "Bearer s3cret-token"
        assert asked[0]["headers"]["X-Scope-OrgID"] == "s3cret-tenant" and asked[0]["headers"]["X-A"] == "b"
        code, error, asked, _ = run(lambda _: (403, {}, ""), "--basic-file", basic, daemon=daemon)
        assert asked[0]["headers"]["Authorization"] == "Basic dXNlcjpzM2NyZXQtd29yZA==" and "s3cret" not in error
        code, error, asked, _ = run(matrix, "--header", "Authorization: Bearer x", daemon=daemon)
        assert code == 2 and "must not carry a secret" in error and not asked
        code, _, error = daemon.command("import", "--from-prometheus", "http://user:pw@127.0.0.1:1", "--query", "m")
        assert code == 2 and "must not hold a user" in error and "pw" not in error.split("Try")[0]
    finally:
        daemon.remove()


def test_a_proxy_of_the_environment_is_used_as_by_curl():
    """A command of a shell does as curl does there; daemons do not (test_webhooks.py)."""
    daemon = Daemon()
    proxy = StandIn(matrix)  # answers itself in the place of a host that there is not
    try:
        arguments = ["import", "--from-prometheus", "http://prometheus.invalid:9090", "--query", "m", *WINDOW]
        environment = {"http_proxy": proxy.url, "no_proxy": ""}
        code, _, error = daemon.command(*arguments, environment=environment)
        assert code == 0 and "2880 points stored" in error, error
        assert proxy.asked[0]["path"] == "http://prometheus.invalid:9090/api/v1/query_range", proxy.asked[0]["path"]
        count = len(proxy.asked)
        code, _, error = daemon.command(*arguments, environment={**environment, "no_proxy": "prometheus.invalid"})
        assert code == 1 and len(proxy.asked) == count, error
    finally:
        proxy.close()
        daemon.remove()


HEAD = ("#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string,string,string\r\n"
        "#group,false,false,true,true,false,false,true,true,true\r\n"
        "#default,_result,,,,,,,,\r\n"
        ",result,table,_start,_stop,_time,_value,_field,_measurement,host\r\n")


def test_influxdb_2():
    """Flux with the range filled in; annotated CSV as its manual shows it; a token; its form of an error."""
    daemon = Daemon()
    token = os.path.join(daemon.folder, "token")
    with open(token, "w", encoding="ascii") as file:
        file.write("abc==\n")

    def answer(request):
        if request["headers"].get("Authorization") != "Token abc==":
            return 401, {}, '{"code":"unauthorized","message":"unauthorized access"}'
        query = json.loads(request["body"])["query"]
        start, stop = (query.split(word)[1].split("Z")[0] for word in ("start: ", "stop: "))
        begin, end = (int(time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S")) - time.timezone)
                      for text in (start, stop))
        lines = [f",,{table},{start}Z,{stop}Z,{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(at))},"
                 f"{(at - BEGIN) / 60 + table},idle,cpu,h{table}\r\n"
                 for table in range(2) for at in range(begin, end, 60)]
        return 200, {"Content-Type": "text/csv"}, HEAD + "".join(lines) + "\r\n"

    server = StandIn(answer)
    try:
        arguments = ["import", "--from-influxdb", server.url, "--bucket", "b", "--org", "home office", *WINDOW]
        code, _, error = daemon.command(*arguments)
        assert code == 1 and "the server answered 401: unauthorized access" in error, error
        code, _, error = daemon.command(*arguments, "--influx-token-file", token)
        assert code == 0 and "5760 points stored" in error, error
        for table in range(2):
            _, out, _ = daemon.command("export", "--series", f'cpu_idle{{host="h{table}"}}')
            assert minutes(out.splitlines()[1:]) == [minute + table for minute in range(2880)]
        assert server.asked[-1]["path"] == "/api/v2/query?org=home%20office"
    finally:
        server.close()
        daemon.remove()


def test_certificates_are_checked():
    daemon = Daemon()
    certificate = self_signed(daemon.folder)
    server = StandIn(matrix, certificate)
    try:
        arguments = ["import", "--from-prometheus", server.url, "--query", "m", *WINDOW]
        code, _, error = daemon.command(*arguments)
        assert code == 1 and "certificate" in error and not server.asked, error
        code, _, error = daemon.command(*arguments, "--ca-file", certificate)
        assert code == 0 and "2880 points stored" in error, error
    finally:
        server.close()
        daemon.remove()


def test_what_does_not_belong_together_and_nobody_there():
    daemon = Daemon()
    try:
        code, _, error = daemon.command("import", "--from-prometheus", "http://no-such-host.invalid", "--query", "m",
                                        "--bearer-file", "/nowhere")
        assert code == 2 and "could not open '/nowhere'" in error, error
        code, _, error = daemon.command("import", "--query", "m")
        assert code == 2 and "--from-prometheus or --from-influxdb is missing" in error, error
        code, _, error = daemon.command("import", "--from-prometheus", "http://127.0.0.1:1", "file.csv", "--query", "m")
        assert code == 2 and "either files or a neighbour" in error, error
        begin = time.monotonic()
        code, _, error = daemon.command("import", "--from-prometheus", "http://127.0.0.1:1", "--query", "m")
        assert code == 1 and "http://127.0.0.1:1: Failed to connect" in error, error
        assert "no points for this" not in error and "is stored" not in error, error
        assert time.monotonic() - begin < 5 * SLOWNESS  # a wrong address is said at once
    finally:
        daemon.remove()
