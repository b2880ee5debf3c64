#!/bin/sh
# Builds the container image with podman and runc, without a Docker engine or a registry.
# SPDX-License-Identifier: Apache-2.0
#
# usage: build.sh IMAGE [BASE]    exits with 77 where no base can be had or no container started
#
# BILL (build/image.cdx.json) is where the bill of materials goes. APT_SOURCES as in the Dockerfile.
#
# Without BASE the base is Debian 12 as the package archive has it, made by mmdebstrap and kept as
# localhost/forecastd-debian:12-slim. It stands in for debian:12-slim: the same packages, without
# what the slim images leave out. A merged /usr from the first, because otherwise usrmerge merges
# it, with 47 MB of Perl. Packages come over the host's network. --format docker, because OCI
# images have no HEALTHCHECK.
set -eu

cannot() { # what this machine does not allow says nothing about the image
    printf 'SKIPPED  %s: the image is neither built nor tested\n' "$1"
    exit 77
}

image=$1
base=${2:-}
cd "$(dirname "$0")/../.."

if [ -z "$base" ]; then
    base=localhost/forecastd-debian:12-slim
    if ! podman image exists "$base"; then
        printf 'making a Debian 12 base, about a minute\n'
        folder=$(mktemp -d)
        trap 'rm -rf "$folder"' EXIT
        mmdebstrap --quiet --variant=minbase --include=usr-is-merged \
            --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
            --dpkgopt='path-exclude=/usr/share/doc/*' \
            --dpkgopt='path-include=/usr/share/doc/*/copyright' \
            --dpkgopt='path-exclude=/usr/share/groff/*' \
            --dpkgopt='path-exclude=/usr/share/info/*' \
            --dpkgopt='path-exclude=/usr/share/lintian/overrides/*' \
            --dpkgopt='path-exclude=/usr/share/locale/*' \
            --dpkgopt='path-include=/usr/share/locale/locale.alias' \
            --dpkgopt='path-exclude=/usr/share/man/*' \
            bookworm "$folder/base.tar" >"$folder/log" 2>&1 || {
            tail -n 5 "$folder/log" >&2
            cannot "mmdebstrap makes no Debian base here"
        }
        podman import --quiet "$folder/base.tar" "$base" >/dev/null ||
            cannot "podman imports no image here"
    fi
fi
inside() {
    podman --runtime runc --cgroup-manager cgroupfs run --rm --pull=never --network=none \
        --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 "$@"
}
inside "$base" true >/dev/null || cannot "podman and runc start no container here"

podman build --isolation=chroot --network=host --pull=never --format docker --quiet \
    --build-arg BASE="$base" \
    --build-arg APT_SOURCES="${APT_SOURCES:-}" \
    --build-arg VERSION="$(cat VERSION)" \
    --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
    --tag "$image" . >/dev/null
bill=${BILL:-build/image.cdx.json}
mkdir -p "$(dirname "$bill")"
inside --no-healthcheck --entrypoint dpkg-query "$image" -W -f "$(sh deploy/sbom.sh --query)" >"$bill.packages"
sh deploy/sbom.sh <"$bill.packages" >"$bill"
rm "$bill.packages"
printf '%s: %s components\n' "$bill" "$(grep -c '"purl"' "$bill")"
podman image inspect --format "$image: {{.Size}} bytes with its base, {{.Architecture}}" "$image"
