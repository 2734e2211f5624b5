"""Making FAT32 with the tools that people use, dosfstools and mtools: a device must read what those write, not only ours."""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Final

from refdevice import programs
from refdevice.fat32 import FILE_SIZE_MAX, Fat32, folder_size, open_fat32
from refdevice.partitiontable import SECTOR
from refdevice.volume import FIRST_CLUSTER, FREE, Node
from usbupdate.errors import StickFullError, UnusableFileError

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence
    from pathlib import Path

    from refdevice.partitiontable import Extent
    from refdevice.stickfiles import StickFile

FILLER: Final = "filler{}.bin"
_FILES_A_CALL: Final = 200
_END: Final = 0x0FFF_FFFF
_SMALL: Final = 260 << 20
"""Up to this size mkfs.fat makes clusters of one sector."""
_INFO_SECTOR_AT: Final = 48
_FREE_COUNT_AT: Final = 488


def make_fat32(image: Path, extent: Extent, label: str, volume_id: int, files: Sequence[StickFile]) -> None:
    """Make a FAT32 file system in a part of an image, and put files into it.

    Raises:
        ProgramMissingError: mkfs.fat or mtools is missing or failed.
        UnusableFileError: a file is too large for FAT32.
        StickFullError: the files do not fit.
    """
    identity = ("-i", f"{volume_id:08x}", "-n", label)
    where = ("-h", str(extent.start // SECTOR), "--offset", str(extent.start // SECTOR))
    # By itself it goes by the size of what is left of the image, and a small partition before others gets too few clusters.
    cluster = ("-s", "1" if extent.size <= _SMALL else "8")
    programs.run("mkfs.fat", "-F", "32", "--invariant", *cluster, *identity, *where, image, str(extent.size // 1024))
    with image.open("rb") as disk:
        _require_room(image, open_fat32(disk, extent), files)
    at = ("-i", f"{image}@@{extent.start}")
    for folders in _batches([_inside(each.path) for each in files if each.size is None]):
        programs.run("mmd", *at, *folders)
    by_folder = itertools.groupby(
        sorted((each for each in files if each.size is not None), key=_place), key=lambda each: each.path[:-1]
    )
    for folder, inside in by_folder:
        for sources in _batches([str(each.source.absolute()) for each in inside]):
            programs.run("mcopy", *at, *sources, _inside((*folder, "")))


def fill_fat32(image: Path, extent: Extent) -> None:
    """Let files in the root take every cluster that is free; their contents are whatever lay there.

    Raises:
        ProgramMissingError: mtools is missing or failed.
    """
    names = [FILLER.format(number) for number in range(extent.size // FILE_SIZE_MAX + 1)]
    for name in names:
        # Empty at first, since a new name may cost a cluster of the root.
        programs.run("mcopy", "-i", f"{image}@@{extent.start}", "/dev/null", _inside((name,)))
    with image.open("r+b") as disk:
        volume = open_fat32(disk, extent)
        table = volume.heap.table()
        free = [number for number, entry in enumerate(table) if number >= FIRST_CLUSTER and entry == FREE]
        longest = FILE_SIZE_MAX // volume.heap.cluster_size
        fillers = {node.name: node for node in volume.nodes(volume.root)}
        for number, name in enumerate(names):
            _give(volume, table, fillers[name], free[number * longest : (number + 1) * longest])
        volume.heap.put_table(table)
        _say_none_is_free(volume, extent)


def _give(volume: Fat32, table: array[int], node: Node, clusters: Sequence[int]) -> None:
    for cluster, following in itertools.pairwise((*clusters, _END)):
        table[cluster] = following
    first = clusters[0] if clusters else FREE
    disk = volume.heap.disk
    for offset, layout, number in (
        (20, "<H", first >> 16),
        (26, "<H", first & 0xFFFF),
        (28, "<I", len(clusters) * volume.heap.cluster_size),
    ):
        disk.seek(node.entry[-1] + offset)
        disk.write(struct.pack(layout, number))


def _say_none_is_free(volume: Fat32, extent: Extent) -> None:
    disk = volume.heap.disk
    disk.seek(extent.start + _INFO_SECTOR_AT)
    (sector,) = struct.unpack("<H", disk.read(2))
    disk.seek(extent.start + sector * SECTOR + _FREE_COUNT_AT)
    disk.write(struct.pack("<I", 0))


def _require_room(image: Path, volume: Fat32, files: Sequence[StickFile]) -> None:
    names: dict[tuple[str, ...], list[str]] = {(): []}
    sizes = []
    for each in files:
        names[each.path[:-1]].append(each.path[-1])
        if each.size is None:
            names[each.path] = []
        elif each.size > FILE_SIZE_MAX:
            raise UnusableFileError(path=str(each.source), problem="it is too large for FAT32")
        else:
            sizes.append(each.size)
    sizes += [folder_size(inside) for inside in names.values()]
    cluster = volume.heap.cluster_size
    needed = sum(-(-size // cluster) for size in sizes) * cluster
    # The root has a cluster already.
    free = (volume.free_clusters() + 1) * cluster
    if needed > free:
        raise StickFullError(mount=str(image), needed=needed, free=free)


def _place(file: StickFile) -> tuple[tuple[str, ...], str]:
    return file.path[:-1], file.path[-1]


def _inside(path: tuple[str, ...]) -> str:
    return "::/" + "/".join(path)


def _batches(arguments: Sequence[str]) -> list[Sequence[str]]:
    return [arguments[start : start + _FILES_A_CALL] for start in range(0, len(arguments), _FILES_A_CALL)]
