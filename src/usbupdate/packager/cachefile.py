"""The file of the cache: one SQLite database, private from its first byte on, and replaced where it is not what was left.

Its journal is kept in memory and nothing is synced, for all in it can be made anew. So there is no file beside it, and it can
be removed at any time, even while another packager has it open: that one goes on with what it has, and keeps nothing.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from typing import TYPE_CHECKING, Final

from usbupdate import durable

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "frames.sqlite3"
_WAIT_S: Final = 30.0
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_BESIDE: Final = ("", "-journal", "-wal", "-shm")
"""What SQLite may have put beside a database that was not made here; it would be taken for a part of the new one."""

_SCHEMA: Final = (
    "CREATE TABLE frames (key BLOB PRIMARY KEY, seal BLOB NOT NULL, used INTEGER NOT NULL, size INTEGER NOT NULL, frame BLOB)",
    "CREATE INDEX by_age ON frames (used, size)",
)

_CIRCUMSTANCES: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
    }
)
"""Errors that are no fault of the file; after any other, another file is what helps."""

_PRIMARY: Final = 0xFF


def opened(folder: Path) -> sqlite3.Connection:
    """Return the database in a folder, which is made if it is missing; one that cannot be used is replaced by an empty one.

    Raises:
        sqlite3.Error: another packager holds it for too long, or the disk fails.
        OSError: the folder cannot be used.
    """
    durable.make_directory(folder, mode=0o700)
    try:
        return _connected(folder / NAME)
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
    return replaced(folder)


def replaced(folder: Path) -> sqlite3.Connection:
    """Return a new, empty database in the place of the one that is there; raises as `opened` does."""
    for each in _BESIDE:
        durable.remove(folder / (NAME + each))
    return _connected(folder / NAME)


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether an error is the fault of the file itself."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & _PRIMARY not in _CIRCUMSTANCES


def _connected(path: Path) -> sqlite3.Connection:
    _make_private(path)
    # Not to be made by SQLite, should another packager remove it just now: it would be as open as the umask lets it.
    address = f"{path.absolute().as_uri()}?mode=rw"
    with contextlib.ExitStack() as unless_usable:
        database = sqlite3.connect(address, uri=True, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        unless_usable.callback(database.close)
        for setting in ("journal_mode = MEMORY", "synchronous = OFF", "auto_vacuum = INCREMENTAL"):
            database.execute(f"PRAGMA {setting}")
        # Of two packagers that find no tables, one makes them.
        database.execute("BEGIN IMMEDIATE")
        _require_tables(database)
        database.execute("COMMIT")
        unless_usable.pop_all()
    return database


def _require_tables(database: sqlite3.Connection) -> None:
    """Make the tables in an empty database, and refuse one that holds anything else than them."""
    found = {sql for (sql,) in database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if not found:
        for statement in _SCHEMA:
            database.execute(statement)
    elif found != set(_SCHEMA):
        raise sqlite3.DatabaseError("it holds something else")


def _make_private(path: Path) -> None:
    """Make an empty file that nobody else may read, unless there is one."""
    with contextlib.suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        # Windows has no such bits: there it is the folder of the user that keeps others out.
        if not stat.S_ISREG(mode) or (os.name == "posix" and mode & _OTHERS):
            durable.remove(path)
    with contextlib.suppress(FileExistsError):
        durable.create(path, b"", mode=durable.PRIVATE)
