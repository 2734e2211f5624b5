"""Verifying: every copy of every device's log, against itself, against the others and against what was seen before.

Source: design, section 7; the steps within one copy stand in `audit.chain`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from usbupdate.audit.accounts import Elsewhere
from usbupdate.audit.asked import NOTHING, Asked, ask, ask_when
from usbupdate.audit.chain import device_of, examine
from usbupdate.audit.copies import acknowledged_count, stated_identity
from usbupdate.audit.depth import Checked, Depth
from usbupdate.audit.findings import Finding, Flaw, Severity, runs_joined
from usbupdate.audit.unread import Unread, unread_of
from usbupdate.core.layout import IDENTITY
from usbupdate.errors import EvidenceBrokenError, NotEnrolledError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from usbupdate.audit.copies import LogCopy
    from usbupdate.audit.devices import Devices, Enrolment, Trust
    from usbupdate.audit.examined import Examined
    from usbupdate.audit.places import Place
    from usbupdate.core.identity import Identity
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
        unread: the receipts that are accounted for and in no copy; `count` includes those that are known by their digests.
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
    unread: tuple[Unread, ...] = ()

    @property
    def flaws(self) -> tuple[Finding, ...]:
        """The findings that speak against the evidence: all but notices."""
        return tuple(finding for finding in self.findings if finding.severity is not Severity.NOTICE)

    def bare(self) -> Verdict:
        """Return the verdict without the receipts, which is small enough to keep one for each device of a fleet."""
        return replace(self, receipts=()) if self.receipts else self


def verify(
    places: Iterable[Place], devices: Devices, depth: Depth = Depth.CONTENTS, asked: Asked = NOTHING
) -> Iterator[Verdict]:
    """Yield a verdict for each device, by id, and remember what was seen of those in good order.

    Raises:
        EnrolmentUnreadableError: the auditor's record of a device is damaged.
        UnusableFileError: what was seen could not be remembered.
    """
    for device, each in by_device(places):
        yield verdict_on(device, each, devices, depth, asked)


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


def verdict_on(device: DeviceId, places: Iterable[Place], devices: Devices, depth: Depth, asked: Asked = NOTHING) -> Verdict:
    """Return the verdict on one device, all of whose copies are given, and remember what was seen if it is in good order.

    Raises:
        EnrolmentUnreadableError: the auditor's record of the device is damaged.
        UnusableFileError: what was seen could not be remembered.
    """
    enrolment = devices.get(device)
    copies = [place.read() for place in places]
    examined = _all_examined(copies, enrolment, depth, asked)
    # A former key's history has ended; what the device is now is told by the present key.
    present = [each for each in examined if enrolment is None or each.identity == enrolment.identity] or examined
    longest = max(present, key=_reach)
    ask_when(asked, longest)
    findings = tuple(finding for each in examined for finding in runs_joined(each.findings)) + tuple(_forks(examined))
    seen = enrolment.leaves if enrolment and longest.identity == enrolment.identity else ()
    standing = _standing(findings, enrolment)
    if (
        standing is Standing.OK
        and enrolment is not None
        and longest.identity == enrolment.identity
        and len(longest.leaves()) > len(seen)
    ):
        devices.save(replace(enrolment, leaves=longest.leaves()))
    receipts = _joined(longest, examined)
    return Verdict(
        device=device,
        standing=standing,
        trust=enrolment.trust if enrolment else None,
        fingerprint=longest.identity.fingerprint if longest.identity else None,
        receipts=receipts,
        seen=len(seen),
        sources=tuple(each.source for each in examined),
        findings=findings,
        count=max(len(receipts), len(longest.leaves())),
        last_event=receipts[-1].event if receipts else None,
        checked=sum((each.checked for each in examined), Checked()),
        unread=unread_of(longest, examined),
    )


def _reach(examined: Examined) -> int:
    """Return up to which receipt a copy tells a history without a gap, but for what the office keeps by its own word."""
    by_word = examined.head.size if examined.head is not None and examined.accounted else 0
    return max(len(examined.leaves()), by_word)


def _all_examined(copies: Sequence[LogCopy], enrolment: Enrolment | None, depth: Depth, asked: Asked) -> list[Examined]:
    """Return what each copy proves; those that may begin later come last, when it is known what the others prove."""
    found: dict[int, Examined] = {}
    leaves: dict[Identity | None, tuple[bytes, ...]] = {}
    for each in sorted(range(len(copies)), key=lambda each: acknowledged_count(copies[each])):
        own = enrolment.identity if enrolment is not None else stated_identity(copies[each])
        examined = _examined(copies[each], enrolment, depth, asked, Elsewhere(leaves.get(own, ()), asked.named))
        found[each] = examined
        if not examined.findings and len(examined.leaves()) > len(leaves.get(examined.identity, ())):
            leaves[examined.identity] = examined.leaves()
    return [found[each] for each in range(len(copies))]


def _examined(copy: LogCopy, enrolment: Enrolment | None, depth: Depth, asked: Asked, elsewhere: Elsewhere) -> Examined:
    """Return what a copy proves by the key of its time, and what it has to say to the auditor's questions."""
    if enrolment is None:
        examined = examine(copy, None, (), depth, elsewhere)
    elif (former := enrolment.former_of(copy.files.get(IDENTITY, b""))) is not None:
        examined = examine(copy, former.identity, former.leaves, depth, Elsewhere((), asked.named))
        count, last = len(former.leaves), max(examined.last_number(), len(examined.sealed))
        if last > count:
            # Whoever has the old key can go on with the old history.
            examined.add(Flaw.KEY_CHANGED, count + 1, until=last, detail="of this key's receipts, these had not been seen")
        examined.add(Flaw.KEY_REPLACED, detail=f"{former.identity.fingerprint[:16]}…, replaced {former.at} by {former.by}")
    else:
        examined = examine(copy, enrolment.identity, enrolment.leaves, depth, elsewhere)
    ask(asked, examined)
    return examined


def _joined(longest: Examined, examined: Iterable[Examined]) -> tuple[Receipt, ...]:
    """Return the receipts of the longest copy, and those before that others have of the same history."""
    joined = {number: each.receipt for number, each in longest.proven.items()}
    leaves = longest.leaves()
    for other in examined:
        for number, each in other.proven.items():
            if number not in joined and number <= len(leaves) and each.leaf == leaves[number - 1]:
                joined[number] = each.receipt
    return tuple(receipt for _, receipt in sorted(joined.items()))


def _standing(findings: tuple[Finding, ...], enrolment: Enrolment | None) -> Standing:
    worst = {finding.severity for finding in findings} - {Severity.NOTICE}
    if worst:
        # Without a key that somebody vouched for, missing parts are not told from removed ones.
        is_cut_off = enrolment is not None and worst == {Severity.INCOMPLETE}
        return Standing.INCOMPLETE if is_cut_off else Standing.BROKEN
    return Standing.NOT_ENROLLED if enrolment is None else Standing.OK


def _forks(examined: Sequence[Examined]) -> Iterable[Finding]:
    """Yield for each copy the first receipt that another copy has otherwise: both signed, so no copying error."""
    if len(examined) < 2:  # noqa: PLR2004 - one copy agrees with itself
        return
    seen_by_key: dict[Identity | None, dict[int, tuple[bytes, str]]] = {}
    for each in examined:
        first_seen = seen_by_key.setdefault(each.identity, {})
        leaves = list(each.by_number())
        differing = [number for number, leaf in leaves if number in first_seen and leaf != first_seen[number][0]]
        if differing:
            number = differing[0]
            yield Finding(each.device, Flaw.FORKED, each.source, number, detail=f"the other is in {first_seen[number][1]}")
        for number, leaf in leaves:
            first_seen.setdefault(number, (leaf, each.source))
