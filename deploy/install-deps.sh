#!/bin/sh
# Installs the Debian 12 packages that building, testing or running forecastd needs.
# SPDX-License-Identifier: Apache-2.0
#
# usage: install-deps.sh [SET...]     SET: build demo test fuzz coverage valgrind browser clients
#                                     packaging image peers runtime (build demo)
#
# Says which packages are missing and installs them as root or through sudo; where neither is
# possible it prints the command and exits with 1. When nothing is missing it prints nothing.
# Shared by `make run`, `make test`, .ci/run and the Dockerfile, so the lists stand here only.
set -eu

packages_of() {
    case $1 in
    build) # OpenBLAS by its full name: only the pthread flavour is safe under several threads
        echo gcc libc6-dev make libmicrohttpd-dev libgnutls28-dev libseccomp-dev \
            libopenblas-pthread-dev libjansson-dev libsqlite3-dev libyaml-dev zlib1g-dev \
            libsnappy-dev libzstd-dev libcurl4-gnutls-dev ;;
    demo)    echo curl gzip mawk ;;
    test)    # the last for the HTTP suite: answers are held against the OpenAPI document
        echo libcmocka-dev python3 openssl binutils curl sqlite3 git tzdata python3-jsonschema ;;
    fuzz)    echo clang-14 libclang-rt-14-dev llvm-14 ;;
    coverage) echo gcovr ;;
    valgrind) echo valgrind libc6-dbg ;;
    browser) echo chromium nodejs npm fonts-dejavu-core ;;
    clients)
        # libprotobuf-c1 for collectd's write_prometheus
        echo prometheus influxdb influxdb-client victoria-metrics nodejs npm mosquitto \
            mosquitto-clients openssl collectd-core libprotobuf-c1 \
            python3-jsonschema ;;
    packaging) # promtool comes with prometheus
        echo systemd mandoc prometheus python3-yaml strace ;;
    peers)   echo influxdb victoria-metrics prometheus ;;
    image)   echo podman runc mmdebstrap containernetworking-plugins iptables curl ;;
    runtime) # what the linked binary needs, and whom webhooks over https may trust
        echo libmicrohttpd12 libgnutls30 libseccomp2 libopenblas0-pthread libjansson4 \
            libsqlite3-0 libyaml-0-2 zlib1g libsnappy1v5 libzstd1 libcurl3-gnutls tzdata \
            ca-certificates ;;
    *)  printf 'no set named "%s"; the sets stand at the top of this file\n' "$1" >&2
        exit 2 ;;
    esac
}

wanted=
for set in "${@:-build demo}"; do
    for one in $set; do
        list=$(packages_of "$one")
        wanted="$wanted $list"
    done
done

if ! command -v dpkg-query >/dev/null 2>&1; then
    printf 'forecastd is built on Debian 12. Please install what these packages hold:%s\n' \
        "$wanted" >&2
    exit 1
fi

# shellcheck disable=SC2086 # a list of package names
present=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $wanted 2>/dev/null |
    awk '$2 == "installed" { print $1 }') || true
missing=
for package in $wanted; do
    case " $missing " in *" $package "*) continue ;; esac
    # Node's own packages bring npm along and refuse Debian's beside it.
    [ "$package" != npm ] || ! command -v npm >/dev/null 2>&1 || continue
    printf '%s\n' "$present" | grep -qx -- "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

printf 'installing what is missing:%s\n' "$missing"
if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1; then
    as_root=sudo
    printf 'installing them with sudo, which may ask for your password\n'
else
    printf 'Neither root nor sudo: please have this run, then try again.\n' >&2
    printf '    apt-get update && apt-get install -y --no-install-recommends%s\n' "$missing" >&2
    exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # lists
if ! { $as_root apt-get update -q >"$log" 2>&1 &&
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        $missing >>"$log" 2>&1; }; then
    tail -n 15 "$log" >&2
    printf 'The packages could not be installed. The command was:\n' >&2
    printf '    apt-get update && apt-get install -y --no-install-recommends%s\n' "$missing" >&2
    exit 1
fi
printf 'packages installed\n'
