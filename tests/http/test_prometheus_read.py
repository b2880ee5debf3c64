"""Reading as from Prometheus: the requests of Grafana's data source, PromQL, forecasts ahead of now.

SPDX-License-Identifier: Apache-2.0
"""
import math
import os
import time
from urllib.parse import urlencode

from daemon import Daemon, now_ms, quote

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ROOT = "/prometheus/api/v1/"
STEP = 60000
COUNT = 600


def feed(daemon, name="room.temp", labels=None):
    """COUNT minutes up to now; returns the time of the last one in seconds."""
    start = (now_ms() // STEP - COUNT + 1) * STEP
    points = [[start + i * STEP, 20 + 5 * math.sin(i / 60 * math.pi)] for i in range(COUNT)]
    answer = daemon.points({"series": name, "labels": labels or {"site": "a"}, "points": points})
    assert answer.status == 200, answer
    return points[-1][0] // 1000


def form(daemon, route, **fields):
    return daemon.request("POST", ROOT + route, urlencode(fields), FORM)


def data(answer):
    assert answer.status == 200, answer
    assert answer.type == "application/json", answer.headers
    assert answer.json["status"] == "success", answer
    return answer.json["data"]


def test_health_check_of_grafana(daemon):
    """"Save & test" asks for 1+1 at an instant, then for the build information."""
    answer = data(form(daemon, "query", query="1+1", time="1795354740.123"))
    assert answer == {"resultType": "scalar", "result": [1795354740.123, "2"]}, answer
    info = data(daemon.get(ROOT + "status/buildinfo"))
    assert info["version"] and info["application"] == "forecastd", info


def test_panel_of_history_and_future(daemon):
    """A panel from now-6h to now+2h as Grafana asks for it: one form for each of its queries."""
    last = feed(daemon)
    start, end = last - 6 * 3600, last + 2 * 3600
    panel = {"start": str(start), "end": str(end), "step": "60"}
    past = data(form(daemon, "query_range", query='room.temp{site="a"}', **panel))
    assert past["resultType"] == "matrix" and len(past["result"]) == 1, past
    series = past["result"][0]
    assert series["metric"] == {"__name__": "room.temp", "site": "a"}, series["metric"]
    times = [time for time, _ in series["values"]]
    assert times[0] == start and times[360] == last, times[:3]
    assert max(times) <= last + 360, "only a forecast goes far ahead"
    bands = data(form(daemon, "query_range", query='{"room.temp:predicted"}', **panel))["result"]
    kinds = [one["metric"]["ml_forecast"] for one in bands]
    assert kinds == ["yhat", "yhat_lower", "yhat_upper"], kinds
    middle, lower, upper = ([float(value) for _, value in one["values"]] for one in bands)
    assert len(middle) == 120, len(middle)
    assert [time for time, _ in bands[0]["values"]] == list(range(last + 60, end + 1, 60))
    assert all(low <= high for low, high in zip(lower, upper))
    asked = daemon.get("/api/v1/forecast?series=" + quote('room.temp{site="a"}') + "&steps=120")
    forecast = asked.json["forecasts"][0]
    for ours, theirs in ((middle, forecast["mean"]), (lower, forecast["quantiles"]["0.1"]),
                         (upper, forecast["quantiles"]["0.9"])):
        assert all(abs(a - b) < 1e-3 * max(1, abs(b)) for a, b in zip(ours, theirs)), (ours[:3], theirs[:3])


def test_expressions(daemon):
    last = feed(daemon, "load", {"host": "x"})
    feed(daemon, "load", {"host": "y"})
    ask = lambda query: data(form(daemon, "query", query=query, time=str(last)))["result"]
    one = float(ask('load{host="x"}')[0]["value"][1])
    assert abs(float(ask("sum(load)")[0]["value"][1]) - 2 * one) < 1e-9
    assert ask("count by (host) (load)")[1]["metric"] == {"host": "y"}
    assert ask("load > 1000") == []
    assert ask("load - load offset 2h")[0]["value"][1] == "0" or abs(float(ask("load - load offset 2h")[0]["value"][1])) < 1e-9
    assert ask("count_over_time(load[10m])")[0]["value"][1] == "10"
    assert ask("\n  sum by (host) (\n\tload\n)")[0]["metric"] == {"host": "x"}


def test_get_is_the_same(daemon):
    last = feed(daemon, "same")
    query = urlencode({"query": "same * 2", "start": last - 600, "end": last, "step": "1m"})
    by_get = daemon.get(ROOT + "query_range?" + query)
    by_form = daemon.request("POST", ROOT + "query_range", query, FORM)
    assert data(by_get) == data(by_form) and len(data(by_get)["result"][0]["values"]) == 11


def test_what_there_is(daemon):
    last = feed(daemon, "listed", {"site": "b", "zone": "1"})
    window = {"start": last - 3600, "end": last + 60}
    names = data(daemon.get(ROOT + "label/__name__/values?" + urlencode(window)))
    assert "listed" in names and "listed:predicted" in names and names == sorted(names), names
    labels = data(form(daemon, "labels", **{"match[]": "listed", **window}))
    assert labels == ["__name__", "site", "zone"], labels
    labels = data(form(daemon, "labels", **{"match[]": "listed:predicted", **window}))
    assert labels == ["__name__", "ml_forecast", "site", "zone"], labels
    series = data(form(daemon, "series", **{"match[]": 'listed{site="b"}', **window}))
    assert series == [{"__name__": "listed", "site": "b", "zone": "1"}], series
    values = data(daemon.get(ROOT + "label/site/values?" + urlencode({"match[]": "listed"})))
    assert values == ["b"], values
    old = data(form(daemon, "series", **{"match[]": "listed", "start": 1, "end": 100}))
    assert old == [], old
    metadata = data(daemon.get(ROOT + "metadata?limit=1000"))
    assert metadata["listed"] == [{"type": "gauge", "help": "", "unit": ""}], metadata


def test_errors_have_the_envelope(daemon):
    def refused(answer, status, kind, part):
        assert answer.status == status and answer.type == "application/json", answer
        body = answer.json
        assert body["status"] == "error" and body["errorType"] == kind and part in body["error"], answer

    refused(form(daemon, "query", query="histogram_quantile(0.9, m)"), 400, "bad_data", '"histogram_quantile"')
    refused(form(daemon, "query", query="sum("), 400, "bad_data", "parse error")
    refused(form(daemon, "query"), 400, "bad_data", "query")
    refused(form(daemon, "query", query="m", time="soon"), 400, "bad_data", "time")
    refused(form(daemon, "query_range", query="1", start="0", end="12000", step="1"), 400, "bad_data", "11,000")
    refused(form(daemon, "query_range", query="1", start="10", end="0", step="1"), 400, "bad_data", "end")
    refused(form(daemon, "query_range", query="1", start="0", end="10", step="0"), 400, "bad_data", "step")
    refused(form(daemon, "series"), 400, "bad_data", "match[]")
    refused(daemon.request("POST", ROOT + "query", "{}", {"Content-Type": "application/json"}), 415, "bad_data", "form")
    refused(daemon.get(ROOT + "alerts"), 404, "not_found", "alerts")
    assert daemon.request("DELETE", ROOT + "query").status == 405


def test_old_points_that_were_thinned_are_drawn_through():
    """One value an hour is left of an old span: each instant of it has a value all the same, as before."""
    daemon = Daemon("storage.downsample=1d:1h")
    begin = int(time.time()) // 3600 * 3600 - 4 * 86400
    with open(os.path.join(daemon.folder, "in.csv"), "w", encoding="utf-8") as file:
        values = " ".join(str(i % 60) for i in range(4 * 1440))
        file.write(f"series_id,start,step_seconds,values\nold,{begin * 1000},60,{values}\n")
    code, _, said = daemon.command("import", "--set", "storage.downsample=1d:1h", os.path.join(daemon.folder, "in.csv"))
    assert code == 0, said
    daemon.start()
    assert len(daemon.get("/api/v1/series/old/points?limit=10000").json["points"]) < 2000
    answer = daemon.get(f"/prometheus/api/v1/query_range?query=old&start={begin}&end={begin + 4 * 86400 - 600}&step=600")
    [row] = answer.json["data"]["result"]
    assert len(row["values"]) == 4 * 144, len(row["values"])
    assert row["values"][7] == [begin + 7 * 600, "29.5"], row["values"][:9]
    assert float(row["values"][-1][1]) == (4 * 1440 - 10) % 60, row["values"][-1]
    daemon.stop()
    daemon.remove()
