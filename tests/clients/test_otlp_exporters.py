"""OpenTelemetry's SDK for JavaScript with its protobuf and its JSON exporter: otlp.js says what they do.

SPDX-License-Identifier: Apache-2.0

Needs node and npm, which fetches the packages into a folder of the moment.
"""
import os
import shutil
import subprocess
import tempfile

from daemon import TOOL_SECONDS

PACKAGES = ("@opentelemetry/api@1.9.1", "@opentelemetry/sdk-metrics@2.12.1", "@opentelemetry/resources@2.12.1",
            "@opentelemetry/exporter-metrics-otlp-proto@0.223.0", "@opentelemetry/exporter-metrics-otlp-http@0.223.0")
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "otlp.js")


def test_javascript_exporters(daemon):
    folder = tempfile.mkdtemp(prefix="forecastd-clients-")
    try:
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, *PACKAGES],
                       check=True, timeout=TOOL_SECONDS)
        done = subprocess.run(["node", SCRIPT, str(daemon.port)], capture_output=True, text=True, timeout=TOOL_SECONDS,
                              env={**os.environ, "NODE_PATH": os.path.join(folder, "node_modules")}, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        shutil.rmtree(folder, ignore_errors=True)
