"""One command at a time on one device; the kernel frees the lock however its holder ends, by SIGKILL too."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from usbupdate.errors import DeviceLockedError, NotProvisionedError, UnusableFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOCK_FILE: Final = "lock"


@contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Hold the device's lock, or say at once that somebody else holds it.

    Raises:
        DeviceLockedError: another command is at work.
        NotProvisionedError: there is no state folder.
        UnusableFileError: the lock cannot be opened.
    """
    with _opened(state_dir) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DeviceLockedError(path=str(state_dir / LOCK_FILE)) from error
        yield


@contextmanager
def locked_after_waiting(state_dir: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the device's lock, waiting for as long as another command holds it.

    Args:
        state_dir: where the lock lies.
        waiting: is called once, before the waiting, if there is any.

    Raises:
        NotProvisionedError: there is no state folder.
        UnusableFileError: the lock cannot be opened.
    """
    with _opened(state_dir) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is not None:
                waiting()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def _opened(state_dir: Path) -> Iterator[int]:
    path = state_dir / LOCK_FILE
    try:
        # Never removed: a lock on a removed file excludes nobody. Not inherited: a child must not keep the device locked.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError as error:
        raise NotProvisionedError(path=str(state_dir)) from error
    except OSError as error:
        raise UnusableFileError(path=str(path), problem=error.strerror or "it cannot be opened") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
