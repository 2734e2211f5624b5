"""Sticks whose file system is damaged, in ways that never vary: what worn flash and careless pulling do, one at a time."""

from __future__ import annotations

import hashlib
from array import array
from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from refdevice.exfat import Exfat
from refdevice.partitiontable import SECTOR
from refdevice.stickimage import Access, open_partition
from refdevice.volume import FIRST_CLUSTER, find
from usbupdate.core.layout import METADATA, TOP
from usbupdate.errors import UnusableFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from refdevice.volume import Node, Volume


class Damage(StrEnum):
    """What is wrong with a file system."""

    TABLE_GARBAGE = "table-garbage"
    """The cluster table holds garbage. On FAT32 the folders' chains are spared: it mounts, it lists, and longer files cannot be
    read. On exFAT, whose files in one piece are not in the table, the root's chain is spoilt too: it does not mount."""
    FOLDER_LOOP = "folder-loop"
    """The folder usbupdate/metadata is the folder usbupdate, so that it holds itself."""
    BOOT_SECTOR_ZEROED = "boot-sector-zeroed"
    """The first sector is gone: the partition holds no file system that could be recognised."""


def damage(image: Path, kind: Damage, *, partition: int = 1) -> None:
    """Damage the file system of a stick, in place; the partition is counted from 1.

    Raises:
        MediumUnreadableError: it holds neither FAT32 nor exFAT, or is damaged already.
        MediumFileMissingError: it lacks the folders for a loop.
        UnusableFileError: the image cannot be written.
    """
    try:
        with open_partition(image, partition, Access.CHANGE) as volume:
            match kind:
                case Damage.TABLE_GARBAGE:
                    _spoil_table(volume)
                case Damage.FOLDER_LOOP:
                    _make_loop(volume)
                case Damage.BOOT_SECTOR_ZEROED:
                    volume.heap.disk.seek(volume.heap.volume)
                    volume.heap.disk.write(bytes(SECTOR))
                case _:
                    assert_never(kind)
    except OSError as error:
        raise UnusableFileError(path=str(image), problem=error.strerror or type(error).__name__) from error


def _spoil_table(volume: Volume) -> None:
    heap = volume.heap
    table = heap.table()
    garbage = array("I", hashlib.shake_256(b"usbupdate").digest(4 * len(table)))
    spared = set() if isinstance(volume, Exfat) else set(_clusters_of_folders(volume, volume.root))
    for cluster in range(FIRST_CLUSTER, len(table)):
        if cluster not in spared:
            table[cluster] = garbage[cluster]
    heap.put_table(table)


def _clusters_of_folders(volume: Volume, folder: Node) -> Iterator[int]:
    yield from volume.heap.clusters(folder)
    for node in volume.nodes(folder):
        if node.is_folder:
            yield from _clusters_of_folders(volume, node)


def _make_loop(volume: Volume) -> None:
    above, inside = find(volume, (TOP,)), find(volume, METADATA)
    volume.point_at(inside, above.first)
