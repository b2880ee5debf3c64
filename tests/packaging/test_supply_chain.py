"""What the program is made of is known: the bill of materials of the image, vendored files, what shows our security.

SPDX-License-Identifier: Apache-2.0
"""
import hashlib
import json
import os
import re
import subprocess
import urllib.parse

from daemon import ROOT

SBOM = os.path.join(ROOT, "deploy", "sbom.sh")
VENDOR = os.path.join(ROOT, "api", "ui", "vendor")


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def bill(packages):
    """The parsed bill of packages as lines of dpkg-query; the script's error where it has failed."""
    done = subprocess.run(["sh", SBOM], input=packages, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


def installed():
    """This machine's packages, as the script wants them."""
    form = subprocess.run(["sh", SBOM, "--query"], capture_output=True, text=True, check=True).stdout
    return subprocess.run(["dpkg-query", "-W", "-f", form], capture_output=True, text=True, check=True).stdout


# ---------------------------------------------------------------- the bill of materials

def test_the_form_is_that_of_cyclonedx():
    made = bill(installed())
    assert set(made) == {"bomFormat", "specVersion", "version", "metadata", "components"}, set(made)
    assert (made["bomFormat"], made["specVersion"], made["version"]) == ("CycloneDX", "1.5", 1)
    assert made["metadata"]["component"] == {"type": "container", "name": "forecastd", "version": read("VERSION").strip()}
    references = [component["bom-ref"] for component in made["components"]]
    assert len(set(references)) == len(references), "references are not unique"
    for component in made["components"]:
        assert {"type", "bom-ref", "name", "version", "purl"} <= set(component), component
        assert component["type"] == "library" and component["name"] and component["version"], component
        assert re.fullmatch(r"pkg:(deb/debian|npm)/[a-z0-9][a-z0-9.%+A-F-]*@[\w.~%-]+(\?[\w.~%=&-]+)?", component["purl"]), component


def test_every_package_is_in_it_as_dpkg_knows_it():
    wanted = set()
    for line in installed().splitlines():
        status, package, version, architecture, source, source_version = line.split(" ")
        if status == "installed":
            upstream = f"{source}@{source_version}" if (source, source_version) != (package, version) else None
            wanted.add((package, version, architecture, upstream))
    found = set()
    for component in bill(installed())["components"]:
        kind, _, rest = component["purl"].partition("/")
        if kind == "pkg:deb":
            path, _, query = rest.partition("?")
            name, _, version = path.removeprefix("debian/").partition("@")
            assert urllib.parse.unquote(name) == component["name"] and urllib.parse.unquote(version) == component["version"]
            values = dict(pair.split("=") for pair in query.split("&"))
            assert values["distro"] == "debian-12", component
            upstream = values.get("upstream")
            found.add((component["name"], component["version"], values["arch"], upstream and urllib.parse.unquote(upstream)))
    assert found == wanted, found ^ wanted


def test_same_packages_in_any_order_give_the_same_bytes():
    lines = "installed b 2 amd64 b 2\ninstalled a 1:1+2~3 all c 1\nconfig-files gone 1 all gone 1\n"
    turned = "".join(reversed(lines.splitlines(keepends=True)))
    assert bill(lines) == bill(turned)
    names = [component["name"] for component in bill(lines)["components"]]
    assert names == ["a", "b", "uplot"], names
    assert "no packages" in bill(""), bill("")


def test_what_is_vendored_is_in_it():
    uplot, = [part for part in bill("installed a 1 all a 1\n")["components"] if part["name"] == "uplot"]
    with open(os.path.join(VENDOR, "uPlot.iife.min.js"), "rb") as file:
        program = file.read()
    assert f"(v{uplot['version']})".encode() in program[:100]
    assert uplot["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(program).hexdigest()}]
    assert uplot["licenses"] == [{"license": {"id": "MIT"}}] and "MIT" in read("api/ui/vendor/uPlot.LICENSE")


def test_vendored_files_are_those_that_were_looked_at():
    sums = dict(reversed(line.split()) for line in read("api/ui/vendor/SHA256SUMS").splitlines())
    assert set(sums) == set(os.listdir(VENDOR)) - {"SHA256SUMS"}, set(sums)
    for name, wanted in sums.items():
        with open(os.path.join(VENDOR, name), "rb") as file:
            assert hashlib.sha256(file.read()).hexdigest() == wanted, f"{name} is not the file of SHA256SUMS"


# ---------------------------------------------------------------- how the image is built

def test_both_stages_of_the_image_can_be_pinned():
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?", read("Dockerfile"), re.M)
    assert stages == [("${BASE}", "base"), ("base", "build"), ("base", "")], stages
    first = read("Dockerfile").split("FROM base AS build")[0]
    assert "ARG APT_SOURCES=\n" in first and '"${APT_SOURCES}" >/etc/apt/sources.list' in first
    assert "APT_SOURCES" in read("docs/docker.md") and "sha256:" in read("docs/docker.md")


# ---------------------------------------------------------------- SECURITY.md

def test_every_threat_has_a_test_that_exists():
    table = read("SECURITY.md").split("| threat |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(table) >= 24, len(table)
    for line in table:
        threat, done, shown, _ = [cell.strip() for cell in line.strip("|").split("|")]
        files = re.findall(r"`([^`]+)`", shown)
        assert done and files, f"nothing shows what is said about: {threat}"
        for name in files:
            assert os.path.isfile(os.path.join(ROOT, "tests", name)), f"{threat}: there is no tests/{name}"
