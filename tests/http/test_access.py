"""Access: tokens with scopes and prefixes, who may listen where, the audit log, the port for probes.

SPDX-License-Identifier: Apache-2.0
"""
import base64
import json
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import time

from daemon import BINARY, JSON, ROOT, SLOWNESS, Daemon, free_port, now_ms

OPEN = {"/healthz", "/readyz", "/ping", "/health", "/", "/ui/{file}", "/openapi.json"}


def create(path, *options):
    done = subprocess.run([BINARY, "token", "create", "--tokens", path, *options], capture_output=True, text=True,
                          timeout=30 * SLOWNESS, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1 and done.stdout.strip() not in done.stderr
    return done.stdout.strip()


class Guarded:
    """A daemon with a file of tokens; `token[name]` is a secret."""

    def __init__(self, *settings):
        self.daemon = Daemon()
        self.path = os.path.join(self.daemon.folder, "tokens")
        self.token = {name: create(self.path, "--name", name, "--scope", scope, *more)
                      for name, scope, *more in (("reader", "read"), ("writer", "write"), ("ops", "admin"),
                                                 ("plant", "read,write", "--prefix", "plant."))}
        self.daemon.settings = [f"auth.tokens={self.path}", *settings]

    def __enter__(self):
        self.daemon.start()
        return self

    def __exit__(self, *ignored):
        code, log = self.daemon.stop(), self.daemon.log()
        self.daemon.remove()
        assert code == 0, (code, log)

    def ask(self, who, method, path, body=None, **headers):
        if who:
            headers["Authorization"] = f"Bearer {self.token[who]}"
        return self.daemon.request(method, path, body, headers)


def routes():
    """(method, scope, path) of the table in api/router.c."""
    with open(os.path.join(ROOT, "api/router.c"), encoding="utf-8") as file:
        found = re.findall(r'\{API_(\w+), (SCOPE_[\w |]+), "(/[^"]*)"', file.read())
    assert len(found) > 40, found
    return found


def test_every_route_asks_for_a_token():
    with Guarded() as guarded:
        for method, scope, template in routes():
            path = re.sub(r"\{\w+\}", "1", template)
            answer = guarded.ask(None, method, path)
            is_open = template in OPEN
            assert is_open == (scope == "SCOPE_OPEN"), path
            assert (answer.status == 401) != is_open, (method, path, answer)
            if not is_open:
                assert answer.headers["www-authenticate"].startswith("Bearer"), answer.headers
                bad = guarded.daemon.request(method, path, None, {"Authorization": "Bearer fct_" + "0" * 64})
                assert bad.status == 401, (method, path, bad)
            if scope == "SCOPE_ADMIN":
                for who in ("reader", "writer", "plant"):
                    assert guarded.ask(who, method, path).status == 403, (who, method, path)


def test_scopes():
    with Guarded() as guarded:
        point = '{"series":"plant.a","value":1}'
        assert guarded.ask("writer", "POST", "/api/v1/points", point, **JSON).status == 200
        assert guarded.ask("reader", "POST", "/api/v1/points", point, **JSON).status == 403
        assert guarded.ask("reader", "GET", "/api/v1/series").status == 200
        assert guarded.ask("writer", "GET", "/api/v1/series").status == 403
        assert guarded.ask("ops", "GET", "/api/v1/series").status == 200
        assert guarded.ask("ops", "POST", "/api/v1/points", point, **JSON).status == 200
        assert guarded.ask("ops", "DELETE", "/api/v1/series/plant.a").status == 204
        answer = guarded.ask("reader", "GET", "/api/v1/jobs")
        assert answer.status == 200 and guarded.ask("plant", "GET", "/api/v1/jobs").status == 403


def test_a_refusal_spares_the_upload():
    with Guarded() as guarded:
        head = ("POST /api/v1/points HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                "Content-Length: 15000000\r\nExpect: 100-continue\r\n\r\n")
        said = guarded.daemon.raw(head.encode())
        assert said.startswith(b"HTTP/1.1 401 ") and b"100 Continue" not in said, said


def test_prefix():
    with Guarded() as guarded:
        both = '[{"series":"plant.a","value":1},{"series":"plant.a","value":2},{"series":"office","value":3}]'
        assert guarded.ask("writer", "POST", "/api/v1/points", both, **JSON).status == 200
        answer = guarded.ask("plant", "POST", "/api/v1/points", both, **JSON)
        assert answer.status == 422 and answer.json["accepted"] == 2 and answer.json["rejected"] == 1, answer
        assert answer.json["errors"][0]["code"] == "outside_prefix", answer
        names = [one["series"] for one in guarded.ask("plant", "GET", "/api/v1/series").json["series"]]
        assert names == ["plant.a"], names
        answer = guarded.ask("plant", "GET", "/prometheus/api/v1/label/__name__/values")
        assert answer.json["data"] == ["plant.a", "plant.a:predicted"], answer
        answer = guarded.ask("plant", "POST", "/prometheus/api/v1/query", "query=%7B__name__%3D~%22.%2B%22%7D",
                             **{"Content-Type": "application/x-www-form-urlencoded"})
        assert answer.status == 200 and "office" not in answer.text and "plant.a" in answer.text, answer
        assert guarded.ask("plant", "GET", "/api/v1/series/office/points").status == 404


def test_clients_of_influxdb():
    with Guarded() as guarded:
        secret = guarded.token["writer"]
        basic = "Basic " + base64.b64encode(f"telegraf:{secret}".encode()).decode()
        for path, header in (("/write?db=x", basic), ("/api/v2/write?bucket=x", f"Token {secret}"),
                             (f"/write?db=x&u=telegraf&p={secret}", None)):
            headers = {"Authorization": header} if header else {}
            answer = guarded.daemon.request("POST", path, "cpu,host=a value=1", headers)
            assert answer.status == 204, (path, answer)
        assert guarded.daemon.request("POST", "/query?q=CREATE+DATABASE+x", None, {"Authorization": basic}).status == 200
        # browsers repeat Basic by themselves: it opens nothing else
        answer = guarded.daemon.request("POST", "/api/v1/points", "[]", {**JSON, "Authorization": basic})
        assert answer.status == 401 and "Basic" not in answer.headers["www-authenticate"], answer
        assert secret not in guarded.daemon.log()


def wait_until(check, what):
    deadline = time.monotonic() + 10 * SLOWNESS
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_tokens_come_and_go_while_running():
    with Guarded() as guarded:
        guarded.token["new"] = create(guarded.path, "--name", "new", "--scope", "read")
        wait_until(lambda: guarded.ask("new", "GET", "/api/v1/series").status == 200, "the new token does not hold")
        done = subprocess.run([BINARY, "token", "revoke", "new", "--tokens", guarded.path], check=False,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: guarded.ask("new", "GET", "/api/v1/series").status == 401, "a revoked token still holds")
        # a file that makes no sense: what was read before goes on to hold
        with open(guarded.path, "a", encoding="utf-8") as file:
            file.write("nonsense\n")
        guarded.daemon.signal(signal.SIGHUP)
        wait_until(lambda: "not read again" in guarded.daemon.log(), guarded.daemon.log())
        assert guarded.ask("reader", "GET", "/api/v1/series").status == 200


def test_tokens_expire():
    with Guarded() as guarded:
        guarded.token["short"] = create(guarded.path, "--name", "short", "--scope", "read", "--expires", "3s")
        guarded.token["over"] = create(guarded.path, "--name", "over", "--scope", "read", "--expires", "0s")
        wait_until(lambda: guarded.ask("short", "GET", "/api/v1/series").status == 200, "it never holds")
        assert guarded.ask("over", "GET", "/api/v1/series").status == 401
        wait_until(lambda: guarded.ask("short", "GET", "/api/v1/series").status == 401, "it does not expire")


def test_command_token():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tokens")

        def token(*words):
            done = subprocess.run([BINARY, "token", *words, "--tokens", path], capture_output=True, text=True, check=False)
            return done.returncode, done.stdout, done.stderr

        assert token("create")[0] == 2 and token("make")[0] == 2 and token("revoke")[0] == 2
        assert token("create", "--scope", "root")[0] == 2
        assert token("create", "--scope", "admin", "--prefix", "a")[0] == 2
        assert token("list")[0] == 1, "there is no file"
        secret = create(path, "--scope", "write", "--prefix", "plant.", "--name", "sensor", "--expires", "90d")
        assert os.stat(path).st_mode & 0o777 == 0o644, "the daemon may be another user"
        with open(path, encoding="utf-8") as file:
            assert secret not in file.read()
        assert token("create", "--scope", "read", "--name", "sensor")[0] == 1, "the name is taken"
        code, out, _ = token("list")
        assert code == 0 and re.search(r"^sensor,write,plant\.,20\S+Z,20\S+Z,valid$", out, re.M), out
        os.chmod(path, 0o644)
        create(path, "--scope", "read")
        assert os.stat(path).st_mode & 0o777 == 0o644, "the mode is kept"
        assert token("revoke", "nobody")[0] == 1
        assert token("revoke", "sensor")[0] == 0
        assert "sensor" not in token("list")[1]
        os.chmod(path, 0o666)
        code, _, said = token("list")
        assert code == 1 and "everybody" in said, said


def test_two_commands_at_once_lose_nothing():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tokens")
        running = [subprocess.Popen([BINARY, "token", "create", "--tokens", path, "--scope", "read", "--name", f"t{i}"],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for i in range(12)]
        assert [process.wait() for process in running] == [0] * 12
        out = subprocess.run([BINARY, "token", "list", "--tokens", path], capture_output=True, text=True, check=True).stdout
        assert {line.split(",")[0] for line in out.split("\n")[1:-1]} == {f"t{i}" for i in range(12)}, out


def test_beyond_loopback_only_with_tokens_or_insecure():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tokens")
        create(path, "--scope", "read")
        # 192.0.2.1 is nobody's: what is let through then fails to bind, and nothing is open meanwhile
        base = [BINARY, "serve", "--set", f"storage.path={folder}/data", "--set", "server.listen=192.0.2.1:7380"]
        for more, words in (([], ("auth.tokens", "--insecure")), (["--set", f"auth.tokens={path}"], ("could not listen",)),
                            (["--insecure"], ("could not listen",)),
                            (["--set", "auth.tokens=/nowhere/tokens"], ("auth.tokens", "/nowhere/tokens"))):
            done = subprocess.run(base + more, capture_output=True, text=True, timeout=30 * SLOWNESS, check=False)
            assert done.returncode == 1, (more, done.stderr)
            assert all(word in done.stderr for word in words), (more, done.stderr)


def test_it_warns_of_tokens_in_clear_text():
    warning = "tokens cross the network in clear text"
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tokens")
        create(path, "--scope", "read")
        daemon = Daemon(f"auth.tokens={path}").start()
        try:
            wait_until(lambda: "sandbox" in daemon.log(), daemon.log())
            assert warning not in daemon.log(), "on loopback nobody listens in"
            assert daemon.stop() == 0
            port = free_port()  # a later setting of the same name holds: every address, and so loopback, too
            daemon.settings.append(f"server.listen=0.0.0.0:{port}")
            daemon.start(wait=False)
            daemon.port = port
            daemon.wait_ready(15 * SLOWNESS)
            wait_until(lambda: warning in daemon.log(), "no warning of tokens in clear text")
            assert "tls.cert" in daemon.log(), daemon.log()
            assert daemon.stop() == 0
        finally:
            daemon.remove()


def test_audit_of_what_is_refused_before_anybody_is_known():
    """On a connection that somebody else's request came over before, as behind a proxy."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "audit")
        with Guarded(f"log.audit={path}") as guarded:
            head = "POST /api/v1/train HTTP/1.1\r\nContent-Length: 0\r\n"
            ask = (f"GET /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {guarded.token['ops']}\r\n\r\n"
                   f"{head}Host: elsewhere.example\r\n\r\n"
                   f"{head}Host: localhost\r\nOrigin: http://elsewhere.example\r\nConnection: close\r\n\r\n")
            answer = guarded.daemon.raw(ask.encode()).decode()
            assert re.findall(r"HTTP/1.1 (\d+)", answer) == ["200", "400", "403"], answer
            assert os.path.getsize(path) == 0, "a stranger could fill the file"
            log = guarded.daemon.log()
            assert log.count('msg="refused" who=- ') == 2 and "who=ops" not in log, log


def test_audit_log():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "audit")
        with Guarded(f"log.audit={path}") as guarded:
            assert guarded.ask("ops", "POST", "/api/v1/train", "{}", **JSON).status == 202
            assert guarded.ask("ops", "DELETE", "/api/v1/series/a%0Atime%3D%22x%22%20who=nobody").status in (400, 404)
            assert guarded.ask("reader", "POST", "/api/v1/train", "{}", **JSON).status == 403
            assert guarded.ask("writer", "POST", "/api/v1/points", "[]", **JSON).status == 200
            os.rename(path, path + ".old")
            guarded.daemon.signal(signal.SIGHUP)
            wait_until(lambda: os.path.exists(path) and "event=reload" in open(path, encoding="utf-8").read(),
                       "the file was not opened again")
            with open(path + ".old", encoding="utf-8") as file:
                lines = file.read().splitlines()
            assert os.stat(path).st_mode & 0o777 == 0o600
            assert len(lines) == 2, lines
            assert re.fullmatch(r'time=\S+Z event=admin who=ops address=127\.0\.0\.1 method=POST target="/api/v1/train" '
                                r'result=202 request_id=\S+', lines[0]), lines[0]
            assert re.fullmatch(r'time=\S+Z event=admin who=ops address=127\.0\.0\.1 method=DELETE target="[^" ]*" '
                                r'result=40[04] request_id=\S+', lines[1]), lines[1]
            assert "who=reader" in guarded.daemon.log(), "a refused attempt is in the ordinary log"


def test_audit_lines_among_json_are_json():
    with Guarded("log.format=json") as guarded:
        assert guarded.ask("ops", "DELETE", "/api/v1/series/a%20b=%22c%22").status in (400, 404)
        guarded.daemon.signal(signal.SIGHUP)
        wait_until(lambda: '"event":"reload"' in guarded.daemon.log(), "the reload is not in the log")
        lines = [json.loads(line) for line in guarded.daemon.log().splitlines() if line]
    line, = [line for line in lines if line.get("event") == "admin"]
    assert line.pop("time") and line.pop("request_id") and line.pop("result") in (400, 404), line
    assert line.pop("target").startswith("/api/v1/series/a"), line
    assert line == {"level": "info", "module": "audit", "event": "admin", "who": "ops", "address": "127.0.0.1",
                    "method": "DELETE"}, line


def test_audit_of_administrators_who_do_not_wait():
    """Whose connection is reset while the request is with a worker or the writer, or just answered."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "audit")
        with Guarded(f"log.audit={path}") as guarded:
            names = {f"s{i}" for i in range(60)}
            points = json.dumps([{"series": name, "value": 1} for name in names])
            assert guarded.ask("writer", "POST", "/api/v1/points", points, **JSON).status == 200
            for i, name in enumerate(sorted(names)):
                with socket.create_connection(("127.0.0.1", guarded.daemon.port)) as link:
                    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    link.sendall(f"DELETE /api/v1/series/{name} HTTP/1.1\r\nHost: localhost\r\n"
                                 f"Authorization: Bearer {guarded.token['ops']}\r\n\r\n".encode())
                    time.sleep(i % 12 * 0.0002)
            wait_until(lambda: guarded.ask("ops", "GET", "/api/v1/status").json["http"]["active"] == 1, "they never end")
            left = {one["series"] for one in guarded.ask("ops", "GET", "/api/v1/series?limit=100").json["series"]}
            with open(path, encoding="utf-8") as file:
                noted = re.findall(r'who=ops address=127\.0\.0\.1 method=DELETE target="/api/v1/series/(\w+)" result=204 ',
                                   file.read())
            assert names - left, "all left before they were heard: this shows nothing"
            assert sorted(noted) == sorted(names - left), (noted, left)


def listens(port):
    with socket.socket() as link:
        return link.connect_ex(("127.0.0.1", port)) == 0


def test_port_for_probes_when_the_main_one_is_full():
    port = free_port()
    with Guarded(f"server.health_listen=127.0.0.1:{port}", "server.connections=16",
                 "server.connections_per_address=16") as guarded:
        probe = Daemon()
        probe.port = port
        probe.judge = None  # it has three of the documented routes
        wait_until(lambda: listens(port), "the second port is opened after the first")
        assert probe.get("/metrics").status == 200, "no token is asked for here"
        assert probe.get("/api/v1/series").status == 404 and probe.get("/").status == 404
        assert probe.request("POST", "/api/v1/points", "[]", JSON).status == 404
        done = subprocess.run([BINARY, "serve", "--data", os.path.join(probe.folder, "d"), "--set", "server.listen=127.0.0.1:0",
                               "--set", f"server.health_listen=127.0.0.1:{port}"], capture_output=True, text=True,
                              timeout=30 * SLOWNESS, check=False)
        assert done.returncode == 1 and "--set server.health_listen=" in done.stderr, done.stderr
        links = []
        try:
            for _ in range(64):
                link = socket.create_connection(("127.0.0.1", guarded.daemon.port), 5)
                link.sendall(b"GET /healthz HTTP/1.1\r\n")
                links.append(link)
            begin = time.monotonic()
            for path in ("/healthz", "/readyz", "/metrics"):
                assert probe.get(path).status == 200, path
            assert time.monotonic() - begin < 2 * SLOWNESS
            try:
                answered = guarded.daemon.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", timeout=1)
            except OSError:
                answered = b""
            assert answered == b"", "the main port is not full: this shows nothing"
        finally:
            for link in links:
                link.close()
        probe.remove()


def test_without_tokens_everybody_on_loopback_may():
    daemon = Daemon().start()
    assert daemon.points({"series": "a", "timestamp": now_ms(), "value": 1}).status == 200
    assert daemon.get("/api/v1/series", Authorization="Bearer whatever").status == 200
    assert daemon.stop() == 0
    daemon.remove()
