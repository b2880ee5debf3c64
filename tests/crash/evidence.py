"""What a killed daemon left on the disk, and so what it was in the middle of.

SPDX-License-Identifier: Apache-2.0

The database is looked at in a copy: whoever opens the one in place would recover it, which is the next daemon's work.
"""
import contextlib
import os
import shutil
import sqlite3
import struct
import tempfile

DATABASE = "forecastd.db"


def varint(data):
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value
    raise ValueError("a number without an end")


def copied_points(shared):
    """Frames that checkpoints have copied, and that they have begun to: WalCkptInfo of SQLite's wal.c, which stands
    behind two headers of 48 bytes each in the -shm file."""
    done, = struct.unpack_from("=I", shared, 96)
    attempted, = struct.unpack_from("=I", shared, 128)
    return done, attempted


def in_checkpoint(data):
    """Whether a checkpoint was copying pages into the database."""
    try:
        with open(os.path.join(data, DATABASE + "-shm"), "rb") as file:
            done, attempted = copied_points(file.read(136))
    except (FileNotFoundError, struct.error):
        return False
    return attempted > done


@contextlib.contextmanager
def copied(data):
    """A connection to a copy of database and log."""
    with tempfile.TemporaryDirectory(prefix="forecastd-evidence-") as folder:
        for suffix in ("", "-wal", "-journal"):
            if os.path.exists(os.path.join(data, DATABASE + suffix)):
                shutil.copy(os.path.join(data, DATABASE + suffix), folder)
        with contextlib.closing(sqlite3.connect(os.path.join(folder, DATABASE))) as database:
            yield database


class Left:
    """A look at the data folder of a daemon that is dead."""

    def __init__(self, data, names=""):
        """`names`: how the series begin whose compaction is looked at."""
        self.in_checkpoint = in_checkpoint(data)
        with copied(data) as database:
            self.version, = database.execute("PRAGMA user_version").fetchone()
            self.last_row, = database.execute("SELECT ifnull(max(seq), 0) FROM journal").fetchone()
            self.flushed = [varint(state[5:]) for state, in database.execute(
                "SELECT state FROM chunk JOIN series ON chunk.id = -series.id WHERE text LIKE ?", (names + "%",))]
            recorded = {f"{key}.safetensors" for key, in database.execute("SELECT key FROM record WHERE kind = 'model'")}
        folder = os.path.join(data, "models")
        files = {entry.name: entry.stat().st_mtime_ns for entry in os.scandir(folder)} if os.path.exists(folder) else {}
        self.unrecorded = {item for item in files.items() if item[0] not in recorded}
        self.corrupt = {name for name in files if name.endswith(".corrupt")}
        self.last = max([self.last_row] + self.flushed)

    def in_compaction(self, before):
        """Whether some series have gone into chunks since the journal's row `before`, and not up to its end."""
        return any(row > before for row in self.flushed) and any(row < self.last_row for row in self.flushed)
