"""forecastd backup, restore and check: online, verified, all or nothing, and every planted damage found.

SPDX-License-Identifier: Apache-2.0
"""
import contextlib
import os
import random
import re
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time

from daemon import BINARY, JSON, SLOWNESS, Daemon, now_ms

BASE = (now_ms() // 1000 - 500000) * 1000
MODEL_SERIES = 4
kept = {}


def run(*arguments):
    done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=60 * SLOWNESS, check=False)
    return done.returncode, done.stdout, done.stderr


@contextlib.contextmanager
def folder():
    path = tempfile.mkdtemp(prefix="forecastd-backup-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def points_of(data, series):
    code, out, said = run("export", "--data", data, "--series", series)
    assert code == 0, said
    return [line.split(",")[2] for line in out.splitlines()[1:]]


def sound_store():
    """A folder with a store of several chunks, a journal and models, made once."""
    if not kept:
        where = tempfile.mkdtemp(prefix="forecastd-backup-")
        rows = ["series_id,timestamp,value"]
        for i in range(1500):
            for name in range(MODEL_SERIES):
                rows.append(f"s{name},{BASE + i * 60000},{(i * (name + 3)) % 97 / 4 + i % 24}")
        with open(os.path.join(where, "points.csv"), "w", encoding="utf-8") as file:
            file.write("\n".join(rows) + "\n")
        data = os.path.join(where, "data")
        code, _, said = run("import", "--data", data, os.path.join(where, "points.csv"))
        assert code == 0, said
        code, _, said = run("train", "--data", data, "--seconds", "2")
        assert code == 0, said
        daemon = Daemon("train.every=1d", folder=where).start()
        try:  # some that wait in the journal, not in chunks
            assert daemon.points({"series": "live", "points": [[BASE + i, i] for i in range(50)]}).status == 200
        finally:
            daemon.process.kill()
            daemon.process.wait()
        backup = os.path.join(where, "store.backup")
        code, _, said = run("backup", backup, "--data", data)
        assert code == 0 and "verified" in said, said
        kept.update(where=where, data=data, backup=backup)
    return kept


def test_backup_holds_everything():
    store = sound_store()
    with folder() as where:
        data = os.path.join(where, "new", "data")
        assert os.stat(store["backup"]).st_mode & 0o777 == 0o600, "others may read it"
        code, _, said = run("restore", store["backup"], "--data", data)
        assert code == 0, said
        for series in ("s0", "s3", "live"):
            assert points_of(data, series) == points_of(store["data"], series), series
        models = {name for name in os.listdir(os.path.join(store["data"], "models")) if name.endswith("safetensors")}
        assert models and set(os.listdir(os.path.join(data, "models"))) == models
        code, _, said = run("check", "--data", data)
        assert code == 0 and "sound" in said, said
        assert not [name for name in os.listdir(data) if "partial" in name], os.listdir(data)
        # It is a store like any other.
        daemon = Daemon("train.every=1d", folder=os.path.join(where, "new")).start()
        try:
            assert daemon.get("/api/v1/forecast?series=s0&steps=3").status == 200
            assert daemon.get("/api/v1/models").json["models"], "no models"
        finally:
            daemon.stop()


def test_backups_hold_no_token():
    with folder() as where:
        tokens, backup = os.path.join(where, "tokens"), os.path.join(where, "store.backup")
        code, secret, said = run("token", "create", "--tokens", tokens, "--scope", "write", "--name", "sensor")
        assert code == 0, said
        secret = secret.strip().encode()
        with open(tokens, "rb") as file:
            digest = re.search(rb"\b[0-9a-f]{64}\b", file.read()).group()
        daemon = Daemon(f"auth.tokens={tokens}").start()
        try:
            answer = daemon.request("POST", "/api/v1/points", '{"series":"a.series","value":1}',
                                    {**JSON, "Authorization": "Bearer " + secret.decode()})
            assert answer.status == 200, answer
            code, _, said = run("backup", backup, "--data", daemon.data)
            assert code == 0, said
        finally:
            daemon.stop()
        with open(backup, "rb") as file:
            kept_bytes = file.read()
        assert b"a.series" in kept_bytes, "the backup is packed: this shows nothing"
        for what in (secret, secret.removeprefix(b"fct_"), digest, bytes.fromhex(digest.decode())):
            assert what not in kept_bytes, "a token is in the backup"
        daemon.remove()


def test_backup_under_ingest_has_all_that_was_acknowledged():
    daemon = Daemon("train.every=1d").start()
    acknowledged, done = [0], threading.Event()

    def client():
        number = 0
        while not done.is_set():
            points = [[BASE + number + i, number + i] for i in range(200)]
            assert daemon.points({"series": "flow", "points": points}).status == 200
            number += 200
            acknowledged[0] = number

    thread = threading.Thread(target=client)
    thread.start()
    try:
        with folder() as where:
            time.sleep(0.5)
            for round_ in range(3):
                before = acknowledged[0]
                backup = os.path.join(where, f"{round_}.backup")
                code, _, said = run("backup", backup, "--data", daemon.data, "--rate", "4")
                assert code == 0, said
                data = os.path.join(where, f"data{round_}")
                code, _, said = run("restore", backup, "--data", data)
                assert code == 0, said
                values = [int(value) for value in points_of(data, "flow")]
                assert len(values) >= before > 0, (len(values), before)
                assert values == list(range(len(values))) and len(values) % 200 == 0, "a request is there in part"
                code, out, said = run("check", "--data", daemon.data)  # beside the daemon
                assert code == 0, (out, said)
            assert acknowledged[0] > before, "ingest stood still"
    finally:
        done.set()
        thread.join()
        daemon.remove()


def test_restore_never_overwrites():
    store = sound_store()
    with folder() as where:
        data = os.path.join(where, "data")
        assert run("restore", store["backup"], "--data", data)[0] == 0
        before = points_of(data, "s1")
        code, _, said = run("restore", store["backup"], "--data", data)
        assert code == 1 and "there is a store already" in said and "--data" in said, said
        assert points_of(data, "s1") == before
    daemon = Daemon().start()
    try:
        code, _, said = run("restore", store["backup"], "--data", daemon.data)
        assert code == 1 and "another process has it open" in said, said
    finally:
        daemon.remove()
    code, _, said = run("backup", store["backup"], "--data", store["data"])
    assert code == 1 and "there already" in said, said


def test_restore_keeps_models_that_are_not_its_own():
    """Of an old store whose database was moved away, or of anybody: refused, and still there afterwards."""
    store = sound_store()
    with folder() as where:
        data = os.path.join(where, "data")
        shutil.copytree(store["data"], data)
        for name in os.listdir(data):
            if name.startswith("forecastd.db"):
                os.rename(os.path.join(data, name), os.path.join(where, name))
        models = os.path.join(data, "models")
        before = sorted(os.listdir(models))
        assert before, "there are no models: this shows nothing"
        refused_twice = [run("restore", store["backup"], "--data", data) for _ in range(2)]
        for code, _, said in refused_twice:
            assert code == 1 and "there are models already" in said and "'models'" in said, said
            assert sorted(os.listdir(models)) == before, os.listdir(models)
        # What was left of a restore that ended before its renames says nothing of models beside it.
        partial = os.path.join(data, "restore.partial")
        os.makedirs(os.path.join(partial, "models"))
        for name in ("forecastd.db", os.path.join("models", "a.safetensors")):
            with open(os.path.join(partial, name), "w", encoding="ascii"):
                pass
        code, _, said = run("restore", store["backup"], "--data", data)
        assert code == 1 and sorted(os.listdir(models)) == before, said
        shutil.rmtree(models)
        os.mkdir(models)  # a daemon that was started has made it
        code, _, said = run("restore", store["backup"], "--data", data)
        assert code == 0 and run("check", "--data", data)[0] == 0, said


def test_restore_goes_on_where_one_was_interrupted():
    """Killed between its renames: the models are in place, the database is not."""
    store = sound_store()
    with folder() as where:
        data = os.path.join(where, "data")
        partial, models = os.path.join(data, "restore.partial"), os.path.join(data, "models")
        assert run("restore", store["backup"], "--data", data)[0] == 0
        whole = sorted(os.listdir(models))
        os.mkdir(partial)
        os.rename(os.path.join(data, "forecastd.db"), os.path.join(partial, "forecastd.db"))
        for name in os.listdir(data):
            if name.startswith("forecastd.db"):
                os.remove(os.path.join(data, name))
        with open(os.path.join(models, "left.safetensors"), "w", encoding="ascii"):
            pass
        code, _, said = run("restore", store["backup"], "--data", data)
        assert code == 0 and sorted(os.listdir(models)) == whole, (said, os.listdir(models))
        assert points_of(data, "s1") == points_of(store["data"], "s1") and not os.path.exists(partial)


def refused(file, *words):
    with folder() as where:
        data = os.path.join(where, "data")
        code, out, said = run("restore", file, "--data", data)
        assert code == 1, (out, said)
        assert all(word in said for word in words), said
        assert not os.path.exists(os.path.join(data, "forecastd.db")), "something was restored"


def test_damaged_backups_are_refused():
    store = sound_store()
    with folder() as where:
        copy = os.path.join(where, "copy")
        with open(store["backup"], "rb") as file:
            whole = bytearray(file.read())
        dice = random.Random(6)
        found = 0
        for _ in range(40):
            place = dice.randrange(len(whole))
            damaged = bytearray(whole)
            damaged[place] ^= 1 << dice.randrange(8)
            with open(copy, "wb") as file:
                file.write(damaged)
            data = os.path.join(where, "data")
            code, _, said = run("restore", copy, "--data", data)
            if code == 0:  # a byte that means nothing: what came back is the same
                for series in ("s0", "s1", "s2", "s3", "live"):
                    assert points_of(data, series) == points_of(store["data"], series), place
                shutil.rmtree(data)
            else:
                assert not os.path.exists(os.path.join(data, "forecastd.db")), (place, said)
                found += 1
        assert found >= 30, found
        for length in (0, 100, 4096, len(whole) // 2, len(whole) - 1):
            with open(copy, "wb") as file:
                file.write(whole[:length])
            refused(copy)
        refused(os.path.join(where, "nothing"), "there is no file")
        shutil.copy(os.path.join(store["data"], "forecastd.db"), copy)
        refused(copy, "it is no backup")


def changed(source, target, *statements):
    shutil.copy(source, target)
    with contextlib.closing(sqlite3.connect(target)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def test_newer_versions_are_refused_by_name():
    store = sound_store()
    with folder() as where:
        copy = os.path.join(where, "copy")
        changed(store["backup"], copy, "UPDATE backup SET format = 9, program = '77.1'")
        refused(copy, "format 9", "forecastd 77.1", "up to 1")
        changed(store["backup"], copy, "PRAGMA user_version = 99")
        refused(copy, "version 99", "newer forecastd")
        changed(store["backup"], copy, "UPDATE record SET json = json || ' '")
        refused(copy, "checksum")


def planted(statements=(), also=None):
    """What check says about a copy of the store with something wrong in it."""
    store = sound_store()
    with folder() as where:
        data = os.path.join(where, "data")
        shutil.copytree(store["data"], data)
        with contextlib.closing(sqlite3.connect(os.path.join(data, "forecastd.db"))) as database:
            database.create_function("flipped", 1, lambda data: data[:30] + bytes([data[30] ^ 4]) + data[31:])
            for statement in statements:
                database.execute(statement)
            database.commit()
        if also:
            also(data)
        code, out, said = run("check", "--data", data)
        assert code == 1, (statements, out, said)
        return out + said


def flip(table, where):
    return (f"UPDATE {table} SET data = flipped(data) WHERE {where}",)


FULL = "id = (SELECT max(id) FROM chunk WHERE id > 0)"


def test_check_finds_planted_damage():
    store = sound_store()
    code, _, said = run("check", "--data", store["data"])
    assert code == 0 and "sound" in said, said
    cases = (
        (flip("chunk", FULL), ("series ", ", chunk ", "sets it aside")),
        (flip("chunk", "id = -2"), ("series 2", "sets it aside")),
        (flip("journal", "seq = (SELECT min(seq) FROM journal)"), ("journal row ", "sets it aside")),
        (("UPDATE journal SET data = substr(data, 1, 12)",), ("journal row ",)),
        (("UPDATE chunk SET state = zeroblob(20) WHERE id = -3",), ("series 3", "statistics are damaged", "backup")),
        (("DROP TABLE damaged",), ("table \"damaged\" is missing", "backup")),
        (("DROP TABLE journal",), ("table \"journal\" is missing", "backup")),
        (("DROP INDEX chunk_by_time",), ("index \"chunk_by_time\" is missing",)),
        ((f"UPDATE chunk SET first_ms = first_ms + 1 WHERE {FULL}",), ("does not hold what its row says",)),
        ((f"INSERT INTO chunk(id, series, first_ms, count, data) SELECT 999999, series, first_ms, count, data "
          f"FROM chunk WHERE {FULL}",), ("begins before the one before ends", "chunks hold")),
        ((f"DELETE FROM chunk WHERE {FULL}",), ("chunks hold", "statistics say")),
        (("UPDATE chunk SET series = 77 WHERE id > 0",), ("no such series", "series 77")),
        (("INSERT INTO vintage VALUES(1, 5, 6, 7, x'00')",), ("vintage of 5", "wrong checksum")),
        (("INSERT INTO vintage VALUES(88, 5, 6, 7, x'00')",), ("there is no series 88",)),
        (("UPDATE series SET retention_ms = 60000 WHERE id = 1",), ("series 1", "older than its retention", "start the daemon")),
        (("INSERT INTO damaged(series, first_ms, count, found_ms, data) VALUES(1, 2, 3, 4, x'00')",),
         ("set aside", "3 points")),
        (("UPDATE record SET json = replace(json, '\"sha256\":\"', '\"sha256\":\"0') WHERE kind = 'model'",),
         ("model",)),
    )
    for statements, words in cases:
        said = planted(statements)
        assert all(word in said for word in words), (statements, words, said)


def test_check_finds_damaged_files():
    def index_page(data):
        # Rows and index no longer agree: an entry of the index is changed behind SQLite's back.
        path = os.path.join(data, "forecastd.db")
        with contextlib.closing(sqlite3.connect(path)) as database:
            root, = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'chunk_by_time'").fetchone()
        with open(path, "r+b") as file:
            file.seek((root - 1) * 4096 + 4090)
            byte = file.read(1)
            file.seek((root - 1) * 4096 + 4090)
            file.write(bytes([byte[0] ^ 0x11]))

    def model(change):
        def damage(data):
            models = os.path.join(data, "models")
            path = os.path.join(models, sorted(os.listdir(models))[0])
            change(path)
        return damage

    def flip_last(path):
        with open(path, "r+b") as file:
            file.seek(-3, os.SEEK_END)
            file.write(b"\xff")

    said = planted(also=index_page)
    assert "database: " in said and "REINDEX" in said, said
    for change in (lambda path: os.truncate(path, 1000), os.remove, flip_last):
        said = planted(also=model(change))
        assert "model " in said and "previous one serves" in said, said

    def header(data):
        with open(os.path.join(data, "forecastd.db"), "r+b") as file:
            file.write(b"nonsense")
    said = planted(also=header)
    assert "forecastd: " in said, said


def test_end_removes_the_store():
    shutil.rmtree(sound_store()["where"])
    kept.clear()
