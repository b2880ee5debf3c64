#!/bin/sh
# Posts readings of this machine to forecastd once a second, over HTTP like any other sensor.
# SPDX-License-Identifier: Apache-2.0
#
# usage: sensor.sh URL        e.g. sensor.sh http://127.0.0.1:7380
#
# Everything is read from /proc with the shell's own `read`, so one reading costs two small
# processes: curl and sleep. Series: machine.cpu_percent, machine.memory_mb, machine.load1,
# machine.net_in_kbps and machine.net_out_kbps, all with the label host.
set -eu

url=$1
read -r host </proc/sys/kernel/hostname
labels="{\"host\":\"$host\"}"

# Uptime in hundredths of a second: the clock of the loop, read without starting a process.
uptime_cs() {
    read -r up rest </proc/uptime
    whole=${up%.*}
    part=${up#*.}
    up_cs=$((whole * 100 + 1$part - 100))
}

# Busy and total jiffies since start, of all cores.
cpu_times() {
    read -r _ user nice system idle iowait irq softirq steal rest </proc/stat
    busy=$((user + nice + system + irq + softirq + steal))
    total=$((busy + idle + iowait))
}

memory_used() {
    total_kb=0
    free_kb=0
    while read -r key value rest; do
        case $key in
        MemTotal:) total_kb=$value ;;
        MemAvailable:) free_kb=$value; break ;;
        esac
    done </proc/meminfo
    used_mb=$(((total_kb - free_kb) / 1024))
}

# Bytes of all interfaces but the loopback one.
network_bytes() {
    in_bytes=0
    out_bytes=0
    while read -r name rx _ _ _ _ _ _ _ tx rest; do
        case $name in
        lo: | Inter-* | face* | *'|'*) ;;
        *:) in_bytes=$((in_bytes + rx)); out_bytes=$((out_bytes + tx)) ;;
        esac
    done </proc/net/dev
}

point() {
    body="$body{\"series\":\"machine.$1\",\"labels\":$labels,\"timestamp\":$time_ms,\"value\":$2}
"
}

# What uptime 0 was in wall time; points are stamped on whole seconds.
uptime_cs
start_ms=$(($(date +%s%3N) - up_cs * 10))
cpu_times
network_bytes
busy_before=$busy total_before=$total in_before=$in_bytes out_before=$out_bytes

while :; do
    uptime_cs
    wait_cs=$((100 - (start_ms / 10 + up_cs) % 100))
    if [ "$wait_cs" -lt 10 ]; then wait_part=0.0$wait_cs; else wait_part=0.$wait_cs; fi
    [ "$wait_cs" -lt 100 ] || wait_part=1
    sleep "$wait_part"

    uptime_cs
    time_ms=$(((start_ms + up_cs * 10 + 200) / 1000 * 1000))
    cpu_times
    network_bytes
    memory_used
    read -r load1 rest </proc/loadavg
    spent=$((total - total_before))
    [ "$spent" -gt 0 ] || spent=1
    permille=$(((busy - busy_before) * 1000 / spent))

    body=
    point cpu_percent "$((permille / 10)).$((permille % 10))"
    point memory_mb "$used_mb"
    point load1 "$load1"
    point net_in_kbps "$(((in_bytes - in_before) * 8 / 1000))"
    point net_out_kbps "$(((out_bytes - out_before) * 8 / 1000))"
    busy_before=$busy total_before=$total in_before=$in_bytes out_before=$out_bytes

    # A sensor goes on whatever happens: a reading that cannot be delivered is left out.
    curl -s -o /dev/null --max-time 5 -H 'Content-Type: application/x-ndjson' \
        --data-binary "$body" "$url/api/v1/points" || :
done
