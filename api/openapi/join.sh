#!/bin/sh
# Joins the parts of this folder to one OpenAPI document, without indentation.
# SPDX-License-Identifier: Apache-2.0
#
# usage: join.sh VERSION >openapi.json
#
# Each part is an object, valid JSON on its own, whose first line is { and whose last line is }.
set -eu
version=$1
cd "$(dirname "$0")"

# The members of some parts, as those of one object.
members_of() {
    comma=
    for part in "$@"; do
        printf '%s' "$comma"
        sed '1d; $d' "$part"
        comma=,
    done
}

{
    printf '{'
    members_of head.json | sed "s/@VERSION@/$version/"
    printf ',"paths":{'
    members_of paths/*.json
    printf '},"components":{'
    members_of components.json
    printf ',"schemas":{'
    members_of schemas/*.json
    printf '}}}'
} | sed 's/^ *//' | tr -d '\n'
printf '\n'
