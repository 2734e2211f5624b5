"""The device's chained receipts: the source of truth that every stick gets a copy of.

Nothing is written when a ledger is opened, so looking at a device changes nothing; a torn last record is cut off by the next
append. A checkpoint is kept beside the ledger before anybody sees it: a number that was vouched for is never used twice, not
even when the disk loses the end of the file.

Receipts that the office has acknowledged are given up, oldest first, when room is needed: first their leaf hashes are saved,
then the file is replaced by one without them. Between the two both hold them, and a reader tells that by the first receipt that
is left.

Source: design, section 7; ADR 0020. Implements `device.ports.Ledger`.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final

from usbupdate import durable, plainfile
from usbupdate.core import acknowledged, checkpoint, cosignature, envelope
from usbupdate.core.acknowledged import Acknowledged
from usbupdate.core.merkle import GrowingTree, leaf_hash
from usbupdate.core.receipt import NO_PREVIOUS, PROVOKED, Receipt
from usbupdate.device import ledgercontents
from usbupdate.device.ledgercontents import ACKNOWLEDGED_FILE, CHECKPOINT_FILE, RECEIPTS_FILE, Contents, translated, trim
from usbupdate.device.ledgerfile import RECORD_SIZE_MAX, encode_record
from usbupdate.errors import ForkSuspectedError, LedgerError, LedgerShareError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from securesystemslib.signer import Signer

    from usbupdate.core.identity import Identity
    from usbupdate.core.receipt import Draft
    from usbupdate.core.words import ReceiptId

SIZE_MAX: Final = 64 << 20
RESERVE: Final = 8 * RECORD_SIZE_MAX
"""Bytes kept for what an attempt that was begun must still report: its outcome, and what may happen on the way there."""

REFUSALS_SHARE: Final = 50
"""Percent of the ledger past which what sticks provoke is only counted: nobody may fill it by inserting bad ones."""

TRIM_ABOVE: Final = 50
TRIM_TO: Final = 25
"""Percent of the ledger past which acknowledged receipts are given up, and down to which: so it is seldom written anew."""

LINES_KEPT: Final = 10
"""The newest receipts stay as they are: the next one names the last, and people are told the last ones."""


class Ledger:
    """The receipts of one device in one folder; one process at a time may append."""

    def __init__(
        self, folder: Path, identity: Identity, signer: Callable[[], Signer], contents: Contents, size_max: int
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
        return cls(folder, identity, signer, ledgercontents.read(folder, identity), size_max)

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
        if self._contents.end + len(record) > self._share(TRIM_ABOVE):
            self._make_room()
        end = self._contents.end + len(record)
        if draft.event in PROVOKED and end > min(self._size_max - RESERVE, self._share(REFUSALS_SHARE)):
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
        with translated():
            folder = next(each for each in (self._folder, *self._folder.parents) if each.is_dir())
            free = shutil.disk_usage(folder).free
        return self._contents.end + RESERVE <= self._size_max and free >= RESERVE

    def first(self) -> int:
        """Return the number of the first receipt that was not trimmed; one more than there are, if there is none."""
        return self._contents.first

    def lines(self, start: int = 1) -> Iterator[bytes]:
        """Yield the receipts' lines in order, without their line feeds, from a number on or from the first that is left.

        Raises:
            LedgerError: the file cannot be read, or was damaged since it was opened.
        """
        return ledgercontents.lines(self._folder, self._contents, start)

    def leaves(self) -> Iterator[bytes]:
        """Yield the leaf hashes of all receipts, from number 1 on.

        Raises:
            LedgerError: as `lines`.
        """
        trimmed = self._contents.leaves
        yield from (leaf for leaf, _ in trimmed)
        yield from map(leaf_hash, self.lines(len(trimmed) + 1))

    def acknowledged(self) -> Acknowledged | None:
        """Return up to where the office has acknowledged the receipts, and what proves it; None if it has not."""
        return self._contents.acknowledged

    def acknowledge(self, note: bytes) -> None:
        """Remember durably up to where the office holds the receipts, if that is further than was known.

        Args:
            note: a cosigned checkpoint of this device; whoever calls this has looked at its signatures.

        Raises:
            ForkSuspectedError: it is over receipts that are not these; nothing was remembered.
            LedgerError: it could not be remembered, or the receipts could not be read.
        """
        head = cosignature.peek_unproven(note)
        known = self._contents.acknowledged
        if known is not None and known.checkpoint == head:
            return
        tree = self._tree_at(head.size)
        if (tree.size, tree.root()) != (head.size, head.root):
            problem = f"{head.size} of them, and it has written {self.count()}"
            problem = problem if head.size > self.count() else f"the first {head.size} are others"
            raise ForkSuspectedError(size=head.size, root=head.root.hex(), problem=problem)
        if head.size <= (0 if known is None else known.checkpoint.size):
            return
        found = Acknowledged(note, tree.subtrees)
        with translated():
            durable.save(self._folder / ACKNOWLEDGED_FILE, acknowledged.encode(found), mode=durable.PRIVATE)
        self._contents.acknowledged = found
        if self._contents.end > self._share(TRIM_ABOVE):
            self._make_room()

    def root_at(self, size: int) -> bytes:
        """Return the root over the first `size` receipts, which are there.

        Raises:
            LedgerError: as `lines`.
        """
        return self._tree_at(size).root()

    def checkpoint(self) -> bytes:
        """Return the signed head over all receipts, which are durable; it is kept before it is returned.

        Raises:
            LedgerError: it could not be kept.
            NotReadyError: the device's key cannot be used.
        """
        note = checkpoint.sign(self._identity, self.count(), self._contents.tree.root(), self._signer())
        path = self._folder / CHECKPOINT_FILE
        with translated():
            # Ed25519 signs the same text in the same way, so an unchanged ledger costs no write.
            if not path.is_file() or plainfile.read(path, checkpoint.CHECKPOINT_SIZE_MAX) != note:
                durable.make_directory(self._folder, mode=durable.PRIVATE_FOLDER)
                durable.save(path, note, mode=durable.PRIVATE)
        return note

    def _tree_at(self, size: int) -> GrowingTree:
        return GrowingTree(islice(self.leaves(), size))

    def _share(self, percent: int) -> int:
        return self._size_max * percent // 100

    def _make_room(self) -> None:
        """Give up acknowledged receipts, oldest first, as far as that is of use; if the disk does not let us, nothing is lost.

        Raises:
            LedgerError: the ledger could not be read again afterwards.
        """
        known = self._contents.acknowledged
        last = min(self.count() - LINES_KEPT, 0 if known is None else known.checkpoint.size)
        if last < self.first():
            return
        # It may have been done, or the half of it, also where it failed: what lies there counts.
        with suppress(LedgerError):
            trim(self._folder, self._contents, last, self._share(TRIM_TO))
        self._contents = ledgercontents.read(self._folder, self._identity)

    def _write(self, record: bytes) -> None:
        path = self._folder / RECEIPTS_FILE
        with translated():
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
