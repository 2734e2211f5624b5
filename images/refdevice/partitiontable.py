"""The first bytes of a disk: which partitions it has; written without sfdisk, which wants its orders on standard input.

Sources: UEFI specification 2.10, section 5; for MBR, the table at byte 446 that every system since DOS reads.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

SECTOR: Final = 512
ALIGNMENT: Final = 1 << 20
"""Partitions begin at multiples of this, and a GPT keeps as much free for its copy at the end."""
_MBR_TABLE: Final = 446
_MBR_ENTRIES: Final = 4
_SIGNED: Final = b"\x55\xaa"
_PROTECTIVE: Final = 0xEE
_GPT_ENTRIES, _GPT_ENTRY = 128, 128
_GPT_ENTRIES_READ_MAX: Final = 1024
_GPT_HEADER: Final = 92
_NAMESPACE: Final = uuid.UUID("75736275-7064-4174-8500-737469636b00")
_FILE_SYSTEM_MARKS: Final = {3: b"EXFAT   ", 82: b"FAT32   ", 54: b"FAT"}
"""What stands where in the first sector if a file system begins there, and no table."""


class Table(StrEnum):
    """How a disk is divided; without a table, its one file system begins at its first byte."""

    MBR = "mbr"
    GPT = "gpt"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Extent:
    """A part of a disk, in bytes."""

    start: int
    size: int

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class Entry:
    """A partition as a table lists it; `kind` is the number that an MBR gives to what it holds, `name` is for a GPT only."""

    extent: Extent
    kind: int
    type_id: uuid.UUID
    name: str


def margins(table: Table) -> tuple[int, int]:
    """Return how many bytes a table keeps for itself before the first partition and behind the last."""
    match table:
        case Table.NONE:
            return 0, 0
        case Table.MBR:
            return ALIGNMENT, 0
        case Table.GPT:
            return ALIGNMENT, ALIGNMENT


def write_table(disk: BinaryIO, size: int, table: Table, entries: Sequence[Entry], disk_id: int) -> None:
    """Write a table onto a disk of `size` bytes; all identities follow from `disk_id`, a number of 32 bits."""
    match table:
        case Table.NONE:
            return
        case Table.MBR:
            _put(disk, 0, _mbr(disk_id, [(each.kind, each.extent) for each in entries]))
        case Table.GPT:
            _put(disk, 0, _mbr(0, [(_PROTECTIVE, Extent(SECTOR, size - SECTOR))]))
            _write_gpt(disk, size, entries, disk_id)


def read_table(disk: BinaryIO, size: int) -> tuple[Extent, ...]:
    """Return the partitions of a disk of `size` bytes in the table's order, leaving out what does not lie on the disk.

    A disk that begins with a file system is one partition.
    """
    first = _get(disk, 0, SECTOR)
    if len(first) < SECTOR or first[510:] != _SIGNED:
        return ()
    if any(first[offset:].startswith(mark) for offset, mark in _FILE_SYSTEM_MARKS.items()):
        return (Extent(0, size),)
    found = [_mbr_entry(first, number) for number in range(_MBR_ENTRIES)]
    extents = _gpt_extents(disk) if any(kind == _PROTECTIVE for kind, _ in found) else [each for kind, each in found if kind]
    return tuple(each for each in extents if each.start > 0 and each.size > 0 and each.end <= size)


def _mbr(disk_id: int, entries: Sequence[tuple[int, Extent]]) -> bytes:
    # Cylinders, heads and sectors at their ends: nobody reads them any more, and this says that the sector number counts.
    packed = b"".join(
        struct.pack("<B3sB3sII", 0, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", extent.start // SECTOR, extent.size // SECTOR)
        for kind, extent in entries
    )
    return struct.pack("<440xIH64s2s", disk_id, 0, packed, _SIGNED)


def _mbr_entry(sector: bytes, number: int) -> tuple[int, Extent]:
    kind, start, count = struct.unpack_from("<4xB3xII", sector, _MBR_TABLE + 16 * number)
    return kind, Extent(start * SECTOR, count * SECTOR)


def _write_gpt(disk: BinaryIO, size: int, entries: Sequence[Entry], disk_id: int) -> None:
    packed = b"".join(
        struct.pack(
            "<16s16sQQQ72s",
            each.type_id.bytes_le,
            uuid.uuid5(_NAMESPACE, f"{disk_id} partition {number}").bytes_le,
            each.extent.start // SECTOR,
            each.extent.end // SECTOR - 1,
            0,
            each.name.encode("utf-16-le"),
        )
        for number, each in enumerate(entries, start=1)
    ).ljust(_GPT_ENTRIES * _GPT_ENTRY, b"\0")
    table_sectors = len(packed) // SECTOR
    last = size // SECTOR - 1
    for own, other, table_at in ((1, last, 2), (last, 1, last - table_sectors)):
        usable = (2 + table_sectors, last - table_sectors - 1)
        identity = uuid.uuid5(_NAMESPACE, f"{disk_id} disk").bytes_le
        fields = (own, other, *usable, identity, table_at, _GPT_ENTRIES, _GPT_ENTRY, zlib.crc32(packed))
        without_sum = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, _GPT_HEADER, 0, 0, *fields)
        header = without_sum[:16] + struct.pack("<I", zlib.crc32(without_sum)) + without_sum[20:]
        _put(disk, own * SECTOR, header)
        _put(disk, table_at * SECTOR, packed)


def _gpt_extents(disk: BinaryIO) -> list[Extent]:
    header = _get(disk, SECTOR, _GPT_HEADER)
    if len(header) < _GPT_HEADER or not header.startswith(b"EFI PART"):
        return []
    table_at, count, entry_size = struct.unpack_from("<QII", header, 72)
    if entry_size < _GPT_ENTRY or table_at > 1 << 40:
        return []
    extents = []
    for number in range(min(count, _GPT_ENTRIES_READ_MAX)):
        entry = _get(disk, table_at * SECTOR + number * entry_size, _GPT_ENTRY)
        if len(entry) < _GPT_ENTRY:
            break
        kind, start, last = struct.unpack_from("<16s16xQQ", entry)
        if any(kind):
            extents.append(Extent(start * SECTOR, (last + 1 - start) * SECTOR))
    return extents


def _put(disk: BinaryIO, offset: int, contents: bytes) -> None:
    disk.seek(offset)
    disk.write(contents)


def _get(disk: BinaryIO, offset: int, size: int) -> bytes:
    disk.seek(offset)
    return disk.read(size)
