#!/usr/bin/env python3
"""The papers' claims, measured here: rows for docs/backbones.csv and the tables of docs/backbones.md.

SPDX-License-Identifier: Apache-2.0

usage: backbones.py cost BUILD CSV            time and memory over length, depth, rolling evaluation
       backbones.py accuracy FORECASTD DATA CSV [--seconds N] [--seeds 1,2,3] [--pairs N] [--only NAME,...]
       backbones.py page CSV PAGE             writes the tables between the page's markers

CSV rows are part,backbone,case,measure,value. `cost` and `accuracy` replace the rows of their part and
keep the others. Baselines are not mixed in, so that the networks are what is compared.
DATA is a folder with pjm_load, ett and m4_hourly. `accuracy` runs --pairs trainings
side by side, each on two cores of its own (taskset); one pair on a machine of two cores. All have the
same time.
"""
import argparse
import collections
import concurrent.futures
import csv
import json
import math
import os
import queue
import statistics
import subprocess
import sys

BACKBONES = ("dense", "logsparse", "longformer", "adaptive_span", "transformer_xl", "reformer",
             "performer", "linformer", "conformer", "lite_transformer")
DENSE = ["--backbone", "logsparse", "--set", "model.pattern=dense", "--set", "model.kernel=1"]
SETS = {
    "pjm_load": ["pjm_load/hourly.csv.gz", "--horizon", "24", "--windows", "7", "--season", "168",
                 "--end", "2018-08-02T00:00:00Z"],
    "ETTh1": ["ett/ETTh1.csv.gz", "--horizon", "24", "--windows", "14", "--season", "24"],
    "m4_hourly": ["m4_hourly/train.csv.gz", "--horizon", "48", "--season", "24", "--m4"],
}
SLOPE_FROM = 2048


def read_rows(path):
    if not os.path.exists(path):
        return []
    with open(path, newline="") as file:
        return list(csv.reader(file))[1:]


def write_rows(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["part", "backbone", "case", "measure", "value"])
        writer.writerows(rows)


# ---------------------------------------------------------------- measuring

def program_rows(command):
    print("running", *command, file=sys.stderr)
    rows = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(" ", line, end="", file=sys.stderr)
            rows.append(line.strip().split(","))
    if process.returncode != 0:
        raise SystemExit(f"{command[0]} failed")
    return rows


def cost(arguments):
    folder = os.path.join(arguments.build, "tests", "bench")
    rows = []
    for part in ("scaling", "depth"):
        rows += program_rows([os.path.join(folder, "bench_backbones"), part])
    for name in ("bench_rolling", "bench_block"):
        program = os.path.join(folder, name)
        if os.path.exists(program):
            rows += program_rows([program])
    parts = {row[0] for row in rows}
    kept = [row for row in read_rows(arguments.csv) if row[0] not in parts]
    write_rows(arguments.csv, kept + rows)


def backtest(forecastd, data, backbone, name, seed, seconds, cores):
    chosen = DENSE if backbone == "dense" else ["--backbone", backbone]
    command = [forecastd, "backtest", os.path.join(data, SETS[name][0])] + SETS[name][1:] + chosen
    command += ["--seconds", str(seconds), "--seed", str(seed), "--json", "--set", "train.lanes=2",
                "--set", "model.blend=false"]
    if cores:
        command = ["taskset", "-c", cores] + command
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{backbone} on {name}: {done.stderr.strip()[-400:]}")
    result = json.loads(done.stdout)
    champion = result["models"]["champion"]
    naive = result["models"]["seasonal_naive"]
    forecasts = champion["series"]
    values = {
        "MASE": champion["MASE"], "wQL": champion["wQL"], "cover80": champion["cover80"],
        "naive_MASE": naive["MASE"], "naive_wQL": naive["wQL"],
        "train_seconds": result["train_seconds"], "parameters": result["parameters"],
        "forecast_microseconds": 1e6 * result["forecast_seconds"] / forecasts,
    }
    print(f"{name:10s} {backbone:17s} seed {seed}  MASE {values['MASE']:.4f}  wQL {values['wQL']:.4f}",
          file=sys.stderr, flush=True)
    return [["accuracy", backbone, f"{name}/{seed}", key, f"{value:.6g}"]
            for key, value in values.items()]


def accuracy(arguments):
    only = arguments.only.split(",") if arguments.only else BACKBONES
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    jobs = [(backbone, name, seed) for seed in seeds for name in SETS for backbone in only]
    places = queue.SimpleQueue()
    for pair in range(arguments.pairs):
        places.put(f"{2 * pair},{2 * pair + 1}" if arguments.pairs > 1 else "")

    def run(job):
        cores = places.get()
        try:
            return backtest(arguments.forecastd, arguments.data, *job, arguments.seconds, cores)
        finally:
            places.put(cores)

    fresh = []
    before = read_rows(arguments.csv)
    with concurrent.futures.ThreadPoolExecutor(arguments.pairs) as pool:
        for rows in pool.map(run, jobs):
            fresh += rows
            keys = {tuple(row[:4]) for row in fresh}
            write_rows(arguments.csv, [row for row in before if tuple(row[:4]) not in keys] + fresh)


# ---------------------------------------------------------------- tables

def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def slope(points):
    """Least squares of log value over log length."""
    x = [math.log(length) for length, _ in points]
    y = [math.log(value) for _, value in points]
    mean_x, mean_y = statistics.fmean(x), statistics.fmean(y)
    return (sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) /
            sum((a - mean_x) ** 2 for a in x))


def by_length(rows, measure):
    out = collections.defaultdict(dict)
    for part, backbone, case, key, value in rows:
        if part == "scaling" and key == measure:
            out[backbone][int(case)] = float(value)
    return out


def crossing(values, dense):
    """The smallest measured length from which on the backbone is below dense."""
    for length in sorted(values):
        if all(values[later] < dense[later] for later in values if later >= length):
            return f"{length:,}"
    return "never"


def scaling_tables(rows):
    out = []
    for measure, unit, factor, title in (("milliseconds", "ms", 1.0, "Time"),
                                         ("tape_bytes", "MB", 1e-6, "Memory")):
        values = by_length(rows, measure)
        lengths = sorted(values["dense"])
        head = [f"{title}, {unit}"] + [f"{length:,}" for length in lengths] + ["slope", "below dense from"]
        body = []
        for name in BACKBONES:
            if name not in values:
                continue
            points = [(length, values[name][length]) for length in lengths if length >= SLOPE_FROM]
            body.append([name] + [f"{values[name][length] * factor:.3g}" for length in lengths] +
                        [f"{slope(points):.2f}",
                         "" if name == "dense" else crossing(values[name], values["dense"])])
        out.append(table(head, body))
    return "\n\n".join(out)


def pivot(rows, part, backbone, columns):
    """case x measure of one backbone of a part; columns are (measure, format)."""
    values = collections.defaultdict(dict)
    for row in rows:
        if row[0] == part and row[1] == backbone:
            values[int(row[2])][row[3]] = float(row[4])
    return [[f"{case:,}"] + [form.format(got[measure]) for measure, form in columns]
            for case, got in sorted(values.items())]


PAPER_RATIOS = {"800": "363", "1,800": "773", "2,800": "1,409", "3,800": "1,874"}


def rolling_table(rows):
    name = next(row[1] for row in rows if row[0] == "rolling")
    body = pivot(rows, "rolling", name,
                 [("mac_ratio", "{:,.0f}"), ("step_ratio", "{:,.0f}"), ("segment_ratio", "{:,.0f}"),
                  ("baseline_share_of_peak", "{:.2f}"), ("step_microseconds", "{:.0f}"),
                  ("segment_microseconds_a_token", "{:.0f}"), ("largest_difference", "{:.1e}")])
    for row in body:
        row.insert(4, PAPER_RATIOS.get(row[0], ""))
    return table(["attention length", "multiply-adds", "one step", "segments of 64", "paper",
                  "baseline's share of the sgemm peak", "step, \u00b5s", "segment, \u00b5s a token",
                  "largest difference of outputs"], body)


def block_table(rows):
    count = [("multiply_adds_a_token_and_layer", "{:,.0f}")]
    plain = {row[0]: row[1] for row in pivot(rows, "block", "dense", count)}
    body = [[case, plain[case], own, share] for case, own, share in
            pivot(rows, "block", "lite_transformer",
                  count + [("share_of_plain_multiply_adds", "{:.3f}")])]
    return table(["tokens", "plain block", "Lite Transformer", "share"], body)


def depth_table(rows):
    values = collections.defaultdict(dict)
    for part, backbone, case, _, value in rows:
        if part == "depth":
            values[backbone][int(case)] = float(value)
    depths = sorted(values["dense"])
    body = [[name] + [f"{values[name][depth] / 1e6:.2f}" for depth in depths]
            for name in BACKBONES if name in values]
    return table(["Activations at L = 1,024, MB"] + [f"{depth} layers" for depth in depths], body)


def accuracy_tables(rows):
    values = collections.defaultdict(lambda: collections.defaultdict(list))
    for part, backbone, case, measure, value in rows:
        if part == "accuracy":
            values[(case.split("/")[0], backbone)][measure].append(float(value))
    out = []
    for name in SETS:
        body = []
        for backbone in BACKBONES:
            got = values.get((name, backbone))
            if not got:
                continue
            body.append([backbone] +
                        [f"{statistics.fmean(got[key]):.4f} ({min(got[key]):.4f} to {max(got[key]):.4f})"
                         for key in ("MASE", "wQL")] +
                        [f"{statistics.fmean(got['train_seconds']):.0f}",
                         f"{statistics.fmean(got['forecast_microseconds']):.0f}",
                         f"{statistics.fmean(got['parameters']):,.0f}"])
        naive = values.get((name, BACKBONES[0]))
        if naive:
            body.append(["seasonal naive", f"{naive['naive_MASE'][0]:.4f}", f"{naive['naive_wQL'][0]:.4f}",
                         "", "", ""])
        out.append(table([name, "MASE, mean (range of seeds)", "wQL, mean (range of seeds)",
                          "training s", "forecast \u00b5s", "parameters"], body))
    return "\n\n".join(out)


def page(arguments):
    rows = read_rows(arguments.csv)
    made = {
        "scaling": lambda: scaling_tables(rows),
        "depth": lambda: depth_table(rows),
        "rolling": lambda: rolling_table(rows),
        "block": lambda: block_table(rows),
        "accuracy": lambda: accuracy_tables(rows),
    }
    with open(arguments.page) as file:
        text = file.read()
    for part, make in made.items():
        begin, end = f"<!-- {part} -->\n", f"<!-- end {part} -->"
        if begin in text and any(row[0] == part for row in rows):
            head, rest = text.split(begin, 1)
            text = head + begin + make() + "\n" + end + rest.split(end, 1)[1]
    with open(arguments.page, "w") as file:
        file.write(text)


def main():
    parser = argparse.ArgumentParser(description="figures of the backbones")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("cost")
    one.add_argument("build")
    one.add_argument("csv")
    one.set_defaults(run=cost)
    one = commands.add_parser("accuracy")
    one.add_argument("forecastd")
    one.add_argument("data")
    one.add_argument("csv")
    one.add_argument("--seconds", type=int, default=60)
    one.add_argument("--seeds", default="1,2,3")
    one.add_argument("--pairs", type=int, default=1)
    one.add_argument("--only", default="")
    one.set_defaults(run=accuracy)
    one = commands.add_parser("page")
    one.add_argument("csv")
    one.add_argument("page")
    one.set_defaults(run=page)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
