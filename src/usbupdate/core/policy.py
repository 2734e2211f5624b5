"""Which of the genuine bundles on a stick this device takes, and why not the others.

Verification has been done: what is refused here is signed. No setting lifts anything here; only `Insertion.PERSON` lifts
"tried before".

Source: design, sections 4, 6 ("Retry rules") and 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, assert_never

from usbupdate.core.lifecycle import RETAKES_MAX
from usbupdate.core.receipt import Event
from usbupdate.errors import (
    OlderSequenceError,
    OtherDevicesError,
    RefusedError,
    SteppingStoneError,
    TriedBeforeError,
    WrongCompatibleError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    """Which device this is: its own id and groups, and its model's compatible string."""

    id: DeviceId
    groups: frozenset[str]
    compatible: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A bundle that the signed targets list and whose manifest lies on the stick."""

    manifest: Manifest
    manifest_sha256: Digest

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


def choose(offers: Iterable[Offer], recipient: Recipient, record: DeviceRecord, insertion: Insertion) -> Offer | None:
    """Return the suitable offer with the highest sequence, or None when nothing newer is offered than what runs.

    Raises:
        RefusedError: there are offers, but none for this device now; it tells about the one that came closest.
    """
    suitable: list[Offer] = []
    refusals: list[tuple[_Hurdle, int, RefusedError]] = []
    is_running_offered = False
    for offer in offers:
        if is_running(offer, recipient, record):
            is_running_offered = True
            continue
        refusal = _refusal(offer, recipient, record, insertion)
        if refusal is None:
            suitable.append(offer)
        else:
            refusals.append((refusal[0], offer.manifest.sequence, refusal[1]))
    if suitable:
        return max(suitable, key=lambda offer: offer.manifest.sequence)
    above = [refusal for refusal in refusals if refusal[0] > _Hurdle.SEQUENCE]
    if refusals and (above or not is_running_offered):
        raise max(refusals, key=lambda refusal: refusal[:2])[2]
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
    offer: Offer, recipient: Recipient, record: DeviceRecord, insertion: Insertion
) -> tuple[_Hurdle, RefusedError] | None:
    manifest = offer.manifest
    if recipient.compatible not in manifest.compatible:
        return _Hurdle.COMPATIBLE, WrongCompatibleError(bundle=offer.title, compatible=recipient.compatible)
    is_named = recipient.id in manifest.devices or not recipient.groups.isdisjoint(manifest.groups)
    if (manifest.devices or manifest.groups) and not is_named:
        return _Hurdle.DEVICES, OtherDevicesError(bundle=offer.title, device=recipient.id)
    # Equal to the floor is allowed only after falling back below it: the same release again.
    lowest = max(record.floor, record.committed.sequence + 1)
    if manifest.sequence < lowest:
        return _Hurdle.SEQUENCE, OlderSequenceError(bundle=offer.title, sequence=manifest.sequence, floor=lowest - 1)
    if record.committed.sequence < manifest.from_sequence_min:
        return _Hurdle.STEPPING_STONE, SteppingStoneError(
            bundle=offer.title, needed=manifest.from_sequence_min, running=record.committed.sequence
        )
    outcome = record.outcomes.get(offer.manifest_sha256)
    if outcome is not None and not may_try(outcome, insertion):
        return _Hurdle.TRIED, TriedBeforeError(bundle=offer.title, outcome=str(outcome.event), attempts=outcome.attempts)
    return None
