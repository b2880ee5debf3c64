#!/bin/sh
# Prints the bundled sample as CSV with its times shifted, so that its readings go up to this hour.
# SPDX-License-Identifier: Apache-2.0
#
# usage: replay.sh FILE [SINCE]     SINCE: epoch seconds; prints only what comes after it
#
# The shift is a whole number of weeks, so hours and weekdays stay what they were, and it is the one
# that lies closest to whole years, so seasons stay too. The file is cut at the current hour; what
# comes after it in the file is what the next hours will bring. Prints nothing where nothing is new.
# FILE has the form rows (series_id,start,step_seconds,values), all series with one start and step.
set -eu

file=$1
since=${2:-0}
now=$(date -u +%s)

gzip -dc "$file" | TZ=UTC0 awk -F, -v now="$now" -v since="$since" '
function iso(t) { return strftime("%Y-%m-%dT%H:%M:%SZ", t, 1) }
function ceil(x, whole) { whole = int(x); return whole < x ? whole + 1 : whole }
NR == 1 { header = $0; next }
{
    values = $NF; step = $(NF - 1); text = $(NF - 2)
    id = substr($0, 1, length($0) - length(values) - length(step) - length(text) - 3)
    gsub(/[-:TZ]/, " ", text)
    start = mktime(text)
    count = split(values, value, " ")
    if (!shift) {
        year = 31556952; week = 604800
        end = start + count * step
        years = ceil((now - end) / year)
        shift = ceil(years * year / week) * week
    }
    start += shift
    first = since < start ? 1 : int((since - start) / step) + 2
    last = int((now - start) / step) + 1
    if (last > count) last = count
    if (first > last) next
    if (header != "") { print header; header = "" }
    printf "%s,%s,%d,", id, iso(start + (first - 1) * step), step
    for (i = first; i < last; i++) printf "%s ", value[i]
    print value[last]
}'
