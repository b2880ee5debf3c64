#!/bin/sh
# Runs test programs one after the other, shows their output on failure, and counts.
# SPDX-License-Identifier: Apache-2.0
#
# usage: run.sh PROGRAM...   Closing line: "N passed, N failed" (programs' own tests, as cmocka counts).
passed=0
failed=0
for program in "$@"; do
    log=$program.log
    start=$(date +%s)
    timeout "${TEST_TIMEOUT:-600}" "$program" >"$log" 2>&1
    code=$?
    ok=$(grep -c '^\[       OK \]' "$log")
    bad=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test(s), listed below:$/\1/p' "$log" | tail -n 1)
    bad=${bad:-0}
    if [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    passed=$((passed + ok))
    failed=$((failed + bad))
    if [ "$code" -ne 0 ]; then
        tail -n 60 "$log"
        printf 'FAILED  %s (exit %s)\n' "$program" "$code"
    else
        printf '  ok    %-50s %4s tests %4s s\n' "${program##*/tests/}" "$ok" "$(($(date +%s) - start))"
    fi
done
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
