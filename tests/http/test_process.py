"""The process: start, signals, configuration, commands and their exit codes.

SPDX-License-Identifier: Apache-2.0
"""
import csv
import json
import math
import os
import re
import signal
import subprocess
import threading
import time

from daemon import BINARY, SLOWNESS, Daemon, free_port, now_ms

BASE = (now_ms() // 1000 - 5000) * 1000


def run(*arguments, environment=None, cwd=None):
    done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=60 * SLOWNESS, cwd=cwd,
                          env={**os.environ, **(environment or {})}, check=False)
    return done.returncode, done.stdout, done.stderr


def serve_fails(*arguments, environment=None):
    """A start that must be refused at once; returns what it said."""
    daemon = Daemon()
    try:
        code, out, said = run("serve", "--set", f"storage.path={daemon.data}", *arguments, environment=environment)
        assert code != 0, (arguments, out, said)
        return said
    finally:
        daemon.remove()


def test_help_and_version():
    code, out, _ = run("--version")
    assert code == 0 and "forecastd" in out or out.strip()[0].isdigit(), out
    code, out, _ = run("--help")
    assert code == 0 and "serve" in out and "import" in out
    for command in ("serve", "import", "train", "forecast", "backtest", "backbones", "config", "check", "backup",
                    "restore"):
        code, out, said = run(command, "--help")
        assert code == 0 and out, (command, said)


def test_usage_errors():
    for arguments in (("nonsense",), ("serve", "--nonsense"), ("import",), ("forecast",), ("backtest",), ("backup",),
                      ("restore",)):
        code, _, said = run(*arguments)
        assert code == 2 and said, (arguments, code, said)


def test_sigterm_keeps_what_was_acknowledged():
    daemon = Daemon().start()
    acknowledged, done = [], threading.Event()

    def client(number):
        i = 0
        while not done.is_set():
            try:
                answer = daemon.points({"series": f"term.{number}", "timestamp": BASE + i * 1000, "value": i})
            except OSError:
                return
            if answer.status == 200:
                acknowledged.append((number, i))
            i += 1

    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for one in clients:
        one.start()
    time.sleep(1)
    begin = time.monotonic()
    daemon.signal(signal.SIGTERM)
    assert daemon.wait_exit(10 * SLOWNESS) == 0, daemon.log()
    assert time.monotonic() - begin < 10 * SLOWNESS
    done.set()
    for one in clients:
        one.join()
    assert len(acknowledged) > 50, len(acknowledged)
    daemon.start()
    for number in range(4):
        points = daemon.get(f"/api/v1/series/term.{number}/points?limit=100000").json["points"]
        have = {at: value for at, value in points}
        assert len(have) == len(points)
        for who, i in acknowledged:
            if who == number:
                assert have.get(BASE + i * 1000) == i, (number, i)
    assert daemon.stop() == 0
    code, out, said = daemon.command("check")
    assert code == 0, (out, said)
    daemon.remove()


def test_sigterm_during_training():
    daemon = Daemon("train.seconds=60s").start()
    daemon.points({"series": "t", "points": [[BASE + i * 1000, i % 60] for i in range(3000)]})
    assert daemon.post_json("/api/v1/train", {"seconds": 60}).status == 202
    time.sleep(1)
    begin = time.monotonic()
    assert daemon.stop() == 0, daemon.log()
    assert time.monotonic() - begin < 10 * SLOWNESS
    daemon.remove()


def test_sigint_ends_it_too():
    daemon = Daemon().start()
    daemon.signal(signal.SIGINT)
    assert daemon.wait_exit(10 * SLOWNESS) == 0
    daemon.remove()


def gauge(daemon, name):
    return float(re.search(rf"^forecastd_{name} (\S+)$", daemon.get("/metrics").text, re.M)[1])


def test_free_bytes_of_the_disk_are_a_metric():
    daemon = Daemon().start()
    disk = os.statvfs(daemon.data)
    shown = gauge(daemon, "storage_free_bytes")
    assert 0 < shown <= disk.f_blocks * disk.f_frsize, (shown, disk)
    assert daemon.stop() == 0
    daemon.remove()


def test_sighup_reloads_and_goes_on():
    daemon = Daemon()
    path = os.path.join(daemon.folder, "forecastd.yaml")
    port_file = "server:\n  listen: 127.0.0.1:{}\nstorage:\n  path: {}\ningest:\n  max_future: {}\n"
    daemon.start()  # only to take a port that is free
    port = daemon.port
    daemon.stop()
    with open(path, "w", encoding="utf-8") as file:
        file.write(port_file.format(port, daemon.data, "10m"))
    with open(daemon.log_path, "ab") as log:
        daemon.process = subprocess.Popen([BINARY, "serve", "--config", path], stdout=log, stderr=log)
    daemon.wait_ready(15 * SLOWNESS)
    ahead = {"series": "hup", "timestamp": now_ms() + 3600000, "value": 1}
    assert daemon.points(ahead).status == 422
    with open(path, "w", encoding="utf-8") as file:
        file.write(port_file.format(port, daemon.data, "2h"))
    daemon.signal(signal.SIGHUP)
    deadline = time.monotonic() + 5 * SLOWNESS
    while daemon.points(ahead).status != 200:
        assert time.monotonic() < deadline, daemon.log()
        time.sleep(0.05)
    assert gauge(daemon, "config_last_reload_successful") == 1
    since = gauge(daemon, "config_last_reload_success_timestamp_seconds")
    # a file that makes no sense is refused in words; the old settings stay
    with open(path, "w", encoding="utf-8") as file:
        file.write("nonsense: [")
    daemon.signal(signal.SIGHUP)
    deadline = time.monotonic() + 5 * SLOWNESS
    while gauge(daemon, "config_last_reload_successful") != 0:
        assert time.monotonic() < deadline, daemon.log()
        time.sleep(0.05)
    assert daemon.points(ahead).status == 200
    assert gauge(daemon, "config_last_reload_success_timestamp_seconds") == since
    assert daemon.stop() == 0
    daemon.remove()


def test_bad_configuration_stops_the_start():
    said = serve_fails("--set", "server.nonsense=1")
    assert "server.nonsense" in said, said
    said = serve_fails("--set", "train.every=0s")
    assert "train.every" in said and "0" in said, said
    said = serve_fails("--set", "forecast.horizon=99999999")
    assert "forecast.horizon" in said, said
    said = serve_fails(environment={"FORECASTD_INGEST_MAX_SERIES": "many"})
    assert "max_series" in said.lower(), said
    assert "auth.tokens" in serve_fails("--set", "auth.tokens=/nowhere/x")
    assert serve_fails("--config", "/nowhere/forecastd.yaml")
    said = serve_fails("--set", "server.listen=0.0.0.0:0")
    assert "auth.tokens" in said and "--insecure" in said, said


def test_configuration_layers():
    daemon = Daemon()
    path = os.path.join(daemon.folder, "forecastd.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("train:\n  seconds: 11s\n  seed: 11\n  every: 2h\n")
    environment = {"FORECASTD_TRAIN_SECONDS": "22s", "FORECASTD_TRAIN_SEED": "22"}
    code, out, said = run("config", "--config", path, "--set", "train.seconds=33s", environment=environment)
    assert code == 0, said
    flat = "".join(out.split())
    assert "seconds:33s" in flat and "seed:22" in flat and "every:2h" in flat, out
    code, out, _ = run("config", "--example")
    assert code == 0 and "horizon" in out
    example = os.path.join(daemon.folder, "example.yaml")
    with open(example, "w", encoding="utf-8") as file:
        file.write(out)
    code, _, said = run("config", "--config", example, "--check")
    assert code == 0, said
    with open(path, "w", encoding="utf-8") as file:
        file.write("train:\n  sekonds: 11s\n")
    code, _, said = run("config", "--config", path, "--check")
    assert code != 0 and "sekonds" in said, said
    daemon.remove()


def test_a_taken_port_and_a_taken_store():
    daemon = Daemon().start()
    code, _, said = run("serve", "--set", f"server.listen=127.0.0.1:{daemon.port}", "--set",
                        f"storage.path={daemon.folder}/other")
    assert code == 1 and str(daemon.port) in said, said
    code, _, said = run("serve", "--set", "server.listen=127.0.0.1:1", "--set", f"storage.path={daemon.data}")
    assert code == 1 and said, said
    assert daemon.get("/healthz").status == 200
    assert daemon.stop() == 0
    daemon.remove()


def test_healthcheck():
    daemon = Daemon().start()
    url = f"http://127.0.0.1:{daemon.port}"
    assert run("healthcheck", "--url", url)[0] == 0
    assert daemon.stop() == 0
    assert run("healthcheck", "--url", url)[0] == 1
    daemon.remove()


def test_healthcheck_knows_the_file_of_the_environment():
    """As in the image, whose health check has no options."""
    daemon = Daemon()
    path = os.path.join(daemon.folder, "forecastd.yaml")
    port = free_port()
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"server:\n  listen: 127.0.0.1:{port}\nstorage:\n  path: {daemon.data}\n")
    environment = {"FORECASTD_CONFIG": path}
    with open(daemon.log_path, "ab") as log:
        daemon.process = subprocess.Popen([BINARY, "serve"], stdout=log, stderr=log, env={**os.environ, **environment})
    daemon.port = port
    daemon.wait_ready(15 * SLOWNESS)
    assert daemon.command("healthcheck", data=False, environment=environment)[0] == 0
    daemon.signal(signal.SIGHUP)  # and is let at it in its sandbox
    time.sleep(0.5)
    assert gauge(daemon, "config_last_reload_successful") == 1, daemon.log()
    assert daemon.stop() == 0
    daemon.remove()


def test_check_opens_the_files_that_are_named():
    daemon = Daemon()
    missing = [f"{option}=/nowhere/{option}" for option in (
        "auth.tokens", "tls.cert", "tls.key", "mqtt.password_file", "mqtt.ca_file", "log.audit", "alerts.busy.url_file",
        "alerts.busy.header_file", "alerts.busy.ca_file")]
    rest = ["mqtt.broker=mqtts://x", "mqtt.topics={name}", "mqtt.user=u", "alerts.busy.series=a", "alerts.busy.above=1"]
    flags = [word for setting in missing + rest for word in ("--set", setting)]
    code, said, errors = daemon.command("config", "--check", *flags, data=False)
    assert code == 1 and not said, (code, said)
    for setting in missing:
        option, path = setting.split("=")
        if option != "tls.key":  # the certificate comes first
            assert any(option in line and path in line and "No such file" in line for line in errors.split("\n")), (
                option, errors)
    audit, tokens = os.path.join(daemon.folder, "audit"), os.path.join(daemon.folder, "tokens")
    assert daemon.command("token", "create", "--tokens", tokens, "--scope", "read", data=False)[0] == 0
    code, said, errors = daemon.command("config", "--check", "--set", f"log.audit={audit}", "--set",
                                        f"auth.tokens={tokens}", data=False)
    assert (code, said, errors) == (0, "", "") and not os.path.exists(audit), (code, said, errors)
    daemon.remove()


def test_commands_on_a_store():
    daemon = Daemon().start()
    start = (now_ms() // 60000 - 400) * 60000
    daemon.points({"series": "cli", "points": [[start + i * 60000, i % 60] for i in range(400)]})
    url = f"http://127.0.0.1:{daemon.port}"
    code, out, said = run("forecast", "--url", url, "--series", "cli", "--horizon", "5m", "--format", "csv")
    assert code == 0 and out.startswith("series,timestamp,mean"), (out, said)
    assert daemon.stop() == 0
    code, out, said = daemon.command("forecast", "--series", "cli", "--horizon", "5m", "--format", "csv")
    assert code == 0 and len(out.strip().split("\n")) == 6, (out, said)
    code, out, said = daemon.command("forecast", "--series", "nobody")
    assert code == 1 and "nobody" in said, (code, said)
    assert daemon.command("check")[0] == 0
    code, out, said = daemon.command("export", "--series", "cli")
    assert code == 0, said
    lines = out.strip().split("\n")
    assert lines[0].startswith("series_id,timestamp,value") and len(lines) == 401, lines[:2]
    code, out, said = daemon.command("export", "--series", "nobody")
    assert code == 1 and not out and "nobody" in said, (code, out, said)
    daemon.remove()


def listed():
    code, out, said = run("backbones", "--json")
    assert code == 0, said
    return {one["name"]: one for one in json.loads(out)["backbones"]}


def test_backbones_are_listed_for_people_and_programs():
    code, out, said = run("backbones")
    assert code == 0, said
    for name, one in listed().items():
        assert f"{name}: {one['help']}" in out and one["paper"] in out, (name, out)
        code, alone, said = run("backbones", name)
        assert code == 0 and alone in out, (name, alone, said)
        assert ("causal, " in alone) == one["causal"] or "not causal" in alone, alone
        for option in one["options"]:
            line = [line for line in alone.split("\n") if line.startswith(f"  {option['name']} ")]
            assert len(line) == 1 and option["default"] in line[0], (option, alone)
            assert option["help"] in alone, (option, alone)
    code, out, said = run("backbones", "lstm")
    assert code == 1 and not out and all(name in said for name in ("lstm", *listed())), (code, out, said)
    assert run("backbones", "--json", "logsparse")[0] == 2


def test_the_readme_tells_of_every_backbone():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with open(os.path.join(root, "README.md"), encoding="utf-8") as file:
        rows = [line.strip("|\n").split("|") for line in file if line.startswith("| `")]
    told = {row[0].strip(" `"): re.findall(r"`(\w+)`", row[2]) for row in rows if len(row) == 3}
    for name, one in listed().items():
        assert told.get(name), (name, told)
        for option in told[name]:
            assert option in [other["name"] for other in one["options"]], (name, option)


def test_wrong_backbones_and_options_are_refused_with_what_is_possible():
    known = listed()
    folder = Daemon()
    file, table = os.path.join(folder.folder, "c.yaml"), os.path.join(folder.folder, "in.csv")
    with open(table, "w", encoding="utf-8") as out:
        out.write("time,a\n2024-01-01T00:00:00Z,1\n")
    cases = [(("model.backbone=lstm",), ("lstm", *known))]
    for name, one in known.items():
        names = [option["name"] for option in one["options"]]
        cases.append(((f"model.backbone={name}", "model.colour=red"), (name, "colour", *names)))
        cases.append(((f"model.backbone={name}", "model.width=0"), ("width", "0")))
        if "heads" in names:
            cases.append(((f"model.backbone={name}", "model.width=64", "model.heads=5"), ("heads",)))
    cases.append((("model.backbone=linformer", "model.kernel=3"), ("kernel", "linformer", "sharing")))
    cases.append((("model.backbone=linformer", "model.mode=encoder", "model.block=8"), ("block", "mode=causal")))
    cases.append((("model.backbone=linformer", "model.mode=encoder", "model.head=gaussian"), ("encoder", "quantile")))
    for settings, words in cases:
        flags = [word for setting in settings for word in ("--set", setting)]
        with open(file, "w", encoding="utf-8") as out:
            out.write("model:\n" + "".join("  {}: {}\n".format(*s[len("model."):].split("=")) for s in settings))
        for arguments in (("config", "--check", *flags), ("config", "--check", "--config", file),
                          ("backtest", table, "--horizon", "1", *flags)):
            code, _, said = run(*arguments)
            assert code != 0 and all(word in said for word in words), (arguments, words, said)
    for name in known:
        assert run("config", "--check", "--set", f"model.backbone={name}")[0] == 0, name
    code, _, said = run("backtest", table, "--horizon", "1", "--backbone", "lstm")
    assert code != 0 and all(name in said for name in ("lstm", *known)), said
    said = serve_fails("--set", "model.backbone=linformer", "--set", "model.kernel=3")
    assert "sharing" in said, said
    folder.remove()


def test_backtest_figures_are_those_of_its_forecasts():
    daemon = Daemon()
    path, written = os.path.join(daemon.folder, "in.csv"), os.path.join(daemon.folder, "out.csv")
    rows = [(50 + 20 * math.sin(i * math.pi / 12) + i * 7919 % 11, 900 + i * 104729 % 97 + i % 24) for i in range(300)]
    with open(path, "w", encoding="utf-8") as file:
        file.write("time,a,b\n")
        for i, (a, b) in enumerate(rows):
            file.write(f"2024-01-{1 + i // 24:02}T{i % 24:02}:00:00Z,{a:.3f},{b}\n")
    code, out, said = run("backtest", path, "--horizon", "12", "--windows", "2", "--season", "24", "--steps", "1",
                          "--forecasts", written, "--json")
    assert code == 0, said
    champion = json.loads(out)["models"]["champion"]
    with open(written, encoding="utf-8") as file:
        forecasts = list(csv.DictReader(file))
    assert len(forecasts) == 2 * 2 * 12, len(forecasts)
    levels = [name for name in forecasts[0] if name.startswith("q")]
    assert levels == ["q0.025"] + [f"q0.{i}" for i in range(1, 10)] + ["q0.975"], levels
    pinball, absolute, inside = dict.fromkeys(levels, 0.0), 0.0, 0
    for line in forecasts:
        name, window = line["series_id"].split("#")
        actual = round(rows[300 - 24 + 12 * (int(window) - 1) + int(line["step"]) - 1]["ab".index(name)], 3)
        absolute += abs(actual)
        inside += float(line["q0.1"]) <= actual <= float(line["q0.9"])
        for level in levels:
            miss = actual - float(line[level])
            pinball[level] += max(float(level[1:]) * miss, (float(level[1:]) - 1) * miss)
    for level in levels:
        want = 2 * pinball[level] / absolute
        assert abs(champion["rho" + level[1:]] - want) < 1e-6 * want, (level, champion, want)
    assert abs(champion["cover80"] - inside / len(forecasts)) < 1e-9, champion
    daemon.remove()


def test_check_finds_damage():
    daemon = Daemon().start()
    daemon.points({"series": "damage", "points": [[BASE + i * 1000, i * 0.37] for i in range(5000)]})
    assert daemon.stop() == 0
    assert daemon.command("check")[0] == 0
    [path] = [os.path.join(daemon.data, name) for name in os.listdir(daemon.data)
              if name.endswith((".db", ".sqlite", ".sqlite3"))] or [None]
    assert path, os.listdir(daemon.data)
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        for at in range(4096 + 100, size, 4096):
            file.seek(at)
            file.write(os.urandom(1500))
    code, out, said = daemon.command("check")
    assert code == 1 and (out or said), (code, out, said)
    daemon.remove()


for one in (test_sigterm_during_training,):
    one.slow = True


def test_default_quantiles_come_from_the_configuration():
    daemon = Daemon("forecast.quantiles=0.05,0.95").start()
    try:
        begin = now_ms() // 60000 * 60000 - 600000
        assert daemon.points([{"series": "q", "timestamp": begin + i * 60000, "value": i} for i in range(10)]).status == 200
        levels = daemon.get("/api/v1/forecast?series=q&steps=2").json["forecasts"][0]["quantiles"]
        assert list(levels) == ["0.05", "0.95"], levels
        levels = daemon.get("/api/v1/forecast?series=q&steps=2&level=80").json["forecasts"][0]["quantiles"]
        assert list(levels) == ["0.1", "0.9"], levels
    finally:
        daemon.remove()
