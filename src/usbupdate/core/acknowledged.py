"""What stands in a device's log for receipts that are not there any more: `acknowledged`, beside `receipts.jsonl`.

It is the cosigned checkpoint over the first so many receipts, and the complete subtrees over them. With the receipts that
follow, these give the root of the device's own checkpoint; so a log that begins later proves as much as one that is whole, but
for what the receipts before it say.

Source: RFC 6962, section 2.1; ADR 0020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate.core import cosignature, strictjson
from usbupdate.core.cosignature import NOTE_SIZE_MAX
from usbupdate.core.merkle import GrowingTree
from usbupdate.core.words import DIGEST

if TYPE_CHECKING:
    from usbupdate.core.checkpoint import Checkpoint

FORMAT: Final = 1
ACKNOWLEDGED_SIZE_MAX: Final = 16 << 10
_SUBTREES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A cosigned checkpoint and the complete subtrees over its receipts, from left to right; no signature is looked at."""

    note: bytes
    subtrees: tuple[bytes, ...]

    @property
    def checkpoint(self) -> Checkpoint:
        """Whose receipts, how many, and their root."""
        return cosignature.peek_unproven(self.note)

    def tree(self) -> GrowingTree:
        """Return the tree over the acknowledged receipts, to be gone on with."""
        return GrowingTree.grown(self.checkpoint.size, self.subtrees)


def encode(acknowledged: Acknowledged) -> bytes:
    """Return the file; `decode` gives back an equal value."""
    return (
        strictjson.encode(
            {
                "format": FORMAT,
                "note": acknowledged.note.decode(),
                "subtrees": [each.hex() for each in acknowledged.subtrees],
            }
        )
        + b"\n"
    )


def decode(raw: bytes) -> Acknowledged:
    """Return what the file states, whose subtrees are those of its checkpoint.

    Raises:
        NewerFormatError: only a later usbupdate can read it.
        MalformedError: it is not exactly what `encode` writes for some value.
    """
    fields = strictjson.decode(raw, "acknowledged", limit=ACKNOWLEDGED_SIZE_MAX)
    fields.format(FORMAT)
    note = fields.free_text("note", limit=NOTE_SIZE_MAX).encode()
    subtrees = tuple(map(bytes.fromhex, fields.texts("subtrees", DIGEST, limit=_SUBTREES_MAX)))
    fields.done()
    found = Acknowledged(note, subtrees)
    stated = found.checkpoint
    if len(subtrees) != stated.size.bit_count() or found.tree().root() != stated.root:
        fields.fail("subtrees", "not those of the checkpoint")
    if encode(found) != raw:
        fields.fail("whole", "not in its one canonical form")
    return found
