"""What is to lie on a stick: files and folders in an order that never changes, under names that FAT can take."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate.errors import UnusableFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME_MAX: Final = 255
_FORBIDDEN: Final = frozenset('"*/:<>?\\|') | {chr(code) for code in range(32)} | {"\x7f"}


@dataclass(frozen=True, slots=True)
class StickFile:
    """A file or folder to be put onto a stick; `path` are its names from the top, `size` its bytes, None for a folder."""

    path: tuple[str, ...]
    source: Path
    size: int | None


def list_files(folder: Path) -> tuple[StickFile, ...]:
    """Return all that lies under a folder, sorted by name, each folder before what is in it.

    Raises:
        UnusableFileError: the folder cannot be read, or something in it cannot lie on a stick.
    """
    try:
        return tuple(_walk(folder, ()))
    except OSError as error:
        raise UnusableFileError(path=str(folder), problem=error.strerror or type(error).__name__) from error


def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[StickFile]:
    folded: dict[str, str] = {}
    for each in sorted(folder.iterdir(), key=lambda path: path.name):
        _require_name(each)
        first = folded.setdefault(each.name.casefold(), each.name)
        if first != each.name:
            raise UnusableFileError(path=str(each), problem=f"on a stick it has the same name as {first}")
        path = (*above, each.name)
        status = each.lstat()
        if stat.S_ISDIR(status.st_mode):
            yield StickFile(path, each, None)
            yield from _walk(each, path)
        elif stat.S_ISREG(status.st_mode):
            yield StickFile(path, each, status.st_size)
        else:
            raise UnusableFileError(path=str(each), problem="a stick takes files and folders only")


def _require_name(path: Path) -> None:
    name = path.name
    if not _FORBIDDEN.isdisjoint(name) or name.endswith((" ", ".")):
        raise UnusableFileError(path=str(path), problem="a stick cannot have a file of this name")
    try:
        length = len(name.encode("utf-16-le")) // 2
    except UnicodeEncodeError as error:
        raise UnusableFileError(path=str(path), problem="its name is not text") from error
    if length > NAME_MAX:
        raise UnusableFileError(path=str(path), problem="its name is too long for a stick")
