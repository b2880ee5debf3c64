"""Alert rules told to webhooks: a receiver on loopback, of every temper.

SPDX-License-Identifier: Apache-2.0
"""
import http.server
import json
import os
import socket
import threading
import time

from daemon import SLOWNESS, Daemon, now_ms

MINUTE = 60000


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what it is told; answers with `codes` in turn, then 200, and nobody while its gate is closed."""

    request_queue_size = 100

    def __init__(self, codes=(), headers=None):
        self.told = []
        self.gate = threading.Event()
        self.gate.set()
        self.asked = []  # (path, headers)
        self.codes = list(codes)
        self.extra = headers or {}
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hook"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.gate.set()
        self.shutdown()
        self.server_close()

    def wait(self, count, seconds=20):
        deadline = time.monotonic() + seconds * SLOWNESS
        while len(self.told) < count:
            assert time.monotonic() < deadline, f"told {len(self.told)} times, not {count}"
            time.sleep(0.02)
        return self.told


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, dict(self.headers)))
        self.server.gate.wait()
        code = self.server.codes.pop(0) if self.server.codes else 200
        self.send_response(code)
        for name, value in self.server.extra.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()
        if code == 200:
            self.server.told.append(json.loads(body))

    def log_message(self, *_):
        pass


def rule(name, **keys):
    return [f"alerts.{name}.{key}={value}" for key, value in keys.items()]


def watched(receiver, *rules, **keys):
    keys = {"series": "load", "above": "50", "within": "10m", "url": receiver.url, **keys}
    return Daemon("alerts.every=1s", *rule("busy", **keys), *rules).start()


def feed(daemon, series, value, count=30, **labels):
    """So many minutes up to now, all of one value."""
    now = now_ms() // MINUTE * MINUTE
    answer = daemon.points([{"series": series, "labels": labels,
                             "points": [[now - i * MINUTE, value] for i in range(count)]}])
    assert answer.status == 200, answer


def deliveries(daemon, result):
    for line in daemon.get("/metrics").text.splitlines():
        if line.startswith(f'forecastd_webhooks_total{{result="{result}"}}'):
            return int(float(line.split()[-1]))
    raise AssertionError("no such counter")


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds * SLOWNESS
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def test_fires_once_and_resolves():
    receiver = Receiver()
    daemon = watched(receiver, summary="the load gets too high")
    try:
        feed(daemon, "load", 80, host="a")
        feed(daemon, "load", 80)
        told = receiver.wait(1)[0]
        assert told["version"] == "4" and told["status"] == "firing" and told["receiver"] == "busy"
        alert, = told["alerts"]
        assert alert["status"] == "firing" and alert["labels"]["alertname"] == "busy"
        assert alert["annotations"]["summary"] == "the load gets too high"
        assert alert["annotations"]["threshold"] == "50" and float(alert["annotations"]["value"]) > 50
        assert alert["annotations"]["crosses_at"] > alert["startsAt"][:16]
        assert alert["startsAt"].endswith("Z") and alert["endsAt"].startswith("0001-")
        assert receiver.asked[0][0] == "/hook" and receiver.asked[0][1]["Content-Type"] == "application/json"
        assert receiver.asked[0][1]["User-Agent"].startswith("forecastd/")
        told = receiver.wait(2)  # the rule means both series
        assert {each["alerts"][0]["labels"]["series"] for each in told} == {"load", 'load{host="a"}'}
        assert {each["alerts"][0]["labels"].get("host") for each in told} == {None, "a"}
        assert len({each["alerts"][0]["fingerprint"] for each in told}) == 2
        time.sleep(3)
        assert len(receiver.told) == 2  # once each
        feed(daemon, "load", 10)
        told = receiver.wait(3)[2]
        assert told["status"] == "resolved" and told["alerts"][0]["labels"]["series"] == "load"
        assert told["alerts"][0]["endsAt"] >= told["alerts"][0]["startsAt"]
        daemon.request("DELETE", "/api/v1/series/load%7Bhost%3D%22a%22%7D")
        told = receiver.wait(4)[3]  # what is gone is over
        assert told["status"] == "resolved" and told["alerts"][0]["labels"]["host"] == "a"
        wait_for(lambda: deliveries(daemon, "sent") == 4)
        assert deliveries(daemon, "failed") == deliveries(daemon, "dropped") == 0
    finally:
        daemon.remove()
        receiver.close()


def test_selector_and_direction():
    receiver = Receiver()
    daemon = watched(receiver, series='{__name__=~"disk.*",mount="/"}', below="5", above="", quantile="0.1")
    try:
        feed(daemon, "disk_free", 50, mount="/")
        feed(daemon, "disk_free", 1, mount="/tmp")
        feed(daemon, "load", 1)
        feed(daemon, "disk_left", 2, mount="/")
        told = receiver.wait(1)[0]
        time.sleep(2.5)
        assert [each["alerts"][0]["labels"]["series"] for each in receiver.told] == ['disk_left{mount="/"}']
        assert "goes below 5 within 600 s" in told["alerts"][0]["annotations"]["summary"]
    finally:
        daemon.remove()
        receiver.close()


def test_time_to_threshold():
    """Of two lines that rise to 100, the one that is there within the hour."""
    receiver = Receiver()
    daemon = watched(receiver, series='{__name__=~"fill_.*"}', above="100", within="1h", measure="crossing", chance="p50")
    try:
        now = now_ms() // MINUTE * MINUTE
        for name, slope in (("fill_fast", 1.0), ("fill_slow", 0.05)):
            points = [[now - i * MINUTE, 70 - i * slope + (0.05 if i % 2 else 0)] for i in range(60)]
            assert daemon.points([{"series": name, "points": points}]).status == 200
        told = receiver.wait(1)[0]["alerts"][0]
        assert told["labels"]["series"] == "fill_fast"
        assert float(told["annotations"]["value"]) > 0.5  # the chance
        at = time.mktime(time.strptime(told["annotations"]["crosses_at"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
        assert 20 * 60 < at - now / 1000 < 45 * 60, at - now / 1000
        time.sleep(2.5)
        assert len(receiver.told) == 1
    finally:
        daemon.remove()
        receiver.close()


def test_for_and_repeat():
    receiver = Receiver()
    daemon = watched(receiver, **{"for": "3s", "repeat": "2s"})
    try:
        begin = time.monotonic()
        feed(daemon, "load", 80)
        receiver.wait(1)
        assert time.monotonic() - begin > 3
        told = receiver.wait(3)  # repeated, as the same alert
        assert len({(each["alerts"][0]["startsAt"], each["alerts"][0]["fingerprint"]) for each in told}) == 1
        assert all(each["status"] == "firing" for each in told)
    finally:
        daemon.remove()
        receiver.close()


def test_retries_on_500_and_follows_no_redirect():
    receiver = Receiver(codes=[500, 503])
    daemon = watched(receiver)
    try:
        begin = time.monotonic()
        feed(daemon, "load", 80)
        receiver.wait(1)
        assert time.monotonic() - begin > 3 and len(receiver.asked) == 3  # 1 s and 2 s between
        wait_for(lambda: deliveries(daemon, "sent") == 1)
        receiver.codes, receiver.extra = [302], {"Location": receiver.url + "/elsewhere"}
        feed(daemon, "load", 10)
        wait_for(lambda: deliveries(daemon, "failed") == 1)
        assert len(receiver.asked) == 4 and all(path == "/hook" for path, _ in receiver.asked)
        assert len(receiver.told) == 1
    finally:
        daemon.remove()
        receiver.close()


def test_no_proxy_of_the_environment_comes_between():
    receiver, proxy = Receiver(), Receiver()
    names = ("http_proxy", "all_proxy", "no_proxy")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names[:2], f"http://127.0.0.1:{proxy.server_port}"), no_proxy="")
    try:
        daemon = watched(receiver)
    finally:
        for name in names:
            os.environ.pop(name)
        os.environ.update({name: value for name, value in before.items() if value is not None})
    try:
        feed(daemon, "load", 80)
        receiver.wait(1)
        assert not proxy.asked, proxy.asked
    finally:
        daemon.remove()
        receiver.close()
        proxy.close()


def test_gives_up_and_keeps_secrets():
    receiver = Receiver(codes=[500] * 50)
    daemon = Daemon("alerts.every=1s")
    try:
        address = receiver.url.replace("127.0.0.1", "localhost")  # a name has to be looked up inside of the sandbox
        for name, text in (("url", address + "/s3cret-path\n"), ("headers", "Authorization: Bearer s3cret-token\n")):
            with open(os.path.join(daemon.folder, name), "w", encoding="ascii") as file:
                file.write(text)
        daemon.settings += rule("busy", series="load", above="50", url_file="url", header_file="headers", retries="1")
        daemon.start()
        feed(daemon, "load", 80)
        wait_for(lambda: deliveries(daemon, "failed") == 1)
        assert len(receiver.asked) == 2 and deliveries(daemon, "sent") == 0
        assert receiver.asked[0][0] == "/hook/s3cret-path"
        assert receiver.asked[0][1]["Authorization"] == "Bearer s3cret-token"
        log = daemon.log()
        assert "webhook not told" in log and "rule=busy" in log and "the receiver answered 500" in log
        assert "s3cret" not in log and "s3cret" not in daemon.get("/api/v1/status").text
    finally:
        daemon.remove()
        receiver.close()


def slowest_answer(daemon, count=150):
    """The longest of so many writes, in seconds."""
    slowest = 0
    for i in range(count):
        begin = time.monotonic()
        assert daemon.points([{"series": "other", "timestamp": now_ms() - i * 1000, "value": i}]).status == 200
        slowest = max(slowest, time.monotonic() - begin)
    return slowest


def test_a_receiver_that_hangs_slows_nobody_down():
    silent = socket.socket()  # takes connections and never answers
    silent.bind(("127.0.0.1", 0))
    silent.listen(100)
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
    receiver = Receiver()
    daemon = Daemon("alerts.every=1s", *rule("hangs", series='{__name__=~"load.*"}', above="50", url=url, timeout="5s"),
                    *rule("works", series="calm", above="50", url=receiver.url)).start()
    try:
        for i in range(300):  # more alerts than may wait
            feed(daemon, f"load{i}", 80, count=5)
        wait_for(lambda: deliveries(daemon, "dropped") > 0)
        feed(daemon, "calm", 80)
        told = receiver.wait(1)  # behind one call to the one that hangs, and not behind 200
        assert told[0]["receiver"] == "works", told
        slowest = slowest_answer(daemon)  # who waited for the receiver would wait for its timeout of 5 s
        assert slowest < 2.5, slowest
        assert daemon.get("/api/v1/forecast?series=load0").status == 200
        begin = time.monotonic()
        assert daemon.stop() == 0 and time.monotonic() - begin < 5 * SLOWNESS  # a call in flight is given up
    finally:
        daemon.remove()
        receiver.close()
        silent.close()


def test_a_receiver_that_is_down_hears_the_newest_when_it_is_back():
    receiver = Receiver(codes=[503] * 3)
    daemon = watched(receiver)
    try:
        feed(daemon, "load", 80)
        wait_for(lambda: len(receiver.asked) >= 2)
        feed(daemon, "load", 10)  # while the first one waits
        told = receiver.wait(1)
        time.sleep(3)
        assert [each["status"] for each in told] == ["resolved"]
    finally:
        daemon.remove()
        receiver.close()


def states(receiver, kind):
    return {each["alerts"][0]["labels"]["series"] for each in receiver.told if each["status"] == kind}


def test_more_alerts_than_may_wait_are_all_told():
    """300 series fire while the receiver answers nobody, 20 that have fired are deleted: each is heard of later."""
    receiver = Receiver()
    daemon = watched(receiver, series='{__name__=~"load.*"}', timeout="60s", repeat="0s")
    early = {f"load_early{i}" for i in range(20)}
    late = {f"load_late{i}" for i in range(300)}
    try:
        for name in early:
            feed(daemon, name, 80, count=5)
        receiver.wait(20)
        assert states(receiver, "firing") == early
        receiver.gate.clear()
        for name in late:
            feed(daemon, name, 80, count=5)
        wait_for(lambda: deliveries(daemon, "dropped") > 0, seconds=60)
        for name in early:
            assert daemon.request("DELETE", f"/api/v1/series/{name}").status < 300
        time.sleep(3)
        receiver.gate.set()
        wait_for(lambda: states(receiver, "firing") == early | late, seconds=60)
        wait_for(lambda: states(receiver, "resolved") == early, seconds=60)
        time.sleep(2.5)
        assert 340 <= len(receiver.told) < 345, len(receiver.told)  # each once, but for a call that took too long
        receiver.gate.clear()
        for name in late:
            feed(daemon, name, 10, count=5)
        dropped = deliveries(daemon, "dropped")
        wait_for(lambda: deliveries(daemon, "dropped") > dropped, seconds=60)
        receiver.gate.set()
        wait_for(lambda: states(receiver, "resolved") == early | late, seconds=60)
    finally:
        daemon.remove()
        receiver.close()


def test_malformed_rules_are_refused_by_name():
    good = {"series": "a", "above": "1", "url": "http://127.0.0.1:1/"}
    cases = (
        ({"series": ""}, "alert rule 'busy': 'series' is missing"),
        ({"series": "a{"}, "alert rule 'busy': 'series'"),
        ({"above": ""}, "'above' or 'below' is missing"),
        ({"below": "2"}, "'below' and 'above' exclude each other"),
        ({"above": "high"}, "'above' is no number"),
        ({"url": ""}, "'url' or 'url_file' must be given"),
        ({"url": "ftp://h/"}, "'url' must be http:// or https://"),
        ({"url": "http://u:p@h/"}, "'url' must be http:// or https://"),
        ({"within": "-1h"}, "within"),
        ({"quantile": "1"}, "quantile"),
        ({"measure": "mean"}, "quantile, crossing"),
        ({"color": "red"}, 'there is no option "color"'),
    )
    daemon = Daemon()
    try:
        for change, words in cases:
            settings = [word for setting in rule("busy", **{**good, **change}) for word in ("--set", setting)]
            code, _, error = daemon.command("config", "--check", *settings, data=False)
            assert code == 1 and words in error and "busy" in error, (change, error)
        code, _, error = daemon.command("config", "--check", "--set", "alerts.busy=1", data=False)
        assert code == 1 and "alerts.<rule>.<key>" in error, error
        path = os.path.join(daemon.folder, "forecastd.yaml")
        with open(path, "w", encoding="ascii") as file:
            file.write("alerts:\n  every: 5s\n  busy:\n    series: 'a{b=\"c\"}'\n    above: 1e3\n"
                       "    url: http://127.0.0.1:1/\n    for: 5m\n")
        code, out, error = daemon.command("config", "--config", path, data=False)
        assert code == 0 and "busy:" in out and 'series: "a{b=\\"c\\"}"' in out and "for: 5m" in out, out + error
        missing = rule("busy", **{**good, "url": "", "url_file": "/nowhere"})
        daemon.settings += missing
        daemon.start(wait=False)
        assert daemon.wait_exit(20) == 1 and "alert rule 'busy': could not open '/nowhere'" in daemon.log()
    finally:
        daemon.remove()
