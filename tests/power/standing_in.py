"""Puts other functions into the place of the system's, for a while and for this process alone."""

from __future__ import annotations

import builtins
import io
import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType
    from typing import IO

    from typing_extensions import Buffer

_FLAGS: Final = {"r": os.O_RDONLY, "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL}
_ACCESS: Final = os.O_RDONLY | os.O_WRONLY | os.O_RDWR


@contextmanager
def standing_in(module: ModuleType, others: Mapping[str, object]) -> Iterator[None]:
    """Let functions and constants of a module be others while this lasts."""
    real = {name: getattr(module, name) for name in others}
    try:
        for name, other in others.items():
            setattr(module, name, other)
        yield
    finally:
        for name, own in real.items():
            setattr(module, name, own)


@contextmanager
def files_by_system_calls() -> Iterator[None]:
    """Let file objects read and write by `os.read` and `os.write` while this lasts, so that who stands there sees it."""
    with ExitStack() as stack:
        for module in (builtins, io):
            stack.enter_context(standing_in(module, {"open": _opened}))
        yield


def _opened(
    file: int | str | os.PathLike[str],
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Callable[[str, int], int] | None = None,
) -> IO[str] | IO[bytes]:
    """Do what `open` does, for the modes that are used here."""
    assert closefd
    flags = _FLAGS[mode[0]] | os.O_CLOEXEC
    if "+" in mode:
        flags = flags & ~_ACCESS | os.O_RDWR
    if isinstance(file, int):
        raw = _BySystemCalls(file, mode)
    elif opener is not None:
        raw = _BySystemCalls(opener(os.fspath(file), flags), mode)
    else:
        raw = _BySystemCalls(os.open(Path(file), flags, 0o666), mode)
    if "+" in mode:
        buffered: io.BufferedRandom | io.BufferedReader | io.BufferedWriter = io.BufferedRandom(raw)
    else:
        buffered = io.BufferedReader(raw) if mode[0] == "r" else io.BufferedWriter(raw)
    return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)


class _BySystemCalls(io.RawIOBase):
    def __init__(self, descriptor: int, mode: str) -> None:
        self._descriptor = descriptor
        self._mode = mode
        self.name: object = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def readable(self) -> bool:
        return self._mode[0] == "r" or "+" in self._mode

    def writable(self) -> bool:
        return self._mode[0] != "r" or "+" in self._mode

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        with memoryview(buffer) as view:
            found = os.read(self._descriptor, len(view))
            view[: len(found)] = found
        return len(found)

    def write(self, contents: Buffer) -> int | None:
        # The buffered ones would ask for ever where nothing is taken, unless that is called "not now".
        return os.write(self._descriptor, contents) or None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return os.lseek(self._descriptor, offset, whence)

    def truncate(self, size: int | None = None) -> int:
        length = self.tell() if size is None else size
        os.ftruncate(self._descriptor, length)
        return length

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._descriptor)
