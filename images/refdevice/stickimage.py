"""USB sticks for the virtual device, as disk image files: made from a folder and read back into one, without root and mounts.

The same folder and the same parameters give the same bytes. Images are sparse.
"""

from __future__ import annotations

import contextlib
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, assert_never

from refdevice import exfatmaker, ext4maker, fatmaker
from refdevice.exfat import open_exfat
from refdevice.fat32 import open_fat32
from refdevice.partitiontable import ALIGNMENT, SECTOR, Entry, Extent, Table, margins, read_table, write_table
from refdevice.stickfiles import list_files
from refdevice.volume import copy_out, find
from usbupdate import durable
from usbupdate.core.layout import PART_SUFFIX, TOP
from usbupdate.errors import MediumUnreadableError, UnusableFileError, UnusableValueError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from refdevice.volume import Volume

MIB: Final = 1 << 20
SIZE: Final = 64 * MIB
LABEL: Final = "USBUPDATE"
VOLUME_ID: Final = 0x5553_4255
_LABEL_MAX: Final = 11
_NAME_MAX: Final = 36
_PARTITIONS_MAX: Final = {Table.NONE: 1, Table.MBR: 4, Table.GPT: 128}
_SIZE_MIN: Final = {"vfat": 34 * MIB, "exfat": 8 * MIB, "ext4": 4 * MIB}
_BASIC_DATA: Final = uuid.UUID("EBD0A0A2-B9E5-4433-87C0-68B6B72699C7")
_LINUX: Final = uuid.UUID("0FC63DAF-8483-4772-8E79-3D69D8477DE4")


class FileSystem(StrEnum):
    """What a partition is formatted with, in the kernel's words."""

    FAT32 = "vfat"
    EXFAT = "exfat"
    EXT4 = "ext4"


class Fill(StrEnum):
    """What becomes of the room that the files leave."""

    LEAVE_FREE = "leave-free"
    TAKE_ALL = "take-all"


class Access(StrEnum):
    """What an image is opened for."""

    READ = "read"
    CHANGE = "change"


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of a stick.

    `size` is in bytes, a multiple of 1 MiB; `folder` is copied into it, None leaves it empty; `name` is what a GPT calls it;
    `volume_id` becomes the file system's serial number, or follows into its UUID.
    """

    folder: Path | None
    size: int
    filesystem: FileSystem = FileSystem.FAT32
    name: str = ""
    label: str = LABEL
    volume_id: int = VOLUME_ID
    fill: Fill = Fill.LEAVE_FREE


def make_stick(  # noqa: PLR0913  # each is a property that a stick has, and has a default
    image: Path,
    folder: Path | None,
    *,
    filesystem: FileSystem = FileSystem.FAT32,
    size: int = SIZE,
    table: Table = Table.MBR,
    label: str = LABEL,
    volume_id: int = VOLUME_ID,
    fill: Fill = Fill.LEAVE_FREE,
) -> None:
    """Make an image of a stick with one partition that takes all of its room, or with a file system and no table.

    Args:
        image: the file to make; one that is there is replaced once the new one is whole.
        folder: what lies in it, such as `usbupdate/`, will lie on the stick; None for an empty one.
        filesystem: what the partition is formatted with.
        size: bytes of the whole stick, a multiple of 1 MiB; FAT32 needs 36 MiB.
        table: how the stick is divided.
        label: the file system's name, at most 11 letters and digits; FAT32 has capitals only.
        volume_id: a number of 32 bits; two sticks that are plugged in at once should differ in it.
        fill: whether a file takes all the room that is left.

    Raises:
        UnusableValueError: size, label or number is outside what such a stick can have.
        UnusableFileError: something in the folder cannot lie on a stick, or the image cannot be written.
        StickFullError: the folder does not fit.
        ProgramMissingError: a tool is missing or failed.
    """
    before, behind = margins(table)
    partition = Partition(folder, size - before - behind, filesystem, "", label, volume_id, fill)
    make_disk(image, [partition], table=table, disk_id=volume_id)


def make_disk(image: Path, partitions: Sequence[Partition], *, table: Table = Table.GPT, disk_id: int = VOLUME_ID) -> None:
    """Make an image of a stick with partitions that follow each other from the first MiB on; as large as they need.

    Raises: as `make_stick`.
    """
    before, behind = margins(table)
    most = _PARTITIONS_MAX[table]
    if not 0 < len(partitions) <= most:
        raise UnusableValueError(what="The number of partitions", value=str(len(partitions)), problem=f"1 to {most} fit")
    extents = []
    start = before
    for each in partitions:
        _require_sane(each)
        extents.append(Extent(start, each.size))
        start += each.size
    part = image.absolute().with_name(image.name + PART_SUFFIX)
    try:
        part.unlink(missing_ok=True)
        with part.open("xb") as disk:
            disk.truncate(start + behind)
            entries = [_entry(each, extent) for each, extent in zip(partitions, extents, strict=True)]
            write_table(disk, start + behind, table, entries, disk_id)
        for each, extent in zip(partitions, extents, strict=True):
            _make_filesystem(part, extent, each)
        durable.rename(part, image)
    except OSError as error:
        raise UnusableFileError(path=str(image), problem=error.strerror or type(error).__name__) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def read_stick(image: Path, folder: Path, *, partition: int = 1, only: str | None = TOP) -> None:
    """Copy what lies on a stick into a folder, so that it looks like the stick mounted there.

    Args:
        image: the stick.
        folder: made if it is not there; files of the same names must not be in it.
        partition: which one, from 1.
        only: the one folder of the stick's root that is copied, if it is there; None for everything.

    Raises:
        MediumUnreadableError: there is no such partition, no FAT32 or exFAT in it, or it is damaged.
        MediumFileMissingError: the stick lacks that folder.
        UnusableFileError: the image cannot be read, or the folder not written.
    """
    try:
        with open_partition(image, partition) as volume:
            target = folder if only is None else folder / only
            source = find(volume, () if only is None else (only,))
            durable.make_directory(target)
            copy_out(volume, source, target)
    except OSError as error:
        raise UnusableFileError(path=str(error.filename or image), problem=error.strerror or type(error).__name__) from error


@contextmanager
def open_partition(image: Path, partition: int = 1, access: Access = Access.READ) -> Iterator[Volume]:
    """Yield the file system of a partition, counted from 1.

    Raises:
        MediumUnreadableError: there is no such partition, or no FAT32 or exFAT in it.
        OSError: the image cannot be read.
    """
    with image.open("rb" if access is Access.READ else "r+b") as disk:
        extents = read_table(disk, image.stat().st_size)
        if not 0 < partition <= len(extents):
            raise MediumUnreadableError(name=f"partition {partition}", problem="there is no such partition")
        yield _open_volume(disk, extents[partition - 1])


def _open_volume(disk: BinaryIO, extent: Extent) -> Volume:
    disk.seek(extent.start)
    boot = disk.read(SECTOR)
    if boot[82:90] == b"FAT32   ":
        return open_fat32(disk, extent)
    if boot[3:11] == b"EXFAT   ":
        return open_exfat(disk, extent)
    raise MediumUnreadableError(name="the partition", problem="it holds neither FAT32 nor exFAT")


def _entry(partition: Partition, extent: Extent) -> Entry:
    match partition.filesystem:
        case FileSystem.FAT32:
            return Entry(extent, 0x0C, _BASIC_DATA, partition.name)
        case FileSystem.EXFAT:
            return Entry(extent, 0x07, _BASIC_DATA, partition.name)
        case FileSystem.EXT4:
            return Entry(extent, 0x83, _LINUX, partition.name)
        case _:
            assert_never(partition.filesystem)


def _make_filesystem(image: Path, extent: Extent, partition: Partition) -> None:
    files = () if partition.folder is None else list_files(partition.folder)
    match partition.filesystem:
        case FileSystem.FAT32:
            fatmaker.make_fat32(image, extent, partition.label, partition.volume_id, files)
            if partition.fill is Fill.TAKE_ALL:
                fatmaker.fill_fat32(image, extent)
        case FileSystem.EXFAT:
            exfatmaker.make_exfat(image, extent, partition.label, partition.volume_id)
            exfatmaker.put_files(image, extent, files, filled=partition.fill is Fill.TAKE_ALL)
        case FileSystem.EXT4:
            ext4maker.make_ext4(image, extent, partition.label, partition.volume_id, partition.folder)
            ext4maker.forget_origin(image, extent, files)
        case _:
            assert_never(partition.filesystem)


def _require_sane(partition: Partition) -> None:
    if partition.size % ALIGNMENT or partition.size < _SIZE_MIN[partition.filesystem]:
        least = _SIZE_MIN[partition.filesystem]
        raise UnusableValueError(what="The size", value=str(partition.size), problem=f"{least} bytes and whole MiB are needed")
    if partition.filesystem is FileSystem.EXT4 and partition.fill is Fill.TAKE_ALL:
        raise UnusableValueError(what="The file system", value=partition.filesystem, problem="FAT32 and exFAT can be filled")
    if not partition.label.isascii() or not partition.label.isalnum() or len(partition.label) > _LABEL_MAX:
        raise UnusableValueError(what="The label", value=partition.label, problem="at most 11 letters and digits are taken")
    if len(partition.name.encode("utf-16-le")) > 2 * _NAME_MAX:
        raise UnusableValueError(what="The name", value=partition.name, problem="at most 36 characters are taken")
    if not 0 <= partition.volume_id < 1 << 32:
        raise UnusableValueError(what="The number", value=str(partition.volume_id), problem="it has 32 bits")
