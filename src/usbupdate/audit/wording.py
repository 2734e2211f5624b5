"""Verdicts and timelines as an auditor reads them: one line a device, what is wrong below it, or one JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from usbupdate.audit.depth import Checked
from usbupdate.audit.devices import Trust
from usbupdate.audit.verdict import Standing, Verdict
from usbupdate.core.authorisation import used_in
from usbupdate.core.judgement import judgement_in
from usbupdate.core.plaintext import counted, one_line
from usbupdate.core.receipt import ClockQuality
from usbupdate.core.timefloor import is_believable, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from usbupdate.audit.depth import Depth
    from usbupdate.audit.devices import Enrolment
    from usbupdate.core.judgement import Judgement
    from usbupdate.core.receipt import Receipt, Release
    from usbupdate.core.strictjson import Json
    from usbupdate.core.words import DeviceId

_TEXT_MAX: Final = 200
_TRUST: Final = {Trust.FINGERPRINT: "fingerprint compared", Trust.FIRST_USE: "trusted on first use"}


def told(verdicts: Sequence[Verdict], enrolled: Iterable[DeviceId], depth: Depth) -> Iterator[str]:
    """Yield a line for each device and for each finding, which enrolled devices are not there, and what was checked."""
    for verdict in verdicts:
        yield from _lines(verdict)
    absent = _absent(verdicts, enrolled)
    if absent:
        yield f"No log here of: {', '.join(absent)}"
    checked = _checked_together(verdicts)
    yield (
        f"Checked ({depth}): {counted(checked.by_root, 'receipt')} by the root of signed checkpoints, "
        f"{checked.by_contents} by their contents, {checked.by_signature} by their own signatures."
    )


def table(verdicts: Sequence[Verdict], enrolled: Iterable[DeviceId], depth: Depth) -> dict[str, Json]:
    """Return the verdicts as one JSON object."""
    return {
        "good": all(verdict.standing is Standing.OK for verdict in verdicts),
        "depth": str(depth),
        "checked": _checked_table(_checked_together(verdicts)),
        "devices": [
            {
                "device": verdict.device,
                "standing": str(verdict.standing),
                "trust": None if verdict.trust is None else str(verdict.trust),
                "fingerprint": verdict.fingerprint,
                "receipts": verdict.count,
                "seen_before": verdict.seen,
                "last_event": None if verdict.last_event is None else str(verdict.last_event),
                "checked": _checked_table(verdict.checked),
                "sources": list(verdict.sources),
                "findings": [finding.table() for finding in verdict.findings],
            }
            for verdict in verdicts
        ],
        "absent": list(_absent(verdicts, enrolled)),
    }


def enrolments_told(enrolments: Iterable[Enrolment]) -> Iterator[str]:
    """Yield one line for each device that was enrolled."""
    for enrolment in enrolments:
        yield f"{enrolment.identity.device}: enrolled with the key {enrolment.identity.fingerprint} ({_TRUST[enrolment.trust]})"


def enrolments_table(enrolments: Iterable[Enrolment]) -> dict[str, Json]:
    """Return the enrolments as one JSON object."""
    return {
        "enrolled": [
            {
                "device": enrolment.identity.device,
                "fingerprint": enrolment.identity.fingerprint,
                "trust": str(enrolment.trust),
            }
            for enrolment in enrolments
        ]
    }


def timelines(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield for each device what is wrong with its log, and what it did, oldest first, as far as that is proven."""
    for verdict in verdicts:
        yield from _lines(verdict)
        unread = list(verdict.unread)
        for receipt in verdict.receipts:
            while unread and unread[0].first < receipt.number:
                yield f"    {unread.pop(0).row()}"
            yield f"  {_event(receipt)}"
            if (judgement := judgement_in(receipt.draft.checks)) is not None:
                yield f"         {judgement_told(judgement)}"
        yield from (f"    {each.row()}" for each in unread)


def timeline_table(verdict: Verdict) -> dict[str, Json]:
    """Return one device's timeline as a JSON object."""
    return {
        "device": verdict.device,
        "standing": str(verdict.standing),
        "events": [
            {
                "receipt": receipt.number,
                "event": str(receipt.event),
                "time": receipt.draft.moment.wall,
                "clock": str(receipt.draft.moment.clock),
                "from": _version(receipt.draft.before),
                "to": _version(receipt.draft.after),
                "bundle": receipt.draft.bundle.name if receipt.draft.bundle else None,
                "count": receipt.draft.count,
                "reason": receipt.draft.problem.reason if receipt.draft.problem else None,
                "judged": _judgement_table(judgement_in(receipt.draft.checks)),
                "authorisation": _authorisation_table(receipt),
            }
            for receipt in verdict.receipts
        ],
        "not_here": [{"receipt": each.first, "until": each.until, "known_by": str(each.known_by)} for each in verdict.unread],
        "findings": [finding.table() for finding in verdict.findings],
    }


def _checked_together(verdicts: Sequence[Verdict]) -> Checked:
    return sum((verdict.checked for verdict in verdicts), Checked())


def _checked_table(checked: Checked) -> dict[str, Json]:
    return {"by_root": checked.by_root, "by_contents": checked.by_contents, "by_signature": checked.by_signature}


def _absent(verdicts: Sequence[Verdict], enrolled: Iterable[DeviceId]) -> tuple[DeviceId, ...]:
    """Return the enrolled devices without a log here: no flaw of the evidence, but somebody may have taken a folder away."""
    there = {verdict.device for verdict in verdicts}
    return tuple(device for device in enrolled if device not in there)


def _lines(verdict: Verdict) -> Iterator[str]:
    yield _line(verdict)
    for finding in verdict.findings:
        yield f"  {finding.sentence()}"


def _line(verdict: Verdict) -> str:
    copies = counted(len(verdict.sources), "copy", "copies")
    words = [f"{counted(verdict.count, 'receipt')} in {copies}"]
    words += [each.row() for each in verdict.unread]
    if verdict.last_event is not None:
        words.append(f"last: {verdict.last_event}")
    if not verdict.flaws and verdict.count < verdict.seen:
        words.append(f"an older copy: you have seen {verdict.seen}")
    if verdict.trust is not None:
        words.append(_TRUST[verdict.trust])
    elif verdict.fingerprint is not None:
        words.append(f"key {verdict.fingerprint}")
    if verdict.flaws:
        words.append(f"{len(verdict.flaws)} found wrong")
    return f"{verdict.device}: {str(verdict.standing).upper() if verdict.flaws else verdict.standing}: {', '.join(words)}"


def _event(receipt: Receipt) -> str:
    draft = receipt.draft
    words = [f"{receipt.number:>5}", draft.moment.wall, f"{receipt.event:<16}"]
    if draft.before is not None or draft.after is not None:
        words.append(f"{_version(draft.before) or '?'} -> {_version(draft.after) or '?'}")
    if draft.count > 1:
        words.append(f"{draft.count} times")
    if (by := used_in(draft.checks)) is not None:
        words.append(f"by the authorisation {by.number}: {one_line(by.ticket, _TEXT_MAX)}")
    if draft.problem is not None:
        words.append(one_line(draft.problem.text, _TEXT_MAX))
    return "  ".join(words)


def judgement_told(time: Judgement) -> str:
    """Return by what time metadata were judged, why by that one, and how long they are good, if they were accepted."""
    if time.clock is ClockQuality.SYSTEM:
        why = f"the device's clock, not before the floor {time.floor}"
    else:
        why = f"the time floor; the device's clock said {time.system}, {_why_not(time)}"
    end = f"good until {time.expires}" if time.expires else "not accepted"
    return f"metadata judged as of {time.now} ({why}): {end}"


def _why_not(time: Judgement) -> str:
    system, floor = parse_time(time.system), parse_time(time.floor)
    if is_believable(floor, system):
        return "which its configuration does not trust"
    return "which lies before the floor" if system < floor else "more than ten years after the floor"


def _judgement_table(time: Judgement | None) -> Json:
    if time is None:
        return None
    return {
        "as_of": time.now,
        "clock": str(time.clock),
        "system_clock": time.system,
        "time_floor": time.floor,
        "good_until": time.expires or None,
    }


def _authorisation_table(receipt: Receipt) -> Json:
    """Return by which authorisation an update was to go back, and whose signatures it bore."""
    by = used_in(receipt.draft.checks)
    if by is None:
        return None
    trust = receipt.draft.trust
    return {"number": by.number, "ticket": by.ticket, "signers": list(trust.signers) if trust is not None else []}


def _version(release: Release | None) -> str | None:
    return release.version if release else None
