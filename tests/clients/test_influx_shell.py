"""Debian's shell of InfluxDB 1.x: single commands, many at its prompt, and its import of a file.

SPDX-License-Identifier: Apache-2.0
"""
import os
import subprocess
import tempfile
import threading

from daemon import TOOL_SECONDS, now_ms, quote

MINUTE = 60000


def shell(daemon, *options, **how):
    done = subprocess.run(["influx", "-host", "127.0.0.1", "-port", str(daemon.port), *options], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=TOOL_SECONDS, check=False,
                          env={**os.environ, "HOME": daemon.folder, "TERM": "dumb"}, **how)  # its history goes there
    return done.returncode, done.stdout


def prompt(daemon, text):
    """What is typed at a terminal; from a pipe it would be one command."""
    ours, its = os.openpty()
    try:
        threading.Thread(target=os.write, args=(ours, text.encode()), daemon=True).start()
        return shell(daemon, stdin=its)
    finally:
        os.close(ours)
        os.close(its)


def points(daemon, series):
    answer = daemon.get(f"/api/v1/series/{quote(series)}/points")
    assert answer.status == 200, (series, answer)
    return answer.json["points"]


def test_insert_by_command(daemon):
    now = now_ms() // MINUTE * MINUTE
    code, said = shell(daemon, "-database", "any", "-precision", "ms", "-execute",
                       f"INSERT cpu,host=a\\ b idle=12.5,busy=3i {now}")
    assert code == 0 and "ERR" not in said, said
    assert points(daemon, 'cpu_idle{host="a b"}') == [[now, 12.5]]
    assert points(daemon, 'cpu_busy{host="a b"}') == [[now, 3]]
    code, said = shell(daemon, "-database", "any", "-execute", "INSERT cpu,host=a idle=")
    assert "ERR" in said and "idle" in said, said  # what is wrong reaches the user


def test_prompt(daemon):
    now = now_ms() // MINUTE * MINUTE
    lines = "".join(f"INSERT door,room=r1 opened={i}i {(now - i * MINUTE) * 1000000}\n" for i in range(20))
    code, said = prompt(daemon, "CREATE DATABASE any\nUSE forecastd\n" + lines + "exit\n")
    assert code == 0 and "Connected to" in said and "ERR" not in said, said
    assert points(daemon, 'door_opened{room="r1"}') == [[now - i * MINUTE, i] for i in reversed(range(20))]
    code, said = shell(daemon, "-execute", "SHOW DATABASES")  # USE takes only what this names
    assert code == 0 and said.split()[-1] == "forecastd", said


def test_import_of_a_file(daemon):
    now = now_ms() // MINUTE * MINUTE
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="ascii") as file:
        file.write("# DDL\nCREATE DATABASE any\n# DML\n# CONTEXT-DATABASE: any\n# CONTEXT-RETENTION-POLICY: autogen\n")
        for i in range(12000):  # more than the 5,000 that it sends at once
            file.write(f"tank level={i}.5 {(now - i * MINUTE) // 1000}\n")
        file.flush()
        code, said = shell(daemon, "-import", "-path", file.name, "-precision", "s")
    assert code == 0 and "Failed 0 inserts" in said, said
    answer = daemon.get("/api/v1/series/tank_level/points?limit=100000").json["points"]
    assert answer == [[now - i * MINUTE, i + 0.5] for i in reversed(range(12000))], len(answer)
