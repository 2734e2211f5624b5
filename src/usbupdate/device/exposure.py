"""Who besides root could change, or look into, what the agent relies on and what it runs as root.

A file is in the hands of whoever may write to it, to a folder on the way to it, or to one where a link on that way stands: they
put another in its place. A folder with the sticky bit, such as /tmp, lets nobody replace what is somebody else's.

Source: design, section 9, "Fail closed".
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never

from usbupdate.core.plaintext import printable
from usbupdate.plainfile import read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_OTHERS: Final = _OTHERS_WRITE | stat.S_IRWXO
"""A group that may read the state was chosen by the owner of the device; nobody chose everybody."""
_LINKS_MAX: Final = 40
_ROOT: Final = 0
_OVERFLOW: Final = Path("/proc/sys/kernel/overflowuid")
_NAME_MAX: Final = 200


class Reach(StrEnum):
    """How others reach a place, as a receipt names it."""

    OWNED = "owner-unsafe"
    WRITABLE = "writable-by-others"
    READABLE = "readable-by-others"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Exposure:
    """What is in others' reach: the place, how they reach it, and what stands after the place's name in a sentence."""

    place: Path
    reach: Reach
    problem: str

    @property
    def text(self) -> str:
        """One sentence."""
        return f"{printable(str(self.place), _NAME_MAX)} {self.problem}."

    @property
    def advice(self) -> str:
        """What to do, after finding out what was done with it."""
        place = printable(str(self.place), _NAME_MAX)
        match self.reach:
            case Reach.OWNED:
                return f"Find out who has used that; then run 'chown root {place}'."
            case Reach.WRITABLE:
                return f"Find out who has used that; then run 'chmod go-w {place}'."
            case Reach.READABLE:
                return f"Run 'chmod o= {place}'."
            case Reach.UNKNOWN:
                return f"Find out what is wrong with {place}."
            case unknown:
                assert_never(unknown)


def changeable_program(command: Sequence[str]) -> Exposure | None:
    """Return how others could change what a command runs: its program, and what it names that is run by that."""
    named = [Path(each) for each in command if each.startswith("/")]
    return next((found for each in named if each.exists() and (found := changeable(each))), None)


def changeable(path: Path) -> Exposure | None:
    """Return by what others may change `path`: by itself, by a folder above it, or by a link on the way; None if by nothing.

    Raises:
        OSError: it is not there, or cannot be looked at.
    """
    trusted = _trusted()
    for place in _way(path):
        status = place.lstat()
        if found := _owned(place, status, trusted):
            return found
        # What a link allows means nothing; and in a sticky folder each may only replace what is his own.
        if stat.S_ISLNK(status.st_mode) or (stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX):
            continue
        if found := _writable(place, status):
            return found
    # At the end of the way the sticky bit is no excuse: anybody may add to such a folder.
    end = path.resolve()
    return _writable(end, end.stat())


def exposed(folder: Path) -> Exposure | None:
    """Return what others may look into or change of a folder that is the agent's alone; None if nothing.

    The folder itself must be closed to everybody. What is in it must belong to nobody else, and be writable by nobody else: the
    folder may have been open before.

    Raises:
        OSError: it is not there, or cannot be looked at.
    """
    trusted = _trusted()
    status = folder.stat()
    if found := _owned(folder, status, trusted) or _writable(folder, status):
        return found
    if status.st_mode & _OTHERS:
        return Exposure(folder, Reach.READABLE, "is open to every user")
    for place in _inside(folder):
        try:
            status = place.lstat()
        except FileNotFoundError:
            # A file that is just being replaced.
            continue
        if found := _owned(place, status, trusted) or (None if stat.S_ISLNK(status.st_mode) else _writable(place, status)):
            return found
    return None


def _owned(place: Path, status: os.stat_result, trusted: frozenset[int]) -> Exposure | None:
    return None if status.st_uid in trusted else Exposure(place, Reach.OWNED, "belongs to another user than root")


def _writable(place: Path, status: os.stat_result) -> Exposure | None:
    may_write = status.st_mode & _OTHERS_WRITE
    return Exposure(place, Reach.WRITABLE, "may be written by others than its owner") if may_write else None


def _trusted() -> frozenset[int]:
    """Return whose files are as good as root's: root's, and those of the user who runs this."""
    trusted = {_ROOT, os.geteuid()}
    # Who runs this in a user namespace sees root's own files as those of nobody; whoever has / has everything.
    unmapped = int(read(_OVERFLOW, 16) or b"0") if _OVERFLOW.exists() else _ROOT
    return frozenset(trusted | ({unmapped} if Path("/").stat().st_uid == unmapped else set()))


def _way(path: Path) -> Iterator[Path]:
    """Yield every folder and link that is passed on the way to `path`, and at last what is there.

    Raises:
        OSError: there are links that lead round in circles.
    """
    here = Path("/")
    left = list(reversed(path.absolute().parts[1:]))
    links = 0
    yield here
    while left:
        part = left.pop()
        if part == os.pardir:
            here = here.parent
            continue
        there = here / part
        yield there
        if not there.is_symlink():
            here = there
            continue
        links += 1
        if links > _LINKS_MAX:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        target = there.readlink()
        here = Path("/") if target.is_absolute() else here
        left += reversed(target.parts[1:] if target.is_absolute() else target.parts)


def _inside(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        for name in (*folders, *names):
            yield Path(where, name)
