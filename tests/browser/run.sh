#!/bin/sh
# Opens the page in headless Chromium against a real daemon, from the empty store to ten thousand series.
# SPDX-License-Identifier: Apache-2.0
#
# usage: run.sh [DIR]     FORECASTD names the binary; DIR is where the pictures of the README go (default docs/), others
#                         lie beside the tools; TRAIN_SECONDS (20) is how long it trains; VERBOSE=1 names each check
#
# playwright-core comes from npm into a temporary folder outside the tree; it drives the installed Chromium and
# downloads no browser. Closing line: "N passed, N failed".
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=${TMPDIR:-/tmp}/forecastd-browser
pictures=${1:-$root/docs}
others=$tools/pictures
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM

mkdir -p "$others" "$pictures"
if [ ! -d "$tools/node_modules/playwright-core" ]; then
    (cd "$tools" && npm init -y >/dev/null 2>&1 &&
        npm install --no-audit --no-fund playwright-core@1 >"$scratch/npm.log" 2>&1) ||
        { cat "$scratch/npm.log"; echo '0 passed, 1 failed'; exit 1; }
fi
"$root/deploy/sample/replay.sh" "$root/deploy/sample/pjm_load.csv.gz" >"$scratch/sample.csv"

PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export PORT
FORECASTD=${FORECASTD:-$root/build/forecastd} PLAYWRIGHT="$tools/node_modules/playwright-core/index.mjs" \
    SCRATCH="$scratch" SAMPLE="$scratch/sample.csv" SENSOR="$root/deploy/sensor.sh" PICTURES="$pictures" \
    OTHER_PICTURES="$others" \
    TRAIN_SECONDS="${TRAIN_SECONDS:-20}" node "$here/page.mjs"
