"""The only way in which files on a stick are opened: beneath the mount, through no link, ordinary files only, size first.

Used by every side: the device, the office reading back what it wrote, and the auditor. Works on Windows and macOS too.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from usbupdate.core.layout import NAMES_MAX, MediumPath, shown
from usbupdate.errors import (
    MediumFileKindError,
    MediumFileMissingError,
    MediumFileSizeError,
    MediumUnreadableError,
    TooManyNamesError,
)
from usbupdate.plainfile import release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_BENEATH: Final = os.open in os.supports_dir_fd and os.stat in os.supports_follow_symlinks
# O_NONBLOCK: opening a FIFO must not wait for somebody to write into it.
_OPEN_FILE: Final = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOCTTY", 0)
)
_OPEN_FOLDER: Final = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_DIRECTORY", 0)
_ITSELF: Final = "the stick"
_NO_NAMES: Final = frozenset(("", ".", ".."))
_NOT_IN_NAMES: Final = frozenset("/\\:\0")
_KEPT_MAX: Final = 64
"""Files that are kept open: the packs of a release of 64 GiB, and few of the 1,024 that a process may have."""
_PIECE: Final = 8 << 20
_FEW: Final = 64
"""Names in a folder, of which a device's log has half a dozen: more are not worth looking through."""
_HAS_PREAD: Final = hasattr(os, "pread")
"""Without it threads cannot share a descriptor, so no file is kept open."""


class HeldFolder(NamedTuple):
    """One folder of a stick, found once for all that is read in it."""

    read: Callable[[str, int], bytes]
    """Returns what a file holds, by its name and the size that it has at most."""
    may_hold: Callable[[str], bool]
    """Tells, without opening anything, whether a file of that name may be there; one that came later need not be."""


class DirectoryMedium:
    """A stick that is mounted at, or was copied to, a directory. Implements `core.layout.MediumReader`."""

    def __init__(self, mount: Path) -> None:
        self.mount = mount
        self._kept: dict[MediumPath, tuple[int, int]] | None = None
        self._keeping = threading.Lock()

    def __reduce__(self) -> tuple[type[DirectoryMedium], tuple[Path]]:
        # Another process opens its files itself.
        return DirectoryMedium, (self.mount,)

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Keep the files open that `read_at` reads, until this ends: a pack is read thousands of times, by several threads."""
        if self._kept is not None or not _HAS_PREAD:
            yield
            return
        self._kept = {}
        try:
            yield
        finally:
            kept, self._kept = self._kept, None
            with ExitStack() as stack:
                for descriptor, _ in kept.values():
                    stack.callback(release, descriptor)

    def read(self, path: MediumPath, limit: int) -> bytes:
        """Return the whole of a file that has at most `limit` bytes; see `MediumReader`."""
        with _Translated(path), self._folder(path[:-1]) as folder:
            return _read_whole(folder, path, limit)

    @contextmanager
    def held(self, path: MediumPath) -> Iterator[HeldFolder]:
        """Yield one folder, looked up only once, whose files are read as `read` does, by their names.

        It is listed at once, if that is quick: what comes into it later may be taken for not being there.
        """
        with ExitStack() as stack:
            with _Translated(path):
                folder = stack.enter_context(self._folder(path))
                names = _few_names(folder)

            def read(name: str, limit: int) -> bytes:
                file = (*path, name)
                with _Translated(file):
                    return _read_whole(folder, file, limit)

            # FAT finds a name in whatever case it is written.
            yield HeldFolder(read, lambda name: names is None or name.lower() in names)

    def read_at(self, path: MediumPath, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes from `offset`; see `MediumReader`."""
        with _Translated(path), self._opened_for_long(path) as (descriptor, file_size):
            if file_size < offset + size:
                raise MediumFileSizeError(name=shown(path), size=file_size, allowed=offset + size)
            contents = _read_from(descriptor, offset, size)
            if len(contents) != size:
                raise MediumFileSizeError(name=shown(path), size=offset + len(contents), allowed=offset + size)
            return contents

    def size(self, path: MediumPath) -> int:
        """Return a file's size in bytes; see `MediumReader`."""
        with _Translated(path), self._opened(path) as (_, size):
            return size

    def names(self, path: MediumPath) -> tuple[str, ...]:
        """Return the names in a folder, sorted; see `MediumReader`."""
        return self._names(path, lambda _: True)

    def names_but_files(self, path: MediumPath) -> tuple[str, ...]:
        """Return the names in a folder without those of ordinary files, sorted."""
        return self._names(path, lambda entry: not entry.is_file(follow_symlinks=False))

    def _names(self, path: MediumPath, is_wanted: Callable[[os.DirEntry[str]], bool]) -> tuple[str, ...]:
        with _Translated(path), self._folder(path) as folder:
            names = []
            with os.scandir(folder) as entries:
                for entry in filter(is_wanted, entries):
                    names.append(entry.name)
                    if len(names) > NAMES_MAX:
                        raise TooManyNamesError(name=shown(path) or "of the stick itself", allowed=NAMES_MAX)
            return tuple(sorted(names))

    @contextmanager
    def _opened_for_long(self, path: MediumPath) -> Iterator[tuple[int, int]]:
        """Yield a descriptor of an ordinary file and its size as they were at the first reading, where files are kept open."""
        kept = self._kept
        if kept is not None:
            with self._keeping:
                if path not in kept and len(kept) < _KEPT_MAX:
                    kept[path] = self._open(path)
            if path in kept:
                yield kept[path]
                return
        with self._opened(path) as opened:
            yield opened

    @contextmanager
    def _opened(self, path: MediumPath) -> Iterator[tuple[int, int]]:
        """Yield a descriptor of an ordinary file and its size."""
        descriptor, size = self._open(path)
        try:
            yield descriptor, size
        finally:
            release(descriptor)

    def _open(self, path: MediumPath) -> tuple[int, int]:
        """Return a descriptor of an ordinary file and its size."""
        with self._folder(path[:-1]) as folder:
            return _open_in(folder, path)

    @contextmanager
    def _folder(self, path: MediumPath) -> Iterator[int | Path]:
        """Yield a descriptor of a folder, reached without following a link; a plain path where the system has none."""
        if not _BENEATH:
            folder = self.mount
            for number, name in enumerate(path):
                folder /= name
                _require_kind(folder.lstat().st_mode, stat.S_IFDIR, path[: number + 1])
            yield folder
            return
        # The mount itself is the caller's word and may be reached through links.
        descriptor = os.open(self.mount, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            for name in path:
                inner = os.open(name, _OPEN_FOLDER, dir_fd=descriptor)
                release(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            release(descriptor)


def _few_names(folder: int | Path) -> frozenset[str] | None:
    """Return the names in a folder in lower case, or None where they are many, cannot be listed, or fold in other ways."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, _FEW + 1)]
    except OSError:
        return None
    return frozenset([name.lower() for name in names]) if len(names) <= _FEW and "".join(names).isascii() else None


class _Translated:
    """Turns what the system says within a block into what it means for the stick.

    A class, and no function that yields: small files are read by the ten thousand, and it is entered for each.
    """

    __slots__ = ("_path",)

    def __init__(self, path: MediumPath) -> None:
        # A path is names, not text: who passes on a name from a document must not be able to climb out of the mount with it.
        for name in path:
            if name in _NO_NAMES or not _NOT_IN_NAMES.isdisjoint(name):
                raise MediumFileKindError(name=shown(path) or _ITSELF)
        self._path = path

    def __enter__(self) -> None:
        """Return nothing: what is asked for is done within the block."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Raise what an error of the system means, and leave any other as it is."""
        if error is None:
            return
        name = shown(self._path) or _ITSELF
        # The second: a name in a document that no file can have.
        if isinstance(error, FileNotFoundError | UnicodeEncodeError):
            raise MediumFileMissingError(name=name) from error
        if isinstance(error, OSError):
            if error.errno == errno.ENAMETOOLONG:
                raise MediumFileMissingError(name=name) from error
            if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.EMLINK}:
                raise MediumFileKindError(name=name) from error
            raise MediumUnreadableError(name=name, problem=error.strerror or type(error).__name__) from error


def _open_in(folder: int | Path, path: MediumPath) -> tuple[int, int]:
    """Return a descriptor of an ordinary file and its size, given its folder."""
    if isinstance(folder, int):
        descriptor = os.open(path[-1], _OPEN_FILE, dir_fd=folder)
    else:
        file = folder / path[-1]
        _require_kind(file.lstat().st_mode, stat.S_IFREG, path)
        descriptor = os.open(file, _OPEN_FILE)
    try:
        found = os.fstat(descriptor)
        _require_kind(found.st_mode, stat.S_IFREG, path)
    except (OSError, MediumFileKindError):
        release(descriptor)
        raise
    return descriptor, found.st_size


def _read_whole(folder: int | Path, path: MediumPath, limit: int) -> bytes:
    descriptor, size = _open_in(folder, path)
    try:
        if size > limit:
            raise MediumFileSizeError(name=shown(path), size=size, allowed=limit)
        # One byte more than announced: a file that grows while it is read is not believed.
        contents = _read_up_to(descriptor, size + 1)
        if len(contents) != size:
            raise MediumFileSizeError(name=shown(path), size=len(contents), allowed=size)
        return contents
    finally:
        release(descriptor)


def _require_kind(mode: int, kind: int, path: MediumPath) -> None:
    if stat.S_IFMT(mode) != kind:
        raise MediumFileKindError(name=shown(path))


def _read_up_to(descriptor: int, size: int) -> bytes:
    return _joined(lambda _, left: os.read(descriptor, left), size)


def _read_from(descriptor: int, offset: int, size: int) -> bytes:
    if _HAS_PREAD:
        # Threads that share a descriptor share its position too.
        return _joined(lambda done, left: os.pread(descriptor, left, offset + done), size)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return _read_up_to(descriptor, size)


def _joined(read: Callable[[int, int], bytes], size: int) -> bytes:
    parts = [read(0, min(size, _PIECE))]
    done = len(parts[0])
    while parts[-1] and done < size:
        parts.append(read(done, min(size - done, _PIECE)))
        done += len(parts[-1])
    return parts[0] if done == len(parts[0]) else b"".join(parts)
