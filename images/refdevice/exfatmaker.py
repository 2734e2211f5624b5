"""Making exFAT: mkfs.exfat formats, and what lies in it is written here, for no tool does that without a mount.

Every file is in one piece, as on a fresh stick. `fsck.exfat` finds nothing to complain of.
"""

from __future__ import annotations

import os
import struct
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from refdevice import exfat, programs
from refdevice.exfat import ENTRY, NAME_PART, Exfat, open_exfat
from refdevice.partitiontable import SECTOR, Extent
from refdevice.volume import FIRST_CLUSTER
from usbupdate.errors import StickFullError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from refdevice.stickfiles import StickFile

FILLER: Final = "filler.bin"
_PIECE_SIZE: Final = 1 << 20
_BOOT_REGION: Final = 11
"""Sectors; a twelfth holds their checksum, and a copy of all twelve follows."""
_SERIAL_AT, _PERCENT_AT = 100, 112
_MADE_AT: Final = (2026 - 1980) << 25 | 1 << 21 | 1 << 16
"""`programs.MADE_AT`, as FAT counts."""
_UTC: Final = 0x80


def make_exfat(image: Path, extent: Extent, label: str, volume_id: int) -> None:
    """Make an empty exFAT file system in a part of an image.

    Raises:
        ProgramMissingError: mkfs.exfat is missing or failed.
    """
    # mkfs.exfat knows no offset: it formats a sparse file, whose few written parts are copied into place.
    with tempfile.NamedTemporaryFile(dir=image.parent, prefix=f"{image.name}.") as formatted:
        formatted.truncate(extent.size)
        programs.run("mkfs.exfat", "-L", label, Path(formatted.name))
        with image.open("r+b") as disk:
            for start, piece in _written_parts(formatted.fileno(), extent.size):
                disk.seek(extent.start + start)
                disk.write(piece)
            _number(disk, extent, volume_id)


def put_files(image: Path, extent: Extent, files: Sequence[StickFile], *, filled: bool) -> None:
    """Put files into an empty exFAT file system; if `filled`, one more file takes every cluster that is left.

    Raises:
        StickFullError: they do not fit; the file system is spoilt.
    """
    with image.open("r+b") as disk:
        volume = open_exfat(disk, extent)
        _Contents(image, volume, files, filled).write()
        percent = 100 * (volume.heap.count - volume.free_clusters()) // volume.heap.count
        disk.seek(extent.start + _PERCENT_AT)
        disk.write(bytes([percent]))


def _written_parts(descriptor: int, size: int) -> list[tuple[int, bytes]]:
    """Return the parts of a sparse file that are not holes."""
    parts = []
    start = 0
    while start < size:
        try:
            start = os.lseek(descriptor, start, os.SEEK_DATA)
        except OSError:
            # Nothing but a hole up to the end.
            break
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        parts.append((start, os.pread(descriptor, end - start, start)))
        start = end
    return parts


def _number(disk: BinaryIO, extent: Extent, volume_id: int) -> None:
    """Give the file system a serial number of ours in place of one made from the time, in both boot regions."""
    for copy in range(2):
        start = extent.start + copy * (_BOOT_REGION + 1) * SECTOR
        disk.seek(start)
        region = bytearray(disk.read(_BOOT_REGION * SECTOR))
        struct.pack_into("<I", region, _SERIAL_AT, volume_id)
        disk.seek(start)
        disk.write(region)
        disk.write(struct.pack("<I", exfat.boot_checksum(bytes(region))) * (SECTOR // 4))


@dataclass(slots=True)
class _Contents:
    """The layout of files in an empty volume: folders first, then files, in their order."""

    image: Path
    volume: Exfat
    files: Sequence[StickFile]
    filled: bool
    _next: int = 0
    _children: dict[tuple[str, ...], list[StickFile]] = field(default_factory=dict)

    def write(self) -> None:
        """Write everything: contents, folders, the chain of the root, and the bitmap."""
        heap, root = self.volume.heap, self.volume.root
        self._children = {(): [], **{each.path: [] for each in self.files if each.size is None}}
        for each in self.files:
            self._children[each.path[:-1]].append(each)
        self._next = self._first_free()
        own = self._own_entries()
        capitals = self.volume.capitals()
        root_size = len(own) + self._folder_size(()) + (_set_size(FILLER) if self.filled else 0)
        root_more = self._take(max(0, root_size - heap.cluster_size))
        firsts = {each.path: self._take(self._size(each)) for each in self.files}
        entries = {path: self._entries(inside, firsts, capitals) for path, inside in self._children.items()}
        if self.filled:
            left = heap.count + FIRST_CLUSTER - self._next
            first = self._take(left * heap.cluster_size)
            entries[()] += _entry_set(FILLER, first, left * heap.cluster_size, exfat.ARCHIVE, capitals)
        for each in self.files:
            if each.size is None:
                self._put(firsts[each.path], entries[each.path])
            else:
                self._copy(firsts[each.path], each)
        self._write_root(root.first, root_more, own + entries[()])
        self._write_bitmap()

    def _first_free(self) -> int:
        # A fresh volume's clusters are taken in order, without gaps.
        return FIRST_CLUSTER + self.volume.heap.count - self.volume.free_clusters()

    def _own_entries(self) -> bytes:
        """Return what mkfs.exfat put into the root: label, bitmap, capitals."""
        own = b""
        for _, entry in self.volume.heap.entries_of(self.volume.root):
            if entry[0] == 0:
                break
            own += entry
        return own

    def _folder_size(self, path: tuple[str, ...]) -> int:
        return sum(_set_size(each.path[-1]) for each in self._children[path])

    def _size(self, file: StickFile) -> int:
        """Return the bytes that a file takes; a folder takes whole clusters, and one even if it is empty."""
        if file.size is not None:
            return file.size
        cluster = self.volume.heap.cluster_size
        return max(1, -(-self._folder_size(file.path) // cluster)) * cluster

    def _take(self, size: int) -> int:
        """Return the first of as many clusters as `size` bytes need, or 0 if they need none."""
        heap = self.volume.heap
        count = -(-size // heap.cluster_size)
        first = self._next
        if first + count > heap.count + FIRST_CLUSTER:
            free = heap.count + FIRST_CLUSTER - self._first_free()
            needed = sum(-(-self._size(each) // heap.cluster_size) for each in self.files)
            raise StickFullError(str(self.image), needed=needed * heap.cluster_size, free=free * heap.cluster_size)
        self._next += count
        return first if count else 0

    def _entries(self, inside: Sequence[StickFile], firsts: Mapping[tuple[str, ...], int], capitals: Sequence[int]) -> bytes:
        return b"".join(
            _entry_set(
                each.path[-1],
                firsts[each.path],
                self._size(each),
                exfat.FOLDER if each.size is None else exfat.ARCHIVE,
                capitals,
            )
            for each in inside
        )

    def _put(self, cluster: int, contents: bytes) -> None:
        disk = self.volume.heap.disk
        disk.seek(self.volume.heap.offset(cluster))
        disk.write(contents)

    def _copy(self, cluster: int, file: StickFile) -> None:
        disk = self.volume.heap.disk
        left = file.size or 0
        with file.source.open("rb") as source:
            disk.seek(self.volume.heap.offset(cluster))
            # No more than was laid out for, even if the file grows meanwhile.
            while left > 0 and (piece := source.read(min(left, _PIECE_SIZE))):
                disk.write(piece)
                left -= len(piece)

    def _write_root(self, first: int, more: int, contents: bytes) -> None:
        """Write the root, the one folder that is always chained by the table."""
        heap = self.volume.heap
        self._put(first, contents[: heap.cluster_size])
        if more:
            rest = contents[heap.cluster_size :]
            self._put(more, rest)
            table = heap.table()
            table[first] = more
            last = more + -(-len(rest) // heap.cluster_size) - 1
            for cluster in range(more, last):
                table[cluster] = cluster + 1
            table[last] = exfat.END
            heap.put_table(table)

    def _write_bitmap(self) -> None:
        taken = self._next - FIRST_CLUSTER
        bits = ((1 << taken) - 1).to_bytes(-(-self.volume.heap.count // 8), "little")
        self._put(self.volume.table_of(exfat.BITMAP).first, bits)


def _set_size(name: str) -> int:
    return ENTRY * (2 + -(-len(name.encode("utf-16-le")) // (2 * NAME_PART)))


def _entry_set(name: str, first: int, size: int, attributes: int, capitals: Sequence[int]) -> bytes:
    raw = name.encode("utf-16-le")
    parts = [raw[start : start + 2 * NAME_PART].ljust(2 * NAME_PART, b"\0") for start in range(0, len(raw), 2 * NAME_PART)]
    times = (_MADE_AT, _MADE_AT, _MADE_AT, 0, 0, _UTC, _UTC, _UTC)
    file = struct.pack("<BBHH2xIIIBBBBB7x", exfat.FILE, 1 + len(parts), 0, attributes, *times)
    flags = exfat.ALLOCATION_POSSIBLE | (exfat.CONTIGUOUS if first else 0)
    stream = struct.pack("<BBxBH2xQ4xIQ", exfat.STREAM, flags, len(raw) // 2, exfat.hash_of(name, capitals), size, first, size)
    return exfat.seal([file, stream, *(bytes([exfat.NAME, 0]) + part for part in parts)])
