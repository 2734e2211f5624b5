"""A slot's block device, or the file that stands for one, while it is open for one installation."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import threading
from typing import TYPE_CHECKING, Final

from usbupdate.errors import SlotReadError, SlotUnusableError, SlotWriteError
from usbupdate.plainfile import release

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from usbupdate.core.words import SlotClass
    from usbupdate.device.ports import SlotImage

_ALIGNED: Final = 4096
"""What direct I/O asks for of offsets, sizes and memory; more than most devices need."""

_CLOSED: Final = (1 << 31) - 1
"""A number that the system refuses: no process has so many descriptors."""


class OpenImage:
    """Implements `ports.SlotImage` on an open descriptor, which it owns.

    With `direct`, bytes go past the kernel's cache wherever the system allows it: what is read comes from the device, and what
    is written does not pile up in memory. Threads may use it at the same time.
    """

    def __init__(self, slot_class: SlotClass, descriptor: int, *, direct: bool = False) -> None:
        """Take over `descriptor`; its end is the capacity."""
        self._class = slot_class
        self._descriptor = descriptor
        self._own = threading.local()
        self._past_cache = direct
        with self._reading():
            self._size = os.lseek(descriptor, 0, os.SEEK_END)
        self._direct = _direct_twin(descriptor) if direct else None

    @property
    def size(self) -> int:
        """The capacity in bytes."""
        return self._size

    def read_at(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes; see `SlotImage`."""
        if (contents := self._read_directly(offset, size)) is not None:
            return contents
        parts = []
        with self._reading():
            if self._past_cache:
                # All of it: what covers a page or a folio only in part would leave that as it is in memory.
                os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
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
        descriptor, rest = self._descriptor, memoryview(contents)
        if self._direct is not None and offset % _ALIGNED == 0 and len(contents) % _ALIGNED == 0:
            with self._writing():
                descriptor, buffer = self._direct, self._buffer(len(contents))
            buffer[: len(contents)] = contents
            rest = memoryview(buffer)[: len(contents)]
        while rest:
            try:
                written = os.pwrite(descriptor, rest, offset)
            except OSError as error:
                if error.errno == errno.EINVAL and descriptor != self._descriptor:
                    # It was opened so, and takes nothing so; what is written in the ordinary way is durable after the sync.
                    descriptor = self._descriptor
                    continue
                raise self._write_error(error) from error
            if not written:
                raise SlotWriteError(slot_class=self._class, problem=f"it took nothing more at byte {offset}")
            offset += written
            rest = rest[written:]

    def sync(self) -> None:
        """Make durable what was written; see `SlotImage`."""
        with self._writing():
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Release the device; see `SlotImage`."""
        numbers = [self._descriptor, *([] if self._direct is None else [self._direct])]
        # Whoever writes after this must not reach what has got the number since.
        self._descriptor, self._direct = _CLOSED, None
        with self._writing(), contextlib.ExitStack() as both:
            for number in numbers:
                both.callback(os.close, number)

    def _read_directly(self, offset: int, size: int) -> bytes | None:
        """Return what the device holds, or None where it has to be read in the ordinary way, which also says what is wrong."""
        whole = -(-size // _ALIGNED) * _ALIGNED
        if self._direct is None or offset % _ALIGNED or offset + whole > self._size:
            return None
        with contextlib.suppress(OSError), memoryview(self._buffer(whole)) as view, view[:whole] as part:
            if os.preadv(self._direct, [part], offset) == whole:
                return bytes(part[:size])
        return None

    def _buffer(self, size: int) -> mmap.mmap:
        """Return memory of this thread that begins at a page."""
        buffer: mmap.mmap | None = getattr(self._own, "buffer", None)
        if buffer is None or len(buffer) < size:
            buffer = self._own.buffer = mmap.mmap(-1, size)
        return buffer

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
            raise self._write_error(error) from error

    def _write_error(self, error: OSError) -> SlotWriteError:
        return SlotWriteError(slot_class=self._class, problem=error.strerror or type(error).__name__)


def _direct_twin(descriptor: int) -> int | None:
    """Return another descriptor of what is open already, for reading and writing past the cache; None if there can be none."""
    # By way of the open descriptor: a path may lead elsewhere by now, and a device that is held exclusively opens once more.
    with contextlib.suppress(OSError):
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC | os.O_DIRECT)
    return None


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


def status_of(descriptor: int, path: Path) -> os.stat_result:
    """Return what was opened from `path`; closes it where that cannot be told.

    Raises:
        SlotUnusableError: the system does not say.
    """
    try:
        return os.fstat(descriptor)
    except OSError as error:
        release(descriptor)
        raise SlotUnusableError(path=str(path), problem=error.strerror or type(error).__name__) from error


def close_all(images: Mapping[SlotClass, SlotImage]) -> None:
    """Close every image, also when closing one of them fails; the first failure is raised at the end."""
    with contextlib.ExitStack() as stack:
        for image in images.values():
            stack.callback(image.close)
