#!/bin/sh
# The first five minutes: starts the daemon with sample data, live readings and a first training.
# SPDX-License-Identifier: Apache-2.0
#
# usage: run.sh [BINARY]     (make run; settings: LISTEN, DATA, TRAIN_SECONDS)
#
# Stays in the foreground until Ctrl-C, which stops everything that it started. Data stay in DATA,
# so a second run goes on where the first one ended: what came in meanwhile is added to the replay,
# and a model that is there is not trained again here (the daemon retrains on its own schedule).
set -eu

binary=${1:-build/forecastd}
listen=${LISTEN:-127.0.0.1:7380}
data=${DATA:-./forecastd-data}
train_seconds=${TRAIN_SECONDS:-60}
here=$(dirname "$0")
sample=$here/sample/pjm_load.csv.gz
url=http://$listen
log=$data/forecastd.log

daemon_pid=
sensor_pid=
replay_pid=
scratch=$(mktemp -d)

say() { printf '  %-10s %s\n' "$1" "$2"; }

# shellcheck disable=SC2317 # called by trap
stop_all() {
    trap '' INT TERM HUP
    for pid in $sensor_pid $replay_pid; do kill "$pid" 2>/dev/null || :; done
    if [ -n "$daemon_pid" ] && kill -TERM "$daemon_pid" 2>/dev/null; then
        wait "$daemon_pid" 2>/dev/null || :
    fi
    rm -rf "$scratch"
}
# shellcheck disable=SC2317 # called by trap
interrupted() {
    printf '\n'
    stop_all
    trap - EXIT
    say stopped "the data stay in $data; make run goes on from there"
    exit 0
}
trap stop_all EXIT
trap interrupted INT TERM HUP

die() {
    printf '\n%s\n' "$1" >&2
    if [ -s "$log" ]; then
        printf 'The last lines of %s:\n' "$log" >&2
        tail -n 8 "$log" | sed 's/^/    /' >&2
    fi
    exit 1
}

# get PATH: the answer goes to $scratch/answer; false where there is none or it is no 2xx.
get() { curl -sf --max-time 10 -o "$scratch/answer" "$url$1"; }

# value KEY: the first "KEY": in the last answer, without quotes.
value() {
    tr ',{}[]' '\n' <"$scratch/answer" |
        sed -n "s/^ *\"$1\": *\"\{0,1\}\([^\"]*\)\"\{0,1\}.*/\1/p" | head -n 1
}

# ---------------------------------------------------------------- the daemon

code=0
curl -s -o /dev/null --max-time 3 "$url/healthz" || code=$?
if [ "$code" -ne 7 ]; then
    log=/dev/null
    die "Something answers on $listen already, perhaps a forecastd that still runs.
Stop it, or choose another address: make run LISTEN=127.0.0.1:7390"
fi

mkdir -p "$data"
printf '\nforecastd %s\n\n' "$("$binary" --version | sed 's/^forecastd *//')"
"$binary" serve --set server.listen="$listen" --set storage.path="$data" >>"$log" 2>&1 &
daemon_pid=$!
tries=0
until get /healthz; do
    kill -0 "$daemon_pid" 2>/dev/null || { daemon_pid=; die "The daemon did not start."; }
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || die "The daemon does not answer on $url."
    sleep 0.1
done
say daemon "$url, data in $data, log in $log"

# ---------------------------------------------------------------- sample and live readings

# Adds to the replay what is not stored yet; $1: only what comes after this time in epoch seconds.
replay() {
    "$here/sample/replay.sh" "$sample" "$1" >"$scratch/replay.csv" || return 1
    [ -s "$scratch/replay.csv" ] || return 0
    curl -sf --max-time 60 -o "$scratch/replayed" -H 'Content-Type: text/csv' \
        --data-binary "@$scratch/replay.csv" "$url/api/v1/import"
}

newest_s=0
if get "/api/v1/series?match=pjm.load&limit=1"; then
    newest=$(value last_at)
    case $newest in
    '' | null) ;;
    *[!0-9]*) newest_s=$(date -u -d "$newest" +%s) ;;
    *) newest_s=$((newest / 1000)) ;;
    esac
fi
replay "$newest_s" || die "The sample could not be imported."
if [ "$newest_s" -eq 0 ]; then
    say sample "pjm.load, hourly electricity load of 4 zones, a replay of 2015 to 2018 moved to now"
else
    say sample "pjm.load, kept from the last run and brought up to now"
fi

"$here/sensor.sh" "$url" &
sensor_pid=$!
say readings "machine.*, CPU, memory, load and network of this machine, once a second"

(
    nap_pid=
    trap 'kill $nap_pid 2>/dev/null; exit 0' TERM
    trap '' INT
    while :; do
        sleep 60 &
        nap_pid=$!
        wait "$nap_pid"
        replay "$(($(date +%s) - 7200))" || :
    done
) &
replay_pid=$!

# ---------------------------------------------------------------- first training

bar() { # bar PROGRESS LOSS SECONDS_LEFT
    awk -v p="$1" -v loss="$2" -v left="$3" 'BEGIN {
        full = int(p * 30 + 0.5)
        for (i = 0; i < 30; i++) line = line (i < full ? "#" : ".")
        printf "[%s] %3d %%", line, p * 100
        if (loss + 0 != 0) printf "  loss %.3f", loss
        if (left + 0 > 0) printf "  %d s left", left + 0.5
    }'
}

train() {
    # Where the daemon has begun to train by itself, that job is the one to follow.
    curl -sf --max-time 10 -o "$scratch/answer" -H 'Content-Type: application/json' \
        -d "{\"seconds\":$train_seconds}" "$url/api/v1/train" || get /api/v1/jobs || return 1
    job=$(value id)
    [ -n "$job" ] || return 1
    shown=0
    while get "/api/v1/jobs/$job"; do
        state=$(value state)
        line=$(bar "$(value progress)" "$(value loss)" "$(value seconds_left)")
        if [ -t 1 ]; then
            printf '\r  %-10s %s\033[K' training "$line"
        elif [ "$state" = running ] && [ $((shown % 20)) -eq 0 ]; then
            say training "$line"
        fi
        shown=$((shown + 1))
        case $state in
        done) break ;;
        failed | cancelled) failure=$(value error); return 1 ;;
        esac
        sleep 0.5
    done
    if [ -t 1 ]; then printf '\r\033[K'; fi
}

failure=
get /readyz || :
if [ "$(value models)" = true ]; then
    say model "kept from the last run; the daemon retrains it every hour"
elif train; then
    say model "trained in about $train_seconds seconds; the daemon goes on retraining every hour"
else
    [ -t 1 ] && printf '\r\033[K'
    say model "the first training did not finish${failure:+: $failure}; a baseline serves meanwhile"
fi

# ---------------------------------------------------------------- what to do next

cat <<TEXT

  Look at it:
    $url/

  Ask for the next three hours:
    curl -G $url/api/v1/forecast -d steps=3 -d format=csv \\
         --data-urlencode 'series=pjm.load{zone="AEP"}'

  Send a reading of your own:
    curl $url/api/v1/points -H 'Content-Type: application/json' \\
         -d '{"series":"boiler.temp","value":21.4}'

  See who serves which series:
    curl $url/api/v1/series

  Ctrl-C stops everything. The data stay.

TEXT

code=0
wait "$daemon_pid" || code=$?
daemon_pid=
die "The daemon ended by itself (exit $code)."
