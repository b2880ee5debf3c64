#!/bin/sh
# Runs test programs, shows their output on failure, and counts; what a program skips is named.
# SPDX-License-Identifier: Apache-2.0
#
# usage: run.sh PROGRAM...   Closing line: "N passed, N failed" (programs' own tests, as cmocka counts), and
#                            ", N skipped" where some could not run here.
#
# TEST_JOBS programs run side by side, one where it is not set. TEST_UNDER is a command in front of
# each program, such as valgrind's. TEST_TIMEOUT is the most that one may take, in seconds.
set -u

counts=$(mktemp -d)
trap 'rm -rf "$counts"' EXIT

# What one program has to say comes in one piece, whoever runs beside it.
# shellcheck disable=SC2016,SC2086 # expanded by the inner shell; TEST_UNDER holds options
printf '%s\0' "$@" | COUNTS=$counts xargs -0 -P "${TEST_JOBS:-1}" -n 1 sh -c '
    program=$0
    log=$program.log
    start=$(date +%s)
    timeout "${TEST_TIMEOUT:-600}" ${TEST_UNDER:-} "$program" >"$log" 2>&1
    code=$?
    ok=$(grep -c "^\[       OK \]" "$log")
    bad=$(sed -n "s/^\[  FAILED  \] \([0-9]*\) test(s), listed below:$/\1/p" "$log" | tail -n 1)
    bad=${bad:-0}
    left_out=$(grep "^\[  SKIPPED \] [a-z_0-9]*$" "$log" | sort -u | wc -l)
    if [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    counts=$COUNTS/$(echo "$program" | tr / _)
    echo "$ok $bad $left_out" >"$counts.count"
    if [ "$code" -ne 0 ]; then
        printf "%s\nFAILED  %s (exit %s)\n" "$(tail -n 60 "$log")" "$program" "$code"
    else
        times >"$counts.times" # not in a pipe, whose own children it would tell
        used=$(awk "NR == 2 { split(\$0, part, /[ms]/); printf \"%.0f\", part[1] * 60 + part[2] + part[3] * 60 + part[4] }" \
            "$counts.times")
        printf "  ok    %-50s %4s tests %4s s, processor %4s s\n" "${program##*/tests/}" "$ok" \
            "$(($(date +%s) - start))" "$used"
        [ "$left_out" -eq 0 ] || grep "^\[  SKIPPED \] [a-z_0-9]*$" "$log" | sort -u | sed "s/^.* /  LEFT OUT  /"
    fi
'

cat "$counts"/*.count | awk '
{ passed += $1; failed += $2; skipped += $3 }
END {
    printf("%d passed, %d failed%s\n", passed, failed, (skipped > 0 ? ", " skipped " skipped" : ""))
    exit failed > 0
}'
