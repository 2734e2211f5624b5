"""A real FAT file system in an image, written by mtools, of which a cut keeps any of the sectors that a step writes."""

from __future__ import annotations

import random
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from tests.power.reordered_disk import SECTOR

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PROGRAMS: Final = ("mkfs.fat", "mcopy", "mdel", "mmd", "mdir")
PATH: Final = "/usr/sbin:/sbin:/usr/bin:/bin"
MISSING: Final = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
_SIZE: Final = 34 << 20
_ENVIRONMENT: Final = {"PATH": PATH, "LC_ALL": "C", "MTOOLSRC": "/dev/null", "MTOOLS_SKIP_CHECK": "1"}
_EVERY: Final = 4
"""Of so many sectors every choice is laid out."""


class FatImage:
    """A stick's file system with one folder, `folder`, in it.

    Args:
        path: of the image.
        folder: names from the top downwards.
    """

    def __init__(self, path: Path, folder: tuple[str, ...]) -> None:
        self._path = path
        self._folder = f"::/{'/'.join(folder)}"
        with path.open("wb") as file:
            file.truncate(_SIZE)
        _run("mkfs.fat", "-F", "32", "-s", "1", str(path))
        for number in range(1, len(folder) + 1):
            _run("mmd", "-i", str(path), f"::/{'/'.join(folder[:number])}")

    def write(self, name: str, contents: bytes) -> None:
        """Make a file of the folder hold `contents`."""
        whole = self._path.with_name("whole")
        whole.write_bytes(contents)
        _run("mcopy", "-o", "-i", str(self._path), str(whole), f"{self._folder}/{name}")

    def remove(self, name: str) -> None:
        """Remove a file of the folder, if it is there."""
        if name in self.names():
            _run("mdel", "-i", str(self._path), f"{self._folder}/{name}")

    def names(self) -> list[str]:
        """Return the names in the folder."""
        found = _run("mdir", "-b", "-i", str(self._path), self._folder)
        return [line.strip().rpartition("/")[2] for line in found.splitlines() if line.strip()]

    def copy_out(self, folder: Path) -> None:
        """Put into another folder what can be read: a file whose clusters lead nowhere cannot."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in self.names():
            copy = folder / name
            finished = subprocess.run(
                ["mcopy", "-n", "-i", str(self._path), f"{self._folder}/{name}", str(copy)],
                check=False,
                capture_output=True,
                env=_ENVIRONMENT,
            )
            if finished.returncode or finished.stderr:
                copy.unlink(missing_ok=True)

    def contents(self) -> bytes:
        """Return the whole image."""
        return self._path.read_bytes()

    def torn(self, before: bytes, after: bytes, samples: int, seed: int) -> Iterator[int]:
        """Make the image what a cut may leave between two states of it, again and again, and then the later one."""
        changed = [at for at in range(0, len(after), SECTOR) if before[at : at + SECTOR] != after[at : at + SECTOR]]
        for number, kept in enumerate(_choices(changed, samples, random.Random(seed))):  # noqa: S311 - which are kept, no secret
            with self._path.open("r+b") as file:
                for at in changed:
                    file.seek(at)
                    file.write((after if kept[at] else before)[at : at + SECTOR])
            yield number
        self._path.write_bytes(after)


def _choices(changed: list[int], samples: int, chance: random.Random) -> Iterator[Mapping[int, bool]]:
    if len(changed) <= _EVERY:
        for number in range(1 << len(changed)):
            yield {at: bool(number >> place & 1) for place, at in enumerate(changed)}
        return
    for at in changed:
        yield {each: each == at for each in changed}
        yield {each: each != at for each in changed}
    for _ in range(samples):
        yield {each: chance.random() < 1 / 2 for each in changed}


def _run(*command: str) -> str:
    finished = subprocess.run(command, check=True, capture_output=True, text=True, env=_ENVIRONMENT, stdin=subprocess.DEVNULL)
    return finished.stdout
