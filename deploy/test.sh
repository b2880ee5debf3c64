#!/bin/sh
# Runs the named steps of the test plan one after the other and adds up what they counted.
# SPDX-License-Identifier: Apache-2.0
#
# usage: test.sh STEP...      a step is a make target, with its own variables behind commas:
#                             check/gradient,DOUBLE=1
# Every step's last line "N passed, N failed", with ", N skipped" where there are any, is counted; a
# step that fails without such a line counts as one failure. All steps run, whatever fails, and each
# says how long it took and how much processor time, which other work on the machine hardly changes.
# The closing line is the total; how many were skipped stands before it.
set -u

make=${MAKE:-make}
passed=0
failed=0
skipped=0
failures=
begin=$(date +%s)
log=$(mktemp)
trap 'rm -f "$log" "$log.times"' EXIT

# Sets `used` to the seconds of processor time of all steps so far; not in a subshell, whose own
# children `times` would tell.
measure() {
    times >"$log.times"
    used=$(awk 'NR == 2 {
        for (i = 1; i <= 2; i++) { split($i, part, /[ms]/); sum += part[1] * 60 + part[2] }
        printf "%.0f", sum
    }' "$log.times")
}

for step in "$@"; do
    start=$(date +%s)
    measure
    before=$used
    # shellcheck disable=SC2046 # one word an argument
    printf '\n== %s\n' "$step"
    code_file=$log.code
    # shellcheck disable=SC2046,SC2086 # MAKE may hold options; one word an argument
    { $make --no-print-directory $(printf '%s' "$step" | tr ',' ' ' | sed 's/+/,/g') 2>&1
        echo $? >"$code_file"; } | tee "$log"
    code=$(cat "$code_file")
    rm -f "$code_file"
    closing=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1)
    good=$(printf '%s' "$closing" | sed 's/ passed.*//')
    bad=$(printf '%s' "$closing" | sed 's/.*passed, \([0-9]*\) failed.*/\1/')
    left_out=$(printf '%s' "$closing" | sed -n 's/.* failed, \([0-9]*\) skipped.*/\1/p')
    good=${good:-0}
    left_out=${left_out:-0}
    bad=${bad:-0}
    if [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    if [ "$code" -eq 0 ] && [ -z "$closing" ]; then good=1; fi
    if [ "$bad" -ne 0 ]; then failures="$failures $step"; fi
    passed=$((passed + good))
    failed=$((failed + bad))
    skipped=$((skipped + left_out))
    measure
    printf -- '-- %s: %s passed, %s failed, %s skipped, %s s, processor %s s\n' \
        "$step" "$good" "$bad" "$left_out" $(($(date +%s) - start)) $((used - before))
done

printf '\n%s s in all, processor %s s\n' $(($(date +%s) - begin)) "${used:-0}"
[ -z "$failures" ] || printf 'failed:%s\n' "$failures"
[ "$skipped" -eq 0 ] || printf 'skipped: %s\n' "$skipped"
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
