"""The device's chained receipts: the source of truth that every stick gets a copy of.

Nothing is written when a ledger is opened, so looking at a device changes nothing; a torn last record is cut off by the next
append. A checkpoint is kept beside the ledger before anybody sees it: a number that was vouched for is never used twice, not
even when the disk loses the end of the file.

Source: design, section 7. Implements `device.ports.Ledger`.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from usbupdate import durable, plainfile
from usbupdate.core import checkpoint, envelope
from usbupdate.core.merkle import GrowingTree, leaf_hash
from usbupdate.core.receipt import NO_PREVIOUS, REFUSALS, Receipt
from usbupdate.device.ledgerfile import RECORD_SIZE_MAX, encode_record, records
from usbupdate.errors import LedgerError, LedgerShareError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from securesystemslib.signer import Signer

    from usbupdate.core.checkpoint import Checkpoint
    from usbupdate.core.identity import Identity
    from usbupdate.core.receipt import Draft
    from usbupdate.core.words import ReceiptId

RECEIPTS_FILE: Final = "receipts"
CHECKPOINT_FILE: Final = "checkpoint"
SIZE_MAX: Final = 64 << 20
RESERVE: Final = 8 * RECORD_SIZE_MAX
"""Bytes kept for what an attempt that was begun must still report: its outcome, and what may happen on the way there."""

REFUSALS_SHARE: Final = 50
"""Percent of the ledger past which refusals are only counted: nobody may fill it by inserting bad sticks."""


@dataclass(slots=True)
class _Contents:
    """What is known of the file without keeping it in memory."""

    tree: GrowingTree
    ids: set[bytes]
    end: int
    last_line: bytes


class Ledger:
    """The receipts of one device in one folder; one process at a time may append."""

    def __init__(
        self, folder: Path, identity: Identity, signer: Callable[[], Signer], contents: _Contents, size_max: int
    ) -> None:
        self._folder = folder
        self._identity = identity
        self._signer = signer
        self._contents = contents
        self._size_max = size_max

    @classmethod
    def open(cls, folder: Path, identity: Identity, signer: Callable[[], Signer], *, size_max: int = SIZE_MAX) -> Ledger:
        """Return the ledger that lies in `folder`; an empty one if nothing was ever appended.

        Args:
            folder: need not exist before the first receipt.
            identity: who the receipts speak for.
            signer: returns the device's key; called only to append or to sign a checkpoint.
            size_max: the most bytes that the file of receipts may have.

        Raises:
            LedgerError: it cannot be read, an earlier receipt is damaged, or receipts that were vouched for are gone.
        """
        kept = _kept_checkpoint(folder / CHECKPOINT_FILE, identity)
        contents = _Contents(GrowingTree(), set(), 0, b"")
        with _translated(), _reading(folder / RECEIPTS_FILE) as file:
            for record in records(file) if file else ():
                contents.tree.add(leaf_hash(record.line))
                contents.ids.add(bytes.fromhex(record.id))
                contents.end = record.end
                contents.last_line = record.line
                if kept and contents.tree.size == kept.size and contents.tree.root() != kept.root:
                    raise LedgerError(problem=f"its first {kept.size} receipts are not the ones that were vouched for")
        if kept and contents.tree.size < kept.size:
            missing = contents.tree.size + 1
            raise LedgerError(problem=f"receipt {missing} is damaged or gone, and {kept.size} were vouched for")
        return cls(folder, identity, signer, contents, size_max)

    def append(self, draft: Draft) -> None:
        """Sign and append a receipt unless one with this id is there; see `device.ports.Ledger`.

        Raises:
            LedgerError: nothing was appended.
            NotReadyError: the device's key cannot be used; nothing was appended.
        """
        if self.holds(draft.id):
            return
        previous = envelope.line_digest(self._contents.last_line) if self.count() else NO_PREVIOUS
        try:
            line = envelope.sign(Receipt(self._identity.device, self.count() + 1, previous, draft), self._signer())
        except MalformedError as error:
            raise LedgerError(problem=f"this receipt cannot be stated: {error.field}: {error.problem}") from error
        record = encode_record(draft.id, line)
        end = self._contents.end + len(record)
        if draft.event in REFUSALS and end > min(self._size_max - RESERVE, self._size_max * REFUSALS_SHARE // 100):
            raise LedgerShareError
        if end > self._size_max:
            raise LedgerError(problem=f"it has reached its limit of {self._size_max} bytes")
        self._write(record)
        self._contents.tree.add(leaf_hash(line))
        self._contents.ids.add(bytes.fromhex(draft.id))
        self._contents.end += len(record)
        self._contents.last_line = line

    def holds(self, receipt: ReceiptId) -> bool:
        """Tell whether a receipt with this id is there."""
        return bytes.fromhex(receipt) in self._contents.ids

    def count(self) -> int:
        """Return how many receipts there are."""
        return self._contents.tree.size

    def newest(self) -> Draft | None:
        """Return what the newest receipt says, if there is one.

        Raises:
            LedgerError: the newest receipt is none of ours.
        """
        if not self.count():
            return None
        try:
            return envelope.peek_unproven(self._contents.last_line).draft
        except MalformedError as error:
            raise LedgerError(problem=f"receipt {self.count()} is of another form: {error.field}: {error.problem}") from error

    def require_at_least(self, count: int) -> None:
        """Refuse to go on with receipts lost; see `device.ports.Ledger`.

        Raises:
            LedgerError: fewer are there.
        """
        if self.count() < count:
            raise LedgerError(problem=f"it holds {self.count()} receipts, and the device's state remembers {count}")

    def has_room(self) -> bool:
        """Tell whether whatever an attempt may have to report is sure to fit; without that none may begin.

        Raises:
            LedgerError: the state partition cannot be asked.
        """
        with _translated():
            folder = next(each for each in (self._folder, *self._folder.parents) if each.is_dir())
            free = shutil.disk_usage(folder).free
        return self._contents.end + RESERVE <= self._size_max and free >= RESERVE

    def lines(self) -> Iterator[bytes]:
        """Yield the receipts' lines in order, without their line feeds.

        Raises:
            LedgerError: the file cannot be read, or was damaged since it was opened.
        """
        found = 0
        with _translated(), _reading(self._folder / RECEIPTS_FILE) as file:
            for record in islice(records(file) if file else (), self.count()):
                found += 1
                yield record.line
        if found < self.count():
            # Without this, fewer would go out than the checkpoint beside them vouches for.
            raise LedgerError(problem=f"receipt {found + 1} cannot be read any more")

    def checkpoint(self) -> bytes:
        """Return the signed head over all receipts, which are durable; it is kept before it is returned.

        Raises:
            LedgerError: it could not be kept.
            NotReadyError: the device's key cannot be used.
        """
        note = checkpoint.sign(self._identity, self.count(), self._contents.tree.root(), self._signer())
        path = self._folder / CHECKPOINT_FILE
        with _translated():
            # Ed25519 signs the same text in the same way, so an unchanged ledger costs no write.
            if not path.is_file() or plainfile.read(path, checkpoint.CHECKPOINT_SIZE_MAX) != note:
                durable.make_directory(self._folder, mode=durable.PRIVATE_FOLDER)
                durable.save(path, note, mode=durable.PRIVATE)
        return note

    def _write(self, record: bytes) -> None:
        path = self._folder / RECEIPTS_FILE
        with _translated():
            durable.make_directory(self._folder, mode=durable.PRIVATE_FOLDER)
            if path.exists() and path.stat().st_size != self._contents.end:
                durable.truncate(path, self._contents.end)
            try:
                durable.append(path, record, mode=durable.PRIVATE)
            except OSError:
                # What may lie there now counts as a torn record until the next append cuts it off, should this fail too.
                with suppress(OSError):
                    durable.truncate(path, self._contents.end)
                raise


def _kept_checkpoint(path: Path, identity: Identity) -> Checkpoint | None:
    """Return what was last vouched for, if anything was; its signature is our own and not looked at."""
    try:
        with _translated():
            kept = checkpoint.peek_unproven(plainfile.read(path, checkpoint.CHECKPOINT_SIZE_MAX + 1)) if path.exists() else None
    except MalformedError as error:
        raise LedgerError(problem=f"{path} is damaged: {error.problem}") from error
    if kept is not None and kept.origin != checkpoint.origin_of(identity):
        raise LedgerError(problem=f"it belongs to {kept.origin}, not to {checkpoint.origin_of(identity)}")
    return kept


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO | None]:
    """Yield the file, or nothing if there is none."""
    if not path.exists():
        yield None
        return
    with plainfile.opened(path) as file:
        yield file


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LedgerError(problem=error.strerror or type(error).__name__) from error
