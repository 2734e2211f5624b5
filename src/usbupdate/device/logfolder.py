"""One device's folder on a stick, and how files are written there so that a cut at any instant loses none.

FAT has no step in which a name passes from one file to another: a cut may take both files. So a file is written twice, as
`*.part` and then, when that is durable and was read back, in its own place; at every instant one of the two is whole, and holds
no less than the old one. A reader takes the other one where that in its place is torn: see `core.logparts`.

Everything is reached through open folders and never through a link: what lies on the stick may have been put there by somebody
who wants a file of the device overwritten.

Source: design, section 5; docs/adr/0019-a-log-is-written-twice.md.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbupdate import durable
from usbupdate.core import identity as identity_form
from usbupdate.core.acknowledged import ACKNOWLEDGED_SIZE_MAX
from usbupdate.core.checkpoint import CHECKPOINT_SIZE_MAX
from usbupdate.core.identity import IDENTITY_SIZE_MAX
from usbupdate.core.layout import IDENTITY, LOG_NAMES, LOGS, PART_SUFFIX, RECEIPTS, TOP, log_path, shown
from usbupdate.core.logparts import begins_another_history, counts_instead, is_whole
from usbupdate.device.logmatch import Held, compared
from usbupdate.errors import (
    LogConflictError,
    LogFolderHostileError,
    LogNotKeptError,
    LogStickError,
    LogStickFullError,
    MalformedError,
    MediumError,
    NoPlaceForLogsError,
    RejectedError,
    StickReadOnlyError,
)
from usbupdate.medium import DirectoryMedium
from usbupdate.plainfile import release

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbupdate.core.identity import Identity
    from usbupdate.device.ledger import Ledger

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK: Final = 1 << 20
_SMALL_MAX: Final = max(IDENTITY_SIZE_MAX, CHECKPOINT_SIZE_MAX, ACKNOWLEDGED_SIZE_MAX)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(frozen=True, slots=True)
class _Held:
    """A file of `size` bytes, the first `same` of which are those that are to be written."""

    size: int
    same: int

    @property
    def is_beginning(self) -> bool:
        """Whether it is an earlier state of what is to be written."""
        return self.same == self.size


class LogFolder:
    """One device's folder on a stick; `folder` names it through an open descriptor, so no link can turn it elsewhere."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        self._folder = folder
        self._reader = DirectoryMedium(folder)
        self._identity = identity

    def require_only_ordinary_files(self) -> None:
        """Refuse a link, FIFO or folder under any name that is going to be used; a second name of a file is a link too."""
        for name in LOG_NAMES:
            for each in (name, name + PART_SUFFIX):
                with self._translated(each):
                    if not self._is_absent(each) and not _is_ordinary((self._folder / each).lstat()):
                        raise LogFolderHostileError(name=self.shown(each))

    def require_own_identity(self) -> None:
        """Refuse a folder in which another key goes by this device's id."""
        for each in (IDENTITY, IDENTITY + PART_SUFFIX):
            if self._is_absent(each):
                continue
            with self._translated(each):
                raw = self._reader.read((each,), identity_form.IDENTITY_SIZE_MAX)
            with suppress(MalformedError):
                if identity_form.decode(raw) != self._identity:
                    raise LogConflictError(name=self.shown(each))

    def held(self, ledger: Ledger) -> Held:
        """Return what of the device's receipts lies there, in whichever of the two files holds more.

        Raises:
            LedgerError: the device's own receipts could not be read.
        """
        found = [Held()]
        for each in (RECEIPTS, RECEIPTS + PART_SUFFIX):
            if not self._is_absent(each):
                with self._translated(each):
                    found.append(compared(self._blocks(each), ledger))
        return max(found, key=lambda held: (len(held.lines), len(held.stray) if held.is_cut else 0))

    def read(self, name: str) -> bytes:
        """Return what a small file holds, or the one that counts instead; nothing if there is none."""
        contents, part = self._read(name), self._read(name + PART_SUFFIX)
        return part if counts_instead(name, contents or None, part, self._identity, 0) else contents

    def require_earlier_state(self, receipts: bytes) -> None:
        """Refuse to write where anything lies that is neither the beginning of these receipts nor what a cut left of them.

        A cut tears the file in its place only while the other one is whole.
        """
        held = {each: self._held(each, receipts) for each in (RECEIPTS, RECEIPTS + PART_SUFFIX)}
        for each, found in held.items():
            if found is not None and not found.is_beginning and self._goes_on_otherwise(each, receipts, found):
                raise LogConflictError(name=self.shown(each))
        found, part = held.values()
        if found is not None and not found.is_beginning and not _stands_in(part, found):
            raise LogConflictError(name=self.shown(RECEIPTS))

    def save(self, name: str, contents: bytes) -> None:
        """Make a file hold `contents`, durably, and prove it; one that holds them already is not written."""
        part = name + PART_SUFFIX
        with self._translated(name):
            if self._holds(name, contents):
                return
            if self._part_is_whole(name, contents):
                # Who left it may have been killed, and then it is not durable yet.
                durable.sync_file(self._folder / part)
                durable.sync_directory(self._folder)
            else:
                try:
                    self._put(part, contents)
                except (OSError, MediumError):
                    # Half a file without an old one beside it would pass for all that there is.
                    with suppress(OSError):
                        durable.remove(self._folder / part)
                    raise
            # From here on the other one counts, should this one fail.
            self._put(name, contents)
            durable.remove(self._folder / part)

    def _part_is_whole(self, name: str, contents: bytes) -> bool:
        """Tell whether what a cut left as `*.part` counts in the place of the file itself, and so must outlast it."""
        part = name + PART_SUFFIX
        if name == RECEIPTS:
            return _stands_in(self._held(part, contents), self._held(name, contents))
        return is_whole(name, self._read(part), self._identity) and not is_whole(name, self._read(name), self._identity)

    def _read(self, name: str) -> bytes:
        """Return what a small file holds, as far as it can be of its form; nothing if there is none."""
        if self._is_absent(name):
            return b""
        size = min(self._reader.size((name,)), _SMALL_MAX)
        return self._reader.read_at((name,), 0, size)

    def _put(self, name: str, contents: bytes) -> None:
        """Write a file in its place, and read it back."""
        held = self._held(name, contents)
        durable.rewrite(self._folder / name, contents, begin=0 if held is None else held.same)
        self._forget_cached(name)
        if not self._holds(name, contents):
            raise LogNotKeptError(name=self.shown(name))

    def _holds(self, name: str, contents: bytes) -> bool:
        held = self._held(name, contents)
        return held is not None and held.is_beginning and held.size == len(contents)

    def _held(self, name: str, contents: bytes) -> _Held | None:
        """Return how far a file is what is to be written, block by block to keep memory flat; None if it is not there."""
        if self._is_absent(name):
            return None
        with self._translated(name):
            size, same = self._reader.size((name,)), 0
            while same < min(size, len(contents)):
                block = self._reader.read_at((name,), same, min(_BLOCK, size - same))
                own = contents[same : same + len(block)]
                if block != own:
                    return _Held(size, same + _common(block, own))
                same += len(block)
        return _Held(size, same)

    def _goes_on_otherwise(self, name: str, receipts: bytes, held: _Held) -> bool:
        """Tell whether another history stands where it stops being ours; anybody may have put the file there."""
        begin = receipts.rfind(b"\n", 0, held.same) + 1
        with self._translated(name):
            rest = self._reader.read_at((name,), begin, min(_BLOCK, held.size - begin))
        return begins_another_history(rest, receipts, self._identity)

    def _blocks(self, name: str) -> Iterator[bytes]:
        """Yield a file piece by piece: of what somebody else put there, no more is read than where it stops being ours."""
        size = self._reader.size((name,))
        for offset in range(0, size, _BLOCK):
            yield self._reader.read_at((name,), offset, min(_BLOCK, size - offset))

    def _forget_cached(self, name: str) -> None:
        """Make the next read come from the stick, as far as the system allows."""
        descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            release(descriptor)

    def _is_absent(self, name: str) -> bool:
        with self._translated(name):
            return not os.path.lexists(self._folder / name)

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        with _translated(self.shown(name)):
            yield

    def shown(self, name: str) -> str:
        """Return where one of the files lies, as a person reads it."""
        return shown(log_path(self._identity.device, name))


def _common(one: bytes, other: bytes) -> int:
    """Return how many bytes at the beginning are the same."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def _stands_in(part: _Held | None, found: _Held | None) -> bool:
    """Tell whether a `*.part` is whole and holds no less of the receipts than the file itself does."""
    return part is not None and part.is_beginning and part.same > 0 and (found is None or part.same >= found.same)


def _is_ordinary(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


@contextmanager
def log_folder(mount: Path, identity: Identity) -> Iterator[LogFolder]:
    """Yield a device's folder on a stick, made if it is missing and reached through no link.

    Args:
        mount: the stick, mounted for writing.
        identity: whose log it is.

    Raises:
        NoPlaceForLogsError: the stick has no `usbupdate/`; nothing was written.
        LogFolderHostileError: something else lies where a folder of ours should.
        StickReadOnlyError, LogStickFullError, LogStickError: the folder could not be made.
    """
    with _translated(TOP):
        descriptor = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in (*LOGS, identity.device):
            inner = _inner_folder(descriptor, name)
            release(descriptor)
            descriptor = inner
        yield LogFolder(_path_of(descriptor), identity)
    finally:
        release(descriptor)


def _inner_folder(descriptor: int, name: str) -> int:
    with _translated(name):
        try:
            return os.open(name, _FOLDER, dir_fd=descriptor)
        except FileNotFoundError as error:
            if name == TOP:
                raise NoPlaceForLogsError(name=TOP) from error
        durable.make_directory(_path_of(descriptor) / name)
        return os.open(name, _FOLDER, dir_fd=descriptor)


def _path_of(descriptor: int) -> Path:
    return Path("/proc/self/fd") / str(descriptor)


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Turn what the system says while a stick is written into what it means for the receipts."""
    try:
        yield
    except (RejectedError, MediumError) as error:
        if isinstance(error, RejectedError):
            raise LogFolderHostileError(name=name) from error
        raise
    except OSError as error:
        problem = error.strerror or type(error).__name__
        if error.errno in _FULL:
            raise LogStickFullError(name=name) from error
        if error.errno in _FORBIDDEN:
            raise StickReadOnlyError(name=name, problem=problem) from error
        if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENXIO}:
            raise LogFolderHostileError(name=name) from error
        raise LogStickError(name=name, problem=problem) from error
