"""A FAT32 volume as a sequence of bytes, for files whose sizes are known: written in one pass, every file in one piece.

Only what a fresh volume needs: no partition table, long names, one copy of each folder.

Source: Microsoft, "FAT32 File System Specification", version 1.03.
"""

from __future__ import annotations

import struct
import sys
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping
    from datetime import datetime

    from usbupdate.core.layout import MediumPath

SECTOR: Final = 512
_RESERVED: Final = 32
_FATS: Final = 2
_ENTRY: Final = 32
_LONG_PART: Final = 13
_CLUSTERS_MIN: Final = 66_000
"""Fewer than 65,525 make it FAT16 whatever is written on it; keep away from that line, as the specification asks."""
_CLUSTERS_MAX: Final = 2_000_000
_FOLDER, _VOLUME, _LONG = 0x10, 0x08, 0x0F
_END: Final = 0x0FFF_FFFF
_LABEL: Final = b"USBUPDATE  "


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a file or folder lies: its first cluster, its size in bytes, and its offset in the volume in bytes."""

    cluster: int
    size: int
    offset: int


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume that is laid out and not written yet; `folders` and `files` are in the order in which they lie in it."""

    cluster_size: int
    clusters: int
    used: int
    folders: Mapping[MediumPath, Extent]
    files: Mapping[MediumPath, Extent]
    contents: Mapping[MediumPath, bytes]
    number: int

    @property
    def size(self) -> int:
        """The bytes of the whole volume."""
        return _data_start(self.clusters) + self.clusters * self.cluster_size

    def head(self) -> Iterator[bytes]:
        """Yield everything that lies before the first file."""
        yield self._reserved()
        table = self._table()
        for _ in range(_FATS):
            yield table
        for path in self.folders:
            yield self.padded(self.contents[path])

    def padded(self, contents: bytes) -> bytes:
        """Return contents with zeros up to the end of their last cluster."""
        return contents + bytes(-len(contents) % self.cluster_size)

    def _reserved(self) -> bytes:
        boot = struct.pack(
            "<3s8sHBHBHHBHHHIIIHHIHH12sBBBI11s8s",
            b"\xeb\x58\x90", b"usbupdat", SECTOR, self.cluster_size // SECTOR, _RESERVED, _FATS, 0, 0, 0xF8, 0, 63, 255, 0,
            self.size // SECTOR, _table_sectors(self.clusters), 0, 0, 2, 1, 6, bytes(12), 0x80, 0, 0x29, self.number, _LABEL,
            b"FAT32   ",
        ).ljust(510, b"\0") + b"\x55\xaa"  # fmt: skip
        free = struct.pack("<II", self.clusters - self.used, self.used + 2)
        info = b"RRaA".ljust(484, b"\0") + b"rrAa" + free + bytes(14) + b"\x55\xaa"
        last = bytes(510) + b"\x55\xaa"
        head = (boot + info + last).ljust(6 * SECTOR, b"\0") + boot + info + last
        return head.ljust(_RESERVED * SECTOR, b"\0")

    def _table(self) -> bytes:
        table = array("I", bytes(_table_sectors(self.clusters) * SECTOR))
        table[0], table[1] = 0x0FFF_FFF8, _END
        for extent in (*self.folders.values(), *self.files.values()):
            count = -(-extent.size // self.cluster_size)
            for cluster in range(extent.cluster, extent.cluster + count - 1):
                table[cluster] = cluster + 1
            if count:
                table[extent.cluster + count - 1] = _END
        if sys.byteorder == "big":
            table.byteswap()
        return table.tobytes()


def lay_out(sizes: Mapping[MediumPath, int], spare: int, now: datetime) -> Volume:
    """Return a volume for files of these sizes in bytes, with `spare` bytes left for others."""
    children: dict[MediumPath, list[MediumPath]] = {(): []}
    for path in sizes:
        for depth in range(1, len(path) + 1):
            children.setdefault(path[: depth - 1], [])
            if path[:depth] not in children[path[: depth - 1]]:
                children[path[: depth - 1]].append(path[:depth])
    cluster_size = 4096
    while (sum(sizes.values()) + spare) // cluster_size > _CLUSTERS_MAX:
        cluster_size *= 2
    folder_sizes = {path: _folder_size(path, inner) for path, inner in sorted(children.items())}
    everything = [*folder_sizes.items(), *sizes.items()]
    counts = [-(-size // cluster_size) for _, size in everything]
    clusters = max(_CLUSTERS_MIN, sum(counts) + -(-spare // cluster_size))
    extents: dict[MediumPath, Extent] = {}
    cluster = 2
    for (path, size), count in zip(everything, counts, strict=True):
        # An empty file has no cluster.
        extents[path] = Extent(cluster if count else 0, size, _data_start(clusters) + (cluster - 2) * cluster_size)
        cluster += count
    contents = {path: _folder(path, children[path], extents, folder_sizes.keys(), now) for path in folder_sizes}
    folders = {path: extents[path] for path in folder_sizes}
    files = {path: extents[path] for path in sizes}
    number = int(now.timestamp()) & 0xFFFF_FFFF
    return Volume(cluster_size, clusters, cluster - 2, folders, files, contents, number)


def _table_sectors(clusters: int) -> int:
    return -(-(clusters + 2) * 4 // SECTOR)


def _data_start(clusters: int) -> int:
    return (_RESERVED + _FATS * _table_sectors(clusters)) * SECTOR


def _folder_size(path: MediumPath, inner: list[MediumPath]) -> int:
    return _ENTRY * ((2 if path else 1) + sum(1 + -(-len(each[-1]) // _LONG_PART) for each in inner))


def _folder(
    path: MediumPath,
    inner: list[MediumPath],
    extents: Mapping[MediumPath, Extent],
    folders: Container[MediumPath],
    now: datetime,
) -> bytes:
    if path:
        parent = extents[path[:-1]].cluster if len(path) > 1 else 0
        entries = [
            _entry(b".".ljust(11), _FOLDER, extents[path].cluster, 0, now),
            _entry(b"..".ljust(11), _FOLDER, parent, 0, now),
        ]
    else:
        entries = [_entry(_LABEL, _VOLUME, 0, 0, now)]
    for number, each in enumerate(inner):
        short = b"F%07d   " % number
        extent = extents[each]
        entries += _long_entries(each[-1], short)
        attributes, size = (_FOLDER, 0) if each in folders else (0, extent.size)
        entries.append(_entry(short, attributes, extent.cluster, size, now))
    return b"".join(entries)


def _entry(short: bytes, attributes: int, cluster: int, size: int, now: datetime) -> bytes:
    date = max(0, now.year - 1980) << 9 | now.month << 5 | now.day
    time = now.hour << 11 | now.minute << 5 | now.second // 2
    return struct.pack(
        "<11sBBBHHHHHHHI", short, attributes, 0, 0, time, date, date, cluster >> 16, time, date, cluster & 0xFFFF, size
    )


def _long_entries(name: str, short: bytes) -> list[bytes]:
    """Return the entries of a long name, the last part first."""
    checksum = 0
    for byte in short:
        checksum = ((checksum & 1) << 7) + (checksum >> 1) + byte & 0xFF
    parts = [name[start : start + _LONG_PART] for start in range(0, len(name), _LONG_PART)]
    entries = []
    for number, part in enumerate(parts, start=1):
        raw = part.encode("utf-16-le")
        if len(part) < _LONG_PART:
            raw = (raw + b"\0\0").ljust(2 * _LONG_PART, b"\xff")
        order = number | (0x40 if number == len(parts) else 0)
        entries.append(struct.pack("<B10sBBB12sH4s", order, raw[:10], _LONG, 0, checksum, raw[10:22], 0, raw[22:]))
    return entries[::-1]
