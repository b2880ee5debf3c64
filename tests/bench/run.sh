#!/bin/sh
# Every figure of the project, one line each: `make bench`.
# SPDX-License-Identifier: Apache-2.0
#
# usage: run.sh BUILD-FOLDER
# DATA: a folder with the sets of tests/bench/accuracy.py for accuracy at full budget (an hour and a half: M4 Hourly,
# eight weeks of PJM load, every set; docs/accuracy.csv is brought up to date); without it the bundled sample is used,
# with a minute of training. SECONDS_SCALE shortens the budgets (0.1: a tenth). PAIRS: trainings side by side, two cores
# each. PARTS: which parts (default: all but ablation, which needs DATA and another hour and a half).
set -eu
build=$1
forecastd=$build/forecastd
parts=${PARTS:-model storage serve ingest accuracy}
scale=${SECONDS_SCALE:-1}

# One of accuracy.py's parts with its budget in seconds.
measure() {
    python3 tests/bench/accuracy.py "$1" "$DATA" --forecastd "$forecastd" --seconds "$(seconds "$2")" \
        --pairs "${PAIRS:-1}" --csv "${CSV:-docs/accuracy.csv}"
}

seconds() { awk "BEGIN { n = int($1 * $scale); print (n > 0 ? n : 1) }"; }

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
            measure m4 600
            measure pjm 300
            measure sets 60
        else
            accuracy sample deploy/sample/pjm_load.csv.gz --horizon 24 --windows 7 --season 168 \
                --seconds "$(seconds 60)"
        fi
        ;;
    ablation) measure ablation 60 ;;
    *) echo "run.sh: no part \"$part\"; there are model storage serve ingest accuracy ablation" >&2; exit 2 ;;
    esac
done
