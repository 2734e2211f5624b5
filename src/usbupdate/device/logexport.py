"""The device's receipts onto the stick: each stick gets what it lacks, and nothing that lies there is ever lost by it.

FAT's rename is not atomic over an existing file. So a new file is written whole as `*.part`, holding no less than the old one,
before it takes the old one's place, and a reader that finds only the `.part` takes that.

Everything is reached through open folders and never through a link: what lies on the stick may have been put there by somebody
who wants a file of the device overwritten.

Source: design, section 5.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from contextlib import contextmanager, suppress
from io import BytesIO
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbupdate import durable
from usbupdate.core import envelope, identity as identity_form
from usbupdate.core.layout import CHECKPOINT, IDENTITY, LOG_NAMES, LOGS, PART_SUFFIX, RECEIPTS, SUMMARY, TOP, log_path, shown
from usbupdate.device.summary import EVENTS_SHOWN, Situation, summarise
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
    from usbupdate.core.receipt import Receipt
    from usbupdate.core.words import DeviceId
    from usbupdate.device.ledger import Ledger

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK: Final = 1 << 20
_ROWS_MAX: Final = 10_000
"""Rows of a block that are compared; a block of receipts has some thousand."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def export_log(mount: Path, identity: Identity, ledger: Ledger, situation: Situation) -> None:
    """Bring what the stick holds of this device up to the ledger's present state.

    Every stick-side problem is a `MediumError`: the ledger stays the truth, and no outcome of an update depends on this.

    Args:
        mount: the stick, mounted for writing.
        identity: who the device is.
        ledger: its receipts.
        situation: for `summary.txt`.

    Raises:
        NoPlaceForLogsError: the stick has no `usbupdate/`; nothing was written.
        LogFolderHostileError: something other than ordinary files and folders lies there; it was left.
        LogConflictError: receipts lie there that are not an earlier state of these; they were left.
        StickReadOnlyError, LogStickFullError, LogStickError, LogNotKeptError: the stick did not take or keep them.
        NotReadyError: the device's own receipts or key cannot be used.
    """
    head = ledger.checkpoint()
    receipts, newest = _contents(ledger)
    with _folder_for(mount, identity.device) as folder:
        log = _Log(folder, identity.device)
        log.require_only_ordinary_files()
        log.take_up_what_a_cut_left(receipts)
        log.require_own_identity(identity)
        # Receipts first: a checkpoint over receipts that are not there would say that some were removed.
        log.require_earlier_state(receipts)
        log.save(RECEIPTS, receipts)
        log.save(CHECKPOINT, head)
        log.save(IDENTITY, identity_form.encode(identity))
        log.save(SUMMARY, summarise(identity, newest, situation))


class _Log:
    """One device's folder on a stick; `folder` names it through an open descriptor, so no link can turn it elsewhere."""

    def __init__(self, folder: Path, device: DeviceId) -> None:
        self._folder = folder
        self._reader = DirectoryMedium(folder)
        self._device = device

    def require_only_ordinary_files(self) -> None:
        """Refuse a link, FIFO or folder under any name that is going to be used."""
        for name in LOG_NAMES:
            for each in (name, name + PART_SUFFIX):
                with self._translated(each):
                    if not self._is_absent(each) and not stat.S_ISREG((self._folder / each).lstat().st_mode):
                        raise LogFolderHostileError(name=self._shown(each))

    def take_up_what_a_cut_left(self, receipts: bytes) -> None:
        """Give a lone `.part` of receipts its name, unless it is only the torn beginning of a first copy."""
        part = RECEIPTS + PART_SUFFIX
        if not self._is_absent(RECEIPTS) or self._is_absent(part):
            return
        with self._translated(part):
            size = self._reader.size((part,))
            if self._holds_beginning(part, receipts, size):
                durable.rename(self._folder / part, self._folder / RECEIPTS)
            elif self._begins_otherwise(part, receipts, size):
                raise LogConflictError(name=self._shown(part))

    def require_own_identity(self, identity: Identity) -> None:
        """Refuse a folder in which another key goes by this device's id."""
        if self._is_absent(IDENTITY):
            return
        with self._translated(IDENTITY):
            raw = self._reader.read((IDENTITY,), identity_form.IDENTITY_SIZE_MAX)
        with suppress(MalformedError):
            if identity_form.decode(raw) != identity:
                raise LogConflictError(name=self._shown(IDENTITY))

    def require_earlier_state(self, receipts: bytes) -> None:
        """Refuse to replace receipts that the new ones do not begin with."""
        if self._is_absent(RECEIPTS):
            return
        with self._translated(RECEIPTS):
            if not self._holds_beginning(RECEIPTS, receipts, self._reader.size((RECEIPTS,))):
                raise LogConflictError(name=self._shown(RECEIPTS))

    def save(self, name: str, contents: bytes) -> None:
        """Make a file hold `contents`, durably, and prove it; one that holds them already is not written."""
        with self._translated(name):
            if not self._is_absent(name) and self._holds(name, contents):
                return
            try:
                durable.save(self._folder / name, contents)
            except OSError:
                # Half a file without an old one beside it would pass for all that there is.
                with suppress(OSError):
                    durable.remove(self._folder / (name + PART_SUFFIX))
                raise
            self._forget_cached(name)
            if not self._holds(name, contents):
                raise LogNotKeptError(name=self._shown(name))

    def _holds(self, name: str, contents: bytes) -> bool:
        size = self._reader.size((name,))
        return size == len(contents) and self._holds_beginning(name, contents, size)

    def _holds_beginning(self, name: str, contents: bytes, size: int) -> bool:
        """Tell whether a file of `size` bytes is the beginning of `contents`, block by block to keep memory flat."""
        return size <= len(contents) and all(
            self._reader.read_at((name,), offset, min(_BLOCK, size - offset)) == contents[offset : min(offset + _BLOCK, size)]
            for offset in range(0, size, _BLOCK)
        )

    def _begins_otherwise(self, part: str, receipts: bytes, size: int) -> bool:
        """Tell whether the first row that is not ours is somebody's receipt; what comes after a torn row is not looked at.

        Anybody may have put the file there, so no more of it is read than where it stops being ours.
        """
        offset = 0
        while offset < size:
            block = self._reader.read_at((part,), offset, min(_BLOCK, size - offset))
            if block != receipts[offset : offset + len(block)]:
                break
            offset += len(block)
        begin = receipts.rfind(b"\n", 0, offset) + 1
        window = self._reader.read_at((part,), begin, min(_BLOCK, size - begin))
        own = receipts[begin : begin + len(window)]
        for row, our_row in zip_longest(islice(_rows(window), _ROWS_MAX), islice(_rows(own), _ROWS_MAX), fillvalue=b""):
            if row != our_row:
                return envelope.peek_or_none(row) is not None
        return False

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
        with _translated(self._shown(name)):
            yield

    def _shown(self, name: str) -> str:
        return shown(log_path(self._device, name))


def _rows(block: bytes) -> Iterator[bytes]:
    """Yield the rows of a block without making all of them at once."""
    begin = 0
    while begin < len(block):
        end = block.find(b"\n", begin)
        end = len(block) if end < 0 else end
        yield block[begin:end]
        begin = end + 1


@contextmanager
def _folder_for(mount: Path, device: DeviceId) -> Iterator[Path]:
    """Yield a path to the device's folder on the stick, made if it is missing and reached through no link."""
    with _translated(TOP):
        descriptor = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in (*LOGS, device):
            inner = _inner_folder(descriptor, name)
            release(descriptor)
            descriptor = inner
        yield _path_of(descriptor)
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


def _contents(ledger: Ledger) -> tuple[bytes, list[Receipt]]:
    """Return what `receipts.jsonl` is to hold, and the newest receipts that this version can read.

    A newer agent, rolled back since, may have stated what this one does not know: that goes out all the same.
    """
    newest: deque[bytes] = deque(maxlen=EVENTS_SHOWN)
    contents = BytesIO()
    for line in ledger.lines():
        contents.write(line + b"\n")
        newest.append(line)
    return contents.getvalue(), [receipt for receipt in map(envelope.peek_or_none, newest) if receipt is not None]
