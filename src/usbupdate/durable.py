"""The only way in which this program saves a file: whole, or as it was before.

A cut at any instant leaves the old contents or the new ones, never a mixture, and what a function here has returned from
survives the next cut. Directories are synced because a rename lives in its directory, not in the file.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644

_PART_SUFFIX: Final = ".part"


def save(path: Path, contents: bytes, *, mode: int = PUBLIC) -> None:
    """Replace the file at `path` by `contents`, durably and in one step.

    Args:
        path: the file; its directory must exist. A file `<name>.part` beside it is overwritten.
        contents: all bytes of the new file.
        mode: permission bits of the new file, whatever the umask says.

    Raises:
        OSError: the file is as it was.
    """
    part = path.with_name(path.name + _PART_SUFFIX)
    with contextlib.suppress(FileNotFoundError):
        part.unlink()
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), mode)
    try:
        if hasattr(os, "fchmod"):
            # vfat has no permission bits to change and says so; the mount's own mask counts there.
            with contextlib.suppress(PermissionError):
                os.fchmod(descriptor, mode)
        write_all(descriptor, contents)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.replace(path)
    sync_directory(path.parent)


def append(path: Path, contents: bytes, *, mode: int = PUBLIC) -> None:
    """Add `contents` to the end of the file at `path` and make them durable; a cut may leave a part of them.

    The caller frames what it appends, so that a part of a record is recognised when it is read.

    Raises:
        OSError: some of the bytes may have been written.
    """
    existed = path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), mode)
    try:
        write_all(descriptor, contents)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if not existed:
        sync_directory(path.parent)


def truncate(path: Path, size: int) -> None:
    """Cut the file at `path` down to its first `size` bytes, durably.

    Raises:
        OSError: the file may be as it was.
    """
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def overwrite(path: Path, contents: bytes) -> None:
    """Write `contents` over the beginning of an existing file, in place and in one write, and make it durable.

    For a file whose blocks a boot loader knows: it is never truncated and never replaced.

    Raises:
        OSError: with contents of one sector the file holds the old or the new bytes.
    """
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        if os.pwrite(descriptor, contents, 0) != len(contents):
            raise OSError(f"short write to {path}")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def point(link: Path, target: str) -> None:
    """Make the symbolic link `link` name `target`, durably and in one step.

    Raises:
        OSError: the link is as it was.
    """
    part = link.with_name(link.name + _PART_SUFFIX)
    with contextlib.suppress(FileNotFoundError):
        part.unlink()
    part.symlink_to(target)
    part.replace(link)
    sync_directory(link.parent)


def remove(path: Path) -> None:
    """Remove the file at `path` durably; one that is not there is removed already.

    Raises:
        OSError: the file may still be there.
    """
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        sync_directory(path.parent)


def make_directory(path: Path, *, mode: int = 0o755) -> None:
    """Make the directory `path` and every missing one above it, durably; one that is there is left as it is.

    Raises:
        OSError: some of the directories may have been made.
    """
    missing = []
    folder = path
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        folder.mkdir(mode=mode, exist_ok=True)
        sync_directory(folder.parent)


def sync_tree(folder: Path) -> None:
    """Make every regular file and directory under `folder` durable.

    Raises:
        OSError: something may not be durable.
    """
    for where, _, names in os.walk(folder):
        for name in names:
            file = Path(where, name)
            if not file.is_symlink():
                sync_file(file)
        sync_directory(Path(where))


def sync_file(path: Path) -> None:
    """Make the contents of the file at `path` durable.

    Raises:
        OSError: they may not be durable.
    """
    # Windows syncs only what is open for writing.
    descriptor = os.open(path, (os.O_RDWR if sys.platform == "win32" else os.O_RDONLY) | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make the names in the directory `path` durable.

    Windows has no such call for directories: there it does nothing.

    Raises:
        OSError: the names may not be durable.
    """
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, contents: bytes) -> None:
    """Write all of `contents` at the descriptor's position, however many calls that takes.

    Raises:
        OSError: some of the bytes may have been written.
    """
    rest = memoryview(contents)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
