"""The files of deploy/: they parse, fit together, and ask only for what the daemon really has.

SPDX-License-Identifier: Apache-2.0

Docker, Grafana, Telegraf and Kubernetes themselves are not run here; what they would be told is checked
against the daemon, and Prometheus' own files with promtool.
"""
import json
import os
import re
import subprocess
import time
import tomllib
from urllib.parse import urlsplit

import yaml

from daemon import JSON, ROOT, Daemon

DEPLOY = os.path.join(ROOT, "deploy")


def read(name):
    with open(os.path.join(DEPLOY, name), encoding="utf-8") as file:
        return file.read()


def documents(name):
    return list(yaml.safe_load_all(read(name)))


def dashboard():
    return json.loads(read("grafana/forecastd.json"))


def promtool(*arguments):
    said = subprocess.run(["promtool", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


# ---------------------------------------------------------------- Prometheus

def test_promtool_accepts_configuration_and_rules():
    promtool("check", "config", "deploy/prometheus.yml")
    promtool("check", "rules", "deploy/alerts.yml")


def test_alerts_fire_when_they_should():
    promtool("test", "rules", "tests/packaging/alerts_test.yml")
    rules = {rule["alert"] for group in documents("alerts.yml")[0]["groups"] for rule in group["rules"]}
    with open(os.path.join(ROOT, "tests/packaging/alerts_test.yml"), encoding="utf-8") as file:
        tried = set(re.findall(r'alertname="(\w+)"', file.read()))
    assert rules == tried, rules ^ tried


# ---------------------------------------------------------------- what is asked of the daemon

def metric_names(text):
    """forecastd_* in expressions, histograms' parts under the name of the whole."""
    return set(re.findall(r"\bforecastd_\w+", text))


def test_metrics_in_use_exist():
    daemon = Daemon().start()
    try:
        daemon.request("GET", "/api/v1/status")
        shown = daemon.request("GET", "/metrics").text
        checked = subprocess.run(["promtool", "check", "metrics"], input=shown, capture_output=True, text=True, check=False)
        assert checked.returncode == 0 and not checked.stderr, checked.stderr
    finally:
        daemon.stop()
        daemon.remove()
    # Families count: a daemon without a model has none of its rows, but says what they are.
    have = set(re.findall(r"^(?:# TYPE )?(forecastd_\w+)", shown, re.M))
    rules = documents("alerts.yml")[0]["groups"][0]["rules"]
    asked = metric_names(" ".join(rule["expr"] for rule in rules))
    asked |= metric_names(" ".join(target.get("expr", "") for panel in dashboard()["panels"]
                                   for target in panel["targets"]))
    assert len(asked) > 10, asked
    assert not asked - have, asked - have


def routes_in_use():
    """Paths under forecastd:7380 in deploy/, Telegraf's and Prometheus' own additions included."""
    paths = set()
    for where, _, names in os.walk(DEPLOY):
        for name in names:
            if name.endswith((".yaml", ".yml", ".json")):
                text = read(os.path.relpath(os.path.join(where, name), DEPLOY))
                paths |= set(re.findall(r"http://forecastd(?:\.forecastd)?:7380(/[\w/]+)", text))
    scraped = [job for job in documents("prometheus.yml")[0]["scrape_configs"]
               if job["static_configs"][0]["targets"] == ["forecastd:7380"]]
    assert scraped
    return paths | {scraped[0].get("metrics_path", "/metrics"), "/write"}


def test_routes_in_use_exist_or_are_said_to_be_new():
    with open(os.path.join(ROOT, "api/router.c"), encoding="utf-8") as file:
        built = set(re.findall(r'\{API_\w+, SCOPE_[\w |]+, "(/[^"]*)"', file.read()))
    with open(os.path.join(ROOT, "docs/docker.md"), encoding="utf-8") as file:
        said = set(re.findall(r"`(?:POST )?(/[\w/]+)`", file.read()))
    asked = routes_in_use()
    assert {"/metrics", "/api/v1/write", "/prometheus", "/api/v1/forecast", "/api/v1/accuracy"} <= asked, asked
    missing = {path for path in asked if path not in built
               and not any(route.startswith(path + "/") for route in built)}
    assert missing <= said, missing - said


def gjson(value, path):
    """The part of GJSON's paths that deploy/keda.yaml uses: keys, indices, an escaped point."""
    for part in re.split(r"(?<!\\)\.", path):
        value = value[int(part)] if isinstance(value, list) else value[part.replace("\\", "")]
    return value


def test_keda_reads_numbers_from_the_forecast():
    daemon = Daemon().start()
    try:
        now = int(time.time()) * 1000 // 300000 * 300000
        points = [[now - i * 300000, 50.0 + i % 12] for i in range(200)]
        daemon.request("POST", "/api/v1/points", json.dumps(
            {"series": "shop_requests_per_second", "labels": {"app": "shop"}, "points": points}), JSON)
        triggers = documents("keda.yaml")[0]["spec"]["triggers"]
        assert len(triggers) == 2
        for trigger in triggers:
            assert trigger["type"] == "metrics-api"
            url = urlsplit(trigger["metadata"]["url"])
            assert url.port == 7380
            answer = daemon.request("GET", f"{url.path}?{url.query}")
            assert answer.status == 200, answer
            number = gjson(answer.json, trigger["metadata"]["valueLocation"])
            assert 40 < number < 80, number
            assert float(trigger["metadata"]["targetValue"]) > 0
    finally:
        daemon.stop()
        daemon.remove()


def test_keda_reads_the_gauge():
    """The selector of its query, label by label, is one of the lines that Prometheus would scrape as the file says."""
    daemon = Daemon("forecast.metrics_max=10").start()
    try:
        now = int(time.time()) * 1000 // 15000 * 15000
        points = [[now - i * 15000, 50.0 + i % 12] for i in range(400)]
        daemon.request("POST", "/api/v1/points", json.dumps(
            {"series": "shop_requests_per_second", "labels": {"app": "shop"}, "points": points}), JSON)
        asked, = re.findall(r"params: (\{.*\})", read("keda-gauges.yaml"))
        query = "&".join(f"{key}={value}" for key, values in yaml.safe_load(asked).items() for value in values)
        text = daemon.get("/forecast/metrics?" + query).text
        trigger, = documents("keda-gauges.yaml")[0]["spec"]["triggers"]
        wanted = set(re.findall(r'(\w+="[^"]*")', trigger["metadata"]["query"]))
        lines = [line for line in text.split("\n") if line.startswith("forecastd_forecast{")]
        fitting = [line for line in lines if wanted == set(re.findall(r'(\w+="[^"]*")', line))]
        assert len(wanted) == 4 and len(fitting) == 1 and len(lines) == 2, (wanted, text)
        assert 40 < float(fitting[0].rsplit(" ", 1)[1]) < 80, fitting
    finally:
        daemon.stop()
        daemon.remove()


def test_accuracy_columns_exist():
    """The selectors of the panel of skill are members that docs/http.md shows for the route."""
    with open(os.path.join(ROOT, "docs/http.md"), encoding="utf-8") as file:
        page = file.read().split("## Accuracy")[1].split("```json")[1].split("```")[0]
    row = json.loads(page)["series"][0]
    targets = [target for panel in dashboard()["panels"] for target in panel["targets"]
               if "url" in target]
    assert targets
    for target in targets:
        assert urlsplit(target["url"]).path == "/api/v1/accuracy"
        for column in target["columns"]:
            assert gjson(row, column["selector"]) is not None or column["selector"].startswith("baseline.")


# ---------------------------------------------------------------- what fits together

def test_gauges_keep_the_labels_of_their_series():
    """As docs/alerting.md has the job, and as prometheus.yml has it in a comment."""
    with open(os.path.join(ROOT, "docs/alerting.md"), encoding="utf-8") as file:
        shown, = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", file.read(), re.S)
                  if "scrape_configs" in block]
    text = re.sub(r"^  # (- job_name: forecasts\n(?:  #  .*\n)+)",
                  lambda found: "  " + found[1].replace("\n  # ", "\n  "), read("prometheus.yml"), flags=re.M)
    for jobs in (shown["scrape_configs"], yaml.safe_load(text)["scrape_configs"]):
        job, = [job for job in jobs if job["job_name"] == "forecasts"]
        assert job["honor_labels"] is True and job["metrics_path"] == "/forecast/metrics", job


def test_kubernetes_says_how_to_let_it_call_others():
    text = read("kubernetes.yaml").replace("  egress: []\n", "")
    begin = text.index("  # egress:\n")
    lines = text[begin:text.index("---", begin)].splitlines()
    rules = yaml.safe_load("\n".join(line.replace("  # ", "", 1) for line in lines))["egress"]
    ports = [port["port"] for rule in rules for port in rule["ports"]]
    assert 53 in ports and 443 in ports and 1883 in ports, rules
    with open(os.path.join(ROOT, "docs/docker.md"), encoding="utf-8") as file:
        steps = file.read().split("## On Kubernetes")[1]
    assert steps.index("create secret generic -n forecastd forecastd-tokens") < steps.index("kubectl apply")


def test_compose_mounts_files_that_exist_and_is_locked_down():
    compose = documents("compose.yaml")[0]
    services = compose["services"]
    assert set(services) == {"forecastd", "prometheus", "telegraf", "grafana"}
    for name, service in services.items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert os.path.isfile(os.path.join(DEPLOY, source)), f"{name}: {source}"
            else:
                assert source in compose["volumes"], f"{name}: {source}"
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} publishes {port} beyond loopback"
        for other in service.get("depends_on", []):
            assert other in services
    assert services["telegraf"]["hostname"], "else each container is another host, and its series are new"
    daemon = services["forecastd"]
    assert daemon["read_only"] is True and daemon["cap_drop"] == ["ALL"]
    assert_settings_exist(daemon["environment"])


def assert_settings_exist(names):
    """FORECASTD_SECTION_KEY of a manifest is an option of the example file."""
    example = yaml.safe_load(read("forecastd.yaml"))
    known = {f"FORECASTD_{section}_{key}".upper() for section, keys in example.items() for key in keys or {}}
    for name in names:
        assert name in known, name


def test_grafana_sources_are_those_that_panels_use():
    sources = {source["uid"]: source["type"] for source in documents("grafana/datasources.yaml")[0]["datasources"]}
    board = dashboard()
    used = [panel["datasource"] for panel in board["panels"]]
    used += [target["datasource"] for panel in board["panels"] for target in panel["targets"]]
    used += [variable["datasource"] for variable in board["templating"]["list"] if "datasource" in variable]
    for source in used:
        assert sources.get(source["uid"]) == source["type"], source
    assert {source["uid"] for source in used} == set(sources)
    identities = [panel["id"] for panel in board["panels"]]
    assert len(set(identities)) == len(identities)
    # Panels lie side by side: no cell of the 24 columns is given twice.
    cells = [(x, y) for panel in board["panels"] for p in [panel["gridPos"]]
             for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24
    # The range goes beyond now, or no forecast would be seen.
    assert board["time"]["to"].startswith("now+")
    plugin = documents("compose.yaml")[0]["services"]["grafana"]["environment"]["GF_INSTALL_PLUGINS"]
    assert {kind for kind in sources.values() if kind != "prometheus"} == {plugin}


def test_telegraf_writes_to_forecastd():
    config = tomllib.loads(read("telegraf/telegraf.conf"))
    output, = config["outputs"]["influxdb"]
    assert output["urls"] == ["http://forecastd:7380"]
    assert config["inputs"]


def test_kubernetes_manifest():
    kinds = {document["kind"]: document for document in documents("kubernetes.yaml")}
    assert set(kinds) == {"Service", "NetworkPolicy", "StatefulSet"}
    for document in kinds.values():
        assert document["apiVersion"] and document["metadata"]["name"] == "forecastd"
    stateful = kinds["StatefulSet"]["spec"]
    pod = stateful["template"]
    labels = pod["metadata"]["labels"]
    assert stateful["selector"]["matchLabels"] == labels == kinds["Service"]["spec"]["selector"]
    assert kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert stateful["replicas"] == 1, "SQLite on one volume has one writer"
    container, = pod["spec"]["containers"]
    assert pod["spec"]["securityContext"]["runAsUser"] == 10001
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                            "capabilities": {"drop": ["ALL"]}}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert kinds["Service"]["spec"]["ports"][0]["targetPort"] in ports and ports["http"] == 7380
    claims = {claim["metadata"]["name"] for claim in stateful["volumeClaimTemplates"]}
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == claims | volumes
    settings = {item["name"]: item["value"] for item in container["env"]}
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert os.path.dirname(settings["FORECASTD_AUTH_TOKENS"]) in mounts and "--insecure" not in container["args"]
    assert settings["FORECASTD_SERVER_HEALTH_LISTEN"].endswith(f':{ports["health"]}')
    assert_settings_exist([item["name"] for item in container["env"]])
    daemon = Daemon().start()
    try:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            request = container[probe]["httpGet"]
            assert request["port"] in ports
            assert daemon.request("GET", request["path"]).status == 200
    finally:
        daemon.stop()
        daemon.remove()
