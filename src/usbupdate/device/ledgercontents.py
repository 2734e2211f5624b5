"""What the files of a ledger hold, read together: each is checked against the others before anything is done with them.

Receipts that were trimmed are in `leaves` only. While they are being trimmed they are in both files, and which receipt the
first one in `receipts` is shows by its leaf hash.

Source: docs/format.md, section 12; ADR 0020.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from usbupdate import durable, plainfile
from usbupdate.core import acknowledged, checkpoint
from usbupdate.core.acknowledged import ACKNOWLEDGED_SIZE_MAX, Acknowledged
from usbupdate.core.merkle import GrowingTree, leaf_hash
from usbupdate.device import leaffile
from usbupdate.device.leaffile import LEAVES_SIZE_MAX, Leaves
from usbupdate.device.ledgerfile import records
from usbupdate.errors import LedgerError, MalformedError, NewerFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from usbupdate.core.checkpoint import Checkpoint
    from usbupdate.core.identity import Identity

RECEIPTS_FILE: Final = "receipts"
CHECKPOINT_FILE: Final = "checkpoint"
LEAVES_FILE: Final = "leaves"
ACKNOWLEDGED_FILE: Final = "acknowledged"

_BLOCK: Final = 1 << 20


@dataclass(slots=True)
class Contents:
    """What is known of the files without keeping them in memory, but for the leaf hashes of what was trimmed.

    `first` is the number of the first receipt in the file. Some of those that follow may be among the `leaves` too.
    """

    tree: GrowingTree
    ids: set[bytes]
    end: int
    last_line: bytes
    leaves: Leaves
    first: int = 1
    acknowledged: Acknowledged | None = None


def read(folder: Path, identity: Identity) -> Contents:
    """Return what the files of a ledger hold, each checked against the others.

    Raises:
        LedgerError: one cannot be read or is damaged, or receipts that were vouched for are gone.
    """
    vouched = [each for each in (_kept_checkpoint(folder / CHECKPOINT_FILE, identity),) if each is not None]
    known = _kept_acknowledgement(folder / ACKNOWLEDGED_FILE, identity)
    vouched += [] if known is None else [known.checkpoint]
    # The receipts are opened first: whoever only looks while they are trimmed then finds the leaf hashes of what is gone.
    with translated(), reading(folder / RECEIPTS_FILE) as file:
        leaves = _kept_leaves(folder / LEAVES_FILE)
        contents = Contents(GrowingTree(), set(), 0, b"", leaves, acknowledged=known)
        for leaf, receipt in leaves:
            _grow(contents, leaf, receipt, vouched)
        number = 0
        for record in records(file) if file else ():
            leaf = leaf_hash(record.line)
            if not contents.last_line:
                contents.first = number = leaves.number_of(leaf) or len(leaves) + 1
            if number > len(leaves):
                _grow(contents, leaf, bytes.fromhex(record.id), vouched)
            elif leaves.hash_of(number) != leaf:
                raise LedgerError(problem=f"receipt {number} is another one than it was")
            contents.end, contents.last_line = record.end, record.line
            number += 1
    size = contents.tree.size
    if len(leaves) and number != size + 1:
        raise LedgerError(problem=f"receipt {max(number, 1)} is damaged or gone, and {size} were there")
    for head in vouched:
        if size < head.size:
            raise LedgerError(problem=f"receipt {size + 1} is damaged or gone, and {head.size} were vouched for")
    return contents


def _grow(contents: Contents, leaf: bytes, receipt: bytes, vouched: list[Checkpoint]) -> None:
    contents.tree.add(leaf)
    contents.ids.add(receipt)
    for head in vouched:
        if contents.tree.size == head.size and contents.tree.root() != head.root:
            raise LedgerError(problem=f"its first {head.size} receipts are not the ones that were vouched for")


def _kept_leaves(path: Path) -> Leaves:
    """Return what is left of the receipts that were trimmed, if any were."""
    return leaffile.decode(plainfile.read(path, LEAVES_SIZE_MAX + 1)) if path.exists() else Leaves()


def _kept_acknowledgement(path: Path, identity: Identity) -> Acknowledged | None:
    """Return up to where the office has acknowledged, if it has; its signatures were looked at when it came."""
    try:
        with translated():
            kept = acknowledged.decode(plainfile.read(path, ACKNOWLEDGED_SIZE_MAX + 1)) if path.exists() else None
    except (MalformedError, NewerFormatError) as error:
        raise LedgerError(problem=f"{path} is damaged") from error
    if kept is not None and kept.checkpoint.origin != checkpoint.origin_of(identity):
        raise LedgerError(problem=f"its acknowledgement is of {kept.checkpoint.origin}")
    return kept


def lines(folder: Path, contents: Contents, start: int) -> Iterator[bytes]:
    """Yield the receipts' lines from a number on, or from the first that is left.

    Raises:
        LedgerError: the file cannot be read, or was damaged since it was read before.
    """
    number, count = contents.first, contents.tree.size
    with translated(), reading(folder / RECEIPTS_FILE) as file:
        for record in islice(records(file) if file else (), count - number + 1):
            if number >= start:
                yield record.line
            number += 1
    if number <= count:
        # Without this, fewer would go out than the checkpoint beside them vouches for.
        raise LedgerError(problem=f"receipt {number} cannot be read any more")


def trim(folder: Path, contents: Contents, last: int, enough: int) -> None:
    """Give up receipts, oldest first, up to number `last`, or as soon as the file has no more than `enough` bytes.

    A cut at any instant leaves each receipt in the file or its leaf hash in the other one, or both.

    Raises:
        LedgerError: it may not have been done; as after a cut.
    """
    path, given_up, begin = folder / RECEIPTS_FILE, [], 0
    with translated(), reading(path) as file:
        if file is None:
            return
        for number, record in enumerate(records(file), contents.first):
            if number > last or contents.end - begin <= enough:
                break
            if number > len(contents.leaves):
                given_up.append((leaf_hash(record.line), bytes.fromhex(record.id)))
            begin = record.end
        kept = contents.leaves.followed_by(given_up).encode()
        if not begin or len(kept) > LEAVES_SIZE_MAX:
            return
        # 1. What is needed of them for ever.
        if given_up:
            durable.save(folder / LEAVES_FILE, kept, mode=durable.PRIVATE)
        # 2. The receipts behind them, in place of all.
        with durable.Growing(path.with_name(f"{path.name}.part"), mode=durable.PRIVATE) as growing:
            file.seek(begin)
            for offset in range(begin, contents.end, _BLOCK):
                growing.write(file.read(min(_BLOCK, contents.end - offset)))
            growing.become(path)


def _kept_checkpoint(path: Path, identity: Identity) -> Checkpoint | None:
    """Return what was last vouched for, if anything was; its signature is our own and not looked at."""
    try:
        with translated():
            kept = checkpoint.peek_unproven(plainfile.read(path, checkpoint.CHECKPOINT_SIZE_MAX + 1)) if path.exists() else None
    except MalformedError as error:
        raise LedgerError(problem=f"{path} is damaged: {error.problem}") from error
    if kept is not None and kept.origin != checkpoint.origin_of(identity):
        raise LedgerError(problem=f"it belongs to {kept.origin}, not to {checkpoint.origin_of(identity)}")
    return kept


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO | None]:
    """Yield the file, or nothing if there is none."""
    if not path.exists():
        yield None
        return
    file = plainfile.opened(path)
    try:
        yield file
    finally:
        # As `plainfile.release`: it was only read. Whoever lets go of `lines` in the middle could not take an error either.
        with suppress(OSError):
            file.close()


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the system says into what it means for the ledger."""
    try:
        yield
    except OSError as error:
        raise LedgerError(problem=error.strerror or type(error).__name__) from error
