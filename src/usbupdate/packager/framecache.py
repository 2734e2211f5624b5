"""What was compressed once and may be needed again: the second bundle of nearly the same image takes seconds.

Nothing here is ever a matter of trust: an entry is used only if its bytes are those that were put in, and after whoever asked
for it has proven it, so that without the cache the same bytes come out. A cache that cannot be read or written is no reason to
fail either; it is left out.

One SQLite file holds everything: tens of thousands of small files would cost more than they save, and two packagers may use it
at the same time.

Source: docs/adr/0013-what-the-office-keeps.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Self

from usbupdate.packager import cachefile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE_MAX: Final = 4 << 30
_AT_ONCE: Final = 64 << 20
"""Bytes that are put in before they are written in one transaction."""

_ROOM: Final = 8
"""An eighth is freed at a time, or every writing would free a little; nothing is kept that takes more than that."""

_ENTRY: Final = 128
"""What an entry takes beside its frame."""

_FREE_MIN: Final = 1 << 30
_FREE_PERCENT: Final = 5
"""What is left on the disk: 1 GiB, or on a disk of less than 20 GiB this part of it."""

_SHRINK_PAGES: Final = 4096


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
    """A folder with what was compressed lately. Implements `FrameCache`; a context manager that writes the rest at its end.

    Args:
        folder: made if it is missing; nobody else may read it, for images may be secret.
        size_max: bytes that the frames may take; those that were not used for the longest time are dropped.
        disk: tells of a folder's disk how many bytes it has, how many are used, and how many are free.
    """

    def __init__(
        self, folder: Path, size_max: int = SIZE_MAX, disk: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage
    ) -> None:
        self._folder = folder
        self._size_max = size_max
        self._disk = disk
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._fresh: dict[bytes, bytes] = {}
        self._fresh_size = 0
        self._used: set[bytes] = set()
        self._replaced = False
        self.problem: str | None = None
        """Why something was not kept, if it was not."""

    def __enter__(self) -> Self:
        with self._leaving_out():
            self._database = cachefile.opened(self._folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._write()
        with self._lock, self._leaving_out():
            self._shrink()
        self._close()

    def frame(self, key: bytes, is_right: Callable[[bytes], bool], make: Callable[[], bytes]) -> bytes:
        """Return what `make` returns, or an earlier answer of it; see `FrameCache`."""
        known = self._find(key)
        if known is not None and is_right(known):
            with self._lock:
                self._used.add(key)
            return known
        made = make()
        if len(made) + _ENTRY <= self._size_max // _ROOM:
            with self._lock:
                self._fresh[key] = made
                self._fresh_size += len(made) + _ENTRY
                is_much = self._fresh_size > min(_AT_ONCE, self._size_max // _ROOM)
            if is_much:
                self._write()
        return made

    def _find(self, key: bytes) -> bytes | None:
        row = None
        with self._lock, self._leaving_out():
            if self._database is not None:
                row = self._database.execute("SELECT seal, frame FROM frames WHERE key = ?", (key,)).fetchone()
        match row:
            case (bytes() as seal, bytes() as frame) if seal == _seal(key, frame):
                return frame
        return None

    def _write(self) -> None:
        now = int(time.time())
        with self._lock:
            rows = [(key, _seal(key, frame), now, len(frame) + _ENTRY, frame) for key, frame in self._fresh.items()]
            used, size = [(now, key) for key in self._used], self._fresh_size
            self._fresh, self._fresh_size, self._used = {}, 0, set()
            with self._leaving_out():
                if self._database is None:
                    return
                self._database.execute("BEGIN IMMEDIATE")
                # First, or what is needed now would be dropped.
                self._database.executemany("UPDATE frames SET used = ? WHERE key = ?", used)
                self._make_room(size)
                if self._has_disk_for(size):
                    self._database.executemany("INSERT OR REPLACE INTO frames VALUES (?, ?, ?, ?, ?)", rows)
                elif rows:
                    self.problem = "the disk is nearly full"
                self._database.execute("COMMIT")

    def _make_room(self, size: int) -> None:
        """Drop what was not used for the longest time, where so many bytes more are too many."""
        if self._database is None:
            return
        total = self._number("SELECT COALESCE(SUM(size), 0) FROM frames") + size
        if total <= self._size_max:
            return
        wanted = self._size_max - self._size_max // _ROOM
        keys = []
        for key, each in self._database.execute("SELECT key, size FROM frames ORDER BY used, key"):
            if total <= wanted:
                break
            keys.append((key,))
            total -= each
        self._database.executemany("DELETE FROM frames WHERE key = ?", keys)

    def _has_disk_for(self, size: int) -> bool:
        """Tell whether the disk stays usable for others with so many bytes more; what was dropped is written over first."""
        reusable = self._number("PRAGMA freelist_count") * self._number("PRAGMA page_size")
        total, _, free = self._disk(self._folder)
        return free - max(0, size - reusable) >= min(_FREE_MIN, total * _FREE_PERCENT // 100)

    def _shrink(self) -> None:
        """Give back to the disk what a larger cache has left, in steps, for each is held in memory."""
        while (
            self._database is not None
            and self._number("PRAGMA freelist_count")
            and self._number("PRAGMA page_count") * self._number("PRAGMA page_size") > self._size_max
        ):
            self._database.execute(f"PRAGMA incremental_vacuum({_SHRINK_PAGES})").fetchall()

    def _number(self, question: str) -> int:
        row = self._database.execute(question).fetchone() if self._database is not None else None
        return int(row[0]) if row else 0

    def _close(self) -> None:
        database, self._database = self._database, None
        with contextlib.suppress(sqlite3.Error):
            if database is not None:
                database.close()

    @contextlib.contextmanager
    def _leaving_out(self) -> Iterator[None]:
        """Go on without the cache where it fails; a damaged file is replaced once."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._close()
            if self._replaced or not (isinstance(error, sqlite3.Error) and cachefile.is_damage(error)):
                self.problem = str(error)
                return
            self._replaced = True
            with self._leaving_out():
                self._database = cachefile.replaced(self._folder)


def _seal(key: bytes, frame: bytes) -> bytes:
    """Return what tells that a frame is the one that was put in under a key: others may decompress to the same bytes."""
    seal = hashlib.sha256(key)
    seal.update(frame)
    return seal.digest()
