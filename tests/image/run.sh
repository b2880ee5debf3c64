#!/bin/sh
# Runs the container image as its users do and looks whether it keeps its promises.
# SPDX-License-Identifier: Apache-2.0
#
# usage: run.sh IMAGE         (make test-image)
#
# Every container has no network but its own loopback, a read-only root, no capability, and one
# volume; the client is the image's own binary. Closing line: "N passed, N failed".
set -u

image=$1
name=forecastd-test-$$
passed=0
failed=0

# Without limits of their own, containers fail to start where the caller may not raise its. Podman
# complains that it cannot set timers for health checks where there is no systemd; here they are run
# by hand.
engine() { podman --runtime runc --cgroup-manager cgroupfs "$@"; }
run() {
    engine run --network=none --read-only --cap-drop=all --security-opt no-new-privileges \
        --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 --memory 512m --pids-limit 128 \
        -v "$name:/var/lib/forecastd" "$@"
}
inside() { engine exec -i "$name" "$@"; }
state() { engine inspect --format "{{.State.$1}}" "$name"; }
line_of() { awk -v key="$1:" '$1 == key { print $2 }' "/proc/$(state Pid)/status"; }

# shellcheck disable=SC2317 # called by trap
clean() {
    engine rm -f -t 0 "$name" >/dev/null 2>&1
    engine volume rm -f "$name" >/dev/null 2>&1
}
trap clean EXIT
trap 'exit 1' INT TERM HUP

check() { # check WHAT WANTED FOUND
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
        printf '  ok      %s\n' "$1"
    else
        failed=$((failed + 1))
        printf '  FAILED  %s: "%s" instead of "%s"\n' "$1" "$3" "$2"
    fi
}

healthy() { # yes within ten seconds, or no
    tries=0
    until engine healthcheck run "$name" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 50 ] || { echo no; return; }
        sleep 0.2
    done
    echo yes
}

points() { # points FIRST LAST: so many lines of long CSV, a minute apart
    awk -v first="$1" -v last="$2" 'BEGIN {
        print "series_id,timestamp,value"
        for (i = first; i <= last; i++) printf "boiler,%.0f,%d\n", 1700000000000 + i * 60000, i % 60
    }'
}
send() { points "$1" "$2" | inside forecastd import --url http://127.0.0.1:7380 - >/dev/null 2>&1; }
stored() { inside forecastd export --data /var/lib/forecastd 2>/dev/null | grep -c boiler; }

# ---------------------------------------------------------------- what it is

check "user" 10001:10001 "$(engine image inspect --format '{{.Config.User}}' "$image")"
check "signal to stop" SIGTERM "$(engine image inspect --format '{{.Config.StopSignal}}' "$image")"
check "health check" "[CMD /usr/local/bin/forecastd healthcheck]" \
    "$(engine image inspect --format '{{.HealthCheck.Test}}' "$image")"
check "volumes" "map[/var/lib/forecastd:{}]" \
    "$(engine image inspect --format '{{.Config.Volumes}}' "$image")"
check "label of the version" "$(cat "$(dirname "$0")/../../VERSION")" \
    "$(engine image inspect --format '{{index .Labels "org.opencontainers.image.version"}}' "$image")"

# ---------------------------------------------------------------- how large it is

at_most() { # at_most MB WHAT FOUND; less than 1 MB says that it was not measured
    check "$2: $3 MB, at most $1" yes "$([ "$3" -ge 1 ] && [ "$3" -le "$1" ] && echo yes || echo no)"
}
megabytes() { awk '{ print int($1 / 1e6 + 0.999) }'; }

# The last line of the history is the base.
added=$(engine history --format '{{.Size}}' "$image" | head -n -1 | awk '
    BEGIN { unit["B"] = 1; unit["kB"] = 1e3; unit["MB"] = 1e6; unit["GB"] = 1e9 }
    { sum += $1 * unit[$2] }
    END { print sum }')
at_most 150 "the whole image" "$(engine image inspect --format '{{.Size}}' "$image" | megabytes)"
at_most 65 "on top of the base, most of it OpenBLAS" "$(echo "$added" | megabytes)"

# ---------------------------------------------------------------- what is in it

bill=${BILL:-$(dirname "$0")/../../build/image.cdx.json}
package() { grep -cF "\"name\": \"$1\", \"version\": \"$2\"" "$bill"; }
packages() { run --rm --no-healthcheck --entrypoint dpkg-query "$image" "$@"; }
check "the bill lists each package once, and uPlot" \
    "$(($(packages -W | grep -c .) + 1))" \
    "$(grep -c '"purl"' "$bill")"
# shellcheck disable=SC2016 # dpkg-query expands it
for one in libmicrohttpd12 libopenblas0-pthread libsqlite3-0; do
    check "the bill has $one as it is installed" 1 "$(package "$one" "$(packages -W -f '${Version}' "$one")")"
done

# ---------------------------------------------------------------- how it runs

begin() {
    said=$(run -d --name "$name" "$image" 2>&1 >/dev/null) && return
    printf '%s\n' "$said" >&2
    printf '%s passed, %s failed\n' "$passed" "$((failed + 1))"
    exit 1
}

begin
check "healthy" yes "$(healthy)"
check "runs as" 10001 "$(line_of Uid)"
check "effective capabilities" 0000000000000000 "$(line_of CapEff)"
check "bounding capabilities" 0000000000000000 "$(line_of CapBnd)"
check "no new privileges" 1 "$(line_of NoNewPrivs)"
check "seccomp filter" 2 "$(line_of Seccomp)"
writable() { inside sh -c "echo x >$1/probe && rm $1/probe" 2>/dev/null && echo yes || echo no; }
at_most 4 "forecastd itself" "$(inside stat -c %s /usr/local/bin/forecastd | megabytes)"
check "certificates to trust" yes \
    "$(inside test -s /etc/ssl/certs/ca-certificates.crt && echo yes || echo no)"
check "root can be written" no "$(writable /usr/local)"
check "volume can be written" yes "$(writable /var/lib/forecastd)"
send 1 5000
check "points are taken" 0 "$?"
check "forecast" 4 "$(inside forecastd forecast --url http://127.0.0.1:7380 --series boiler --steps 3 \
    --format csv | grep -c .)"
check "trains, with OpenBLAS" 0 "$(points 1 1000 |
    inside forecastd backtest - --horizon 12 --steps 2 >/dev/null 2>&1; echo $?)"

# ---------------------------------------------------------------- how it ends

send 5001 6000
engine kill -s KILL "$name" >/dev/null
engine wait "$name" >/dev/null 2>&1
check "killed" 137 "$(state ExitCode)"
engine start "$name" >/dev/null 2>&1
check "healthy after a kill" yes "$(healthy)"
check "points after a kill" 6000 "$(stored)"

engine stop -t 10 "$name" >/dev/null 2>&1
check "clean stop" 0 "$(state ExitCode)"
engine rm "$name" >/dev/null
check "store after the stop" 0 "$(run --rm "$image" check --data /var/lib/forecastd >/dev/null 2>&1
    echo $?)"
begin
check "healthy in a new container" yes "$(healthy)"
check "points in a new container" 6000 "$(stored)"

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
