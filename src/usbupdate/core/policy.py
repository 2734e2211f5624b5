"""Which of the genuine bundles on a stick this device takes, and why not the others.

Verification has been done: what is refused here is signed. No setting lifts anything here; only `Insertion.PERSON` lifts
"tried before", and only an authorisation that names this device lifts its floor.

An authorisation is an order: as long as it counts and its bundle is on the stick, that is what the stick is for, and nothing
else on it is taken. It goes on counting on that stick once it was obeyed, or the next look at the stick would undo it.

Source: design, sections 3 ("Rollback"), 4, 6 ("Retry rules") and 10; docs/format.md, section 11.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, assert_never

from usbupdate.core.lifecycle import RETAKES_MAX
from usbupdate.core.receipt import Event
from usbupdate.errors import (
    AuthorisationEndedError,
    AuthorisationFloorError,
    AuthorisationKeyError,
    AuthorisationUsedError,
    OlderSequenceError,
    OtherDevicesError,
    RefusedError,
    SteppingStoneError,
    TriedBeforeError,
    WrongCompatibleError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from usbupdate.core.authorisation import Authorisation
    from usbupdate.core.manifest import Manifest
    from usbupdate.core.record import BundleOutcome, DeviceRecord
    from usbupdate.core.words import DeviceId, Digest


class Insertion(StrEnum):
    """How the stick came to the agent."""

    NEW = "new"
    """It was put in while the device runs."""
    FOUND = "found"
    """It was in already when the agent started: the same insertion as before."""
    PERSON = "person"
    """A person asked for an installation."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """Which device this is: its own id, groups and key's fingerprint, and its model's compatible string."""

    id: DeviceId
    groups: frozenset[str]
    compatible: str
    fingerprint: Digest


@dataclass(frozen=True, slots=True)
class Offer:
    """A bundle that the signed targets list and whose manifest lies on the stick.

    `orders` are the authorisations there by which a device would go back to it, whether they count or not. On the offer that
    was chosen `authorisation` is the one by which the device takes it, if it does so by one.
    """

    manifest: Manifest
    manifest_sha256: Digest
    orders: tuple[Authorisation, ...] = ()
    authorisation: Authorisation | None = None

    @property
    def title(self) -> str:
        """The bundle as a person names it."""
        return f"{self.manifest.name} {self.manifest.version}"


class _Hurdle(IntEnum):
    """How far an offer came; the refusal of the one that came furthest is the one to tell."""

    COMPATIBLE = 0
    DEVICES = 1
    SEQUENCE = 2
    STEPPING_STONE = 3
    TRIED = 4


def choose(offers: Iterable[Offer], recipient: Recipient, record: DeviceRecord, insertion: Insertion, now: str) -> Offer | None:
    """Return the offer that this device takes, or None when nothing is offered but what runs.

    That is the one that an authorisation orders, by the one with the highest number; else the suitable one with the highest
    sequence. `now` is the trusted time.

    Raises:
        RefusedError: there are offers, but none for this device now; it tells about the one that came closest.
    """
    ordered: tuple[int, Offer] | None = None
    suitable: Offer | None = None
    refused: tuple[tuple[_Hurdle, int], RefusedError] | None = None
    is_running_offered = False
    # One pass that keeps the best only: a stick may offer hundreds of bundles, each with a megabyte of manifest.
    for offer in offers:
        by_order = _by_order(offer, recipient, record, now)
        if by_order is not None and (ordered is None or by_order[0] > ordered[0]):
            ordered = by_order
        if is_running(offer, recipient, record):
            is_running_offered = True
            continue
        refusal = _refusal(offer, recipient, record, insertion, now)
        if refusal is not None:
            how_far = (refusal[0], offer.manifest.sequence)
            if refused is None or how_far > refused[0]:
                refused = (how_far, refusal[1])
        elif suitable is None or offer.manifest.sequence > suitable.manifest.sequence:
            suitable = replace(offer, orders=())
    if ordered is not None:
        _, offer = ordered
        if is_running(offer, recipient, record):
            return None
        if refusal := _refusal(offer, recipient, record, insertion, now):
            raise refusal[1]
        return offer
    if suitable is None and refused is not None and (refused[0][0] > _Hurdle.SEQUENCE or not is_running_offered):
        raise refused[1]
    return suitable


def with_authorisations(offers: Iterable[Offer], authorisations: Iterable[Authorisation]) -> Iterator[Offer]:
    """Yield the offers, each with the authorisations that name its manifest, by rising number."""
    orders = sorted(authorisations, key=lambda each: each.number)
    for offer in offers:
        yield replace(offer, orders=tuple(each for each in orders if each.manifest_sha256 == offer.manifest_sha256))


def _by_order(offer: Offer, recipient: Recipient, record: DeviceRecord, now: str) -> tuple[int, Offer] | None:
    """Return the number of an offer's latest authorisation that counts, and the offer by it; one that does not hides none."""
    for order in reversed(offer.orders):
        if _objection(offer, order, recipient, record, now) is None:
            return order.number, replace(offer, orders=(), authorisation=order)
    return None


def _objection(
    offer: Offer, authorisation: Authorisation, recipient: Recipient, record: DeviceRecord, now: str
) -> RefusedError | None:
    """Return why an authorisation does not count on this device now, or None if it does."""
    bundle, number = offer.title, authorisation.number
    # 1. For this very device: an id can be given twice, a key cannot.
    if (authorisation.device, authorisation.fingerprint) != (recipient.id, recipient.fingerprint):
        return AuthorisationKeyError(bundle=bundle, number=number, device=authorisation.device)

    # 2. Once: the last one used counts only as long as the device runs what it was for.
    is_obeyed = number == record.downgrade_number and is_running(offer, recipient, record)
    if number <= record.downgrade_number and not is_obeyed:
        return AuthorisationUsedError(bundle=bundle, number=number, used=record.downgrade_number)

    # 3. In time.
    if authorisation.expires <= now:
        return AuthorisationEndedError(bundle=bundle, number=number, expires=authorisation.expires, now=now)

    # 4. Only from what the office knew of: an order that lay in a drawer must not undo a later update.
    floor = max(record.floor, record.committed.sequence)
    if authorisation.floor < floor:
        return AuthorisationFloorError(bundle=bundle, number=number, lifts=authorisation.floor, floor=floor)
    return None


def is_running(offer: Offer, recipient: Recipient, record: DeviceRecord) -> bool:
    """Tell whether an offer is what the device is committed to: the same sequence and the same images."""
    images = {artifact.slot_class: artifact.image for artifact in offer.manifest.artifacts}
    return (
        recipient.compatible in offer.manifest.compatible
        and offer.manifest.sequence == record.committed.sequence
        and images == dict(record.committed.images)
    )


def may_try(outcome: BundleOutcome | None, insertion: Insertion) -> bool:
    """Tell whether a bundle with this last outcome may be installed on this occasion."""
    if outcome is None:
        return True
    match insertion:
        case Insertion.PERSON:
            return True
        case Insertion.NEW:
            return outcome.event not in {Event.FAILED, Event.CHECK_FAILED}
        case Insertion.FOUND:
            return outcome.event is Event.INTERRUPTED and outcome.by_restart and outcome.retakes < RETAKES_MAX
        case _:
            assert_never(insertion)


def _refusal(
    offer: Offer, recipient: Recipient, record: DeviceRecord, insertion: Insertion, now: str
) -> tuple[_Hurdle, RefusedError] | None:
    manifest = offer.manifest
    if recipient.compatible not in manifest.compatible:
        return _Hurdle.COMPATIBLE, WrongCompatibleError(bundle=offer.title, compatible=recipient.compatible)
    is_named = recipient.id in manifest.devices or not recipient.groups.isdisjoint(manifest.groups)
    if (manifest.devices or manifest.groups) and not is_named:
        return _Hurdle.DEVICES, OtherDevicesError(bundle=offer.title, device=recipient.id)
    # Equal to the floor is allowed only after falling back below it: the same release again.
    lowest = max(record.floor, record.committed.sequence + 1)
    if manifest.sequence < lowest and offer.authorisation is None:
        objection = _objection(offer, offer.orders[-1], recipient, record, now) if offer.orders else None
        older = OlderSequenceError(bundle=offer.title, sequence=manifest.sequence, floor=lowest - 1)
        return _Hurdle.SEQUENCE, objection or older
    if record.committed.sequence < manifest.from_sequence_min:
        return _Hurdle.STEPPING_STONE, SteppingStoneError(
            bundle=offer.title, needed=manifest.from_sequence_min, running=record.committed.sequence
        )
    outcome = record.outcomes.get(offer.manifest_sha256)
    if outcome is not None and not may_try(outcome, insertion):
        return _Hurdle.TRIED, TriedBeforeError(bundle=offer.title, outcome=str(outcome.event), attempts=outcome.attempts)
    return None
