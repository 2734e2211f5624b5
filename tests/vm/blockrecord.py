"""What was written to a disk, in its order, and what of it is there after the power was cut: QEMU's `blklogwrites`, read back.

The file has the format of the kernel's dm-log-writes: sector 0 says how many entries there are; each entry is one sector with
`sector`, `nr_sectors`, `flags` and `data_len`, followed by its data. All numbers are little endian; a sector has the size that
sector 0 names.

Source: Documentation/admin-guide/device-mapper/log-writes.rst of the kernel.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

MAGIC: Final = 0x6A736677736872
SECTOR: Final = 512
"""What a disk writes whole or not at all."""
_VERSION: Final = 1
_HEAD: Final = struct.Struct("<QQQI")
_ENTRY: Final = struct.Struct("<QQQQ")
_SIZES: Final = (512, 4096)
_ENTRIES_MAX: Final = 1_000_000
_DISK_SIZE_MAX: Final = 1 << 40


class BrokenRecordError(AssertionError):
    """A file is no record of a disk's writes, or does not end where it says."""


class Flag(IntFlag):
    """What an entry is besides a write."""

    NONE = 0
    FLUSH = 1
    """Everything before it is durable."""
    FUA = 2
    """Its own data are durable."""
    DISCARD = 4
    """It has no data: what lay there is not needed any more."""
    MARK = 8
    """A word of the recorder, and no write at all."""
    METADATA = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was done to the disk: `start` and `size` in bytes on the disk.

    Its data lie in the record from `data_at` on, if there are any; `end` is where the next entry begins.
    """

    number: int
    flags: Flag
    start: int
    size: int
    data_at: int
    end: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a disk, in bytes."""

    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Cut:
    """The power goes when the entries up to `after` were handed to the disk.

    What no flush has made durable is lost: all of it when there is no `seed`, else what the seed says, some of it sector by
    sector.
    """

    after: int
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """Everything that was done to a disk, the first first; entries are numbered from 0."""

    path: Path
    entries: tuple[Entry, ...]

    def flushes(self, first: int = 0) -> list[int]:
        """Return the numbers of the entries, from `first` on, at which something before became durable."""
        return [entry.number for entry in self.entries[first:] if entry.flags & Flag.FLUSH]

    def last_flush(self, after: int) -> int:
        """Return the number of the last flush among the entries up to `after`; -1 if there is none."""
        return next((number for number in range(after, -1, -1) if self.entries[number].flags & Flag.FLUSH), -1)

    def writes_to(self, part: Part) -> list[Entry]:
        """Return the entries that change something in a part of the disk."""
        return [entry for entry in self.entries if entry.size and _overlap(entry, part)]

    def surviving(self, cut: Cut, part: Part) -> Iterator[tuple[int, bytes]]:
        """Yield what a cut leaves of the writes to a part, in their order: where, counted from the part's beginning, and what.

        Raises:
            BrokenRecordError: the record was changed since it was read.
        """
        durable_before = self.last_flush(cut.after)
        chance = None if cut.seed is None else random.Random(cut.seed)  # noqa: S311 - a repeatable choice, not a secret
        with self.path.open("rb") as file:
            for entry in self.entries[: cut.after + 1]:
                is_durable = entry.number < durable_before or bool(entry.flags & Flag.FUA)
                # The choice is made for every write, so that a part says the same as the whole disk.
                sectors = _all(entry) if is_durable else _some(entry, chance)
                if not entry.size or not sectors or not _overlap(entry, part):
                    continue
                data = self._data(file, entry)
                for first, count in sectors:
                    start = max(entry.start + first * SECTOR, part.start)
                    end = min(entry.start + (first + count) * SECTOR, part.start + part.size)
                    if start < end:
                        yield start - part.start, data[start - entry.start : end - entry.start]

    @staticmethod
    def _data(file: BinaryIO, entry: Entry) -> bytes:
        if entry.flags & Flag.DISCARD:
            return bytes(entry.size)
        file.seek(entry.data_at)
        data = file.read(entry.size)
        if len(data) != entry.size:
            raise BrokenRecordError("the record has become shorter")
        return data


def read_record(path: Path) -> Record:
    """Return what was recorded, by a recorder that was ended in order.

    Raises:
        BrokenRecordError: it is not whole, or holds what no recorder writes.
    """
    length = path.stat().st_size
    with path.open("rb") as file:
        count, sector = _head(file.read(_HEAD.size))
        entries = []
        position = sector
        for number in range(count):
            file.seek(position)
            entry = _entry(file.read(_ENTRY.size), number, sector, position)
            entries.append(entry)
            position = entry.end
        if position > length:
            raise BrokenRecordError(f"the record should have {position} bytes and has {length}")
    return Record(path, tuple(entries))


def _head(raw: bytes) -> tuple[int, int]:
    if len(raw) != _HEAD.size:
        raise BrokenRecordError("the record is empty: its recorder was not ended in order")
    magic, version, count, sector = _HEAD.unpack(raw)
    if (magic, version) != (MAGIC, _VERSION):
        raise BrokenRecordError("this is no record of writes, or its recorder was not ended in order")
    if sector not in _SIZES or count > _ENTRIES_MAX:
        raise BrokenRecordError(f"{count} entries of sectors of {sector} bytes cannot be")
    return count, sector


def _entry(raw: bytes, number: int, sector: int, position: int) -> Entry:
    if len(raw) != _ENTRY.size:
        raise BrokenRecordError(f"entry {number} is missing")
    first, count, flags, data_length = _ENTRY.unpack(raw)
    if flags >= Flag.METADATA << 1 or (first + count) * sector > _DISK_SIZE_MAX:
        raise BrokenRecordError(f"entry {number} holds what no recorder writes")
    if flags & Flag.MARK:
        if count or data_length > sector - _ENTRY.size:
            raise BrokenRecordError(f"entry {number} is a mark that does not fit into its sector")
        return Entry(number, Flag(flags), 0, 0, 0, position + sector)
    data_at = position + sector if count and not flags & Flag.DISCARD else 0
    return Entry(
        number, Flag(flags), first * sector, count * sector, data_at, position + sector + bool(data_at) * count * sector
    )


def _overlap(entry: Entry, part: Part) -> bool:
    return entry.start < part.start + part.size and part.start < entry.start + entry.size


def _all(entry: Entry) -> Sequence[tuple[int, int]]:
    return [(0, entry.size // SECTOR)]


def _some(entry: Entry, chance: random.Random | None) -> Sequence[tuple[int, int]]:
    """Return which sectors of a write survive that nothing made durable: first and how many."""
    if chance is None:
        return []
    fate = chance.choice(("lost", "whole", "torn"))
    if fate == "torn":
        seed = chance.getrandbits(64)
        each = random.Random(seed)  # noqa: S311 - the same
        return [(number, 1) for number in range(entry.size // SECTOR) if each.random() < 0.5]
    return _all(entry) if fate == "whole" else []
