"""Verifying: every copy of every device's log, against itself, against the others and against what was seen before.

Source: design, section 7; the steps within one copy stand in `audit.chain`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from usbupdate.audit.chain import device_of, examine
from usbupdate.audit.depth import Checked, Depth
from usbupdate.audit.findings import CUT_OFF, Finding, Flaw
from usbupdate.errors import EvidenceBrokenError, NotEnrolledError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from usbupdate.audit.devices import Devices, Enrolment, Trust
    from usbupdate.audit.examined import Examined
    from usbupdate.audit.places import Place
    from usbupdate.core.receipt import Event, Receipt
    from usbupdate.core.words import DeviceId, Digest


class Standing(StrEnum):
    """How much a device's evidence is worth; only one of them is good."""

    OK = "ok"
    INCOMPLETE = "incomplete"
    """Nothing contradicts an honest device whose stick was pulled while it wrote; the next stick brings what may be missing."""
    BROKEN = "broken"
    NOT_ENROLLED = "not-enrolled"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all copies of one device's log come to.

    Attributes:
        device: whose log.
        standing: the verdict.
        trust: on whose word its key is taken; nothing if it is not enrolled.
        fingerprint: of the key that the evidence was checked with.
        receipts: the proven receipts of the longest copy, in order; nothing where they were not read, or are let go again.
        seen: how many receipts had been seen before.
        sources: the copies.
        findings: all flaws.
        count: how many receipts of the longest copy are proven.
        last_event: what the last of them reports, if it was read.
        checked: what was looked at in all copies.
    """

    device: DeviceId
    standing: Standing
    trust: Trust | None
    fingerprint: Digest | None
    receipts: tuple[Receipt, ...]
    seen: int
    sources: tuple[str, ...]
    findings: tuple[Finding, ...]
    count: int
    last_event: Event | None
    checked: Checked

    def bare(self) -> Verdict:
        """Return the verdict without the receipts, which is small enough to keep one for each device of a fleet."""
        return replace(self, receipts=())


def verify(places: Iterable[Place], devices: Devices, depth: Depth = Depth.CONTENTS) -> Iterator[Verdict]:
    """Yield a verdict for each device, by id, and remember what was seen of those in good order.

    Raises:
        EnrolmentUnreadableError: the auditor's record of a device is damaged.
        UnusableFileError: what was seen could not be remembered.
    """
    for device, each in by_device(places):
        yield verdict_on(device, each, devices, depth)


def by_device(places: Iterable[Place]) -> list[tuple[DeviceId, list[Place]]]:
    """Return the places of each device's copies, by its id."""
    found: dict[DeviceId, list[Place]] = {}
    for place in places:
        found.setdefault(place.folder or device_of(place.read()), []).append(place)
    return sorted(found.items())


def require_good(verdicts: Iterable[Verdict]) -> None:
    """Return only if every device is enrolled and its evidence in order.

    Raises:
        EvidenceBrokenError: some evidence is not in order.
        NotEnrolledError: all of it is, but some of it is signed by keys that nobody vouched for.
    """
    by_standing: dict[Standing, list[DeviceId]] = {}
    for verdict in verdicts:
        by_standing.setdefault(verdict.standing, []).append(verdict.device)
    if broken := sorted((*by_standing.get(Standing.BROKEN, ()), *by_standing.get(Standing.INCOMPLETE, ()))):
        raise EvidenceBrokenError(devices=", ".join(broken))
    if unknown := by_standing.get(Standing.NOT_ENROLLED):
        raise NotEnrolledError(devices=", ".join(unknown))


def verdict_on(device: DeviceId, places: Iterable[Place], devices: Devices, depth: Depth) -> Verdict:
    """Return the verdict on one device, all of whose copies are given, and remember what was seen if it is in good order.

    Raises:
        EnrolmentUnreadableError: the auditor's record of the device is damaged.
        UnusableFileError: what was seen could not be remembered.
    """
    enrolment = devices.get(device)
    seen = enrolment.leaves if enrolment else ()
    examined = [examine(place.read(), enrolment.identity if enrolment else None, seen, depth) for place in places]
    findings = tuple(finding for each in examined for finding in each.findings) + tuple(_forks(examined))
    longest = max(examined, key=lambda each: len(each.leaves()))
    if not findings and enrolment is not None and len(longest.leaves()) > len(seen):
        devices.save(replace(enrolment, leaves=longest.leaves()))
    receipts = tuple(each.receipt for _, each in sorted(longest.proven.items()))
    return Verdict(
        device=device,
        standing=_standing(findings, enrolment),
        trust=enrolment.trust if enrolment else None,
        fingerprint=longest.identity.fingerprint if longest.identity else None,
        receipts=receipts,
        seen=len(seen),
        sources=tuple(each.source for each in examined),
        findings=findings,
        count=len(receipts) or len(longest.leaves()),
        last_event=receipts[-1].event if receipts else None,
        checked=sum((each.checked for each in examined), Checked()),
    )


def _standing(findings: tuple[Finding, ...], enrolment: Enrolment | None) -> Standing:
    if findings:
        # Without a key that somebody vouched for, missing parts are not told from removed ones.
        is_cut_off = enrolment is not None and all(finding.flaw in CUT_OFF for finding in findings)
        return Standing.INCOMPLETE if is_cut_off else Standing.BROKEN
    return Standing.NOT_ENROLLED if enrolment is None else Standing.OK


def _forks(examined: Sequence[Examined]) -> Iterable[Finding]:
    """Yield for each copy the first receipt that another copy has otherwise: both signed, so no copying error."""
    if len(examined) < 2:  # noqa: PLR2004 - one copy agrees with itself
        return
    first_seen: dict[int, tuple[bytes, str]] = {}
    for each in examined:
        leaves = list(each.by_number())
        differing = [number for number, leaf in leaves if number in first_seen and leaf != first_seen[number][0]]
        if differing:
            number = differing[0]
            yield Finding(each.device, Flaw.FORKED, each.source, number, detail=f"the other is in {first_seen[number][1]}")
        for number, leaf in leaves:
            first_seen.setdefault(number, (leaf, each.source))
