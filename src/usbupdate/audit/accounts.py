"""What accounts for receipts that a copy lacks at its beginning: they are known from elsewhere, or kept by the office.

A device gives up what the office has acknowledged, and sends only what is newer to a new stick. `acknowledged` beside it says
up to where, and is no proof by itself. The receipts before must be known: seen before, or in another copy, such as the store's.
Else the word of a key that the office's signed list names must say that the office keeps them; that is told, and is worth
nothing where the store itself is looked at.

Source: docs/format.md, section 12; ADR 0020.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from usbupdate.audit.findings import Flaw
from usbupdate.core import acknowledged, checkpoint, cosignature
from usbupdate.core.checkpoint import origin_of
from usbupdate.core.layout import ACKNOWLEDGED
from usbupdate.core.merkle import root
from usbupdate.errors import AcknowledgementError, EvidenceSignatureError, MalformedError, NewerFormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usbupdate.audit.copies import LogCopy
    from usbupdate.audit.examined import Examined
    from usbupdate.core.acknowledged import Acknowledged
    from usbupdate.core.cosignature import Cosigner
    from usbupdate.core.identity import Identity


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What may account for receipts that a copy lacks, besides what was seen before.

    Attributes:
        leaves: the leaf hashes that other copies prove, from receipt 1 on.
        named: whose word counts that the office keeps receipts; nobody's where the office's store is looked at.
    """

    leaves: Sequence[bytes] = ()
    named: tuple[Cosigner, ...] = ()


NOWHERE: Final = Elsewhere()
_LAST_S: Final = 253_402_300_799
"""The last second that a calendar has."""


def account_for(
    examined: Examined, identity: Identity, copy: LogCopy, seen: Sequence[bytes], elsewhere: Elsewhere
) -> Acknowledged | None:
    """Note up to which receipt a copy may lack some, and return what says so in it, if that is about this device."""
    if ACKNOWLEDGED not in copy.files:
        return None
    try:
        found = acknowledged.decode(copy.files[ACKNOWLEDGED])
    except (MalformedError, NewerFormatError) as error:
        examined.add(Flaw.ACKNOWLEDGED_MALFORMED, detail=str(error))
        return None
    head = found.checkpoint
    if head.origin != origin_of(identity):
        examined.add(Flaw.ACKNOWLEDGED_MALFORMED, detail=f"it is about {head.origin}")
        return None
    known = max(seen, elsewhere.leaves, key=len)[: head.size]
    if len(known) == head.size:
        if root(known) == head.root:
            examined.before, examined.accounted = tuple(known), head.size
        elif _is_signed_by(identity, found.note):
            examined.add(Flaw.ACKNOWLEDGED_OTHERWISE, 1, until=max(head.size, 1))
        return found
    _take_word(examined, found, elsewhere.named)
    return found


def _take_word(examined: Examined, found: Acknowledged, named: Sequence[Cosigner]) -> None:
    try:
        word = cosignature.open_note(found.note, named)
    except (AcknowledgementError, MalformedError):
        return
    since = datetime.fromtimestamp(min(word.since, _LAST_S), UTC)
    examined.accounted = word.checkpoint.size
    by = ", ".join(each.name for each in word.by)
    detail = f"kept since {since:%Y-%m-%d}, says {by}"
    examined.add(Flaw.KEPT_AT_OFFICE, 1, until=max(word.checkpoint.size, 1), detail=detail)


def _is_signed_by(identity: Identity, note: bytes) -> bool:
    """Tell whether the device's own signature is under a note too."""
    try:
        checkpoint.open_note(cosignature.without_others(note, ()), identity)
    except (MalformedError, EvidenceSignatureError):
        return False
    return True
