"""What FAT32 and exFAT have in common, and how both are read: a heap of clusters, chained by a table, with files in it.

What is read here may come from a virtual device that lost its power, or may be damaged on purpose: nothing in it is believed,
and reading ends whatever it says.
"""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from usbupdate import durable
from usbupdate.core.layout import NAMES_MAX, MediumPath, shown
from usbupdate.errors import MediumFileMissingError, MediumUnreadableError, TooManyNamesError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FREE: Final = 0
FIRST_CLUSTER: Final = 2
CLUSTER_SIZE_MAX: Final = 32 << 20
_FOLDER_SIZE_MAX: Final = 8 << 20
_DEPTH_MAX: Final = 16
_PIECE_SIZE: Final = 1 << 20
_NOT_IN_NAMES: Final = frozenset("/\\:\0")


@dataclass(frozen=True, slots=True)
class Node:
    """A file or folder of a volume.

    `size` are its bytes, None if only the end of its chain tells (FAT32's folders); those from `valid` on were never written
    and are zeros. `contiguous`: its clusters follow each other and are not in the table. `entry`: where on the disk, in bytes,
    each 32 bytes of its directory entry lie.
    """

    name: str
    is_folder: bool
    first: int
    size: int | None
    valid: int
    contiguous: bool
    entry: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Heap:
    """The clusters of a volume and the table that chains them; offsets are in bytes from the beginning of the disk.

    `volume` is where the file system begins, `tables` where the copies of its table lie; an entry of it that is `end` or higher
    once `mask` is applied ends a chain.
    """

    disk: BinaryIO
    volume: int
    tables: tuple[int, ...]
    start: int
    cluster_size: int
    count: int
    mask: int
    end: int

    def offset(self, cluster: int) -> int:
        """Return where a cluster lies."""
        return self.start + (cluster - FIRST_CLUSTER) * self.cluster_size

    def table(self) -> array[int]:
        """Return the first copy of the table, an entry a cluster, with the two in front that stand for none."""
        self.disk.seek(self.tables[0])
        raw = self.disk.read(4 * (self.count + FIRST_CLUSTER))
        entries = array("I", raw[: len(raw) // 4 * 4])
        if sys.byteorder == "big":
            entries.byteswap()
        return entries

    def put_table(self, entries: array[int]) -> None:
        """Write the table into each of its copies."""
        little = array("I", entries)
        if sys.byteorder == "big":
            little.byteswap()
        for offset in self.tables:
            self.disk.seek(offset)
            self.disk.write(little.tobytes())

    def clusters(self, node: Node) -> Sequence[int]:
        """Return the clusters of a file or folder.

        Raises:
            MediumUnreadableError: they are not on the volume, or go in circles.
        """
        needed = None if node.size is None else -(-node.size // self.cluster_size)
        if needed == 0 or (node.first == FREE and needed is None):
            return ()
        if node.contiguous and needed is not None:
            found: Sequence[int] = range(node.first, node.first + needed)
            if found[0] < FIRST_CLUSTER or found[-1] >= self.count + FIRST_CLUSTER:
                raise broken(node, "it lies outside of the volume")
            return found
        return self._chain(node, needed)

    def _chain(self, node: Node, needed: int | None) -> list[int]:
        table = self.table()
        chain: list[int] = []
        cluster = node.first
        while len(chain) != needed:
            if not FIRST_CLUSTER <= cluster < len(table):
                raise broken(node, "its chain of clusters leads nowhere")
            if len(chain) > self.count:
                raise broken(node, "its chain of clusters has no end")
            chain.append(cluster)
            cluster = table[cluster] & self.mask
            if cluster >= self.end:
                break
        if needed is not None and len(chain) < needed:
            raise broken(node, "its chain of clusters is too short")
        return chain

    def pieces(self, node: Node) -> Iterator[bytes]:
        """Yield what is in a file or folder, in pieces of a bounded size."""
        left = node.size
        valid = node.valid
        for start, count in _runs(self.clusters(node), max(1, _PIECE_SIZE // self.cluster_size)):
            wanted = count * self.cluster_size if left is None else min(left, count * self.cluster_size)
            self.disk.seek(self.offset(start))
            piece = self.disk.read(wanted)
            if left is not None:
                piece = piece[: max(0, valid)].ljust(wanted, b"\0")
                left -= wanted
                valid -= wanted
            yield piece

    def entries_of(self, folder: Node) -> Iterator[tuple[int, bytes]]:
        """Yield every 32 bytes of a folder, with where they lie on the disk."""
        clusters = self.clusters(folder)
        if len(clusters) * self.cluster_size > max(_FOLDER_SIZE_MAX, self.cluster_size):
            raise TooManyNamesError(name=folder.name, allowed=NAMES_MAX)
        for cluster in clusters:
            self.disk.seek(self.offset(cluster))
            contents = self.disk.read(self.cluster_size)
            for offset in range(0, len(contents) - 31, 32):
                yield self.offset(cluster) + offset, contents[offset : offset + 32]


class Volume(Protocol):
    """A file system that can be read, and damaged."""

    @property
    def heap(self) -> Heap:
        """The clusters."""

    @property
    def root(self) -> Node:
        """The folder in which everything lies."""

    def nodes(self, folder: Node) -> Iterator[Node]:
        """Yield what is in a folder, in the order in which it lies there."""

    def free_clusters(self) -> int:
        """Return how many clusters belong to nothing."""

    def point_at(self, node: Node, cluster: int) -> None:
        """Let a directory entry name another first cluster: a damage, for tests of those who read it."""


def broken(node: Node, problem: str) -> MediumUnreadableError:
    """Return the error for a file or folder whose file system contradicts itself."""
    return MediumUnreadableError(name=node.name or "the file system", problem=problem)


def find(volume: Volume, path: MediumPath) -> Node:
    """Return a file or folder by its names from the top.

    Raises:
        MediumFileMissingError: there is none.
        MediumUnreadableError: the file system is damaged on the way.
    """
    node = volume.root
    for name in path:
        found = [each for each in _bounded(volume, node) if each.name == name] if node.is_folder else []
        if not found:
            raise MediumFileMissingError(name=shown(path))
        node = found[0]
    return node


def copy_out(volume: Volume, node: Node, target: Path) -> None:
    """Copy what lies in a folder of a volume into the folder `target`, which exists; never more than the volume's own size.

    Raises:
        MediumUnreadableError: the file system is damaged; what was read until then is there.
        TooManyNamesError: a folder has too many names.
        OSError: it cannot be written here, or a file of that name is there already.
    """
    _copy(volume, node, target, volume.heap.count * volume.heap.cluster_size, _DEPTH_MAX)


def _copy(volume: Volume, folder: Node, target: Path, budget: int, depth: int) -> int:
    """Copy a folder's contents and return what is left of the budget, in bytes."""
    if depth == 0:
        raise broken(folder, "folders lie in each other without end")
    names: set[str] = set()
    for node in _bounded(volume, folder):
        _require_safe(node)
        if node.name in names:
            raise broken(node, "its name is there twice")
        names.add(node.name)
        path = target / node.name
        if node.is_folder:
            durable.make_directory(path)
            budget = _copy(volume, node, path, budget - volume.heap.cluster_size, depth - 1)
            continue
        budget -= node.size or 0
        if budget < 0:
            raise broken(node, "its files are larger than the volume")
        # Nothing is replaced; and this copy is not what has to survive a cut.
        with path.open("xb") as copy:
            for piece in volume.heap.pieces(node):
                copy.write(piece)
    return budget


def _bounded(volume: Volume, folder: Node) -> Iterator[Node]:
    for number, node in enumerate(volume.nodes(folder)):
        if number >= NAMES_MAX:
            raise TooManyNamesError(name=folder.name, allowed=NAMES_MAX)
        yield node


def _require_safe(node: Node) -> None:
    # The only place where a name from a stick becomes one of this machine: it must not climb out.
    if node.name in {"", ".", ".."} or not _NOT_IN_NAMES.isdisjoint(node.name):
        raise broken(node, "it has a name that no file can have")


def _runs(clusters: Sequence[int], longest: int) -> Iterator[tuple[int, int]]:
    """Yield the clusters as runs of neighbours: the first and how many."""
    start = count = 0
    for cluster in clusters:
        if count and cluster == start + count and count < longest:
            count += 1
            continue
        if count:
            yield start, count
        start, count = cluster, 1
    if count:
        yield start, count
