#!/bin/sh
# Every figure of the project, one line each: `make bench`.
# SPDX-License-Identifier: Apache-2.0
#
# usage: run.sh BUILD-FOLDER
# DATA: a folder with m4_hourly/train.csv.gz and pjm_load/hourly.csv.gz for the accuracy figures at full
# budget (15 minutes); without it the bundled sample is used, with a minute of training. SECONDS_SCALE
# shortens the budgets (0.1: a tenth). SUITES: which parts (default: all).
set -eu
build=$1
forecastd=$build/forecastd
parts=${PARTS:-model storage serve ingest accuracy}
scale=${SECONDS_SCALE:-1}

seconds() { awk "BEGIN { printf \"%d\", $1 * $scale }"; }

# One backtest; prints the figures of the model and of the seasonal naive.
accuracy() {
    name=$1 file=$2
    shift 2
    if ! "$forecastd" backtest "$file" "$@" --seed 1 --json >"$build/bench-$name.json" 2>"$build/bench-$name.log"; then
        tail -n 5 "$build/bench-$name.log" >&2
        exit 1
    fi
    for key in OWA MASE sMAPE wQL rho0.5 rho0.9 cover80 cover95; do
        python3 - "$build/bench-$name.json" "$name" "$key" <<'PYTHON'
import json, sys
path, name, key = sys.argv[1:]
models = json.load(open(path))["models"]
if models["champion"].get(key) is not None:
    note = "seasonal naive %.4f" % models["seasonal_naive"][key] if models["seasonal_naive"].get(key) is not None else ""
    print("%-42s %12.4f %-12s %s" % (name + "_" + key, models["champion"][key], "ratio", note))
PYTHON
    done
}

for part in $parts; do
    case $part in
    model) "$build/tests/bench/bench_model" ;;
    storage) "$build/tests/bench/bench_storage" ;;
    serve) "$build/tests/bench/bench_serve" "$forecastd" ;;
    ingest) "$build/tests/bench/bench_ingest" "$forecastd" ;;
    accuracy)
        if [ -n "${DATA:-}" ]; then
            accuracy m4_hourly "$DATA/m4_hourly/train.csv.gz" --horizon 48 --season 24 --m4 \
                --seconds "$(seconds 600)"
            accuracy pjm_load "$DATA/pjm_load/hourly.csv.gz" --horizon 24 --windows 7 --season 168 \
                --end 2018-08-02T00:00:00Z --seconds "$(seconds 300)"
        else
            accuracy sample deploy/sample/pjm_load.csv.gz --horizon 24 --windows 7 --season 168 \
                --seconds "$(seconds 60)"
        fi
        ;;
    *) echo "run.sh: no part \"$part\"; there are model storage serve ingest accuracy" >&2; exit 2 ;;
    esac
done
