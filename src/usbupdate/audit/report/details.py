"""What the page tells of each device, as data that its script turns into text, never into markup.

Strings that many receipts share stand once, in a table; an event names them by their place in it. Only a fleet's newest events
are on the page, as many a device as keep it small enough to open at once.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Final

from usbupdate.audit import proof
from usbupdate.audit.answers import answers, signer_shown
from usbupdate.audit.devices import Trust
from usbupdate.audit.fleet import version_shown
from usbupdate.audit.proof import Proofs
from usbupdate.audit.wording import judgement_told
from usbupdate.core.authorisation import used_in
from usbupdate.core.eventwords import advice, told, when
from usbupdate.core.judgement import failed_checks, judgement_in
from usbupdate.core.plaintext import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbupdate.audit.findings import Finding
    from usbupdate.audit.verdict import Verdict
    from usbupdate.core.receipt import Draft, Receipt
    from usbupdate.core.strictjson import Json

EVENTS_MAX: Final = 200_000
"""On the whole page: some 10 MB."""
EVENTS_EACH_MAX: Final = 500
_EVENTS_EACH_MIN: Final = 5
_TEXT_MAX: Final = 300
_FINDINGS_MAX: Final = 100
_TRUST: Final = {
    Trust.FINGERPRINT: "Somebody compared this fingerprint with the one that the device showed when it was set up.",
    Trust.FIRST_USE: "Taken as it came when the device was first heard of. Nobody has compared it.",
    None: "Nobody has vouched for this key: enrol the device with the fingerprint that it showed when it was set up.",
}


class Details:
    """The details of all devices that were added, and the strings that they share."""

    def __init__(self) -> None:
        self._devices: list[tuple[dict[str, Json], list[str]]] = []
        self._strings: dict[str, int] = {}

    def add(self, verdict: Verdict) -> None:
        """Take what the page tells of one device."""
        proofs = Proofs(verdict)
        newest = verdict.receipts[-EVENTS_EACH_MAX:]
        events = [json.dumps(self._event(each, proofs), separators=(",", ":")) for each in newest]
        table: dict[str, Json] = {
            "device": verdict.device,
            "fingerprint": verdict.fingerprint or "",
            "trust": _TRUST[verdict.trust],
            "copies": [one_line(source, _TEXT_MAX) for source in verdict.sources],
            "receipts": len(verdict.receipts),
            "unread": [each.row() for each in verdict.unread],
            "answers": [[each.question, each.text, str(each.proof)] for each in answers(verdict)],
            "findings": [_finding(each) for each in islice(verdict.findings, _FINDINGS_MAX)],
            "findings_left": max(len(verdict.findings) - _FINDINGS_MAX, 0),
        }
        self._devices.append((table, events))

    def strings(self) -> list[str]:
        """Return the shared strings, in the order in which events name them."""
        return list(self._strings)

    def documents(self) -> Iterator[str]:
        """Yield one JSON document for each device, in the order in which they were added."""
        each_max = max(_EVENTS_EACH_MIN, EVENTS_MAX // max(len(self._devices), 1))
        for table, events in self._devices:
            head = json.dumps(table, separators=(",", ":"))
            yield f'{head[:-1]},"events":[{",".join(events[-each_max:])}]}}'

    def _event(self, receipt: Receipt, proofs: Proofs) -> list[Json]:
        draft = receipt.draft
        return [
            receipt.number,
            when(draft.moment),
            *map(
                self._place,
                (
                    str(receipt.event),
                    told(draft) + (f" ({draft.count} times)" if draft.count > 1 else ""),
                    _move(draft),
                    ", ".join(map(signer_shown, draft.trust.signers)) if draft.trust else "",
                    _stick(draft),
                    one_line(_problem(draft), _TEXT_MAX),
                    advice(draft),
                    str(proofs.of(receipt.number)),
                ),
            ),
        ]

    def _place(self, text: str) -> int:
        return self._strings.setdefault(text, len(self._strings))


def _finding(finding: Finding) -> list[Json]:
    table = finding.table()
    first, last = table["receipt"], table["until"]
    numbers = "" if first is None else f"receipt {first}" if first == last else f"receipts {first} to {last}"
    where = one_line(finding.source, _TEXT_MAX) + (f", line {finding.line}" if finding.line is not None else "")
    return [numbers, str(table["what"]), one_line(finding.detail, _TEXT_MAX), where, str(table["advice"])]


def _move(draft: Draft) -> str:
    return " → ".join(version_shown(each) for each in (draft.before, draft.after) if each is not None)


def _stick(draft: Draft) -> str:
    if draft.medium is None:
        return ""
    facts = (draft.medium.label, draft.medium.serial, draft.medium.filesystem_uuid)
    return one_line(", ".join(filter(None, facts)), _TEXT_MAX)


def _problem(draft: Draft) -> str:
    checks = [f"check {each.name}: {each.result}. {each.detail}" for each in failed_checks(draft.checks)]
    judgement = judgement_in(draft.checks)
    judged = f"{judgement_told(judgement)}." if judgement is not None and not judgement.expires else ""
    by = used_in(draft.checks)
    back = "" if by is None else f"It went back by the office's authorisation {by.number}: {by.ticket}."
    return " ".join(filter(None, [draft.problem.text if draft.problem else "", *checks, judged[:1].upper() + judged[1:], back]))


def legend() -> list[tuple[str, str, str]]:
    """Return what each state of proof is called and what it means."""
    return [(str(each), proof.LABELS[each], proof.WORDS[each]) for each in proof.Proof]
