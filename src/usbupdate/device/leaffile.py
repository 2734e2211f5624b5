"""What stays of receipts that were trimmed: the leaf hash and the id of each, so that no proof and no memory is lost.

    leaf hashes of usbupdate 1, and a line feed
    for each receipt from number 1 on: 32 bytes leaf hash, 16 bytes id
    SHA-256 of all that

The file is only ever replaced as a whole, before the lines themselves go.

Source: design, section 7, "Leaf hashes are kept for ever"; ADR 0020.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from usbupdate.core.merkle import HASH_SIZE
from usbupdate.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LEAVES_SIZE_MAX: Final = 64 << 20
"""Of more than a million receipts; beyond that nothing is trimmed."""

_HEAD: Final = b"leaf hashes of usbupdate 1\n"
_ID_SIZE: Final = 16
_ENTRY: Final = HASH_SIZE + _ID_SIZE


class Leaves:
    """Leaf hashes and ids of the first receipts, without gaps."""

    def __init__(self, entries: bytes = b"") -> None:
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries) // _ENTRY

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        for start in range(0, len(self._entries), _ENTRY):
            entry = self._entries[start : start + _ENTRY]
            yield entry[:HASH_SIZE], entry[HASH_SIZE:]

    def hash_of(self, number: int) -> bytes:
        """Return the leaf hash of a receipt, 1 being the first."""
        start = (number - 1) * _ENTRY
        return self._entries[start : start + HASH_SIZE]

    def number_of(self, leaf: bytes) -> int | None:
        """Return whose leaf hash it is, or None if it is of none of these."""
        return next((number for number, (known, _) in enumerate(self, 1) if known == leaf), None)

    def followed_by(self, more: Iterable[tuple[bytes, bytes]]) -> Leaves:
        """Return these and the next ones."""
        return Leaves(self._entries + b"".join(leaf + identity for leaf, identity in more))

    def encode(self) -> bytes:
        """Return the file; `decode` gives back the same."""
        whole = _HEAD + self._entries
        return whole + hashlib.sha256(whole).digest()


def decode(raw: bytes) -> Leaves:
    """Return what the file holds.

    Raises:
        LedgerError: it is damaged.
    """
    whole, digest = raw[:-HASH_SIZE], raw[-HASH_SIZE:]
    entries = whole[len(_HEAD) :]
    is_whole = hashlib.sha256(whole).digest() == digest and whole.startswith(_HEAD)
    if not is_whole or len(entries) % _ENTRY or len(raw) > LEAVES_SIZE_MAX:
        raise LedgerError(problem="what was kept of its trimmed receipts is damaged")
    return Leaves(entries)
