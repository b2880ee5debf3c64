#!/bin/sh
# Opens the page in headless Chromium against a real daemon, from the empty store to the forecast fan.
# SPDX-License-Identifier: Apache-2.0
#
# usage: run.sh [PNG]     FORECASTD names the binary; PNG is where the picture goes
#                         (default docs/page.png); TRAIN_SECONDS (20) is how long it trains
#
# playwright-core comes from npm into a temporary folder outside the tree; it drives the installed
# Chromium and downloads no browser. Closing line: "N passed, N failed".
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
binary=${FORECASTD:-$root/build/forecastd}
picture=${1:-$root/docs/page.png}
tools=${TMPDIR:-/tmp}/forecastd-browser
scratch=$(mktemp -d)
daemon_pid=
sensor_pid=

finish() {
    for pid in $sensor_pid $daemon_pid; do
        kill "$pid" 2>/dev/null || continue
        kill -CONT "$pid" 2>/dev/null || :
    done
    [ -z "$daemon_pid" ] || wait "$daemon_pid" 2>/dev/null || :
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 1' INT TERM

if [ ! -d "$tools/node_modules/playwright-core" ]; then
    mkdir -p "$tools"
    (cd "$tools" && npm init -y >/dev/null 2>&1 &&
        npm install --no-audit --no-fund playwright-core@1 >"$scratch/npm.log" 2>&1) ||
        { cat "$scratch/npm.log"; echo '0 passed, 1 failed'; exit 1; }
fi

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port
"$binary" serve --set server.listen="127.0.0.1:$port" --set storage.path="$scratch/data" \
    >"$scratch/log" 2>&1 &
daemon_pid=$!
tries=0
until curl -sf -o /dev/null "$url/healthz"; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { cat "$scratch/log"; echo '0 passed, 1 failed'; exit 1; }
    sleep 0.1
done

"$root/deploy/sensor.sh" "$url" &
sensor_pid=$!
kill -STOP "$sensor_pid"
"$root/deploy/sample/replay.sh" "$root/deploy/sample/pjm_load.csv.gz" >"$scratch/sample.csv"

PLAYWRIGHT="$tools/node_modules/playwright-core/index.mjs" URL="$url" SAMPLE="$scratch/sample.csv" \
    DAEMON_PID="$daemon_pid" SENSOR_PID="$sensor_pid" PICTURE="$picture" PHONE_PICTURE="$tools/phone.png" \
    TRAIN_SECONDS="${TRAIN_SECONDS:-20}" node "$here/page.mjs"
