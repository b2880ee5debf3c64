#!/bin/sh
# Prints what is in the container image as a bill of materials: CycloneDX 1.5, JSON.
# SPDX-License-Identifier: Apache-2.0
#
# usage: sbom.sh --query       the format that dpkg-query has to print packages in
#        sbom.sh <PACKAGES     the bill, of packages in that format
#
# For an image that Docker has built:
#     docker run --rm --entrypoint dpkg-query forecastd -W -f "$(sh deploy/sbom.sh --query)" |
#         sh deploy/sbom.sh >forecastd.cdx.json
#
# Scanners know Debian's advisories by source package, hence "upstream". The same packages give the
# same bytes: there is no time and no serial number in it. Vendored files are those that
# api/ui/vendor/SHA256SUMS lists, whose sums are looked at first.
set -eu

if [ "${1:-}" = --query ]; then
    # shellcheck disable=SC2016 # dpkg-query expands it
    printf '%s %s' '${db:Status-Status} ${Package} ${Version} ${Architecture}' \
        '${source:Package} ${source:Version}\n'
    exit
fi

root=$(dirname "$0")/..
vendor=$root/api/ui/vendor
(cd "$vendor" && sha256sum --quiet -c SHA256SUMS)
uplot=$(sed -n '1s/.*uPlot (v\([0-9.]*\)).*/\1/p' "$vendor/uPlot.iife.min.js")
sum=$(awk '$2 == "uPlot.iife.min.js" { print $1 }' "$vendor/SHA256SUMS")

LC_ALL=C sort | awk -v version="$(cat "$root/VERSION")" -v uplot="$uplot" -v sum="$sum" '
function quoted(text) { # of what versions hold, a purl escapes two characters
    gsub(/\+/, "%2B", text)
    gsub(/:/, "%3A", text)
    return text
}
BEGIN {
    printf "{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.5\",\n  \"version\": 1,\n"
    printf "  \"metadata\": {\"component\": {\"type\": \"container\", \"name\": \"forecastd\", "
    printf "\"version\": \"%s\"}},\n  \"components\": [\n", version
}
$1 == "installed" {
    name = "pkg:deb/debian/" quoted($2) "@" quoted($3)
    name = name "?arch=" $4 "&distro=debian-12"
    if ($5 != $2 || $6 != $3) name = name "&upstream=" quoted($5) "%40" quoted($6)
    printf "    {\"type\": \"library\", \"bom-ref\": \"%s\", \"name\": \"%s\", ", name, $2
    printf "\"version\": \"%s\", \"purl\": \"%s\"},\n", $3, name
    packages++
}
END {
    if (packages == 0) {
        print "sbom.sh: no packages on standard input" >"/dev/stderr"
        exit 1
    }
    name = "pkg:npm/uplot@" uplot
    printf "    {\"type\": \"library\", \"bom-ref\": \"%s\", \"name\": \"uplot\", ", name
    printf "\"version\": \"%s\", \"purl\": \"%s\", ", uplot, name
    printf "\"licenses\": [{\"license\": {\"id\": \"MIT\"}}], "
    printf "\"hashes\": [{\"alg\": \"SHA-256\", \"content\": \"%s\"}]}\n  ]\n}\n", sum
}'
