"""Nixtla's Python client against the daemon, with nothing changed but its base_url.

SPDX-License-Identifier: Apache-2.0

The client is not in Debian. Where an interpreter with it is at hand (NIXTLA_PYTHON, for instance of a virtual
environment after `pip install nixtla`, or the one that runs this) it is used; elsewhere its requests are replayed as
version 0.9 builds them: the same paths in the same order, the same headers and members.
"""
import http.client
import json
import math
import os
import random
import subprocess
import sys

from daemon import TOOL_SECONDS, Daemon

SCRIPT = """
import json, math, sys
import pandas as pd
from nixtla import NixtlaClient
client = NixtlaClient(base_url=sys.argv[1], api_key="any", max_retries=1)
assert client.validate_api_key()
times = pd.date_range("2026-01-01", periods=24 * 21, freq="h")
frame = pd.concat(pd.DataFrame({"unique_id": name, "ds": times,
                                "y": [level + 10 * math.sin(2 * math.pi * i / 24) for i in range(len(times))]})
                  for name, level in (("a", 100.0), ("b", 50.0)))
said = client.forecast(df=frame, h=24, freq="h", level=[80, 95])
quantiles = client.forecast(df=frame, h=24, freq="h", quantiles=[0.1, 0.9])
print(json.dumps({"columns": list(said.columns), "rows": len(said), "quantiles": list(quantiles.columns),
                  "mean": list(said["TimeGPT"]), "first": str(said["ds"].iloc[0])}))
"""


def has_client(python):
    return subprocess.run([python, "-c", "import nixtla"], capture_output=True, check=False).returncode == 0


def client_python():
    """An interpreter that has the client; None where there is none."""
    for python in (os.environ.get("NIXTLA_PYTHON", ""), sys.executable):
        if python and has_client(python):
            return python
    return None


def wave(count, level, seed):
    chance = random.Random(seed)
    return [level + 10 * math.sin(2 * math.pi * i / 24) + chance.gauss(0, 0.3) for i in range(count)]


def replay(daemon):
    """One forecast() of two series as the client asks for it, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)
    headers = {"Authorization": "Bearer any", "Content-Type": "application/json", "Accept": "*/*",
               "Accept-Encoding": "gzip, deflate, zstd", "Connection": "keep-alive", "User-Agent": "python-httpx/0.28.1"}

    def ask(method, path, body=None):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, (path, answer.status, text)
        return json.loads(text)

    assert ask("GET", "/validate_api_key")["detail"]
    detail = ask("GET", "/model_params?model=timegpt-1&freq=h")["detail"]
    assert isinstance(detail["input_size"], int) and isinstance(detail["horizon"], int)
    kept = 3 * detail["input_size"] + max(detail["horizon"], 24)
    one, two = wave(600, 100, 1)[-kept:], wave(600, 50, 2)[-kept:]
    payload = {"series": {"y": one + two, "sizes": [len(one), len(two)], "X": None, "X_future": None,
                          "start_datetime": ["2026-01-01T00:00:00", "2026-01-01T00:00:00"]},
               "model": "timegpt-1", "h": 24, "freq": "h", "clean_ex_first": True, "level": [80, 95],
               "finetune_steps": 0, "finetune_depth": 1, "finetune_loss": "default", "finetuned_model_id": None,
               "feature_contributions": False, "multivariate": False}
    said = ask("POST", "/v2/forecast", json.dumps(payload, separators=(",", ":")).encode())
    connection.close()
    said = said["data"] if "data" in said else said
    return said, len(one)


def test_forecast_of_the_client():
    daemon = Daemon("train.every=365d").start()
    try:
        python = client_python()
        if python:
            done = subprocess.run([python, "-c", SCRIPT, f"http://127.0.0.1:{daemon.port}"], capture_output=True,
                                  text=True, check=False, timeout=TOOL_SECONDS)
            assert done.returncode == 0, done.stderr[-3000:]
            said = json.loads(done.stdout.strip().split("\n")[-1])
            assert said["rows"] == 48 and said["first"] == "2026-01-22 00:00:00", said
            assert {"TimeGPT", "TimeGPT-lo-80", "TimeGPT-hi-95"} <= set(said["columns"]), said["columns"]
            assert {"TimeGPT-q-10", "TimeGPT-q-90"} <= set(said["quantiles"]), said["quantiles"]
            assert all(abs(said["mean"][h] - (100 + 10 * math.sin(2 * math.pi * h / 24))) < 3 for h in range(24))
            print("        with the client itself")
            return
        said, length = replay(daemon)
        print("        the client is not to be had here: its requests were replayed")
        # What the client takes out of an answer, each by this name.
        assert len(said["mean"]) == 48 and said["weights_x"] is None and said["feature_contributions"] is None
        assert sorted(said["intervals"]) == ["hi-80", "hi-95", "lo-80", "lo-95"], said["intervals"].keys()
        for number, level in enumerate((100, 50)):
            for h in range(24):
                truth = level + 10 * math.sin(2 * math.pi * (length + h) / 24)
                at = 24 * number + h
                assert abs(said["mean"][at] - truth) < 3, (at, said["mean"][at], truth)
                assert said["intervals"]["lo-95"][at] < said["mean"][at] < said["intervals"]["hi-95"][at]
    finally:
        daemon.remove()
