"""A stick as one FAT32 image, for a duplicator: the same files, read back and verified in the same way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate import durable
from usbupdate.core.layout import PART_SUFFIX, MediumPath, shown
from usbupdate.errors import (
    MediumFileMissingError,
    MediumFileSizeError,
    MediumUnreadableError,
    RejectedError,
    StickDidNotKeepError,
    StickWriteError,
)
from usbupdate.packager import fat
from usbupdate.packager.contents import read_pieces
from usbupdate.packager.places import require_image_place
from usbupdate.packager.stick import Watch
from usbupdate.packager.verification import CheckedStick, verify

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.packager.contents import Plan
    from usbupdate.packager.fat import Volume

SPARE: Final = 64 << 20
"""Room in bytes for the logs of many devices."""
_ZEROS: Final = bytes(1 << 20)


def write_image(what: Plan, image: Path, watch: Watch | None = None) -> CheckedStick:
    """Write a FAT32 image of the stick that a plan describes, read it back, and return what it proves.

    Raises:
        UnusableFileError: something other than a file stands there, or the folder does not exist.
        StickWriteError: writing failed; a file that was there is as it was.
        StickDidNotKeepError: what was read back is not what was written.
    """
    watch = watch or Watch()
    require_image_place(image, overwrite=True)
    volume = fat.lay_out({item.path: item.size for item in what.items}, SPARE, what.now)
    try:
        with durable.Growing(image.with_name(image.name + PART_SUFFIX)) as growing:
            for part in volume.head():
                growing.write(part)
            for item in what.items:
                for piece in read_pieces(item):
                    growing.write(piece)
                    watch.written(len(piece))
                growing.write(bytes(-item.size % volume.cluster_size))
            left = (volume.clusters - volume.used) * volume.cluster_size
            while left > 0:
                growing.write(_ZEROS[:left])
                left -= len(_ZEROS)
            growing.become(image)
        durable.forget_cached(image)
        return verify(_ImageMedium(image, volume), what.root, what.now, watch.read)
    except RejectedError as error:
        raise StickDidNotKeepError(mount=str(image), problem=str(error).removesuffix(".")) from error
    except OSError as error:
        raise StickWriteError(mount=str(image), problem=error.strerror or type(error).__name__) from error


@dataclass(frozen=True, slots=True)
class _ImageMedium:
    """Reads files of an image from where they were laid out. Implements `core.layout.MediumReader`."""

    image: Path
    volume: Volume

    def read(self, path: MediumPath, limit: int) -> bytes:
        size = self.size(path)
        if size > limit:
            raise MediumFileSizeError(name=shown(path), size=size, allowed=limit)
        return self.read_at(path, 0, size)

    def read_at(self, path: MediumPath, offset: int, size: int) -> bytes:
        if offset + size > self.size(path):
            raise MediumFileSizeError(name=shown(path), size=self.size(path), allowed=offset + size)
        try:
            with self.image.open("rb") as source:
                source.seek(self.volume.files[path].offset + offset)
                return source.read(size)
        except OSError as error:
            raise MediumUnreadableError(name=shown(path), problem=error.strerror or "it cannot be read") from error

    def size(self, path: MediumPath) -> int:
        if path not in self.volume.files:
            raise MediumFileMissingError(name=shown(path))
        return self.volume.files[path].size

    def names(self, path: MediumPath) -> tuple[str, ...]:
        everything = {*self.volume.files, *self.volume.folders}
        return tuple(sorted(each[-1] for each in everything if each and each[:-1] == path))
