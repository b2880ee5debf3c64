"""The same lines to Debian's InfluxDB 1.x and to forecastd: both take or refuse them, and hold the same numbers.

SPDX-License-Identifier: Apache-2.0

A table of lines that are written by hand, and lines that chance makes out of the parts where parsers differ: escapes,
quotes, blanks, suffixes, exponents, times. Each is a request of its own, so that one answer says one thing. What is
different on purpose stands in `different`, with its reason; everything else has to agree.
"""
import collections
import json
import random
import re
import urllib.error
import urllib.parse
import urllib.request

from daemon import now_ms
from test_backfill import Server, start_influxdb

NOW = now_ms() // 1000
CHANCES = 700
TABLE = (
    "M v=1 {t}", "M v=1", "M,a=b v=1 {t}", "M,a=b,c=d v=1,w=2 {t}", "M,c=d,a=b v=1 {t}", " M v=1 {t}", "M v=1 {t} ",
    "M  v=1 {t}", "M v=1  {t}", "M v=1 {t}\r", "M,a=b  v=1 {t}", "M v=1i {t}", "M v=-1i {t}", "M v=1u {t}",
    "M v=1.5i {t}", "M v=1e3 {t}", "M v=1E-3 {t}", "M v=+1 {t}", "M v=.5 {t}", "M v=5. {t}", "M v=-.5 {t}",
    "M v=. {t}", "M v=- {t}", "M v=1e {t}", "M v=1e400 {t}", "M v=1e-400 {t}", "M v=0x10 {t}", "M v=NaN {t}",
    "M v=inf {t}", "M v=1_000 {t}", "M v=9223372036854775807i {t}", "M v=9223372036854775808i {t}",
    "M v=-9223372036854775808i {t}", "M v=00012 {t}", "M v=1e1.5 {t}", "M v=--1 {t}", "M v=t,w=1 {t}",
    "M v=T,w=1 {t}", "M v=true,w=1 {t}", "M v=True,w=1 {t}", "M v=TRUE,w=1 {t}", "M v=tRUE,w=1 {t}", "M v=f,w=1 {t}",
    "M v=false,w=1 {t}", "M v=yes,w=1 {t}", 'M v="text",w=1 {t}', 'M v="a\\"b",w=1 {t}', 'M v="a b,c=d",w=1 {t}',
    'M v="a\\\\",w=1 {t}', 'M v="open,w=1 {t}', 'M v="",w=1 {t}', 'M v="a"b,w=1 {t}', "M v={t}", "M v= {t}",
    "M v {t}", "M =1 {t}", "M", "M ", "M,a v=1 {t}", "M,a= v=1 {t}", "M,=b v=1 {t}", "M,a=b, v=1 {t}", "M, v=1 {t}",
    ",a=b v=1 {t}", "M,a=b=c v=1 {t}", "M v=1=2 {t}", "M v=1, {t}", "M ,v=1 {t}", "M v=1,,w=2 {t}", "M\\ x v=1 {t}",
    "M\\,x v=1 {t}", "M\\=x v=1 {t}", "M=x v=1 {t}", "M,a\\ b=c v=1 {t}", "M,a\\,b=c v=1 {t}", "M,a\\=b=c v=1 {t}",
    "M,a=b\\ c v=1 {t}", "M,a=b\\,c v=1 {t}", "M,a=b\\=c v=1 {t}", "M v\\ w=1 {t}", "M v\\,w=1 {t}", "M v\\=w=1 {t}",
    "M,a=b\\\\ v=1 {t}", "M,a=\\b v=1 {t}", 'M,a="b" v=1 {t}', 'M,a="b\\ c" v=1 {t}', "M\\\\ v=1 {t}",
    "M,a=é v=1 {t}", "Mé v=1 {t}", "M,a=a,a=b v=1 {t}", "M v=1,v=2 {t}", "M v=1 {t}.0", "M v=1 +{t}", "M v=1 {t}x",
    "M v=1 {t} 5", "M v=1 1e9", "M v=1 -{t}", "M v=1 99999999999999999999", "M v=1 9223372036854775807",
    "# M v=1 {t}", "", "\n", "\n\nM v=1 {t}\n\n", "M v=1 {t}\nM v=2 {u}", "M v=1 {t}\nM\nM v=2 {u}",
    "M v=1 {t}\n# c\nM v=2 {u}", 'M v="two\nlines",w=1 {t}', "M\tv=1 {t}", "M v=1\t{t}", "M,a=b\tc v=1 {t}",
    "M v=1 {t}\nM w=x {t}\n", "M time=1 {t}", "M,time=a v=1 {t}", "M,_x=a v=1 {t}")
PIECES = (
    "M", "M\\ x", "M\\,y", ",a=b", ",a=b\\ c", ",a\\=d=e", ",c=\\d", ",e=f=g", ",", " ", " ", "  ", "v=", "w=",
    "x\\ y=", "=", "1", "-2.5", "3i", "4u", "1e2", ".5", "7.", "t", "false", '"s"', '"a\\"b"', '"a b"', '"', "\\",
    "\\\\", "\\ ", "NaN", "1e400", "é", "{t}", "{t}", "{u}")


def line_of(chance):
    """Mostly a good line, of which a piece or two may be another one, are missing or come on top."""
    parts = ["M", *chance.choices((",a=b", ",a=b\\ c", ",c=\\d", ",a\\=d=e", ",b=é"), k=chance.randrange(3)), " ",
             chance.choice(("v=", "w=", "x\\ y=", "v\\,w=")), chance.choice(("1", "-2.5", "3i", "1e2", ".5", '"a b"', "t"))]
    if chance.random() < 0.4:
        parts += [",", chance.choice(("z=", "y\\=z=")), chance.choice(("8", "9i", '"q\\"r"', "f"))]
    if chance.random() < 0.8:
        parts += [" ", "{t}"]
    for _ in range(chance.choice((0, 0, 1, 1, 2))):
        at, how = chance.randrange(1, len(parts)), chance.randrange(3)
        parts[at:at + (how > 0)] = [] if how == 2 else [chance.choice(PIECES)]
    return "".join(parts)


# What is different on purpose: (a pattern of the line, why).
ON_PURPOSE = (
    (r"\d+u\b", "unsigned numbers: InfluxDB 1.x has them only where it is built for them"),
    (r"\r$", "collectd ends its lines so"),
    (r"\t", "a tab is a blank here, and in no tag's value"),
    (r'""[^ ,\n]', "InfluxDB passes over what stands behind the closing quote of a text"),
    (r" -\{t\}", "before 1973, so in another unit than it is said to be"),
    (r"[, ]time=", "no name is reserved here"),
    (r"^M[^ ,=]*\\[^ ,]", "a backslash in a measurement escapes comma and blank only, as in version 2"),
    (r",(\w+)=.*,\1=.* .*=[\"tf]", "a tag twice is refused where it matters: a line of texts stores nothing"),
)


def different(template):
    """Why the two may answer differently, or None."""
    bare = re.sub(r'="(?:[^"\\]|\\.)*"', '=""', template)
    return next((why for pattern, why in ON_PURPOSE if re.search(pattern, bare)), None)


class Influx(Server):
    def __init__(self):
        super().__init__("forecastd-influxd-")
        start_influxdb(self)

    def ask(self, path, body=None, **parameters):
        try:
            with urllib.request.urlopen(self.url + path + "?" + urllib.parse.urlencode(parameters), body, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def points(self, database):
        """{(name, tags): {ms: value}} of the numeric fields."""
        found = collections.defaultdict(dict)
        said = json.loads(self.ask("/query", db=database, epoch="ms", q="SELECT * FROM /.*/ GROUP BY *")[1])
        for series in said["results"][0].get("series", []):
            tags = tuple(sorted((key, value) for key, value in series.get("tags", {}).items() if value))
            for row in series["values"]:
                for column, value in zip(series["columns"][1:], row[1:]):
                    if isinstance(value, (int, float)) and not isinstance(value, bool):
                        found[series["name"] + "_" + column, tags][row[0]] = float(value)
        return dict(found)


def canonical(name, tags):
    """As forecastd writes a series: keys in order, what no key may hold is an underscore."""
    def quoted(text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    labels = {re.sub(r"[^A-Za-z0-9_.-]", "_", key): value for key, value in tags}
    parts = [f"{key}={quoted(value)}" for key, value in sorted(labels.items())]
    if re.search(r'[{}"\\,=]|^ | $', name):
        return "{" + ",".join([quoted(name), *parts]) + "}"
    return name + ("{" + ",".join(parts) + "}" if parts else "")


def points_of(daemon):
    """The same as Influx.points, of forecastd."""
    found, cursor = {}, ""
    while cursor is not None:
        page = daemon.get(f"/api/v1/series?limit=1000{cursor}").json
        for series in page["series"]:
            rows = daemon.get(f'/api/v1/series/{series["id"]}/points').json["points"]
            found[series["series"]] = dict(rows)
        cursor = page["next"] and f'&cursor={page["next"]}'
    return found


def test_same_lines_same_points(daemon):
    chance = random.Random(11)
    templates = [*TABLE, *(line_of(chance) for _ in range(CHANCES))]
    lines = [template.replace("M", f"m{number}x").replace("{t}", str(NOW - 1000000 + number * 20))
             .replace("{u}", str(NOW - 1000000 + number * 20 + 10)) for number, template in enumerate(templates)]
    influx, faults, refused = Influx(), [], 0
    try:
        influx.ask("/query", b"q=CREATE DATABASE x", q="CREATE DATABASE x")
        for template, line in zip(templates, lines):
            theirs = influx.ask("/write", line.encode(), db="x", precision="s")
            ours = daemon.request("POST", "/write?db=x&precision=s", line)
            refused += theirs[0] != 204
            if theirs[0] != ours.status and not different(template):
                faults.append(f"{line!r}: {ours} against {theirs}")
        expected = {canonical(*key): rows for key, rows in influx.points("x").items()}
    finally:
        influx.remove()
    found = points_of(daemon)
    begin = NOW * 1000  # what has no time of its own is of a moment that differs
    for name in sorted(expected.keys() | found.keys()):
        template = templates[int(re.search(r"m(\d+)x", name)[1])]
        theirs, ours = ({at: value for at, value in side.get(name, {}).items() if at < begin} for side in (expected, found))
        if theirs != ours and not different(template):
            faults.append(f"{template!r}: {name}: {ours} against {theirs}")
    assert not faults, f"{len(faults)}:\n" + "\n".join(faults[:60])
    assert 0.2 < refused / len(lines) < 0.8 and len(expected) > CHANCES / 3, (refused, len(expected))  # it says something
