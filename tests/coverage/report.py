#!/usr/bin/env python3
"""Says how much of the product's own code has run in a build that counts (make COVERAGE=1).

SPDX-License-Identifier: Apache-2.0

usage: report.py BUILD            lines and branches of each folder, judged against the goals
       report.py BUILD parsers    branches of each parser, of the same counts
       report.py BUILD NAME...    the lines of these files that have not run, or not every way

What is left out, and why: the branch of CHECK that aborts (it is for our own mistakes, and a process
that aborts writes no counts); branches that the compiler made on lines without code of ours; and what
stands between markers in the source, each with its reason there (GCOVR_EXCL_START, _STOP, _LINE,
_BR_LINE). Vendored files are JavaScript, generated ones are packed pages: neither is C.
Closing line: "N passed, N failed", counting goals.
"""
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = ("base", "model", "storage", "api", "server")
LINES, BRANCHES, PARSER_BRANCHES = 90.0, 80.0, 90.0  # per cent

# Harness of tests/fuzz -> what it is there for.
PARSERS = {
    "fuzz_answer": ["server/http_client.c"],
    "fuzz_chunk": ["storage/chunk.c", "storage/chunk_xor.c", "storage/journal.c"],
    "fuzz_config": ["server/config_yaml.c"],
    "fuzz_csv": ["api/csv.c"],
    "fuzz_head": ["server/http_head.c"],
    "fuzz_line": ["api/line_reader.c", "api/line_scan.c"],
    "fuzz_mqtt": ["server/mqtt_packet.c", "api/mqtt_topic.c", "api/mqtt_payload.c"],
    "fuzz_neighbour_flux": ["api/neighbour_flux.c"],
    "fuzz_neighbour_json": ["api/neighbour_influxql.c", "api/neighbour_prometheus.c"],
    "fuzz_nixtla": ["api/nixtla_reader.c"],
    "fuzz_otlp": ["api/otlp_reader.c", "api/otlp_json.c", "api/otlp_labels.c", "api/otlp_point.c", "api/otlp_names.c"],
    "fuzz_points": ["api/points_reader.c", "api/points_scan.c", "base/json_reader.c", "base/json_number.c"],
    "fuzz_promql": ["api/promql_lexer.c", "api/promql_parser.c", "api/promql_operand.c", "api/promql_selector.c"],
    "fuzz_query": ["api/query.c", "api/forecast_query.c"],
    "fuzz_remote_write": ["api/remote_write_reader.c"],
    "fuzz_series": ["base/series_scan.c", "base/series_name.c", "base/selector.c", "base/regex.c", "base/regex_match.c"],
    "fuzz_snapshot": ["model/checkpoint.c", "model/checkpoint_file.c", "model/snapshot_file.c"],
    "fuzz_tokens": ["base/token.c"],
    "fuzz_vintage": ["model/serving/vintage.c"],
    "fuzz_zone": ["base/time_zone.c", "base/time_zone_rule.c"],
}


def measure(build):
    """gcovr's account of every file of ours: {name: {"lines": [...]}}."""
    jobs = str(os.cpu_count() or 2)
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "coverage.json")
        subprocess.run(
            ["gcovr", "--root", ".", "-j", jobs, "--filter", f"({'|'.join(FOLDERS)})/",
             "--exclude-unreachable-branches", "--exclude-throw-branches",
             "--exclude-branches-by-pattern", r".*\bCHECK\(.*", "--json", out,
             *(os.path.join(build, folder) for folder in FOLDERS)],
            cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        with open(out, encoding="utf-8") as file:
            return {entry["file"]: entry["lines"] for entry in json.load(file)["files"]}


def counts(lines):
    """(lines run, lines, branches taken, branches)."""
    told = [line for line in lines if not line.get("gcovr/noncode")]
    branches = [branch for line in told for branch in line["branches"]]
    return (sum(line["count"] > 0 for line in told), len(told),
            sum(branch["count"] > 0 for branch in branches), len(branches))


def total(files):
    return tuple(map(sum, zip(*(counts(lines) for lines in files)))) or (0, 0, 0, 0)


def percent(part, whole):
    return 100.0 * part / whole if whole else 100.0


def say(name, sums):
    print(f"  {name:34} lines {percent(*sums[:2]):5.1f} % of {sums[1]:6}    "
          f"branches {percent(*sums[2:]):5.1f} % of {sums[3]:6}")


def judge(name, value, goal):
    good = value >= goal
    print(f"  {'ok    ' if good else 'FAILED'} {name}: {value:.1f} %, goal {goal:.0f} %")
    return good


def report(files):
    for folder in FOLDERS:
        say(folder, total(lines for name, lines in files.items() if name.startswith(folder + "/")))
    everything = total(files.values())
    say("all", everything)
    print("  most is left to run in (lines, branches):")
    rows = [(counts(lines), name) for name, lines in files.items()]
    rows.sort(key=lambda row: row[0][0] - row[0][1] + row[0][2] - row[0][3])
    for row, name in rows[:12]:
        print(f"    {name:34} {row[1] - row[0]:5} {row[3] - row[2]:5}")
    return [judge("lines of own code", percent(*everything[:2]), LINES),
            judge("branches of own code", percent(*everything[2:]), BRANCHES)]


def report_parsers(files):
    goals = []
    for harness, names in PARSERS.items():
        for name in names:
            say(name, counts(files.get(name, [])))
        sums = total(files.get(name, []) for name in names)
        goals.append(judge(f"branches from the corpus of {harness}", percent(*sums[2:]), PARSER_BRANCHES))
    return goals


def show(files, names):
    for name in names:
        with open(os.path.join(ROOT, name), encoding="utf-8") as file:
            source = file.read().split("\n")
        for line in files[name]:
            if line.get("gcovr/noncode"):
                continue
            missed = [number for number, branch in enumerate(line["branches"]) if branch["count"] == 0]
            if line["count"] == 0 or missed:
                how = "never" if line["count"] == 0 else f"{len(missed)} of {len(line['branches'])}"
                print(f"{name}:{line['line_number']}: {how:9} {source[line['line_number'] - 1]}")


def main():
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    files = measure(sys.argv[1])
    wish = sys.argv[2:]
    if wish and wish != ["parsers"]:
        show(files, wish)
        return 0
    goals = report_parsers(files) if wish else report(files)
    print(f"{sum(goals)} passed, {len(goals) - sum(goals)} failed")
    return 0 if all(goals) else 1


if __name__ == "__main__":
    sys.exit(main())
