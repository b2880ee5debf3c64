#!/bin/sh
# Load in full: a hostile crowd, overload by reads and by writes, serving while training, starvation. Adds up counts.
# SPDX-License-Identifier: Apache-2.0
#
# usage: run.sh BUILD     CROWD=N connections (9900) for CROWD_SECONDS (90), OVERLOAD_SECONDS (60),
#                         STARVATION_SECONDS (60), PARTS: which of crowd reads writes training starvation. Loopback
#                         only. Closing line: "N passed, N failed".
set -u

build=$1
parts=${PARTS:-crowd reads writes training starvation}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
ulimit -n "$(ulimit -H -n)"

for part in $parts; do
    echo "== $part, load of the machine $(cut -d ' ' -f 1 /proc/loadavg)"
    case $part in
    crowd) set -- bench_crowd "$build/forecastd" "${CROWD:-9900}" "${CROWD_SECONDS:-90}" ;;
    reads | writes) set -- bench_overload "$build/forecastd" "${OVERLOAD_SECONDS:-60}" "$part" ;;
    training) set -- bench_training "$build/forecastd" ;;
    starvation) set -- bench_starvation "$build/forecastd" "${STARVATION_SECONDS:-60}" ;;
    *)
        echo "run.sh: no part \"$part\"; there are crowd reads writes training starvation" >&2
        exit 2
        ;;
    esac
    program=$1
    shift
    "$build/tests/load/$program" "$@" | tee -a "$log"
done

# A program that ended without its closing line counts as a failure.
awk -v parts="$(echo "$parts" | wc -w)" '
    /^[0-9]+ passed, [0-9]+ failed$/ { passed += $1; failed += $3; closed++ }
    END { failed += parts - closed; printf "%d passed, %d failed\n", passed, failed; exit failed > 0 }' "$log"
