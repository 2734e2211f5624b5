"""The store as one more place where logs lie: each copy comes out byte for byte, or it is said that it does not.

A copy that adds nothing to another one of the same device is left out: its lines are the first ones of the other, it brings no
other identity, and its checkpoint, if it has one, is over the same lines. So the many older copies of a log cost nothing, and a
stick that was pulled too early speaks against a device only until the next one comes. Nothing is left out that could
contradict, and nothing that is not as it came.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from typing import TYPE_CHECKING, Final

from sqlalchemy import literal, select

from usbupdate.audit.chain import UNKNOWN
from usbupdate.audit.copies import LogCopy
from usbupdate.audit.lines import LINES_MAX
from usbupdate.audit.store.database import rows_among
from usbupdate.audit.store.evidence import CopyRow, Run, digest_of, is_as_it_came
from usbupdate.audit.store.schema import COPIES, FILES, LINES, ORIGINS, RUNS
from usbupdate.core import checkpoint
from usbupdate.core.layout import ACKNOWLEDGED, CHECKPOINT, EVIDENCE_NAMES, IDENTITY, RECEIPTS
from usbupdate.core.merkle import GrowingTree, leaf_hash
from usbupdate.core.plaintext import printable
from usbupdate.core.words import DEVICE_ID, DeviceId
from usbupdate.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from usbupdate.audit.store.database import Store
    from usbupdate.core.checkpoint import Checkpoint

_SOURCE_MAX: Final = 4096
_CHANGED: Final = "it is not what was imported; somebody changed the store"


@dataclass(frozen=True, slots=True)
class StoredPlace:
    """Where one copy is kept in a store. Implements `audit.places.Place`."""

    store: Store
    row: CopyRow

    @property
    def folder(self) -> DeviceId:
        """The device whose log it claims to be."""
        device = str(self.row.device)
        return DeviceId(device) if DEVICE_ID.fullmatch(device) else UNKNOWN

    def read(self) -> LogCopy:
        """Return the copy; what is not as it came is said to be so, and is there all the same, to be judged.

        Raises:
            EvidenceStoreError: the database failed.
        """
        row = self.row
        if not is_as_it_came(row):
            return LogCopy("the store", self.folder, {}, dict.fromkeys(EVIDENCE_NAMES, _CHANGED))
        with self.store.reading() as connection:
            files = _files(connection, row)
            lines = list(_lines(connection, _runs(connection, row)))
            source = _source(connection, row)
        folder = None if row.folder is None else DeviceId(row.folder)
        copy = LogCopy(source, folder, {}, dict(json.loads(row.unreadable)))
        receipts = None if row.receipts is None else b"".join(line + b"\n" for line in lines) + files.rest
        for name, digest, contents in (
            (IDENTITY, row.identity, files.identity),
            (RECEIPTS, row.receipts, receipts),
            (CHECKPOINT, row.checkpoint, files.checkpoint),
            (ACKNOWLEDGED, row.acknowledged, files.acknowledged),
        ):
            if contents is not None:
                copy.files[name] = contents
            if digest is not None and (contents is None or digest_of(contents) != digest):
                copy.unreadable[name] = _CHANGED
        return copy


def stored_places(store: Store) -> list[StoredPlace]:
    """Return the copies in a store that tell all it holds, by device.

    Raises:
        EvidenceStoreError: the database failed.
    """
    with store.reading() as connection:
        rows = [CopyRow(*each) for each in connection.execute(select(COPIES).order_by(COPIES.c.device, COPIES.c.digest))]
        needed = [row for row in rows if not is_as_it_came(row)]
        for _, group in groupby(filter(is_as_it_came, rows), lambda row: row.device):
            copies = list(group)
            needed += copies if len(copies) == 1 else _needed(connection, copies)
    return [StoredPlace(store, row) for row in needed]


@dataclass(frozen=True, slots=True)
class _Files:
    """What is kept of a copy beside its lines; nothing where the copy had none, or where it is gone."""

    identity: bytes | None
    checkpoint: bytes | None
    rest: bytes
    acknowledged: bytes | None


def _files(connection: Connection, row: CopyRow) -> _Files:
    wanted = [digest for digest in (row.identity, row.checkpoint, row.rest, row.acknowledged) if digest is not None]
    found = _contents(rows_among(connection, select(FILES), FILES.c.digest, wanted))
    identity, head, rest, beside = (
        None if digest is None else found.get(digest) for digest in (row.identity, row.checkpoint, row.rest, row.acknowledged)
    )
    return _Files(identity, head, rest or b"", beside)


def _runs(connection: Connection, row: CopyRow) -> list[Run]:
    found = connection.execute(select(RUNS.c.last, RUNS.c.length).where(RUNS.c.copy == row.digest).order_by(RUNS.c.ordinal))
    runs = [Run(last, length) for last, length in found if isinstance(last, bytes) and isinstance(length, int) and length > 0]
    # More lines than any log is taken apart into: somebody would have us walk in a circle.
    return runs if sum(run.length for run in runs) <= LINES_MAX else []


def _contents(rows: Iterable[tuple[object, object]]) -> dict[bytes, bytes]:
    """Return what is kept by digest; SQLite takes anything for a column's value, and what is no bytes is not what was kept."""
    return {digest: kept for digest, kept in rows if isinstance(digest, bytes) and isinstance(kept, bytes)}


def _lines(connection: Connection, runs: Iterable[Run]) -> Iterator[bytes]:
    """Yield the lines of a copy in order, as far as they are there."""
    single = [run.last for run in runs if run.length == 1]
    alone = _contents(rows_among(connection, select(LINES.c.digest, LINES.c.line), LINES.c.digest, single))
    for last, length in runs:
        if length > 1:
            yield from reversed(_history(connection, last, length))
        elif last in alone:
            yield alone[last]


def _history(connection: Connection, last: bytes, length: int) -> list[bytes]:
    """Return a line and those before it, backwards, by what each says that it follows; fewer than `length` if one is gone."""
    first = select(LINES.c.digest, LINES.c.previous, literal(1).label("step")).where(LINES.c.digest == last)
    history = first.cte("history", recursive=True)
    history = history.union_all(
        select(LINES.c.digest, LINES.c.previous, history.c.step + 1)
        .join(history, LINES.c.digest == history.c.previous)
        .where(history.c.step < length)
    )
    lines = select(LINES.c.line).join(history, LINES.c.digest == history.c.digest).order_by(history.c.step)
    return [line for (line,) in connection.execute(lines) if isinstance(line, bytes)]


def _source(connection: Connection, row: CopyRow) -> str:
    """Return where a copy first came from, as a person reads it."""
    origins = select(ORIGINS).where(ORIGINS.c.copy == row.digest).order_by(ORIGINS.c.imported, ORIGINS.c.source)
    first = connection.execute(origins).first()
    told = "the store" if first is None else f"{first.source}, imported {first.imported} by {first.importer}"
    return printable(told, _SOURCE_MAX)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A copy without its lines: how many there are, what is beside them, and what its checkpoint claims."""

    row: CopyRow
    runs: list[Run]
    files: _Files
    head: Checkpoint | None

    @property
    def count(self) -> int:
        """How many lines it has."""
        return sum(run.length for run in self.runs)

    def fullness(self) -> tuple[int, int, int, bool, bool, bytes]:
        """Return what to sort by, so that no copy is behind one that it could tell everything of."""
        covered = -1 if self.head is None else self.head.size
        return (
            self.count,
            covered,
            len(self.files.rest),
            self.row.identity is not None,
            self.row.acknowledged is not None,
            self.row.digest,
        )


class _Whole:
    """A copy that is needed, and what it tells of others.

    Args:
        copy: which.
        lines: its lines, in order.
        others: the copies of the same device.
    """

    def __init__(self, copy: _Kept, lines: Sequence[bytes], others: Sequence[_Kept]) -> None:
        self.copy = copy
        self._lines = lines
        counts = {each.count for each in others}
        sizes = {each.head.size for each in others if each.head is not None}
        self._hashed = {}
        self._roots = {}
        hashed, tree = sha256(), GrowingTree()
        for count, line in enumerate((*lines, b"")):
            if count in counts:
                self._hashed[count] = hashed.copy()
            if count in sizes:
                self._roots[count] = tree.root()
            hashed.update(line + b"\n")
            tree.add(leaf_hash(line))

    def tells(self, other: _Kept) -> bool:
        """Tell whether everything in another copy is in this one too, so that it can neither add nor contradict anything."""
        return (
            other.row.identity in {None, self.copy.row.identity}
            and other.row.acknowledged in {None, self.copy.row.acknowledged}
            and self._begins_with(other)
            and (other.row.checkpoint in {None, self.copy.row.checkpoint} or self._covers(other))
        )

    def _begins_with(self, other: _Kept) -> bool:
        """Tell whether another copy's receipts, by the digest that they came with, are the beginning of these."""
        if other.row.receipts is None:
            return True
        if other.count not in self._hashed:
            return False
        hashed = self._hashed[other.count].copy()
        hashed.update(other.files.rest)
        is_last = other.count == len(self._lines)
        behind = self.copy.files.rest if is_last else self._lines[other.count] + b"\n"
        return hashed.digest() == other.row.receipts and behind.startswith(other.files.rest)

    def _covers(self, other: _Kept) -> bool:
        """Tell whether another checkpoint is over the first of these lines, and this copy's own over at least as many."""
        own, head = self.copy.head, other.head
        if own is None or head is None or own.origin != head.origin:
            return False
        return head.size <= own.size <= len(self._lines) and self._roots.get(head.size) == head.root


def _needed(connection: Connection, rows: Iterable[CopyRow]) -> list[CopyRow]:
    """Return those of one device's copies of which no other tells everything, the fullest first."""
    copies = []
    for row in rows:
        files = _files(connection, row)
        copies.append(_Kept(row, _runs(connection, row), files, _head(row, files)))
    needed: list[_Whole] = []
    for copy in sorted(copies, key=_Kept.fullness, reverse=True):
        if not any(whole.tells(copy) for whole in needed):
            needed.append(_Whole(copy, list(_lines(connection, copy.runs)), copies))
    return [whole.copy.row for whole in needed]


def _head(row: CopyRow, files: _Files) -> Checkpoint | None:
    """Return what the checkpoint of a copy claims, if it is one and as it came."""
    if files.checkpoint is None or digest_of(files.checkpoint) != row.checkpoint:
        return None
    try:
        return checkpoint.peek_unproven(files.checkpoint)
    except MalformedError:
        return None
