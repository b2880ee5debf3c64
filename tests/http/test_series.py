"""Series: list and pages, one by id or name, points in ranges, settings, removal.

SPDX-License-Identifier: Apache-2.0
"""
import threading

from daemon import JSON, now_ms, quote

STEP = 60000


def feed(daemon, series, count, labels=None, step=STEP):
    start = (now_ms() // step - count) * step
    answer = daemon.points({"series": series, "labels": labels or {},
                            "points": [[start + i * step, i % 24] for i in range(count)]})
    assert answer.status == 200, answer
    return start


def patch(daemon, series, body):
    return daemon.request("PATCH", "/api/v1/series/" + quote(series), body, JSON)


def test_pages(daemon):
    for i in range(25):
        feed(daemon, "paged", 3, {"n": f"{i:02}"})
    seen, cursor, pages = [], "", 0
    while True:
        answer = daemon.get(f"/api/v1/series?match=paged&limit=10{cursor}")
        assert answer.status == 200, answer
        page = answer.json["series"]
        assert len(page) <= 10
        seen += [one["series"] for one in page]
        pages += 1
        if not answer.json.get("next"):
            break
        cursor = f"&cursor={quote(str(answer.json['next']))}"
    assert pages == 3 and len(seen) == 25 and len(set(seen)) == 25, (pages, len(seen))


def test_match(daemon):
    for zone, site in (("a", "x"), ("b", "x"), ("c", "y")):
        feed(daemon, "matched", 3, {"zone": zone, "site": site})
    for selector, count in (("matched", 3), ('matched{site="x"}', 2), ('matched{zone!="a"}', 2),
                            ('matched{zone=~"a|c"}', 2), ('matched{zone!~"a|c"}', 1), ('matched{other="q"}', 0)):
        answer = daemon.get("/api/v1/series?match=" + quote(selector))
        assert answer.status == 200 and len(answer.json["series"]) == count, (selector, answer)
    assert daemon.get("/api/v1/series?match=" + quote("matched{")).status == 400


def test_one_by_id_and_by_name(daemon):
    start = feed(daemon, "single", 120, {"site": "a b/c"})
    name = 'single{site="a b/c"}'
    one = daemon.get("/api/v1/series/" + quote(name))
    assert one.status == 200, one
    body = one.json
    assert body["series"] == name and body["step_ms"] == STEP, body
    assert body["state"] in ("warming", "baseline", "learned", "stale"), body
    same = daemon.get(f"/api/v1/series/{body['id']}")
    assert same.status == 200 and same.json["series"] == name
    points = daemon.get(f"/api/v1/series/{body['id']}/points").json["points"]
    assert points[0] == [start, 0] and len(points) == 120
    assert daemon.get("/api/v1/series/nobody").status == 404
    assert daemon.get("/api/v1/series/999999999").status == 404
    assert daemon.get("/api/v1/series/" + quote('single{site="')).status in (400, 404)


def test_points_in_ranges(daemon):
    start = feed(daemon, "ranged", 100)
    path = "/api/v1/series/ranged/points"
    everything = daemon.get(path).json["points"]
    assert [at for at, _ in everything] == [start + i * STEP for i in range(100)]
    some = daemon.get(f"{path}?start={start + 10 * STEP}&end={start + 20 * STEP}").json["points"]
    assert some[0][0] == start + 10 * STEP and 10 <= len(some) <= 11, some
    first = daemon.get(f"{path}?limit=40").json
    assert len(first["points"]) == 40 and first["next"], first
    joined, turn = [], daemon.get(f"{path}?limit=40").json
    for _ in range(5):
        joined += turn["points"]
        if not turn.get("next"):
            break
        turn = daemon.get(f"{path}?limit=40&start={quote(str(turn['next']))}").json
    assert joined == everything, (len(joined), len(everything))
    for query in ("?limit=0", "?limit=x", "?start=x", "?end=tomorrowish", "?what=1"):
        assert daemon.get(path + query).status == 400, query


def test_settings(daemon):
    feed(daemon, "settings", 100)
    answer = patch(daemon, "settings", '{"min":0,"max":100,"integer":true}')
    assert answer.status == 200, answer
    body = daemon.get("/api/v1/series/settings").json["settings"]
    assert body["min"] == 0 and body["max"] == 100 and body["integer"] is True, body
    for bad in ("{}x", '{"min":"a"}', '{"min":5,"max":1}', '{"nonsense":1}', "[]", '{"kind":"wheel"}', '{"step":"-1s"}'):
        answer = patch(daemon, "settings", bad)
        assert answer.status in (400, 422), (bad, answer)
    assert patch(daemon, "nobody", '{"min":0}').status == 404
    body = daemon.get("/api/v1/series/settings").json["settings"]
    assert body["min"] == 0 and body["max"] == 100, "a refused change changes nothing"


def test_settings_of_several_at_once(daemon):
    """Each sets one thing, over and over: what was answered with 200 holds, whoever else was at it."""
    feed(daemon, "shared", 30)
    names = ("retention", "season", "min", "max")
    rounds = 25
    meet = threading.Barrier(len(names))
    wrong = []

    def change(name):
        for number in range(1, rounds + 1):
            value = {"min": -number, "retention": 60000 + number}.get(name, number)
            meet.wait(60)
            answer = patch(daemon, "shared", f'{{"{name}":{value}}}')
            meet.wait(60)
            now = daemon.get("/api/v1/series/shared").json["settings"][name]
            if answer.status != 200 or answer.json["settings"][name] != value or now != value:
                wrong.append((number, name, now, answer))

    threads = [threading.Thread(target=change, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, (len(wrong), wrong[:3])


def test_a_whole_number_series_gets_whole_numbers(daemon):
    feed(daemon, "whole", 200)
    assert patch(daemon, "whole", '{"integer":true,"min":0}').status == 200
    one = daemon.get("/api/v1/forecast?series=whole&steps=5").json["forecasts"][0]
    for values in one["quantiles"].values():
        assert all(v == int(v) and v >= 0 for v in values), values


def test_remove(daemon):
    feed(daemon, "removed", 50)
    assert daemon.get("/api/v1/forecast?series=removed").status == 200
    answer = daemon.request("DELETE", "/api/v1/series/removed")
    assert answer.status in (200, 204), answer
    assert daemon.get("/api/v1/series/removed").status == 404
    assert daemon.get("/api/v1/forecast?series=removed").status == 404
    assert daemon.request("DELETE", "/api/v1/series/removed").status == 404
    feed(daemon, "removed", 3)
    assert len(daemon.get("/api/v1/series/removed/points").json["points"]) == 3


def test_a_get_changes_nothing(daemon):
    before = daemon.get("/api/v1/status").json["series"]
    for path in ("/api/v1/series/ghost", "/api/v1/series/ghost/points", "/api/v1/forecast?series=ghost"):
        assert daemon.get(path).status == 404
    assert daemon.get("/api/v1/status").json["series"] == before
