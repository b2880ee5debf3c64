"""The definitions of a backtest's figures, written a second time: plain Python over whole lists.

SPDX-License-Identifier: Apache-2.0

tests/http/data/backtest_figures.json holds what the reference scoring tool printed for the sample beside it;
test_backtest.py holds both this module and the product against that.
"""
import csv
import math

LEVELS = [0.025] + [i / 10 for i in range(1, 10)] + [0.975]
NAN = float("nan")


def read_wide(path):
    """{series: values}"""
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    return {name: [float(row[i]) if row[i] else NAN for row in rows[1:]]
            for i, name in enumerate(rows[0]) if i}


def cut(series, horizon, windows, season):
    """{series: (train, [window, ...])}: leading gaps go, short or mostly missing ones are left out."""
    out = {}
    held_back = horizon * windows
    for name, values in series.items():
        train, test = values[:-held_back], values[-held_back:]
        while train and math.isnan(train[0]):
            train = train[1:]
        if len(train) >= 3 * season and sum(v == v for v in test) >= held_back / 2:
            out[name] = (train, [test[i * horizon:(i + 1) * horizon] for i in range(windows)])
    return out


def read_forecasts(path):
    """{id: [{column: value}, ...]} in the order of the steps."""
    out = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            name, step = row.pop("series_id"), int(row.pop("step"))
            out.setdefault(name, []).append({key: float(value) for key, value in row.items()})
            assert len(out[name]) == step, (name, step)
    return out


# ---------------------------------------------------------------- the yardsticks

def last_seen(values):
    return next((v for v in reversed(values) if v == v), 0.0)


def sample_quantile(ordered, level):
    at = (len(ordered) - 1) * level
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def naive(history, season, horizon):
    """Seasonal naive with the spread of the last 200 seasons' differences, to ten digits as in a file."""
    recent = history[-200 * season:]
    pairs = zip(recent, recent[season:])
    spread = sorted(b - a for a, b in pairs if a == a and b == b) or [0.0]
    rows = []
    for step in range(horizon):
        at = len(history) - season + step % season
        while at >= 0 and math.isnan(history[at]):
            at -= season
        value = history[at] if at >= 0 else last_seen(history)
        row = {f"q{level:g}": float("%.10g" % (value + sample_quantile(spread, level))) for level in LEVELS}
        row["mean"] = float("%.10g" % value)
        rows.append(row)
    return rows


# ---------------------------------------------------------------- figures

def pinball(level, actual, quantile):
    return level * (actual - quantile) if actual >= quantile else (1 - level) * (quantile - actual)


def mean(values):
    return sum(values) / len(values) if values else NAN


def scale_of(train, season):
    return mean([abs(b - a) for a, b in zip(train, train[season:]) if a == a and b == b])


def rows_of(parts, forecasts, season):
    """One row a window: (series, scale, [(step, actual, forecast), ...]) of the observed steps."""
    for name, (train, windows) in parts.items():
        for number, actuals in enumerate(windows, 1):
            made = forecasts[f"{name}#{number}" if len(windows) > 1 else name]
            assert len(made) == len(actuals), name
            steps = [(i, y, f) for i, (y, f) in enumerate(zip(actuals, made)) if y == y]
            yield name, scale_of(train, season), steps


def covered(steps, low, high):
    return mean([f[low] <= y <= f[high] for _, y, f in steps])


def figures(parts, forecasts, season, horizon):
    rows = list(rows_of(parts, forecasts, season))
    steps = [step for _, _, all_steps in rows for step in all_steps]
    rows = [row for row in rows if row[2]]
    total = sum(abs(y) for _, y, _ in steps)
    scaled = [(scale, row) for _, scale, row in rows if scale > 0]
    out = {
        "series": len(rows), "points": len(steps),
        "missing_actuals": sum(v != v for _, windows in parts.values() for w in windows for v in w),
        "series_without_MASE_scale": len(rows) - len(scaled),
        "sMAPE": mean([mean([200 * abs(y - f["mean"]) / (abs(y) + abs(f["mean"]))
                             if abs(y) + abs(f["mean"]) else 0.0 for _, y, f in row]) for _, _, row in rows]),
        "MASE": mean([mean([abs(y - f["mean"]) for _, y, f in row]) / scale for scale, row in scaled]),
        "ND": sum(abs(y - f["mean"]) for _, y, f in steps) / total if total else NAN,
        "cover80": covered(steps, "q0.1", "q0.9"), "cover95": covered(steps, "q0.025", "q0.975"),
        "width80": sum(f["q0.9"] - f["q0.1"] for _, _, f in steps) / total if total else NAN,
        "MSIS95": mean([mean([f["q0.975"] - f["q0.025"] + 40 * max(0, f["q0.025"] - y) +
                              40 * max(0, y - f["q0.975"]) for _, y, f in row]) / scale for scale, row in scaled]),
        "quantile_crossings": mean([any(f[f"q{a:g}"] > f[f"q{b:g}"] for a, b in zip(LEVELS, LEVELS[1:]))
                                    for _, _, f in steps]),
    }
    for level in LEVELS:
        loss = sum(pinball(level, y, f[f"q{level:g}"]) for _, y, f in steps)
        out[f"rho{level:g}"] = 2 * loss / total if total else NAN
    out["wQL"] = sum(out[f"rho{i / 10:g}"] for i in range(1, 10)) / 9
    for key, low, high in (("cover80", "q0.1", "q0.9"), ("cover95", "q0.025", "q0.975")):
        out[key + "_thirds"] = [covered([s for s in steps if 3 * s[0] // horizon == third], low, high)
                                for third in range(3)]
    return out


def by_series(parts, forecasts, season, horizon):
    return {name: figures({name: part}, forecasts, season, horizon) for name, part in parts.items()}
