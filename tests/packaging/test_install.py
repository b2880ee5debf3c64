"""make install and uninstall, the unit, the man page, and the example configuration.

SPDX-License-Identifier: Apache-2.0
"""
import os
import re
import subprocess
import tempfile

from daemon import BINARY, ROOT


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def make(target, *variables):
    # A make above hands on its own flags and variables; this one starts afresh.
    clean = {key: value for key, value in os.environ.items()
             if key not in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL")}
    subprocess.run(["make", "-s", target, *variables], cwd=ROOT, env=clean, check=True,
                   capture_output=True, text=True)


def files_below(folder):
    return {os.path.relpath(os.path.join(where, name), folder)
            for where, _, names in os.walk(folder) for name in names}


def test_install_stages_and_uninstall_removes():
    with tempfile.TemporaryDirectory() as stage:
        variables = (f"DESTDIR={stage}", "PREFIX=/usr")
        make("install", *variables)
        want = {"usr/bin/forecastd", "usr/share/man/man1/forecastd.1",
                "usr/lib/systemd/system/forecastd.service", "etc/forecastd/forecastd.yaml",
                *("usr/share/doc/forecastd/" + name
                  for name in ("LICENSE", "uPlot.LICENSE", "forecastd.yaml", "alerts.yml"))}
        assert files_below(stage) == want, files_below(stage) ^ want
        unit = os.path.join(stage, "usr/lib/systemd/system/forecastd.service")
        with open(unit, encoding="utf-8") as file:
            assert "ExecStart=/usr/bin/forecastd serve --config /etc/forecastd/" in file.read()
        assert stage not in open(unit, encoding="utf-8").read()

        kept = os.path.join(stage, "etc/forecastd/forecastd.yaml")
        with open(kept, "w", encoding="utf-8") as file:
            file.write("log:\n  level: debug\n")
        make("install", *variables)
        with open(kept, encoding="utf-8") as file:
            assert file.read() == "log:\n  level: debug\n", "install overwrote a configuration"
        make("uninstall", *variables)
        assert files_below(stage) == {"etc/forecastd/forecastd.yaml"}, files_below(stage)


def test_unit_is_valid_where_it_is_installed():
    with tempfile.TemporaryDirectory() as prefix:
        make("install", f"PREFIX={prefix}", f"SYSCONFDIR={prefix}/etc")
        unit = f"{prefix}/lib/systemd/system/forecastd.service"
        # Unknown settings are only warned of, so that silence is part of the test.
        said = subprocess.run(["systemd-analyze", "verify", "--man=no", unit],
                              capture_output=True, text=True, check=False)
        ours = [line for line in said.stderr.split("\n") if "forecastd" in line]
        assert said.returncode == 0 and not ours, said.stderr
        start = re.search(r"^ExecStart=(.*)$", read_file(unit), re.M).group(1).split()
        output(start[0], "config", "--check", *start[2:])


def test_drop_ins_of_the_guides_are_valid():
    with tempfile.TemporaryDirectory() as prefix:
        make("install", f"PREFIX={prefix}", f"SYSCONFDIR={prefix}/etc")
        unit = f"{prefix}/lib/systemd/system/forecastd.service"
        os.mkdir(unit + ".d")
        shown = [block for page in ("docs/systemd.md", "docs/mqtt.md", "docs/webhooks.md")
                 for block in re.findall(r"```ini\n(.*?)```", read(page), re.S)]
        secrets, = [block for block in shown if "LoadCredential=" in block]
        assert len(shown) >= 3 and "LogsDirectory=" in secrets, shown
        names = set(re.findall(r"LoadCredential=([^:]+):", secrets))
        used = set(re.findall(r"/run/credentials/forecastd\.service/(\S+)", read("docs/systemd.md")))
        assert names == used, (names, used)
        for number, block in enumerate(shown):
            with open(f"{unit}.d/{number}.conf", "w", encoding="utf-8") as file:
                file.write(block.replace("/usr/local/bin/forecastd", f"{prefix}/bin/forecastd"))
        said = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
        ours = [line for line in said.stderr.split("\n") if "forecastd" in line]
        assert said.returncode == 0 and not ours, said.stderr


def read_file(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def test_unit_is_sandboxed():
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", "deploy/forecastd.service"],
        cwd=ROOT, capture_output=True, text=True, check=False)
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", said.stdout)
    assert level, said.stderr
    assert said.returncode == 0 and float(level.group(1)) <= 1.5, level.group(0)


def test_example_is_what_the_binary_prints():
    assert read("deploy/forecastd.yaml") == output(BINARY, "config", "--example"), "run: make example"
    output(BINARY, "config", "--check", "--config", os.path.join(ROOT, "deploy/forecastd.yaml"))


def test_man_page_is_well_formed():
    subprocess.run(["mandoc", "-T", "lint", "-W", "warning", "deploy/forecastd.1"], cwd=ROOT, check=True)


def man_commands():
    """The commands of the man page: name to the set of its options, without those that all have."""
    commands, name = {}, None
    for line in read("deploy/forecastd.1").split(".Sh COMMANDS")[1].split(".Sh ")[0].split("\n"):
        found = re.match(r"\.It Cm (\w+)", line)
        if found:
            name = found.group(1)
            commands[name] = set()
        if name and line.startswith(".It"):
            commands[name] |= set(re.findall(r"\bFl -([\w-]+)", line))
    return commands


def test_man_page_has_every_command_and_option():
    # Store options are said once for all commands; backtest's and healthcheck's are the same ones.
    common = {"config", "set", "data", "help", "version"}
    usage = output(BINARY, "--help").split("Commands:")[1]
    built = {name: set(re.findall(r"^  --([\w-]+)", output(BINARY, name, "--help"), re.M)) - common
             for name in re.findall(r"^  (\w+) ", usage, re.M)}
    written = man_commands()
    assert set(written) == set(built), set(written) ^ set(built)
    for name, options in built.items():
        assert written[name] == options, f"{name}: deploy/forecastd.1 and --help differ in {written[name] ^ options}"
    assert "config --example" in read("deploy/forecastd.1")


def test_image_and_manifests_say_this_version():
    version = read("VERSION").strip()
    assert f"ARG VERSION={version}\n" in read("Dockerfile")
    assert f"image: forecastd:{version}\n" in read("deploy/kubernetes.yaml")
