"""Reading exFAT, and the forms of its directory entries in both directions.

Source: Microsoft, "exFAT file system specification", revision 1.00.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from refdevice.partitiontable import SECTOR, Extent
from refdevice.volume import CLUSTER_SIZE_MAX, FIRST_CLUSTER, Heap, Node, broken

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ENTRY: Final = 32
NAME_PART: Final = 15
"""So many UTF-16 units of a name stand in one entry."""
END: Final = 0xFFFF_FFFF
BITMAP, UPCASE, FILE, STREAM, NAME = 0x81, 0x82, 0x85, 0xC0, 0xC1
FOLDER, ARCHIVE = 0x10, 0x20
ALLOCATION_POSSIBLE, CONTIGUOUS = 0x01, 0x02
_CHAIN_END_MIN: Final = 0xFFFF_FFF8
_SECONDARY_MAX: Final = 18
_TABLE_IDENTITY: Final = 0xFFFF
_UNITS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Exfat:
    """An exFAT volume. Implements `volume.Volume`."""

    heap: Heap
    root: Node

    def nodes(self, folder: Node) -> Iterator[Node]:
        """Yield what is in a folder."""
        entries = self.heap.entries_of(folder)
        for offset, entry in entries:
            if entry[0] == 0:
                return
            if entry[0] != FILE:
                continue
            # A set that says that it is longer than the folder ends with the folder; its checksum tells.
            members = [(offset, entry), *itertools.islice(entries, min(entry[1], _SECONDARY_MAX))]
            yield _node(folder, members)

    def free_clusters(self) -> int:
        """Return how many clusters belong to nothing."""
        return self.heap.count - sum(byte.bit_count() for byte in self.bitmap())

    def point_at(self, node: Node, cluster: int) -> None:
        """Let a directory entry name another first cluster: a damage, for tests of those who read it."""
        disk = self.heap.disk
        entries = []
        for offset in node.entry:
            disk.seek(offset)
            entries.append(disk.read(ENTRY))
        stream = entries[1]
        sealed = seal([entries[0], stream[:20] + struct.pack("<I", cluster) + stream[24:], *entries[2:]])
        for number, offset in enumerate(node.entry):
            disk.seek(offset)
            disk.write(sealed[number * ENTRY : (number + 1) * ENTRY])

    def bitmap(self) -> bytes:
        """Return a bit for each cluster, the lowest first: whether it belongs to something."""
        return b"".join(self.heap.pieces(self.table_of(BITMAP)))[: -(-self.heap.count // 8)]

    def capitals(self) -> list[int]:
        """Return for each UTF-16 unit the capital that it counts as in the comparison of names."""
        raw = b"".join(self.heap.pieces(self.table_of(UPCASE)))
        units = iter(struct.unpack(f"<{len(raw) // 2}H", raw[: len(raw) // 2 * 2]))
        table: list[int] = []
        for unit in units:
            if unit == _TABLE_IDENTITY:
                # This many units in a row are their own capitals.
                table.extend(range(len(table), min(len(table) + next(units, 0), _UNITS)))
            else:
                table.append(unit)
        return [*table, *range(len(table), _UNITS)]

    def table_of(self, kind: int) -> Node:
        """Return the bitmap or the table of capitals as if it were a file.

        Raises:
            MediumUnreadableError: the root does not name one.
        """
        for offset, entry in self.heap.entries_of(self.root):
            if entry[0] == kind:
                first, size = struct.unpack_from("<IQ", entry, 20)
                return Node("", is_folder=False, first=first, size=size, valid=size, contiguous=False, entry=(offset,))
        raise broken(self.root, "one of its own tables is missing")


def open_exfat(disk: BinaryIO, extent: Extent) -> Exfat:
    """Return the exFAT volume that lies in a part of a disk.

    Raises:
        MediumUnreadableError: its first sector makes no sense.
    """
    disk.seek(extent.start)
    boot = disk.read(SECTOR)
    sectors, fat_at, fat_sectors, heap_at, count, root_cluster = struct.unpack_from("<QIIIII", boot, 72)
    sector_shift, cluster_shift, fats = boot[108:111]
    root = Node("", is_folder=True, first=root_cluster, size=None, valid=0, contiguous=False, entry=())
    if 1 << sector_shift != SECTOR or fats != 1 or SECTOR << min(cluster_shift, 32) > CLUSTER_SIZE_MAX:
        raise broken(root, "its first sector makes no sense")
    cluster_size = SECTOR << cluster_shift
    fits = heap_at * SECTOR + count * cluster_size <= sectors * SECTOR <= extent.size
    if not fits or (count + FIRST_CLUSTER) * 4 > fat_sectors * SECTOR:
        raise broken(root, "it is larger than its partition")
    table, start = (extent.start + sector * SECTOR for sector in (fat_at, heap_at))
    return Exfat(Heap(disk, extent.start, (table,), start, cluster_size, count, END, _CHAIN_END_MIN), root)


def seal(entries: Sequence[bytes]) -> bytes:
    """Return a set of entries with its checksum in the first one."""
    joined = b"".join(entries)
    return joined[:2] + struct.pack("<H", _set_checksum(joined)) + joined[4:]


def hash_of(name: str, capitals: Sequence[int]) -> int:
    """Return what stands for a name in its stream entry, so that searching is fast."""
    raw = name.encode("utf-16-le")
    value = 0
    for unit in struct.unpack(f"<{len(raw) // 2}H", raw):
        for byte in struct.pack("<H", capitals[unit]):
            value = _rotated(value, 16) + byte & 0xFFFF
    return value


def boot_checksum(sectors: bytes) -> int:
    """Return the checksum of a boot region's first eleven sectors, of which the changing flags are no part."""
    value = 0
    for number, byte in enumerate(sectors):
        if number not in {106, 107, 112}:
            value = _rotated(value, 32) + byte & 0xFFFF_FFFF
    return value


def _node(folder: Node, members: Sequence[tuple[int, bytes]]) -> Node:
    entries = [entry for _, entry in members]
    names = entries[2 : 2 + -(-entries[1][3] // NAME_PART)] if len(entries) == entries[0][1] + 1 > 1 else []
    if not names or entries[1][0] != STREAM or any(entry[0] != NAME for entry in names):
        raise broken(folder, "its entries are not whole")
    joined = b"".join(entries)
    if struct.unpack_from("<H", joined, 2) != (_set_checksum(joined),):
        raise broken(folder, "an entry's checksum is wrong")
    flags, length, valid, first, size = struct.unpack_from("<BxB4xQ4xIQ", entries[1], 1)
    try:
        name = b"".join(entry[2:] for entry in names)[: 2 * length].decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise broken(folder, "a name in it is not text") from error
    is_folder = bool(entries[0][4] & FOLDER)
    where = tuple(offset for offset, _ in members)
    return Node(name, is_folder, first, size, valid, contiguous=bool(flags & CONTIGUOUS), entry=where)


def _set_checksum(entries: bytes) -> int:
    value = 0
    for number, byte in enumerate(entries):
        if number not in {2, 3}:
            value = _rotated(value, 16) + byte & 0xFFFF
    return value


def _rotated(value: int, bits: int) -> int:
    return value >> 1 | (value & 1) << bits - 1
