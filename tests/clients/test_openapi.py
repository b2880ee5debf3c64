"""Redocly's linter over the OpenAPI document that the daemon serves: no error and no warning of its recommended rules.

SPDX-License-Identifier: Apache-2.0

Needs node and npm, which fetches the package into a folder of the moment.
"""
import json
import os
import shutil
import subprocess
import tempfile

from daemon import TOOL_SECONDS

PACKAGE = "@redocly/cli@2.77.0"
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


def lint(folder, document):
    """The problems that are found, as the linter's own objects."""
    path = os.path.join(folder, "openapi.json")
    with open(path, "wb") as file:
        file.write(document)
    done = subprocess.run([os.path.join(folder, "node_modules/.bin/redocly"), "lint", "--extends=recommended", "--format=json", path],
                          capture_output=True, text=True, timeout=TOOL_SECONDS, cwd=folder, env={**os.environ, **QUIET}, check=False)
    assert "{" in done.stdout, done.stdout + done.stderr
    return json.JSONDecoder().raw_decode(done.stdout[done.stdout.index("{"):])[0]["problems"]


def test_redocly(daemon):
    folder = tempfile.mkdtemp(prefix="forecastd-redocly-")
    try:
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, PACKAGE], check=True, timeout=TOOL_SECONDS)
        document = daemon.get("/openapi.json").body
        found = lint(folder, document)
        assert not found, [(one["ruleId"], one["message"], [place.get("pointer") for place in one["location"]]) for one in found[:5]]
        # The linter sees what is wrong, so that its silence says something.
        planted = document.replace(b'"operationId":', b'"operationID":', 1)
        assert planted != document and lint(folder, planted)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
