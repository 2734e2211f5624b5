"""Whether a mounted stick is still there: the kernel's word alone does not tell.

FAT and exFAT take a folder that cannot be read for one that ends there. So after a stick was pulled its files do not fail: they
are missing, its folders are empty, and it looks like a stick that was never ours or that somebody cut down. What proves nothing
about a stick's contents must never count as a word about them.
"""

from __future__ import annotations

import errno
import mmap
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from usbupdate.errors import MediumError, MediumGoneError, RejectedError
from usbupdate.medium import DirectoryMedium

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from usbupdate.core.layout import MediumPath
    from usbupdate.device.facts import StickDevice

_BLOCK: Final = 4096


def is_there(device: StickDevice) -> bool:
    """Tell whether a stick is in and gives back its first bytes, asked past all that the kernel remembers of it."""
    if not device.sys.exists():
        return False
    try:
        descriptor = os.open(device.path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError:
        return False
    try:
        # Anonymous memory is aligned as such a read needs it.
        with mmap.mmap(-1, _BLOCK) as block:
            return os.preadv(descriptor, [block], 0) > 0
    except OSError as error:
        # Not every device takes such a read, and that is no word about the stick.
        return error.errno == errno.EINVAL
    finally:
        os.close(descriptor)


class PresentMedium(DirectoryMedium):
    """A mounted stick that may be pulled at any time. Implements `core.layout.MediumReader`.

    Args:
        mount: where it is mounted.
        present: tells whether it is still there.
    """

    def __init__(self, mount: Path, present: Callable[[], bool]) -> None:
        super().__init__(mount)
        self._present = present

    def read(self, path: MediumPath, limit: int) -> bytes:
        """Return the whole of a file; see `MediumReader`."""
        with self._told_from_gone():
            return super().read(path, limit)

    def read_at(self, path: MediumPath, offset: int, size: int) -> bytes:
        """Return a part of a file; see `MediumReader`."""
        with self._told_from_gone():
            return super().read_at(path, offset, size)

    def size(self, path: MediumPath) -> int:
        """Return a file's size; see `MediumReader`."""
        with self._told_from_gone():
            return super().size(path)

    def names(self, path: MediumPath) -> tuple[str, ...]:
        """Return the names in a folder; see `MediumReader`. What a stick that is gone still lists may be a part of them."""
        with self._told_from_gone():
            found = super().names(path)
        if not self._present():
            raise MediumGoneError
        return found

    @contextmanager
    def _told_from_gone(self) -> Iterator[None]:
        try:
            yield
        except (RejectedError, MediumError) as error:
            if not self._present():
                raise MediumGoneError from error
            raise
