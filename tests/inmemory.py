"""What tests hold in memory: folders, which saves waiting for fsync, sticks, and trust."""

from __future__ import annotations

import os
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from usbupdate.core.layout import shown
from usbupdate.errors import MediumFileMissingError, MediumFileSizeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbupdate.core.layout import MediumPath

MEMORY: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - every folder there gets a name of its own


def folder_in_memory(name: str) -> TemporaryDirectory[str]:
    """Return a folder of its own, in memory where there is a file system in it, that is removed when it is left."""
    return TemporaryDirectory(prefix=f"usbupdate-{name}-", dir=MEMORY)


class MemoryMedium:
    """A stick whose files are in memory. Implements `core.layout.MediumReader`."""

    def __init__(self, files: Mapping[MediumPath, bytes]) -> None:
        self._files = files

    def read(self, path: MediumPath, limit: int) -> bytes:
        contents = self._held(path)
        if len(contents) > limit:
            raise MediumFileSizeError(name=shown(path), size=len(contents), allowed=limit)
        return contents

    def read_at(self, path: MediumPath, offset: int, size: int) -> bytes:
        contents = self._held(path)
        if len(contents) < offset + size:
            raise MediumFileSizeError(name=shown(path), size=len(contents), allowed=offset + size)
        return contents[offset : offset + size]

    def size(self, path: MediumPath) -> int:
        return len(self._held(path))

    def names(self, path: MediumPath) -> tuple[str, ...]:
        found = {each[len(path)] for each in self._files if len(each) > len(path) and each[: len(path)] == path}
        if not found:
            raise MediumFileMissingError(name=shown(path))
        return tuple(sorted(found))

    def paths(self) -> tuple[MediumPath, ...]:
        return tuple(self._files)

    def _held(self, path: MediumPath) -> bytes:
        try:
            return self._files[path]
        except KeyError as error:
            raise MediumFileMissingError(name=shown(path)) from error


class AskedMedium:
    """A stick in memory of which whole files are read, and nothing else; `asked` is what was read, and with which limit."""

    def __init__(self, files: Mapping[MediumPath, bytes]) -> None:
        self.files = dict(files)
        self.asked: list[tuple[str, int]] = []

    def read(self, path: MediumPath, limit: int) -> bytes:
        self.asked.append((shown(path), limit))
        if path not in self.files:
            raise MediumFileMissingError(name=shown(path))
        return self.files[path]

    def read_at(self, path: MediumPath, offset: int, size: int) -> bytes:
        raise AssertionError(path)

    def size(self, path: MediumPath) -> int:
        raise AssertionError(path)

    def names(self, path: MediumPath) -> tuple[str, ...]:
        raise AssertionError(path)


class MemoryTrust:
    """A folder of trust in memory. Implements `core.trust.TrustFolder`.

    Args:
        other: what it holds at first is what this one holds.
        directory: what the library takes for a folder.
    """

    def __init__(self, other: MemoryTrust | None = None, directory: str = "in memory") -> None:
        self.files: dict[str, bytes] = dict(other.files) if other else {}
        self.roots: dict[int, bytes] = dict(other.roots) if other else {}
        self.directory = directory
        self.floors_saved = 0

    def read(self, name: str) -> bytes | None:
        return self.files.get(name)

    def drop(self, name: str) -> None:
        self.files.pop(name, None)

    def root_versions(self) -> tuple[int, ...]:
        return tuple(sorted(self.roots))

    def read_root(self, version: int) -> bytes | None:
        return self.roots.get(version)

    def save_floor(self, contents: bytes) -> None:
        self.floors_saved += 1
        self.files["floor"] = contents
