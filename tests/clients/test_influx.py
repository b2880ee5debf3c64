"""InfluxDB's own JavaScript clients, versions 1 and 2, with their defaults: influx.js says what they do.

SPDX-License-Identifier: Apache-2.0

Needs node and npm, which fetches the two packages into a folder of the moment.
"""
import os
import shutil
import subprocess
import tempfile

from daemon import TOOL_SECONDS

PACKAGES = ("influx@5.12.0", "@influxdata/influxdb-client@1.35.0")
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "influx.js")


def test_javascript_clients(daemon):
    folder = tempfile.mkdtemp(prefix="forecastd-clients-")
    try:
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, *PACKAGES],
                       check=True, timeout=TOOL_SECONDS)
        done = subprocess.run(["node", SCRIPT, str(daemon.port)], capture_output=True, text=True, timeout=TOOL_SECONDS,
                              env={**os.environ, "NODE_PATH": os.path.join(folder, "node_modules")}, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        shutil.rmtree(folder, ignore_errors=True)
