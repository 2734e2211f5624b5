"""A slot's block device, or the file that stands for one, while it is open for one installation."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from typing import TYPE_CHECKING, Final

from usbupdate.errors import SlotReadError, SlotUnusableError, SlotWriteError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from usbupdate.core.words import SlotClass
    from usbupdate.device.ports import SlotImage

_BLKFLSBUF: Final = 0x1261
"""From linux/fs.h: write back and forget what the kernel caches of a block device."""


class OpenImage:
    """Implements `ports.SlotImage` on an open descriptor, which it owns."""

    def __init__(self, slot_class: SlotClass, descriptor: int) -> None:
        """Take over `descriptor`; its end is the capacity."""
        self._class = slot_class
        self._descriptor = descriptor
        with self._reading():
            self._size = os.lseek(descriptor, 0, os.SEEK_END)

    @property
    def size(self) -> int:
        """The capacity in bytes."""
        return self._size

    def read_at(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes; see `SlotImage`."""
        parts = []
        while size > 0:
            with self._reading():
                part = os.pread(self._descriptor, size, offset)
            if not part:
                raise SlotReadError(slot_class=self._class, problem=f"it ends at byte {offset}")
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return b"".join(parts)

    def write_at(self, offset: int, contents: bytes) -> None:
        """Write all of `contents`; see `SlotImage`."""
        # A file would grow where a block device says no.
        if offset + len(contents) > self._size:
            raise SlotWriteError(slot_class=self._class, problem=f"it ends at byte {self._size}")
        rest = memoryview(contents)
        while rest:
            with self._writing():
                written = os.pwrite(self._descriptor, rest, offset)
            if not written:
                raise SlotWriteError(slot_class=self._class, problem=f"it took nothing more at byte {offset}")
            offset += written
            rest = rest[written:]

    def sync(self) -> None:
        """Make durable what was written; see `SlotImage`."""
        with self._writing():
            os.fsync(self._descriptor)

    def drop_cache(self) -> None:
        """Make the next reads come from the device, as far as the system allows; see `SlotImage`."""
        with self._reading():
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            if stat.S_ISBLK(os.fstat(self._descriptor).st_mode):
                # Needs a privilege that a confined service may lack; the advice above was given in any case.
                with contextlib.suppress(PermissionError):
                    fcntl.ioctl(self._descriptor, _BLKFLSBUF)

    def close(self) -> None:
        """Release the device; see `SlotImage`."""
        with self._writing():
            os.close(self._descriptor)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SlotReadError(slot_class=self._class, problem=error.strerror or type(error).__name__) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SlotWriteError(slot_class=self._class, problem=error.strerror or type(error).__name__) from error


def open_without_link(path: Path, flags: int) -> int:
    """Return a descriptor of what stands at `path` itself, never of what a link there points to.

    Raises:
        SlotUnusableError: it cannot be opened.
    """
    # O_NONBLOCK: opening a FIFO must not wait for somebody at its other end.
    try:
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise SlotUnusableError(path=str(path), problem=error.strerror or type(error).__name__) from error


def close_all(images: Mapping[SlotClass, SlotImage]) -> None:
    """Close every image, also when closing one of them fails; the first failure is raised at the end."""
    with contextlib.ExitStack() as stack:
        for image in images.values():
            stack.callback(image.close)
