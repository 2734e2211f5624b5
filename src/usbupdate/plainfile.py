"""Reads files that should be ordinary ones, and never waits for one that is not.

Who can put a named pipe in the place of a file of the device's own would otherwise stop the agent for ever, and with it the
confirmation of the boot.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from usbupdate.errors import UnusableFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

# A pipe is opened without waiting for a writer. Windows has neither.
_PIECE: Final = 1 << 20
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def read(path: Path | str, limit: int) -> bytes:
    """Return the first `limit` bytes of the ordinary file at `path`, all of it if it has no more.

    A symbolic link is followed: images are put together from links.

    Raises:
        OSError: it is not there, cannot be read, or is no ordinary file.
    """
    # Without a buffer of Python's, which costs more than a small file: an auditor reads thousands.
    descriptor = _descriptor(path)
    try:
        parts = [os.read(descriptor, min(limit, _PIECE))]
        left = limit - len(parts[0])
        while left and parts[-1]:
            parts.append(os.read(descriptor, min(left, _PIECE)))
            left -= len(parts[-1])
    finally:
        release(descriptor)
    return b"".join(parts)


def release(descriptor: int) -> None:
    """Close what was only read: should that fail, it says nothing about what was read."""
    try:  # noqa: SIM105 - an auditor closes a dozen files a device, and this takes a third of the time
        os.close(descriptor)
    except OSError:
        pass


def opened(path: Path) -> BinaryIO:
    """Return the ordinary file at `path`, open for reading.

    Raises:
        OSError: it is not there, cannot be read, or is no ordinary file.
    """
    return open(_descriptor(path), "rb")


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Tell what the system says of a file or folder that a person has named as an error that names it.

    Raises:
        UnusableFileError: in place of each `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise UnusableFileError(path=str(path), problem=error.strerror or type(error).__name__) from error


def _descriptor(path: Path | str) -> int:
    descriptor = os.open(path, _FLAGS)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not an ordinary file", str(path))
