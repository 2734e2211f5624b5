"""Reading FAT32, to see what a virtual device wrote onto its stick; what is written, mtools writes.

Source: Microsoft, "FAT32 File System Specification", version 1.03.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from refdevice.partitiontable import SECTOR, Extent
from refdevice.volume import FIRST_CLUSTER, FREE, Heap, Node, broken
from usbupdate.errors import MediumUnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_SIZE_MAX: Final = (4 << 30) - 1
ENTRY: Final = 32
LONG_PART: Final = 13
_MASK, _END = 0x0FFF_FFFF, 0x0FFF_FFF8
_VOLUME, _FOLDER, _LONG = 0x08, 0x10, 0x0F
_DELETED: Final = 0xE5
_LAST_PART: Final = 0x40
_BASE_IS_LOWER, _EXTENSION_IS_LOWER = 0x08, 0x10


@dataclass(frozen=True, slots=True)
class Fat32:
    """A FAT32 volume. Implements `volume.Volume`."""

    heap: Heap
    root: Node

    def nodes(self, folder: Node) -> Iterator[Node]:
        """Yield what is in a folder, without the entries for the folder itself and the one above."""
        parts: list[tuple[int, bytes]] = []
        for offset, entry in self.heap.entries_of(folder):
            if entry[0] == 0:
                return
            if entry[0] == _DELETED:
                parts.clear()
            elif entry[11] & 0x3F == _LONG:
                parts.append((offset, entry))
            else:
                if not entry[11] & _VOLUME and not entry.startswith(b"."):
                    yield self._node(offset, entry, parts)
                parts.clear()

    def free_clusters(self) -> int:
        """Return how many clusters belong to nothing."""
        return sum(entry & _MASK == FREE for entry in self.heap.table()[FIRST_CLUSTER:])

    def point_at(self, node: Node, cluster: int) -> None:
        """Let a directory entry name another first cluster: a damage, for tests of those who read it."""
        disk = self.heap.disk
        for offset, part in ((20, cluster >> 16), (26, cluster & 0xFFFF)):
            disk.seek(node.entry[-1] + offset)
            disk.write(struct.pack("<H", part))

    def _node(self, offset: int, entry: bytes, parts: list[tuple[int, bytes]]) -> Node:
        name = _long_name(entry, [part for _, part in parts]) or _short_name(entry)
        high, low, size = struct.unpack_from("<H4xHI", entry, 20)
        is_folder = bool(entry[11] & _FOLDER)
        where = (*(part for part, _ in parts), offset)
        first = (high << 16 | low) & _MASK
        return Node(name, is_folder, first, None if is_folder else size, size, contiguous=False, entry=where)


def open_fat32(disk: BinaryIO, extent: Extent) -> Fat32:
    """Return the FAT32 volume that lies in a part of a disk.

    Raises:
        MediumUnreadableError: its first sector makes no sense.
    """
    disk.seek(extent.start)
    boot = disk.read(SECTOR)
    sector, per_cluster, reserved, fats = struct.unpack_from("<HBHB", boot, 11)
    sectors, fat_sectors, root_cluster = struct.unpack_from("<II4xI", boot, 32)
    data = reserved + fats * fat_sectors
    root = Node("", is_folder=True, first=root_cluster, size=None, valid=0, contiguous=False, entry=())
    if sector != SECTOR or not fats or per_cluster & per_cluster - 1 or not per_cluster or not data < sectors:
        raise broken(root, "its first sector makes no sense")
    if sectors * SECTOR > extent.size:
        raise broken(root, "it is larger than its partition")
    # The table may be larger than there are clusters, never smaller.
    count = min((sectors - data) // per_cluster, fat_sectors * SECTOR // 4 - FIRST_CLUSTER)
    tables = tuple(extent.start + (reserved + number * fat_sectors) * SECTOR for number in range(fats))
    heap = Heap(disk, extent.start, tables, extent.start + data * SECTOR, per_cluster * SECTOR, count, _MASK, _END)
    return Fat32(heap, root)


def folder_size(names: list[str]) -> int:
    """Return how many bytes a folder with these names has at most."""
    return ENTRY * (2 + sum(1 + -(-len(name.encode("utf-16-le")) // (2 * LONG_PART)) for name in names))


def _long_name(entry: bytes, parts: list[bytes]) -> str:
    """Return the long name that stands before an entry, or nothing if it belongs to another one."""
    checksum = 0
    for byte in entry[:11]:
        checksum = ((checksum & 1) << 7) + (checksum >> 1) + byte & 0xFF
    orders = [part[0] for part in parts]
    if (
        not parts
        or orders != [len(parts) | _LAST_PART, *range(len(parts) - 1, 0, -1)]
        or {part[13] for part in parts} != {checksum}
    ):
        return ""
    raw = b"".join(part[1:11] + part[14:26] + part[28:32] for part in reversed(parts))
    units = struct.unpack(f"<{len(raw) // 2}H", raw)
    if 0 in units:
        raw = raw[: 2 * units.index(0)]
    try:
        return raw.decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise MediumUnreadableError(name="a name", problem="it is not text") from error


def _short_name(entry: bytes) -> str:
    base, extension = (part.rstrip(b" ").decode("cp437") for part in (entry[:8], entry[8:11]))
    base = base.lower() if entry[12] & _BASE_IS_LOWER else base
    extension = extension.lower() if entry[12] & _EXTENSION_IS_LOWER else extension
    return f"{base}.{extension}" if extension else base
