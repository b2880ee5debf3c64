#!/bin/sh
# Runs the torture in full, two programs at a time, and adds up what they counted.
# SPDX-License-Identifier: Apache-2.0
#
# usage: run.sh BUILD     TORTURE_SHARE=N for 1/N of it. Power cuts, I/O and allocation faults, delays,
#                         full disks, simulation, kills. Closing line: "N passed, N failed": tests, and kills
#                         of the daemon and its commands.
set -u

build=$1
share=${TORTURE_SHARE:-1}
root=$(dirname "$0")/../..
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
begin=$(date +%s)

crash_kills="CRASH_KILLS=$((300 / share)) MIGRATION_KILLS=$((200 / share)) COPY_KILLS=$((150 / share))"

# name, then what env and the shell run
steps="
kill-1|KILLS=$((2350 / share)) $build/tests/contract/test_kill
kill-2|KILLS=$((2350 / share)) $build/tests/contract/test_kill
crash|FORECASTD=$build/forecastd $crash_kills ${PYTHON:-python3} $root/tests/crash/run.py
no-memory|STRIDE=$share $build/tests/torture/test_no_memory
power-1|FIRST=10000 SEEDS=$((5000 / share)) $build/tests/torture/test_power_loss
power-2|FIRST=20000 SEEDS=$((5000 / share)) $build/tests/torture/test_power_loss
io-faults|STRIDE=$share $build/tests/torture/test_io_faults
delays|STRIDE=$share $build/tests/torture/test_delays
disk-full|SEEDS=$((600 / share)) $build/tests/torture/test_disk_full
simulation|SEEDS=$((1000 / share)) $build/tests/torture/test_simulation
requests|$build/tests/unit/api/test_no_memory
"

# shellcheck disable=SC2016 # expanded by the inner shell
printf '%s' "$steps" | grep '|' | tr '\n' '\0' | LOGS=$logs xargs -0 -P 2 -n 1 sh -c '
    name=${0%%|*}
    start=$(date +%s)
    env ${0#*|} >"$LOGS/$name" 2>"$LOGS/$name.err"
    code=$?
    echo "== $name: $(($(date +%s) - start)) s, exit $code"
    grep -v "^\[\|^[0-9]* passed, [0-9]* failed" "$LOGS/$name"
    [ $code -eq 0 ] || { echo "FAILED  $name" | tee "$LOGS/$name.failed"; grep -v "^time=" "$LOGS/$name.err" | tail -n 20; }
'

passed=$(cat "$logs"/* | grep -c '^\[       OK \]')
failed=$(ls "$logs" | grep -c '\.failed$')
kills=$(sed -n 's/^\([0-9]*\) passed, [0-9]* failed$/\1/p' "$logs/crash" | tail -n 1)
printf '%s s in all\n' $(($(date +%s) - begin))
printf '%s passed, %s failed\n' $((passed + ${kills:-0})) "$failed"
[ "$failed" -eq 0 ]
