"""GET /openapi.json: what is served is the tree's, errors.md lists its codes, and what no other test asks for is as said.

SPDX-License-Identifier: Apache-2.0

All other answers of the suite are held against the document as they come: contract.py.
"""
import os
import re
import time

from contract import Contract, read_document
from daemon import JSON, ROOT, Answer, now_ms

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_it_is_served(daemon):
    answer = daemon.get("/openapi.json")
    served, own = answer.json, read_document()
    assert re.fullmatch(r"\d+\.\d+\.\d+", served["info"]["version"]), served["info"]
    assert served["info"]["version"] == daemon.get("/api/v1/status").json["version"]
    own["info"]["version"] = served["info"]["version"]
    assert served == own
    packed = daemon.get("/openapi.json", **{"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip" and len(packed.body) < 24 << 10, len(packed.body)
    again = daemon.get("/openapi.json", **{"Accept-Encoding": "gzip", "If-None-Match": packed.headers["etag"]})
    assert again.status == 304 and again.body == b""


def test_codes_are_those_of_the_manual():
    with open(os.path.join(ROOT, "docs/errors.md"), encoding="utf-8") as file:
        manual = re.findall(r"^\| `(\w+)` \| \d+ \|", file.read(), re.M)
    listed = read_document()["components"]["schemas"]["ErrorCode"]["enum"]
    assert len(manual) > 50 and sorted(manual) == sorted(listed), set(manual) ^ set(listed)


def test_what_nobody_else_asks(daemon):
    """So that each success of the document is seen once in this suite, but those that need trained models."""
    points = [[now_ms() - 60000 * i, 1.5] for i in range(1, 4)]
    assert daemon.points({"series": "nobody_asks", "points": points}).status == 200
    tag = daemon.get("/").headers["etag"]
    assert daemon.get("/", **{"If-None-Match": tag}).status == 304
    assert daemon.request("POST", "/validate_token", "{}", JSON).status == 200
    root = "/prometheus/api/v1"
    for query, kind in (("1%2B1", "scalar"), ("nobody_asks", "vector")):
        assert daemon.get(f"{root}/query?query={query}").json["data"]["resultType"] == kind
    assert len(daemon.get(f"{root}/series?match[]=nobody_asks").json["data"]) > 0
    for path in ("label/__name__/values", "metadata", "status/buildinfo"):
        assert daemon.request("POST", f"{root}/{path}", "", FORM).status == 200, path


def test_what_differs_is_found():
    """The judge itself: each of these answers is not what the document says."""
    contract = Contract(read_document())
    head = [("X-Request-Id", "a-1"), ("Content-Type", "application/json")]
    problem = [("X-Request-Id", "a-1"), ("Content-Type", "application/problem+json")]
    good = (("GET", "/healthz", None, {}), Answer(200, head, b'{"status":"ok"}'))
    contract.check(*good)
    ask = good[0]
    for request, answer, words in (
            (ask, Answer(200, head[1:], b'{"status":"ok"}'), "X-Request-Id"),
            (ask, Answer(201, head, b'{"status":"ok"}'), "does not have"),
            (ask, Answer(200, problem, b'{"status":"ok"}'), "does not have"),
            (ask, Answer(200, head, b'{"status":"ok","more":1}'), "more"),
            (ask, Answer(200, head, b'{"status":NaN}'), "NaN"),
            (("GET", "/api/v1/nothing", None, {}), Answer(200, head, b"{}"), "does not have"),
            (("GET", "/api/v1/train", None, {}), Answer(404, problem, b""), "does not have"),
            (("GET", "/api/v1/series/1/points", None, {}), Answer(200, head, b'{"points":[[1,2],[3,"x"]],"next":null}'), "'x'"),
            (("GET", "/api/v1/series/1/points", None, {}), Answer(200, head, b'{"points":[[1,2],[3]],"next":null}'), "[3]"),
            (("POST", "/api/v1/train", "{}", JSON), Answer(202, head, b"{}"), "Location")):
        try:
            contract.check(request, answer)
        except AssertionError as error:
            assert words in str(error), (words, error)
            continue
        raise AssertionError(f"not found: {request} {answer}")
    begin = time.process_time()
    body = ('{"points":[' + ",".join(f"[{i},{i}.5]" for i in range(100000)) + '],"next":null}').encode()
    contract.check(("GET", "/api/v1/series/1/points", None, {}), Answer(200, head, body))
    assert time.process_time() - begin < 5, "large answers are looked at in one go"
