"""The course of a device's releases, as its receipts tell it: it rises, but where an authorisation let the device go back.

A device that keeps to the rules cannot do otherwise, so whatever differs was done by other software than ours, or by a release
whose usbupdate is from before authorisations.

Source: design, section 3, "Rollback".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbupdate.core.authorisation import used_in
from usbupdate.core.receipt import REFUSALS, Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from usbupdate.core.receipt import Draft, Receipt
    from usbupdate.core.words import DeviceId


def unexplained(receipts: Iterable[Receipt], device: DeviceId) -> Iterator[tuple[int, str]]:
    """Yield the number of each receipt of a commit that went back without an authorisation that counts, and why it does not.

    Args:
        receipts: proven ones, by rising number; what is missing between two of them may explain what looks like going back.
        device: whose they are.
    """
    floor, used, last = 0, 0, 0
    for receipt in receipts:
        draft = receipt.draft
        floor = floor if receipt.number == last + 1 else 0
        last = receipt.number
        if draft.after is None or receipt.event not in {Event.PROVISIONED, Event.COMMITTED, Event.FELL_BACK}:
            continue
        by = used_in(draft.checks) if receipt.event is Event.COMMITTED else None
        if by is not None:
            if by.device != device:
                yield receipt.number, f"the authorisation {by.number} is for {by.device}"
            elif by.number <= used:
                yield receipt.number, f"the authorisation {by.number} was used up by {used}"
            used = max(used, by.number)
            floor = draft.after.sequence
            continue
        lowest = max(floor, _sequence_before(draft))
        if receipt.event is Event.COMMITTED and draft.after.sequence < lowest:
            yield receipt.number, f"from sequence {lowest} to {draft.after.sequence}"
        floor = max(floor, draft.after.sequence)


def turned_back(receipts: Iterable[Receipt]) -> Iterator[tuple[int, str]]:
    """Yield the number of each receipt that happened before the one before it of the same boot, and by how much.

    Refusals are not asked: one that came again is written down later, with the time of the first.

    Args:
        receipts: proven ones, by rising number.
    """
    boot, latest = "", 0
    for receipt in receipts:
        moment = receipt.draft.moment
        if moment.boot_id != boot:
            boot, latest = moment.boot_id, moment.monotonic_ms
        elif moment.monotonic_ms < latest and receipt.event not in REFUSALS:
            yield receipt.number, f"{latest - moment.monotonic_ms} ms"
        latest = max(latest, moment.monotonic_ms)


def _sequence_before(draft: Draft) -> int:
    return 0 if draft.before is None else draft.before.sequence
