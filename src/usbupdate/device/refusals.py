"""Receipts of what was refused or rejected: each told once, and the same one again within a boot as one with a count.

Source: design, section 7.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from usbupdate.core.judgement import METADATA_CHECK, check_of, judgement_in
from usbupdate.core.receipt import REFUSALS, Event, MediumFacts, TrustFacts
from usbupdate.core.record import Repeat
from usbupdate.device.obligations import problem_of
from usbupdate.errors import GatePostponedError, RejectedError

if TYPE_CHECKING:
    from usbupdate.core.judgement import Judgement
    from usbupdate.core.receipt import BundleRef, Check, Draft
    from usbupdate.core.trust import Trusted
    from usbupdate.device.obligations import Obligations
    from usbupdate.device.ports import Drafts
    from usbupdate.errors import UsbupdateError

_REFUSALS_WAITING_MAX: Final = 100
_REFUSALS_KEPT: Final = 50


@dataclass(slots=True)
class Learned:
    """What is known of a stick so far; it goes into the receipt, whatever comes of it."""

    medium: MediumFacts = field(default_factory=MediumFacts)
    trust: TrustFacts | None = None
    judgement: Judgement | None = None
    bundle: BundleRef | None = None
    checks: tuple[Check, ...] = ()
    aside: str = ""
    """What a person is to know beside the answer to the stick, for nothing depends on it."""

    def judged_by(self, judgement: Judgement) -> None:
        """Keep by what time the stick's metadata are judged."""
        self.judgement = judgement

    def accepted(self, trusted: Trusted) -> None:
        """Keep on whose word the device acts, and until when that is good."""
        self.trust = TrustFacts(trusted.root_version, trusted.timestamp_version, trusted.signers)
        if self.judgement is not None:
            self.judgement = replace(self.judgement, expires=trusted.expires)

    def metadata_checks(self) -> tuple[Check, ...]:
        """Return the check of the stick's metadata, if they were looked at."""
        return () if self.judgement is None else (check_of(self.judgement),)


class Refusals:
    """Records refusals and rejections through the obligations' record, so that none is lost to a cut or a full ledger."""

    def __init__(self, obligations: Obligations, drafts: Drafts) -> None:
        self._obligations = obligations
        self._drafts = drafts

    def record(self, error: UsbupdateError, learned: Learned) -> None:
        """Record why a stick was not taken, with what was learned of it until then."""
        draft = replace(
            self._drafts.blank(),
            event=_event(error),
            before=self._obligations.record.committed.release(),
            bundle=learned.bundle,
            trust=learned.trust,
            medium=learned.medium,
            checks=(*learned.metadata_checks(), *learned.checks),
            problem=problem_of(error),
        )
        record = self._obligations.record
        repeat = record.repeat
        if repeat is not None and _is_same(repeat.draft, draft):
            self._obligations.change(replace(record, repeat=Repeat(repeat.draft, repeat.count + 1)))
        else:
            waiting = _with_room(record.pending)
            once = Repeat(_timeless(draft), 1)
            self._obligations.append(replace(record, pending=waiting, repeat=once), *self._counted(repeat), draft)

    def close_earlier_boot(self) -> None:
        """Record how often the last refusal of an earlier boot came again."""
        repeat = self._obligations.record.repeat
        if repeat is not None and repeat.draft.moment.boot_id != self._obligations.boot.boot_id:
            self.close()

    def close(self) -> None:
        """Record how often the last refusal came again; before an attempt, so that its outcome stands after what led to it."""
        record = self._obligations.record
        if record.repeat is not None:
            self._obligations.append(replace(record, repeat=None), *self._counted(record.repeat))

    def _counted(self, repeat: Repeat | None) -> list[Draft]:
        if repeat is None or repeat.count == 1:
            return []
        # The first one has its receipt; this one stands for the others.
        return [replace(repeat.draft, id=self._drafts.blank().id, count=repeat.count - 1)]


def _with_room(pending: tuple[Draft, ...]) -> tuple[Draft, ...]:
    """Return what waits for a ledger that takes nothing, with room for more: refusals are counted together, outcomes never.

    A device whose ledger is broken or full must not be filled up by somebody who keeps inserting bad sticks.
    """
    refusals = [draft for draft in pending if draft.event in REFUSALS]
    if len(refusals) < _REFUSALS_WAITING_MAX:
        return pending
    last = refusals[-1]
    counted = replace(last, count=sum(draft.count for draft in refusals[_REFUSALS_KEPT:]))
    folded = {draft.id for draft in refusals[_REFUSALS_KEPT:]}
    return (*(draft for draft in pending if draft.id not in folded), counted)


def _event(error: UsbupdateError) -> Event:
    if isinstance(error, RejectedError):
        return Event.REJECTED
    if isinstance(error, GatePostponedError):
        return Event.POSTPONED
    return Event.REFUSED


def _is_same(earlier: Draft, draft: Draft) -> bool:
    """Tell whether two refusals differ in nothing but when they were."""
    same = replace(_timeless(draft), id=earlier.id, moment=earlier.moment)
    return earlier.moment.boot_id == draft.moment.boot_id and earlier == same


def _timeless(draft: Draft) -> Draft:
    """Return a refusal without the time by which it was judged, as it is compared and counted.

    That of metadata that have ended stands in the sentence too.
    """
    problem, judgement = draft.problem, judgement_in(draft.checks)
    if problem is not None and judgement is not None:
        problem = replace(problem, text=problem.text.replace(judgement.now, "later"))
    return replace(draft, problem=problem, checks=tuple(check for check in draft.checks if check.name != METADATA_CHECK))
