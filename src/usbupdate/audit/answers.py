"""The five questions of an inspector about one device, answered from its receipts alone.

What runs? Since when? Who signed it? Was anything refused? Is anything missing?
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from usbupdate.audit.lacking import MISSING, Lacking, gap
from usbupdate.audit.proof import Proof, Proofs
from usbupdate.audit.unread import spans
from usbupdate.core.authorisation import used_in
from usbupdate.core.eventwords import when
from usbupdate.core.plaintext import one_line
from usbupdate.core.receipt import OUTCOMES, Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usbupdate.audit.verdict import Verdict
    from usbupdate.core.receipt import Receipt, Release

_TEXT_MAX: Final = 300
_KEY_SHOWN: Final = 16
_STARTING: Final = frozenset({Event.PROVISIONED, Event.COMMITTED, Event.FELL_BACK})
"""After these the device runs what the receipt calls `to`."""
_TURNED_AWAY: Final = (Event.REJECTED, Event.REFUSED)


@dataclass(frozen=True, slots=True)
class Answer:
    """One question with its answer; `receipt` is the number of the receipt that says so, if a single one does."""

    question: str
    text: str
    proof: Proof
    receipt: int | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """What a device runs by its own word; `since` is the receipt with which that began, if it is among those proven."""

    release: Release | None
    told_by: Receipt | None
    since: Receipt | None


def running(receipts: Sequence[Receipt]) -> Running:
    """Return what the newest receipt that speaks of it says the device runs."""
    told_by = next((each for each in reversed(receipts) if _runs(each) is not None), None)
    if told_by is None:
        return Running(None, None, None)
    release = _runs(told_by)
    since = None
    for each in reversed(receipts):
        now = _runs(each)
        if now is not None and release is not None and (now.version, now.sequence) != (release.version, release.sequence):
            break
        if each.event in _STARTING:
            since = each
            break
    return Running(release, told_by, since)


def answers(verdict: Verdict) -> tuple[Answer, ...]:
    """Return the five answers, in the order in which an inspector asks; each says which receipts it does not rest on."""
    proofs = Proofs(verdict)
    state = running(verdict.receipts)
    lacking = Lacking.of(verdict)
    about_now = (_what_runs(state, proofs), _since_when(state, proofs), _who_signed(state, proofs))
    return (
        *(_as_of(lacking, each) for each in about_now),
        _what_was_refused(verdict, proofs, lacking),
        _what_is_missing(verdict, proofs, lacking),
    )


def release_shown(release: Release) -> str:
    """Return a release as a person reads it."""
    return f"version {release.version}" if release.version else f"a release without a version, sequence {release.sequence}"


def signer_shown(key_id: str) -> str:
    """Return a key id as far as people compare it at a glance."""
    return f"{key_id[:_KEY_SHOWN]}…" if len(key_id) > _KEY_SHOWN else key_id


def _what_runs(state: Running, proofs: Proofs) -> Answer:
    question = "What runs on it?"
    if state.release is None or state.told_by is None:
        return Answer(question, "No receipt says so.", Proof.NONE)
    number = state.told_by.number
    text = f"{release_shown(state.release)} (sequence {state.release.sequence}), as receipt {number} says."
    return Answer(question, text[0].upper() + text[1:], proofs.of(number), number)


def _since_when(state: Running, proofs: Proofs) -> Answer:
    question = "Since when?"
    if state.since is None:
        return Answer(question, "No receipt that is here says so.", Proof.NONE)
    number = state.since.number
    verb = "It was set up with it" if state.since.event is Event.PROVISIONED else "It has run since"
    moment = when(state.since.draft.moment)
    return Answer(question, f"{verb} {moment}, as receipt {number} says.", proofs.of(number), number)


def _who_signed(state: Running, proofs: Proofs) -> Answer:
    question = "Who signed it?"
    if state.since is None:
        return Answer(question, "No receipt that is here says so.", Proof.NONE)
    number, trust = state.since.number, state.since.draft.trust
    if trust is None or not trust.signers:
        text = "It came with the device when that was set up; no stick brought it."
        if state.since.event is not Event.PROVISIONED:
            text = f"Receipt {number} names nobody."
        return Answer(question, text, proofs.of(number), number)
    keys = ", ".join(map(signer_shown, trust.signers))
    noun = "the key" if len(trust.signers) == 1 else f"{len(trust.signers)} keys,"
    text = f"The release office, with {noun} {keys}, as named by version {trust.root_version} of its root."
    if (by := used_in(state.since.draft.checks)) is not None:
        text += f" It was an order to go back, its authorisation {by.number}: {one_line(by.ticket, _TEXT_MAX)}."
    return Answer(question, text, proofs.of(number), number)


def _as_of(lacking: Lacking, answer: Answer) -> Answer:
    """Return an answer about the present, which is that of the newest receipt that is here."""
    if answer.receipt is None:
        return replace(answer, text=f"{answer.text} {lacking.sentence()}".rstrip())
    if not lacking.later:
        return answer
    text = answer.text[0].lower() + answer.text[1:]
    return replace(answer, text=f"As of receipt {lacking.last} ({lacking.later}): {text}")


def _what_was_refused(verdict: Verdict, proofs: Proofs, lacking: Lacking) -> Answer:
    question = "Was anything refused?"
    away = [each for each in verdict.receipts if each.event in _TURNED_AWAY]
    failed = [each for each in verdict.receipts if each.event in OUTCOMES and each.event is not Event.COMMITTED]
    if not verdict.receipts:
        text = "There is no receipt here that could say so."
        return Answer(question, f"{text} {lacking.sentence()}".rstrip(), Proof.NONE)
    least = "at least " if lacking or verdict.flaws else ""
    parts = []
    if away:
        counts = {event: sum(each.draft.count for each in away if each.event is event) for event in _TURNED_AWAY}
        how = " and ".join(f"{event} {least}{_times(count)}" for event, count in counts.items() if count)
        parts.append(f"Yes: sticks were {how}; {_latest(sum(counts.values()), away[-1])}")
    if failed:
        lead = "Besides" if away else "No stick that is told of here was; but" if least else "No stick was; but"
        parts.append(f"{lead} installing did not succeed {least}{_times(len(failed))}; {_latest(len(failed), failed[-1])}")
    last = max((each.number for each in (*away[-1:], *failed[-1:])), default=None)
    if last is not None:
        return Answer(question, f"{'. '.join(parts)}. {lacking.sentence()}".rstrip(), proofs.of(last), last)
    if not lacking:
        return Answer(question, "No: no stick was refused and every installation succeeded.", proofs.of_all())
    told = spans([each.number for each in verdict.receipts])
    noun = "receipt" if len(verdict.receipts) == 1 else "receipts"
    text = f"Not in {noun} {told}: no stick was refused and every installation succeeded. {lacking.sentence()}"
    return Answer(question, text, proofs.of_what_is_here())


def _what_is_missing(verdict: Verdict, proofs: Proofs, lacking: Lacking) -> Answer:
    question = "Is anything missing?"
    missing = [each for each in verdict.findings if each.flaw in MISSING]
    count = verdict.count
    if missing:
        which = "; ".join(map(gap, missing))
        return Answer(question, f"Yes: {which}.", Proof.FOUND)
    if not count and not lacking:
        return Answer(question, "There is no receipt here at all.", Proof.NONE)
    if verdict.unread:
        rest = " Nothing else is missing: the device's signed checkpoint covers what is here and what is not."
        text = lacking.sentence() + ("" if verdict.flaws else rest)
        return Answer(question, text, proofs.of_what_is_here())
    if verdict.flaws:
        text = f"No gap between the {count} receipts that are here; but see what was found."
        return Answer(question, text, proofs.of_all())
    first = f"No: receipts 1 to {count} are all here" if count > 1 else "No: its only receipt is here"
    text = f"{first}, and the device's signed checkpoint covers them."
    if lacking:
        text = f"{text} This is an older copy, though: you have seen {verdict.seen}. {lacking.sentence()}"
        return Answer(question, text, proofs.of_what_is_here())
    return Answer(question, text, proofs.of_all())


def _runs(receipt: Receipt) -> Release | None:
    """Return what the device runs after an event, if its receipt says so."""
    draft = receipt.draft
    return draft.after if draft.event in _STARTING else draft.before


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _latest(count: int, receipt: Receipt) -> str:
    draft = receipt.draft
    lead = "on" if count == 1 else "the last time on"
    reason = f": {one_line(draft.problem.text, _TEXT_MAX).rstrip('.')}" if draft.problem and draft.problem.text else ""
    return f"{lead} {when(draft.moment)}{reason}"
