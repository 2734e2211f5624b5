"""What was compressed once and may be needed again: the second bundle of nearly the same image takes seconds.

Nothing here is ever a matter of trust: an entry is used only after it was decompressed and gave what was asked for, and without
the cache the same bytes come out. A cache that cannot be read or written is no reason to fail either; it is left out.

One SQLite file holds everything: tens of thousands of small files would cost more than they save, and two packagers may use it
at the same time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Self

from usbupdate import durable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE_MAX: Final = 4 << 30
_FILE: Final = "frames-1.sqlite3"
_WAIT_S: Final = 30.0
_AT_ONCE: Final = 64 << 20
"""Bytes that are put in before they are written in one transaction."""

_ROOM: Final = 8
"""An eighth is freed at a time, or every bundle would free a little."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS frames (key BLOB PRIMARY KEY, used INTEGER NOT NULL, size INTEGER NOT NULL, frame BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS by_age ON frames (used, size);
"""


class FrameCache(Protocol):
    """Keeps frames by what they were made from."""

    def frame(self, key: bytes, is_right: Callable[[bytes], bool], make: Callable[[], bytes]) -> bytes:
        """Return what `make` returns, or an earlier answer of it that `is_right`; several threads may ask at once.

        Args:
            key: from `key_of`, over all that the answer depends on.
            is_right: proves an earlier answer.
            make: makes it anew.
        """


class NoCache:
    """Makes everything anew. Implements `FrameCache`."""

    def frame(self, key: bytes, is_right: Callable[[bytes], bool], make: Callable[[], bytes]) -> bytes:
        """Return what `make` returns; see `FrameCache`."""
        del key, is_right
        return make()


def key_of(*parts: bytes | str | int) -> bytes:
    """Return the key of what depends on these values, in this order."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.digest()


def usual_folder() -> Path:
    """Return where the cache lies if nobody says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "usbupdate" / "frames"


class SqliteCache:
    """A folder with what was compressed lately. Implements `FrameCache`; a context manager that tidies up at its end.

    Args:
        folder: made if it is missing; nobody else may read it, for images may be secret.
        size_max: bytes that the frames may take; those that were not used for the longest time are dropped.
    """

    def __init__(self, folder: Path, size_max: int = SIZE_MAX) -> None:
        self._folder = folder
        self._size_max = size_max
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._fresh: dict[bytes, bytes] = {}
        self._fresh_size = 0
        self._used: set[bytes] = set()
        self.problem: str | None = None
        """Why the cache was left out, once it was."""

    def __enter__(self) -> Self:
        with self._leaving_out():
            durable.make_directory(self._folder, mode=0o700)
            self._database = sqlite3.connect(
                self._folder / _FILE, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
            # It may all be made anew: a cut may cost it, and it must not cost a sync for each frame.
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.executescript(_SCHEMA)
        return self

    def __exit__(self, *_: object) -> None:
        self._write()
        with self._leaving_out():
            self._bound()
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def frame(self, key: bytes, is_right: Callable[[bytes], bool], make: Callable[[], bytes]) -> bytes:
        """Return what `make` returns, or an earlier answer of it; see `FrameCache`."""
        known = self._find(key)
        if known is not None and is_right(known):
            self._used.add(key)
            return known
        made = make()
        with self._lock:
            self._fresh[key] = made
            self._fresh_size += len(made)
        if self._fresh_size > _AT_ONCE:
            self._write()
        return made

    def _find(self, key: bytes) -> bytes | None:
        with self._lock, self._leaving_out():
            if self._database is not None:
                row = self._database.execute("SELECT frame FROM frames WHERE key = ?", (key,)).fetchone()
                return row[0] if row and isinstance(row[0], bytes) else None
        return None

    def _write(self) -> None:
        now = int(time.time())
        with self._lock:
            rows = [(key, now, len(frame), frame) for key, frame in self._fresh.items()]
            used = [(now, key) for key in self._used]
            self._fresh, self._fresh_size, self._used = {}, 0, set()
            with self._leaving_out():
                if self._database is None:
                    return
                self._database.execute("BEGIN IMMEDIATE")
                self._database.executemany("INSERT OR REPLACE INTO frames VALUES (?, ?, ?, ?)", rows)
                self._database.executemany("UPDATE frames SET used = ? WHERE key = ?", used)
                self._database.execute("COMMIT")

    def _bound(self) -> None:
        """Drop what was not used for the longest time, where there is too much."""
        if self._database is None:
            return
        (total,) = self._database.execute("SELECT COALESCE(SUM(size), 0) FROM frames").fetchone()
        if total <= self._size_max:
            return
        wanted = self._size_max - self._size_max // _ROOM
        keys = []
        for key, size in self._database.execute("SELECT key, size FROM frames ORDER BY used, key"):
            if total <= wanted:
                break
            keys.append((key,))
            total -= size
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany("DELETE FROM frames WHERE key = ?", keys)
        self._database.execute("COMMIT")
        self._database.execute("VACUUM")

    @contextlib.contextmanager
    def _leaving_out(self) -> Iterator[None]:
        """Go on without the cache where it fails; a damaged file is removed, so that the next packager has one again."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self.problem = str(error)
            database, self._database = self._database, None
            with contextlib.suppress(sqlite3.Error):
                if database is not None:
                    database.close()
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                with contextlib.suppress(OSError):
                    durable.remove(self._folder / _FILE)
