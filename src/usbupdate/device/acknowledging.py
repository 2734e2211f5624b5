"""Taking the office's word on this device's receipts from a stick; no update depends on what becomes of it.

1. The device's own line on the stick, bounded and of its one form.
2. Cosigned by a key that the newest signed list of bundles names, whether that came with this stick or before.
3. About this device and its key.
4. Over this device's own receipts: else somebody else writes receipts under its name and key.

The time in a cosignature is not looked at: an old one says less and nothing wrong.

Source: design, section 7, "Acknowledgement"; ADR 0020.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from usbupdate.core import acknowledgements, cosignature
from usbupdate.core.checkpoint import origin_of
from usbupdate.core.receipt import Event
from usbupdate.core.words import ReceiptId
from usbupdate.device.obligations import problem_of
from usbupdate.errors import AcknowledgementError, MalformedError, MediumError, MediumFileMissingError, RejectedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usbupdate.core.cosignature import Cosigner
    from usbupdate.core.identity import Identity
    from usbupdate.core.layout import MediumReader
    from usbupdate.device.ledger import Ledger
    from usbupdate.device.obligations import Obligations
    from usbupdate.device.ports import Drafts
    from usbupdate.device.refusals import Learned
    from usbupdate.errors import ForkSuspectedError

_WAITING_MAX: Final = 16
"""Suspicions that wait for a ledger that takes none; more say nothing new."""


def take_word(medium: MediumReader, named: Sequence[Cosigner], identity: Identity, ledger: Ledger) -> None:
    """Remember up to where the office holds this device's receipts, if the stick says so and is to be believed.

    Args:
        medium: the stick, whose metadata were accepted.
        named: whom the newest signed list of bundles names.
        identity: who the device is.
        ledger: its receipts.

    Raises:
        AcknowledgementError: what the stick brings does not count; nothing has changed.
        ForkSuspectedError: it is over receipts that this device did not write; as above.
        LedgerError: it could not be remembered.
    """
    try:
        note = acknowledgements.find(medium, identity.device)
        if note is None:
            return
        found = cosignature.open_note(note, named)
        if found.checkpoint.origin != origin_of(identity):
            raise AcknowledgementError(problem="it is about another key than this device has")
        note = cosignature.without_others(note, found.by)
    except MediumFileMissingError:
        return
    except MalformedError as error:
        raise AcknowledgementError(problem=f"{error.field}: {error.problem}") from error
    except (RejectedError, MediumError) as error:
        # A stick that is gone is found out by whatever comes next.
        raise AcknowledgementError(problem=str(error).removesuffix(".")) from error
    ledger.acknowledge(note)


def record_suspicion(error: ForkSuspectedError, learned: Learned, obligations: Obligations, drafts: Drafts) -> None:
    """State in a receipt that somebody else may write in this device's name: once, however often a stick says the same."""
    said = f"{Event.FORK_SUSPECTED} {error.size} {error.root}"
    # The id is made of what was said, so the ledger itself knows what it has told.
    receipt = ReceiptId(hashlib.sha256(said.encode()).hexdigest()[:32])
    waiting = [draft for draft in obligations.record.pending if draft.event is Event.FORK_SUSPECTED]
    if obligations.holds(receipt) or len(waiting) >= _WAITING_MAX or any(draft.id == receipt for draft in waiting):
        return
    draft = replace(
        drafts.blank(),
        id=receipt,
        event=Event.FORK_SUSPECTED,
        before=obligations.record.committed.release(),
        trust=learned.trust,
        medium=learned.medium,
        checks=learned.metadata_checks(),
        problem=problem_of(error),
    )
    obligations.append(obligations.record, draft)
