"""One command at a time changes a repository: a file that says who, made by the one that gets there first.

Advisory locks of the system differ too much between Linux, Windows, macOS and network shares to be relied on here.
"""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from usbupdate import durable
from usbupdate.errors import ExcerptError, OfficeBusyError, OfficeWriteError
from usbupdate.packager.office import Office

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE: Final = "office.lock"
_HOLDER_MAX: Final = 300


@contextmanager
def opened_for_change(path: Path) -> Iterator[Office]:
    """Give the repository at `path` to one command that changes it; other such commands are turned away meanwhile.

    Raises:
        NoOfficeError: there is none.
        ExcerptError: it is an excerpt, which can only be signed.
        OfficeBusyError: another command has it.
        OfficeWriteError: a file of it could not be written.
    """
    if Office.open(path).is_excerpt:
        raise ExcerptError(path=str(path))
    with opened_for_signing(path) as office:
        yield office


@contextmanager
def opened_for_signing(path: Path) -> Iterator[Office]:
    """Give the repository or excerpt at `path` to one command that adds signatures; others are turned away meanwhile.

    Raises:
        NoOfficeError: there is none.
        OfficeBusyError: another command has it.
        OfficeWriteError: a file of it could not be written.
    """
    # A folder that is no repository gets no lock.
    Office.open(path)
    lock = path / FILE
    try:
        _take(lock)
        try:
            yield Office.open(path, steady=True)
        finally:
            durable.remove(lock)
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else path
        raise OfficeWriteError(path=str(where), problem=error.strerror or type(error).__name__) from error


def _take(lock: Path) -> None:
    own = f"process {os.getpid()} on {socket.gethostname()}"
    try:
        durable.create(lock, own.encode())
    except FileExistsError as error:
        holder = _holder(lock)
        if not _is_gone(holder):
            raise OfficeBusyError(path=str(lock), holder=holder or "it does not say who") from error
        durable.remove(lock)
        try:
            durable.create(lock, own.encode())
        except FileExistsError as again:
            raise OfficeBusyError(path=str(lock), holder=_holder(lock)) from again


def _holder(lock: Path) -> str:
    try:
        with lock.open("rb") as source:
            return source.read(_HOLDER_MAX).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _is_gone(holder: str) -> bool:
    """Tell whether the command that took the lock was killed: only if that is sure, which it is on this computer alone."""
    number, _, host = holder.removeprefix("process ").partition(" on ")
    # On Windows, os.kill would end the process instead of asking for it.
    if host != socket.gethostname() or not number.isdigit() or os.name != "posix":
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
