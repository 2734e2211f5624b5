"""Verifying: every copy of every device's log, against itself, against the others and against what was seen before.

Source: design, section 7; the steps within one copy stand in `audit.chain`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from usbupdate.audit.chain import Examined, device_of, examine
from usbupdate.audit.findings import CUT_OFF, Finding, Flaw
from usbupdate.core.merkle import leaf_hash
from usbupdate.errors import EvidenceBrokenError, NotEnrolledError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from usbupdate.audit.devices import Devices, Enrolment, Trust
    from usbupdate.audit.places import Place
    from usbupdate.core.receipt import Receipt
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
        receipts: the proven receipts of the longest copy, in order.
        seen: how many receipts had been seen before.
        sources: the copies.
        findings: all flaws.
    """

    device: DeviceId
    standing: Standing
    trust: Trust | None
    fingerprint: Digest | None
    receipts: tuple[Receipt, ...]
    seen: int
    sources: tuple[str, ...]
    findings: tuple[Finding, ...]


def verify(places: Iterable[Place], devices: Devices) -> list[Verdict]:
    """Return a verdict for each device, by id, and remember what was seen of those in good order.

    Raises:
        EnrolmentUnreadableError: the auditor's record of a device is damaged.
        UnusableFileError: what was seen could not be remembered.
    """
    by_device: dict[DeviceId, list[Place]] = {}
    for place in places:
        by_device.setdefault(place.folder or device_of(place.read()), []).append(place)
    return [_verdict(device, each, devices) for device, each in sorted(by_device.items())]


def require_good(verdicts: Sequence[Verdict]) -> None:
    """Return only if every device is enrolled and its evidence in order.

    Raises:
        EvidenceBrokenError: some evidence is not in order.
        NotEnrolledError: all of it is, but some of it is signed by keys that nobody vouched for.
    """
    broken = [verdict.device for verdict in verdicts if verdict.standing in {Standing.BROKEN, Standing.INCOMPLETE}]
    if broken:
        raise EvidenceBrokenError(devices=", ".join(broken))
    unknown = [verdict.device for verdict in verdicts if verdict.standing is Standing.NOT_ENROLLED]
    if unknown:
        raise NotEnrolledError(devices=", ".join(unknown))


def _verdict(device: DeviceId, places: list[Place], devices: Devices) -> Verdict:
    enrolment = devices.get(device)
    seen = enrolment.leaves if enrolment else ()
    examined = [examine(place.read(), enrolment.identity if enrolment else None, seen) for place in places]
    findings = tuple(finding for each in examined for finding in each.findings) + tuple(_forks(examined))
    longest = max(examined, key=lambda each: len(each.leaves()))
    if not findings and enrolment is not None and len(longest.leaves()) > len(seen):
        devices.save(replace(enrolment, leaves=longest.leaves()))
    return Verdict(
        device=device,
        standing=_standing(findings, enrolment),
        trust=enrolment.trust if enrolment else None,
        fingerprint=longest.identity.fingerprint if longest.identity else None,
        receipts=tuple(each.receipt for _, each in sorted(longest.proven.items())),
        seen=len(seen),
        sources=tuple(each.source for each in examined),
        findings=findings,
    )


def _standing(findings: tuple[Finding, ...], enrolment: Enrolment | None) -> Standing:
    if findings:
        # Without a key that somebody vouched for, missing parts are not told from removed ones.
        is_cut_off = enrolment is not None and all(finding.flaw in CUT_OFF for finding in findings)
        return Standing.INCOMPLETE if is_cut_off else Standing.BROKEN
    return Standing.NOT_ENROLLED if enrolment is None else Standing.OK


def _forks(examined: Sequence[Examined]) -> Iterable[Finding]:
    """Yield for each copy the first receipt that another copy has otherwise: both signed, so no copying error."""
    first_seen: dict[int, tuple[bytes, str]] = {}
    for each in examined:
        differing = [
            number
            for number, proven in sorted(each.proven.items())
            if number in first_seen and leaf_hash(proven.line) != first_seen[number][0]
        ]
        if differing:
            number = differing[0]
            yield Finding(each.device, Flaw.FORKED, each.source, number, detail=f"the other is in {first_seen[number][1]}")
        for number, proven in each.proven.items():
            first_seen.setdefault(number, (leaf_hash(proven.line), each.source))
