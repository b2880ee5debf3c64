"""Backtests: the command against the scoring tool's figures, and the job on stored points.

SPDX-License-Identifier: Apache-2.0

data/backtest.csv has gaps in both parts, ties, a constant series, one with a late start and one that is too short;
data/backtest_figures.json is what the reference scoring tool printed for its two naive baselines on it.
"""
import csv
import json
import math
import os
import random
import re
import shutil
import subprocess
import tempfile
import time
import xml.etree.ElementTree

import scoring
from daemon import BINARY, SLOWNESS, Daemon, now_ms

HERE = os.path.dirname(os.path.abspath(__file__))
SAMPLE = os.path.join(HERE, "data", "backtest.csv")
SEASON = 24
SETTINGS = ["train.every=1d"]
HOUR = 3600000
CASES = {"rolling": (12, 3, []), "single": (24, 1, ["--m4"])}  # horizon, windows, options
TINY = ["--set", "model.width=16", "--set", "model.layers=1", "--set", "model.inner=32"]
FIGURES = {"MASE", "sMAPE", "ND", "wQL", "cover80", "width80", "cover95", "MSIS95", "quantile_crossings", "sum_absolute",
           *(f"rho{level}" for level in (0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975))}
MODELS = {"champion", "last_value", "drift", "seasonal_naive", "damped_trend", "seasonal_drift"}


def stored_figures():
    with open(os.path.join(HERE, "data", "backtest_figures.json"), encoding="utf-8") as file:
        return json.load(file)


def close(got, want, tolerance=1e-9):
    if want is None or want != want:
        return got is None
    return got is not None and abs(got - want) <= tolerance * max(1.0, abs(want))


def assert_figures(got, want, what):
    for key, value in want.items():
        values = zip(got[key], value) if isinstance(value, list) else [(got[key], value)]
        for one, other in values:
            assert close(one, other), f"{what} {key}: {one!r}, not {other!r}"


def backtest(folder, horizon, windows, *options, steps=2, sample=SAMPLE):
    """The object, forecasts by id, rows by series."""
    forecasts, rows = os.path.join(folder, "forecasts.csv"), os.path.join(folder, "series.csv")
    done = subprocess.run(
        [BINARY, "backtest", sample, "--horizon", str(horizon), "--windows", str(windows), "--season", str(SEASON),
         "--steps", str(steps), "--seed", "3", "--json", "--forecasts", forecasts, "--by-series", rows, *TINY, *options],
        capture_output=True, text=True, timeout=120 * SLOWNESS)
    assert done.returncode == 0, done.stderr
    with open(rows, newline="", encoding="utf-8") as file:
        by_series = {row["series_id"]: row for row in csv.DictReader(file)}
    return json.loads(done.stdout), scoring.read_forecasts(forecasts), by_series


def in_folder(test):
    def run():
        folder = tempfile.mkdtemp(prefix="forecastd-backtest-")
        try:
            test(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return run


def yardsticks(parts, horizon, season):
    out = {}
    for name, (train, windows) in parts.items():
        history = list(train)
        for number, actuals in enumerate(windows, 1):
            out[f"{name}#{number}" if len(windows) > 1 else name] = scoring.naive(history, season, horizon)
            history += actuals
    return out


def test_definitions_written_twice_agree_with_the_scoring_tool():
    """This file's own yardstick, before it measures anything."""
    for case, (horizon, windows, _) in CASES.items():
        parts = scoring.cut(scoring.read_wide(SAMPLE), horizon, windows, SEASON)
        for model, season in (("seasonal_naive", SEASON), ("last_value", 1)):
            want = dict(stored_figures()[case][model])
            got = scoring.figures(parts, yardsticks(parts, horizon, season), SEASON, horizon)
            want = {key: value for key, value in want.items() if key in got}
            assert len(want) == 24, sorted(want)
            assert_figures(got, want, f"{case} {model}")


def check_case(folder, case):
    horizon, windows, options = CASES[case]
    result, forecasts, rows = backtest(folder, horizon, windows, *options)
    parts = scoring.cut(scoring.read_wide(SAMPLE), horizon, windows, SEASON)
    assert result["series"] == 4 and result["series_left_out"] == 1 and result["season"] == SEASON, result
    models = result["models"]
    assert set(models) == MODELS, sorted(models)
    for model in ("last_value", "seasonal_naive"):
        want = dict(stored_figures()[case][model])
        want.pop("by_series")
        assert_figures(models[model], want, f"{case} {model}")
    want = scoring.figures(parts, forecasts, SEASON, horizon)
    assert_figures(models["champion"], want, f"{case} champion")
    assert want["missing_actuals"] > 0, "the sample has missing actuals"
    for key in ("points", "series", "missing_actuals"):
        assert len({model[key] for model in models.values()}) == 1, key

    assert list(rows) == list(parts), "in the order of the file"
    for name, own in scoring.by_series(parts, forecasts, SEASON, horizon).items():
        for key in ("sMAPE", "MASE", "wQL", "cover80", "points"):
            got = float(rows[name][key]) if rows[name][key] else None
            assert close(got, own[key]), f"{case} {name} {key}: {got}, not {own[key]}"
    return result, parts, rows


@in_folder
def rolling(folder):
    _, parts, rows = check_case(folder, "rolling")
    stored = stored_figures()["rolling"]
    for name in parts:  # a row is the mean over the windows that the scoring tool lists one by one
        row = rows[name]
        if row["best_baseline"] not in stored:
            continue
        listed = [value for key, value in stored[row["best_baseline"]]["by_series"].items()
                  if key.rsplit("#", 1)[0] == name]
        for place, key in enumerate(("baseline_sMAPE", "baseline_MASE")):
            wanted = [one[place] for one in listed if one[place] is not None]
            got = float(row[key]) if row[key] else math.nan
            assert close(got, scoring.mean(wanted), 1e-5) or (not wanted and got != got), (name, key, got)
    assert any(row["best_baseline"] in stored for row in rows.values()), "or nothing was compared"


@in_folder
def single_with_m4(folder):
    result, _, _ = check_case(folder, "single")
    for model in result["models"].values():
        naive2 = stored_figures()["single"]["last_value"]
        assert close(model["Naive2_sMAPE"], naive2["Naive2_sMAPE"])
        assert close(model["OWA"], (model["sMAPE"] / naive2["Naive2_sMAPE"] +
                                    model["MASE"] / naive2["Naive2_MASE"]) / 2)


def test_rolling_windows_agree_with_the_scoring_tool():
    rolling()


def test_m4_figures_agree_with_the_scoring_tool():
    single_with_m4()


def multiplied(folder, rows_from_end, factor):
    """The sample with the values of its last rows multiplied."""
    path = os.path.join(folder, "multiplied.csv")
    with open(SAMPLE, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    for row in rows[-rows_from_end:]:
        row[1:] = [repr(factor * float(value)) if value else "" for value in row[1:]]
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


@in_folder
def unseen(folder):
    horizon, windows = 12, 3
    result, forecasts, _ = backtest(folder, horizon, windows)
    last, last_forecasts, _ = backtest(folder, horizon, windows, sample=multiplied(folder, horizon, 10))
    assert last_forecasts == forecasts, "the last window decides nothing but its own score"
    assert last["models"]["champion"]["wQL"] != result["models"]["champion"]["wQL"], "it was multiplied"
    _, all_forecasts, _ = backtest(folder, horizon, windows, sample=multiplied(folder, horizon * windows, 10))
    first = [name for name in forecasts if name.endswith("#1")]
    assert len(first) == 4 and all(all_forecasts[name] == forecasts[name] for name in first), "nor do all of them"
    assert all_forecasts != forecasts, "a window does decide the ones after it"


def test_windows_are_seen_by_neither_training_nor_calibration():
    unseen()


def check_two_seeds(result, first):
    one, two = result["seeds"]
    assert (one["seed"], two["seed"]) == (first, first + 1), result["seeds"]
    mean, ends = result["models"]["champion"], result["champion_range"]
    assert one["champion"]["MASE"] != two["champion"]["MASE"], "seeds differ"
    assert set(ends) == FIGURES, sorted(ends)
    for key in FIGURES:
        values = [one["champion"][key], two["champion"][key]]
        assert close(mean[key], sum(values) / 2, 1e-12) and ends[key] == [min(values), max(values)], key
    return one, two


@in_folder
def several_seeds(folder):
    result, forecasts, _ = backtest(folder, 12, 2, "--seeds", "2")
    one, _ = check_two_seeds(result, 3)
    parts = scoring.cut(scoring.read_wide(SAMPLE), 12, 2, SEASON)
    want = scoring.figures(parts, forecasts, SEASON, 12)
    assert close(one["champion"]["wQL"], want["wQL"]), "the file has the first seed's forecasts"


def test_seeds_have_a_mean_and_a_range():
    several_seeds()


@in_folder
def picture(folder):
    path = os.path.join(folder, "picture.svg")
    backtest(folder, 12, 3, "--plot", path)
    root = xml.etree.ElementTree.parse(path).getroot()
    space = "{http://www.w3.org/2000/svg}"
    text = " ".join(part for node in root.iter() for part in (node.text, node.tail) if part)
    for word in ("worst by MASE", "median by MASE", "best by MASE", "what came", "80 % band", "UTC"):
        assert word in text, (word, text)
    kinds = [node.get("class") for node in root.iter(space + "path")]
    assert kinds.count("actual") == 3 + 1 and kinds.count("narrow") == 9 + 1, "three panels of three fans, and a legend"
    with open(path, encoding="utf-8") as file:
        source = file.read()
    assert not re.search(r"(href|src)=|url\((?!#)|nan|inf\b", source), "self-contained, and finite"
    backtest(folder, 12, 3, "--plot", path, "--plot-series", 'flat "constant"')
    root = xml.etree.ElementTree.parse(path).getroot()
    titles = [node.text for node in root.iter(space + "text") if node.get("class") == "panel"]
    assert titles == ['flat "constant"'], titles


def test_picture():
    picture()


def test_figures_come_before_files_that_cannot_be_written():
    done = subprocess.run([BINARY, "backtest", SAMPLE, "--horizon", "12", "--steps", "1", *TINY, "--json",
                           "--plot", "/nowhere/x.svg"], capture_output=True, text=True)
    assert done.returncode == 1 and "/nowhere/x.svg" in done.stderr, done.stderr
    assert json.loads(done.stdout)["horizon"] == 12


def test_what_does_not_fit_together_is_refused():
    for options in (["--windows", "0", "--plot", "x.svg"], ["--windows", "0", "--by-series", "x.csv"],
                    ["--plot-series", "load"], ["--seeds", "0"]):
        done = subprocess.run([BINARY, "backtest", SAMPLE, "--horizon", "12", *options], capture_output=True, text=True)
        assert done.returncode == 2 and options[-2] in done.stderr, (options, done.stderr)
    done = subprocess.run([BINARY, "backtest", SAMPLE, "--horizon", "12", "--steps", "1", *TINY, "--plot", "/tmp/x.svg",
                           "--plot-series", "young"], capture_output=True, text=True)
    assert done.returncode == 1 and "young" in done.stderr, done.stderr


# ---------------------------------------------------------------- the job

def post(daemon, body):
    return daemon.post_json("/api/v1/backtest", body)


def follow(daemon, job, seconds=60):
    """The job once it has ended; progress never goes back."""
    deadline = time.monotonic() + seconds * SLOWNESS
    progress = 0
    while time.monotonic() < deadline:
        body = daemon.get(f"/api/v1/jobs/{job}").json
        assert body["id"] == job and body["kind"] == "backtest", body
        assert 0 <= body["progress"] <= 1 and body["progress"] >= progress - 1e-9, (progress, body)
        progress = body["progress"]
        if body["state"] not in ("queued", "running"):
            return body
        time.sleep(0.05)
    raise AssertionError(f"the job did not end: {body}")


def clear(daemon):
    for one in daemon.get("/api/v1/jobs").json["jobs"]:
        if one["state"] in ("queued", "running"):
            daemon.request("DELETE", f"/api/v1/jobs/{one['id']}")


def feed(daemon, count=700):
    start = (now_ms() // HOUR - count) * HOUR
    for k, zone in enumerate("abc"):
        points = [[start + i * HOUR, round(100 + 30 * math.sin(2 * math.pi * (i + 3 * k) / 24)
                                           + (i * 7919 % 1009) / 300, 2)] for i in range(count)]
        assert daemon.points({"series": "load", "labels": {"zone": zone}, "points": points}).status == 200
    minutes = [[start + i * 60000, i % 7] for i in range(200)]
    assert daemon.points({"series": "other.step", "points": minutes}).status == 200


def test_job_evaluates_stored_points_and_publishes_nothing(daemon):
    feed(daemon)
    clear(daemon)
    models = daemon.get("/api/v1/models").json["models"]
    answer = post(daemon, {"series": 'load{zone=~"a|b"}', "horizon": "12h", "windows": 2, "steps": 3, "seed": 5})
    assert answer.status == 202 and answer.json["kind"] == "backtest", answer
    job = answer.json["id"]
    assert answer.headers["location"] == f"/api/v1/jobs/{job}", answer.headers
    ended = follow(daemon, job)
    assert ended["state"] == "done" and ended["error"] is None and ended["progress"] == 1, ended
    result = ended["result"]
    assert result["series"] == 2 and result["series_left_out"] == 0 and result["seed"] == 5, result
    assert result["horizon"] == 12 and result["windows"] == 2 and result["season"] == 24, result
    assert set(result["models"]) == MODELS and "seeds" not in result and "champion_range" not in result
    for model in result["models"].values():
        assert model["points"] == 48 and model["wQL"] > 0 and len(model["cover80_thirds"]) == 3, model
    rows = result["by_series"]
    assert result["by_series_total"] == 2 and {row["series"] for row in rows} == {
        'load{zone="a"}', 'load{zone="b"}'}, rows
    worse = [row["champion"]["wQL"] / row["baseline"]["wQL"] for row in rows]
    assert worse == sorted(worse, reverse=True), "worst first"
    pooled = sum(row["champion"]["MASE"] for row in rows) / 2
    assert close(pooled, result["models"]["champion"]["MASE"])
    [listed] = [one for one in daemon.get("/api/v1/jobs").json["jobs"] if one["id"] == job]
    assert listed["state"] == "done" and listed["result"] is None, "long results are with the job itself only"
    assert daemon.get("/api/v1/models").json["models"] == models, "nothing is published"


def test_job_takes_all_series_of_the_commonest_step(daemon):
    feed(daemon)
    clear(daemon)
    ended = follow(daemon, post(daemon, {"horizon": 6, "windows": 1, "steps": 2}).json["id"])
    assert ended["state"] == "done", ended
    assert ended["result"]["series"] == 3 and ended["result"]["series_left_out"] == 1, ended["result"]


def test_job_of_several_seeds_has_a_mean_and_a_range(daemon):
    feed(daemon)
    clear(daemon)
    ended = follow(daemon, post(daemon, {"series": "load", "horizon": 12, "windows": 2, "steps": 2, "seed": 5,
                                         "seeds": 2}).json["id"])
    assert ended["state"] == "done" and ended["progress"] == 1, ended
    assert ended["phase"] == "seed 2 of 2, forecasting", ended["phase"]
    one, _ = check_two_seeds(ended["result"], 5)
    rows = ended["result"]["by_series"]
    assert close(sum(row["champion"]["MASE"] for row in rows) / len(rows), one["champion"]["MASE"]), "the first seed's"


def check_beside_command(folder, daemon, name, series, windows, season):
    """A job and the command on the same points, which end with the newest hour."""
    count = len(series["a"])
    start = (now_ms() // HOUR - count) * HOUR
    ids = {f'{name}{{zone="{zone}"}}': values for zone, values in series.items()}
    sample = os.path.join(folder, f"{name}.csv")
    with open(sample, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["timestamp", *ids])
        rows.writerows([start + i * HOUR, *(values[i] for values in ids.values())] for i in range(count))
    want, _, by_series = backtest(folder, 12, windows, "--seeds", "2", "--season", str(season), sample=sample)
    for zone, values in series.items():
        points = [[start + i * HOUR, value] for i, value in enumerate(values)]
        assert daemon.points({"series": name, "labels": {"zone": zone}, "points": points}).status == 200, zone
    ended = follow(daemon, post(daemon, {"series": name, "horizon": 12, "windows": windows, "steps": 2, "seed": 3,
                                         "seeds": 2}).json["id"])
    assert ended["state"] == "done", ended
    got = ended["result"]
    for key in ("series", "series_left_out", "horizon", "windows", "season", "seed", "backbone", "parameters"):
        assert got[key] == want[key], (name, key, got[key], want[key])
    for model in MODELS:
        assert_figures(got["models"][model], want["models"][model], f"{name} {model}")
    for one, other in zip(got["seeds"], want["seeds"]):
        assert one["seed"] == other["seed"], (one, other)
        assert_figures(one["champion"], other["champion"], f"{name} seed {one['seed']}")
    assert_figures(got["champion_range"], want["champion_range"], f"{name} range")
    assert len(got["seeds"]) == 2 and {row["series"] for row in got["by_series"]} == set(ids) == set(by_series)
    for row in got["by_series"]:
        assert close(row["champion"]["wQL"], float(by_series[row["series"]]["wQL"])), row


@in_folder
def job_beside_command(folder):
    chance = random.Random(7)

    def values(wave_from):
        return [round(chance.gauss(100, 5) + (40 * math.sin(2 * math.pi * i / 24) if i >= wave_from else 0), 2)
                for i in range(480)]
    daemon = Daemon(*SETTINGS, *TINY[1::2])
    try:
        daemon.start()
        check_beside_command(folder, daemon, "load", {zone: values(0) for zone in "abc"}, 2, SEASON)
        # No season can be seen but in what is held back.
        check_beside_command(folder, daemon, "late", {"a": values(240)}, 20, 1)
        # Counters are their rise, here as there, over a reset too.
        rises = values(0)
        check_beside_command(folder, daemon, "hits_total", {"a": [round(sum(rises[:i]), 2) for i in range(480)],
                                                            "b": [round(sum(rises[200:i] or rises[:i]), 2)
                                                                  for i in range(480)]}, 2, SEASON)
    finally:
        daemon.remove()


def test_job_says_what_the_command_says():
    job_beside_command()


def test_job_says_what_is_missing(daemon):
    feed(daemon)
    clear(daemon)
    ended = follow(daemon, post(daemon, {"series": "load", "horizon": 500, "windows": 2, "steps": 2}).json["id"])
    assert ended["state"] == "failed" and "test values" in ended["error"] and ended["result"] is None, ended
    ended = follow(daemon, post(daemon, {"series": "load", "horizon": "90d", "steps": 2}).json["id"])
    assert ended["state"] == "failed" and "2160 steps" in ended["error"], ended


def test_job_is_cancelled_and_queued_once(daemon):
    feed(daemon)
    clear(daemon)
    running = post(daemon, {"seconds": 100}).json["id"]
    deadline = time.monotonic() + 20 * SLOWNESS
    while daemon.get(f"/api/v1/jobs/{running}").json["state"] != "running":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    waiting = post(daemon, {"seconds": 100})
    assert waiting.status == 202, waiting
    refused = post(daemon, {"seconds": 100})
    assert refused.status == 409 and refused.json["code"] == "job_queued", refused
    begin = time.monotonic()
    assert daemon.request("DELETE", f"/api/v1/jobs/{waiting.json['id']}").json["state"] == "cancelled"
    assert daemon.request("DELETE", f"/api/v1/jobs/{running}").status == 200
    ended = follow(daemon, running, 10)
    assert ended["state"] == "cancelled" and ended["result"] is None, ended
    assert time.monotonic() - begin < 8 * SLOWNESS


def test_job_of_several_seeds_is_cancelled_between_them(daemon):
    feed(daemon)
    clear(daemon)
    job = post(daemon, {"series": "load", "horizon": 12, "windows": 1, "seconds": 1, "seeds": 32}).json["id"]
    deadline = time.monotonic() + 60 * SLOWNESS
    while (body := daemon.get(f"/api/v1/jobs/{job}").json)["progress"] <= 1 / 32:
        assert time.monotonic() < deadline, body
        time.sleep(0.02)
    assert body["seconds_left"] > 10, ("a second for each of thirty", body)
    assert daemon.request("DELETE", f"/api/v1/jobs/{job}").status == 200
    ended = follow(daemon, job, 20)
    assert ended["state"] == "cancelled" and ended["result"] is None and ended["progress"] < 1, ended
    assert re.fullmatch(r"seed ([2-9]|[12]\d) of 32, .+", ended["phase"]), ended["phase"]


def test_bad_jobs_are_refused_by_name(daemon):
    feed(daemon)
    for body, status, code, param in (
            ({"horizon": 0}, 400, "bad_field", "horizon"), ({"horizon": 5000}, 400, "bad_field", "horizon"),
            ({"horizon": "soon"}, 400, "bad_field", "horizon"), ({"horizon": [1]}, 400, "bad_field", "horizon"),
            ({"windows": 0}, 400, "bad_field", "windows"), ({"windows": 1000}, 400, "bad_field", "windows"),
            ({"windows": "3"}, 400, "bad_field", "windows"), ({"seconds": 0}, 400, "bad_field", "seconds"),
            ({"seeds": 0}, 400, "bad_field", "seeds"), ({"seeds": 33}, 400, "bad_field", "seeds"),
            ({"seeds": "2"}, 400, "bad_field", "seeds"), ({"seeds": 1.5}, 400, "bad_field", "seeds"),
            ({"seeds": 32, "seconds": 2701}, 400, "bad_field", "seeds"),
            ({"steps": -1}, 400, "bad_field", "steps"), ({"seed": "x"}, 400, "bad_field", "seed"),
            ({"backbone": "nobody"}, 400, "bad_field", "backbone"), ({"series": 3}, 400, "bad_field", "series"),
            ({"series": "load{"}, 400, "bad_selector", "series"),
            ({"series": "x" * 1100}, 400, "bad_field", "series"),
            ({"series": "nothing.such"}, 404, "unknown_series", "series"),
            ({"window": 3}, 400, "unknown_field", "window")):
        answer = post(daemon, body)
        assert answer.status == status, (body, answer)
        assert answer.json["code"] == code and answer.json["param"] == param, (body, answer.json)
    answer = post(daemon, {"seeds": 33}).json
    assert "32" in answer["hint"], answer
    answer = post(daemon, {"seeds": 32, "seconds": 2701}).json
    assert "a day" in answer["detail"] and "for each seed" in answer["hint"], answer
    assert daemon.post_json("/api/v1/backtest", []).status == 400
    assert daemon.get("/api/v1/backtest").status == 405
