#!/bin/sh
# Runs fuzz harnesses for a bounded time each on their corpora; any finding fails.
# SPDX-License-Identifier: Apache-2.0
#
# usage: run.sh BUILD-FOLDER SECONDS HARNESS...   Closing line: "N passed, N failed".
#
# With FUZZ_RUNS=N in the environment each makes N inputs from one seed, or as many as there is time
# for: the same ones each time, as long as corpus and program are the same. The fuzzer also learns
# from what is compared, addresses among it, so these are held still where the system lets us.
#
# Inputs are as long as the grammar needs, which is where thousands a second come from: the few long
# ones of a corpus, at the limits of a parser, are cut here and run whole in `make check/corpora`.
# The quarantine of freed blocks is small for the same reason: an input frees less than that.
set -u
build=$1 seconds=$2
shift 2
passed=0 failed=0

bytes_max() {
    case $1 in
        fuzz_promql|fuzz_remote_write) echo 256 ;;
        fuzz_mqtt|fuzz_series) echo 400 ;;
        fuzz_config|fuzz_tokens) echo 1200 ;;
        fuzz_snapshot) echo 4000 ;;
        *) echo 600 ;;
    esac
}

until="-max_total_time=$seconds" still=
if [ -n "${FUZZ_RUNS:-}" ]; then
    until="-seed=1 -runs=$FUZZ_RUNS $until"
    setarch -R true 2>/dev/null && still='setarch -R'
fi
export ASAN_OPTIONS="quarantine_size_mb=16${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
for harness in "$@"; do
    corpus=tests/fuzz/corpus/${harness#fuzz_}
    found=$build/fuzz-found/$harness
    # What an earlier run found new would change what a seed makes.
    [ -z "${FUZZ_RUNS:-}" ] || rm -rf "$found/new"
    mkdir -p "$corpus" "$found/new"
    # shellcheck disable=SC2086 # a prefix and a list of options
    if $still "$build/tests/fuzz/$harness" $until -timeout=10 -rss_limit_mb=2048 \
        -max_len="$(bytes_max "$harness")" -reload=0 \
        -dict="tests/fuzz/dict/${harness#fuzz_}.dict" -print_final_stats=1 \
        -artifact_prefix="$found/" "$found/new" "$corpus" >"$found/log" 2>&1; then
        passed=$((passed + 1))
        printf '  ok    %-24s %s\n' "$harness" "$(sed -n \
            -e 's/^Done \([0-9]*\) runs in \([0-9]*\) second.*/\1 inputs, \2 s/p' "$found/log")"
    else
        failed=$((failed + 1))
        tail -n 30 "$found/log"
        printf 'FAILED  %s, input under %s\n' "$harness" "$found"
    fi
done
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
