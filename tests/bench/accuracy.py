#!/usr/bin/env python3
"""Accuracy on public data, every figure beside its rivals: rows for docs/accuracy.csv and tables.

SPDX-License-Identifier: Apache-2.0

usage: accuracy.py sets|pjm|m4|ablation DATA [--forecastd PATH] [--seconds N] [--seed N] [--pairs N] [--csv CSV]
                                        [--only NAME,...] [--variants NAME,...] [--steps N] [--set KEY=VALUE]...
       accuracy.py tables [--csv CSV]   prints the tables of what the CSV holds

  sets      every set of DATA, rolling windows: champion, last value, seasonal naive and damped trend; the ratio to the
            best of these three, chosen afterwards; coverage by set, by third of the horizon and pooled
  pjm       eight weeks spread over the year before 2018-08-02, a day ahead, pooled; against the weekly seasonal naive
  m4        the last 48 steps of the train part of M4 Hourly: OWA, MASE, wQL
  ablation  the default recipe against single members, against itself without its parts, and against the baseline that
            is blended most, alone

CSV rows are part,case,model,measure,value; a run replaces the rows of its part and cases and keeps the others. --pairs N
runs N trainings side by side, each on two cores of its own (taskset); all have the same time. --seconds is the budget
of each training (sets 60, pjm 300, m4 600, ablation 60); --steps N trains for steps instead, which gives the same
figures whatever the machine does besides.
"""
import argparse
import collections
import concurrent.futures
import csv
import json
import math
import os
import queue
import subprocess
import sys

# name: file, horizon, windows, season of the naive and of MASE. Horizons as in the sets' README, else 24 to 96 steps;
# a season that the file repeats at least three times.
SETS = {
    "m4_hourly": ("m4_hourly/train.csv.gz", 48, 1, 24),
    "pjm_load": ("pjm_load/hourly.csv.gz", 24, 7, 168),
    "ETTh1": ("ett/ETTh1.csv.gz", 96, 7, 24),
    "nab_cloudwatch": ("nab/realAWSCloudwatch.csv.gz", 48, 7, 288),
    "nab_tweets": ("nab/realTweets.csv.gz", 48, 7, 288),
    "nab_artificial": ("nab/artificialNoAnomaly.csv.gz", 48, 7, 288),
    "nab_anomalies": ("nab/artificialWithAnomaly.csv.gz", 48, 7, 288),
    "crash_rate": ("mscloud/application-crash-rate-1.csv.gz", 24, 2, 24),
    "purchase_rate": ("mscloud/consumer-purchase-rate.csv.gz", 24, 7, 24),
    "latency": ("mscloud/middle-tier-api-dependency-latency.csv.gz", 24, 7, 24),
    "mongodb_app": ("mscloud/mongodb-application-rps.csv.gz", 60, 7, 1440),
    "mongodb_machine": ("mscloud/mongodb-machine-rps.csv.gz", 60, 7, 1440),
    "alibaba_300s": ("alibaba2018/300s.csv.gz", 48, 7, 288),
    "alibaba_30s": ("alibaba2018/30s.csv.gz", 96, 7, 2880),
    "planetlab_03": ("planetlab/20110303.csv.gz", 24, 2, 1),
    "planetlab_06": ("planetlab/20110306.csv.gz", 24, 2, 1),
    "nasa_http": ("nasa_http/requests_per_minute.csv.gz", 60, 7, 1440),
    "badger_disk": ("prometheus/badger_disk_1m.csv.gz", 60, 7, 1440),
    "prometheus_self": ("prometheus/self_1m.csv.gz", 60, 7, 60),
    "bike_sharing": ("bike_sharing/hourly.csv.gz", 24, 7, 24),
    "beijing_air": ("beijing_air/hourly.csv.gz", 24, 7, 24),
    "air_passengers": ("classic/air_passengers.csv", 24, 1, 12),
    "daily_min_temps": ("classic/daily_min_temps.csv", 28, 7, 365),
    "monthly_sunspots": ("classic/monthly_sunspots.csv", 24, 7, 132),
    "taylor_halfhourly": ("classic/taylor_halfhourly.csv", 48, 7, 336),
    "us_gasoline_weekly": ("classic/us_gasoline_weekly.csv", 26, 7, 52),
    "wiki_peyton_manning": ("classic/wiki_peyton_manning_log.csv", 30, 7, 7),
    "wiki_r": ("classic/wiki_r_log.csv", 30, 7, 7),
    "yosemite_temps": ("classic/yosemite_temps_5m.csv", 96, 7, 288),
}
PJM_END = "2018-08-02T00:00:00Z"
# The ends of eight weeks, 45 or 46 days apart: each season of the year, workdays and holidays.
PJM_WEEKS = ("2017-09-15", "2017-10-31", "2017-12-16", "2018-01-30", "2018-03-17", "2018-05-02", "2018-06-17", "2018-08-02")
RIVALS = ("last_value", "seasonal_naive", "damped_trend")
KEPT = ("MASE", "wQL", "sMAPE", "rho0.5", "rho0.9", "cover80", "cover95", "points", "sum_absolute")
ABLATIONS = {
    "default": [],
    "member 1 alone": ["model.members=1"],
    "member 2 alone": ["model.members=2"],
    "member 3 alone": ["model.members=3"],
    "member 4 alone": ["model.members=4"],
    "member 5 alone": ["model.members=5"],
    "without blend": ["model.blend=false"],
    "without calibration": ["model.calibrate=false"],
    "without blend and calibration": ["model.blend=false", "model.calibrate=false"],
    "without skip": ["model.member_options=skip=false"],
    "without seasonal lags": ["model.member_options=lags=false"],
    "without calendar": ["model.member_options=calendar=false"],
    "without balanced loss": ["model.member_options=balanced=false"],
}
BLENDED_MOST = "seasonal drift alone"
SECONDS = {"sets": 60, "pjm": 300, "m4": 600, "ablation": 60}
RATIO_MAX, MEAN_RATIO_MAX = 1.05, 0.88
SAME = 1.01  # in the ablation, ratios closer to 1 count as neither better nor worse


# ---------------------------------------------------------------- rows

def read_rows(path):
    if not os.path.exists(path):
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def write_rows(path, fresh):
    replaced = {(row[0], row[1], row[2]) for row in fresh}
    kept = [row for row in read_rows(path) if tuple(row[:3]) not in replaced]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["part", "case", "model", "measure", "value"])
        writer.writerows(kept + fresh)


def rows_of(part, case, model, values):
    return [[part, case, model, key, "" if value is None else f"{value:.6g}"] for key, value in values.items()]


def kept_figures(metrics):
    out = {key: metrics[key] for key in KEPT if key in metrics}
    for level in ("80", "95"):
        for name, value in zip(("early", "middle", "late"), metrics[f"cover{level}_thirds"]):
            out[f"cover{level}_{name}"] = value
    return out


def by_case(rows, part):
    """{case: {model: {measure: value}}} of one part, in the order of the rows."""
    out = {}
    for row_part, case, model, measure, value in rows:
        if row_part == part:
            measures = out.setdefault(case, {}).setdefault(model, {})
            measures[measure] = float(value) if value else math.nan
    return out


# ---------------------------------------------------------------- running

def command(arguments, name, end=None, options=()):
    path, horizon, windows, season = SETS[name]
    words = [arguments.forecastd, "backtest", os.path.join(arguments.data, path), "--horizon", str(horizon),
             "--windows", str(windows), "--season", str(season), "--seed", str(arguments.seed), "--json",
             "--set", "train.lanes=2"]
    words += ["--steps", str(arguments.steps)] if arguments.steps else ["--seconds", str(arguments.seconds)]
    if end or name == "pjm_load":
        words += ["--end", end or PJM_END]
    for option in list(arguments.set) + list(options):
        words += ["--set", option]
    return words + (["--m4"] if name == "m4_hourly" else [])


def run_all(arguments, jobs):
    """jobs: {key: command}; yields (key, object) as they end, None where a job failed."""
    places = queue.SimpleQueue()
    for pair in range(arguments.pairs):
        places.put(["taskset", "-c", f"{2 * pair},{2 * pair + 1}"] if arguments.pairs > 1 else [])

    def run(item):
        key, words = item
        place = places.get()
        try:
            done = subprocess.run(place + words, capture_output=True, text=True)
        finally:
            places.put(place)
        if done.returncode != 0:
            lines = [line for line in done.stderr.strip().split("\n") if "backtest:" not in line]
            print(f"{key}: {' '.join(lines)[-300:]}", file=sys.stderr, flush=True)
            return key, None
        result = json.loads(done.stdout)
        champion = result["models"]["champion"]
        print(f"{key}: MASE {champion['MASE']} wQL {champion['wQL']} cover80 {champion['cover80']}",
              file=sys.stderr, flush=True)
        return key, result

    with concurrent.futures.ThreadPoolExecutor(arguments.pairs) as pool:
        yield from pool.map(run, jobs.items())


def chosen(wanted, names):
    only = wanted.split(",") if wanted else list(names)
    unknown = [name for name in only if name not in names]
    if unknown:
        raise SystemExit(f"no such case: {', '.join(unknown)}; there are {', '.join(names)}")
    return only


def budget_rows(part, arguments):
    budget = {"steps": arguments.steps} if arguments.steps else {"seconds": arguments.seconds}
    return rows_of(part, "budget", "", {**budget, "seed": arguments.seed})


def run_sets(arguments):
    rows, failed = budget_rows("sets", arguments), 0
    jobs = {name: command(arguments, name) for name in chosen(arguments.only, SETS)}
    for name, result in run_all(arguments, jobs):
        failed += result is None
        for model in ("champion",) + RIVALS if result else ():
            rows += rows_of("sets", name, model, kept_figures(result["models"][model]))
        if result:
            rows += rows_of("sets", name, "training", {"seconds": result["train_seconds"],
                                                       "series": result["series"], "season": result["season"]})
    write_rows(arguments.csv, rows)
    return failed


def run_pjm(arguments):
    rows, failed = budget_rows("pjm", arguments), 0
    jobs = {f"week before {day}": command(arguments, "pjm_load", f"{day}T00:00:00Z")
            for day in chosen(arguments.only, PJM_WEEKS)}
    for name, result in run_all(arguments, jobs):
        failed += result is None
        for model in ("champion", "seasonal_naive") if result else ():
            rows += rows_of("pjm", name, model, kept_figures(result["models"][model]))
        if result:
            rows += rows_of("pjm", name, "training", {"seconds": result["train_seconds"]})
    write_rows(arguments.csv, rows)
    return failed


def run_m4(arguments):
    rows, failed = budget_rows("m4", arguments), 0
    for name, result in run_all(arguments, {"m4_hourly": command(arguments, "m4_hourly")}):
        failed += result is None
        for model in ("champion", "seasonal_drift") + RIVALS if result else ():
            metrics = result["models"][model]
            rows += rows_of("m4", name, model, {"OWA": metrics["OWA"], **kept_figures(metrics)})
        if result:
            rows += rows_of("m4", name, "training", {"seconds": result["train_seconds"]})
    write_rows(arguments.csv, rows)
    return failed


def run_ablation(arguments):
    rows, failed = budget_rows("ablation", arguments), 0
    only = chosen(arguments.only, SETS)
    variants = chosen(arguments.variants, ABLATIONS)
    jobs = {(variant, name): command(arguments, name, options=ABLATIONS[variant])
            for variant in variants for name in only}
    for (variant, name), result in run_all(arguments, jobs):
        failed += result is None
        if result:
            rows += rows_of("ablation", name, variant, kept_figures(result["models"]["champion"]))
        if result and variant == "default":
            rows += rows_of("ablation", name, BLENDED_MOST, kept_figures(result["models"]["seasonal_drift"]))
    write_rows(arguments.csv, rows)
    return failed


# ---------------------------------------------------------------- tables

def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def number(value, digits=4):
    """Fixed digits, but small numbers keep three significant ones."""
    if value is None or value != value:
        return ""
    return f"{value:.3g}" if 0 < abs(value) < 10 ** -(digits - 2) else f"{value:.{digits}f}"


def marked(value, low, high, digits=3):
    """Bold where it misses its bounds."""
    text = number(value, digits)
    return f"**{text}**" if text and not low <= value <= high else text


def geometric_mean(values):
    values = [value for value in values if value is not None and value > 0]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def against_best(models, measure):
    """Ratio to the best rival, chosen afterwards; None where it cannot be told."""
    rivals = [models[rival][measure] for rival in RIVALS if models[rival].get(measure, math.nan) >= 0]
    own = models["champion"].get(measure, math.nan)
    if not rivals or own != own or not min(rivals) > 0:
        return None
    return own / min(rivals)


def pooled(cases, model, measure, weight):
    """Mean over the cases of a measure, by weight."""
    pairs = [(models[model][measure], models[model][weight]) for models in cases
             if models[model].get(measure, math.nan) == models[model].get(measure, math.nan)]
    total = sum(part for _, part in pairs)
    return sum(value * part for value, part in pairs) / total if total else math.nan


def budget_line(cases):
    budget = cases.pop("budget", {}).get("", {})
    length = f"{budget['steps']:g} steps" if "steps" in budget else f"{budget.get('seconds', math.nan):g} s"
    return f"Budget {length} a training, seed {budget.get('seed', math.nan):g}."


def sets_tables(rows):
    cases = by_case(rows, "sets")
    line = budget_line(cases)
    body, ratios = [], collections.defaultdict(list)
    for name, models in cases.items():
        path, horizon, windows, season = SETS[name]
        row = [name, f"{horizon} x {windows}, {season}"]
        for measure in ("MASE", "wQL"):
            ratio = against_best(models, measure)
            ratios[measure].append(ratio)
            row += [number(models[model].get(measure)) for model in ("champion",) + RIVALS]
            row.append(marked(ratio if ratio is not None else math.nan, 0, RATIO_MAX))
        body.append(row)
    head = ["set", "horizon x windows, season"]
    for measure in ("MASE", "wQL"):
        head += [measure, "last value", "seasonal naive", "damped trend", "to the best"]
    out = [line, table(head, body)]
    means = {key: geometric_mean(values) for key, values in ratios.items()}
    out.append(f"Geometric mean of the ratios to the best rival of each set: MASE {number(means['MASE'])}, "
               f"wQL {number(means['wQL'])} (goal at most {MEAN_RATIO_MAX}, no set above {RATIO_MAX}).")
    names = ["cover80", "cover80_early", "cover80_middle", "cover80_late"]
    body = [[name] + [marked(models["champion"].get(key), 0.74, 0.86) for key in names] +
            [number(models["champion"].get("cover95"), 3)] + [number(models[rival].get("cover80"), 3) for rival in RIVALS]
            for name, models in cases.items()]
    every = list(cases.values())
    body.append(["all, pooled", marked(pooled(every, "champion", "cover80", "points"), 0.78, 0.82)] +
                [number(pooled(every, "champion", key, "points"), 3) for key in names[1:]] +
                [marked(pooled(every, "champion", "cover95", "points"), 0.935, 0.965)] +
                [number(pooled(every, rival, "cover80", "points"), 3) for rival in RIVALS])
    out.append(table(["set", "cover80", "early", "middle", "late", "cover95", "last value", "seasonal naive",
                      "damped trend"], body))
    return out


def pjm_tables(rows):
    cases = by_case(rows, "pjm")
    line = budget_line(cases)
    body = []
    for name, models in list(cases.items()) + [("all, pooled", None)]:
        def value(model, key):
            if models:
                return models[model][key]
            return pooled(cases.values(), model, key, "points" if key.startswith("cover") else "sum_absolute")
        own, naive = value("champion", "wQL"), value("seasonal_naive", "wQL")
        body.append([name, number(own), number(value("champion", "rho0.5")), number(value("champion", "rho0.9")),
                     number(naive), number(own / naive, 3), number(value("champion", "cover80"), 3),
                     number(value("champion", "cover95"), 3)])
    return [line, table(["PJM load, 24 x 7", "wQL", "rho0.5", "rho0.9", "weekly naive's wQL", "ratio", "cover80",
                         "cover95"], body)]


def m4_tables(rows):
    cases = by_case(rows, "m4")
    line = budget_line(cases)
    keys = ("OWA", "MASE", "sMAPE", "wQL", "cover80", "cover95")
    body = [[model.replace("_", " ")] + [number(measures.get(key)) for key in keys]
            for models in cases.values() for model, measures in models.items() if "MASE" in measures]
    return [line, table(["M4 Hourly, last 48 of train"] + list(keys), body)]


def ablation_tables(rows):
    cases = by_case(rows, "ablation")
    line = budget_line(cases)
    names = [name for name, models in cases.items() if "default" in models]
    body = []
    for variant in [*ABLATIONS, BLENDED_MOST]:
        there = [name for name in names if variant in cases[name]]
        if not there:
            continue
        row = [variant, str(len(there))]
        for measure in ("MASE", "wQL"):
            ratios = [cases[name][variant][measure] / cases[name]["default"][measure] for name in there]
            better, worse = sum(ratio < 1 / SAME for ratio in ratios), sum(ratio > SAME for ratio in ratios)
            row += [number(geometric_mean(ratios), 3), f"{better} / {worse}"]
        body.append(row + [number(pooled([cases[name] for name in there], variant, key, "points"), 3)
                           for key in ("cover80", "cover95")])
    return [line, table(["recipe", "sets", "MASE to default", "better / worse", "wQL to default", "better / worse",
                         "cover80", "cover95"], body)]


TABLES = {"sets": sets_tables, "pjm": pjm_tables, "m4": m4_tables, "ablation": ablation_tables}
RUNS = {"sets": run_sets, "pjm": run_pjm, "m4": run_m4, "ablation": run_ablation}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in RUNS:
        one = commands.add_parser(name)
        one.add_argument("data")
        one.add_argument("--forecastd", default="build/forecastd")
        one.add_argument("--seconds", type=int, default=SECONDS[name])
        one.add_argument("--steps", type=int, default=0)
        one.add_argument("--seed", type=int, default=1)
        one.add_argument("--pairs", type=int, default=1)
        one.add_argument("--only", default="")
        one.add_argument("--variants", default="")
        one.add_argument("--set", action="append", default=[])
        one.add_argument("--csv", default="docs/accuracy.csv")
    commands.add_parser("tables").add_argument("--csv", default="docs/accuracy.csv")
    arguments = parser.parse_args()
    parts = list(TABLES) if arguments.command == "tables" else [arguments.command]
    failed = RUNS[arguments.command](arguments) if arguments.command in RUNS else 0
    rows = read_rows(arguments.csv)
    for part in parts:
        if any(row[0] == part and row[1] != "budget" for row in rows):
            print("\n\n".join(TABLES[part](rows)), end="\n\n")
    if failed:
        raise SystemExit(f"{failed} of the backtests failed")


if __name__ == "__main__":
    main()
