"""The only way in which this program saves a file: whole, or as it was before.

A cut at any instant leaves the old contents or the new ones, never a mixture, and what a function here has returned from
survives the next cut. Directories are synced because a rename lives in its directory, not in the file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import Final, Self

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
PRIVATE_FOLDER: Final = 0o700

_PART_SUFFIX: Final = ".part"


def save(path: Path, contents: bytes, *, mode: int = PUBLIC) -> None:
    """Replace the file at `path` by `contents`, durably and in one step.

    Args:
        path: the file; its directory must exist. A file `<name>.part` beside it is overwritten.
        contents: all bytes of the new file.
        mode: permission bits of the new file, whatever the umask says.

    Raises:
        OSError: the file is as it was; or it holds the new contents, and the next cut may bring back the old ones.
    """
    with Growing(path.with_name(path.name + _PART_SUFFIX), mode=mode) as growing:
        growing.write(contents)
        growing.become(path)


def create(path: Path, contents: bytes, *, mode: int = PUBLIC) -> None:
    """Make a new file at `path`, durably; of several who try at once, one succeeds.

    Raises:
        FileExistsError: there is one.
        OSError: there may be a new file with a part of the contents.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, mode)
    try:
        write_all(descriptor, contents)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_directory(path.parent)


class Growing:
    """A file that is written piece by piece and gets its name only when it is whole; a context manager.

    Without `become` nothing is left behind, unless the machine goes down: then a file `<name>.part` stays.

    Args:
        part: where it grows, in the directory in which it will get its name; a file that is there is overwritten.
        mode: permission bits of the new file, whatever the umask says.

    Raises:
        OSError: from every method; no other file has changed, unless `become` failed in its very last step.
    """

    def __init__(self, part: Path, *, mode: int = PUBLIC) -> None:
        self._part = part
        self._is_named = False
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        self._descriptor: int | None = os.open(part, flags, mode)
        if hasattr(os, "fchmod"):
            try:
                os.fchmod(self._descriptor, mode)
            except PermissionError:
                # vfat has no permission bits to change and says so; the mount's own mask counts there.
                pass
            except OSError:
                self.__exit__()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._close()
        if not self._is_named:
            with contextlib.suppress(OSError):
                self._part.unlink()

    def write(self, contents: bytes) -> None:
        """Add `contents` to the end."""
        if self._descriptor is not None:
            write_all(self._descriptor, contents)

    def become(self, path: Path) -> None:
        """Make the file durable and give it its name, replacing a file that has it; nothing can be added after that."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)
        self._close()
        self._part.replace(path)
        self._is_named = True
        sync_directory(path.parent)

    def _close(self) -> None:
        # Also where closing it fails, the number is free and may be somebody else's by then.
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


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
            raise OSError(errno.EIO, "it took a part only")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rewrite(path: Path, contents: bytes, *, begin: int = 0, mode: int = PUBLIC) -> None:
    """Make the file at `path`, which need not exist, hold `contents`, in place and durably; no name is changed for that.

    For file systems that cannot give a name to another file in one step, such as FAT. A cut leaves any mixture of old and new
    behind `begin`, so the caller sees to it that all of it stands elsewhere meanwhile.

    Args:
        path: the file; no link is followed.
        contents: all bytes of it.
        begin: how many of them it is known to hold already; they are not written.
        mode: permission bits of a new file, but for the umask.

    Raises:
        OSError: it may hold any mixture.
    """
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, mode)
    try:
        os.lseek(descriptor, begin, os.SEEK_SET)
        write_all(descriptor, memoryview(contents)[begin:])
        if os.fstat(descriptor).st_size > len(contents):
            os.ftruncate(descriptor, len(contents))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_directory(path.parent)


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


def rename(path: Path, new: Path) -> None:
    """Give the file at `path` the name `new` in the same directory, durably.

    Raises:
        OSError: the file has one of the two names.
    """
    path.replace(new)
    sync_directory(new.parent)


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


def make_private(path: Path) -> None:
    """Make the directory `path` and every missing one above it, durably, and close it to everybody but its owner.

    Raises:
        OSError: some of the directories may have been made, or it may be as open as it was.
    """
    make_directory(path, mode=PRIVATE_FOLDER)
    path.chmod(PRIVATE_FOLDER)
    sync_directory(path)


def clone_tree(source: Path, destination: Path) -> None:
    """Make the new directory `destination` hold what `source` holds, for `sync_tree` to make durable.

    Regular files are shared, not copied, so it costs little: only for trees whose files are replaced and never written in
    place. Symbolic links stay links.

    Raises:
        OSError: `destination` exists, or some of it has been made.
    """
    destination.mkdir(mode=stat.S_IMODE(source.stat().st_mode))
    for entry in source.iterdir():
        copy = destination / entry.name
        if entry.is_symlink():
            copy.symlink_to(entry.readlink())
        elif entry.is_dir():
            clone_tree(entry, copy)
        else:
            copy.hardlink_to(entry)


def remove_tree(folder: Path) -> None:
    """Remove a directory that nothing refers to any more, and all in it; one that is not there is removed already.

    Raises:
        OSError: some of it may still be there.
    """
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
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


def forget_cached(path: Path) -> None:
    """Make the next read of the file at `path` come from the medium and not from memory, where the system has such a call.

    Raises:
        OSError: the file could not be opened.
    """
    if hasattr(os, "posix_fadvise"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
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


def write_all(descriptor: int, contents: bytes | memoryview) -> None:
    """Write all of `contents` at the descriptor's position, however many calls that takes.

    Raises:
        OSError: some of the bytes may have been written.
    """
    rest = memoryview(contents)
    while rest:
        written = os.write(descriptor, rest)
        if not written:
            # Trying again could go on for ever, with the device's lock held.
            raise OSError(errno.EIO, "it took nothing more")
        rest = rest[written:]
