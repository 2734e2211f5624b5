"""Archives as places: the logs in a `.zip`, `.tar` or `.tar.gz` are read where they are, and nothing is unpacked to a disk.

An archive is a stranger's. Only ordinary files count, by names that lead nowhere else; what else bears the name of one, or
bears it twice, cannot be read. How much is taken into memory is bounded before that, whatever the archive says of itself.
"""

from __future__ import annotations

import gzip
import struct
import tarfile
import zipfile
import zlib
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from usbupdate import plainfile
from usbupdate.core.layout import EVIDENCE_NAMES, PART_SUFFIX, MediumPath, shown
from usbupdate.errors import (
    MediumFileKindError,
    MediumFileMissingError,
    MediumFileSizeError,
    MediumUnreadableError,
    UnusableFileError,
)
from usbupdate.medium import HeldFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ENDINGS: Final = (".zip", ".tar", ".tar.gz", ".tgz")

_KEPT_MAX: Final = 192 << 20
"""Of a compressed tar, which can only be read from its beginning: as much as is kept in memory."""
_READ_MAX: Final = 4 << 30
"""Of a compressed tar: as much as is decompressed."""
_AT_ONCE_MAX: Final = 65 << 20
"""More than the largest file of a log; longer headers are nobody's."""
_MEMBERS_MAX: Final = 60_000
"""More than those of all devices that a stick has room for."""
_DIRECTORY_MAX: Final = 64 << 20
"""Of a zip's list of contents, which its library reads at once."""
_END: Final = struct.Struct("<4s4H2LH")
_END_SIGNATURE: Final = b"PK\x05\x06"
_ZIP64_SIGNATURE: Final = b"PK\x06\x07"
_ZIP64_SIZE: Final = 20
_COMMENT_MAX: Final = 1 << 16
_KIND: Final = 0o170000
_ORDINARY: Final = 0o100000
_NAMES: Final = frozenset(name + suffix for name in EVIDENCE_NAMES for suffix in ("", PART_SUFFIX))
_DAMAGED: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    LookupError,
    RuntimeError,
    ValueError,
)
"""What the libraries raise for archives that are damaged, encrypted or packed otherwise."""

if TYPE_CHECKING:
    _Member = Callable[[int], bytes]
    """What returns the first bytes of a file, as many as asked for."""


class ArchiveMedium:
    """A stick in an archive, with what an auditor asks of `DirectoryMedium`.

    Raises:
        UnusableFileError: it is no archive that can be read, or holds more than any stick.
    """

    def __init__(self, mount: Path) -> None:
        self.mount = mount
        self._files: dict[MediumPath, _Member | None] = {}
        """What reads a file; nothing where something else than one ordinary file bears the name."""
        self._folders: dict[MediumPath, set[str]] = {(): set()}
        try:
            (self._index_zip if mount.name.lower().endswith(".zip") else self._index_tar)()
        except _DAMAGED as error:
            raise UnusableFileError(path=str(mount), problem="not an archive that can be read") from error
        except OSError as error:
            raise UnusableFileError(path=str(mount), problem=error.strerror or "not an archive that can be read") from error

    def names(self, path: MediumPath) -> tuple[str, ...]:
        """Return the names in a folder, sorted."""
        if path not in self._folders:
            raise MediumFileMissingError(name=shown(path) or "the archive")
        return tuple(sorted(self._folders[path]))

    def names_but_files(self, path: MediumPath) -> tuple[str, ...]:
        """Return the names in a folder without those of ordinary files, sorted."""
        return tuple(name for name in self.names(path) if self._files.get((*path, name)) is None)

    @contextmanager
    def held(self, path: MediumPath) -> Iterator[HeldFolder]:
        """Yield one folder, whose files are read by their names; see `DirectoryMedium.held`."""
        if path in self._files:
            raise MediumFileKindError(name=shown(path))

        def read(name: str, limit: int) -> bytes:
            file = (*path, name)
            if file not in self._files:
                raise MediumFileMissingError(name=shown(file))
            take = self._files[file]
            if take is None:
                raise MediumFileKindError(name=shown(file))
            try:
                contents = take(limit + 1)
            except (OSError, *_DAMAGED) as error:
                raise MediumUnreadableError(name=shown(file), problem="damaged in its archive") from error
            if len(contents) > limit:
                raise MediumFileSizeError(name=shown(file), size=len(contents), allowed=limit)
            return contents

        yield HeldFolder(read, lambda name: (*path, name) in self._files)

    def _add(self, name: str, take: _Member | None) -> None:
        """Note a file by its name in the archive, unless that leads out of it."""
        parts = tuple(name.rstrip("/").split("/"))
        if parts[0] == ".":
            parts = parts[1:]
        if not parts or any(part in {"", ".", ".."} or not part.isprintable() or "\\" in part or ":" in part for part in parts):
            return
        for depth in range(len(parts)):
            self._folders.setdefault(parts[:depth], set()).add(parts[depth])
        # Which of two files counts would be up to whoever reads.
        self._files[parts] = None if parts in self._files else take

    def _index_zip(self) -> None:
        with plainfile.opened(self.mount) as file:
            _require_small_directory(file, self.mount)
        archive = zipfile.ZipFile(self.mount)
        for member in archive.infolist():
            kind = (member.external_attr >> 16) & _KIND
            is_ordinary = kind in {0, _ORDINARY} and member.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
            if not member.is_dir() and (not is_ordinary or _is_evidence(member.orig_filename)):
                self._add(member.orig_filename, _zip_reader(archive, member) if is_ordinary else None)

    def _index_tar(self) -> None:
        with plainfile.opened(self.mount) as file:
            if self.mount.name.lower().endswith(".tar"):
                self._index_members(_Bounded(file, self.mount), lambda member: _file_reader(self.mount, member))
                return
            left = _KEPT_MAX
            source = _Bounded(gzip.GzipFile(fileobj=file), self.mount)

            def kept(member: tarfile.TarInfo) -> _Member:
                nonlocal left
                left -= member.size
                if left < 0:
                    raise UnusableFileError(path=str(self.mount), problem="too much to be read compressed; unpack it first")
                source.seek(member.offset_data)
                contents = source.read(member.size)
                return lambda limit: contents[:limit]

            self._index_members(source, kept)

    def _index_members(self, source: _Bounded, reader: Callable[[tarfile.TarInfo], _Member]) -> None:
        with tarfile.open(fileobj=cast("BinaryIO", source), mode="r:") as archive:
            for number in count():
                member = archive.next()
                if member is None:
                    return
                if number == _MEMBERS_MAX:
                    raise UnusableFileError(path=str(self.mount), problem="more files than any stick has")
                is_ordinary = member.isreg() and not member.issparse()
                if not member.isdir() and (not is_ordinary or _is_evidence(member.name)):
                    self._add(member.name, reader(member) if is_ordinary else None)


class _Bounded:
    """A file whose reader is told what it reads by the file itself, and must not believe all of it."""

    def __init__(self, file: BinaryIO | gzip.GzipFile, path: Path) -> None:
        self._file = file
        self._path = path
        self._limit = _READ_MAX if isinstance(file, gzip.GzipFile) else None

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, or fewer at the end."""
        if not 0 <= size <= _AT_ONCE_MAX:
            raise UnusableFileError(path=str(self._path), problem="it announces more than any log has")
        return self._file.read(size)

    def seek(self, position: int) -> int:
        """Go to a place, which in a compressed file lies further on."""
        if self._limit is not None and position > self._limit:
            raise UnusableFileError(path=str(self._path), problem="too much to be read compressed; unpack it first")
        return self._file.seek(position)

    def tell(self) -> int:
        """Return where it is."""
        return self._file.tell()


def _is_evidence(name: str) -> bool:
    return name.rpartition("/")[2] in _NAMES


def _zip_reader(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Member:
    def read(limit: int) -> bytes:
        with archive.open(member) as file:
            return file.read(limit)

    return read


def _file_reader(path: Path, member: tarfile.TarInfo) -> _Member:
    begin, size = member.offset_data, member.size

    def read(limit: int) -> bytes:
        with plainfile.opened(path) as file:
            file.seek(begin)
            return file.read(min(limit, size))

    return read


def _require_small_directory(file: BinaryIO, path: Path) -> None:
    """Refuse a zip whose list of contents would fill the memory before the first name is looked at."""
    size = file.seek(0, 2)
    start = max(size - _COMMENT_MAX - _END.size, 0)
    file.seek(start)
    tail = file.read(_COMMENT_MAX + _END.size)
    at = tail.rfind(_END_SIGNATURE)
    if at < 0 or len(tail) - at < _END.size:
        raise zipfile.BadZipFile
    fields = _END.unpack_from(tail, at)
    file.seek(max(start + at - _ZIP64_SIZE, 0))
    if fields[5] > _DIRECTORY_MAX or fields[3] > _MEMBERS_MAX or file.read(4) == _ZIP64_SIGNATURE:
        raise UnusableFileError(path=str(path), problem="more files than any stick has")
