"""An image file in place of a stick: its folder `usbupdate` is copied out with mtools, and the log is copied back in.

For simulated devices, and for looking at what a duplicator was given; a device in the field never meets one.
"""

from __future__ import annotations

import contextlib
import fcntl
import filecmp
import os
import stat
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbupdate import durable
from usbupdate.core.layout import LOGS, TOP, shown
from usbupdate.device import process
from usbupdate.device.facts import FileSystem, medium_facts, probe
from usbupdate.errors import (
    ForeignStickError,
    LogNotKeptError,
    LogStickError,
    LogStickFullError,
    MediumError,
    MediumUnreadableError,
    StickReadOnlyError,
    UnusableFileError,
)
from usbupdate.medium import DirectoryMedium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbupdate.core.receipt import MediumFacts

_COPY_S: Final = 3600.0
_FULL: Final = "Disk full"
_PREFIX: Final = "usbupdate-image-"
_SWEEP_AFTER_S: Final = 60
"""A folder that was made a moment ago may not be claimed yet."""
# No configuration of whoever runs this, and no opinion about geometries that no stick has.
_PLACE: Final = process.Place(environment={**process.BARE_ENVIRONMENT, "MTOOLSRC": "/dev/null", "MTOOLS_SKIP_CHECK": "1"})


class ImageMedium:
    """An image file whose contents were copied to a folder. Implements `media.Medium`."""

    def __init__(self, image: Path, copy: Path) -> None:
        self.reader = DirectoryMedium(copy)
        self._image = image

    def facts(self) -> MediumFacts:
        """Return the hints for the receipt; see `media.Medium`."""
        try:
            return medium_facts(probe(self._image), None)
        except MediumError:
            return medium_facts(FileSystem(), None)

    @contextmanager
    def writable(self) -> Iterator[Path]:
        """Give the copy, then put its logs into the image and read them back; see `media.Medium`."""
        copy = self.reader.mount
        if not (copy / TOP).is_dir():
            raise ForeignStickError
        if not os.access(self._image, os.W_OK):
            raise StickReadOnlyError(name=str(self._image), problem="it is write-protected")
        yield copy
        logs = copy.joinpath(TOP, LOGS[-1])
        if not logs.is_dir():
            return
        finished = _mtools(self._image, "mcopy", "-s", "-o", "-n", "-i", self._image, logs, f"::/{TOP}/")
        if not finished.succeeded:
            if _FULL in finished.last_line:
                raise LogStickFullError(name=shown(LOGS))
            raise LogStickError(name=str(self._image), problem=finished.last_line)
        try:
            durable.sync_file(self._image)
        except OSError as error:
            raise LogStickError(name=str(self._image), problem=error.strerror or "it cannot be synced") from error
        with tempfile.TemporaryDirectory(prefix="usbupdate-log-") as again:
            finished = _mtools(self._image, "mcopy", "-s", "-n", "-i", self._image, f"::/{TOP}/{LOGS[-1]}", again)
            if not finished.succeeded or not _holds_all_of(Path(again, LOGS[-1]), logs):
                raise LogNotKeptError(name=str(self._image))


@contextmanager
def unpacked_image(image: Path) -> Iterator[ImageMedium]:
    """Hold an image file's folder `usbupdate` as files; the copy is removed at the end.

    Args:
        image: a FAT file system without a partition table.

    Raises:
        UnusableFileError: mtools are not installed, or this is no such image.
        MediumUnreadableError: what is in the image could not be copied out.
    """
    image = image.absolute()
    listing = _mtools(image, "mdir", "-b", "-i", image, "::")
    if not listing.succeeded:
        raise UnusableFileError(path=str(image), problem="it is no image of a stick with a FAT file system")
    names = {line.strip().strip(":/").casefold() for line in listing.output.decode("utf-8", errors="replace").splitlines()}
    _sweep(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as copy, _claimed(Path(copy)):
        if TOP in names:
            finished = _mtools(image, "mcopy", "-s", "-n", "-i", image, f"::/{TOP}", copy)
            if not finished.succeeded:
                raise MediumUnreadableError(name=str(image), problem=finished.last_line)
        yield ImageMedium(image, Path(copy))


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Keep a folder from being swept; the kernel lets go of it however this process ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _sweep(parent: Path) -> None:
    """Remove the copies of killed commands: they may be as large as a stick. Other users' folders are left alone."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            found = folder.lstat()
            is_old = time.time() - found.st_mtime > _SWEEP_AFTER_S
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or not is_old:
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                durable.remove_tree(folder)
            finally:
                os.close(descriptor)


def _mtools(image: Path, *argv: str | Path) -> process.Finished:
    try:
        return process.run(argv, timeout_s=_COPY_S, place=_PLACE)
    except OSError as error:
        problem = f"{argv[0]} is needed to read an image file; install the package mtools"
        raise UnusableFileError(path=str(image), problem=problem) from error


def _holds_all_of(copy: Path, original: Path) -> bool:
    """Tell whether every file under `original` stands under `copy` with the same bytes."""
    files = [file for file in original.rglob("*") if file.is_file()]
    return all(
        (copy / file.relative_to(original)).is_file() and filecmp.cmp(copy / file.relative_to(original), file, shallow=False)
        for file in files
    )
