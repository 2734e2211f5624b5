"""Folders whose system calls fail one by one, as those of a worn card, a full partition or a bad stick do.

A `FaultyDisk` stands around every system call that looks at files, reads, writes or changes them, and numbers those on the
device's ports. With a `Fault` it lets one of them fail, once or from then on. What Python's own file objects do goes through
the same calls meanwhile.
"""

from __future__ import annotations

import errno
import os
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from tests.power.standing_in import files_by_system_calls, standing_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.power.device_ports import Port

_DESCRIPTOR: Final = re.compile(r"/proc/self/fd/([0-9]+)")
_SECTOR: Final = 4096
_CALLS_MAX: Final = 20_000
"""Many times more than an update makes, with everything that it tries again."""
SLOW_S: Final = 30.0


class Kind(StrEnum):
    """How a call fails."""

    EIO = "EIO"
    EIO_AFTERWARDS = "EIO, and it was done all the same"
    ENOSPC = "ENOSPC"
    EROFS = "EROFS"
    SHORT = "half of it"
    NOTHING = "nothing of it"
    SLOW = "half a minute late"


class Lasts(StrEnum):
    """How long."""

    ONCE = "once"
    ON = "from then on"


class Class(StrEnum):
    """What a call is for."""

    LOOK = "look"
    READ = "read"
    WRITE = "write"
    CHANGE = "change"
    CLOSE = "close"


_CLASSES: Final = {
    Class.LOOK: ("stat", "lstat", "fstat", "scandir", "listdir", "readlink", "statvfs", "posix_fadvise"),
    Class.READ: ("read", "pread", "preadv"),
    Class.WRITE: ("write", "pwrite"),
    Class.CHANGE: (
        *("ftruncate", "fsync", "fchmod", "rename", "replace", "link", "symlink", "unlink", "remove", "rmdir", "mkdir"),
    ),
    Class.CLOSE: ("close",),
}
_CLASS_OF: Final = {name: each for each, names in _CLASSES.items() for name in names}
_BY_SECOND: Final = frozenset({"rename", "replace", "link", "symlink"})
"""What these change is the place that they name second."""

KINDS: Final = {
    Class.LOOK: (Kind.EIO, Kind.SLOW),
    Class.READ: (Kind.EIO, Kind.SHORT, Kind.NOTHING, Kind.SLOW),
    Class.WRITE: (Kind.EIO, Kind.EIO_AFTERWARDS, Kind.ENOSPC, Kind.EROFS, Kind.SHORT, Kind.NOTHING, Kind.SLOW),
    Class.CHANGE: (Kind.EIO, Kind.EIO_AFTERWARDS, Kind.ENOSPC, Kind.EROFS, Kind.SLOW),
    Class.CLOSE: (Kind.EIO, Kind.SLOW),
}
"""How each class of calls can fail; a descriptor is closed even where closing it fails."""
_ERRNO: Final = {Kind.ENOSPC: errno.ENOSPC, Kind.EROFS: errno.EROFS}


@dataclass(frozen=True, slots=True)
class Call:
    """One system call on a port, by its number among all of them."""

    number: int
    name: str
    port: Port
    kind: Class
    place: str


@dataclass(frozen=True, slots=True)
class Fault:
    """What fails: a call, how, and for how long; for good, it is every such call on the same part of the device."""

    call: Call
    kind: Kind
    lasts: Lasts = Lasts.ONCE

    @property
    def title(self) -> str:
        """The fault as a violation tells of it."""
        return f"{self.kind} {self.lasts} at call {self.call.number}, {self.call.name} {self.call.place}"

    def hits(self, call: Call) -> bool:
        """Tell whether a call fails."""
        if self.lasts is Lasts.ONCE:
            return call.number == self.call.number
        is_later = call.number >= self.call.number and call.port.part is self.call.port.part
        return is_later and self.kind in KINDS[call.kind]


class FaultyDisk:
    """Counts system calls on the ports of a device, and lets some fail, for as long as `at_work` lasts.

    Args:
        top: where everything is.
        port_of: tells the port of a path beneath it, or None for what is none.
        fault: what fails; nothing if None.
    """

    def __init__(self, top: str, port_of: Callable[[str], Port | None], fault: Fault | None = None) -> None:
        self.calls: list[Call] = []
        self.hit: list[Call] = []
        self._top = f"{top}/"
        self._port_of = port_of
        self._fault = fault
        self._late_s = 0.0
        self._is_paused = False
        self._real: dict[str, Callable[..., object]] = {name: getattr(os, name) for name in (*_CLASS_OF, "open")}

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Stand around the calls of this process while this lasts."""
        own = {name: self._stand_in(name) for name in _CLASS_OF}
        monotonic, monotonic_ns = time.monotonic, time.monotonic_ns
        clocks = {
            "monotonic": lambda: monotonic() + self._late_s,
            "monotonic_ns": lambda: monotonic_ns() + int(self._late_s * 1e9),
        }
        with standing_in(os, {**own, "open": self._open}), standing_in(time, clocks), files_by_system_calls():
            yield

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let everything pass uncounted while this lasts: it is not the agent that does it."""
        before, self._is_paused = self._is_paused, True
        try:
            yield
        finally:
            self._is_paused = before

    def _stand_in(self, name: str) -> Callable[..., object]:
        real = self._real[name]

        def called(*args: object, **keywords: object) -> object:
            call = self._noted(name, _CLASS_OF[name], args, keywords.get("dir_fd"))
            if call is None or self._fault is None or not self._fault.hits(call):
                return real(*args, **keywords)
            self.hit.append(call)
            return self._failing(call, self._fault.kind, lambda *changed: real(*changed, **keywords), args)

        return called

    def _open(self, path: object, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> object:
        is_change = flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR)
        call = self._noted("open", Class.CHANGE if is_change else Class.LOOK, (path,), dir_fd)
        if call is None or self._fault is None or not self._fault.hits(call):
            return self._real["open"](path, flags, mode, dir_fd=dir_fd)
        self.hit.append(call)
        if self._fault.kind is Kind.EIO_AFTERWARDS:
            self._real["close"](self._real["open"](path, flags, mode, dir_fd=dir_fd))
            raise _error(Kind.EIO, call)
        return self._failing(call, self._fault.kind, lambda: self._real["open"](path, flags, mode, dir_fd=dir_fd), ())

    def _noted(self, name: str, kind: Class, args: tuple[object, ...], dir_fd: object) -> Call | None:
        """Return a call on a port with its number, or None for any other."""
        if self._is_paused:
            return None
        place = self._place(args[1 if name in _BY_SECOND else 0] if args else ".", dir_fd)
        port = self._port_of(place.removeprefix(self._top)) if place.startswith(self._top) else None
        if port is None:
            return None
        call = Call(len(self.calls), name, port, kind, place.removeprefix(self._top))
        self.calls.append(call)
        assert len(self.calls) < _CALLS_MAX, "it goes on for ever"
        return call

    def _place(self, path: object, dir_fd: object) -> str:
        if isinstance(path, int):
            return self._of_descriptor(path)
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        if isinstance(dir_fd, int):
            return f"{self._of_descriptor(dir_fd)}/{text}"
        return _DESCRIPTOR.sub(lambda match: self._of_descriptor(int(match[1])), text)

    def _of_descriptor(self, descriptor: int) -> str:
        try:
            return str(self._real["readlink"](f"/proc/self/fd/{descriptor}"))
        except OSError:
            return ""

    def _failing(self, call: Call, kind: Kind, real: Callable[..., object], args: tuple[object, ...]) -> object:
        match kind:
            case Kind.SLOW:
                self._late_s += SLOW_S
                return real(*args)
            case Kind.SHORT:
                return _half(call, real, args)
            case Kind.NOTHING:
                return b"" if call.name in {"read", "pread"} else 0
            case _:
                # A descriptor is gone even where closing it fails.
                if kind is Kind.EIO_AFTERWARDS or call.kind is Class.CLOSE:
                    real(*args)
                raise _error(kind, call)


def _half(call: Call, real: Callable[..., object], args: tuple[object, ...]) -> object:
    descriptor, asked, *offset = args
    if call.name == "preadv":
        done = real(*args)
        assert isinstance(done, int)
        return (done + 1) // 2
    if call.kind is Class.READ:
        assert isinstance(asked, int)
        return real(descriptor, (asked + 1) // 2, *offset)
    contents = memoryview(asked)  # type: ignore[arg-type] # what is written is bytes of some kind
    half = len(contents) // 2
    # What goes past the cache goes in whole blocks.
    return real(descriptor, contents[: half // _SECTOR * _SECTOR or max(1, half)], *offset)


def _error(kind: Kind, call: Call) -> OSError:
    number = _ERRNO.get(kind, errno.EIO)
    return OSError(number, os.strerror(number), call.place)
